"""The data sets by name and by path: what is in them, where it comes from, what becomes of damaged images."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dynaconv import load_data
from dynaconv.data.datasets import DATASETS, Images, fingerprint, read_split
from dynaconv.data.folder import ImageFiles
from dynaconv.data.images import resize
from dynaconv.errors import DataError, UsageError
from tests.pictures import CLASSES, numbers, write_pictures, zipped
from tests.published import CIFAR_CLASSES, publish_cifar10, publish_fashion_mnist


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder by HTTP until told to stop: its path, its URL, and how to stop."""
    folder = tmp_path / "published"
    folder.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}", server.shutdown
        server.shutdown()
        thread.join()


def split(path, name="train", **options):
    return read_split(path, "unused", name, 32, **options)


def test_digits_are_the_real_ones_in_a_fixed_split():
    found = {name: split("digits", name) for name in ("train", "test")}
    assert {name: len(images) for name, images in found.items()} == {"train": 1437, "test": 360}
    for images in found.values():
        assert images.pixels.dtype == torch.uint8
        assert images.pixels.shape == (len(images), 1, 32, 32)
        assert images.classes == tuple("0123456789")
        assert images.labels.unique().tolist() == list(range(10))
        assert (images.pixels.min(), images.pixels.max()) == (0, 255)
    assert found["train"].pixels.equal(split("digits").pixels)
    assert found["train"].labels.equal(split("digits").labels)


def test_each_digit_is_in_one_split_with_its_own_label():
    source = load_digits()
    small = {name: read_split("digits", "unused", name, 8) for name in ("train", "test")}
    served = [
        (label, *image.flatten().tolist())
        for images in small.values()
        for image, label in zip(images.take(torch.arange(len(images))), images.labels.tolist(), strict=True)
    ]
    scaled = np.round(source.images * (255 / 16)).astype(int).reshape(1797, 64)
    expected = [(label, *image) for image, label in zip(scaled.tolist(), source.target.tolist(), strict=True)]
    assert sorted(served) == sorted(expected)


def test_unknown_name_is_told_the_nearest():
    with pytest.raises(
        UsageError, match=r"Unknown data set 'cifar_10'. Did you mean 'cifar10'\? There are: "
    ):
        split("cifar_10")
    with pytest.raises(UsageError, match=", ".join(sorted(DATASETS))):
        split("imagenet")


@pytest.mark.parametrize("name", ["images.zip", "here/images", "./images"])
def test_path_that_is_not_there_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"There is no folder or zip '{name}'"):
        split(name)


@pytest.mark.parametrize("limit", [None, 1, 0])
@pytest.mark.parametrize("pack", ["folder", "zip"])
def test_images_of_a_path_are_the_same_in_memory_and_on_disk(limit, pack, tmp_path):
    path = write_pictures(tmp_path / "data")
    images = split(zipped(path) if pack == "zip" else path, "test", memory_limit=limit)
    assert isinstance(images, ImageFiles if limit == 0 else Images)
    assert numbers(images.take(torch.tensor([4, 0, 5]))) == [16, 12, 17]
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.classes == CLASSES


def test_memory_limit_is_what_the_pixels_take(tmp_path):
    path = write_pictures(tmp_path / "data")
    bytes_needed = 12 * 3 * 32 * 32
    assert isinstance(split(path, memory_limit=bytes_needed / 2**30), Images)
    assert isinstance(split(path, memory_limit=(bytes_needed - 1) / 2**30), ImageFiles)


@pytest.fixture
def damaged(tmp_path):
    """Pictures of which numbers 1 and 6 are damaged."""
    path = write_pictures(tmp_path / "data")
    (path / "train" / "cat" / "001.png").write_text("no image")
    whole = (path / "train" / "dog" / "006.png").read_bytes()
    (path / "train" / "dog" / "006.png").write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize("pack", ["folder", "zip"])
