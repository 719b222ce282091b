from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_it import MarkdownIt
from markdown_it.token import Token

from dynaconv.analysis.report import write_report
from dynaconv.errors import UsageError
from dynaconv.training.history import Epoch, History

RECIPE = {"data": "cifar10", "model": "seven_block", "kernel_sizes": (5, 5, 3), "betas": (0.9, 0.999)}
ENVIRONMENT = {
    "versions": {"python": "3.12.1", "torch": "2.6.0"},
    "threads": 2,
    "methods": {"blocks.0.conv": "mix_outputs", "blocks.1.conv": "mix_kernels"},
    "begun_with": {"versions": {"torch": "2.5.1"}},
}
CLASSES = ["cat", "dog", "bird"]
LABELS = torch.tensor([0, 0, 0, 1])
LOGITS = torch.tensor([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.3, 0.6, 0.1]]).log()


def history(epochs: int) -> History:
    """Return a history whose best epoch is the one before the last."""
    return History(
        Epoch(
            epoch=number,
            train_loss=0.03 / number,
            test_loss=0.035 / number,
            train_accuracy=0.5,
            test_accuracy=0.8888 if number == epochs - 1 else 0.75,
            learning_rate=0.002,
            seconds=30.0,
            test_seconds=3.0,
            images_per_second=1500.0,
        )
        for number in range(1, epochs + 1)
    )


def report(folder: Path, **changes: Any) -> str:
    given: dict[str, Any] = {
        "history": history(60),
        "recipe": RECIPE,
        "environment": ENVIRONMENT,
        "logits": LOGITS,
        "labels": LABELS,
        "classes": CLASSES,
    }
    path = write_report(folder, **{**given, **changes})
    assert path == folder / "report.md"
    return path.read_text(encoding="utf-8")


def rendered(token: Token) -> str:
    """Return an inline token's words as a reader sees them."""
    return "".join(child.content for child in token.children or [])


def tables(markdown: str) -> dict[tuple[str, ...], list[list[str]]]:
    """Return each table's rows, as they are rendered, by its header."""
    found: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    for before, token in pairwise(tokens):
        if before.type == "table_open":
            found.append([])
        elif before.type == "tr_open":
            found[-1].append([])
        elif before.type in ("th_open", "td_open"):
            found[-1][-1].append(rendered(token))
    return {tuple(header): rows for header, *rows in found}


def values(markdown: str, first: str) -> dict[str, str]:
    """Return a table of two columns, by what heads the first."""
    return dict(tables(markdown)[first, "value"])


