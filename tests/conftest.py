"""What all tests share: the same random numbers in every run, on one thread."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Cases are drawn from the test's own text, so a failure comes back; a slow machine is no failure.
settings.register_profile("dynaconv", derandomize=True, deadline=None)
settings.load_profile("dynaconv")

# The tensors of tests are tiny: threads would mostly wait for each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cifar_zip() -> Path:
    """All of CIFAR-10 as JPEG, in a zip of {train,test}/<class>/<image>, where there is one."""
    path = os.environ.get("DYNACONV_TEST_IMAGES")
    if not path:
        pytest.skip("DYNACONV_TEST_IMAGES does not name a zip of CIFAR-10 as JPEG")
    return Path(path)
