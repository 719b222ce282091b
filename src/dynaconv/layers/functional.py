"""The operator: a convolution whose kernel is mixed anew for every image."""

from torch import Tensor

from dynaconv.layers.methods import METHODS, Geometry, resolve_method

IntOrPair = int | tuple[int, int]


def dynamic_conv2d(
    input: Tensor,
    weight: Tensor,
    coefficients: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    method: str = "auto",
) -> Tensor:
    """Convolve each image with its own mixture of K kernels.

    Computes ``sum over k of coefficients[:, k] * (conv2d(input, weight[k]) + bias[k])``: equation (2) of
    "CondConv" (Yang et al., 2019, arXiv:1904.04971), equation (2) of "Dynamic Convolution" (Chen et al.,
    2020, arXiv:1912.03458).

    Args:
        input: Images, ``(N, C_in, H, W)``.
        weight: The K kernels, ``(K, C_out, C_in / groups, kH, kW)``.
        coefficients: How much of each kernel each image takes, ``(N, K)``.
        bias: A bias for each kernel, ``(K, C_out)``, or None.
        stride: As in :func:`torch.nn.functional.conv2d`.
        padding: As in :func:`torch.nn.functional.conv2d`, ``"same"`` and ``"valid"`` included.
        dilation: As in :func:`torch.nn.functional.conv2d`.
        groups: As in :func:`torch.nn.functional.conv2d`.
        method: How to compute it: a name in :data:`dynaconv.layers.METHODS`, or ``"auto"``. All give the
            same numbers up to rounding.

    Returns:
        ``(N, C_out, H_out, W_out)``.

    Raises:
        ValueError: If shapes do not fit each other, stride, padding or dilation is out of range, a kernel is
            larger than the padded image, or the method is unknown.
    """
    _check_shapes(input, weight, coefficients, bias, groups)
    padding = padding if isinstance(padding, str) else pair("padding", padding)
    geometry = Geometry(pair("stride", stride), padding, pair("dilation", dilation), groups)
    check_geometry(geometry)
    _check_kernel_fits(input, weight, geometry)
    return METHODS[resolve_method(method)](input, weight, coefficients, bias, geometry)


def pair(name: str, value: IntOrPair) -> tuple[int, int]:
    """Return a number for both axes, or the pair itself, (height, width).

    Raises:
        ValueError: If the argument called ``name`` is neither.
    """
    if isinstance(value, int):
        return value, value
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be a number or a pair (height, width), got {value!r}")
    return value[0], value[1]


def check_geometry(geometry: Geometry) -> None:
    """Check how a kernel goes over an image, as :class:`torch.nn.Conv2d` does.

    Raises:
        ValueError: If stride, padding or dilation is out of range, or ``"same"`` meets a stride.
    """
    stride, padding, dilation, _ = geometry
    for name, steps in (("stride", stride), ("dilation", dilation)):
        if min(steps) < 1:
            raise ValueError(f"{name} must be at least 1, got {steps}")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be numbers, 'same' or 'valid', got {padding!r}")
        if padding == "same" and stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got stride {stride}")
    elif min(padding) < 0:
        raise ValueError(f"padding must be at least 0, got {padding}")


def _check_shapes(
    input: Tensor, weight: Tensor, coefficients: Tensor, bias: Tensor | None, groups: int
) -> None:
    if input.dim() != 4:
        raise ValueError(f"input must be (N, C_in, H, W), got shape {tuple(input.shape)}")
    if weight.dim() != 5 or weight.shape[0] == 0:
        raise ValueError(
            f"weight must be (K, C_out, C_in/groups, kH, kW) with K >= 1, got shape {tuple(weight.shape)}"
        )
    if groups < 1 or weight.shape[1] % groups:
        raise ValueError(f"groups must be >= 1 and divide C_out = {weight.shape[1]}, got {groups}")
    if input.shape[1] != weight.shape[2] * groups:
        raise ValueError(
            f"input has {input.shape[1]} channels, but weight {tuple(weight.shape)} with groups={groups} "
            f"takes {weight.shape[2] * groups}"
        )
    if coefficients.dim() != 2 or coefficients.shape[1] != weight.shape[0]:
        raise ValueError(
            f"coefficients must be (N, K) with K = {weight.shape[0]} as in weight, "
            f"got shape {tuple(coefficients.shape)}"
        )
    if coefficients.shape[0] != input.shape[0]:
        raise ValueError(
            f"coefficients are for {coefficients.shape[0]} images, but input holds {input.shape[0]}"
        )
    if bias is not None and bias.shape != weight.shape[:2]:
        raise ValueError(f"bias must be (K, C_out) = {tuple(weight.shape[:2])}, got {tuple(bias.shape)}")


def _check_kernel_fits(input: Tensor, weight: Tensor, geometry: Geometry) -> None:
    if geometry.padding == "same":
        return
    pads = (0, 0) if isinstance(geometry.padding, str) else geometry.padding
    for axis, size, kernel, pad, step in zip(
        ("height", "width"), input.shape[2:], weight.shape[3:], pads, geometry.dilation, strict=True
    ):
        extent = step * (kernel - 1) + 1
        if extent > size + 2 * pad:
            raise ValueError(
                f"the kernel covers {extent} pixels of {axis} (kernel_size {kernel}, dilation {step}), but "
                f"the padded image has {size + 2 * pad}: take a smaller kernel, more padding or larger images"
            )
