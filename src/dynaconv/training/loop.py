"""The training loop; read it from top to bottom."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from dynaconv.data.loaders import EpochSampler, ImageBatches
from dynaconv.errors import TrainingError
from dynaconv.seeding import seed_for
from dynaconv.terminal import say, track
from dynaconv.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from dynaconv.training.history import Epoch, History
from dynaconv.training.optimizer import build_optimizer
from dynaconv.training.precision import autocast, choose_precision
from dynaconv.training.processes import Loader, gather, rank, share
from dynaconv.training.recipe import Recipe
from dynaconv.training.run_directory import RunDirectory, describe_environment
from dynaconv.training.schedules import learning_rate
from dynaconv.training.stopping import Interrupted, StopRequested, listening
from dynaconv.training.tally import Tally
from dynaconv.training.weights import describe

Batches = Iterable[tuple[Tensor, Tensor]]


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
    # Without this, Accelerate takes the processes of `torchrun` on a machine without a GPU for one each.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    device, precision = accelerator.device, choose_precision(recipe.precision, accelerator.device)
    train_iter, test_iter = share(train_iter, accelerator), share(test_iter, accelerator)
    if isinstance(train_iter.dataset, ImageBatches):
        describe(model, train_iter.dataset.classes, train_iter.dataset.preprocessing)
    run = None if run_dir is None else RunDirectory(run_dir)
    if run is not None and accelerator.is_main_process:
        run.open(recipe, _environment(model, train_iter, accelerator, precision), resume)
    accelerator.wait_for_everyone()
    trained = accelerator.prepare_model(model)
    optimizer = build_optimizer(trained, recipe)
    progress = Progress()
    if run is not None and run.has_checkpoint():
        progress = load_checkpoint(run.checkpoint, model, optimizer)
        if accelerator.is_main_process:
            say(f"{run.path}: going on in epoch {progress.epoch} after step {progress.batch}.")
        else:
            progress.tally = progress.tally.emptied()  # what was counted is counted once

    def save() -> None:
        progress.tally = Tally.merged(gather(progress.tally))
        if run is not None and accelerator.is_main_process:
            save_checkpoint(run.checkpoint, model, optimizer, progress)

    with listening() as stop:
        try:
            while progress.epoch <= recipe.epochs:
                batches = _rest_of_epoch(train_iter, progress, recipe, device)
                train_epoch(
                    trained, stop.watch(batches), optimizer, recipe, precision, progress, len(train_iter)
                )
                began = time.perf_counter()
                test = evaluate(model, stop.watch(test_iter), precision)
                epoch = _measured(progress, test, optimizer, time.perf_counter() - began)
                progress.close(epoch)
                save()
                if accelerator.is_main_process:
                    print(epoch.line(), flush=True)
                    if run is not None:
                        run.record(model, progress.history)
        except StopRequested:
            save()
            raise Interrupted(_how_to_go_on(run, progress), stop.signal_number) from None
        finally:
            if run is not None:
                run.close()
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
    was_training = model.training
    model.eval()
    tally, outputs, targets = Tally(), [], []
    for images, labels in test_iter:
        with autocast(device, precision):
            logits = model(images.to(device, non_blocking=True)).float().cpu()
        tally.add(F.cross_entropy(logits, labels, reduction="none"), logits, labels)
        outputs.append(logits)
        targets.append(labels)
    model.train(was_training)
    return Evaluation(tally, torch.cat(outputs), torch.cat(targets))


def _rest_of_epoch(loader: Loader, progress: Progress, recipe: Recipe, device: torch.device) -> Batches:
    """Yield the batches of the epoch that are not done yet, on the device."""
    if isinstance(loader.sampler, EpochSampler):
        loader.sampler.seek(progress.epoch, progress.batch)
        batches: Batches = loader
    else:
        batches = islice(loader, progress.batch, None)
    description = f"epoch {progress.epoch}/{recipe.epochs}"
    if progress.history:
        spent = sum(progress.history.column("seconds") + progress.history.column("test_seconds"))
        left = spent / len(progress.history) * (recipe.epochs - len(progress.history))
        description += f", run ends in {timedelta(seconds=round(left))}"
    for images, labels in track(batches, description, len(loader) - progress.batch, recipe.batch_size):
        yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _measured(progress: Progress, test: Evaluation, optimizer: Optimizer, test_seconds: float) -> Epoch:
    train, tested = Tally.merged(gather(progress.tally)), Tally.merged(gather(test.tally))
    return Epoch(
        epoch=progress.epoch,
        train_loss=train.loss,
        test_loss=tested.loss,
        train_accuracy=train.accuracy,
        test_accuracy=tested.accuracy,
        learning_rate=optimizer.param_groups[0]["lr"],
        seconds=progress.seconds,
        test_seconds=test_seconds,
        images_per_second=train.total / progress.seconds,
    )


def _environment(
    model: nn.Module, loader: Loader, accelerator: Accelerator, precision: str
) -> dict[str, Any]:
    data = loader.dataset.fingerprint() if isinstance(loader.dataset, ImageBatches) else None
    return describe_environment(model, accelerator.device, accelerator.num_processes, precision, data)


def _how_to_go_on(run: RunDirectory | None, progress: Progress) -> str:
    where = f"Stopped in epoch {progress.epoch} after step {progress.batch}"
    if run is None:
        return f"{where}; nothing was saved, since no run directory was given."
    return f"{where}; saved. Go on with: dynaconv train --run {run.path} --resume"
