"""load_data: the two loaders that training takes."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dynaconv.data.augment import Augmentation, Draws
from dynaconv.data.datasets import Images, fingerprint, read_split
from dynaconv.data.folder import ImageFiles
from dynaconv.data.images import Preprocessing
from dynaconv.errors import DataError, UsageError
from dynaconv.seeding import seed_for

MEASURED_IMAGES = 10_000  # enough for mean and deviation to three digits


class Batch(list[int]):
    """The indices of a batch, and the epoch that they are taken in."""

    def __init__(self, indices: Sequence[int], epoch: int) -> None:
        super().__init__(indices)
        self.epoch = epoch

    def __reduce__(self) -> tuple[type["Batch"], tuple[list[int], int]]:
        return Batch, (list(self), self.epoch)


class ImageBatches(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels, a batch at a time: float32 ``(B, C, S, S)``, normalised, and int64 ``(B,)``.

    Args:
        images: What is served.
        preprocessing: How it is normalised.
        augmentation: What is done to it before, if anything.
        seed: Of the augmentation, which is a function of (seed, epoch, index).
    """

    def __init__(
        self,
        images: Images | ImageFiles,
        preprocessing: Preprocessing,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.seed = seed
        self._draws: tuple[int, Draws] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names; a label is an index into them."""
        return self.images.classes

    def fingerprint(self) -> str:
        """Return a SHA-256 of the images and labels."""
        return fingerprint(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch for a list of indices, one image and its label for a number."""
        if isinstance(index, int):
            images, labels = self[[index]]
            return images[0], labels[0]
        indices = torch.tensor(index, dtype=torch.int64)
        images = self.images.take(indices)
        if self.augmentation is not None and index:  # a process's share of a small batch may be empty
            epoch = index.epoch if isinstance(index, Batch) else 1
            images = self.augmentation(images, self._draws_of(epoch).of(indices))
        return self.preprocessing.normalise(images), self.images.labels[indices]

    def _draws_of(self, epoch: int) -> Draws:
        assert self.augmentation is not None
        if self._draws is None or self._draws[0] != epoch:
            generator = torch.Generator().manual_seed(seed_for(self.seed, "augmentation", epoch))
            size = self.preprocessing.image_size
            self._draws = epoch, self.augmentation.draw(len(self), size, generator)
        return self._draws[1]


class EpochSampler(Sampler[list[int]]):
    """Batches of indices: each epoch every index once, in an order that is a function of (seed, epoch).

    Every pass is the next epoch, from 1. Of several processes each takes its share of every batch.

    Args:
        num_images: Length of the data set.
        batch_size: Images in a batch, over all processes; the last batch has what is left.
        shuffle: Whether the order is random.
        seed: Of the order.
    """

    def __init__(self, num_images: int, batch_size: int, shuffle: bool, seed: int = 0) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}.")
        self.num_images = num_images
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank, self.num_processes = 0, 1
        self.seek(1)

    def seek(self, epoch: int, batch: int = 0) -> None:
        """Have the next pass be ``epoch``, from 1, without its first ``batch`` batches."""
        self._epoch, self._batch = epoch, batch

    def share(self, rank: int, num_processes: int) -> None:
        """Take only the share of process ``rank``, from 0, of ``num_processes``."""
        self.rank, self.num_processes = rank, num_processes

    def __len__(self) -> int:
        return -(-self.num_images // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = self._epoch, self._batch
        self.seek(epoch + 1)
        order = torch.arange(self.num_images)
        if self.shuffle:
            generator = torch.Generator().manual_seed(seed_for(self.seed, "order", epoch))
            order = torch.randperm(self.num_images, generator=generator)
        for batch in order.split(self.batch_size)[first:]:
            yield Batch(batch[self.rank :: self.num_processes].tolist(), epoch)


class ImageLoader(DataLoader[tuple[Tensor, Tensor]]):
    """A DataLoader of image batches."""

    dataset: ImageBatches
    sampler: EpochSampler


def load_data(
    data: str | Path,
    root: str | Path = "./data",
    batch_size: int = 64,
    *,
    image_size: int = 32,
    crop: int = 4,
    flip: bool = True,
    cutout: int = 0,
    colour: float = 0.0,
    seed: int = 0,
    skip_bad_images: bool = False,
    memory_limit: float | None = None,
    workers: int | None = None,
) -> tuple[ImageLoader, ImageLoader]:
    """Return ``(train_iter, test_iter)``, loaders of ``(images, labels)`` batches.

    Images are float32 ``(N, C, S, S)``, normalised by the mean and deviation of the training images; labels
    int64 ``(N,)``. Training batches are shuffled and augmented, test batches neither. Each loader's
    ``.dataset`` has ``.classes`` and ``.preprocessing``.

    Args:
        data: ``"cifar10"``, ``"cifar100"``, ``"fashion_mnist"`` (downloaded to ``root`` unless they are
            there), ``"digits"``, or the path of a folder or zip with ``{train,test}/<class>/<image>``.
        root: Where downloads are kept.
        batch_size: Images in a batch.
        image_size: S; images of another size are resized once, the shorter side to S, and their centre cut
            out.
        crop: See :class:`dynaconv.Recipe`, as for ``flip``, ``cutout``, ``colour`` and ``seed``.
        flip: Whether half of the images are mirrored; not for digits or letters.
        cutout: Side of the greyed square.
        colour: Strength of the change in colour.
        seed: Of order and augmentation.
        skip_bad_images: Whether to go on without damaged files, listing them on stderr.
        memory_limit: GiB that a split may take; larger ones are read from disk by workers. Half of the
            memory that is free, if None.
        workers: Processes that read from disk, if images are; one for each processor, if None.

    Raises:
        UsageError: If ``data`` is neither a name nor a path, or an option is out of range.
        DataError: If the images cannot be had or read.
    """
    augmentation = Augmentation(crop, flip, cutout, colour)
    if not crop < image_size:
        raise UsageError(f"crop must be below image_size = {image_size}, got {crop}.")
    options = (skip_bad_images, memory_limit)
    train, test = (read_split(data, root, split, image_size, 3, *options) for split in ("train", "test"))
    preprocessing = measure(train, image_size)
    train_set = ImageBatches(train, preprocessing, augmentation, seed)
    test_set = ImageBatches(test, preprocessing)
    return _loader(train_set, batch_size, True, workers), _loader(test_set, batch_size, False, workers)


def load_test_data(
    data: str | Path,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    root: str | Path = "./data",
    batch_size: int = 64,
    *,
    skip_bad_images: bool = False,
    memory_limit: float | None = None,
    workers: int | None = None,
) -> ImageLoader:
    """Return the test batches as a trained network takes them: its preprocessing, its order of classes.

    Raises:
        UsageError: If ``data`` is neither a name nor a path.
        DataError: If the images cannot be had or read, or have other classes.
    """
    size, channels = preprocessing.image_size, preprocessing.channels
    images = read_split(data, root, "test", size, channels, skip_bad_images, memory_limit)
    if set(images.classes) != set(classes):
        raise DataError(
            f"The classes of {data} are {', '.join(images.classes)}, but the network was trained on "
            f"{', '.join(classes)}: give it images of the same classes."
        )
    return _loader(ImageBatches(images.relabelled(classes), preprocessing), batch_size, False, workers)


def measure(images: Images | ImageFiles, image_size: int) -> Preprocessing:
    """Return the preprocessing for a network that is to be trained on ``images``.

    Mean and deviation are over all of them in memory, over 10,000 spread evenly where they stay on disk.
    """
    step = 1 if isinstance(images, Images) else -(-len(images) // MEASURED_IMAGES)
    total = squares = torch.zeros((), dtype=torch.float64)
    count = 0
    for indices in torch.arange(0, len(images), step).split(1000):
        pixels = images.take(indices).float().div_(255)
        total = total + pixels.sum((0, 2, 3), dtype=torch.float64)
        squares = squares + pixels.square().sum((0, 2, 3), dtype=torch.float64)
        count += pixels.numel() // pixels.shape[1]
    mean = total / count
    # A channel that never changes is left as it is instead of being divided by nothing.
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-3, std, 1.0)
    return Preprocessing(image_size, tuple(mean.tolist()), tuple(std.tolist()))


def _loader(dataset: ImageBatches, batch_size: int, shuffle: bool, workers: int | None) -> ImageLoader:
    streamed = isinstance(dataset.images, ImageFiles)
    workers = (os.cpu_count() or 1) if workers is None else workers
    return ImageLoader(
        dataset,
        batch_size=None,  # the sampler makes the batches
        sampler=EpochSampler(len(dataset), batch_size, shuffle, dataset.seed),
        num_workers=workers if streamed else 0,
        persistent_workers=streamed and workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
