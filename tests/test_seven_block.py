"""The network is the brief's: its layers, their order and sizes, and every number that comes out."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaconv import DynamicConv2d, Router, keep_coefficients
from dynaconv.models import seven_block
from tests.networks import trained

BRIEF = (5, 5, 3, 3, 3, 3, 3)
MIXED = ([5, 3], 5, [1, 3], 3, [3, 3], 1, [7, 1])  # of two kernels in each Block


def mlp(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Run three linear layers with a ReLU between them."""
    for number in (0, 2, 4):
        x = F.linear(x, state[f"{name}.{number}.weight"], state[f"{name}.{number}.bias"])
        x = F.relu(x) if number < 4 else x
    return x


def brief(state: dict[str, Tensor], kernel_sizes: tuple[Any, ...], images: Tensor) -> Tensor:
    """Compute the brief's network, line by line, from the weights of one."""
    x = images
    for number, sizes in enumerate(kernel_sizes, start=1):
        name = f"blocks.{number - 1}"
        kernels = state[f"{name}.conv.weight"]
        sizes = [sizes] * len(kernels) if isinstance(sizes, int) else sizes
        a = mlp(state, f"{name}.conv.router.mlp", x.mean((2, 3)))
        out = torch.zeros(())
        for k, (kernel, size) in enumerate(zip(kernels, sizes, strict=True)):
            margin = (kernel.shape[-1] - size) // 2
            own = kernel[:, :, margin : margin + size, margin : margin + size]
            out = out + a[:, k, None, None, None] * F.conv2d(x, own, padding=size // 2)
        mean, variance, weight, bias = (
            state[f"{name}.norm.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        out = F.relu((out - mean) / (variance + 1e-5).sqrt() * weight + bias)
        x = x + out if number in (4, 6, 7) else out
        if number == 2:
            x = F.avg_pool2d(x, 2)
        if number in (4, 7):
            x = F.max_pool2d(x, 2)
    return mlp(state, "classifier", x.mean((2, 3)))


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (32, 32), (40, 24)], ids=str)
@pytest.mark.parametrize(("num_kernels", "kernel_sizes"), [(6, BRIEF), (2, MIXED)], ids=["brief", "mixed"])
def test_numbers_are_those_of_the_brief(
    num_kernels: int, kernel_sizes: tuple[Any, ...], size: tuple[int, int]
) -> None:
    model = trained(num_kernels=num_kernels, kernel_sizes=kernel_sizes).double()
    images = torch.randn(3, 3, *size, dtype=torch.float64)

    torch.testing.assert_close(model(images), brief(model.state_dict(), kernel_sizes, images))


def test_layers_their_order_and_their_sizes() -> None:
    model, trace = seven_block(), []
    kinds = (nn.Linear, DynamicConv2d, nn.BatchNorm2d, nn.AvgPool2d, nn.MaxPool2d, nn.Dropout)
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(
                lambda module, _, output: trace.append((type(module).__name__, *output.shape[1:]))
            )
    model(torch.randn(2, 3, 32, 32))

    def block(channels: int, size: int) -> list[tuple[Any, ...]]:
        router = [("Linear", 512), ("Linear", 512), ("Linear", 6)]
        return [*router, ("DynamicConv2d", channels, size, size), ("BatchNorm2d", channels, size, size)]

    def pool(kind: str, channels: int, size: int) -> list[tuple[Any, ...]]:
        return [(kind, channels, size, size), ("Dropout", channels, size, size)]

    assert trace == [
        *block(32, 32),
        *block(32, 32),
        *pool("AvgPool2d", 32, 16),
        *block(64, 16),
        *block(64, 16),
        *pool("MaxPool2d", 64, 8),
        *block(128, 8),
        *block(128, 8),
        *block(128, 8),
        *pool("MaxPool2d", 128, 4),
        ("Linear", 1024),
        ("Linear", 512),
        ("Linear", 10),
    ]
    convolutions = [module for module in model.modules() if isinstance(module, DynamicConv2d)]
    assert [c.kernel_size for c in convolutions] == [(5, 5)] * 2 + [(3, 3)] * 5
    assert [c.padding for c in convolutions] == [(2, 2)] * 2 + [(1, 1)] * 5
    assert {c.num_kernels for c in convolutions} == {6}


def test_parameter_count_by_hand() -> None:
    kernels = 6 * (3 * 32 * 25 + 32 * 32 * 25 + 32 * 64 * 9 + 64 * 64 * 9 + (64 + 128 + 128) * 128 * 9)
    norms = 2 * (32 + 32 + 64 + 64 + 128 + 128 + 128)
    inputs = 3 + 32 + 32 + 64 + 64 + 128 + 128
    routers = (inputs * 512 + 7 * 512) + 7 * (512 * 512 + 512) + 7 * (512 * 6 + 6)
    classifier = (128 * 1024 + 1024) + (1024 * 512 + 512) + (512 * 10 + 10)

    assert sum(p.numel() for p in seven_block().parameters()) == kernels + norms + routers + classifier


def test_blocks_4_6_and_7_add_their_input() -> None:
    blocks: list[Any] = [*seven_block().eval().blocks]
    added, silent = [], []
    for block, channels in zip(blocks, (3, 32, 32, 64, 64, 128, 128), strict=True):
        nn.init.zeros_(block.norm.weight)
        nn.init.zeros_(block.norm.bias)
        images = torch.randn(2, channels, 9, 8)
        added.append(torch.equal(block(images), images))
        silent.append(not block(images).any())

    assert added == [False, False, False, True, False, True, True]
    assert silent == [True, True, True, False, True, False, False]


def test_dropout_follows_each_pooling_in_training_alone() -> None:
    model = trained(num_kernels=1, dropout=0.25)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), model(images))

    seen: list[tuple[Tensor, Tensor]] = []
    model.dropout.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    model.train()(images)
    for before, after in seen:
        assert ((after == 0) | torch.isclose(after, before / 0.75)).all()
        share = (after == 0)[before != 0].float().mean()
        assert 0.2 < share < 0.3


