"""Small images: of one colour, of noise, and in folders and zips, where each has a grey of its own."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynaconv.data.images import to_uint8

BROWN = (200, 100, 50)
CLASSES = ("cat", "dog", "emu")


def write_pictures(folder: Path, train: int = 4, test: int = 2, classes: tuple[str, ...] = CLASSES) -> Path:
    """Lay out ``train`` and ``test`` PNGs of 32x32 for each class; the one of number n is n throughout.

    Numbers run through the classes in order, the training images first.
    """
    number = 0
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for _ in range(count):
                picture = Image.new("RGB", (32, 32), (number, number, number))
                picture.save(folder / split / name / f"{number:03}.png")
                number += 1
    return folder


def zipped(folder: Path, inside: str = "") -> Path:
    """Return a zip of what is in ``folder``, below ``inside`` in it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in sorted(folder.rglob("*")):
            file.write(entry, Path(inside) / entry.relative_to(folder))
    return path


def colour(image: Image.Image, channels: int = 3) -> tuple[float, ...]:
    """Return the one colour that an image has, once it is prepared."""
    pixels = to_uint8(image, 8, channels)
    assert pixels.shape == (channels, 8, 8)
    assert pixels.dtype == torch.uint8
    assert (pixels == pixels[:, :1, :1]).all()
    return tuple(pixels[:, 0, 0].tolist())


def noise(*shape: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return the same random values from 0 to 255 whenever it is asked."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def numbers(images: Tensor) -> list[int]:
    """Return the numbers of images that :func:`write_pictures` wrote."""
    assert images.eq(images[:, :1, :1, :1]).all()
    return [int(number) for number in images[:, 0, 0, 0]]


def joined(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the images and the labels of all batches."""
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)
