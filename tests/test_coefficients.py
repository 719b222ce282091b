import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dynaconv.analysis.coefficients import mean_coefficients
from dynaconv.layers import DynamicConv2d, Router


def linear_layer(weight: list[float], bias: list[float]) -> DynamicConv2d:
    """Return a layer of one channel whose coefficients are weight * (mean of the image) + bias."""
    router = Router(1, len(weight), hidden_features=())
    layer = DynamicConv2d(1, 1, 1, num_kernels=len(weight), router=router)
    last = router.mlp[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():  # after the layer is made, which begins with a neutral router
        last.weight.copy_(torch.tensor(weight)[:, None])
        last.bias.copy_(torch.tensor(bias))
    return layer


def batch(values: list[float], labels: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2), torch.tensor(
        labels
    )


BATCHES = [batch([1, 5, 2], [0, 1, 0]), batch([6], [0])]


def test_means_by_hand_over_batches_of_different_sizes() -> None:
    model = nn.Sequential(linear_layer([1, -2], [0, 1]))
    means = mean_coefficients(model, BATCHES, 3)
    assert list(means) == ["0"]
    # Class 0 has the images 1, 2 and 6, class 1 has 5, class 2 none.
    expected = np.array([[3, -5], [5, -9], [np.nan, np.nan]])
    np.testing.assert_allclose(means["0"], expected, rtol=1e-6)


def test_each_layer_has_the_coefficients_of_its_own_input_and_number_of_kernels() -> None:
    first, second = linear_layer([1], [0]), linear_layer([1, 0, -1], [0, 0.5, 0])
    with torch.no_grad():
        first.weight.fill_(2)
        assert first.bias is not None
        first.bias.fill_(0)
    means = mean_coefficients(nn.Sequential(first, second), [batch([1, 3], [0, 1])], 2)
    # The first layer gives a * 2x = 2x^2, so 2 and 18.
    np.testing.assert_allclose(means["0"], [[1], [3]], rtol=1e-6)
    np.testing.assert_allclose(means["1"], [[2, 0.5, -2], [18, 0.5, -18]], rtol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_run_in_eval_mode_and_left_as_it_was(training: bool) -> None:
    layer = linear_layer([1, -2], [0, 1])
    model = nn.Sequential(nn.Dropout(0.5), layer).train(training)
    means = mean_coefficients(model, BATCHES, 2)
    np.testing.assert_allclose(means["1"], [[3, -5], [5, -9]], rtol=1e-6)  # nothing dropped
    assert all(module.training is training for module in model.modules())
    assert layer.coefficients is None
    assert all(parameter.grad is None for parameter in model.parameters())


class Auxiliary(nn.Module):
    """A network with a layer for training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.auxiliary = linear_layer([1], [0]), linear_layer([1], [0])

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.main(images)
        return out + self.auxiliary(images) if self.training else out


def test_layers_that_are_not_run_are_left_out() -> None:
    assert list(mean_coefficients(Auxiliary(), BATCHES, 2)) == ["main"]


def test_a_network_without_dynamic_layers_has_none() -> None:
    assert mean_coefficients(nn.Conv2d(1, 1, 1), BATCHES, 2) == {}
