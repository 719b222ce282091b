"""Arrays and tensors as images: every layout and type that is documented, and no other."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaconv.data.images import from_array
from dynaconv.errors import UsageError
from tests.pictures import noise

PICTURES = noise(2, 5, 6, 3)  # N, H, W, C


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (PICTURES.transpose(0, 3, 1, 2), PICTURES),
        (PICTURES, PICTURES),
        (PICTURES[0].transpose(2, 0, 1), PICTURES[:1]),
        (PICTURES[0], PICTURES[:1]),
        (PICTURES[0, :, :, 0], PICTURES[:1, :, :, 0]),
        (PICTURES[:1, :, :, 0], PICTURES[:1, :, :, 0]),
        (PICTURES[0, :, :, :1], PICTURES[:1, :, :, 0]),
        (PICTURES[:, None, :, :, 0], PICTURES[..., 0]),
        (PICTURES[..., :1], PICTURES[..., 0]),
        (noise(5, 6, 4), noise(5, 6, 4)[None]),
        (noise(5, 6, 4).transpose(2, 0, 1), noise(5, 6, 4)[None]),
    ],
    ids=["NCHW", "NHWC", "CHW", "HWC", "HW", "1HW", "HW1", "N1HW", "NHW1", "HW4", "4HW"],
)
@pytest.mark.parametrize("kind", ["uint8", "int64", "float32"])
def test_array_of_every_layout(layout: Any, expected: Any, kind: str) -> None:
    values = (layout / 255).astype(kind) if kind == "float32" else layout.astype(kind)
    for array in (values, torch.from_numpy(np.ascontiguousarray(values))):
        images = from_array(array)
        assert len(images) == len(expected)
        for image, pixels in zip(images, expected, strict=True):
            assert np.array_equal(np.asarray(image), pixels)


def as_made(kind: str) -> Any:
    """Return the same picture, as one comes by it."""
    picture = PICTURES[0]
    if kind == "read-only":
        return np.asarray(Image.fromarray(picture))
    if kind == "a view":
        return picture[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    if kind == "with gradients":
        return torch.tensor(picture / 255, requires_grad=True)
    if kind == "half":
        return torch.tensor(picture / 255, dtype=torch.bfloat16)
    return picture.astype(kind)


@pytest.mark.parametrize("kind", ["read-only", "a view", "uint16", ">i4", "with gradients", "half"])
def test_array_however_it_was_made(kind: str) -> None:
    [image] = from_array(as_made(kind))
    assert np.abs(np.asarray(image).astype(int) - PICTURES[0]).max() <= (1 if kind == "half" else 0)


def test_booleans_are_black_and_white() -> None:
    [image] = from_array(np.array([[True, False]]))
    assert np.asarray(image).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([[0.0, np.nan]]), "float64 from nan to nan"),
        (np.array([[-0.5, 1.0]]), "float64 from -0.5 to 1"),
        (np.array([[0.0, 2.5]], np.float32), "float32 from 0 to 2.5"),
        (np.array([[0.0, np.inf]]), "float64 from 0 to inf"),
        (np.array([[0, 300]]), "int64 from 0 to 300"),
        (np.array([[-1, 255]]), "int64 from -1 to 255"),
        (torch.tensor([[0, 256]], dtype=torch.int32), "int32 from 0 to 256"),
    ],
)
def test_values_out_of_range_are_refused_with_the_values(array: Any, found: str) -> None:
    with pytest.raises(
        UsageError, match=rf"integers from 0 to 255 or floats from 0 to 1.* got torch.{found}"
    ):
        from_array(array)


@pytest.mark.parametrize("shape", [(5,), (2, 5, 6), (2, 2, 5, 6), (1, 1, 3, 5, 6), (0, 3, 5, 6), (3, 0, 6)])
def test_other_shapes_are_refused_with_the_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        from_array(np.zeros(shape))
    assert str(shape) in str(caught.value)
