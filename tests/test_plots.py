import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from dynaconv.analysis import plots
from dynaconv.errors import UsageError
from dynaconv.training.history import Epoch, History

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LONG = [f"a_rather_long_class_name_of_a_folder_{number}" for number in range(10)]

INF, NAN = float("inf"), float("nan")


def history(epochs: int) -> History:
    """Return a history whose accuracy is highest in the middle, and whose epochs get slower."""
    return History(
        Epoch(
            epoch=number,
            train_loss=0.03 / number,
            test_loss=0.035 / number,
            train_accuracy=1 - 0.6 / number,
            test_accuracy=0.9 - 0.01 * abs(number - epochs / 2),
            learning_rate=0.002,
            seconds=30.0 * number,
            test_seconds=3.0,
            images_per_second=1500.0,
        )
        for number in range(1, epochs + 1)
    )


def names(count: int) -> list[str]:
    return [f"{NAMES[number % 10]}_{number // 10}" for number in range(count)]


def matrix(classes: int) -> NDArray[np.int64]:
    random = np.random.default_rng(0)
    return random.poisson(3, (classes, classes)) * random.integers(0, 2, (classes, classes)) + 40 * np.eye(
        classes, dtype=np.int64
    )


def means(classes: int, kernels: int, layers: int = 7) -> dict[str, NDArray[np.float64]]:
    random = np.random.default_rng(0)
    return {f"blocks.{layer}.conv": random.normal(0.1, 0.2, (classes, kernels)) for layer in range(layers)}


def gallery(count: int, classes: list[str], channels: int = 3) -> Figure:
    images = np.random.default_rng(0).integers(0, 256, (count, channels, 8, 8), dtype=np.uint8)
    true = [classes[number % len(classes)] for number in range(count)]
    predicted = [classes[(number + 1) % len(classes)] for number in range(count)]
    return plots.mistakes(images, true, predicted, [0.97] * count)


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def panels(figure: Figure) -> list[Axes]:
    """Return what holds pictures, in the order of reading; colour bars are left out."""
    return [axes for axes in figure.axes if axes.images]


