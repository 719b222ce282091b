"""The whole way as a person goes it: train on photographs of one's own, stop, go on, evaluate, predict."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from dynaconv import History, load_model, predict

README = Path(__file__).parents[1] / "README.md"
CLASSES = ("airplane", "automobile", "ship")


def dynaconv(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dynaconv", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def photos(cifar_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 200 training and 40 test photographs of three classes, of an odd size."""
    folder = tmp_path_factory.mktemp("photos")
    with zipfile.ZipFile(cifar_zip) as archive:
        for split, count in (("train", 200), ("test", 40)):
            for name in CLASSES:
                (folder / split / name).mkdir(parents=True)
                for index in range(count):
                    image = Image.open(
                        io.BytesIO(archive.read(f"cifar10-jpeg/{split}/{name}/{index:04}.jpg"))
                    )
                    image.resize((48, 40)).save(folder / split / name / f"{index}.png")
    return folder


def test_from_a_folder_of_photographs_to_an_answer(photos, tmp_path) -> None:
    options = ["--data", photos, "--image_size", 16, "--num_kernels", 2, "--method", "stacked"]
    rate = ["--optimizer", "adamw", "--schedule", "one_cycle", "--crop", 2]
    done = dynaconv("train", *options, *rate, "--epochs", 8, "--run", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    history = History.from_csv(tmp_path / "run" / "history.csv")
    assert done.stdout.splitlines()[:-1] == [epoch.line() for epoch in history]
    assert history[-1].test_accuracy > 0.6  # a third by chance

    done = dynaconv("evaluate", "run", "--json", folder=tmp_path)
    result = json.loads(done.stdout)
    assert (result["accuracy"], result["total"]) == (history[-1].test_accuracy, 120)
    assert [entry["name"] for entry in result["classes"]] == list(CLASSES)

    done = dynaconv(
        "predict", photos / "test" / "ship", "--weights", "run", "--top", 1, "--json", folder=tmp_path
    )
    answers = json.loads(done.stdout)
    assert len(answers) == 40
    assert sum(answer["classes"][0]["name"] == "ship" for answer in answers) > 20
    model = load_model(tmp_path / "run")
    row = predict(model, answers[0]["image"])[0]
    assert row.max().item() == pytest.approx(answers[0]["classes"][0]["probability"], abs=1e-5)


def test_two_processes_see_what_one_sees(tmp_path) -> None:
    small = "--recipe digits --image_size 8 --num_kernels 2 --method stacked --batch_size 256 --epochs 1"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "dynaconv", "--"]
    done = subprocess.run(
        [*command, "train", *small.split(), "--run", "two"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Epoch 1, ") == 1
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    assert dynaconv("train", *small.split(), "--run", "one", folder=tmp_path).returncode == 0
    two, one = (History.from_csv(tmp_path / name / "history.csv")[0] for name in ("two", "one"))
    # Each process normalises its share of a batch by itself, so the losses are near, not equal.
    assert two.train_loss == pytest.approx(one.train_loss, rel=0.02)
    assert round(two.train_accuracy * 1437, 6) == round(two.train_accuracy * 1437)
    assert round(two.test_accuracy * 360, 6) == round(two.test_accuracy * 360)


def test_the_readmes_python_runs(tmp_path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    Image.new("L", (28, 28), 255).save(tmp_path / "digit.png")
    script = "\n".join(blocks).replace('load("digits", epochs=2)', 'load("digits", epochs=1, image_size=8)')
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "from-python" / "weights" / "last.safetensors").exists()


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 250
