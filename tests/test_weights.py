"""Weights carry all that is needed to use them, and are never mistaken for another network's."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dynaconv import create_model, load_model
from dynaconv.data.images import Preprocessing
from dynaconv.errors import CheckpointError, UsageError
from dynaconv.training.weights import describe, description, save_weights

PREPROCESSING = Preprocessing(16, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.fixture
def network() -> nn.Module:
    model = create_model("seven_block", num_classes=2, num_kernels=2, kernel_sizes=[5, [3, 5], 3, 3, 3, 3, 3])
    describe(model, ("cat", "dog"), PREPROCESSING)
    return model


def test_a_saved_network_comes_back_equal_and_ready(network, tmp_path) -> None:
    save_weights(tmp_path / "w.safetensors", network)
    loaded = load_model(tmp_path / "w.safetensors")
    assert not loaded.training
    assert description(loaded) == (("cat", "dog"), PREPROCESSING)
    images = torch.randn(3, 3, 16, 16)
    assert torch.equal(loaded(images), network.eval()(images))


def test_classes_are_an_attribute(network, tmp_path) -> None:
    save_weights(tmp_path / "w.safetensors", network)
    assert load_model(str(tmp_path / "w.safetensors")).classes == ("cat", "dog")


def test_what_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights 'nothing'.*run directory or a \.safetensors file"):
        load_model("nothing")
    with pytest.raises(CheckpointError, match="holds no weights yet"):
        load_model(tmp_path)


def test_a_damaged_file_is_named(network, tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, network)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"w\.safetensors is not a whole \.safetensors file"):
        load_model(path)


def test_a_pickle_is_refused_without_running_it(tmp_path) -> None:
    (tmp_path / "w.pt").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(CheckpointError, match="not a whole"):
        load_model(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_foreign_weights_are_refused_with_the_remedy(tmp_path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="does not say which network it is for"):
        load_model(tmp_path / "w.safetensors")


def test_weights_of_another_network_are_refused_by_name(network, tmp_path) -> None:
    save_weights(tmp_path / "w.safetensors", network)
    tensors = load_file(tmp_path / "w.safetensors")
    from safetensors import safe_open

    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors["blocks.0.conv.weight"] = tensors["blocks.0.conv.weight"][:1].contiguous()
    del tensors["classifier.0.bias"]
    save_file(tensors, tmp_path / "w.safetensors", metadata)
    with pytest.raises(CheckpointError) as error:
        load_model(tmp_path / "w.safetensors")
    assert "classifier.0.bias is missing" in str(error.value)
    assert "blocks.0.conv.weight is (1, 32, 3, 5, 5) in place of (2, 32, 3, 5, 5)" in str(error.value)


def test_a_model_without_description_says_so() -> None:
    with pytest.raises(UsageError, match="load it with load_model"):
        description(nn.Linear(1, 1))
