"""Stop between two steps when asked to, never inside one."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from dynaconv.terminal import say
from dynaconv.training.processes import total

Item = TypeVar("Item")


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C or SIGTERM; the message says where, and how to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopRequested(Exception):  # noqa: N818 - no error
    """A stop was asked for, and everything is between two steps."""


class Stop:
    """Whether a stop was asked for, and by which signal."""

    def __init__(self) -> None:
        self.signal_number = 0

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield ``items``, raising :class:`StopRequested` between two of them once any process is to stop."""
        for item in items:
            if total(self.signal_number):
                raise StopRequested
            yield item


@contextmanager
def listening() -> Iterator[Stop]:
    """Note SIGINT and SIGTERM instead of acting on them; a second one acts at once.

    Only the main thread gets signals; in another, nothing is noted.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal_number = number
        restore()
        say("Stopping after this step; once more stops at once, without saving.")

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
