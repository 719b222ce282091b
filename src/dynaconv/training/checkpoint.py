"""Save and load the whole state of a run."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dynaconv.errors import CheckpointError, TrainingError
from dynaconv.files import replacing
from dynaconv.terminal import say
from dynaconv.training.history import Epoch, History
from dynaconv.training.tally import Tally
from dynaconv.training.weights import load_tensors

LAST, PREVIOUS = "last.pt", "previous.pt"


@dataclass
class Progress:
    """How far a run is. The random numbers of a step are functions of it, so no generator's state is kept."""

    epoch: int = 1
    """The epoch that is under way, from 1."""
    batch: int = 0
    """How many of its batches are done."""
    seconds: float = 0.0
    """Time spent training in it."""
    tally: Tally = field(default_factory=Tally)
    """What they gave."""
    history: History = field(default_factory=History)
    """The epochs that are done."""

    def close(self, epoch: Epoch) -> None:
        """Close the epoch with what it measured."""
        self.history.append(epoch)
        self.epoch, self.batch, self.seconds, self.tally = self.epoch + 1, 0, 0.0, Tally()


def save_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer, progress: Progress) -> None:
    """Write the state of a run, keeping the checkpoint before it beside it.

    Raises:
        TrainingError: If a weight is not finite; nothing is written then.
    """
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise TrainingError(
                f"{name} is not finite in epoch {progress.epoch} after step {progress.batch}: not saved. "
                f"Try a lower learning rate."
            )
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": {**asdict(progress), "history": [asdict(epoch) for epoch in progress.history]},
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)
        if path.exists():
            path.replace(path.with_name(PREVIOUS))


def load_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer) -> Progress:
    """Restore what :func:`save_checkpoint` wrote, or the checkpoint before it where that one is damaged.

    Raises:
        CheckpointError: If neither can be read, or they are of another network.
    """
    previous = path.with_name(PREVIOUS)
    try:
        state = _read(path)
    except CheckpointError as error:
        if not previous.is_file():
            raise
        say(f"{error} Going on from the one before it, {previous}.")
        state = _read(previous)
    values = state["progress"]
    load_tensors(model, state["model"], path)
    optimizer.load_state_dict(state["optimizer"])
    return Progress(
        values["epoch"],
        values["batch"],
        values["seconds"],
        Tally(**values["tally"]),
        History(Epoch(**epoch) for epoch in values["history"]),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not there.") from error
    except (RuntimeError, EOFError, UnpicklingError, KeyError) as error:
        reason = str(error).split(chr(10))[0]
        raise CheckpointError(f"{path} is damaged and cannot be read ({reason}).") from error
    return state