def test_damaged_images_can_be_left_out(limit, pack, damaged, capfd):
    path = zipped(damaged) if pack == "zip" else damaged
    before = {file: file.read_bytes() for file in damaged.rglob("*.png")}
    images = split(path, skip_bad_images=True, memory_limit=limit)
    assert numbers(images.take(torch.arange(10))) == [0, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert len(images) == 10
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[0].startswith(f"skipped: {path / 'train' / 'cat' / '001.png'} is not an image")
    assert said[1].startswith(f"skipped: {path / 'train' / 'dog' / '006.png'} is a damaged image")
    assert said[2] == f"2 of 12 images in {path} were skipped."
    assert {file: file.read_bytes() for file in damaged.rglob("*.png")} == before


def test_nothing_is_said_where_nothing_is_damaged(tmp_path, capfd):
    split(write_pictures(tmp_path / "data"), skip_bad_images=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("limit", [None, 0])
def test_first_damaged_image_is_named_with_the_remedy(limit, damaged, capfd):
    with pytest.raises(DataError) as caught:
        load_data(damaged, memory_limit=limit)
    message = str(caught.value)
    assert message.startswith(str(damaged / "train" / "cat" / "001.png"))
    assert "Mend or remove it, or go on without damaged images: --skip_bad_images." in message
    assert "\n" not in message
    if limit is None:
        assert ", and 1 more." in message
    assert capfd.readouterr().err == ""


def test_images_that_are_all_damaged_cannot_be_left_out(tmp_path):
    path = write_pictures(tmp_path / "data")
    for file in (path / "test").rglob("*.png"):
        file.write_text("no image")
    with pytest.raises(DataError, match=r"No image in .*data can be read"):
        split(path, "test", skip_bad_images=True)


def test_cifar10_is_downloaded_once_and_read_by_torchvision(server, tmp_path, monkeypatch, capfd):
    folder, url, stop = server
    published = publish_cifar10(folder, monkeypatch)
    monkeypatch.setenv("DYNACONV_CIFAR10_URL", f"{url}/cifar-10-python.tar.gz")
    root = tmp_path / "root"
    for attempt in ("download", "again"):
        train_iter, test_iter = load_data("cifar10", root, crop=0, flip=False)
        for loader, name in ((train_iter, "train"), (test_iter, "test")):
            pixels, labels = published[name]
            served = loader.dataset.images.take(torch.arange(len(labels)))
            assert served.equal(torch.from_numpy(pixels)), attempt
            assert loader.dataset.images.labels.tolist() == labels
            assert loader.dataset.classes == tuple(CIFAR_CLASSES)
        stop()
        monkeypatch.delenv("DYNACONV_CIFAR10_URL", raising=False)
    assert capfd.readouterr().err == f"Downloading cifar-10-python.tar.gz from {url}/cifar-10-python.tar.gz\n"
    assert (root / "cifar-10-python.tar.gz").is_file()


def test_cifar10_is_resized(server, tmp_path, monkeypatch):
    folder, url, _ = server
    pixels, _ = publish_cifar10(folder, monkeypatch)["test"]
    monkeypatch.setenv("DYNACONV_CIFAR10_URL", f"{url}/cifar-10-python.tar.gz")
    images = read_split("cifar10", tmp_path, "test", 16)
    assert images.take(torch.arange(5)).equal(resize(torch.from_numpy(pixels), 16))


def test_damaged_extracted_file_is_extracted_again(server, tmp_path, monkeypatch):
    folder, url, stop = server
    pixels, _ = publish_cifar10(folder, monkeypatch)["test"]
    monkeypatch.setenv("DYNACONV_CIFAR10_URL", f"{url}/cifar-10-python.tar.gz")
    read_split("cifar10", tmp_path, "test", 32)
    stop()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"cut short")
    images = read_split("cifar10", tmp_path, "test", 32)
    assert images.take(torch.arange(5)).equal(torch.from_numpy(pixels))


def test_fashion_mnist_is_downloaded_once_and_grey(server, tmp_path, monkeypatch):
    folder, url, stop = server
    published = publish_fashion_mnist(folder, monkeypatch)
    monkeypatch.setenv("DYNACONV_FASHION_MNIST_URL", url)
    for attempt in ("download", "again"):
        for name, (pixels, labels) in published.items():
            images = read_split("fashion_mnist", tmp_path, name, 28)
            assert images.take(torch.arange(len(labels))).squeeze(1).equal(torch.from_numpy(pixels)), attempt
            assert images.labels.tolist() == labels
            assert images.classes[0] == "T-shirt/top"
            assert len(images.classes) == 10
        stop()
        monkeypatch.delenv("DYNACONV_FASHION_MNIST_URL", raising=False)


@pytest.mark.parametrize("limit", [None, 0])
def test_fingerprint_tells_whether_labels_or_images_are_the_same(limit, tmp_path):
    path = write_pictures(tmp_path / "data")
    first = fingerprint(split(path, memory_limit=limit))
    assert len(first) == 64
    assert fingerprint(split(path, memory_limit=limit)) == first
    (path / "train" / "cat" / "001.png").rename(path / "train" / "dog" / "001.png")
    assert fingerprint(split(path, memory_limit=limit)) != first


def test_fingerprint_changes_with_a_pixel_and_with_a_label():
    images = split("digits")
    first = fingerprint(images)
    images.pixels[700, 0, 20, 20] ^= 1
    assert fingerprint(images) != first
    images.pixels[700, 0, 20, 20] ^= 1
    assert fingerprint(images) == first
    images.labels[700] = (images.labels[700] + 1) % 10
    assert fingerprint(images) != first
