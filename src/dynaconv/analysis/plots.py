"""The pictures of a run; each function returns a figure, and nothing global is changed.

Lines differ in dash and marker as well as in colour (Okabe and Ito's), and maps run from light to dark, so
that everything is told apart in greyscale and by the colour-blind.
"""

import math
import textwrap
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from dynaconv.errors import UsageError
from dynaconv.files import replacing
from dynaconv.training.history import History

DPI = 150
TRAIN = {"color": "#0072B2", "linestyle": "--", "marker": "o", "markerfacecolor": "white"}
TEST = {"color": "#D55E00", "linestyle": "-", "marker": "s"}
NO_IMAGES = "0.8"  # the grey of what was not measured
MOST_CELLS_WITH_COUNTS = 20
MOST_NAMES = 100  # along an axis
LETTER = 0.6  # width of a letter, in its height
GALLERY = (5, 5)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, at 150 dots per inch; the file is whole or not there."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def curves(history: History) -> Figure:
    """Draw loss, accuracy and learning rate against epochs, and minutes of training above.

    Raises:
        ValueError: If the history is empty.
    """
    if not history:
        raise UsageError("There are no curves to draw: the history has no epochs.")
    figure = Figure(figsize=(7, 8), layout="constrained")
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.5))
    epochs = history.column("epoch")
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for split, style in (("train", TRAIN), ("test", TEST)):
            _line(axes, epochs, history.column(f"{split}_{name}"), label=split, **style)
        axes.legend()
    _line(rate, epochs, history.column("learning_rate"), color="black", marker=".")
    last = history[-1]
    accuracy.annotate(
        f"{last.test_accuracy:.4f}",
        (last.epoch, last.test_accuracy),
        (8, 0),
        textcoords="offset points",
        verticalalignment="center",
        color=TEST["color"],
        annotation_clip=False,
    )
    loss.set_ylabel("loss\n(sum of batch means / images)")
    loss.set_ylim(bottom=0)
    accuracy.set_ylabel("accuracy\n(correct / total)")
    rate.set_ylabel("learning rate")
    rate.set_ylim(0, 1.15 * max(history.column("learning_rate")))
    rate.set_xlabel("epoch")
    rate.set_xlim(0, last.epoch + 0.5)
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    _add_minutes(loss, history)
    return figure


def _line(axes: Axes, x: list[float], y: list[float], **style: Any) -> None:
    axes.plot(x, y, markevery=math.ceil(len(x) / 15), **style)
    axes.grid(color="0.9")


def _add_minutes(axes: Axes, history: History) -> None:
    seconds = history.column("seconds")
    # One epoch more than there were, since the axis ends a little after the last.
    minutes = [total / 60 for total in accumulate([0.0, *seconds, seconds[-1]])]
    epochs = [0.0, *history.column("epoch"), history[-1].epoch + 1.0]
    above = axes.secondary_xaxis(
        "top", functions=(lambda x: np.interp(x, epochs, minutes), lambda x: np.interp(x, minutes, epochs))
    )
    above.set_xlabel("minutes of training")


def confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw how many images of each true class were taken for which class.

    Cells hold counts, up to 20 classes; their shade is the share of the true class, on a scale that shows
    small shares. Classes without images are grey.

    Args:
        matrix: ``(num_classes, num_classes)``, rows the true class.
        classes: The classes' names.
    """
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    size = _extent(len(classes), 0.45) + _longest(classes)
    figure = Figure(figsize=(size + 1.6, size + 0.9), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, _shades("Blues"), vmin=0, vmax=1)
    bar = figure.colorbar(image, format=PercentFormatter(1), aspect=40)
    bar.set_label("share of the true class")
    if len(classes) <= MOST_CELLS_WITH_COUNTS:
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), color=colour, fontsize=8, ha="center", va="center")
    _name(axes.yaxis, classes)
    _name(axes.xaxis, classes, rotation=90 if len(classes) > 10 else 45)
    axes.set_ylabel("true class")
    axes.set_xlabel("predicted class")
    axes.set_title(f"{np.trace(matrix):,} of {matrix.sum():,} images right")
    return figure
