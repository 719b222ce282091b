"""Kernels of several sizes within one layer: the smaller ones count as zero-padded larger ones."""

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynaconv.layers import DynamicConv2d, Router
from tests.networks import varied

MIXED: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 6,
    "kernel_size": 5,
    "padding": 2,
    "num_kernels": 4,
    "mixed_kernel_sizes": (5, 3, 1, 3),
}


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
        lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=0.1),
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
        layer(torch.randn(3, 4, 9, 8)).square().mean().backward()
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


def test_made_on_the_meta_device_and_brought_to_life() -> None:
    layer = DynamicConv2d(**MIXED, device="meta")
    assert {tensor.device.type for tensor in [*layer.parameters(), *layer.buffers()]} == {"meta"}

    layer.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*layer.parameters(), *layer.buffers()]:
            tensor.fill_(math.nan)  # what is empty may hold anything
    layer.reset_parameters()
    assert isinstance(layer.router, Router)
    layer.router.reset_parameters()

    images = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(layer(images), small_convolutions(layer, images))


@pytest.mark.parametrize(
    ("kernel_size", "sizes", "message"),
    [
        (3, (3, 1), "mixed_kernel_sizes must be K = 4 odd sizes, at most kernel_size = (3, 3), got (3, 1)"),
        (3, (3, 1, 2, 3), "got (3, 1, 2, 3)"),
        (3, (3, 1, 5, 3), "got (3, 1, 5, 3)"),
        (3, (3, 1, -1, 3), "got (3, 1, -1, 3)"),
        ((5, 3), (3, 1, 5, 3), "at most kernel_size = (5, 3), got (3, 1, 5, 3)"),
        ((3, 4), (3, 1, 1, 3), "mixed_kernel_sizes need an odd kernel_size, got (3, 4)"),
    ],
    ids=str,
)
def test_errors_name_the_argument_and_its_value(
    kernel_size: Any, sizes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DynamicConv2d(4, 6, kernel_size, num_kernels=4, mixed_kernel_sizes=sizes)
