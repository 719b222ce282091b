"""Where the routers of seven_block begin: the loss of the first steps under the brief's Adam.

    python benchmarks/initialisation.py IMAGES [--steps 160]

Writes benchmarks/initialisation.md. IMAGES is a zip or folder of CIFAR-10; only training images are used.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from dynaconv import DynamicConv2d, create_model, load_data
from dynaconv.data.loaders import ImageLoader
from dynaconv.training.precision import autocast, choose_precision
from machine import measured_on

STARTS = {"1/K": 1 / 6, "1": 1.0, "3": 3.0, "10": 10.0, "30": 30.0}


def prepared(neutral: float, he: bool) -> nn.Module:
    """Return the network with every coefficient at ``neutral``, and the kernels of He et al. or of torch."""
    torch.manual_seed(0)
    model = create_model("seven_block")
    for layer in model.modules():
        if isinstance(layer, DynamicConv2d):
            with torch.no_grad():
                layer.weight.mul_(1 if he else 1 / math.sqrt(6))
            nn.init.constant_(layer.router.mlp[-1].bias, neutral)  # type: ignore[union-attr, index]
    return model


def losses(model: nn.Module, train_iter: ImageLoader, steps: int) -> list[float]:
    """Train for some steps as the brief does and return each step's loss."""
    optimizer = torch.optim.Adam(model.parameters(), 0.002, weight_decay=1e-5, fused=True)
    precision = choose_precision("auto", torch.device("cpu"))
    train_iter.sampler.seek(1)
    found = []
    for images, labels in train_iter:
        with autocast(images.device, precision):
            logits = model(images).float()
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        if len(found) == steps:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("--steps", type=int, default=160)
    given = parser.parse_args()
    train_iter, _ = load_data(given.images)
    last = given.steps // 4
    rows = []
    for name, neutral in STARTS.items():
        ends = []
        for he in (False, True):
            found = losses(prepared(neutral, he), train_iter, given.steps)
            ends.append(f"{sum(found[-last:]) / last:.3f}")
        rows.append(f"| {name} | {' | '.join(ends)} |")
        print(rows[-1], flush=True)
    lines = [
        "# Where the routers begin",
        "",
        f"Mean training loss of `seven_block` over steps {given.steps - last + 1} to {given.steps} under the "
        f"brief's Adam, CIFAR-10 (JPEG), by the coefficient that every kernel begins with; ln 10 = "
        f"{math.log(10):.3f} is chance. By `benchmarks/initialisation.py`. {measured_on()}.",
        "",
        "| coefficient | kernels as nn.Conv2d's | kernels by He et al. |",
        "|---|---|---|",
        *rows,
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
