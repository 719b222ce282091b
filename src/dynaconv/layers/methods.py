"""The ways to compute a dynamic convolution, and the choice between them.

Convolution is linear in its kernel, so mixing the K outputs and mixing the K kernels give the same numbers.
Costs are in multiply-adds, with ``P = H_out * W_out`` and ``M = C_out * C_in / groups * kH * kW``, the size
of one kernel; a static convolution of the batch costs ``N * P * M``.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How a kernel goes over an image: the last arguments of :func:`torch.nn.functional.conv2d`, in order."""

    stride: Pair
    padding: Pair | str
    dilation: Pair
    groups: int


Method = Callable[[Tensor, Tensor, Tensor, Tensor | None, Geometry], Tensor]


def sum_of_convolutions(
    input: Tensor, weight: Tensor, coefficients: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Run K convolutions and add them up, weighted: the definition, literally.

    Arithmetic: ``K * N * P * M``. Memory: K outputs, kept for the backward pass.
    """
    total = None
    for k, kernel in enumerate(weight):
        output = _convolve(input, kernel, None if bias is None else bias[k], geometry)
        term = coefficients[:, k, None, None, None].to(output.dtype) * output
        total = term if total is None else total + term
    assert total is not None  # the operator takes K >= 1 alone
    return total


def stacked(
    input: Tensor, weight: Tensor, coefficients: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Run one convolution with K * C_out outputs and mix these.

    Arithmetic: ``K * N * P * M``. Memory: K outputs. Its shapes never depend on N, so the batch stays free
    in an exported graph.
    """
    # The channels of a grouped convolution are ordered by group: (groups, K, C_out/groups).
    groups = geometry.groups
    kernels = weight.unflatten(1, (groups, -1)).transpose(0, 1).flatten(0, 2)
    offsets = None if bias is None else bias.unflatten(1, (groups, -1)).transpose(0, 1).flatten()
    outputs = _convolve(input, kernels, offsets, geometry)
    outputs = outputs.unflatten(1, (groups, weight.shape[0], -1))  # (N, groups, K, C_out/groups, H, W)
    shares = coefficients[:, None, :, None, None, None].to(outputs.dtype)
    # Without the dtype, CUDA's autocast would sum to float32.
    mixed: Tensor = (shares * outputs).sum(2, dtype=outputs.dtype).flatten(1, 2)
    return mixed


def grouped(
    input: Tensor, weight: Tensor, coefficients: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Mix the kernels, then run one grouped convolution with the batch as groups.

    Arithmetic: ``N * P * M`` and ``N * K * M`` for the mixing. Memory: N kernels.
    """
    batch, channels = input.shape[:2]
    if batch == 0:  # a convolution has at least one group
        return stacked(input, weight, coefficients, bias, geometry)
    shares = coefficients.to(weight.dtype)
    kernels = (shares @ weight.flatten(1)).reshape(-1, *weight.shape[2:])  # (N*C_out, C_in/groups, ...)
    offsets = None if bias is None else (shares @ bias).reshape(-1)
    images = input.reshape(1, batch * channels, *input.shape[2:])
    geometry = geometry._replace(groups=batch * geometry.groups)
    output = _convolve(images, kernels, offsets, geometry)
    return output.reshape(batch, -1, *output.shape[2:])


def _convolve(input: Tensor, kernel: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    stride, padding, dilation, groups = geometry
    return F.conv2d(input, kernel, bias, stride, padding, dilation, groups)


METHODS: dict[str, Method] = {"sum": sum_of_convolutions, "stacked": stacked, "grouped": grouped}
"""Every method by its name, the literal one first."""


def resolve_method(name: str) -> str:
    """Return the name of a method, ``name`` itself unless it is ``"auto"``.

    ``"auto"`` is ``grouped``, the one with the least arithmetic; and ``stacked`` while a graph is captured
    (``torch.compile``, ``torch.export``), where the batch must stay free.

    Raises:
        ValueError: If there is no such method.
    """
    if name == "auto":
        return "stacked" if torch.compiler.is_compiling() else "grouped"
    if name not in METHODS:
        raise ValueError(f"method must be 'auto' or one of {', '.join(METHODS)}, got {name!r}")
    return name
