"""Augmentation, checked by hand on images small enough to see through, and image by image against batches."""

import pytest
import torch
import torch.nn.functional as F

from dynaconv.data.augment import Augmentation, Draws, change_colour, crop, cut_out, flip
from dynaconv.errors import UsageError

ALL = Augmentation(crop=3, flip=True, cutout=5, colour=0.4)

# What mirrors its edges by a pixel: 5 6 7 8 lies below and above 1 2 3 4, and so on.
IMAGE = torch.arange(1, 13, dtype=torch.uint8).reshape(1, 1, 3, 4)
MIRRORED = torch.tensor(
    [
        [6, 5, 6, 7, 8, 7],
        [2, 1, 2, 3, 4, 3],
        [6, 5, 6, 7, 8, 7],
        [10, 9, 10, 11, 12, 11],
        [6, 5, 6, 7, 8, 7],
    ],
    dtype=torch.uint8,
)


def noise(*shape):
    return torch.randint(256, shape, dtype=torch.uint8)


def draws(augmentation, num_images, seed=0, image_size=32):
    return augmentation.draw(num_images, image_size, torch.Generator().manual_seed(seed))


def one(value):
    return torch.tensor([value])


@pytest.mark.parametrize("top", [0, 1, 2])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_crop_by_hand(top, left):
    expected = MIRRORED[top : top + 3, left : left + 4]
    assert crop(IMAGE, one(top), one(left), 1).squeeze().equal(expected)


def test_crop_from_the_middle_leaves_the_image():
    images = noise(5, 3, 32, 32)
    middle = torch.full((5,), 4)
    assert crop(images, middle, middle, 4).equal(images)


@pytest.mark.parametrize("padding", [1, 4, 31])
def test_crop_is_what_torch_pads_and_cuts(padding):
    images = noise(16, 3, 32, 32)
    top, left = torch.randint(2 * padding + 1, (2, 16))
    padded = F.pad(images.float(), [padding] * 4, mode="reflect").to(torch.uint8)
    for image, row, column, whole in zip(crop(images, top, left, padding), top, left, padded, strict=True):
        assert image.equal(whole[:, row : row + 32, column : column + 32])


def test_crop_of_images_that_lie_otherwise_in_memory():
    images = noise(4, 3, 8, 8)
    top, left = torch.randint(5, (2, 4))
    expected = crop(images, top, left, 2)
    assert crop(images.contiguous(memory_format=torch.channels_last), top, left, 2).equal(expected)


def test_flip_mirrors_left_to_right_where_it_is_told_and_nowhere_else():
    images = torch.cat([IMAGE, IMAGE])
    flipped = flip(images, torch.tensor([True, False]))
    assert flipped[0, 0].tolist() == [[4, 3, 2, 1], [8, 7, 6, 5], [12, 11, 10, 9]]
    assert flipped[1].equal(IMAGE[0])


@pytest.mark.parametrize(
    ("row", "column", "side", "rows", "columns"),
    [
        (2, 2, 3, range(1, 4), range(1, 4)),
        (0, 0, 3, range(2), range(2)),
        (4, 4, 3, range(3, 5), range(3, 5)),
        (0, 4, 3, range(2), range(3, 5)),
        (2, 3, 2, range(1, 3), range(2, 4)),
        (2, 2, 1, range(2, 3), range(2, 3)),
        (2, 2, 99, range(5), range(5)),
    ],
)
def test_cut_out_by_hand(row, column, side, rows, columns):
    cut = cut_out(torch.zeros(1, 2, 5, 5, dtype=torch.uint8), one(row), one(column), side)
    for channel in cut[0]:
        for y in range(5):
            for x in range(5):
                assert channel[y, x] == (128 if y in rows and x in columns else 0), (y, x)


def test_cut_out_is_elsewhere_in_each_image():
    cut = cut_out(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 3]), torch.tensor([0, 2]), 1)
    assert cut.nonzero().tolist() == [[0, 0, 0, 0], [1, 0, 3, 2]]


