"""The package is light until it is used."""

import subprocess
import sys

import pytest

import dynaconv

HEAVY = ("torch", "matplotlib", "gradio", "onnx", "onnxruntime", "pandas", "sklearn", "accelerate", "rich")


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["dynaconv", "dynaconv.cli", "dynaconv.training.recipe"])
def test_the_import_pulls_in_nothing_heavy(module) -> None:
    assert modules_after(f"import {module}").isdisjoint(HEAVY)


def test_the_layers_need_torch_alone() -> None:
    loaded = modules_after("import dynaconv.layers")
    assert not {name for name in loaded if name.startswith("dynaconv")} - {
        "dynaconv",
        "dynaconv.layers",
        "dynaconv.layers.conv",
        "dynaconv.layers.functional",
        "dynaconv.layers.methods",
        "dynaconv.layers.router",
    }
    assert loaded.isdisjoint({"accelerate", "matplotlib", "sklearn", "torchvision", "rich"})


@pytest.mark.parametrize("name", dynaconv.__all__)
def test_every_public_name_is_there_and_documented(name) -> None:
    assert getattr(dynaconv, name).__doc__


def test_a_submodule_does_not_hide_the_function_of_its_name() -> None:
    code = "import dynaconv.predict, dynaconv; assert callable(dynaconv.predict), dynaconv.predict"
    modules_after(code)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dynaconv.nothing  # noqa: B018
