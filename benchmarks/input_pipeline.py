"""Training batches a second: ours, torchvision's usual per-image transforms, and the step that they feed.

    python benchmarks/input_pipeline.py [--images ZIP]

Writes benchmarks/input_pipeline.md. Both pipelines shift by up to 4 pixels, mirror, and normalise batches of
64 images of 32x32 in the same process, without workers; they take turns, so that drift cancels. Without
``--images`` the pixels are random, which changes no figure.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dynaconv import create_model, load_data
from dynaconv.data.augment import Augmentation
from dynaconv.data.datasets import Images
from dynaconv.data.loaders import EpochSampler, ImageBatches, ImageLoader, measure
from dynaconv.training.precision import autocast, choose_precision
from machine import measured_on

ROUNDS, BATCHES, STEPS = 7, 40, 8


class PerImage(Dataset[tuple[Tensor, int]]):
    """The usual way: a PIL image and a chain of transforms for each."""

    def __init__(self, loader: ImageLoader) -> None:
        images, preprocessing = loader.dataset.images, loader.dataset.preprocessing
        pixels = images.take(torch.arange(len(images))).permute(0, 2, 3, 1).numpy()
        self.images, self.labels = [Image.fromarray(image) for image in pixels], images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4, padding_mode="reflect"),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(preprocessing.mean, preprocessing.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def random_images() -> ImageLoader:
    """Return a loader of 10,000 random images."""
    pixels = torch.randint(256, (10_000, 3, 32, 32), dtype=torch.uint8)
    images = Images(pixels, torch.randint(10, (10_000,)), tuple("0123456789"))
    dataset = ImageBatches(images, measure(images, 32), Augmentation())
    return ImageLoader(dataset, batch_size=None, sampler=EpochSampler(10_000, 64, shuffle=True))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", help="a zip or folder of 32x32 images")
    given = parser.parse_args().images
    ours = load_data(given)[0] if given else random_images()
    usual = DataLoader(PerImage(ours), batch_size=64, shuffle=True)

    device = torch.device("cpu")
    precision = choose_precision("auto", device)
    model = create_model("seven_block")
    optimizer = torch.optim.Adam(model.parameters(), 0.002, fused=True)
    batches: Iterator[tuple[Tensor, Tensor]] = cycle(list(islice(ours, 4)))

    def step() -> None:
        for images, labels in islice(batches, STEPS):
            with autocast(device, precision):
                loss = F.cross_entropy(model(images).float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    work: dict[str, tuple[Callable[[], object], int]] = {
        "ours, whole batches of uint8": (lambda: list(islice(ours, BATCHES)), BATCHES),
        "torchvision, image by image": (lambda: list(islice(usual, BATCHES)), BATCHES),
        f"training step of seven_block, {precision}": (step, STEPS),
    }
    for run, _ in work.values():
        run()  # warm up
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, (run, count) in work.items():
            times[name].append(seconds(run) / count)
    batch = {name: median(each) for name, each in times.items()}
    fast, slow, whole = batch.values()
    lines = [
        "# The input pipeline",
        "",
        f"Batches of 64 images of 32x32: median of {ROUNDS} rounds, taken in turns, by "
        f"`benchmarks/input_pipeline.py`. {measured_on()}.",
        "",
        "| | ms a batch | images a second |",
        "|---|---|---|",
        *(f"| {name} | {1000 * value:.2f} | {64 / value:,.0f} |" for name, value in batch.items()),
        "",
        f"- ours / torchvision, images a second: {slow / fast:.1f}",
        f"- share of a training step that the input takes: {fast / whole:.2%}",
    ]
    table = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
