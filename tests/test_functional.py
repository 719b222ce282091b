import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynaconv.layers import METHODS, dynamic_conv2d


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_numbers_by_hand(method: str) -> None:
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    sum_of_two, difference = [1.0, 1.0], [-1.0, 1.0]  # of neighbours: [[3, 5], [9, 11]] and [[1, 1], [1, 1]]
    weight = torch.tensor([sum_of_two, difference]).reshape(2, 1, 1, 1, 2)
    bias = torch.tensor([[10.0], [20.0]])
    coefficients = torch.tensor([[1.0, 0.0], [2.0, -1.0]])

    output = dynamic_conv2d(image.expand(2, 1, 2, 3), weight, coefficients, bias, method=method)

    first = [[3 + 10, 5 + 10], [9 + 10, 11 + 10]]
    second = [[2 * 13 - 21, 2 * 15 - 21], [2 * 19 - 21, 2 * 21 - 21]]
    assert output.tolist() == [[first], [second]]


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_groups_by_hand(method: str) -> None:
    image = torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1)  # two channels, a group each, of two outputs each
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]).reshape(2, 4, 1, 1, 1)

    output = dynamic_conv2d(image, weight, torch.tensor([[1.0, 100.0]]), groups=2, method=method)

    assert output.flatten().tolist() == [501, 602, 7030, 8040]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2},
        {"stride": (1, 3)},
        {"padding": 2},
        {"padding": (2, 0)},
        {"padding": [0, 2]},
        {"padding": "same"},
        {"padding": "valid"},
        {"dilation": 2},
        {"dilation": (1, 2)},
        {"stride": (2, 1), "padding": (0, 3), "dilation": (2, 1)},
    ],
    ids=str,
)
def test_is_the_formula_image_by_image(arguments: dict[str, Any]) -> None:
    images = torch.randn(3, 2, 7, 8, dtype=torch.float64)
    weight = torch.randn(4, 5, 2, 3, 3, dtype=torch.float64)
    coefficients = torch.randn(3, 4, dtype=torch.float64)
    bias = torch.randn(4, 5, dtype=torch.float64)

    output = dynamic_conv2d(images, weight, coefficients, bias, **arguments)

    for image, shares, result in zip(images, coefficients, output, strict=True):
        terms = [a * F.conv2d(image, w, b, **arguments) for a, w, b in zip(shares, weight, bias, strict=True)]
        torch.testing.assert_close(result, torch.stack(terms).sum(0), rtol=1e-12, atol=1e-12)


def call(**changed: Any) -> Tensor:
    """Call with arguments that fit each other (N 2, K 3, C_in 4, C_out 6, groups 2), but for ``changed``."""
    arguments: dict[str, Any] = {
        "input": torch.randn(2, 4, 5, 7),
        "weight": torch.randn(3, 6, 2, 3, 3),
        "coefficients": torch.randn(2, 3),
        "bias": torch.randn(3, 6),
        "groups": 2,
    }
    return dynamic_conv2d(**arguments | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input": torch.zeros(4, 5, 7)}, "input must be (N, C_in, H, W), got shape (4, 5, 7)"),
        (
            {"input": torch.zeros(2, 3, 5, 7)},
            "input has 3 channels, but weight (3, 6, 2, 3, 3)",
        ),
        ({"input": torch.zeros(1, 4, 5, 7)}, "coefficients are for 2 images, but input holds 1"),
        ({"input": torch.zeros(2, 4, 2, 7)}, "covers 3 pixels of height (kernel_size 3, dilation 1)"),
        ({"input": torch.zeros(2, 4, 5, 2)}, "covers 3 pixels of width (kernel_size 3, dilation 1)"),
        ({"weight": torch.zeros(6, 2, 3, 3)}, "weight must be (K, C_out, C_in/groups, kH, kW)"),
        ({"weight": torch.zeros(0, 6, 2, 3, 3)}, "with K >= 1, got shape (0, 6, 2, 3, 3)"),
        ({"coefficients": torch.zeros(2, 2)}, "coefficients must be (N, K) with K = 3 as in weight"),
        ({"coefficients": torch.zeros(3)}, "got shape (3,)"),
        ({"bias": torch.zeros(6)}, "bias must be (K, C_out) = (3, 6), got (6,)"),
        ({"groups": 4}, "groups must be >= 1 and divide C_out = 6, got 4"),
        ({"groups": 0}, "groups must be >= 1 and divide C_out = 6, got 0"),
        ({"stride": 0}, "stride must be at least 1, got (0, 0)"),
        ({"stride": (1, 2, 3)}, "stride must be a number or a pair (height, width), got (1, 2, 3)"),
        ({"stride": 1.5}, "stride must be a number or a pair (height, width), got 1.5"),
        ({"padding": (1, -1)}, "padding must be at least 0, got (1, -1)"),
        ({"padding": "full"}, "padding must be numbers, 'same' or 'valid', got 'full'"),
        ({"padding": "same", "stride": (1, 2)}, "padding='same' needs stride 1, got stride (1, 2)"),
        ({"dilation": (0, 1)}, "dilation must be at least 1, got (0, 1)"),
        (
            {"dilation": (3, 1)},
            "covers 7 pixels of height (kernel_size 3, dilation 3)",
        ),
        ({"dilation": (1, 5), "padding": 1}, "covers 11 pixels of width (kernel_size 3, dilation 5)"),
        ({"method": "fft"}, f"method must be 'auto' or one of {', '.join(METHODS)}, got 'fft'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_name_the_argument_and_its_value(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call(**changed)


def test_a_kernel_as_large_as_the_padded_image_gives_one_pixel() -> None:
    assert call(input=torch.zeros(2, 4, 3, 1), padding=(0, 1)).shape == (2, 6, 1, 1)
