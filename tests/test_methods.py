"""Every way to compute the operator gives the same numbers, whatever torch does to it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dynaconv.layers import METHODS, dynamic_conv2d

ALL = ["auto", *METHODS]
operator: Callable[..., Tensor] = dynamic_conv2d
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@dataclass
class Case:
    """A call: shapes and arguments; the numbers come from the seed."""

    batch: int
    kernels: int
    channels_in: int
    channels_out: int
    kernel_size: tuple[int, int]
    image: tuple[int, int]
    arguments: dict[str, Any]
    bias: bool = True
    channels_last: bool = False
    seed: int = 0

    def tensors(self, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """Return input, weight, coefficients and, if there is one, bias."""
        random = torch.Generator().manual_seed(self.seed)
        channels = self.channels_in // self.arguments.get("groups", 1)
        shapes: list[tuple[int, ...]] = [
            (self.batch, self.channels_in, *self.image),
            (self.kernels, self.channels_out, channels, *self.kernel_size),
            (self.batch, self.kernels),
            (self.kernels, self.channels_out),
        ]
        tensors = [torch.randn(s, generator=random, dtype=torch.float64).to(dtype) for s in shapes]
        if self.channels_last:
            tensors[0] = tensors[0].to(memory_format=torch.channels_last)
        return tensors if self.bias else tensors[:3]


ARGUMENTS = {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1), "groups": 2}
EXAMPLE = Case(2, 3, 4, 6, (3, 2), (5, 4), ARGUMENTS)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def number_or_pair(low: int, high: int) -> int | tuple[int, int]:
        number = st.integers(low, high)
        return draw(number | st.tuples(number, number))

    def both(value: int | tuple[int, int]) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else value

    kernel_size, dilation = both(number_or_pair(1, 4)), number_or_pair(1, 3)
    padding: Any = draw(st.sampled_from(["same", "valid", None]))
    padding = number_or_pair(0, 3) if padding is None else padding
    stride = 1 if padding == "same" else number_or_pair(1, 3)
    pads = (0, 0) if isinstance(padding, str) else both(padding)
    image = [
        max(1, step * (kernel - 1) + 1 - 2 * pad) + draw(st.integers(0, 4))
        for kernel, step, pad in zip(kernel_size, both(dilation), pads, strict=True)
    ]
    groups = draw(st.integers(1, 3))
    return Case(
        batch=draw(st.integers(0, 5)),
        kernels=draw(st.integers(1, 6)),
        channels_in=groups * draw(st.integers(1, 3)),
        channels_out=groups * draw(st.integers(1, 3)),
        kernel_size=kernel_size,
        image=(image[0], image[1]),
        arguments={"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
        bias=draw(st.booleans()),
        channels_last=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32)),
    )


def output_and_gradients(
    tensors: list[Tensor], arguments: dict[str, Any], gradient: Tensor | None = None, **more: Any
) -> list[Tensor]:
    """Return the output and the gradients of all tensors, given the output's (all ones where None)."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = operator(*leaves, **arguments, **more)
    gradient = torch.ones_like(output) if gradient is None else gradient
    return [output.detach(), *torch.autograd.grad(output, leaves, gradient)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@given(case=cases())
def test_every_method_gives_the_numbers_of_the_definition(dtype: torch.dtype, case: Case) -> None:
    tensors = case.tensors(dtype)
    output = operator(*tensors, **case.arguments, method="sum")
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(case.seed)).to(dtype)
    exact = [tensor.double() for tensor in [*tensors, gradient]]
    expected = output_and_gradients(exact[:-1], case.arguments, exact[-1], method="sum")
    # Rounding is in proportion to the terms that are summed, however much they cancel.
    sizes = [tensor.abs() for tensor in exact]
    scales = output_and_gradients(sizes[:-1], case.arguments, sizes[-1], method="sum")

    for method in ALL:
        results = output_and_gradients(tensors, case.arguments, gradient, method=method)
        for name, result, right, scale in zip(
            ("output", "input", "weight", "coefficients", "bias"), results, expected, scales, strict=False
        ):
            assert result.dtype == dtype
            assert result.shape == right.shape
            excess = (result.double() - right).abs() - TOLERANCE[dtype] * scale
            assert (excess <= 0).all(), f"{method}, {name}: off by {excess.max()} more than rounding"


