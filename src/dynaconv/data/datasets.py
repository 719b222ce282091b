"""The data sets, by name or path: images of one size as uint8, with labels and class names."""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
import torchvision.datasets as sources
from filelock import FileLock
from torch import Tensor

from dynaconv.data.archives import CIFAR10, CIFAR100, FASHION_MNIST, Archive, fetch_archive
from dynaconv.data.folder import MEND, ImageFiles, list_images, relabel
from dynaconv.data.images import resize
from dynaconv.errors import DataError, UsageError, unknown
from dynaconv.terminal import say, track

READ_AT_ONCE = 100  # images that a thread decodes before it reports


@dataclass(frozen=True)
class Images:
    """The images of one split, in memory."""

    pixels: Tensor
    """uint8 ``(N, C, S, S)``."""
    labels: Tensor
    """``(N,)``, int64."""
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Tensor:
        """Return images, uint8 ``(B, C, S, S)``."""
        return self.pixels.index_select(0, indices)

    def relabelled(self, classes: Sequence[str]) -> "Images":
        """Return the images with labels for the same classes in another order."""
        return replace(self, labels=relabel(self.labels, self.classes, classes), classes=tuple(classes))


def cifar10(root: Path, split: str, image_size: int) -> Images:
    """Return CIFAR-10 (Krizhevsky, 2009): 60,000 colour images of 32x32, 10 classes."""
    return _cifar(sources.CIFAR10, CIFAR10, root, split, image_size)


def cifar100(root: Path, split: str, image_size: int) -> Images:
    """Return CIFAR-100 (Krizhevsky, 2009): 60,000 colour images of 32x32, 100 classes."""
    return _cifar(sources.CIFAR100, CIFAR100, root, split, image_size)


def fashion_mnist(root: Path, split: str, image_size: int) -> Images:
    """Return Fashion-MNIST (Xiao et al., arXiv:1708.07747): 70,000 grey images of 28x28, 10 classes."""
    with _whole(root / "FashionMNIST" / "raw", *FASHION_MNIST):
        return _from_torchvision(
            sources.FashionMNIST(root, train=split == "train", download=True), image_size
        )