def images(markdown: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(markdown)
    inline = [child for token in tokens for child in token.children or []]
    return [str(child.attrs["src"]) for child in inline if child.type == "image"]


def test_the_result_is_the_last_epochs_and_not_the_best(tmp_path: Path) -> None:
    text = report(tmp_path)
    assert text.startswith(
        "# seven_block on cifar10\n\n**Test accuracy 0.7500** on 4 images, after 60 epochs"
    )
    assert (
        "30.0 minutes of training. No figure is picked on the test set: the last epoch's is reported." in text
    )


def test_the_first_and_the_last_five_epochs_are_listed(tmp_path: Path) -> None:
    header = (
        "epoch",
        "train loss",
        "test loss",
        "train accuracy",
        "test accuracy",
        "learning rate",
        "seconds",
    )
    rows = tables(report(tmp_path))[header]
    assert [row[0] for row in rows] == ["1", "56", "57", "58", "59", "60"]
    assert rows[-1] == ["60", "0.000500", "0.000583", "0.5000", "0.7500", "0.002", "30.0"]


@pytest.mark.parametrize("epochs", [1, 5, 6])
def test_no_epoch_of_a_short_run_is_listed_twice(tmp_path: Path, epochs: int) -> None:
    found = [
        rows
        for header, rows in tables(report(tmp_path, history=history(epochs))).items()
        if header[0] == "epoch"
    ]
    assert [[row[0] for row in rows] for rows in found] == [[str(number) for number in range(1, epochs + 1)]]


def test_one_epoch_is_called_so(tmp_path: Path) -> None:
    assert "after 1 epoch and 0.5 minutes" in report(tmp_path, history=history(1))


def test_figures_by_hand(tmp_path: Path) -> None:
    figures = values(report(tmp_path), "figure")
    assert figures["accuracy"] == "0.7500 (3 of 4)"
    # -(2 ln .9 + ln .3 + ln .6) / 4, and 1/2 |1 - .9| + 1/2 |1/2 - .6|
    assert figures["mean cross-entropy"] == "0.4814"
    assert figures["expected calibration error"].startswith("0.1000 ")
    assert len(figures) == 3


def test_from_20_classes_on_the_five_likeliest_are_counted(tmp_path: Path) -> None:
    logits = -torch.arange(20.0).repeat(4, 1)
    classes = [f"class {number}" for number in range(20)]
    text = report(tmp_path, logits=logits, labels=torch.tensor([0, 4, 5, 19]), classes=classes)
    assert values(text, "figure")["among the five likeliest"] == "0.5000"


def test_classes_by_hand(tmp_path: Path) -> None:
    assert tables(report(tmp_path))["class", "precision", "recall", "F1", "images"] == [
        ["cat", "1.0000", "0.6667", "0.8000", "3"],
        ["dog", "0.5000", "1.0000", "0.6667", "1"],
        ["bird", "–", "–", "–", "0"],
    ]


def test_names_that_mean_something_in_markdown_are_shown_as_they_are(tmp_path: Path) -> None:
    names = [
        "a|b",
        "*a* **b**",
        "_a_ b_c __d",
        "<b>a</b>",
        "`a`",
        "[a](b)",
        "~~a~~",
        "a\\|b",
        "&lt;",
        "$a$",
    ]
    recipe = {"model": names[0], "data": names[1]}
    text = report(tmp_path, classes=names, logits=torch.eye(10), labels=torch.arange(10), recipe=recipe)
    assert [row[0] for row in tables(text)["class", "precision", "recall", "F1", "images"]] == names
    assert values(text, "field") == {"model": names[0], "data": names[1]}
    assert text.startswith("# a\\|b on \\*a\\*")


def test_underscores_within_words_stay_readable(tmp_path: Path) -> None:
    assert "| kernel_sizes | (5, 5, 3) " in report(tmp_path)


def test_recipe_and_environment_are_listed_with_what_is_nested_in_them(tmp_path: Path) -> None:
    text = report(tmp_path)
    assert values(text, "field") == {
        "data": "cifar10",
        "model": "seven_block",
        "kernel_sizes": "(5, 5, 3)",
        "betas": "(0.9, 0.999)",
    }
    assert values(text, "what") == {
        "versions.python": "3.12.1",
        "versions.torch": "2.6.0",
        "threads": "2",
        "methods.blocks.0.conv": "mix_outputs",
        "methods.blocks.1.conv": "mix_kernels",
        "begun_with.versions.torch": "2.5.1",
    }


def test_columns_stand_below_each_other_in_the_text_itself(tmp_path: Path) -> None:
    for block in report(tmp_path).split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            bars = [[place for place, letter in enumerate(line) if letter == "|"] for line in lines]
            assert all(places == bars[0] for places in bars)


def test_the_pictures_that_are_there_are_embedded(tmp_path: Path) -> None:
    assert images(report(tmp_path)) == []
    for name in ("coefficients.png", "curves.png"):
        (tmp_path / name).write_bytes(b"")
    assert images(report(tmp_path)) == ["curves.png", "coefficients.png"]
    for name in ("confusion_matrix.png", "mistakes.png"):
        (tmp_path / name).write_bytes(b"")
    assert images(report(tmp_path)) == [
        "curves.png",
        "confusion_matrix.png",
        "mistakes.png",
        "coefficients.png",
    ]


def test_a_run_without_epochs_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its history has no epochs"):
        report(tmp_path, history=History())
    assert list(tmp_path.iterdir()) == []
