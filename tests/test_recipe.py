"""A recipe holds every hyperparameter, says what is wrong with one, and reads back equal."""

from dataclasses import asdict, fields

import pytest

from dynaconv import Recipe, list_recipes
from dynaconv.errors import UsageError

PAPER = {
    "data": "cifar10",
    "batch_size": 64,
    "num_kernels": 6,
    "epochs": 60,
    "optimizer": "adam",
    "learning_rate": 0.002,
    "schedule": "constant",
    "weight_decay": 1e-5,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "label_smoothing": 0.0,
    "model": "seven_block",
    "routing": "linear",
}


def test_paper_is_the_brief() -> None:
    values = asdict(Recipe.load("paper"))
    assert {name: values[name] for name in PAPER} == PAPER


def test_the_defaults_are_the_brief() -> None:
    assert Recipe() == Recipe.load("paper")


@pytest.mark.parametrize("name", list_recipes())
def test_a_saved_recipe_reads_back_equal(name, tmp_path) -> None:
    recipe = Recipe.load(name, kernel_sizes=[5, [3, 5, 3, 5, 3, 5], 3, 3, 3, 3, 3], learning_rate=0.1 + 0.2)
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe


def test_changes_replace_fields() -> None:
    assert Recipe.load("paper", epochs=3).epochs == 3


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path) -> None:
    (tmp_path / "recipe.yaml").write_text("learning_rate: 1e-3\n")
    assert Recipe.load(tmp_path / "recipe.yaml").learning_rate == 0.001


def test_every_field_is_documented() -> None:
    from jsonargparse import ArgumentParser

    from dynaconv.training.recipe import add_recipe_options

    parser = ArgumentParser()
    add_recipe_options(parser)
    described = {action.dest for action in parser._actions if action.help}
    assert described >= {field.name for field in fields(Recipe)}


# A new option is a decision: it belongs here, in the docs and in the changelog.
OPTIONS = """data image_size batch_size crop flip cutout colour
model num_kernels kernel_sizes routing dropout method
epochs optimizer learning_rate schedule weight_decay betas eps label_smoothing
precision seed"""


def test_no_new_options() -> None:
    assert [field.name for field in fields(Recipe)] == OPTIONS.split()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_kernels": 0}, "num_kernels must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"image_size": 7}, "image_size must be at least 8, got 7"),
        ({"crop": 32}, "crop must be below image_size = 32, got 32"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, got -1.0"),
        ({"betas": (0.9, 1.0)}, "betas must be at least 0 and below 1"),
        ({"epochs": "three"}, "epochs must be a whole number, got 'three'"),
        ({"flip": "sometimes"}, "flip must be true or false, got 'sometimes'"),
        ({"optimizer": "adma"}, "Unknown optimizer 'adma'. Did you mean 'adam'?"),
        ({"epoch": 3}, "Unknown recipe field 'epoch'. Did you mean 'epochs'?"),
    ],
)
def test_a_wrong_value_is_named_with_the_remedy(values, message) -> None:
    with pytest.raises(UsageError) as error:
        Recipe.from_dict(values)
    assert message in str(error.value)


def test_an_unknown_recipe_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Unknown recipe 'papre'\. Did you mean 'paper'"):
        Recipe.load("papre")


def test_a_missing_or_broken_file_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        Recipe.load(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("epochs: [3")
    with pytest.raises(UsageError, match="not valid YAML"):
        Recipe.load(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 3")
    with pytest.raises(UsageError, match="must hold recipe fields"):
        Recipe.load(tmp_path / "list.yaml")