@pytest.mark.parametrize(
    ("brightness", "contrast", "saturation", "expected"),
    [
        (1.0, 1.0, 1.0, [(110, 50, 20), (30, 30, 30)]),
        (2.0, 1.0, 1.0, [(220, 100, 40), (60, 60, 60)]),
        (3.0, 1.0, 1.0, [(255, 150, 60), (90, 90, 90)]),  # 330 is above what there is
        (1.0, 2.0, 1.0, [(175, 55, 0), (15, 15, 15)]),  # away from the mean, 45
        (1.0, 0.0, 1.0, [(45, 45, 45), (45, 45, 45)]),
        (1.0, 1.0, 0.0, [(60, 60, 60), (30, 30, 30)]),  # each pixel's own mean
        (1.0, 1.0, 2.0, [(160, 40, 0), (30, 30, 30)]),
        (2.0, 0.5, 1.0, [(155, 95, 65), (75, 75, 75)]),  # the mean is that of the brighter image
    ],
)
def test_colour_by_hand(brightness, contrast, saturation, expected):
    image = torch.tensor([(110, 50, 20), (30, 30, 30)], dtype=torch.uint8).T.reshape(1, 3, 1, 2)
    changed = change_colour(image, one(brightness), one(contrast), one(saturation))
    assert changed.dtype == torch.uint8
    assert changed[0, :, 0].T.tolist() == [list(pixel) for pixel in expected]


def test_colour_that_does_not_change_leaves_the_image():
    images = noise(4, 3, 16, 16)
    assert change_colour(images, *torch.ones(3, 4)).equal(images)


def test_draws_are_a_function_of_the_generator():
    first, again, other = (draws(ALL, 100, seed) for seed in (1, 1, 2))
    for name in ("shift", "flip", "hole", "factors"):
        assert getattr(first, name).equal(getattr(again, name))
        assert not getattr(first, name).equal(getattr(other, name))


def test_draws_take_every_value_that_they_may_and_no_other():
    drawn = draws(ALL, 10_000, image_size=8)
    for axis in (0, 1):
        assert drawn.shift[axis].unique().tolist() == list(range(7))
        assert drawn.hole[axis].unique().tolist() == list(range(8))
    assert 0.45 < drawn.flip.float().mean() < 0.55
    assert 0.6 <= drawn.factors.min() < 0.61
    assert 1.39 < drawn.factors.max() <= 1.4


def test_draws_of_some_images_are_theirs():
    drawn = Draws(
        shift=torch.tensor([[0, 1, 2], [10, 11, 12]]),
        flip=torch.tensor([True, False, False]),
        hole=torch.tensor([[20, 21, 22], [30, 31, 32]]),
        factors=torch.tensor([[40.0, 41, 42], [50, 51, 52], [60, 61, 62]]),
    ).of(torch.tensor([2, 0]))
    assert drawn.shift.tolist() == [[2, 0], [12, 10]]
    assert drawn.flip.tolist() == [False, True]
    assert drawn.hole.tolist() == [[22, 20], [32, 30]]
    assert drawn.factors.tolist() == [[42, 40], [52, 50], [62, 60]]


@pytest.mark.parametrize("channels", [1, 3])
def test_batch_is_augmented_as_its_images_are_one_by_one(channels):
    images, drawn = noise(20, channels, 32, 32), draws(ALL, 20)
    batch = ALL(images, drawn)
    assert batch.shape == images.shape
    assert batch.dtype == torch.uint8
    for index in range(20):
        assert ALL(images[index : index + 1], drawn.of(one(index)))[0].equal(batch[index])


def test_image_is_cropped_flipped_coloured_and_then_cut_out():
    images, drawn = noise(10, 3, 32, 32), draws(ALL, 10)
    (top, left), (row, column) = drawn.shift, drawn.hole
    expected = flip(crop(images, top, left, 3), drawn.flip)
    expected = cut_out(change_colour(expected, *drawn.factors), row, column, 5)
    assert ALL(images, drawn).equal(expected)


def test_nothing_is_done_where_nothing_is_asked_for():
    images = noise(10, 3, 32, 32)
    nothing = Augmentation(crop=0, flip=False, cutout=0, colour=0.0)
    assert nothing(images, draws(nothing, 10)).equal(images)


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("crop", -1, "at least 0"),
        ("cutout", -2, "at least 0"),
        ("colour", -0.1, "from 0 to 1"),
        ("colour", 1.5, "from 0 to 1"),
        ("colour", float("nan"), "from 0 to 1"),
    ],
)
def test_option_out_of_range_is_named_with_its_value(option, value, rule):
    with pytest.raises(UsageError, match=f"^{option} must be {rule}, got {value}.$"):
        Augmentation(**{option: value})
