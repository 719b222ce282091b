import json
import math

import numpy as np
import pytest
import torch

from dynaconv.analysis.metrics import (
    confusion_matrix,
    expected_calibration_error,
    per_class,
    top_k_accuracy,
)
from dynaconv.errors import UsageError

LABELS = torch.tensor([0, 0, 0, 1])
PREDICTED = torch.tensor([0, 0, 1, 1])


def test_confusion_matrix_has_a_row_for_each_true_class_and_a_column_for_each_predicted_one() -> None:
    assert confusion_matrix(LABELS, PREDICTED, 3).tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_scores_of_each_class_by_hand() -> None:
    cat, dog, bird = per_class(LABELS, PREDICTED, ["cat", "dog", "bird"])
    assert (cat.name, cat.precision, cat.support) == ("cat", 1, 3)
    assert cat.recall == pytest.approx(2 / 3)
    assert cat.f1 == pytest.approx(4 / 5)
    assert (dog.name, dog.precision, dog.recall, dog.support) == ("dog", 1 / 2, 1, 1)
    assert dog.f1 == pytest.approx(2 / 3)
    assert (bird.name, bird.support) == ("bird", 0)
    assert all(math.isnan(score) for score in (bird.precision, bird.recall, bird.f1))


def test_a_class_that_is_never_predicted_has_recall_0_and_no_precision() -> None:
    _, dog = per_class([0, 1], [0, 0], ["cat", "dog"])
    assert (dog.recall, dog.f1) == (0, 0)
    assert math.isnan(dog.precision)


def test_scores_can_be_written_as_json_which_has_no_nan() -> None:
    entries = [entry.as_dict() for entry in per_class([0, 0], [0, 0], ["cat", "dog"])]
    assert json.loads(json.dumps(entries, allow_nan=False)) == [
        {"name": "cat", "precision": 1, "recall": 1, "f1": 1, "support": 2},
        {"name": "dog", "precision": None, "recall": None, "f1": None, "support": 0},
    ]


@pytest.mark.parametrize(
    ("labels", "predicted", "name"), [([0, 3], [0, 0], "labels"), ([0], [-1], "predicted")]
)
def test_an_index_that_is_no_class_is_named_and_not_left_out(
    labels: list[int], predicted: list[int], name: str
) -> None:
    with pytest.raises(UsageError, match=f"{name} must be from 0 to 2, .* got (3|-1)"):
        confusion_matrix(labels, predicted, 3)
    with pytest.raises(UsageError, match=f"{name} must be from 0 to 2, .* got (3|-1)"):
        per_class(labels, predicted, ["cat", "dog", "bird"])


def test_calibration_error_by_hand() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.45, 0.55]])
    # Bin 15 holds two images, one of them right; bin 9 holds one, right: 2/3 |1/2 - .95| + 1/3 |1 - .55|.
    assert expected_calibration_error(probabilities, torch.tensor([0, 1, 1])) == pytest.approx(0.45)


def test_a_confidence_on_the_border_of_two_bins_is_in_the_lower_one() -> None:
    probabilities = [[0.5, 0.5], [0.75, 0.25]]
    # Apart: 1/2 |1 - .5| + 1/2 |0 - .75|. In one bin it would be |1/2 - .625|.
    assert expected_calibration_error(probabilities, [0, 1], bins=2) == pytest.approx(0.625)


def test_calibration_error_tells_a_calibrated_network_from_one_that_is_too_sure() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 20_000)
    right = random.uniform(size=len(confidence)) < confidence
    labels = np.where(right, 0, 1)
    assert expected_calibration_error(np.stack([confidence, 1 - confidence], 1), labels) < 0.02
    surer = np.sqrt(confidence)
    expected = (surer - confidence).mean()
    assert expected_calibration_error(np.stack([surer, 1 - surer], 1), labels) == pytest.approx(
        expected, abs=0.02
    )


def test_calibration_error_takes_no_logits_and_no_empty_bins() -> None:
    with pytest.raises(UsageError, match=r"at most 1, got 3\.5: give the logits' softmax"):
        expected_calibration_error([[3.5, -1.0]], [0])
    with pytest.raises(UsageError, match="bins must be at least 1, got 0"):
        expected_calibration_error([[0.5, 0.5]], [0], bins=0)


@pytest.mark.parametrize(("k", "share"), [(1, 1 / 4), (2, 3 / 4), (3, 1)])
def test_top_k_accuracy_by_hand(k: int, share: float) -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [-1.0, 5.0, 0.0]])
    assert top_k_accuracy(scores, torch.tensor([0, 1, 2, 2]), k) == share


def test_top_1_accuracy_is_the_accuracy_of_two_classes_and_of_ties_too() -> None:
    scores = torch.randint(0, 3, (200, 2), generator=torch.Generator().manual_seed(0)).float()
    labels = torch.arange(200) % 2
    accuracy = (scores.argmax(1) == labels).float().mean().item()
    assert top_k_accuracy(scores, labels, 1) == pytest.approx(accuracy)


@pytest.mark.parametrize("k", [0, 3])
def test_k_must_be_a_number_of_classes(k: int) -> None:
    with pytest.raises(UsageError, match=f"k must be from 1 to the number of classes, 2, got {k}"):
        top_k_accuracy([[0.5, 0.5]], [0], k)