@pytest.mark.parametrize("method", ALL)
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(method: str) -> None:
    tensors = Case(0, 3, 4, 6, (3, 3), (8, 5), {}).tensors()

    output, *gradients = output_and_gradients(tensors, {"stride": 2, "padding": 1}, method=method)

    assert output.shape == (0, 6, 4, 3)
    assert [gradient.shape for gradient in gradients] == [tensor.shape for tensor in tensors]
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("method", ALL)
def test_gradients_of_first_and_second_order(method: str) -> None:
    tensors = [tensor.requires_grad_() for tensor in EXAMPLE.tensors()]
    function = functools.partial(operator, **ARGUMENTS, method=method)

    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ALL)
def test_autocast_gives_the_type_of_a_convolution_and_nearly_its_numbers(method: str, device: str) -> None:
    tensors = [tensor.to(device) for tensor in EXAMPLE.tensors(torch.float32)]
    precise = output_and_gradients(tensors, ARGUMENTS, method=method)
    with torch.autocast(device, torch.bfloat16):
        results = output_and_gradients(tensors, ARGUMENTS, method=method)
        static = nn.Conv2d(4, 6, 3, groups=2, device=device)(tensors[0])

    assert results[0].dtype == static.dtype == torch.bfloat16
    for result, right in zip(results, precise, strict=True):
        torch.testing.assert_close(result.float(), right, rtol=0, atol=0.03 * right.abs().max().item())


@pytest.mark.parametrize("method", ALL)
def test_coefficients_may_be_more_precise_than_the_images(method: str) -> None:
    images, weight, coefficients, bias = EXAMPLE.tensors(torch.bfloat16)

    output = operator(images, weight, coefficients.float(), bias, **ARGUMENTS, method=method)

    expected = operator(images, weight, coefficients, bias, **ARGUMENTS, method=method)
    assert torch.equal(output, expected)


@pytest.mark.parametrize("method", ALL)
def test_compiles_as_one_graph_for_any_batch(method: str) -> None:
    function = functools.partial(operator, **ARGUMENTS, method=method)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")

    for batch in (2, 3, 5):
        tensors = Case(batch, 3, 4, 6, (3, 2), (5, 4), ARGUMENTS, seed=batch).tensors()
        leaves = [tensor.requires_grad_() for tensor in tensors]
        output = compiled(*leaves)
        results = [output, *torch.autograd.grad(output.sum(), leaves)]
        torch.testing.assert_close(results, output_and_gradients(tensors, ARGUMENTS))


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("mapped", ["input", "coefficients"])
def test_vmap_maps_over_inputs_and_over_coefficients(method: str, mapped: str) -> None:
    images, weight, coefficients, bias = EXAMPLE.tensors()
    function = functools.partial(operator, weight=weight, bias=bias, **ARGUMENTS, method=method)
    batches = {"input": images, "coefficients": coefficients}
    other = {name: tensor for name, tensor in batches.items() if name != mapped}
    several = torch.stack([batches[mapped], -2 * batches[mapped], batches[mapped] ** 2])

    outputs = torch.func.vmap(lambda tensor: function(**{mapped: tensor}, **other))(several)

    expected = torch.stack([function(**{mapped: tensor}, **other) for tensor in several])
    torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("method", ALL)
def test_vmap_of_grad_gives_each_images_own_gradient(method: str) -> None:
    images, weight, coefficients, _ = EXAMPLE.tensors()

    def loss(weight: Tensor, image: Tensor, shares: Tensor) -> Tensor:
        output = operator(image[None], weight, shares[None], **ARGUMENTS, method=method)
        return output.square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weight, images, coefficients)

    for image, shares, gradient in zip(images, coefficients, gradients, strict=True):
        torch.testing.assert_close(gradient, torch.func.grad(loss)(weight, image, shares))
