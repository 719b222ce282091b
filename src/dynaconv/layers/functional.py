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
        ValueError: If shapes do not fit each other, a kernel is larger than the padded image, or the
            method is unknown.
    """
    _check_shapes(input, weight, coefficients, bias, groups)
    padding = padding if isinstance(padding, str) else pair(padding)
    geometry = Geometry(pair(stride), padding, pair(dilation), groups)
    _check_kernel_fits(input, weight, geometry)
    return METHODS[resolve_method(method)](input, weight, coefficients, bias, geometry)


def pair(value: IntOrPair) -> tuple[int, int]:
    """Return a number for both axes, or the pair itself, (height, width)."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


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
