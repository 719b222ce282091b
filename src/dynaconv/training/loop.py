"""The training loop; read it from top to bottom."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from dynaconv.errors import TrainingError
from dynaconv.models.modes import eval_mode
from dynaconv.seeding import seed_for
from dynaconv.training.checkpoint import Progress
from dynaconv.training.history import History
from dynaconv.training.precision import autocast, choose_precision
from dynaconv.training.processes import Loader, rank
from dynaconv.training.recipe import Recipe
from dynaconv.training.schedules import learning_rate
from dynaconv.training.session import Batches, Session
from dynaconv.training.tally import Tally


def fit(
    model: nn.Module,
    train_iter: Loader,
    test_iter: Loader,
    recipe: Recipe,
    run_dir: str | Path | None = None,
    resume: bool = False,
) -> History:
    """Train a model and test it after each epoch, printing the brief's line.

    The model is trained in place and stays on the device that was chosen: the first GPU if there is one, or
    those that ``accelerate launch`` or ``torchrun`` gave. Of the recipe, this reads what comes after the
    model; data and model are as they are passed.

    With loaders of :func:`dynaconv.load_data` a resumed run ends in the same bits as one that was never
    stopped, on the same machine with the same number of threads.

    Args:
        model: Takes images ``(N, C, H, W)``, gives logits ``(N, num_classes)``.
        train_iter: Batches of images and labels.
        test_iter: The same for testing.
        recipe: How to train.
        run_dir: Where to keep the run; nowhere if None.
        resume: Whether to go on from the last checkpoint in ``run_dir``, if there is one.

    Returns:
        A row for each epoch.

    Raises:
        CheckpointError: If ``run_dir`` holds a run and ``resume`` is false, or a run of another recipe,
            network or data set.
        TrainingError: If the loss is not finite; the last checkpoint stays as it was.
        KeyboardInterrupt: On Ctrl-C or SIGTERM, once the state is saved.
    """
    session = Session(model, train_iter, test_iter, recipe, run_dir, resume)
    progress, precision, steps = session.progress, session.precision, len(session.train_iter)
    with session.stoppable():
        while progress.epoch <= recipe.epochs:
            batches = session.rest_of_epoch()
            train_epoch(session.trained, batches, session.optimizer, recipe, precision, progress, steps)
            began = time.perf_counter()
            test = evaluate(model, session.test_batches(), precision)
            session.finish_epoch(test.tally, time.perf_counter() - began)
    return progress.history


def train_epoch(
    model: nn.Module,
    batches: Batches,
    optimizer: Optimizer,
    recipe: Recipe,
    precision: str,
    progress: Progress,
    steps_per_epoch: int,
) -> None:
    """Train on ``batches``, the rest of an epoch, and count them in ``progress``.

    Raises:
        TrainingError: If the loss is not finite.
    """
    model.train()
    began = time.perf_counter() - progress.seconds
    for images, labels in batches:
        step = (progress.epoch - 1) * steps_per_epoch + progress.batch
        rate = learning_rate(recipe.schedule, recipe.learning_rate, step, recipe.epochs * steps_per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        # Dropout is a function of the step, so that a resumed run drops what it would have dropped.
        torch.manual_seed(seed_for(recipe.seed, "step", step, rank()))
        with autocast(images.device, precision):
            logits = model(images).float()
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=recipe.label_smoothing)
        loss = losses.mean()
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"The loss is {loss.item()} in epoch {progress.epoch}, step {progress.batch + 1} of "
                f"{steps_per_epoch}, at learning rate {rate:.3g}. Nothing was saved since the last "
                f"checkpoint. Try a lower learning rate, or precision float32."
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.tally.add(losses, logits, labels)
        progress.batch += 1
        progress.seconds = time.perf_counter() - began


@dataclass(frozen=True)
class Evaluation:
    """How a network does on a set of images."""

    tally: Tally
    logits: Tensor
    """float32 ``(total, num_classes)``, on the CPU."""
    labels: Tensor
    """int64 ``(total,)``, on the CPU."""

    @property
    def loss(self) -> float:
        """The brief's: the sum of the batches' mean cross-entropies, divided by the number of images."""
        return self.tally.loss

    @property
    def cross_entropy(self) -> float:
        """The mean over the images."""
        return self.tally.cross_entropy

    @property
    def accuracy(self) -> float:
        """Correct / total."""
        return self.tally.accuracy

    @property
    def correct(self) -> int:
        """Number of images whose class was the likeliest."""
        return self.tally.correct

    @property
    def total(self) -> int:
        """Number of images."""
        return self.tally.total


@torch.no_grad()
def evaluate(model: nn.Module, test_iter: Batches, precision: str = "float32") -> Evaluation:
    """Test a model without gradients, in eval mode; its mode is as before afterwards.

    Args:
        model: Takes images ``(N, C, H, W)``, gives logits ``(N, num_classes)``.
        test_iter: Batches of images and labels.
        precision: ``"float32"``, ``"bfloat16"`` or ``"auto"``; see :class:`dynaconv.Recipe`.
    """
    device = next(model.parameters()).device
    precision = choose_precision(precision, device)
    tally, outputs, targets = Tally(), [], []
    with eval_mode(model):
        for images, labels in test_iter:
            with autocast(device, precision):
                logits = model(images.to(device, non_blocking=True)).float().cpu()
            tally.add(F.cross_entropy(logits, labels, reduction="none"), logits, labels)
            outputs.append(logits)
            targets.append(labels)
    return Evaluation(tally, torch.cat(outputs), torch.cat(targets))
