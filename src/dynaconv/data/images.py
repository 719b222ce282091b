"""One image, of any format, size and mode, to the shape and type that a network takes."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from dynaconv.errors import DataError, UsageError

MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Preprocessing:
    """How images become what a network was trained on: ``(C, S, S)``, normalised by channel."""

    image_size: int
    """S: the shorter side is resized to it, and the centre cut out."""
    mean: tuple[float, ...]
    """Of the training images, for each channel, on the scale from 0 to 1."""
    std: tuple[float, ...]
    """The same for the standard deviation."""

    @property
    def channels(self) -> int:
        """C, 1 for grey and 3 for colour."""
        return len(self.mean)

    def normalise(self, images: Tensor) -> Tensor:
        """Return uint8 images ``(N, C, S, S)`` as float32, with mean 0 and deviation 1 by channel."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        scale, offset = 1 / (255 * std), -mean / std
        return images.float().mul_(scale[:, None, None]).add_(offset[:, None, None])


def open_image(file: str | Path | bytes, name: str) -> Image.Image:
    """Decode the first frame of an image file, given by path or content, the way up that its camera noted.

    Raises:
        DataError: If it is no image, or is damaged; the message begins with ``name``.
    """
    try:
        content = file if isinstance(file, bytes) else Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"{name} cannot be opened: {error.strerror}.") from error
    try:
        image = Image.open(BytesIO(content))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image of a format that Pillow reads.") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is refused: {error}") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise DataError(f"{name} is a damaged image: {error}.") from error
    return image


def to_uint8(image: Image.Image, image_size: int, channels: int) -> Tensor:
    """Return an image of any size and mode as uint8 ``(channels, image_size, image_size)``.

    The turn that a camera noted is undone, transparency is laid on white, 16 bits become 8; then the shorter
    side is resized (bilinear, antialiased) and the centre cut out.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image)
    if image.mode == "LAB":
        image = image.convert("RGB")  # Pillow has no other way from it
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert(MODES[channels]))
    return resize(torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1), image_size)


def resize(images: Tensor, image_size: int) -> Tensor:
    """Resize the shorter side of images ``(..., C, H, W)`` to ``image_size`` and cut the centre out."""
    images = images.contiguous()
    if images.shape[-2:] == (image_size, image_size):
        return images
    images = transforms.resize(images, [image_size], antialias=True)
    square: Tensor = transforms.center_crop(images, [image_size, image_size])
    return square


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale wider values to 8 bits: integers from 16, floats from 0 to 1."""
    values = np.asarray(image, dtype=np.float64) * (255 if image.mode == "F" else 1 / 257)
    return Image.fromarray(np.nan_to_num(values).round().clip(0, 255).astype(np.uint8))


def from_array(array: "np.ndarray[Any, Any] | Tensor") -> list[Image.Image]:
    """Return the images of an array or tensor.

    Args:
        array: ``(N, C, H, W)``, ``(C, H, W)``, ``(H, W)`` or, as image libraries have it, ``(N, H, W, C)`` or
            ``(H, W, C)``, with C 1, 3 or 4; integers from 0 to 255, floats from 0 to 1, or booleans.

    Raises:
        ValueError: If it has another shape, or values out of that range.
    """
    if isinstance(array, Tensor):
        values = array.detach().cpu()
    else:  # a copy, for torch takes no read-only memory, negative strides or foreign byte order
        values = torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))
    shape = tuple(values.shape)
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise UsageError(f"images must be (N, C, H, W), (C, H, W), (H, W, C) or (H, W), got shape {shape}.")
    if values.dim() == 2:
        values = values[None]
    if values.dim() == 3:
        values = values[None]
    if values.shape[1] in (1, 3, 4):
        values = values.permute(0, 2, 3, 1)
    if values.shape[3] not in (1, 3, 4):
        raise UsageError(f"images must have 1, 3 or 4 channels, got shape {shape}.")
    top = 1 if values.is_floating_point() or values.dtype == torch.bool else 255
    numbers = values.double()
    low, high = numbers.min().item(), numbers.max().item()
    if not 0 <= low <= high <= top:  # nor is it so for NaN
        raise UsageError(
            f"images must hold integers from 0 to 255 or floats from 0 to 1, not normalised; "
            f"got {values.dtype} from {low:g} to {high:g}."
        )
    pixels = (numbers * (255 / top)).round().to(torch.uint8).numpy()
    return [Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image) for image in pixels]
