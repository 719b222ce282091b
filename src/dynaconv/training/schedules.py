"""What depends on the step, as pure functions of it."""

RISE = 0.25  # the share of a one-cycle schedule over which the learning rate rises


def learning_rate(schedule: str, peak: float, step: int, total_steps: int) -> float:
    """Return the learning rate of a step.

    ``"constant"`` is ``peak`` throughout. ``"one_cycle"`` rises linearly over the first quarter of the steps
    and falls linearly to zero (Smith and Topin, arXiv:1708.07120, without its last phase).

    Args:
        schedule: ``"constant"`` or ``"one_cycle"``.
        peak: The highest learning rate.
        step: From 0 to ``total_steps - 1``.
        total_steps: Steps of the whole run.
    """
    if schedule == "constant":
        return peak
    done = (step + 0.5) / total_steps  # the middle of the step: neither the first nor the last rate is zero
    return peak * min(done / RISE, (1 - done) / (1 - RISE))
