"""The pictures and the report of a finished run."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dynaconv.analysis import plots
from dynaconv.analysis.coefficients import mean_coefficients
from dynaconv.analysis.metrics import confusion_matrix
from dynaconv.analysis.report import write_report
from dynaconv.data.loaders import EpochSampler, ImageBatches
from dynaconv.training.history import History
from dynaconv.training.loop import Evaluation, evaluate
from dynaconv.training.recipe import Recipe
from dynaconv.training.run_directory import RunDirectory

WORST = 25  # mistakes in the gallery


def draw_run(
    run: str | Path | RunDirectory, model: nn.Module, test_iter: DataLoader[tuple[Tensor, Tensor]]
) -> Path:
    """Draw a run's curves, confusion matrix, coefficients and mistakes, and write its report.

    Args:
        run: The run directory.
        model: As the run left it.
        test_iter: The test batches of :func:`dynaconv.load_data`.

    Returns:
        The path of the report.
    """
    run = run if isinstance(run, RunDirectory) else RunDirectory(run)
    dataset = test_iter.dataset
    assert isinstance(dataset, ImageBatches)
    assert isinstance(test_iter.sampler, EpochSampler)
    test_iter.sampler.share(0, 1)  # all images, whatever share training took
    environment = json.loads(run.environment.read_text(encoding="utf-8"))
    history = History.from_csv(run.history)
    result = evaluate(model, test_iter, environment["precision"])
    matrix = confusion_matrix(result.labels, result.logits.argmax(1), len(dataset.classes))
    means = mean_coefficients(model, test_iter, len(dataset.classes))
    plots.save(plots.curves(history), run.path / "curves.png")
    plots.save(plots.confusion(matrix, dataset.classes), run.path / "confusion_matrix.png")
    plots.save(plots.coefficients(means, dataset.classes), run.path / "coefficients.png")
    plots.save(_worst_mistakes(result, dataset), run.path / "mistakes.png")
    return write_report(
        run.path,
        history=history,
        recipe=asdict(Recipe.load(run.recipe)),
        environment=environment,
        logits=result.logits,
        labels=result.labels,
        classes=dataset.classes,
    )


def _worst_mistakes(result: Evaluation, dataset: ImageBatches) -> "plots.Figure":
    """Draw the images of which the network was surest of a wrong class."""
    confidence, predicted = result.logits.softmax(1).max(1)
    wrong = (predicted != result.labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)[:WORST]]
    images = dataset.images.take(worst) if len(worst) else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    return plots.mistakes(
        images.numpy(),
        [dataset.classes[index] for index in result.labels[worst].tolist()],
        [dataset.classes[index] for index in predicted[worst].tolist()],
        confidence[worst].tolist(),
    )