def test_coefficients_are_each_images_own_and_of_any_size() -> None:
    model, images = trained(), torch.randn(4, 3, 16, 16)
    for router in model.modules():
        if isinstance(router, Router):
            router.load_state_dict(router.state_dict() | {"mlp.4.bias": torch.linspace(-2, 3, 6)})

    with keep_coefficients(model) as layers:
        model(images)
        together = [layer.coefficients for layer in layers.values()]
        model(images[2:3])
        alone = [layer.coefficients for layer in layers.values()]

    assert len(together) == 7
    for batch, single in zip(together, alone, strict=True):
        assert batch is not None
        assert single is not None
        assert batch.shape == (4, 6)
        assert len(batch.unique(dim=0)) == 4
        assert batch.min() < 0  # no sigmoid
        assert batch.max() > 1
        assert not torch.isclose(batch.sum(1), torch.ones(4)).any()  # no softmax
        torch.testing.assert_close(single[0], batch[2], rtol=1e-4, atol=1e-4)


def test_routers_start_neutral() -> None:
    model = seven_block()
    with keep_coefficients(model) as layers:
        model(torch.randn(2, 3, 8, 8))
        for layer in layers.values():
            torch.testing.assert_close(layer.coefficients, torch.full((2, 6), 10.0))


def test_arguments_reach_the_layers() -> None:
    model = seven_block(routing="softmax", dropout=0.3, method="stacked")

    assert {m.activation for m in model.modules() if isinstance(m, Router)} == {"softmax"}
    assert {m.method for m in model.modules() if isinstance(m, DynamicConv2d)} == {"stacked"}
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}


def test_kernels_start_as_he_et_al_have_them() -> None:
    """Uniform within sqrt(6 / fan-in) (arXiv:1502.01852), by each kernel's own fan-in."""
    model = seven_block(kernel_sizes=(5, (3, 3, 3, 5, 5, 5), 3, 3, 3, 3, 3))
    layers = [layer for layer in model.modules() if isinstance(layer, DynamicConv2d)]
    first, mixed = layers[0].weight, layers[1].weight
    assert 0.99 < first.abs().max().item() / math.sqrt(6 / (3 * 25)) <= 1
    for kernel, size in zip(mixed, (3, 3, 3, 5, 5, 5), strict=True):
        assert 0.99 < kernel.abs().max().item() / math.sqrt(6 / (32 * size**2)) <= 1
