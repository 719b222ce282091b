import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import dynaconv
from dynaconv import create_model, list_models, register_model
from dynaconv.errors import UsageError
from dynaconv.models import registry


@pytest.fixture(autouse=True)
def only_our_own_stay() -> Iterator[None]:
    """Take what a test registers out again."""
    before = dict(registry._BUILDERS)
    yield
    registry._BUILDERS.clear()
    registry._BUILDERS.update(before)


def test_seven_block_is_there_from_the_start() -> None:
    assert "seven_block" in list_models()
    assert isinstance(create_model("seven_block"), nn.Module)


def test_arguments_reach_the_model() -> None:
    model = create_model("seven_block", num_classes=3, in_channels=1, num_kernels=2)

    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


def test_origin_is_enough_to_build_the_same_network_again() -> None:
    arguments = {"num_classes": 3, "num_kernels": 2, "kernel_sizes": [[5, 3], 3, 3, 3, 3, 3, 1]}
    model = create_model("seven_block", **arguments)
    assert model.origin == {"name": "seven_block", "arguments": arguments}

    origin: Any = model.origin
    again = create_model(origin["name"], **origin["arguments"])
    again.load_state_dict(model.state_dict())

    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(again.eval()(images), model.eval()(images))


def test_a_registered_function_can_be_created_by_its_name() -> None:
    @register_model
    def tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
        return nn.Linear(in_channels, num_classes)

    assert "tiny" in list_models()
    assert list_models() == sorted(list_models())
    model = create_model("tiny", num_classes=2)
    assert model(torch.zeros(1, 3)).shape == (1, 2)
    assert model.origin == {"name": "tiny", "arguments": {"num_classes": 2}}
    assert isinstance(tiny(), nn.Linear)  # the decorator leaves the function as it was


def test_a_registered_class_can_be_created_by_its_name() -> None:
    @register_model
    class Tiny(nn.Module):
        def __init__(self, num_classes: int = 10, in_channels: int = 3, depth: int = 1) -> None:
            super().__init__()
            self.depth = depth

    model = create_model("Tiny", depth=7)
    assert isinstance(model, Tiny)
    assert model.depth == 7


def test_a_builder_may_pass_on_whatever_it_is_given() -> None:
    @register_model
    def wrapper(num_classes: int = 10, in_channels: int = 3, **options: Any) -> nn.Module:
        return nn.Linear(in_channels, num_classes, **options)

    model = create_model("wrapper", bias=False)
    assert isinstance(model, nn.Linear)
    assert model.bias is None


def test_a_name_is_taken_once() -> None:
    builder = registry._BUILDERS["seven_block"]
    assert register_model(builder) is builder  # the same again is no clash

    def seven_block() -> nn.Module:
        return nn.Identity()

    with pytest.raises(ValueError, match="'seven_block' is registered already"):
        register_model(seven_block)
    assert registry._BUILDERS["seven_block"] is builder


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("seven_blok", {}, "Unknown model 'seven_blok'. Did you mean 'seven_block'? There are: "),
        ("xyz", {}, "Unknown model 'xyz'. There are: "),
        (
            "seven_block",
            {"num_clases": 3},
            "Unknown argument of seven_block 'num_clases'. Did you mean 'num_classes'? There are: dropout, ",
        ),
        ("seven_block", {"num_classes": 0}, "num_classes must be at least 1, got 0"),
    ],
)
def test_errors_name_what_is_wrong_and_the_nearest_name(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        create_model(name, **arguments)


def test_an_unknown_name_is_wrong_usage_to_the_command_line() -> None:
    with pytest.raises(UsageError) as caught:
        dynaconv.create_model("seven")
    assert caught.value.exit_code == 2
