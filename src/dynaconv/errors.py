"""The errors that a user can mend."""

from collections.abc import Iterable
from difflib import get_close_matches


class DynaconvError(Exception):
    """Something that the user can mend: the message says what is wrong, with its value, and what to do.

    The command line prints the message and exits with ``exit_code``.
    """

    exit_code = 1


class UsageError(DynaconvError, ValueError):
    """An argument, option or recipe field that is wrong."""

    exit_code = 2


class DataError(DynaconvError):
    """Data that cannot be had or cannot be read."""


class CheckpointError(DynaconvError):
    """A run directory, checkpoint or weights file that cannot be used as asked."""


class TrainingError(DynaconvError):
    """A run that cannot go on."""


def unknown(kind: str, value: str, choices: Iterable[str]) -> UsageError:
    """Return the error for a name that is none of ``choices``, with the nearest of them."""
    choices = sorted(choices)
    near = get_close_matches(value, choices, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UsageError(f"Unknown {kind} {value!r}. {hint}There are: {', '.join(choices)}.")
