import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dynaconv.layers import Router

# Two channels, of means 1 and 3.
IMAGES = torch.tensor([[[0.0, 1.0], [2.0, 1.0]], [[3.0, 3.0], [6.0, 0.0]]])[None]


def by_hand(**arguments: Any) -> Router:
    """Return a router whose logits of IMAGES are 2.5 and -3."""
    router = Router(2, 2, hidden_features=(2,), **arguments)
    router.load_state_dict(
        {
            "mlp.0.weight": torch.tensor([[1.0, 0.0], [0.0, -1.0]]),
            "mlp.0.bias": torch.tensor([0.0, 1.0]),  # (1, -3 + 1), which the ReLU makes (1, 0)
            "mlp.2.weight": torch.tensor([[2.0, 5.0], [-3.0, 7.0]]),
            "mlp.2.bias": torch.tensor([0.5, 0.0]),
        }
    )
    return router


def test_linear_by_hand() -> None:
    assert by_hand()(IMAGES).tolist() == [[2.5, -3.0]]


def test_sigmoid_by_hand() -> None:
    expected = [[1 / (1 + math.exp(-2.5)), 1 / (1 + math.exp(3))]]
    torch.testing.assert_close(by_hand(activation="sigmoid")(IMAGES), torch.tensor(expected))


@pytest.mark.parametrize("temperature", [0.25, 1.0, 5.5])
def test_softmax_with_temperature_by_hand(temperature: float) -> None:
    larger = 1 / (1 + math.exp(-(2.5 + 3) / temperature))
    expected = torch.tensor([[larger, 1 - larger]])

    router = by_hand(activation="softmax", temperature=temperature)
    torch.testing.assert_close(router(IMAGES), expected)

    annealed = by_hand(activation="softmax")
    annealed.temperature = temperature  # as a schedule sets it
    torch.testing.assert_close(annealed(IMAGES), expected)


@pytest.mark.parametrize(("activation", "start"), [("linear", 0.2), ("softmax", 0.2), ("sigmoid", 0.5)])
def test_starts_neutral_and_can_leave_it(activation: str, start: float) -> None:
    images = 10 * torch.randn(4, 3, 6, 6)
    router = Router(3, 5, hidden_features=(8, 8), activation=activation)
    torch.testing.assert_close(router(images), torch.full((4, 5), start))

    optimizer = torch.optim.SGD(router.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (router(images) * torch.randn(4, 5)).sum().backward()
        optimizer.step()
    coefficients = router(images)
    assert len(coefficients.unique(dim=0)) == 4  # each image has its own
    assert all((parameter.grad != 0).any() for parameter in router.parameters() if parameter.grad is not None)

    for parameter in router.parameters():
        nn.init.constant_(parameter, math.nan)
    router.reset_parameters()
    torch.testing.assert_close(router(images), torch.full((4, 5), start))


def test_hidden_features_are_the_hidden_layers_and_none_is_a_linear_map() -> None:
    def sizes(router: Router) -> list[tuple[int, int]]:
        return [(m.in_features, m.out_features) for m in router.modules() if isinstance(m, nn.Linear)]

    assert sizes(Router(3, 6)) == [(3, 512), (512, 512), (512, 6)]
    assert sizes(Router(3, 6, hidden_features=[7])) == [(3, 7), (7, 6)]
    assert sizes(Router(3, 6, hidden_features=())) == [(3, 6)]


def test_coefficients_depend_on_the_image_alone() -> None:
    router = by_hand()
    others = torch.randn(3, 2, 2, 2)

    together = router(torch.cat([others, IMAGES]))

    torch.testing.assert_close(together[3:], router(IMAGES))
    shuffled = IMAGES.flatten(2).flip(2).reshape(IMAGES.shape)  # the spatial mean knows no order
    torch.testing.assert_close(router(shuffled), router(IMAGES))


def test_empty_batch_device_and_dtype() -> None:
    router = Router(3, 4, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in router.parameters()} == {("meta", torch.float64)}
    assert Router(3, 4)(torch.zeros(0, 3, 8, 8)).shape == (0, 4)


def test_shows_what_it_is() -> None:
    assert "activation='softmax', temperature=30.0" in repr(
        Router(3, 4, activation="softmax", temperature=30.0)
    )
    assert "temperature" not in repr(Router(3, 4, activation="sigmoid"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "must be at least 1, got 0, 4 and (512, 512)"),
        ({"num_kernels": 0}, "must be at least 1, got 3, 0 and (512, 512)"),
        ({"hidden_features": (8, 0)}, "must be at least 1, got 3, 4 and (8, 0)"),
        ({"activation": "tanh"}, "activation must be one of linear, sigmoid, softmax, got 'tanh'"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": -1.0}, "temperature must be above 0, got -1.0"),
        ({"temperature": math.nan}, "temperature must be above 0, got nan"),
        ({"temperature": math.inf}, "temperature must be above 0, got inf"),
    ],
    ids=str,
)
def test_errors_name_the_argument_and_its_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Router(**{"in_channels": 3, "num_kernels": 4} | arguments)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (2, 3)], ids=str)
def test_images_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    images: Tensor = torch.zeros(shape)
    with pytest.raises(ValueError, match=re.escape(f"images must be (N, 3, H, W), got shape {shape}")):
        Router(3, 4)(images)


def test_linear_coefficients_begin_where_they_are_told() -> None:
    router = Router(3, 5, neutral=10.0)
    torch.testing.assert_close(router(torch.randn(2, 3, 4, 4)), torch.full((2, 5), 10.0))
