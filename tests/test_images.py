"""One image file to the square that a network takes: its size, its turn, and what is wrong with it."""

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from dynaconv.data.images import Preprocessing, open_image, resize, to_uint8
from dynaconv.errors import DataError
from tests.pictures import BROWN, colour, noise

ORIENTATION = 0x0112
UPRIGHT = noise(8, 8, 3)
STORED = {  # which side of the picture the first row and the first column are, by the EXIF standard
    1: UPRIGHT,  # top, left
    2: UPRIGHT[:, ::-1],  # top, right
    3: UPRIGHT[::-1, ::-1],  # bottom, right
    4: UPRIGHT[::-1],  # bottom, left
    5: UPRIGHT.transpose(1, 0, 2),  # left, top
    6: np.rot90(UPRIGHT),  # right, top
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: np.rot90(UPRIGHT, -1),  # left, bottom
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_turn_that_a_camera_noted_is_undone(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    image.save(tmp_path / f"image{suffix}", exif=exif, lossless=True)
    for opened in (open_image(tmp_path / f"image{suffix}", "image"), Image.open(tmp_path / f"image{suffix}")):
        assert to_uint8(opened, 8, 3).permute(1, 2, 0).equal(torch.from_numpy(UPRIGHT))


def test_turn_in_a_jpeg_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = Image.new("L", (64, 32), 0)
    image.paste(255, (0, 0, 32, 32))  # the left of the sensor, so the top of the picture
    image.save(tmp_path / "image.jpg", exif=exif)
    pixels = to_uint8(open_image(tmp_path / "image.jpg", "image"), 32, 1)[0]
    assert pixels[:12].float().mean() > 250
    assert pixels[-12:].float().mean() < 5


@pytest.mark.parametrize("turned", [False, True])
def test_shorter_side_is_resized_and_the_centre_cut_out(turned: bool) -> None:
    thirds = np.zeros((64, 192, 3), np.uint8)
    for third in range(3):
        thirds[:, 64 * third : 64 * (third + 1), third] = 255
    image = Image.fromarray(thirds.transpose(1, 0, 2) if turned else thirds)
    pixels = to_uint8(image, 32, 3)
    assert pixels.shape == (3, 32, 32)
    inner = pixels[:, 2:-2, 2:-2]  # off the seams, where the filter mixes
    assert (inner[1] == 255).all()
    assert (inner[[0, 2]] == 0).all()


def test_smaller_image_is_enlarged_smoothly() -> None:
    ramp = np.tile(np.array([0, 255], np.uint8), (2, 1))
    row = to_uint8(Image.fromarray(ramp), 4, 1)[0, 0]
    assert row.tolist() == [0, 64, 191, 255]  # bilinear: 0, 1/4, 3/4 and all of the way


def test_fine_pattern_is_averaged_and_not_sampled() -> None:
    chequered = np.indices((96, 96)).sum(0) % 2 * 255  # of every third pixel, every other is black
    pixels = to_uint8(Image.fromarray(chequered.astype(np.uint8)), 32, 1)
    assert ((pixels > 120) & (pixels < 136)).all()


def test_image_of_the_right_size_is_left_as_it_is() -> None:
    image = noise(32, 32, 3)
    assert to_uint8(Image.fromarray(image), 32, 3).permute(1, 2, 0).equal(torch.from_numpy(image))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3), (33, 32), (500, 7)])
def test_any_size_becomes_square(size: tuple[int, int]) -> None:
    assert colour(Image.new("RGB", size, BROWN)) == BROWN


def test_batches_are_resized_as_their_images_are() -> None:
    batch = torch.from_numpy(noise(3, 2, 40, 50))
    assert resize(batch, 16).equal(torch.stack([resize(image, 16) for image in batch]))


def truncated(path: Path, save_as: str) -> None:
    Image.fromarray(noise(40, 40, 3)).save(path, save_as)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("cut.jpg", lambda path: truncated(path, "JPEG"), "is a damaged image: "),
        ("cut.png", lambda path: truncated(path, "PNG"), "is a damaged image: "),
        ("cut.webp", lambda path: truncated(path, "WEBP"), "is a damaged image: "),
        ("cut.tif", lambda path: truncated(path, "TIFF"), "is a damaged image: "),
        (
            "text.jpg",
            lambda path: path.write_text("no image"),
            "is not an image of a format that Pillow reads",
        ),
        ("empty.png", lambda path: path.touch(), "is not an image of a format that Pillow reads"),
        ("folder.jpg", lambda path: path.mkdir(), "cannot be opened: "),
        ("missing.jpg", lambda path: None, "cannot be opened: "),
        (
            "exif.png",
            lambda path: Image.new("L", (8, 8)).save(path, exif=b"Exif\0\0no TIFF header"),
            "is a damaged image: ",
        ),
        (  # an orientation, and a width that is a byte
            "tag.jpg",
            lambda path: Image.new("L", (8, 8)).save(
                path,
                exif=b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\1\1\0\1\0\0\0A\0\0\0"
                + bytes(4),
            ),
            "is a damaged image: ",
        ),
    ],
)
def test_file_that_is_no_whole_image_is_named(name: str, make: Any, reason: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        open_image(tmp_path / name, f"here/{name}")
    assert str(caught.value).startswith(f"here/{name} {reason}")
    assert str(caught.value).endswith(".")


def test_image_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    header = b"P6 60000 60000 255\n"
    (tmp_path / "bomb.ppm").write_bytes(header + bytes(100))
    with pytest.raises(DataError, match=r"^bomb.ppm is refused: .*3600000000 pixels"):
        open_image(tmp_path / "bomb.ppm", "bomb.ppm")


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_first_frame_counts_and_the_file_is_closed(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"animation{suffix}"
    frames = [Image.new("RGB", (8, 8), shade) for shade in (BROWN, (0, 0, 255))]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    image = open_image(path, "animation")
    assert str(path) not in [file.path for file in psutil.Process().open_files()]
    assert colour(image) == BROWN


def test_normalise_by_hand() -> None:
    images = torch.tensor([255, 0, 51], dtype=torch.uint8).reshape(1, 1, 1, 3).repeat(2, 3, 1, 1)
    before = images.clone()
    normalised = Preprocessing(32, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)).normalise(images)
    expected = torch.tensor([[1.0, -1.0, -0.6], [3.0, -1.0, -0.2], [1.0, 0.0, 0.2]]).reshape(3, 1, 3)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised, expected.repeat(2, 1, 1, 1))
    assert images.equal(before)


def test_channels_are_those_of_the_mean() -> None:
    assert Preprocessing(32, (0.5,), (0.5,)).channels == 1
    assert Preprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).channels == 3
