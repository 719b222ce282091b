"""Every hyperparameter of a run."""

import math
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

from dynaconv.errors import UsageError, unknown


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every hyperparameter of a run; the defaults are the brief's.

    Raises:
        ValueError: If a value is out of range.
    """

    data: str = "cifar10"
    """A data set by name, or the path of a folder or zip laid out as ``{train,test}/<class>/<image>``."""
    image_size: int = 32
    """Height and width in pixels; images of another size are resized once and cropped to their centre."""
    batch_size: int = 64
    """Images in a step, over all processes."""
    crop: int = 4
    """Each image is shifted by up to this many pixels either way, its edges mirrored."""
    flip: bool = True
    """Whether each image is mirrored left to right, every other time."""
    cutout: int = 0
    """Side in pixels of a square that is greyed out at a random place (Cutout, arXiv:1708.04552)."""
    colour: float = 0.0
    """Brightness, contrast and saturation change by a factor within 1 - colour and 1 + colour."""

    model: str = "seven_block"
    """A registered model."""
    num_kernels: int = 6
    """K, the kernels that each dynamic convolution mixes."""
    kernel_sizes: tuple[int | tuple[int, ...], ...] = (5, 5, 3, 3, 3, 3, 3)
    """For each Block an odd size, or a list of K odd sizes mixed in it."""
    routing: Literal["linear", "sigmoid", "softmax"] = "linear"
    """The routers' activation."""
    dropout: float = 0.1
    """Probability that an entry is dropped, after each pooling."""
    method: str = "auto"
    """How dynamic convolutions are computed; the numbers are the same up to rounding."""

    epochs: int = 60
    """Passes over the training images."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """``sgd`` has Nesterov momentum, the first of ``betas``."""
    learning_rate: float = 0.002
    """The peak of the schedule."""
    schedule: Literal["constant", "one_cycle"] = "constant"
    """``one_cycle`` rises over the first quarter of the steps and falls to zero, both linearly."""
    weight_decay: float = 1e-5
    """Added to the gradient by ``adam`` and ``sgd``, decoupled in ``adamw``."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the optimiser's running means."""
    eps: float = 1e-8
    """Added to Adam's denominator."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes, in training alone."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 where the processor has fast instructions for it, float32 elsewhere."""
    seed: int = 0
    """Of the initialisation, the order, the augmentation and the dropout."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_kernels", "epochs"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("image_size", self.image_size >= 8, "at least 8")
        for name in ("crop", "cutout", "seed"):
            self._check(name, getattr(self, name) >= 0, "at least 0")
        self._check("crop", self.crop < self.image_size, f"below image_size = {self.image_size}")
        self._check("colour", 0 <= self.colour <= 1, "from 0 to 1")
        for name in ("dropout", "label_smoothing"):
            self._check(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self._check("learning_rate", 0 < self.learning_rate < math.inf, "above 0")
        self._check("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0")
        self._check("eps", 0 < self.eps < math.inf, "above 0")
        self._check("betas", all(0 <= beta < 1 for beta in self.betas), "at least 0 and below 1")

    def _check(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise UsageError(f"{name} must be {rule}, got {getattr(self, name)}.")

    @classmethod
    def load(cls, name: str | Path, **changes: Any) -> "Recipe":
        """Load a recipe that ships (:func:`list_recipes`), or a YAML file of one.

        Args:
            name: ``"paper"``, say, or the path of a file that ends in .yaml or .yml.
            **changes: Fields that are to differ from it.

        Raises:
            ValueError: If there is no such recipe, or a field is unknown or its value out of range.
        """
        path = Path(name)
        if path.suffix in (".yaml", ".yml"):
            if not path.is_file():
                raise UsageError(f"There is no recipe {str(name)!r}: no such file.")
            text = path.read_text(encoding="utf-8")
        elif str(name) in list_recipes():
            text = files("dynaconv.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        else:
            raise unknown("recipe", str(name), list_recipes())
        try:
            values = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise UsageError(f"{name} is not valid YAML: {' '.join(str(error).split())}.") from error
        if not isinstance(values, dict):
            raise UsageError(f"{name} must hold recipe fields and their values, got {values!r}.")
        return cls.from_dict({**values, **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Build a recipe from plain values, converted to the fields' types.

        Raises:
            ValueError: If a field is unknown, or its value is of another type or out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("recipe field", str(name), known)
        parser = ArgumentParser(exit_on_error=False)
        add_recipe_options(parser)
        for name, value in values.items():
            try:
                parser.parse_object({name: value})
            except ArgumentError as error:
                raise bad_value(name, value) from error
        return cls(**vars(parser.parse_object(values)))

    def data_options(self) -> dict[str, Any]:
        """Return what :func:`dynaconv.load_data` takes by keyword."""
        names = ("image_size", "crop", "flip", "cutout", "colour", "seed")
        return {name: getattr(self, name) for name in names}

    def model_options(self) -> dict[str, Any]:
        """Return what :func:`dynaconv.create_model` takes by keyword, beside classes and channels."""
        names = ("num_kernels", "kernel_sizes", "routing", "dropout", "method")
        return {name: getattr(self, name) for name in names}

    def save(self, path: str | Path) -> None:
        """Write the recipe as YAML; :meth:`load` reads it back equal."""
        values = {name: _plain(value) for name, value in asdict(self).items()}
        text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, allow_unicode=True)
        Path(path).write_text(text, encoding="utf-8")


def add_recipe_options(parser: ArgumentParser) -> None:
    """Give ``parser`` an option for each field, with the field's type, default and line of doc."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser.add_class_arguments(Recipe, as_group=False)


def bad_value(name: str, value: Any) -> UsageError:
    """Return the error for a value that is not of the field's type."""
    kind: Any = Recipe.__dataclass_fields__[name].type
    if get_origin(kind) is Literal:
        return unknown(name, str(value), get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return UsageError(f"{name} must be {words.get(kind, kind)}, got {value!r}.")


def describe_recipe(name: str) -> str:
    """Return the comment that a recipe which ships begins with."""
    lines = files("dynaconv.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("#"), lines))


def _plain(value: Any) -> Any:
    return [_plain(entry) for entry in value] if isinstance(value, (tuple, list)) else value


def list_recipes() -> list[str]:
    """Return the names of the recipes that ship."""
    entries = files("dynaconv.recipes").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))
