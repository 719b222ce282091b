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


class One(nn.Module):
    """A router for a single kernel, always taken whole."""

    def forward(self, images: Tensor) -> Tensor:
        return images.new_ones(len(images), 1)


def varied(layer: nn.Module) -> Any:
    """Take the routers out of their neutral start, so that every image has its own coefficients."""
    for router in layer.modules():
        if isinstance(router, Router):
            last = router.mlp[-1]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight)
            nn.init.normal_(last.bias)
    return layer


def small_convolutions(layer: DynamicConv2d, images: Tensor) -> Tensor:
    """Return what ``layer`` must give, by a convolution of its own size for each of the mixed kernels."""
    assert layer.mixed_kernel_sizes is not None
    assert layer.bias is not None
    terms = []
    for k, size in enumerate(layer.mixed_kernel_sizes):
        top, left = ((length - size) // 2 for length in layer.kernel_size)
        kernel = layer.weight[k, :, :, top : top + size, left : left + size]
        side = size // 2 * layer.dilation[0]
        padding, mode = [side] * 4, "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        output = F.conv2d(
            F.pad(images, padding, mode), kernel, layer.bias[k], layer.stride, 0, layer.dilation, layer.groups
        )
        terms.append(layer.router(images)[:, k, None, None, None] * output)
    return torch.stack(terms).sum(0)


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


MIXED = {"in_channels": 4, "out_channels": 6, "kernel_size": 5, "padding": 2, "num_kernels": 4}
MIXED["mixed_kernel_sizes"] = (5, 3, 1, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2},
        {"dilation": 2, "padding": 4},
        {"groups": 2, "padding_mode": "reflect"},
        {"kernel_size": (5, 3), "padding": (2, 1), "mixed_kernel_sizes": (3, 1, 1, 3)},
    ],
    ids=str,
)
def test_mixed_sizes_are_separate_convolutions(arguments: dict[str, Any]) -> None:
    layer = varied(DynamicConv2d(**MIXED | arguments))
    images = torch.randn(3, 4, 9, 8)

    torch.testing.assert_close(layer(images), small_convolutions(layer, images))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda parameters: torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1),
    ],
    ids=["SGD", "Adam", "AdamW"],
)
def test_the_border_of_small_kernels_stays_zero(optimizer: Any) -> None:
    layer = varied(DynamicConv2d(**MIXED))
    before, border = layer.weight.detach().clone(), layer.weight == 0
    assert border.sum() == 6 * 4 * (0 + 16 + 24 + 16)

    stepper = optimizer(layer.parameters())
    for _ in range(3):
        stepper.zero_grad()
        layer(torch.randn(3, 4, 9, 8)).square().sum().backward()
        stepper.step()

    assert torch.equal(layer.weight == 0, border)
    assert (layer.weight != before)[~border].all()


def test_what_is_loaded_into_the_border_does_not_count() -> None:
    layer = varied(DynamicConv2d(**MIXED))
    images = torch.randn(3, 4, 9, 8)
    expected = layer(images)
    filled = torch.where(layer.weight == 0, 1e6, layer.weight)

    layer.load_state_dict(layer.state_dict() | {"weight": filled})
    output = layer(images)
    output.sum().backward()

    assert torch.equal(output, expected)
    assert (layer.weight.grad[filled == 1e6] == 0).all()


def test_keep_coefficients_shows_those_of_the_last_forward_pass() -> None:
    network = varied(nn.Sequential(DynamicConv2d(3, 4, 3), nn.ReLU(), nn.Sequential(DynamicConv2d(4, 5, 3))))
    first, images = network[0], torch.randn(2, 3, 8, 8)
    network(images)
    assert first.coefficients is None

    with keep_coefficients(network) as layers:
        assert list(layers) == ["0", "2.0"]
        for batch in (images, 2 * images[:1]):
            network(batch)
            torch.testing.assert_close(first.coefficients, first.router(batch).detach())
            assert not first.coefficients.requires_grad
            assert layers["2.0"].coefficients.shape == (len(batch), 4)
        with pytest.raises(RuntimeError, match="stop"), keep_coefficients(first):
            raise RuntimeError("stop")
        network(images)
        assert first.coefficients.shape == (2, 4)  # the inner context took nothing from the outer one

    network(images)
    assert first.coefficients is None
    assert layers["2.0"].coefficients is None


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

    assert {name for name in mine if not name.startswith("router.")} == {"weight", "bias"} - (
        {"bias"} if layer.bias is None else set()
    )
    assert torch.equal(layer(images), others)
    for same in (copied, pickled, other):
        assert torch.equal(same(images), expected)


@pytest.mark.parametrize("arguments", [{}, MIXED], ids=["plain", "mixed"])
def test_made_on_the_meta_device_and_brought_to_life(arguments: dict[str, Any]) -> None:
    layer = DynamicConv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3} | arguments, device="meta")
    assert {tensor.device.type for tensor in [*layer.parameters(), *layer.buffers()]} == {"meta"}
    assert layer(torch.empty(2, 4, 9, 8, device="meta")).shape[:2] == (2, 6)

    layer.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*layer.parameters(), *layer.buffers()]:
            tensor.fill_(math.nan)  # what is empty may hold anything
    layer.reset_parameters()

    images = torch.randn(2, 4, 9, 8)
    if layer.mixed_kernel_sizes is None:
        assert layer(images).isfinite().all()
    else:
        torch.testing.assert_close(layer(images), small_convolutions(layer, images))


def test_device_and_dtype_are_of_all_parameters() -> None:
    layer = DynamicConv2d(**MIXED, dtype=torch.float64)
    assert {tensor.dtype for tensor in [*layer.parameters(), *layer.buffers()]} == {torch.float64}
    assert layer.half()(torch.randn(1, 4, 5, 5).half()).dtype == torch.float16


@pytest.mark.parametrize(
    "arguments", [MIXED, {"groups": 2, "padding": "same", "padding_mode": "reflect"}], ids=["mixed", "reflect"]
)
def test_exports_with_a_free_batch_and_compiles(arguments: dict[str, Any]) -> None:
    layer = varied(DynamicConv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3} | arguments))
    batch = torch.export.Dim("batch")
    program = torch.export.export(layer, (torch.randn(2, 4, 9, 8),), dynamic_shapes=({0: batch},)).module()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")

    for size in (1, 3, 8):
        images = torch.randn(size, 4, 9, 8)
        torch.testing.assert_close(program(images), layer(images))
        torch.testing.assert_close(compiled(images), layer(images))


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
        ({"mixed_kernel_sizes": (3, 1)}, "mixed_kernel_sizes must be K = 4 odd sizes"),
        ({"mixed_kernel_sizes": (3, 1, 2, 3)}, "odd sizes, at most kernel_size = (3, 3), got (3, 1, 2, 3)"),
        ({"mixed_kernel_sizes": (3, 1, 5, 3)}, "odd sizes, at most kernel_size = (3, 3), got (3, 1, 5, 3)"),
        ({"mixed_kernel_sizes": (3, 1, -1, 3)}, "got (3, 1, -1, 3)"),
        (
            {"mixed_kernel_sizes": (1, 1, 1, 3), "kernel_size": (3, 4)},
            "mixed_kernel_sizes need an odd kernel_size, got (3, 4)",
        ),
    ],
    ids=str,
)
def test_errors_name_the_argument_and_its_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DynamicConv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3} | arguments)


@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 3, 8, 8), (2, 4, 2, 8)], ids=str)
def test_images_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape("got shape") + "|covers 3 pixels of height"):
        DynamicConv2d(4, 6, 3)(torch.zeros(shape))