def digits(root: Path, split: str, image_size: int) -> Images:
    """Return scikit-learn's 1,797 handwritten digits of 8x8, grey, 10 classes; 360 are for testing.

    They come with scikit-learn: ``root`` is not used.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    train, test = train_test_split(
        range(len(data.target)), test_size=360, random_state=0, stratify=data.target
    )
    chosen = train if split == "train" else test
    pixels = torch.from_numpy(data.images[chosen] * (255 / 16)).round().to(torch.uint8)  # 16 is full ink
    labels = torch.from_numpy(data.target[chosen]).long()
    return Images(resize(pixels[:, None], image_size), labels, tuple(str(digit) for digit in range(10)))


DATASETS: dict[str, Callable[[Path, str, int], Images]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "fashion_mnist": fashion_mnist,
    "digits": digits,
}
"""What ``data`` may name, beside a path."""


def read_split(
    data: str | Path,
    root: str | Path,
    split: str,
    image_size: int,
    channels: int = 3,
    skip_bad_images: bool = False,
    memory_limit: float | None = None,
) -> Images | ImageFiles:
    """Read the ``"train"`` or ``"test"`` images of a data set, in memory if they fit.

    Args:
        data: A name in :data:`DATASETS`, or the path of a folder or zip.
        root: Where named data sets are kept.
        split: ``"train"`` or ``"test"``.
        image_size: Height and width; images of another size are resized.
        channels: 1 for grey, 3 for colour; for folders and zips.
        skip_bad_images: Whether to go on without damaged files, listing them, instead of raising.
        memory_limit: In GiB; where the images of a folder or zip need more, they stay on disk and
            :class:`ImageFiles` are returned. Half of the memory that is free, if None.

    Raises:
        UsageError: If ``data`` is neither a name nor a path.
        DataError: If it cannot be had or read.
    """
    if str(data) in DATASETS:
        return DATASETS[str(data)](Path(root), split, image_size)
    path = Path(data)
    if not path.exists():
        if re.fullmatch(r"[\w-]+", str(data)):
            raise unknown("data set", str(data), DATASETS)
        raise UsageError(
            f"There is no folder or zip {str(data)!r}; data sets by name: {', '.join(DATASETS)}."
        )
    files = list_images(path, split, image_size, channels)
    limit = psutil.virtual_memory().available / 2 if memory_limit is None else memory_limit * 2**30
    shape = (len(files), channels, image_size, image_size)
    pixels = torch.empty(shape, dtype=torch.uint8) if math.prod(shape) <= limit else None
    if pixels is None and not skip_bad_images:
        return files  # a damaged one is found when its turn comes
    errors = _decode(files, split, pixels)
    _report_bad(files, errors, skip_bad_images)
    good = torch.tensor([index for index in range(len(files)) if index not in errors])
    if pixels is None:
        return files.only(good)
    return Images(pixels[good], files.labels[good], files.classes)


def fingerprint(images: Images | ImageFiles) -> str:
    """Return a SHA-256 that tells whether two runs saw the same images.

    It is over pixels and labels in memory, over names and labels where images stay on disk.
    """
    digest = hashlib.sha256(images.labels.numpy().tobytes())
    if isinstance(images, Images):
        digest.update(images.pixels.numpy().tobytes())
    else:
        digest.update("\n".join(images.names).encode())
    return digest.hexdigest()


@contextmanager
def _whole(folder: Path, *archives: Archive) -> Iterator[None]:
    """Hold a lock on a folder that has the archives, so that processes extract them one after another."""
    folder.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        fetch_archive(archive, folder)
    with FileLock(folder / ".extract.lock"):
        yield


def _cifar(kind: type[sources.CIFAR10], archive: Archive, root: Path, split: str, image_size: int) -> Images:
    train = split == "train"
    try:
        dataset = kind(root, train=train)  # whole by torchvision's MD5s, or it raises
    except RuntimeError:
        with _whole(root, archive):
            dataset = kind(root, train=train, download=True)
    return _from_torchvision(dataset, image_size)


def _from_torchvision(dataset: sources.VisionDataset, image_size: int) -> Images:
    pixels = torch.as_tensor(dataset.data)
    pixels = pixels.permute(0, 3, 1, 2) if pixels.dim() == 4 else pixels[:, None]
    labels = torch.as_tensor(dataset.targets).long()
    return Images(resize(pixels, image_size), labels, tuple(dataset.classes))


def _decode(files: ImageFiles, split: str, pixels: Tensor | None) -> dict[int, DataError]:
    """Decode every file, into ``pixels`` if given; return the errors of those that are damaged."""

    def read(indices: range) -> dict[int, DataError]:
        errors = {}
        for index in indices:
            try:
                image = files.read(index)
            except DataError as error:
                errors[index] = error
            else:
                if pixels is not None:
                    pixels[index] = image
        return errors

    starts = range(0, len(files), READ_AT_ONCE)
    chunks = [range(start, min(start + READ_AT_ONCE, len(files))) for start in starts]
    errors: dict[int, DataError] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in track(pool.map(read, chunks), f"reading {split} images", len(chunks), READ_AT_ONCE):
            errors.update(found)
    return errors


def _report_bad(files: ImageFiles, errors: dict[int, DataError], skip_bad_images: bool) -> None:
    if errors and not skip_bad_images:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        first = next(iter(errors.values()))
        raise DataError(f"{str(first).rstrip('.')}{more}. {MEND}")
    for error in errors.values():
        say(f"skipped: {error}")
    if errors:
        say(f"{len(errors)} of {len(files)} images in {files.store.path} were skipped.")
    if len(errors) == len(files):
        raise DataError(f"No image in {files.store.path} can be read: mend them.")
