"""Draw the idea on real digits: image, coefficients, the kernel mixed from them, what it makes of the image.

    python docs/figures/idea.py runs/digits

Writes docs/figures/idea.png from the second Block of a network that `make demo` trained.
"""

import sys
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dynaconv import DynamicConv2d, keep_coefficients, load_model
from dynaconv.data.datasets import read_split
from dynaconv.training.weights import description

DIGITS, CHANNEL = (0, 1, 8), 5


def main() -> None:
    """Draw it from the run directory given."""
    model = load_model(sys.argv[1])
    _, preprocessing = description(model)
    data = read_split("digits", ".", "test", preprocessing.image_size)
    chosen = torch.tensor([int((data.labels == digit).nonzero()[0]) for digit in DIGITS])
    pixels = data.take(chosen)
    outputs: list[torch.Tensor] = []
    with torch.no_grad(), keep_coefficients(model) as layers:
        layer = list(layers.values())[1]
        handle = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        model(preprocessing.normalise(pixels))
        handle.remove()
        coefficients = layer.coefficients
    assert isinstance(layer, DynamicConv2d)
    assert coefficients is not None
    kernels = torch.einsum("nk,kochw->nochw", coefficients, layer.weight.detach())[:, CHANNEL].mean(1)

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(DIGITS), 4, width_ratios=(1, 1.7, 1, 1))
    titles = (
        "image X",
        "coefficients a = MLP(mean of X)",
        "its own kernel: sum of a·W",
        "its own convolution",
    )
    span = kernels.abs().max()
    for row, image, bars, kernel, output in zip(axes, pixels, coefficients, kernels, outputs[0], strict=True):
        row[0].imshow(image[0], cmap="gray_r")
        row[1].bar(range(1, len(bars) + 1), bars, color="#0072B2")
        row[1].axhline(0, color="black", linewidth=0.8)
        row[1].set_ylim(min(0, coefficients.min() * 1.1), coefficients.max() * 1.1)
        row[2].imshow(kernel, cmap="PuOr", vmin=-span, vmax=span)
        row[3].imshow(output[CHANNEL], cmap="gray_r")
        for axis in (row[0], row[2], row[3]):
            axis.set_axis_off()
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    axes[-1][1].set_xlabel("kernel")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
