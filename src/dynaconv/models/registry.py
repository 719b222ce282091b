"""Models by name."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from dynaconv.errors import UsageError, unknown

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register_model(builder: Builder) -> Builder:
    """Register a function or class under its name, for :func:`create_model`; use as a decorator.

    The builder takes ``num_classes`` and ``in_channels`` by keyword, and whatever else it likes; arguments
    must be plain values (numbers, strings, lists), since weights files carry them.

    Raises:
        ValueError: If another builder has that name.
    """
    name = builder.__name__
    known = _BUILDERS.get(name, builder)
    # A notebook's cell that is run again defines the same builder anew, which is no other one.
    if (known.__module__, known.__qualname__) != (builder.__module__, builder.__qualname__):
        raise UsageError(f"A model called {name!r} is registered already: choose another name.")
    _BUILDERS[name] = builder
    return builder


def list_models() -> list[str]:
    """Return the names that :func:`create_model` takes, sorted."""
    return sorted(_BUILDERS)


def create_model(name: str, **arguments: Any) -> nn.Module:
    """Build the model registered as ``name``.

    The model remembers both as ``model.origin``, so that weights saved from it can be loaded without saying
    again what it was.

    Args:
        name: One of :func:`list_models`.
        **arguments: Passed to the model, such as ``num_classes`` and ``num_kernels``.

    Raises:
        ValueError: If the name is unknown, or the model does not take an argument or its value.
    """
    if name not in _BUILDERS:
        raise unknown("model", name, _BUILDERS)
    builder = _BUILDERS[name]
    parameters = inspect.signature(builder).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        known = [parameter.name for parameter in parameters]
        for argument in arguments:
            if argument not in known:
                raise unknown(f"argument of {name}", argument, known)
    try:
        model = builder(**arguments)
    except ValueError as error:
        raise UsageError(f"{name} cannot be built so: {error}.") from error
    model.origin = {"name": name, "arguments": arguments}  # type: ignore[assignment]
    return model
