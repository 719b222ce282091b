"""The report of a run: Markdown that reads as it is, and that GitHub and Pandoc render."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from dynaconv.analysis.metrics import expected_calibration_error, per_class, top_k_accuracy
from dynaconv.errors import UsageError
from dynaconv.files import replacing
from dynaconv.training.history import Epoch, History

PICTURES = {
    "curves": "Loss, accuracy and learning rate, epoch by epoch:",
    "confusion_matrix": "Which class was taken for which, shaded by the share of the true class:",
    "mistakes": "The mistakes that the network was surest of:",
    "coefficients": "The mean coefficient of each kernel by true class, in every dynamic layer:",
}
LAST_EPOCHS = 5
MANY_CLASSES = 20  # from here on, the five likeliest are counted too


def write_report(
    folder: Path,
    *,
    history: History,
    recipe: dict[str, Any],
    environment: dict[str, Any],
    logits: Tensor,
    labels: Tensor,
    classes: Sequence[str],
) -> Path:
    """Write ``report.md`` into a run directory, with the pictures that are there, and return its path.

    Args:
        folder: The run directory.
        history: A row for each epoch.
        recipe: The recipe's fields and their values.
        environment: What the numbers depend on beside it; dictionaries in it may be nested.
        logits: Of the test images after the last epoch, ``(N, classes)``.
        labels: Their true classes, ``(N,)``.
        classes: The classes' names.

    Raises:
        ValueError: If the history is empty.
    """
    if not history:
        raise UsageError(f"There is nothing to report of {folder}: its history has no epochs.")
    sections = [
        f"# {_text(recipe['model'])} on {_text(recipe['data'])}",
        _result(history, len(labels)),
        "## Epochs",
        *_pictures(folder, "curves"),
        _epochs(history),
        "Loss is the sum of the batches' mean cross-entropies divided by the number of images: about the "
        "mean cross-entropy over the batch size. Training images are counted augmented, as they were seen.",
        "## Test images",
        _figures(logits, labels, len(classes)),
        _classes(logits, labels, classes),
        *_pictures(folder, "confusion_matrix", "mistakes", "coefficients"),
        "## Recipe",
        _table(("field", "value"), _flat(recipe)),
        "## Environment",
        _table(("what", "value"), _flat(environment)),
    ]
    path = folder / "report.md"
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return path


def _result(history: History, images: int) -> str:
    last = history[-1]
    epochs = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
    minutes = sum(history.column("seconds")) / 60
    return (
        f"**Test accuracy {last.test_accuracy:.4f}** on {images:,} images, after {epochs} and {minutes:.1f} "
        f"minutes of training. No figure is picked on the test set: the last epoch's is reported."
    )


def _epochs(history: History) -> str:
    header = (
        "epoch",
        "train loss",
        "test loss",
        "train accuracy",
        "test accuracy",
        "learning rate",
        "seconds",
    )
    shown = history[:1] + history[1:][-LAST_EPOCHS:]
    return _table(header, map(_epoch, shown), numbers_from=0)


def _epoch(epoch: Epoch) -> tuple[str, ...]:
    return (
        str(epoch.epoch),
        f"{epoch.train_loss:.6f}",
        f"{epoch.test_loss:.6f}",
        f"{epoch.train_accuracy:.4f}",
        f"{epoch.test_accuracy:.4f}",
        f"{epoch.learning_rate:.3g}",
        f"{epoch.seconds:.1f}",
    )


def _figures(logits: Tensor, labels: Tensor, num_classes: int) -> str:
    correct = int((logits.argmax(1) == labels).sum())
    error = expected_calibration_error(logits.softmax(1), labels)
    rows = [("accuracy", f"{correct / len(labels):.4f} ({correct:,} of {len(labels):,})")]
    if num_classes >= MANY_CLASSES:
        rows.append(("among the five likeliest", f"{top_k_accuracy(logits, labels, 5):.4f}"))
    rows += [
        ("mean cross-entropy", f"{F.cross_entropy(logits, labels):.4f}"),
        ("expected calibration error", f"{error:.4f} (mean gap of confidence and accuracy, 15 bins)"),
    ]
    return _table(("figure", "value"), rows)


def _classes(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> str:
    rows = [
        (entry.name, _score(entry.precision), _score(entry.recall), _score(entry.f1), f"{entry.support:,}")
        for entry in per_class(labels, logits.argmax(1), classes)
    ]
    return _table(("class", "precision", "recall", "F1", "images"), rows, numbers_from=1)


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _pictures(folder: Path, *names: str) -> Iterator[str]:
    for name in names:
        if (folder / f"{name}.png").exists():
            yield PICTURES[name]
            yield f"![{name.replace('_', ' ')}]({name}.png)"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values, those of a nested dictionary as ``outer.inner``."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int | None = None) -> str:
    """Return a table, aligned as it stands; columns from ``numbers_from`` on hold numbers."""
    cells = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    first = len(header) if numbers_from is None else numbers_from
    ruler = ["-" * (width - 1) + ("-" if i < first else ":") for i, width in enumerate(widths)]
    lines = []
    for row in (cells[0], ruler, *cells[1:]):
        words = [cell.ljust(width) for cell, width in zip(row[:first], widths, strict=False)]
        numbers = [cell.rjust(width) for cell, width in zip(row[first:], widths[first:], strict=True)]
        lines.append(f"| {' | '.join(words + numbers)} |")
    return "\n".join(lines)


def _text(value: object) -> str:
    """Return text of someone else's, such as a class's name, so that Markdown shows it as it is."""
    line = " ".join(str(value).split())
    # An underscore within a word is left: it means nothing there, and names stay readable.
    return re.sub(r"[\\`*\[\]<>|~$]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
