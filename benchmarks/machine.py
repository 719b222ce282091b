"""What a table was measured on."""

import datetime
import os
import platform

import torch

from dynaconv.training.run_directory import processor_name


def measured_on() -> str:
    """Return the machine, the versions and the date, as a line."""
    return (
        f"{processor_name()}, {os.cpu_count()} cores, torch {torch.__version__.split('+')[0]} with "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}, {datetime.date.today()}"
    )
