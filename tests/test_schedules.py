"""The learning rate is a function of the step."""

import pytest

from dynaconv.training.schedules import learning_rate


def test_constant_is_the_peak_throughout() -> None:
    assert {learning_rate("constant", 0.002, step, 100) for step in range(100)} == {0.002}


def test_one_cycle_rises_over_a_quarter_and_falls_to_zero() -> None:
    # Eight steps, at 1/16, 3/16, ... of the way: up to 1/4, then down to 1.
    rates = [learning_rate("one_cycle", 12.0, step, 8) for step in range(8)]
    assert rates == pytest.approx([3, 9, 11, 9, 7, 5, 3, 1])
