"""What several processes of one run must agree on."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch.utils.data import DataLoader

from dynaconv.data.loaders import EpochSampler

Loader = DataLoader[Any]  # of (images, labels)
Value = TypeVar("Value")


def share(loader: Loader, accelerator: Accelerator) -> Loader:
    """Have this process take its share of every batch."""
    if isinstance(loader.sampler, EpochSampler):
        loader.sampler.share(accelerator.process_index, accelerator.num_processes)
        return loader
    if accelerator.num_processes == 1:
        return loader
    shared: Loader = accelerator.prepare_data_loader(loader)
    return shared


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def gather(value: Value) -> list[Value]:
    """Return every process's ``value``, in the order of their numbers."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def total(number: int) -> int:
    """Return the sum of every process's ``number``."""
    if not dist.is_initialized():
        return number
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    summed = torch.tensor(number, device=device)
    dist.all_reduce(summed)
    return int(summed.item())
