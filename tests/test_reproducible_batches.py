"""Batches are the same bits wherever they are made: in another process, by workers, from memory or disk."""

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaconv import load_data
from dynaconv.data.folder import ImageFiles
from dynaconv.data.loaders import Batch
from tests.pictures import joined, noise, write_pictures, zipped

CHANGED: dict[str, Any] = {"cutout": 6, "colour": 0.3}

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes"),  # on two cores
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """30 training and 15 test pictures of noise, on which every change shows."""
    path = write_pictures(tmp_path_factory.mktemp("loaders") / "noisy", train=10, test=5)
    for file, pixels in zip(sorted(path.rglob("*.png")), noise(45, 32, 32, 3), strict=True):
        Image.fromarray(pixels).save(file)
    return path


def same(batches, others):
    return len(batches) == len(others) and all(
        images.equal(other_images) and labels.equal(other_labels)
        for (images, labels), (other_images, other_labels) in zip(batches, others, strict=True)
    )


SCRIPT = """
import hashlib, sys
from dynaconv import load_data
train_iter, _ = load_data(sys.argv[1], batch_size=8, cutout=6, colour=0.3, seed=5, memory_limit=0, workers=1)
for _ in range(2):
    digest = hashlib.sha256()
    for images, labels in train_iter:
        digest.update(images.numpy().tobytes() + labels.numpy().tobytes())
    print(digest.hexdigest())
"""


def test_order_and_augmentation_are_the_same_in_another_process(noisy):
    train_iter, _ = load_data(noisy, batch_size=8, seed=5, **CHANGED)
    digests = []
    for _ in range(2):
        digest = hashlib.sha256()
        for images, labels in train_iter:
            digest.update(images.numpy().tobytes() + labels.numpy().tobytes())
        digests.append(digest.hexdigest())
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, noisy], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == digests


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_images_read_from_disk_are_those_from_memory(workers, noisy):
    resident = load_data(noisy, batch_size=8, **CHANGED)
    streamed = load_data(noisy, batch_size=8, memory_limit=0, workers=workers, **CHANGED)
    assert isinstance(streamed[0].dataset.images, ImageFiles)
    assert streamed[0].num_workers == workers
    for _ in range(2):
        for loader, other in zip(resident, streamed, strict=True):
            assert same(list(loader), list(other))


def test_zip_is_served_as_its_folder_is(noisy):
    packed = load_data(zipped(noisy), batch_size=8, memory_limit=0, workers=3)
    for loader, other in zip(load_data(noisy, batch_size=8), packed, strict=True):
        assert same(list(loader), list(other))


def test_augmentation_is_another_in_each_epoch_and_for_each_seed(noisy):
    one, other = (load_data(noisy, seed=seed)[0].dataset for seed in (1, 2))
    first, second = (one[Batch(range(30), epoch)][0] for epoch in (1, 2))
    for changed in (second, other[Batch(range(30), 1)][0]):
        assert (changed == first).flatten(1).all(1).sum() < 5  # by chance, an image in 162 is
    assert one[Batch(range(30), 1)][0].equal(first)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_batch_size_changes_neither_order_nor_augmentation(batch_size, noisy):
    one, other = (load_data(noisy, batch_size=size, **CHANGED)[0] for size in (8, batch_size))
    for _ in range(2):
        assert same([joined(one)], [joined(other)])


@pytest.mark.parametrize(("workers", "limit"), [(None, None), (0, 0), (3, 0)])
def test_seek_gives_exactly_the_rest_of_an_epoch(workers, limit, noisy):
    fresh, _ = load_data(noisy, batch_size=8)
    epochs = [list(fresh) for _ in range(3)]
    loader, _ = load_data(noisy, batch_size=8, memory_limit=limit, workers=workers)
    next(iter(loader))  # an epoch that is left off
    for epoch, batch in ((2, 3), (2, 0), (1, 1), (3, 4)):
        loader.sampler.seek(epoch, batch)
        assert same(list(loader), epochs[epoch - 1][batch:])
    loader.sampler.seek(1, 2)
    list(loader)
    assert same(list(loader), epochs[1])  # the next epoch is whole


def test_share_is_augmented_as_it_is_in_the_whole(noisy):
    alone, part = (load_data(noisy, batch_size=8, **CHANGED)[0] for _ in range(2))
    part.sampler.share(1, 2)
    assert same(list(part), [(images[1::2], labels[1::2]) for images, labels in alone])


def test_test_images_are_neither_shuffled_nor_augmented(noisy):
    train_iter, test_iter = load_data(noisy, batch_size=4, **CHANGED)
    files = sorted((noisy / "test").rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    expected = train_iter.dataset.preprocessing.normalise(torch.from_numpy(pixels))
    for _ in range(2):
        images, labels = joined(test_iter)
        assert images.equal(expected)
        assert labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
