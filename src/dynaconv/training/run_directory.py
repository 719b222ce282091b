"""The files of a run."""

import json
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from dynaconv import __version__
from dynaconv.errors import CheckpointError
from dynaconv.files import replacing
from dynaconv.layers import DynamicConv2d
from dynaconv.layers.methods import resolve_method
from dynaconv.terminal import say
from dynaconv.training.checkpoint import LAST, PREVIOUS
from dynaconv.training.history import Epoch, History
from dynaconv.training.recipe import Recipe
from dynaconv.training.weights import save_weights

LIBRARIES = ("torch", "torchvision", "accelerate", "numpy", "pillow")


class RunDirectory:
    """Where a run keeps its recipe, environment, history, checkpoints and weights.

    Args:
        path: The folder; made when the run begins.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.environment = self.path / "environment.json"
        self.history = self.path / "history.csv"
        self.log = self.path / "train.log"
        self.checkpoints = self.path / "checkpoints"
        self.checkpoint = self.checkpoints / LAST
        self.weights = self.path / "weights" / "last.safetensors"
        self.tensorboard = self.path / "tensorboard"
        self._scalars: SummaryWriter | None = None

    def holds_a_run(self) -> bool:
        """Tell whether a run was begun here."""
        return self.recipe.exists()

    def has_checkpoint(self) -> bool:
        """Tell whether there is a state to resume from."""
        return self.checkpoint.exists() or (self.checkpoints / PREVIOUS).exists()

    def check(self, recipe: Recipe, resume: bool) -> None:
        """Check that a run of ``recipe`` may begin here or, with ``resume``, go on.

        Raises:
            CheckpointError: If a run is here and is not to be resumed, or was begun with another recipe.
        """
        if not self.holds_a_run():
            return
        if not resume:
            raise CheckpointError(
                f"{self.path} holds a run already, and it is not overwritten: go on with it (--resume), "
                f"choose another directory (--run), or have it replaced (--overwrite)."
            )
        begun = Recipe.load(self.recipe)
        changes = [
            f"{name} was {old}, is {getattr(recipe, name)}"
            for name, old in asdict(begun).items()
            if old != getattr(recipe, name) and not _may_change(name, begun, recipe)
        ]
        if changes:
            raise CheckpointError(
                f"{self.path} was begun with another recipe: {'; '.join(changes)}. Resume it with its own, "
                f"{self.recipe}, or begin another run directory."
            )

    def open(self, recipe: Recipe, environment: dict[str, Any], resume: bool) -> None:
        """Begin a run here, or go on with the one that is here.

        Raises:
            CheckpointError: As :meth:`check` does, and if the run was begun with other images.
        """
        self.check(recipe, resume)
        if self.holds_a_run():
            environment = {**environment, "begun_with": self._check_environment(environment)}
        elif resume:
            say(f"{self.path} holds no run to resume: beginning one.")
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.weights.parent.mkdir(exist_ok=True)
        with replacing(self.environment) as temporary:
            temporary.write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
        with replacing(self.recipe) as temporary:  # last: from here on the folder holds a run
            recipe.save(temporary)

    def _check_environment(self, environment: dict[str, Any]) -> dict[str, Any]:
        """Return the environment that the run was begun with, if it had the same images."""
        begun: dict[str, Any] = json.loads(self.environment.read_text(encoding="utf-8"))
        if begun["data"] != environment["data"]:
            raise CheckpointError(
                f"{self.path} was begun with other images (SHA-256 {begun['data']}, now "
                f"{environment['data']}): give it the same, or begin another run directory."
            )
        if begun["threads"] != environment["threads"]:
            say(
                f"{self.path} was begun with {begun['threads']} threads and goes on with "
                f"{environment['threads']}: its numbers will differ in the last digits."
            )
        first: dict[str, Any] = begun.get("begun_with", begun)
        return first

    def record(self, model: nn.Module, history: History) -> None:
        """Write the history, the log, the weights and the scalars after an epoch."""
        with replacing(self.history) as temporary:
            history.to_csv(temporary)
        with replacing(self.log) as temporary:
            temporary.write_text("".join(f"{epoch.line()}\n" for epoch in history))
        save_weights(self.weights, model)
        self._write_scalars(history[-1])

    def _write_scalars(self, epoch: Epoch) -> None:
        if self._scalars is None:
            # What a run that was killed wrote from this epoch on is hidden by the purge.
            self._scalars = SummaryWriter(str(self.tensorboard), purge_step=epoch.epoch)
        for name, value in asdict(epoch).items():
            if name != "epoch":
                self._scalars.add_scalar(name, value, epoch.epoch)
        self._scalars.flush()

    def close(self) -> None:
        """Close what is open; the run can be gone on with."""
        if self._scalars is not None:
            self._scalars.close()
            self._scalars = None

    def remove(self) -> None:
        """Delete the run; files that are not a run's stay."""
        for path in (self.recipe, self.environment, self.history, self.log):
            path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.weights.parent, self.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)


def _may_change(name: str, begun: Recipe, recipe: Recipe) -> bool:
    # A constant schedule does not know where it ends, so a longer run is the same run.
    return name == "epochs" and begun.schedule == "constant" and recipe.epochs > begun.epochs


def describe_environment(
    model: nn.Module, device: torch.device, num_processes: int, precision: str, fingerprint: str | None
) -> dict[str, Any]:
    """Return what the numbers of a run depend on beside its recipe, as plain values."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, DynamicConv2d)}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {
        "versions": {
            "dynaconv": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "system": platform.platform(),
        "device": {"type": device.type, "name": name},
        "threads": torch.get_num_threads(),
        "processes": num_processes,
        "precision": precision,
        "data": fingerprint,
        "methods": {name: resolve_method(layer.method) for name, layer in layers.items()},
    }


def processor_name() -> str:
    """Return what this machine calls its processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
