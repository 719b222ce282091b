"""What computes the coefficients."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS = ("linear", "sigmoid", "softmax")


class Router(nn.Module):
    """Image to coefficients: ``(N, C, H, W)`` to ``(N, K)``, an MLP on the spatial mean.

    It starts neutral: the last layer's weight is zero and its bias constant, so that every image begins with
    the same coefficient for each kernel: ``neutral`` with ``"linear"``, 1/K with ``"softmax"``, 1/2 with
    ``"sigmoid"``.

    Args:
        in_channels: C.
        num_kernels: K.
        hidden_features: Outputs of the hidden layers, each followed by a ReLU.
        activation: ``"linear"``: coefficients of any sign and size; ``"sigmoid"``: each in (0, 1), CondConv
            (arXiv:1904.04971); ``"softmax"``: they sum to one, Dynamic Convolution (arXiv:1912.03458).
        temperature: Divides the logits of the softmax; high values make the coefficients alike.
        neutral: The coefficient that each kernel begins with if they are linear; 1/K if None. An optimiser
            like Adam moves a coefficient by some tenths in a step, whatever its size: where a normalisation
            follows, so that the scale does not matter, a large one makes the beginning steady.
        device: As in :class:`torch.nn.Linear`.
        dtype: As in :class:`torch.nn.Linear`.

    Raises:
        ValueError: If a size is below 1, the activation unknown, or the temperature not above 0.
    """

    def __init__(
        self,
        in_channels: int,
        num_kernels: int,
        hidden_features: Sequence[int] = (512, 512),
        activation: str = "linear",
        temperature: float = 1.0,
        neutral: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if in_channels < 1 or num_kernels < 1 or any(size < 1 for size in hidden_features):
            raise ValueError(
                f"in_channels, num_kernels and hidden_features must be at least 1, "
                f"got {in_channels}, {num_kernels} and {tuple(hidden_features)}"
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.in_channels = in_channels
        self.num_kernels = num_kernels
        self.activation = activation
        self.temperature = temperature
        self.neutral = 1 / num_kernels if neutral is None else neutral
        sizes = [in_channels, *hidden_features, num_kernels]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out, device=device, dtype=dtype), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])  # no ReLU after the last layer
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the hidden layers as :class:`torch.nn.Linear` does, the last one neutral."""
        linears = [layer for layer in self.mlp if isinstance(layer, nn.Linear)]
        for layer in linears[:-1]:
            layer.reset_parameters()
        nn.init.zeros_(linears[-1].weight)
        nn.init.constant_(linears[-1].bias, self.neutral if self.activation == "linear" else 0.0)

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients ``(N, K)`` of images ``(N, C, H, W)``."""
        if images.dim() != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"images must be (N, {self.in_channels}, H, W), got shape {tuple(images.shape)}")
        logits: Tensor = self.mlp(images.mean((2, 3)))
        if self.activation == "sigmoid":
            return logits.sigmoid()
        if self.activation == "softmax":
            return (logits / self.temperature).softmax(1)
        return logits

    def extra_repr(self) -> str:
        """Show the activation, and the temperature where it counts."""
        softmax = f", temperature={self.temperature}" if self.activation == "softmax" else ""
        return f"activation={self.activation!r}{softmax}"
