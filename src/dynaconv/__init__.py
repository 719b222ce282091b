"""Dynamic convolution for PyTorch: kernels mixed anew for every image."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaconv.data.loaders import load_data as load_data
    from dynaconv.errors import DynaconvError as DynaconvError
    from dynaconv.layers import (
        DynamicConv2d as DynamicConv2d,
    )
    from dynaconv.layers import (
        Router as Router,
    )
    from dynaconv.layers import (
        dynamic_conv2d as dynamic_conv2d,
    )
    from dynaconv.layers import (
        keep_coefficients as keep_coefficients,
    )
    from dynaconv.models import (
        create_model as create_model,
    )
    from dynaconv.models import (
        list_models as list_models,
    )
    from dynaconv.models import (
        register_model as register_model,
    )
    from dynaconv.predict import predict as predict
    from dynaconv.training.history import History as History
    from dynaconv.training.loop import Evaluation as Evaluation
    from dynaconv.training.loop import evaluate as evaluate
    from dynaconv.training.loop import fit as fit
    from dynaconv.training.recipe import Recipe as Recipe
    from dynaconv.training.recipe import list_recipes as list_recipes
    from dynaconv.training.weights import load_model as load_model

__version__ = "0.1.0"

_MODULES = {
    "DynaconvError": "errors",
    "DynamicConv2d": "layers",
    "Evaluation": "training.loop",
    "History": "training.history",
    "Recipe": "training.recipe",
    "Router": "layers",
    "create_model": "models",
    "dynamic_conv2d": "layers",
    "evaluate": "training.loop",
    "fit": "training.loop",
    "keep_coefficients": "layers",
    "list_models": "models",
    "list_recipes": "training.recipe",
    "load_data": "data.loaders",
    "load_model": "training.weights",
    "predict": "predict",
    "register_model": "models",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    # Imported when first used: `dynaconv --help` answers without torch, the layers without the rest.
    if name not in _MODULES:
        raise AttributeError(f"module 'dynaconv' has no attribute {name!r}")
    return getattr(import_module(f"dynaconv.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # The import of dynaconv/predict.py must not put the module in the place of the function predict.
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
