"""What a run measured, epoch by epoch."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dynaconv.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch measured."""

    epoch: int
    """Number, from 1."""
    train_loss: float
    """Sum of the batches' mean cross-entropies, divided by the number of images, as the brief has it."""
    test_loss: float
    """The same over the test images."""
    train_accuracy: float
    """Correct / total over the augmented training images, as they were seen."""
    test_accuracy: float
    """Correct / total over the test images."""
    learning_rate: float
    """Of the last step."""
    seconds: float
    """Time spent training."""
    test_seconds: float
    """Time spent testing."""
    images_per_second: float
    """Training images per second of training."""

    def line(self) -> str:
        """Return the brief's line for this epoch."""
        return (
            f"Epoch {self.epoch}, Average Loss (train) : {self.train_loss}, "
            f"Average Loss (test){self.test_loss}, "
            f"Training Accuracy: {self.train_accuracy}, Testing Accuracy {self.test_accuracy}"
        )


class History(list[Epoch]):
    """The epochs of a run, in order."""

    def column(self, name: str) -> list[float]:
        """Return one field of every epoch, such as ``test_accuracy``."""
        return [getattr(epoch, name) for epoch in self]

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each epoch, with a header; numbers so that they read back to the same bits."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(epoch) for epoch in self)

    @classmethod
    def from_csv(cls, path: str | Path) -> "History":
        """Read what :meth:`to_csv` wrote.

        Raises:
            CheckpointError: If the file is not such a table.
        """
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        try:
            return cls(Epoch(**{name: _number(name, text) for name, text in row.items()}) for row in rows)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is not the history of a run: {error}.") from error


def _number(name: str, text: str) -> Any:
    return int(text) if name == "epoch" else float(text)
