"""Small data sets in the files that CIFAR-10 and Fashion-MNIST are published as."""

import gzip
import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets as sources

from dynaconv.data import datasets
from dynaconv.data.archives import CIFAR10, FASHION_MNIST
from tests.pictures import noise

CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
Arrays = dict[str, tuple["np.ndarray[Any, np.dtype[np.uint8]]", list[int]]]


class Pickler(pickle.Pickler):
    """Pickle types of arrays as numpy did in 2009, when CIFAR-10 was made."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def pickled(value: Any) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def publish_cifar10(folder: Path, patch: pytest.MonkeyPatch) -> Arrays:
    """Write the archive of 20 training and 5 test images; return them ``(N, 3, 32, 32)``, and the labels."""
    pixels, labels = noise(25, 3, 32, 32), [number * 7 % 10 for number in range(25)]
    batches = {f"data_batch_{number + 1}": range(4 * number, 4 * number + 4) for number in range(5)}
    batches["test_batch"] = range(20, 25)
    files = {
        name: pickled({"data": pixels[rows].reshape(-1, 3072), "labels": [labels[row] for row in rows]})
        for name, rows in batches.items()
    }
    files["batches.meta"] = pickled({"label_names": CIFAR_CLASSES})
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    digest = md5(path.read_bytes())
    digests = {name: md5(content) for name, content in files.items()}
    patch.setattr(datasets, "CIFAR10", replace(CIFAR10, md5=digest, urls=()))
    patch.setattr(sources.CIFAR10, "tgz_md5", digest)
    patch.setattr(sources.CIFAR10, "train_list", [[name, digests[name]] for name in list(batches)[:5]])
    patch.setattr(sources.CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    patch.setitem(sources.CIFAR10.meta, "md5", digests["batches.meta"])
    return {"train": (pixels[:20], labels[:20]), "test": (pixels[20:], labels[20:])}


def publish_fashion_mnist(folder: Path, patch: pytest.MonkeyPatch) -> Arrays:
    """Write the four files of 6 training and 4 test images; return them ``(N, 28, 28)``, and the labels."""
    made: Arrays = {"train": (noise(6, 28, 28), [9, 0, 3, 3, 5, 1]), "test": (noise(4, 28, 28), [2, 9, 0, 4])}
    archives = []
    for archive in FASHION_MNIST:
        pixels, labels = made["train" if archive.file_name.startswith("train") else "test"]
        values = pixels if "images" in archive.file_name else np.array(labels, np.uint8)
        header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
        content = gzip.compress(header + values.tobytes())
        (folder / archive.file_name).write_bytes(content)
        archives.append(replace(archive, md5=md5(content), urls=()))
    patch.setattr(datasets, "FASHION_MNIST", tuple(archives))
    resources = [(archive.file_name, archive.md5) for archive in archives]
    patch.setattr(sources.FashionMNIST, "resources", resources)
    return made
