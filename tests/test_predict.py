"""predict takes images as people have them and says the same of the same image."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dynaconv import create_model, predict
from dynaconv.data.images import Preprocessing
from dynaconv.errors import DataError, UsageError
from dynaconv.training.weights import describe


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    model = create_model("seven_block", num_classes=3, num_kernels=2)
    describe(model, ("a", "b", "c"), Preprocessing(16, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))
    return model.eval()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_probabilities_are_the_softmax_of_the_logits(network, pixels) -> None:
    normalised = (
        torch.tensor(pixels).permute(2, 0, 1) / 255 - torch.tensor([0.4, 0.5, 0.6])[:, None, None]
    ) / (torch.tensor([0.2, 0.25, 0.3])[:, None, None])
    expected = network(normalised[None]).softmax(1)
    torch.testing.assert_close(predict(network, pixels), expected)


def test_the_same_image_in_every_form_gives_the_same(network, pixels, tmp_path) -> None:
    image = Image.fromarray(pixels)
    image.save(tmp_path / "image.png")
    chw = torch.tensor(pixels).permute(2, 0, 1)
    forms = [image, pixels, chw, chw / 255, chw[None], str(tmp_path / "image.png"), tmp_path / "image.png"]
    results = [predict(network, form) for form in forms]
    for result in results:
        assert result.shape == (1, 3)
        assert torch.equal(result, results[0])
    assert torch.equal(predict(network, forms), torch.cat(results))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (31, 200)])
def test_any_size_and_mode_has_probabilities(network, mode, size) -> None:
    (row,) = predict(network, Image.new(mode, size))
    assert row.sum().item() == pytest.approx(1)


def test_many_images_are_as_one_by_one(network) -> None:
    images = torch.rand(70, 3, 16, 16)  # more than a batch
    together = predict(network, images)
    torch.testing.assert_close(together, torch.cat([predict(network, image) for image in images]))


def test_a_network_in_training_is_used_in_eval_mode_and_left_as_it_was(network, pixels) -> None:
    expected = predict(network, pixels)
    network.train()
    assert torch.equal(predict(network, pixels), expected)
    assert network.training
    network.eval()


def test_what_cannot_be_predicted_is_said(network, tmp_path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg is not an image"):
        predict(network, tmp_path / "text.jpg")
    with pytest.raises(DataError, match=r"none\.jpg cannot be opened"):
        predict(network, tmp_path / "none.jpg")
    with pytest.raises(UsageError, match="not normalised"):
        predict(network, torch.randn(3, 16, 16))
    with pytest.raises(UsageError, match="empty sequence"):
        predict(network, [])
    with pytest.raises(UsageError, match="load it with load_model"):
        predict(create_model("seven_block"), torch.zeros(3, 8, 8))


def test_a_network_in_training_is_left_so_where_an_image_is_refused(network, tmp_path) -> None:
    network.train()
    with pytest.raises(DataError):
        predict(network, tmp_path / "none.jpg")
    assert network.training
    network.eval()
