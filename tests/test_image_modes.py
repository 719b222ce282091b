"""Every mode that Pillow knows gives the colour that people see."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaconv.data.images import open_image, to_uint8
from tests.pictures import BROWN, colour


@pytest.mark.parametrize(
    ("mode", "value", "suffix", "expected"),
    [
        ("1", 255, ".png", (255, 255, 255)),
        ("L", 100, ".png", (100, 100, 100)),
        ("LA", (100, 255), ".png", (100, 100, 100)),
        ("LA", (100, 0), ".png", (255, 255, 255)),
        ("LA", (0, 51), ".png", (204, 204, 204)),  # a fifth of black on white
        ("P", BROWN, ".gif", BROWN),
        ("RGB", BROWN, ".jpg", BROWN),
        ("RGBX", BROWN, "", BROWN),
        ("RGBA", (*BROWN, 255), ".webp", BROWN),
        ("RGBA", (*BROWN, 0), ".png", (255, 255, 255)),
        ("RGBA", (*BROWN, 51), ".png", (244, 224, 214)),  # 0.2 * 200 + 0.8 * 255, and so on
        ("RGBa", (0, 0, 0, 51), "", (204, 204, 204)),
        ("CMYK", (55, 155, 205, 0), ".jpg", BROWN),
        ("YCbCr", (124, 86, 182), "", BROWN),
        ("HSV", (14, 191, 200), "", BROWN),
        ("LAB", (138, 166, 174), ".tif", BROWN),
        ("I", 25_700, ".tif", (100, 100, 100)),
        ("I;16", 25_700, ".png", (100, 100, 100)),
        ("I;16B", 25_700, ".tif", (100, 100, 100)),
        ("F", 0.2, ".tif", (51, 51, 51)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_gives_the_colour_that_people_see(
    mode: str, value: Any, suffix: str, expected: tuple[int, ...], channels: int, tmp_path: Path
) -> None:
    image = Image.new(mode, (12, 9), value)
    if suffix:
        image.save(tmp_path / f"image{suffix}", quality=100)
        image = open_image(tmp_path / f"image{suffix}", "image")
    if suffix != ".gif":  # whose palette may be stored as grey
        assert image.mode == ("RGB" if (mode, suffix) == ("RGBA", ".webp") else mode)
    if channels == 1:
        expected = (round(0.299 * expected[0] + 0.587 * expected[1] + 0.114 * expected[2]),)
    assert colour(image, channels) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_transparent_colour_of_a_palette_is_laid_on_white(suffix: str, tmp_path: Path) -> None:
    image = Image.new("P", (16, 8), 1)
    image.putpalette([0, 0, 0, *BROWN])
    image.paste(0, (0, 0, 8, 8))
    image.save(tmp_path / f"image{suffix}", transparency=0)
    opened = open_image(tmp_path / f"image{suffix}", "image")
    assert opened.mode == "P"
    assert colour(opened.crop((0, 0, 8, 8))) == (255, 255, 255)
    assert colour(opened.crop((8, 0, 16, 8))) == BROWN


def test_palette_with_a_degree_of_transparency_for_each_entry(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *BROWN])
    image.save(tmp_path / "image.png", transparency=bytes([0, 51]))
    assert colour(open_image(tmp_path / "image.png", "image")) == (244, 224, 214)


def test_palette_with_transparency_for_each_pixel(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), BROWN).convert("PA")
    assert colour(image) == BROWN
    image.putalpha(51)
    image.save(tmp_path / "image.tif")
    opened = open_image(tmp_path / "image.tif", "image")
    assert opened.mode == "PA"
    assert colour(opened) == (244, 224, 214)


@pytest.mark.parametrize(("mode", "value"), [("RGB", BROWN), ("L", 100)])
def test_transparent_colour_without_a_palette_is_laid_on_white(mode: str, value: Any, tmp_path: Path) -> None:
    Image.new(mode, (8, 8), value).save(tmp_path / "image.png", transparency=value)
    assert colour(open_image(tmp_path / "image.png", "image")) == (255, 255, 255)


def test_16_bits_become_8_by_dividing_by_257(tmp_path: Path) -> None:
    values = np.zeros((8, 8), np.uint16)
    values[0] = [0, 128, 129, 257, 25_700, 32_768, 65_406, 65_535]
    Image.fromarray(values).save(tmp_path / "image.png")
    pixels = to_uint8(open_image(tmp_path / "image.png", "image"), 8, 1)
    assert pixels[0, 0].tolist() == [0, 0, 1, 1, 100, 128, 254, 255]


def test_wider_values_are_cut_to_the_range_of_8_bits() -> None:
    integers = np.full((8, 8), 70_000, np.int32)
    integers[:, 0] = -5
    assert to_uint8(Image.fromarray(integers), 8, 1)[0, 0, :2].tolist() == [0, 255]
    floats = np.full((8, 8), 1.5, np.float32)
    floats[:, 0], floats[:, 1], floats[:, 2] = -0.1, np.nan, np.inf
    assert to_uint8(Image.fromarray(floats), 8, 1)[0, 0, :4].tolist() == [0, 0, 255, 255]
