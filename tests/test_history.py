"""What a run measured is kept to the bit and told in the brief's words."""

import pytest

from dynaconv import History
from dynaconv.errors import CheckpointError
from dynaconv.training.history import Epoch


def make_epoch(number: int, **values: float) -> Epoch:
    defaults = {
        "train_loss": 0.006677797500193119,
        "test_loss": 0.006876045739650726,
        "train_accuracy": 0.8531,
        "test_accuracy": 0.8564,
        "learning_rate": 0.002,
        "seconds": 61.5,
        "test_seconds": 4.25,
        "images_per_second": 813.0,
    }
    return Epoch(epoch=number, **{**defaults, **values})


def test_the_line_is_the_briefs_to_the_character() -> None:
    assert make_epoch(57).line() == (
        "Epoch 57, Average Loss (train) : 0.006677797500193119, Average Loss (test)0.006876045739650726, "
        "Training Accuracy: 0.8531, Testing Accuracy 0.8564"
    )


def test_csv_reads_back_to_the_same_bits(tmp_path) -> None:
    history = History([make_epoch(1, train_loss=0.1 + 0.2), make_epoch(2, test_loss=1e-17)])
    history.to_csv(tmp_path / "history.csv")
    assert History.from_csv(tmp_path / "history.csv") == history


def test_the_columns_are_those_promised(tmp_path) -> None:
    History([make_epoch(1)]).to_csv(tmp_path / "history.csv")
    header = (tmp_path / "history.csv").read_text().splitlines()[0]
    assert header == (
        "epoch,train_loss,test_loss,train_accuracy,test_accuracy,learning_rate,seconds,test_seconds,"
        "images_per_second"
    )


def test_column_is_a_field_of_every_epoch() -> None:
    history = History([make_epoch(1, test_accuracy=0.5), make_epoch(2, test_accuracy=0.75)])
    assert history.column("test_accuracy") == [0.5, 0.75]


def test_another_table_is_refused_by_name(tmp_path) -> None:
    (tmp_path / "other.csv").write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(CheckpointError, match=r"other\.csv is not the history of a run"):
        History.from_csv(tmp_path / "other.csv")
