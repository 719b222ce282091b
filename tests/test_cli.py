"""The command line: what it prints, how it exits, and one paragraph for whatever is wrong."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaconv.cli import main

SMALL = [
    "--data",
    "digits",
    "--image_size",
    "8",
    "--num_kernels",
    "2",
    "--method",
    "stacked",
    "--batch_size",
    "256",
]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of two epochs on the digits, by a real process."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "dynaconv", "train", "--recipe", "digits", *SMALL, "--epochs", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("Epoch 1, Average Loss (train) : ")
    assert "see runs/digits/report.md" in done.stdout.splitlines()[-1]
    return Path(folder) / "runs" / "digits"


def test_a_run_directory_is_as_promised(trained) -> None:
    expected = [
        *("recipe.yaml", "environment.json", "history.csv", "train.log", "report.md", "tensorboard"),
        *("checkpoints/last.pt", "checkpoints/previous.pt", "weights/last.safetensors"),
        *("curves.png", "confusion_matrix.png", "coefficients.png", "mistakes.png"),
    ]
    assert [name for name in expected if not (trained / name).exists()] == []
    assert len(list((trained / "tensorboard").iterdir())) == 1
    assert len((trained / "history.csv").read_text().splitlines()) == 3
    assert len((trained / "train.log").read_text().splitlines()) == 2
    assert not list(trained.rglob("*.tmp"))


def test_help_is_short_and_whole(run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("train", "evaluate", "predict", "data", "recipes"):
        assert command in out
    assert run("train", "--help")[0] == 0


def test_help_of_a_recipe_shows_its_values(run) -> None:
    _, out, _ = run("train", "--recipe", "digits", "--help")
    assert "default: one_cycle" in " ".join(out.split())


def test_evaluate_repeats_the_last_epoch(trained, run) -> None:
    code, out, _ = run("evaluate", trained, "--json")
    assert code == 0
    result = json.loads(out)
    last = list(csv.DictReader(io.StringIO((trained / "history.csv").read_text())))[-1]
    assert result["accuracy"] == float(last["test_accuracy"])
    assert result["loss"] == float(last["test_loss"])
    assert result["total"] == 360
    assert [entry["name"] for entry in result["classes"]] == [str(digit) for digit in range(10)]


def test_evaluate_prints_plain_lines_where_nobody_looks(trained, run) -> None:
    code, out, _ = run("evaluate", trained)
    assert code == 0
    assert "total\t360" in out.splitlines()


def test_weights_alone_need_to_be_told_the_images(trained, run) -> None:
    weights = trained / "weights" / "last.safetensors"
    code, _, err = run("evaluate", weights)
    assert code == 2
    assert "does not say which images to test on: name them by --data" in err
    code, out, _ = run("evaluate", weights, "--data", "digits", "--json")
    assert json.loads(out)["total"] == 360


def test_predict_in_every_form(trained, run, tmp_path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(
            folder / name
        )
    (folder / "notes.txt").write_text("no image, and not asked for")

    code, out, _ = run("predict", folder, "--weights", trained, "--top", 2, "--json")
    assert code == 0
    entries = json.loads(out)
    assert [Path(entry["image"]).name for entry in entries] == ["a.png", "b.jpg"]
    assert [len(entry["classes"]) for entry in entries] == [2, 2]
    best, second = (entry["probability"] for entry in entries[0]["classes"])
    assert 1 >= best >= second >= 0

    _, out, _ = run("predict", folder / "a.png", folder / "b.jpg", "--weights", trained, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 10
    assert rows[0]["class"] == entries[0]["classes"][0]["name"]
    assert float(rows[0]["probability"]) == best

    _, out, _ = run("predict", folder / "a.png", "--weights", trained)
    assert out.splitlines()[1].startswith(f"{folder / 'a.png'}\t{rows[0]['class']} ")


def test_recipes_shows_those_that_ship(run) -> None:
    code, out, _ = run("recipes")
    assert code == 0
    assert {"paper", "digits"} <= {line.split("\t")[0] for line in out.splitlines()}


def test_data_get_says_where_it_is(run) -> None:
    code, out, _ = run("data", "get", "digits")
    assert code == 0
    assert "1,437 training and 360 test images" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "See dynaconv --help."),
        (["trian"], 2, "Unknown command 'trian'. Did you mean 'train'?"),
        (["train", "--epoch", "3"], 2, "Unknown option '--epoch'. Did you mean '--epochs'?"),
        (["train", "--batch-size", "3"], 2, "Unknown option '--batch-size'. Did you mean '--batch_size'?"),
        (["train", "--epochs", "three"], 2, "epochs must be a whole number, got 'three'."),
        (["train", "--optimizer", "adma"], 2, "Unknown optimizer 'adma'. Did you mean 'adam'?"),
        (["train", "--num_kernels", "0"], 2, "num_kernels must be at least 1, got 0."),
        (["train", "--recipe", "papre"], 2, "Unknown recipe 'papre'. Did you mean 'paper'?"),
        (["train", "--recipe", "none.yaml"], 2, "There is no recipe 'none.yaml'"),
        (["train", "--data", "cifar01"], 2, "Unknown data set 'cifar01'. Did you mean 'cifar10'?"),
        (["train", "--data", "./photos"], 2, "There is no folder or zip"),
        (["train", *SMALL, "--model", "seven_blocks"], 2, "Unknown model 'seven_blocks'. Did you mean"),
        (
            ["train", *SMALL, "--method", "groupd"],
            2,
            "method must be 'auto' or one of sum, stacked, grouped, got 'groupd'",
        ),
        (["train", *SMALL, "--kernel_sizes", "[5, 5]"], 2, "kernel_sizes must have 7 entries"),
        (["train", *SMALL, "--kernel_sizes", "[4,3,3,3,3,3,3]"], 2, "kernel_sizes must be odd"),
        (["train", "--resume"], 2, "--resume needs the run to go on with"),
        (["evaluate", "nothing"], 1, "There are no weights 'nothing'"),
        (["predict", "cat.jpg"], 2, "weights"),
        (["predict", "cat.jpg", "--weights", "w", "--json", "--csv"], 2, "exclude each other"),
        (["data", "get", "cifra10"], 2, "Unknown data set 'cifra10'. Did you mean 'cifar10'?"),
    ],
)
def test_what_is_wrong_is_said_in_a_paragraph(run, tmp_path, arguments, code, message) -> None:
    exit_code, out, err = run(*arguments)
    assert message in err
    assert err.startswith("dynaconv: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert exit_code == code
    assert out == ""
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_a_run_is_not_overwritten_unless_asked(trained, run, tmp_path) -> None:
    mine = shutil.copytree(trained, tmp_path / "mine")
    (mine / "notes.md").write_text("mine")
    before = (mine / "history.csv").read_bytes()
    again = ["train", "--recipe", "digits", *SMALL, "--epochs", "1", "--run", mine]
    code, _, err = run(*again)
    assert code == 1
    assert "holds a run already, and it is not overwritten" in err
    assert (mine / "history.csv").read_bytes() == before
    assert run(*again, "--overwrite")[0] == 0
    assert len((mine / "history.csv").read_text().splitlines()) == 2
    assert (mine / "notes.md").read_text() == "mine"  # what is not the run's stays


def test_a_finished_run_resumes_to_itself(trained, run, tmp_path) -> None:
    mine = shutil.copytree(trained, tmp_path / "mine")
    before = (mine / "history.csv").read_bytes()
    code, _, err = run("train", "--run", mine, "--resume")  # its own recipe, without naming it
    assert code == 0, err
    assert (mine / "history.csv").read_bytes() == before
    code, _, err = run("train", "--run", mine, "--resume", "--learning_rate", "0.1")
    assert code == 1
    assert "was begun with another recipe: learning_rate was 0.003, is 0.1" in err


def test_without_a_name_runs_do_not_meet(trained, run, tmp_path) -> None:
    shutil.copytree(trained, tmp_path / "runs" / "digits")
    assert run("train", "--recipe", "digits", *SMALL, "--epochs", "1")[0] == 0
    assert (tmp_path / "runs" / "digits-2" / "report.md").exists()


def test_ctrl_c_saves_says_how_to_go_on_and_exits_130(tmp_path) -> None:
    command = [sys.executable, "-m", "dynaconv", "train", "--recipe", "digits", *SMALL, "--epochs", "200"]
    process = subprocess.Popen(
        [*command, "--run", "r"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Epoch 1, ")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Go on with: dynaconv train --run r --resume" in err
    assert "Traceback" not in err
    assert (tmp_path / "r" / "checkpoints" / "last.pt").exists()


def test_a_reader_that_goes_away_is_no_error() -> None:
    shell = f"{sys.executable} -m dynaconv recipes | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env={**os.environ})
    assert "Traceback" not in done.stderr
