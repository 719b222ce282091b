"""The pictures of a run; each function returns a figure, and nothing global is changed.

Lines differ in dash and marker as well as in colour (Okabe and Ito's), maps run from light to dark, and signs
are marked, so that all is told apart in greyscale and by the colour-blind.
"""

import math
import textwrap
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from dynaconv.errors import UsageError
from dynaconv.files import replacing
from dynaconv.training.history import History

__all__ = ["Figure", "coefficients", "confusion", "curves", "mistakes", "save"]

DPI = 150
TRAIN = {"color": "#0072B2", "linestyle": "--", "marker": "o", "markerfacecolor": "white"}
TEST = {"color": "#D55E00", "linestyle": "-", "marker": "s"}
GREY = "0.85"  # of what was not measured
DARK = 0.715  # from this part of a colour map on, white is read better than black
LETTER = 0.6 / 72  # width in inches of a letter of one point
SHARES = (1e-6, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
COUNTED_CLASSES = 20  # with more of them, counts do not fit into the cells
NAMED_CLASSES = 100  # with more of them, not every one is named
GALLERY = 5  # rows and columns
LINE = 24  # letters above an image of it


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, at 150 dots an inch; the file is whole or not there."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def curves(history: History) -> Figure:
    """Draw loss, accuracy and learning rate against epochs, with the minutes of training above.

    Raises:
        ValueError: If the history is empty.
    """
    if not history:
        raise UsageError("There are no curves to draw: the history has no epochs.")
    figure = Figure(figsize=(7, 8), layout="constrained")
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.5))
    last, every = history[-1], math.ceil(len(history) / 15)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for split, style, first in (("train", TRAIN, 0), ("test", TEST, every // 2)):
            values = history.column(f"{split}_{name}")
            axes.plot(history.column("epoch"), values, label=split, markevery=(first, every), **style)
        axes.legend()
    rate.plot(history.column("epoch"), history.column("learning_rate"), ".-k", markevery=every)
    accuracy.annotate(
        f"test\n{last.test_accuracy:.4f}",
        (1.01, last.test_accuracy),
        xycoords=("axes fraction", "data"),
        va="center",
        color=TEST["color"],
    )
    # Logarithmic: early test losses may be a thousand times the last.
    loss.set(ylabel="loss\n(sum of batch means / images)", yscale="log")
    losses = history.column("train_loss") + history.column("test_loss")
    positive = [value for value in losses if 0 < value < math.inf] or [1.0]
    loss.set_ylim(min(positive) / 1.6, max(positive) * 1.6)  # wide enough for a tick
    loss.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}")
    loss.yaxis.set_minor_formatter(NullFormatter())
    accuracy.set_ylabel("accuracy\n(correct / total)")
    rate.set(xlabel="epoch", ylabel="learning rate", xlim=(0, last.epoch + 0.5))
    rate.set_ylim(0, 1.1 * max(history.column("learning_rate")))
    rate.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
    for axes in (loss, accuracy, rate):
        axes.grid(color="0.9")
    _add_minutes(loss, history)
    return figure


def _add_minutes(axes: Axes, history: History) -> None:
    seconds = history.column("seconds")
    # One epoch more than there were: the axis ends a little after the last.
    minutes = [total / 60 for total in accumulate([0.0, *seconds, seconds[-1]])]
    epochs = [0.0, *history.column("epoch"), history[-1].epoch + 1.0]
    to_minutes = partial(np.interp, xp=epochs, fp=minutes)
    to_epochs = partial(np.interp, xp=minutes, fp=epochs)
    above = axes.secondary_xaxis("top", functions=(to_minutes, to_epochs))
    above.set_xlabel("minutes of training")


def confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw how many images of each class were taken for each class.

    A cell's shade is its share of the true class, on a scale of square roots, so that rare mistakes are seen;
    up to 20 classes it has the count in it. Classes without images are grey.

    Args:
        matrix: ``(classes, classes)``, a row for each true class, a column for each predicted one.
        classes: The classes' names.
    """
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    side = min(0.4 * len(classes), max(8, 0.11 * min(len(classes), NAMED_CLASSES)))
    side = max(side, 2.5) + _longest(classes)
    figure = Figure(figsize=(side + 1.3, side + 0.7), layout="compressed")
    axes = figure.subplots()
    scale = PowerNorm(0.5, vmin=SHARES[0], vmax=1)
    image = axes.imshow(shares, _colours("Blues").with_extremes(under="none"), scale, zorder=1)
    axes.set_axisbelow(True)  # lines that lead from the names through the empty cells
    axes.grid(color="0.93")
    bar = figure.colorbar(image, ticks=SHARES, format=PercentFormatter(1), aspect=max(20, 4 * side))
    bar.set_label("share of the true class")
    if len(classes) <= COUNTED_CLASSES:
        for row, column in np.argwhere(matrix):
            colour = "white" if scale(shares[row, column]) > DARK else "black"
            count = str(matrix[row, column])
            axes.text(column, row, count, color=colour, fontsize=8, ha="center", va="center", zorder=2)
    _name(axes.yaxis, classes)
    _name(axes.xaxis, classes, rotation=90)
    title = f"{np.trace(matrix):,} of {matrix.sum():,} test images right"
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    return figure


def coefficients(means: dict[str, NDArray[np.float64]], classes: Sequence[str]) -> Figure:
    """Draw each dynamic layer's mean coefficients by true class and kernel, each on a scale of its own.

    Negative coefficients have a minus in their cell. Classes without images are grey.

    Args:
        means: ``(classes, K)`` by the layer's name, as
            :func:`dynaconv.analysis.coefficients.mean_coefficients` returns them.
        classes: The classes' names.
    """
    if not means:
        return _notice("The network has no dynamic convolutions.")
    width = max(1.5, 0.12 * max(mean.shape[1] for mean in means.values())) + 0.8
    height = min(max(0.22 * len(classes), 1.2), 0.11 * NAMED_CLASSES) + 0.5
    rows = max(1, round(math.sqrt(len(means) * width / height / 1.2)))  # a little wider than high
    columns = math.ceil(len(means) / rows)
    size = columns * width + _longest(classes) + 0.3, rows * height + 0.7
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axes, (layer, mean) in zip(panels, means.items(), strict=False):
        bar = axes.figure.colorbar(_heat_map(axes, mean), ax=axes, ticks=MaxNLocator(4), aspect=height / 0.1)
        bar.ax.tick_params(labelsize=7)
        axes.set_title(textwrap.fill(layer, int(width / (9 * LETTER))), fontsize=9)
        _name(axes.yaxis, classes)
    for axes in panels[len(means) :]:
        axes.set_axis_off()
    negative = any((mean < 0).any() for mean in means.values())
    figure.suptitle("mean coefficient" + (", − marking those below 0" if negative else ""), fontsize=11)
    figure.supxlabel("kernel", fontsize=10)
    figure.supylabel("true class", fontsize=10)
    return figure


def _heat_map(axes: Axes, mean: NDArray[np.float64]) -> AxesImage:
    low, high, colours = float(np.nanmin(mean)), float(np.nanmax(mean)), _colours("Purples")
    if low < 0:
        low, high, colours = min(low, -high), max(-low, high), _colours("PuOr")
    elif high - low <= 1e-3 * high:
        low = 0  # from the lowest to the highest, the scale would show rounding
    kernels = mean.shape[1]
    image = axes.imshow(
        mean, colours, vmin=low, vmax=high, aspect="auto", extent=(0.5, kernels + 0.5, len(mean) - 0.5, -0.5)
    )
    rows, columns = np.nonzero(mean < 0)
    marks = np.where(-mean[rows, columns] > DARK * high, "white", "black")
    axes.scatter(columns + 1, rows, 12, marks, marker="_", linewidths=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(min(kernels, 8), integer=True))
    axes.xaxis.set_tick_params(labelsize=8)
    return image


def mistakes(
    images: NDArray[np.uint8], true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]
) -> Figure:
    """Draw images that were classified wrongly, with what they are and what they were taken for.

    Args:
        images: ``(n, C, H, W)``, C being 1 or 3; the first 25 are drawn.
        true: Names of the true classes.
        predicted: Names of the predicted classes.
        confidence: Probabilities of the predicted classes, from 0 to 1.
    """
    titles = [_title(*names) for names in zip(true, predicted, confidence, strict=True)][: GALLERY**2]
    if not titles:
        return _notice("No mistakes: every test image was classified correctly.")
    columns = min(max(len(titles), 3), GALLERY)
    rows = math.ceil(len(titles) / columns)
    lines = max(title.count("\n") for title in titles) + 1
    figure = Figure(figsize=(1.8 * columns, (1.6 + 0.14 * lines) * rows + 0.4), layout="constrained")
    figure.suptitle("true class → predicted class (confidence)", fontsize=11)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
    for axes, image, title in zip(panels, images, titles, strict=False):
        axes.imshow(image.transpose(1, 2, 0), "gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=8, parse_math=False)
    return figure


def _title(true: str, predicted: str, confidence: float) -> str:
    taken = f"→ {predicted} ({round(100 * confidence)}\u00a0%)"
    if len(true) + len(taken) < LINE:
        return f"{true} {taken}"
    return textwrap.fill(true, LINE) + "\n" + textwrap.fill(taken, LINE)


def _name(axis: Axis, classes: Sequence[str], rotation: float = 0) -> None:
    """Put the classes' names along an axis, as many as are readable."""
    every = math.ceil(len(classes) / NAMED_CLASSES)
    axis.set_ticks(range(0, len(classes), every), classes[::every], rotation=rotation, parse_math=False)
    axis.set_tick_params(labelsize=_size(classes))


def _longest(classes: Sequence[str]) -> float:
    """Return the room in inches that the longest name takes."""
    return max(map(len, classes)) * _size(classes) * LETTER


def _size(classes: Sequence[str]) -> int:
    """Return the points that the classes' names are written in."""
    return 9 if len(classes) <= COUNTED_CLASSES else 6


def _colours(name: str) -> Colormap:
    return colormaps[name].with_extremes(bad=GREY)


def _notice(text: str) -> Figure:
    figure = Figure(figsize=(6, 1.5), layout="constrained")
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
