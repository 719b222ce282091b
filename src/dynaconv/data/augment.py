"""Augmentation of whole batches of uint8 images ``(N, C, H, W)``.

What is random is drawn once an epoch for all images of the set, so that it is a function of (seed, epoch,
index), whatever the batches, the workers or the processes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dynaconv.errors import UsageError

GREY = 128


@dataclass(frozen=True)
class Augmentation:
    """What to do to training images; the fields are those of :class:`dynaconv.Recipe`."""

    crop: int = 4
    flip: bool = True
    cutout: int = 0
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name, holds, rule in (
            ("crop", self.crop >= 0, "at least 0"),
            ("cutout", self.cutout >= 0, "at least 0"),
            ("colour", 0 <= self.colour <= 1, "from 0 to 1"),
        ):
            if not holds:
                raise UsageError(f"{name} must be {rule}, got {getattr(self, name)}.")

    def draw(self, num_images: int, image_size: int, generator: torch.Generator) -> "Draws":
        """Draw what is random for each of ``num_images`` images."""

        def whole(high: int) -> Tensor:
            return torch.randint(high, (2, num_images), generator=generator)

        return Draws(
            shift=whole(2 * self.crop + 1),
            flip=torch.rand(num_images, generator=generator) < 0.5,
            hole=whole(image_size),
            factors=1 + self.colour * (2 * torch.rand(3, num_images, generator=generator) - 1),
        )

    def __call__(self, images: Tensor, draws: "Draws") -> Tensor:
        """Augment a batch with its own draws."""
        if self.crop:
            images = crop(images, draws.shift[0], draws.shift[1], self.crop)
        if self.flip:
            images = flip(images, draws.flip)
        if self.colour:
            images = change_colour(images, *draws.factors)
        if self.cutout:
            images = cut_out(images, draws.hole[0], draws.hole[1], self.cutout)
        return images


@dataclass(frozen=True)
class Draws:
    """What is random, for each image: a row for each axis or factor, a column for each image."""

    shift: Tensor
    flip: Tensor
    hole: Tensor
    factors: Tensor

    def of(self, indices: Tensor) -> "Draws":
        """Return the draws of these images."""
        return Draws(
            self.shift[:, indices], self.flip[indices], self.hole[:, indices], self.factors[:, indices]
        )


def crop(images: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Mirror the edges of each image and cut its own size out again, from row ``top`` and column ``left``.

    Args:
        images: uint8 ``(N, C, H, W)``.
        top: ``(N,)``, from 0 to ``2 * padding``; ``padding`` leaves the image where it is.
        left: The same for columns.
        padding: Pixels added to each side, below H and W.
    """
    batch, channels, height, width = images.shape
    before, after = images[..., 1 : padding + 1].flip(3), images[..., -padding - 1 : -1].flip(3)
    padded = torch.cat([before, images, after], 3)
    # Each row of the result is a run of `width` bytes: one copy each, several times faster than indexing
    # pixels. Rows above and below need no padding, only the number of the row that they mirror.
    rows = (torch.arange(height) + top[:, None] - padding).abs()  # (N, H)
    rows = height - 1 - (height - 1 - rows).abs()
    planes = torch.arange(batch * channels).reshape(batch, channels, 1) * height
    starts = (planes + rows[:, None]) * (width + 2 * padding) + left[:, None, None]  # (N, C, H)
    runs = padded.flatten().unfold(0, width, 1)
    return runs.index_select(0, starts.flatten()).reshape(images.shape)


def flip(images: Tensor, where: Tensor) -> Tensor:
    """Mirror those images left to right for which ``where``, bool ``(N,)``, is true."""
    both = torch.cat([images, images.flip(3)])
    return both.index_select(0, torch.arange(len(images)) + len(images) * where)


def cut_out(images: Tensor, row: Tensor, column: Tensor, side: int) -> Tensor:
    """Grey out what is inside of a square of ``side`` pixels around ``row`` and ``column``, ``(N,)``."""
    height, width = images.shape[2:]
    top, left = row - side // 2, column - side // 2
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)
    inside_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)
    return images.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], GREY)


def change_colour(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Scale the brightness, the distance to the mean grey, and the distance to each pixel's grey.

    Each factor is ``(N,)``; 1 changes nothing. Grey is the mean of the channels.
    """
    factors = (factor[:, None, None, None] for factor in (brightness, contrast, saturation))
    brightness, contrast, saturation = factors
    values = images.float() * brightness
    mean = values.mean((1, 2, 3), keepdim=True)
    values = mean + contrast * (values - mean)
    grey = values.mean(1, keepdim=True)
    values = grey + saturation * (values - grey)
    return values.round_().clamp_(0, 255).to(torch.uint8)
