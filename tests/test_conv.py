import copy
import inspect
import math
import pickle
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaconv.layers import DynamicConv2d, Router, keep_coefficients
from tests.networks import One, varied


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("method", ["auto", "sum", "stacked", "grouped"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kernel_size": (2, 5)},
        {"stride": (2, 1)},
        {"padding": (0, 2)},
        {"padding": "valid"},
        {"padding": "same", "kernel_size": (4, 3)},
        {"padding": "same", "dilation": (1, 3)},
        {"dilation": (2, 1)},
        {"groups": 2},
        {"groups": 4, "bias": False},
        {"padding_mode": "reflect", "padding": (2, 1)},
        {"padding_mode": "replicate", "padding": (2, 1), "stride": 2},
        {"padding_mode": "circular", "padding": (2, 1), "groups": 2},
        {"padding_mode": "reflect", "padding": "same", "kernel_size": (4, 3), "dilation": (1, 2)},
        {"padding_mode": "circular", "padding": "valid"},
        {"dtype": torch.float64, "device": "cpu"},
    ],
    ids=str,
)
def test_one_kernel_taken_whole_is_conv2d(arguments: dict[str, Any], method: str) -> None:
    arguments = {"in_channels": 4, "out_channels": 8, "kernel_size": 3} | arguments
    static = nn.Conv2d(**arguments)
    dynamic = DynamicConv2d(**arguments, num_kernels=1, router=One(), method=method)
    dynamic.load_state_dict({name: tensor[None] for name, tensor in static.state_dict().items()})
    images = torch.randn(2, 4, 7, 9, dtype=static.weight.dtype)

    torch.testing.assert_close(dynamic(images), static(images))


def test_arguments_and_defaults_are_those_of_conv2d() -> None:
    ours = inspect.signature(DynamicConv2d).parameters
    theirs = inspect.signature(nn.Conv2d).parameters

    assert {name: ours[name].default for name in theirs} == {name: theirs[name].default for name in theirs}
    assert list(ours)[:8] == list(theirs)[:8]  # up to bias, also by position


@pytest.mark.parametrize("sizes", [None, (5, 3, 1)], ids=str)
def test_each_kernel_starts_as_conv2d_of_its_size_does(sizes: tuple[int, ...] | None) -> None:
    layer = DynamicConv2d(64, 96, 5, groups=2, num_kernels=3, mixed_kernel_sizes=sizes)

    for k, size in enumerate(sizes or (5, 5, 5)):
        static = nn.Conv2d(64, 96, size, groups=2)
        mine = layer.weight[k][layer.weight[k] != 0]
        assert mine.numel() == static.weight.numel()
        torch.testing.assert_close(mine.std(), static.weight.std(), rtol=0.05, atol=0)
        assert 0.9 < mine.abs().max() * math.sqrt(32 * size**2) <= 1
        assert layer.bias is not None
        assert 0.8 < layer.bias[k].abs().max() * math.sqrt(32 * size**2) <= 1
    assert len(layer.weight.flatten(1).unique(dim=0)) == 3


def test_starts_as_the_mean_of_its_kernels() -> None:
    layer = DynamicConv2d(3, 5, 3, padding=1, num_kernels=4)
    assert layer.bias is not None
    images = torch.randn(2, 3, 6, 7)

    expected = F.conv2d(images, layer.weight.mean(0), layer.bias.mean(0), padding=1)

    torch.testing.assert_close(layer(images), expected)


