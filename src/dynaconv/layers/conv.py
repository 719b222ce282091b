"""The layer: nn.Conv2d's interface, with a kernel of its own for every image."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaconv.layers.functional import IntOrPair, check_geometry, dynamic_conv2d, pair
from dynaconv.layers.methods import Geometry, resolve_method
from dynaconv.layers.router import Router

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class DynamicConv2d(nn.Module):
    """A convolution, ``(N, C_in, H, W)`` to ``(N, C_out, H_out, W_out)``, that mixes a kernel for each image.

    The output is ``a1 Conv1(X) + ... + aK ConvK(X)``, where ``a = router(X)``; see
    :func:`dynaconv.dynamic_conv2d`. ``weight`` is ``(K, C_out, C_in / groups, kH, kW)``, ``bias``
    ``(K, C_out)`` or None; each kernel is initialised as :class:`torch.nn.Conv2d` initialises its one.

    ``coefficients`` holds those of the last forward pass, ``(N, K)`` and detached, while
    :func:`keep_coefficients` asks for them; None otherwise.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: As in :class:`torch.nn.Conv2d`.
        stride: As in :class:`torch.nn.Conv2d`.
        padding: As in :class:`torch.nn.Conv2d`, ``"same"`` and ``"valid"`` included.
        dilation: As in :class:`torch.nn.Conv2d`.
        groups: As in :class:`torch.nn.Conv2d`.
        bias: Whether each kernel has a bias.
        num_kernels: K.
        router: Images to coefficients ``(N, K)``; ``Router(in_channels, num_kernels)`` where None.
        method: How to compute it; see :func:`dynaconv.dynamic_conv2d`.
        device: As in :class:`torch.nn.Conv2d`.
        dtype: As in :class:`torch.nn.Conv2d`.
        padding_mode: As in :class:`torch.nn.Conv2d`.
        mixed_kernel_sizes: K odd sizes, at most ``kernel_size``: the kernels that are smaller count as
            zero-padded larger ones, centred. None where all have ``kernel_size``.

    Raises:
        ValueError: If an argument is out of range, or a padding is not one of torch's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        num_kernels: int = 4,
        router: nn.Module | None = None,
        method: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        padding_mode: str = "zeros",
        mixed_kernel_sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size: tuple[int, int] = pair("kernel_size", kernel_size)
        self.stride: tuple[int, int] = pair("stride", stride)
        self.padding: tuple[int, int] | str = (
            padding if isinstance(padding, str) else pair("padding", padding)
        )
        self.dilation: tuple[int, int] = pair("dilation", dilation)
        self.groups = groups
        self.num_kernels = num_kernels
        self.method = method
        self.padding_mode = padding_mode
        self.mixed_kernel_sizes = None if mixed_kernel_sizes is None else tuple(mixed_kernel_sizes)
        self._check_arguments()
        shape = (num_kernels, out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty(num_kernels, out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        mask = None if self.mixed_kernel_sizes is None else self._kernel_mask().to(self.weight)
        self.kernel_mask: Tensor | None
        self.register_buffer("kernel_mask", mask)  # persistent, or to_empty() would lose it
        if router is None:
            router = Router(in_channels, num_kernels, device=device, dtype=dtype)
        self.router = router
        self.coefficients: Tensor | None = None
        self._keeps_coefficients = False
        self.reset_parameters()

    def _check_arguments(self) -> None:
        for name in ("in_channels", "out_channels", "groups", "num_kernels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"{name} = {getattr(self, name)} must be divisible by groups = {self.groups}"
                )
        if min(self.kernel_size) < 1:
            raise ValueError(f"kernel_size must be at least 1, got {self.kernel_size}")
        check_geometry(Geometry(self.stride, self.padding, self.dilation, self.groups))
        resolve_method(self.method)
        if self.padding_mode not in PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {self.padding_mode!r}"
            )
        if self.mixed_kernel_sizes is not None:
            sizes, largest = self.mixed_kernel_sizes, min(self.kernel_size)
            if len(sizes) != self.num_kernels or any(s % 2 == 0 or not 1 <= s <= largest for s in sizes):
                raise ValueError(
                    f"mixed_kernel_sizes must be K = {self.num_kernels} odd sizes, at most "
                    f"kernel_size = {self.kernel_size}, got {sizes}"
                )
            if any(size % 2 == 0 for size in self.kernel_size):
                raise ValueError(f"mixed_kernel_sizes need an odd kernel_size, got {self.kernel_size}")

    def _kernel_mask(self) -> Tensor:
        """Return ``(K, 1, 1, kH, kW)``: one where a kernel of its own size has an entry, zero around it."""
        assert self.mixed_kernel_sizes is not None
        mask = torch.zeros(self.num_kernels, 1, 1, *self.kernel_size)
        for k, size in enumerate(self.mixed_kernel_sizes):
            top, left = ((length - size) // 2 for length in self.kernel_size)
            mask[k, :, :, top : top + size, left : left + size] = 1
        return mask

    def reset_parameters(self) -> None:
        """Initialise each kernel and bias as :class:`torch.nn.Conv2d` does, by its own fan-in."""
        height, width = self.kernel_size
        for k in range(self.num_kernels):
            area = height * width if self.mixed_kernel_sizes is None else self.mixed_kernel_sizes[k] ** 2
            bound = 1 / math.sqrt(self.in_channels // self.groups * area)
            nn.init.uniform_(self.weight[k], -bound, bound)
            if self.bias is not None:
                nn.init.uniform_(self.bias[k], -bound, bound)
        if self.kernel_mask is not None:
            with torch.no_grad():
                self.kernel_mask.copy_(self._kernel_mask())
                self.weight.mul_(self.kernel_mask)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve each image of ``(N, C_in, H, W)`` with its own kernel."""
        coefficients = self.router(input)
        if self._keeps_coefficients:
            self.coefficients = coefficients.detach()
        weight = self.weight if self.kernel_mask is None else self.weight * self.kernel_mask
        padded, padding = input, self.padding
        if self.padding_mode != "zeros":
            padded, padding = F.pad(input, self._edges(), mode=self.padding_mode), (0, 0)
        return dynamic_conv2d(
            padded,
            weight,
            coefficients,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            self.method,
        )

    def _edges(self) -> list[int]:
        """Return the padding as F.pad takes it: left, right, top, bottom."""
        if self.padding == "valid":
            return [0, 0, 0, 0]
        if isinstance(self.padding, str):  # "same"
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
        top, left = self.padding
        return [left, left, top, top]

    def extra_repr(self) -> str:
        """Show the arguments as :class:`torch.nn.Conv2d` does: those that differ from the defaults."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        for name, default in (
            ("padding", (0, 0)),
            ("dilation", (1, 1)),
            ("groups", 1),
            ("padding_mode", "zeros"),
            ("mixed_kernel_sizes", None),
            ("method", "auto"),
        ):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)!r}"
        return text + f", num_kernels={self.num_kernels}" + ("" if self.bias is not None else ", bias=False")


@contextmanager
def keep_coefficients(module: nn.Module) -> Iterator[dict[str, DynamicConv2d]]:
    """Have every dynamic layer of ``module`` keep the coefficients of its last forward pass.

    Yields the layers by name, in the module's order; within the context each has them as
    ``layer.coefficients``, ``(N, K)``.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, DynamicConv2d)}
    # Those that keep them already do so for an outer context.
    begun = [layer for layer in layers.values() if not layer._keeps_coefficients]
    for layer in begun:
        layer._keeps_coefficients = True
    try:
        yield layers
    finally:
        for layer in begun:
            layer._keeps_coefficients = False
            layer.coefficients = None
