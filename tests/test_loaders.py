"""load_data: two loaders, by which every image comes once an epoch, normalised, with its own label."""

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dynaconv import load_data
from dynaconv.data.loaders import EpochSampler, load_test_data
from dynaconv.errors import DataError, UsageError
from tests.pictures import CLASSES, joined, numbers, write_pictures

TRAIN, TEST = 30, 15  # images in `folder`


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 training and 15 test pictures, numbered."""
    return write_pictures(tmp_path_factory.mktemp("loaders") / "data", train=10, test=5)


def as_numbers(loader):
    """Return the numbers and labels in each batch of one pass."""
    preprocessing = loader.dataset.preprocessing
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return [(numbers(((x * std + mean) * 255).round()), labels.tolist()) for x, labels in loader]


def test_two_loaders_of_torch_come_as_a_tuple(folder):
    loaders = load_data(folder, batch_size=8)
    assert isinstance(loaders, tuple)
    train_iter, test_iter = loaders
    for loader, batches in ((train_iter, 4), (test_iter, 2)):
        assert isinstance(loader, DataLoader)
        assert len(loader) == batches
        images, labels = next(iter(loader))
        assert (images.shape, images.dtype) == ((8, 3, 32, 32), torch.float32)
        assert (labels.shape, labels.dtype) == ((8,), torch.int64)
        assert loader.dataset.classes == CLASSES
    assert (len(train_iter.dataset), len(test_iter.dataset)) == (TRAIN, TEST)


def test_each_epoch_has_every_image_once_with_its_label(folder):
    train_iter, _ = load_data(folder, batch_size=8)
    for _ in range(3):
        batches = as_numbers(train_iter)
        assert [len(found) for found, _ in batches] == [8, 8, 8, 6]
        pairs = [pair for found, labels in batches for pair in zip(found, labels, strict=True)]
        assert sorted(pairs) == [(number, number // 10) for number in range(TRAIN)]


def test_order_is_another_in_each_epoch_and_for_each_seed(folder):
    train_iter, _ = load_data(folder, batch_size=8, seed=1)
    first, second = as_numbers(train_iter), as_numbers(train_iter)
    assert first != second
    again, _ = load_data(folder, batch_size=8, seed=1)
    assert [as_numbers(again), as_numbers(again)] == [first, second]
    other, _ = load_data(folder, batch_size=8, seed=2)
    assert as_numbers(other) != first


@pytest.mark.parametrize("processes", [2, 3, 8])  # for some of 8, the last batch has none
def test_shares_of_all_processes_are_the_batches_of_one(processes, folder):
    alone, _ = load_data(folder, batch_size=8)
    shares = [load_data(folder, batch_size=8)[0] for _ in range(processes)]
    for rank, loader in enumerate(shares):
        loader.sampler.share(rank, processes)
        assert len(loader) == len(alone)
    for _ in range(2):
        for (whole, _), *parts in zip(*map(as_numbers, (alone, *shares)), strict=True):
            sizes = [len(found) for found, _ in parts]
            assert max(sizes) - min(sizes) <= 1
            assert sorted(number for found, _ in parts for number in found) == sorted(whole)


def test_order_that_is_not_shuffled_is_that_of_the_images():
    assert list(EpochSampler(5, 2, shuffle=False)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("data", "limit"), [("digits", None), ("folder", None), ("folder", 0)])
def test_training_images_have_mean_0_and_deviation_1(data, limit, folder):
    data = folder if data == "folder" else data
    train_iter, _ = load_data(data, crop=0, flip=False, memory_limit=limit, workers=0)
    images, _ = joined(train_iter)
    channels = images.shape[1]
    deviation, mean = torch.std_mean(images.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(channels, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(channels, dtype=torch.float64), atol=1e-5, rtol=0)


def test_channel_that_never_changes_becomes_nought(tmp_path):
    path = write_pictures(tmp_path / "data")
    for number, file in enumerate(path.rglob("*.png")):
        Image.new("RGB", (32, 32), (7, number, 255)).save(file)
    images, _ = joined(load_data(path)[0])
    assert images[:, [0, 2]].abs().max() < 1e-5
    assert images[:, 1].std() == pytest.approx(1, abs=0.1)


def test_one_image_is_had_by_its_number(folder):
    _, test_iter = load_data(folder)
    images, labels = joined(test_iter)
    image, label = test_iter.dataset[7]
    assert image.equal(images[7])
    assert label == labels[7]


def test_image_that_a_worker_cannot_read_is_named(tmp_path):
    path = write_pictures(tmp_path / "data")
    train_iter, _ = load_data(path, memory_limit=0, workers=1)
    (path / "train" / "dog" / "005.png").write_text("no image")
    with pytest.raises(DataError, match=r"005.png is not an image .* --skip_bad_images"):
        list(train_iter)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("crop", 32, "crop must be below image_size = 32, got 32"),
        ("crop", -1, "crop must be at least 0, got -1"),
        ("colour", 2.0, "colour must be from 0 to 1, got 2.0"),
    ],
)
def test_option_out_of_range_is_named_with_its_value(option, value, message):
    with pytest.raises(UsageError, match=message):
        load_data("digits", **{option: value})


@pytest.mark.parametrize("limit", [None, 0])
def test_test_images_take_the_order_of_classes_that_a_network_knows(limit, folder):
    _, test_iter = load_data(folder)
    preprocessing = test_iter.dataset.preprocessing
    order = ("emu", "cat", "dog")
    loader = load_test_data(folder, preprocessing, order, batch_size=4, memory_limit=limit, workers=0)
    assert loader.dataset.classes == order
    images, labels = joined(loader)
    assert images.equal(joined(test_iter)[0])
    assert [order[label] for label in labels] == ["cat"] * 5 + ["dog"] * 5 + ["emu"] * 5


@pytest.mark.parametrize("classes", [("cat", "dog"), ("cat", "dog", "owl"), (*CLASSES, "owl")])
def test_test_images_of_other_classes_are_refused(classes, folder):
    preprocessing = load_data(folder)[1].dataset.preprocessing
    with pytest.raises(DataError) as caught:
        load_test_data(folder, preprocessing, classes)
    assert f"are cat, dog, emu, but the network was trained on {', '.join(classes)}:" in str(caught.value)
