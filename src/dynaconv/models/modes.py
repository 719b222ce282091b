"""Eval mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Have a model in eval mode; its mode is as before afterwards, also where the body raises."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
