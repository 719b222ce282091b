"""The network under everything that one does to a network: training, export, copies, mistakes."""

import copy
import pickle
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dynaconv.models import seven_block
from tests.networks import trained, varied

MIXED = ([5, 3], 5, [1, 3], 3, [3, 3], 1, [7, 1])  # of two kernels in each Block


@pytest.mark.parametrize(
    "arguments",
    [
        {"in_channels": 1, "num_classes": 1, "num_kernels": 1},
        {"in_channels": 4, "num_classes": 2, "kernel_sizes": [[1, 3, 5, 7, 9, 11]] * 7},
        {"num_classes": 100, "num_kernels": 32, "routing": "softmax"},
        {"routing": "sigmoid", "method": "stacked", "dropout": 0.0},
        {"num_kernels": 2, "kernel_sizes": MIXED, "method": "sum"},
    ],
    ids=str,
)
def test_every_parameter_learns_whatever_the_arguments(arguments: dict[str, Any]) -> None:
    model = varied(seven_block(**arguments))

    logits = model(torch.randn(2, arguments.get("in_channels", 3), 9, 8))
    assert logits.shape == (2, arguments.get("num_classes", 10))
    logits.square().sum().backward()

    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []


def test_learns_a_batch_by_heart() -> None:
    model, images, labels = seven_block(num_kernels=2), torch.randn(10, 3, 8, 8), torch.arange(10)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    for _ in range(50):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    assert model.eval()(images).argmax(1).tolist() == labels.tolist()


def test_exports_with_a_free_batch() -> None:
    model = trained(num_kernels=2)
    batch = torch.export.Dim("batch")
    images = torch.randn(8, 3, 8, 8)
    program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: batch},)).module()

    for size in (1, 3, 8):
        torch.testing.assert_close(program(images[:size]), model(images[:size]), rtol=1e-4, atol=1e-4)


def test_compiles_as_one_graph() -> None:
    model = trained(num_kernels=2)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    images = torch.randn(2, 3, 8, 8)

    torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-4)


def test_autocast_and_channels_last_give_nearly_the_same() -> None:
    model, images = seven_block().eval(), torch.randn(2, 3, 16, 16)
    expected = model(images)

    channels_last = model(images.to(memory_format=torch.channels_last))
    with torch.autocast("cpu", torch.bfloat16):
        half = model(images)

    torch.testing.assert_close(channels_last, expected)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0, atol=0.05 * expected.abs().max().item())


def test_copies_pickles_and_state_dicts_give_the_same_network() -> None:
    model, images = trained(num_kernels=2, kernel_sizes=MIXED), torch.randn(2, 3, 8, 8)
    fresh = seven_block(num_kernels=2, kernel_sizes=MIXED).eval()
    fresh.load_state_dict(model.state_dict())

    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fresh):
        assert torch.equal(same(images), model(images))


def test_an_empty_batch_and_a_single_image() -> None:
    model = seven_block()
    assert model(torch.randn(1, 3, 8, 8)).shape == (1, 10)  # in training too
    assert model.eval()(torch.zeros(0, 3, 8, 8)).shape == (0, 10)


@pytest.mark.parametrize("shape", [(2, 3, 7, 7), (2, 3, 8, 7), (2, 1, 8, 8), (3, 8, 8)], ids=str)
def test_images_that_do_not_fit(shape: tuple[int, ...]) -> None:
    message = f"images must be (N, 3, H, W) with H and W at least 8, got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        seven_block(num_kernels=1)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_kernels": 0}, "num_kernels and hidden_features must be at least 1, got 3, 0"),
        ({"in_channels": 0}, "must be at least 1, got 0"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        (
            {"kernel_sizes": (5, 5, 3, 3, 3, 3)},
            "kernel_sizes must have 7 entries, one a Block, got (5, 5, 3,",
        ),
        ({"kernel_sizes": (5, 5, 3, 3, 3, 3, 3, 3)}, "kernel_sizes must have 7 entries"),
        ({"kernel_sizes": (5, 4, 3, 3, 3, 3, 3)}, "odd sizes or lists of K odd sizes, got 4"),
        ({"kernel_sizes": (5, -1, 3, 3, 3, 3, 3)}, "got -1"),
        ({"kernel_sizes": ([5, 3, 3, 3, 3, 2], 5, 3, 3, 3, 3, 3)}, "got [5, 3, 3, 3, 3, 2]"),
        ({"kernel_sizes": ([], 5, 3, 3, 3, 3, 3)}, "got []"),
        ({"kernel_sizes": ([5, 3], 5, 3, 3, 3, 3, 3)}, "kernel_sizes must be K = 6 odd sizes"),
        ({"routing": "tanh"}, "must be one of linear, sigmoid, softmax, got 'tanh'"),
        ({"dropout": 1.5}, "dropout probability has to be between 0 and 1, but got 1.5"),
        ({"method": "fft"}, "got 'fft'"),
    ],
    ids=str,
)
def test_errors_name_the_argument_and_its_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        seven_block(**arguments)
