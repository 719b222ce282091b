"""How good the answers are: figures from labels and predictions."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics

from dynaconv.errors import UsageError


@dataclass(frozen=True)
class ClassScores:
    """How well one class is recognised; nan where there is nothing to divide by."""

    name: str
    precision: float
    """Of the images taken for this class, the share that is of it; nan if none was."""
    recall: float
    """Of this class's images, the share that was recognised; nan if there are none."""
    f1: float
    """Harmonic mean of the two; nan if the class is neither in the labels nor predicted."""
    support: int
    """Number of images of the class."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, None in place of nan, which JSON does not have."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Count images by true class (row) and predicted class (column): ``(num_classes, num_classes)``.

    Args:
        labels: Indices of the true classes, ``(N,)``.
        predicted: Indices of the predicted classes, ``(N,)``.
        num_classes: Number of classes.

    Raises:
        ValueError: If an index is no class, the lengths differ, or N is 0.
    """
    labels, predicted = _indices("labels", labels, num_classes), _indices("predicted", predicted, num_classes)
    matrix: NDArray[np.int64] = metrics.confusion_matrix(labels, predicted, labels=range(num_classes))
    return matrix


def per_class(labels: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> list[ClassScores]:
    """Return precision, recall, F1 and number of images of each class, in the order of ``classes``.

    Args:
        labels: Indices of the true classes, ``(N,)``.
        predicted: Indices of the predicted classes, ``(N,)``.
        classes: The classes' names.

    Raises:
        ValueError: If an index is no class, the lengths differ, or N is 0.
    """
    count = len(classes)
    columns = metrics.precision_recall_fscore_support(
        _indices("labels", labels, count),
        _indices("predicted", predicted, count),
        labels=range(count),
        zero_division=np.nan,
    )
    rows = zip(classes, *(column.tolist() for column in columns), strict=True)
    return [ClassScores(*row) for row in rows]


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Return how far confidence is from accuracy, averaged over the images: 0 to 1.

    Images are put into ``bins`` equal intervals ``((m - 1) / bins, m / bins]`` by the confidence in their
    predicted class; the gap between mean confidence and accuracy in each is weighted by its images. Guo et
    al. 2017, arXiv:1706.04599, equation 3.

    Args:
        probabilities: ``(N, num_classes)``.
        labels: Indices of the true classes, ``(N,)``.
        bins: Number of intervals; the paper has 15.

    Raises:
        ValueError: If a probability is above 1, a label no class, the lengths differ, or ``bins`` is below 1.
    """
    if bins < 1:
        raise UsageError(f"bins must be at least 1, got {bins}.")
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = _indices("labels", labels, probabilities.shape[1])
    confidence = probabilities.max(1)
    if confidence.max() > 1 + 1e-3:
        raise UsageError(
            f"probabilities must be at most 1, got {confidence.max()}: give the logits' softmax."
        )
    surplus = confidence - (probabilities.argmax(1) == labels)
    # Within a bin, n |mean confidence - accuracy| is |sum of the differences|.
    bin_of = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(bin_of, surplus)).sum() / len(labels))


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Return the share of images whose class is among the ``k`` likeliest; of equals, the first counts.

    Args:
        scores: Logits or probabilities, ``(N, num_classes)``.
        labels: Indices of the true classes, ``(N,)``.
        k: From 1 to ``num_classes``.

    Raises:
        ValueError: If a label is no class, the lengths differ, or ``k`` is out of range.
    """
    scores = np.asarray(scores)
    num_classes = scores.shape[1]
    if not 1 <= k <= num_classes:
        raise UsageError(f"k must be from 1 to the number of classes, {num_classes}, got {k}.")
    labels = _indices("labels", labels, num_classes)
    # scikit-learn's top_k_accuracy_score takes no (N, 2) scores, and of equals the last.
    likeliest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((likeliest == labels[:, None]).any(1).mean())


def _indices(name: str, values: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    # scikit-learn would leave those out that are no class, without a word.
    indices = np.asarray(values)
    outside = indices[(indices < 0) | (indices >= num_classes)]
    if outside.size:
        raise UsageError(
            f"{name} must be from 0 to {num_classes - 1}, the classes' indices, got {outside[0]}."
        )
    return indices