def pixels(axes: Axes) -> NDArray[np.float64]:
    """Return the colours of a picture, as drawn: rows, columns, RGBA from 0 to 1."""
    image = axes.images[0]
    return np.asarray(image.to_rgba(np.ma.asarray(image.get_array())))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.curves(history(1)),
        lambda: plots.curves(history(60)),
        lambda: plots.confusion(matrix(2), ["cat", "dog"]),
        lambda: plots.confusion(matrix(10), LONG),
        lambda: plots.confusion(matrix(100), names(100)),
        lambda: plots.coefficients(means(2, 6), ["cat", "dog"]),
        lambda: plots.coefficients(means(10, 6), LONG),
        lambda: plots.coefficients(means(10, 32, 2), NAMES),
        lambda: plots.coefficients({f"{'layer.' * 20}conv": np.ones((2, 6))}, ["cat", "dog"]),
        lambda: plots.coefficients({}, NAMES),
        lambda: gallery(0, NAMES),
        lambda: gallery(1, NAMES),
        lambda: gallery(25, LONG),
    ],
)
def test_nothing_is_cut_off(draw: Callable[[], Figure]) -> None:
    figure = drawn(draw())
    needed = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert needed.xmin >= 0
    assert needed.ymin >= 0
    assert needed.xmax <= width
    assert needed.ymax <= height


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 100, 250])
def test_names_of_classes_do_not_run_into_each_other(classes: int) -> None:
    figure = drawn(plots.confusion(matrix(classes), names(classes)))
    axes = panels(figure)[0]
    for labels in (axes.get_yticklabels(), axes.get_xticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
        assert labels[0].get_text() == "airplane_0"
        assert len(labels) == classes or len(labels) > 80


@pytest.mark.parametrize("draw", [plots.confusion, lambda _, names: plots.coefficients(means(2, 2), names)])
def test_names_with_signs_of_formulas_are_drawn_as_they_are(
    draw: Callable[[NDArray[np.int64], list[str]], Figure],
) -> None:
    figure = drawn(draw(matrix(2), [r"$\no{formula$", "under_score^2"]))
    assert [text.get_text() for text in panels(figure)[0].get_yticklabels()] == [
        r"$\no{formula$",
        "under_score^2",
    ]


@pytest.mark.parametrize("epochs", [1, 60])
def test_curves_hold_what_was_measured(epochs: int) -> None:
    run = history(epochs)
    loss, accuracy, rate = plots.curves(run).axes
    for axes, fields in (
        (loss, ["train_loss", "test_loss"]),
        (accuracy, ["train_accuracy", "test_accuracy"]),
    ):
        for line, field in zip(axes.lines, fields, strict=True):
            assert line.get_label() == field.split("_")[0]
            assert np.asarray(line.get_ydata()).tolist() == run.column(field)
            assert np.asarray(line.get_xdata()).tolist() == run.column("epoch")
            assert line.get_marker() != "None"  # a single epoch has no line
    assert np.asarray(rate.lines[0].get_ydata()).tolist() == run.column("learning_rate")
    assert "sum of batch means / images" in loss.get_ylabel()
    assert [axes.get_ylabel().split("\n")[0] for axes in (loss, accuracy, rate)] == [
        "loss",
        "accuracy",
        "learning rate",
    ]


def test_train_and_test_are_told_apart_without_colour() -> None:
    for axes in plots.curves(history(3)).axes[:2]:
        train, test = axes.lines
        assert train.get_linestyle() != test.get_linestyle()
        assert train.get_marker() != test.get_marker()


def test_the_accuracy_that_is_written_is_the_last_epochs_and_not_the_best() -> None:
    run = history(60)
    assert max(run.column("test_accuracy")) == 0.9
    accuracy = plots.curves(run).axes[1]
    assert [text.get_text() for text in accuracy.texts] == ["test\n0.6000"]


def test_minutes_stand_above_the_epochs_that_they_end() -> None:
    figure = drawn(plots.curves(history(4)))  # 30, 60, 90 and 120 seconds
    loss = figure.axes[0]
    (above,) = loss.child_axes
    for epoch, minutes in ((0, 0), (1, 0.5), (2, 1.5), (3, 3), (4, 5)):
        below_x = loss.transData.transform((epoch, 0))[0]
        assert above.transData.transform((minutes, 0))[0] == pytest.approx(below_x)
    assert above.get_xlabel() == "minutes of training"


@pytest.mark.parametrize("losses", [(0.031, 0.032), (2.9, 0.11, 0.0027), (0.0319,), (INF, NAN, 0.0, 0.004)])
def test_losses_of_any_size_are_told_apart_and_can_be_read_off(losses: tuple[float, ...]) -> None:
    epochs = zip(history(len(losses)), losses, strict=True)
    run = History(replace(epoch, train_loss=0.03, test_loss=loss) for epoch, loss in epochs)
    axes = drawn(plots.curves(run)).axes[0]
    bottom, top = axes.get_ylim()
    finite = sorted(loss for loss in (0.03, *losses) if 0 < loss < INF)
    assert bottom < finite[0] < finite[-1] < top
    for lower, higher in pairwise(finite):
        if higher > 2 * lower:
            pixels_apart = axes.transData.transform([(1, lower), (1, higher)])[:, 1]
            assert pixels_apart[1] - pixels_apart[0] > 15
    ticks = [label.get_text() for label in axes.get_yticklabels() if bottom < label.get_position()[1] < top]
    assert ticks
    assert all(bottom < float(tick) < top for tick in ticks)


def test_a_history_without_epochs_has_no_curves() -> None:
    with pytest.raises(UsageError, match="the history has no epochs"):
        plots.curves(History())


def test_confusion_shows_counts_where_there_are_any() -> None:
    counts = np.array([[8, 2, 0], [0, 0, 0], [1, 3, 16]])
    axes = panels(plots.confusion(counts, ["cat", "dog", "bird"]))[0]
    shown = {(text.get_position()[1], text.get_position()[0]): int(text.get_text()) for text in axes.texts}
    assert shown == {(0, 0): 8, (0, 1): 2, (2, 0): 1, (2, 1): 3, (2, 2): 16}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert axes.get_title() == "24 of 30 test images right"


def test_confusion_is_shaded_by_the_share_of_the_true_class() -> None:
    axes = panels(plots.confusion(np.array([[900, 100, 0], [0, 0, 0], [1, 1, 8]]), ["cat", "dog", "bird"]))[0]
    colours = pixels(axes)
    np.testing.assert_allclose(colours[0, 1], colours[2, 0])  # a tenth each
    lightness = colours[..., :3].mean(-1)
    assert lightness[0, 0] < lightness[2, 2] < lightness[0, 1]
    assert colours[0, 2, 3] == 0  # nothing is there, so nothing is drawn
    assert all(tuple(cell) == to_rgba("0.85") for cell in colours[1])  # no images, no shares


@pytest.mark.parametrize("classes", [NAMES, LONG, LONG + NAMES])
def test_counts_fit_into_their_cells(classes: list[str]) -> None:
    counts = np.full((len(classes), len(classes)), 1000)
    axes = panels(drawn(plots.confusion(counts, classes)))[0]
    (left, top), (right, bottom) = axes.transData.transform([(-0.5, -0.5), (0.5, 0.5)])
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.width < right - left
        assert box.height < top - bottom


def luminance(colour: NDArray[np.float64]) -> float:
    """Return the relative luminance of an RGB colour, as WCAG 2 defines it."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_counts_are_readable_on_any_shade() -> None:
    counts = np.array(
        [[part, 100 - part] for part in range(1, 21)] + [[part, 100 - part] for part in range(30, 70)]
    )
    for rows in np.split(counts, 30):  # two classes at a time
        axes = panels(plots.confusion(rows, ["cat", "dog"]))[0]
        colours = pixels(axes)
        for text in axes.texts:
            column, row = text.get_position()
            cell = luminance(colours[int(row), int(column), :3])
            ink = luminance(np.array(to_rgba(text.get_color())[:3]))
            light, dark = max(cell, ink), min(cell, ink)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (rows, text)  # WCAG 2, level AA


def test_many_classes_have_no_counts_in_their_cells() -> None:
    assert panels(plots.confusion(matrix(20), names(20)))[0].texts
    assert not panels(plots.confusion(matrix(21), names(21)))[0].texts


def test_coefficients_have_a_panel_for_each_layer() -> None:
    given = {"blocks.0.conv": np.array([[0.1, 0.3], [0.2, 0.4]]), "blocks.1.conv": np.array([[1.0], [-2.0]])}
    figure = drawn(plots.coefficients(given, ["cat", "dog"]))
    for axes, (layer, mean) in zip(panels(figure), given.items(), strict=True):
        assert axes.get_title() == layer
        np.testing.assert_array_equal(axes.images[0].get_array(), mean)
    first = panels(figure)[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["cat", "dog"]
    left, right = first.get_xlim()
    assert [tick for tick in first.get_xticks() if left < tick < right] == [1, 2]  # kernels


def test_coefficients_below_0_are_marked_and_0_is_the_middle_of_the_colours() -> None:
    mean = np.array([[0.3, -0.1, np.nan], [-0.2, 0.0, np.nan]])
    axes = panels(plots.coefficients({"conv": mean}, ["cat", "dog"]))[0]
    (marks,) = axes.collections
    assert sorted(map(tuple, np.asarray(marks.get_offsets()))) == [
        (1, 1),
        (2, 0),
    ]  # kernel from 1, class from 0
    assert axes.images[0].get_clim() == (-0.3, 0.3)
    assert tuple(pixels(axes)[0, 2]) == to_rgba("0.85")


def test_positive_coefficients_take_the_whole_scale_unless_they_are_all_equal() -> None:
    apart, equal = np.array([[0.2, 0.3]]), np.array([[0.25, 0.25 + 1e-9]])
    figure = plots.coefficients({"apart": apart, "equal": equal}, ["cat"])
    first, second = panels(figure)
    assert first.images[0].get_clim() == (0.2, 0.3)
    assert second.images[0].get_clim() == (0, 0.25 + 1e-9)
    assert "below 0" not in words(figure)


def test_a_network_without_dynamic_layers_is_told_so() -> None:
    assert "no dynamic convolutions" in words(plots.coefficients({}, NAMES))


@pytest.mark.parametrize("channels", [1, 3])
def test_mistakes_show_each_image_with_its_names_and_confidence(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, channels, 4, 6), dtype=np.uint8)
    figure = drawn(plots.mistakes(images, ["cat", "deer"], ["dog", LONG[0]], [0.974, 0.5]))
    first, second = panels(figure)
    for axes, image in zip((first, second), images, strict=True):
        expected = np.moveaxis(np.broadcast_to(image, (3, 4, 6)), 0, -1) / 255
        np.testing.assert_allclose(pixels(axes)[..., :3], expected, atol=1e-6)
    assert first.get_title() == "cat → dog (97\u00a0%)"
    assert "".join(second.get_title().split()) == f"deer→{LONG[0]}(50%)"


def test_at_most_25_mistakes_are_shown() -> None:
    assert len(panels(gallery(30, NAMES))) == 25


def test_no_mistakes_at_all_are_told() -> None:
    assert words(gallery(0, NAMES)) == "No mistakes: every test image was classified correctly."


def test_pictures_are_saved_at_150_dots_an_inch_in_place_of_older_ones(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"an older picture")
    plots.save(plots.curves(history(2)), path)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (7 * 150, 8 * 150))
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_that_cannot_be_drawn_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"an older picture")
    figure = Figure()
    figure.text(0, 0, r"$\no{formula$")
    with pytest.raises(ValueError, match="no"):
        plots.save(figure, path)
    assert path.read_bytes() == b"an older picture"
    assert list(tmp_path.iterdir()) == [path]


def test_drawing_changes_nothing_of_matplotlibs(tmp_path: Path) -> None:
    def settings() -> dict[str, object]:
        # The backend is not compared: to look it up is to choose one.
        return {name: rcParams[name] for name in rcParams if name != "backend"}

    before = settings()
    plots.save(plots.coefficients(means(2, 2), ["cat", "dog"]), tmp_path / "coefficients.png")
    assert settings() == before


def test_drawing_needs_no_display_and_analysis_alone_no_matplotlib(tmp_path: Path) -> None:
    program = """
import sys
import dynaconv.analysis
assert "matplotlib" not in sys.modules, "imported with dynaconv.analysis"
import numpy as np
from dynaconv.analysis import plots
plots.save(plots.confusion(np.eye(2, dtype=int), ["cat", "dog"]), sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules, "imported to draw"
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "confusion_matrix.png")], check=True)