def test_takes_any_module_as_router() -> None:
    chosen = torch.tensor([[0.0, 1.0], [-2.0, 3.0]])

    class Table(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return chosen

    layer = DynamicConv2d(3, 5, 3, num_kernels=2, router=Table(), bias=False)
    images = torch.randn(2, 3, 6, 7)

    output = layer(images)

    torch.testing.assert_close(output[:1], F.conv2d(images[:1], layer.weight[1]))
    torch.testing.assert_close(output[1:], F.conv2d(images[1:], 3 * layer.weight[1] - 2 * layer.weight[0]))
    with pytest.raises(ValueError, match=re.escape("coefficients must be (N, K) with K = 3")):
        DynamicConv2d(3, 5, 3, num_kernels=3, router=Table())(images)


def test_keep_coefficients_shows_those_of_the_last_forward_pass() -> None:
    network = varied(nn.Sequential(DynamicConv2d(3, 4, 3), nn.ReLU(), nn.Sequential(DynamicConv2d(4, 5, 3))))
    first, last = network[0], network[2][0]
    images = torch.randn(2, 3, 8, 8)
    network(images)
    assert [layer.coefficients for layer in (first, last)] == [None, None]

    with keep_coefficients(network) as layers:
        assert layers == {"0": first, "2.0": last}
        for batch in (images, 2 * images[:1]):
            network(batch)
            torch.testing.assert_close(first.coefficients, first.router(batch).detach())
            assert not first.coefficients.requires_grad
            assert last.coefficients.shape == (len(batch), 4)
        with pytest.raises(RuntimeError, match="stop"), keep_coefficients(first):
            raise RuntimeError("stop")
        network(images)
        assert first.coefficients.shape == (2, 4)  # the inner context took nothing from the outer one

    network(images)
    assert [layer.coefficients for layer in (first, last)] == [None, None]


@pytest.mark.parametrize("arguments", [{}, {"bias": False}, {"mixed_kernel_sizes": (3, 1, 1, 3)}], ids=str)
def test_copies_pickles_and_state_dicts_give_the_same_layer(arguments: dict[str, Any]) -> None:
    layer, other = (varied(DynamicConv2d(3, 5, 3, **arguments)) for _ in range(2))
    images = torch.randn(2, 3, 8, 8)
    expected, others = layer(images), other(images)
    assert not torch.equal(expected, others)

    copied, pickled = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    mine, theirs = copy.deepcopy(layer.state_dict()), copy.deepcopy(other.state_dict())
    layer.load_state_dict(theirs)
    other.load_state_dict(mine)

    optional = {"bias": layer.bias, "kernel_mask": layer.kernel_mask}
    names = {"weight"} | {name for name, tensor in optional.items() if tensor is not None}
    assert {name for name in mine if not name.startswith("router.")} == names
    assert torch.equal(layer(images), others)
    for same in (copied, pickled, other):
        assert torch.equal(same(images), expected)


@pytest.mark.parametrize(
    "arguments",
    [{"mixed_kernel_sizes": (3, 1, 1, 3)}, {"groups": 2, "padding": "same", "padding_mode": "reflect"}],
    ids=str,
)
def test_exports_with_a_free_batch_and_compiles(arguments: dict[str, Any]) -> None:
    layer = varied(DynamicConv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3} | arguments))
    batch = torch.export.Dim("batch")
    program = torch.export.export(layer, (torch.randn(2, 4, 9, 8),), dynamic_shapes=({0: batch},)).module()
    # ONNX knows no number of groups that depends on the batch.
    convolutions = [n for n in program.graph.nodes if n.target is torch.ops.aten.conv2d.default]
    assert convolutions
    assert not any(isinstance(argument, torch.fx.Node) for n in convolutions for argument in n.args[3:])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")

    for size in (1, 3, 8):
        images = torch.randn(size, 4, 9, 8)
        torch.testing.assert_close(program(images), layer(images))
        torch.testing.assert_close(compiled(images), layer(images))


def test_made_on_the_meta_device_and_brought_to_life() -> None:
    layer = DynamicConv2d(4, 6, 3, device="meta")
    assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}
    assert layer(torch.empty(2, 4, 9, 8, device="meta")).shape == (2, 6, 7, 6)

    layer.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(math.nan)  # what is empty may hold anything
    layer.reset_parameters()
    assert isinstance(layer.router, Router)
    layer.router.reset_parameters()

    assert layer(torch.randn(2, 4, 9, 8)).isfinite().all()


def test_dtype_is_of_all_parameters() -> None:
    layer = DynamicConv2d(4, 6, 3, dtype=torch.float64, mixed_kernel_sizes=(3, 1, 1, 3))
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float64}
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        assert layer.to(dtype)(torch.randn(2, 4, 5, 5, dtype=dtype)).dtype == dtype


def test_shows_the_arguments_that_differ_from_the_defaults() -> None:
    plain = repr(DynamicConv2d(4, 6, 3))
    assert "4, 6, kernel_size=(3, 3), stride=(1, 1), num_kernels=4\n" in plain
    changed = repr(DynamicConv2d(4, 6, 3, padding="same", groups=2, bias=False, num_kernels=7))
    assert "padding='same', groups=2, num_kernels=7, bias=False\n" in changed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"out_channels": 0}, "out_channels must be at least 1, got 0"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"groups": 3}, "in_channels = 4 must be divisible by groups = 3"),
        ({"groups": 4}, "out_channels = 6 must be divisible by groups = 4"),
        ({"num_kernels": 0}, "num_kernels must be at least 1, got 0"),
        ({"kernel_size": (3, 0)}, "kernel_size must be at least 1, got (3, 0)"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size must be a number or a pair (height, width), got (3, 3, 3)"),
        ({"stride": 0}, "stride must be at least 1, got (0, 0)"),
        ({"dilation": (1, -1)}, "dilation must be at least 1, got (1, -1)"),
        ({"padding": -1}, "padding must be at least 0, got (-1, -1)"),
        ({"padding": "full"}, "padding must be numbers, 'same' or 'valid', got 'full'"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1, got stride (2, 2)"),
        ({"padding_mode": "mirror"}, "must be one of zeros, reflect, replicate, circular, got 'mirror'"),
        ({"method": "fft"}, "got 'fft'"),
    ],
    ids=str,
)
def test_errors_name_the_argument_and_its_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DynamicConv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3} | arguments)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 8, 8), "images must be (N, 4, H, W), got shape (4, 8, 8)"),
        ((2, 3, 8, 8), "images must be (N, 4, H, W), got shape (2, 3, 8, 8)"),
        ((2, 4, 2, 8), "the kernel covers 3 pixels of height (kernel_size 3, dilation 1)"),
    ],
    ids=str,
)
def test_images_that_do_not_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DynamicConv2d(4, 6, 3)(torch.zeros(shape))


def test_a_router_that_is_passed_in_keeps_its_weights() -> None:
    router = varied(Router(3, 4))
    before = copy.deepcopy(router.state_dict())
    layer = DynamicConv2d(3, 5, 3, router=router)
    layer.reset_parameters()
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.router.state_dict().items())
