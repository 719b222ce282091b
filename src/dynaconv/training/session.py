"""What surrounds the loop: devices, processes, files and signals."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dynaconv.data.loaders import EpochSampler, ImageBatches
from dynaconv.terminal import say, track
from dynaconv.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from dynaconv.training.history import Epoch
from dynaconv.training.optimizer import build_optimizer
from dynaconv.training.precision import choose_precision
from dynaconv.training.processes import Loader, gather, share
from dynaconv.training.recipe import Recipe
from dynaconv.training.run_directory import RunDirectory, describe_environment
from dynaconv.training.stopping import Interrupted, StopRequested, listening
from dynaconv.training.tally import Tally
from dynaconv.training.weights import describe

Batches = Iterable[tuple[Tensor, Tensor]]


class Session:
    """A run in one process: its model on its device, its share of the batches, its directory.

    Args:
        model: What is trained; it is moved to the device.
        train_iter: Batches of images and labels.
        test_iter: The same for testing.
        recipe: How to train.
        run_dir: Where to keep the run; nowhere if None.
        resume: Whether to go on from the last checkpoint in ``run_dir``, if there is one.

    Raises:
        CheckpointError: If ``run_dir`` cannot be used so.
    """

    def __init__(
        self,
        model: nn.Module,
        train_iter: Loader,
        test_iter: Loader,
        recipe: Recipe,
        run_dir: str | Path | None,
        resume: bool,
    ) -> None:
        # Without `cpu`, Accelerate takes the processes of `torchrun` on a machine without a GPU for one each.
        accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        self.is_main = accelerator.is_main_process
        self.device = accelerator.device
        self.precision = choose_precision(recipe.precision, self.device)
        self.recipe = recipe
        self.train_iter, self.test_iter = share(train_iter, accelerator), share(test_iter, accelerator)
        dataset = train_iter.dataset
        if isinstance(dataset, ImageBatches):
            describe(model, dataset.classes, dataset.preprocessing)
        self.run = None if run_dir is None else RunDirectory(run_dir)
        if self.run is not None and self.is_main:
            data = dataset.fingerprint() if isinstance(dataset, ImageBatches) else None
            processes = accelerator.num_processes
            environment = describe_environment(model, self.device, processes, self.precision, data)
            self.run.open(recipe, environment, resume)
        accelerator.wait_for_everyone()
        self.model = model
        self.trained: nn.Module = accelerator.prepare_model(model)
        self.optimizer = build_optimizer(self.trained, recipe)
        self.progress = self._progress()

    def _progress(self) -> Progress:
        if self.run is None or not self.run.has_checkpoint():
            return Progress()
        progress = load_checkpoint(self.run.checkpoint, self.model, self.optimizer)
        if self.is_main:
            say(f"{self.run.path}: going on in epoch {progress.epoch} after step {progress.batch}.")
        else:
            progress.tally = progress.tally.emptied()  # what was counted is counted once
        return progress

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Save and raise :class:`Interrupted` when a signal asks to stop; close what is open in any case."""
        with listening() as self._stop:
            try:
                yield
            except StopRequested:
                self._save()
                raise Interrupted(self._how_to_go_on(), self._stop.signal_number) from None
            finally:
                if self.run is not None:
                    self.run.close()

    def rest_of_epoch(self) -> Batches:
        """Yield the batches of the epoch that are not done yet, on the device."""
        done = self.progress.batch
        batches: Batches = self.train_iter
        if isinstance(self.train_iter.sampler, EpochSampler):
            self.train_iter.sampler.seek(self.progress.epoch, done)
        else:
            batches = islice(batches, done, None)
        left = len(self.train_iter) - done
        for images, labels in self._stop.watch(
            track(batches, self._description(), left, self.recipe.batch_size)
        ):
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def test_batches(self) -> Batches:
        """Yield the test batches."""
        return self._stop.watch(self.test_iter)

    def finish_epoch(self, test: Tally, test_seconds: float) -> None:
        """Close the epoch, save, and tell."""
        progress = self.progress
        train, test = Tally.merged(gather(progress.tally)), Tally.merged(gather(test))
        epoch = Epoch(
            epoch=progress.epoch,
            train_loss=train.loss,
            test_loss=test.loss,
            train_accuracy=train.accuracy,
            test_accuracy=test.accuracy,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            seconds=progress.seconds,
            test_seconds=test_seconds,
            images_per_second=train.total / progress.seconds,
        )
        progress.close(epoch)
        self._save()
        if self.is_main:
            print(epoch.line(), flush=True)
            if self.run is not None:
                self.run.record(self.model, progress.history)

    def _save(self) -> None:
        self.progress.tally = Tally.merged(gather(self.progress.tally))
        if self.run is not None and self.is_main:
            save_checkpoint(self.run.checkpoint, self.model, self.optimizer, self.progress)

    def _description(self) -> str:
        history, epochs = self.progress.history, self.recipe.epochs
        description = f"epoch {self.progress.epoch}/{epochs}"
        if not history:
            return description
        spent = sum(history.column("seconds") + history.column("test_seconds"))
        left = spent / len(history) * (epochs - len(history))
        return f"{description}, run ends in {timedelta(seconds=round(left))}"

    def _how_to_go_on(self) -> str:
        where = f"Stopped in epoch {self.progress.epoch} after step {self.progress.batch}"
        if self.run is None:
            return f"{where}; nothing was saved, since no run directory was given."
        return f"{where}; saved. Go on with: dynaconv train --run {self.run.path} --resume"
