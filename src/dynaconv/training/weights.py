"""Weights files: a network's tensors, and all that is needed to use them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dynaconv.data.images import Preprocessing
from dynaconv.errors import CheckpointError, UsageError
from dynaconv.files import replacing
from dynaconv.models import create_model

METADATA = "dynaconv"  # the key in the file's header under which ours is, as JSON


def describe(model: nn.Module, classes: tuple[str, ...], preprocessing: Preprocessing) -> None:
    """Note on the model, as ``.classes`` and ``.preprocessing``, what its weights file will carry."""
    model.__dict__.update(classes=classes, preprocessing=preprocessing)


def description(model: nn.Module) -> tuple[tuple[str, ...], Preprocessing]:
    """Return the model's classes and preprocessing.

    Raises:
        UsageError: If it has none.
    """
    if not hasattr(model, "preprocessing"):
        raise UsageError(
            "The model does not say what its classes are and how its images are prepared: load it with "
            "load_model, or train it on loaders of load_data."
        )
    described: Any = model
    return described.classes, described.preprocessing


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the model's weights, with its origin, classes and preprocessing as far as they are known."""
    preprocessing = getattr(model, "preprocessing", None)
    metadata = {
        "model": getattr(model, "origin", None),
        "classes": getattr(model, "classes", None),
        "preprocessing": None if preprocessing is None else asdict(preprocessing),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {METADATA: json.dumps(metadata)})


def load_model(source: str | Path) -> nn.Module:
    """Load a trained network, in eval mode, with ``.classes`` and ``.preprocessing``.

    Args:
        source: A run directory or a weights file (``.safetensors``).

    Raises:
        CheckpointError: If there is no such thing, or it does not hold a network of this package.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "weights" / "last.safetensors"
        if not path.is_file():
            raise CheckpointError(
                f"{source} holds no weights yet ({path} is not there): finish an epoch of training first, "
                f"or name another run directory or a weights file."
            )
    if not path.is_file():
        raise CheckpointError(
            f"There are no weights {str(source)!r}: give a run directory or a .safetensors file."
        )
    metadata, tensors = _read(path)
    if not metadata.get("model"):
        raise CheckpointError(
            f"{path} does not say which network it is for, so it was not saved by dynaconv from a network of "
            f"create_model: build that network and load the file with safetensors and load_state_dict."
        )
    model = create_model(metadata["model"]["name"], **metadata["model"]["arguments"])
    load_tensors(model, tensors, path)
    if metadata["preprocessing"] is not None:
        stored = metadata["preprocessing"]
        preprocessing = Preprocessing(stored["image_size"], tuple(stored["mean"]), tuple(stored["std"]))
        describe(model, tuple(metadata["classes"]), preprocessing)
    return model.eval()


def load_tensors(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put ``tensors``, read from ``path``, into the model.

    Raises:
        CheckpointError: If they are of another network.
    """
    own = model.state_dict()
    differences = [f"{name} is missing" for name in own if name not in tensors]
    differences += [f"{name} is unknown" for name in tensors if name not in own]
    differences += [
        f"{name} is {tuple(tensors[name].shape)} in place of {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise CheckpointError(
            f"{path} holds the weights of another network: {'; '.join(differences[:3])}{more}. "
            f"Build the network that they were saved from."
        )
    model.load_state_dict(tensors)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = (file.metadata() or {}).get(METADATA, "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole .safetensors file: {error}.") from error
    values: dict[str, Any] = json.loads(metadata)
    return values, tensors
