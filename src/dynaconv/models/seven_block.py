"""The network of the coursework brief: seven Blocks of dynamic convolution."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaconv.layers import DynamicConv2d, Router
from dynaconv.models.registry import register_model

CHANNELS = (32, 32, 64, 64, 128, 128, 128)
RESIDUAL = (False, False, False, True, False, True, True)
SMALLEST_IMAGE = 8  # three pooling layers halve it to one pixel

NEUTRAL = 10.0  # coefficient that every kernel begins with; the normalisation takes the scale out

KernelSizes = Sequence[int | Sequence[int]]


class Block(nn.Module):
    """Dynamic convolution, batch normalisation, ReLU: ``(N, C_in, H, W)`` to ``(N, C_out, H, W)``.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        num_kernels: K.
        kernel_size: One odd size for all K kernels, or a list of K odd sizes. A kernel of size k is padded
            by k // 2, so that the image keeps its size.
        routing: The router's activation.
        residual: Whether the input is added onto the output.
        method: See :func:`dynaconv.dynamic_conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_kernels: int,
        kernel_size: int | Sequence[int],
        routing: str,
        residual: bool,
        method: str,
    ) -> None:
        super().__init__()
        mixed = None if isinstance(kernel_size, int) else tuple(kernel_size)
        largest = max(mixed, default=0) if mixed is not None else kernel_size
        assert isinstance(largest, int)
        self.conv = DynamicConv2d(
            in_channels,
            out_channels,
            largest,
            padding=largest // 2,
            bias=False,  # the normalisation has one
            num_kernels=num_kernels,
            router=Router(in_channels, num_kernels, activation=routing, neutral=NEUTRAL),
            method=method,
            mixed_kernel_sizes=mixed,
        )
        with torch.no_grad():
            # From nn.Conv2d's bound, 1 / sqrt(fan-in), to that of He et al., sqrt(6 / fan-in).
            self.conv.weight.mul_(math.sqrt(6))
        self.norm = nn.BatchNorm2d(out_channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Apply the Block."""
        out = F.relu(self.norm(self.conv(x)))
        return x + out if self.residual else out


class SevenBlock(nn.Module):
    """The brief's network; see :func:`seven_block`."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_kernels: int,
        kernel_sizes: KernelSizes,
        routing: str,
        dropout: float,
        method: str,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        inputs = (in_channels, *CHANNELS)
        self.blocks = nn.ModuleList(
            Block(c_in, c_out, num_kernels, size, routing, residual, method)
            for c_in, c_out, size, residual in zip(inputs, CHANNELS, kernel_sizes, RESIDUAL, strict=False)
        )
        self.average_pool = nn.AvgPool2d(2)
        self.max_pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Sequential(
            nn.Linear(CHANNELS[-1], 1024),
            nn.ReLU(),
            nn.Linear(1024, 512),
            nn.ReLU(),
            nn.Linear(512, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, num_classes)`` of images ``(N, in_channels, H, W)``, H and W at least 8."""
        if images.dim() != 4 or images.shape[1] != self.in_channels or min(images.shape[2:]) < SMALLEST_IMAGE:
            raise ValueError(
                f"images must be (N, {self.in_channels}, H, W) with H and W at least {SMALLEST_IMAGE}, "
                f"got shape {tuple(images.shape)}"
            )
        x = images
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number == 2:
                x = self.dropout(self.average_pool(x))
            elif number in (4, 7):
                x = self.dropout(self.max_pool(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


@register_model
def seven_block(
    num_classes: int = 10,
    in_channels: int = 3,
    num_kernels: int = 6,
    kernel_sizes: KernelSizes = (5, 5, 3, 3, 3, 3, 3),
    routing: str = "linear",
    dropout: float = 0.1,
    method: str = "auto",
) -> SevenBlock:
    """Build the brief's network: images ``(N, in_channels, H, W)``, from 8x8, to logits ``(N, num_classes)``.

    Seven Blocks of 32, 32, 64, 64, 128, 128 and 128 channels, each a dynamic convolution of K kernels and
    batch normalisation; average pooling after Block 2, max pooling after Blocks 4 and 7, dropout after each
    pooling; the input of Blocks 4, 6 and 7 is added onto their output; then the spatial mean and an MLP of
    1024, 512 and ``num_classes`` outputs. The routers have 512, 512 and K outputs.

    The brief leaves these open:

    - Activation: ReLU, after the normalisation and between the layers of every MLP; the field's default.
    - Residuals: added after the activation, which is the output of a Block.
    - Kernel sizes: one for each Block, 5x5 in the first two, where images are large and channels few, 3x3
      after them. The other reading, sizes mixed inside a Block, is an entry that lists K sizes.
    - Dropout: 0.1. The network underfits rather than overfits.
    - Pooling: 2x2 with stride 2.
    - Bias: none in the convolutions, since the normalisation that follows has one.
    - Initialisation: kernels by He et al. (arXiv:1502.01852), linear layers as PyTorch does, routers neutral
      with every coefficient at 10. Begun at 1/K, each step of the brief's Adam moves a coefficient by more
      than it is, and the network is slow to learn at all: benchmarks/initialisation.py compares them.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        num_kernels: K, at least 1.
        kernel_sizes: Seven entries, one a Block: an odd size, or a list of K odd sizes.
        routing: The routers' activation: ``"linear"``, ``"sigmoid"`` or ``"softmax"``.
        dropout: Probability that an entry is dropped.
        method: How dynamic convolutions are computed; see :func:`dynaconv.dynamic_conv2d`.

    Raises:
        ValueError: If an argument is out of range.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if len(kernel_sizes) != len(CHANNELS):
        raise ValueError(f"kernel_sizes must have {len(CHANNELS)} entries, one a Block, got {kernel_sizes}")
    for entry in kernel_sizes:
        sizes = [entry] if isinstance(entry, int) else list(entry)
        if not sizes or any(size < 1 or size % 2 == 0 for size in sizes):
            raise ValueError(f"kernel_sizes must be odd sizes or lists of K odd sizes, got {entry!r}")
    return SevenBlock(num_classes, in_channels, num_kernels, kernel_sizes, routing, dropout, method)
