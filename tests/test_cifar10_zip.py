"""All of CIFAR-10 in a zip, as one trains on it where CIFAR-10 itself cannot be had."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from dynaconv.data.datasets import read_split
from dynaconv.data.loaders import measure

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def splits(cifar_zip):
    """Both splits, listed, their images left in the zip."""
    return {name: read_split(cifar_zip, "unused", name, 32, memory_limit=0) for name in ("train", "test")}


def test_every_image_is_there_under_its_class(splits):
    assert splits["train"].classes == splits["test"].classes == CLASSES
    assert splits["train"].labels.bincount().tolist() == [5000] * 10
    assert splits["test"].labels.bincount().tolist() == [1000] * 10


def test_known_images_come_out_right(splits, cifar_zip):
    with zipfile.ZipFile(cifar_zip) as file:
        for split, index, name in (
            ("train", 0, "train/airplane/0000.jpg"),
            ("train", 49_999, "train/truck/4999.jpg"),
            ("test", 3_456, "test/cat/0456.jpg"),
        ):
            expected = np.array(Image.open(io.BytesIO(file.read(f"cifar10-jpeg/{name}"))))
            [image] = splits[split].take(torch.tensor([index]))
            assert image.permute(1, 2, 0).equal(torch.from_numpy(expected)), name
            assert CLASSES[splits[split].labels[index]] == name.split("/")[1]


def test_mean_and_deviation_are_those_that_are_published(splits):
    preprocessing = measure(splits["train"].only(torch.arange(0, 50_000, 25)), 32)
    assert preprocessing.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.01)
    assert preprocessing.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.01)
