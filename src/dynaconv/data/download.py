"""Download a file from one source, which is given up when it fails, stalls or is slow."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from urllib3.exceptions import HTTPError, ReadTimeoutError

PROBE_BYTES = 256 * 1024
BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """When a source is given up; times in seconds."""

    connect: float = 4.0
    """For a connection to be made."""
    probe: float = 5.0
    """For all sources together to answer a probe."""
    sample: float = 1.0
    """How long a probe reads from a source that answers, unless 256 KiB come sooner."""
    stall: float = 10.0
    """Without a byte."""
    window: float = 10.0
    """Over which the mean rate is judged, again and again."""
    rate: float = 200_000.0
    """Bytes a second, which that mean must reach while there is another source to go to."""


class SourceError(Exception):
    """Why a source is given up; ``rate``, in bytes a second, if it is only slow."""

    def __init__(self, reason: str, rate: float | None = None) -> None:
        super().__init__(reason)
        self.rate = rate


def download(url: str, target: Path, limits: Limits, minimum_rate: float) -> None:
    """Write what ``url`` sends to ``target``, byte by byte as it is sent, with a bar if stderr is a terminal.

    Raises:
        SourceError: If the server fails, stalls or breaks off, or is slower than ``minimum_rate``, in bytes a
            second.
    """
    with _response(url, limits, {}) as response, target.open("wb") as file, _bar() as bar:
        task = bar.add_task(target.name, total=response.raw.length_remaining)
        started, received = time.monotonic(), 0
        for block in _blocks(response):
            file.write(block)
            bar.advance(task, len(block))
            received += len(block)
            elapsed = time.monotonic() - started
            if elapsed < limits.window:
                continue
            rate = received / elapsed
            if rate < minimum_rate:
                raise SourceError(f"slow, {rate / 1000:.0f} kB/s", rate)
            started, received = time.monotonic(), 0


def probe(url: str, limits: Limits) -> float:
    """Return the bytes a second that a source begins with, connecting included.

    Raises:
        SourceError: If it does not answer, or with an error.
    """
    started, received = time.monotonic(), 0
    with _response(url, limits, {"Range": f"bytes=0-{PROBE_BYTES - 1}"}) as response:
        answered = time.monotonic()
        for block in _blocks(response):
            received += len(block)
            if received >= PROBE_BYTES or time.monotonic() - answered >= limits.sample:
                break
    return received / (time.monotonic() - started)


@contextmanager
def _response(url: str, limits: Limits, headers: dict[str, str]) -> Iterator[requests.Response]:
    """Yield a server's answer, its body still to be read; what goes wrong in between is a SourceError."""
    headers = {"User-Agent": "dynaconv", "Accept-Encoding": "identity", **headers}
    timeout = (limits.connect, limits.stall)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if not response.ok:
                raise SourceError(f"HTTP {response.status_code} {response.reason}")
            yield response
    except requests.ConnectTimeout as error:
        raise SourceError(f"no connection within {limits.connect:g} s") from error
    except (requests.ReadTimeout, ReadTimeoutError) as error:
        raise SourceError(f"nothing came for {limits.stall:g} s") from error
    except (requests.RequestException, HTTPError) as error:
        raise SourceError(_root(error)) from error


def _blocks(response: requests.Response) -> Iterator[bytes]:
    # read1 gives what has come, so that a trickle is judged; undecoded, for some servers call a .gz encoded.
    while block := response.raw.read1(BLOCK_BYTES, decode_content=False):
        yield block


def _root(error: BaseException) -> str:
    """Return what lies beneath the layers of an HTTP library's error, such as "Connection refused"."""
    while error.__context__ is not None:
        error = error.__context__
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _bar() -> Progress:
    console = Console(stderr=True)
    console.quiet = not console.is_terminal  # else older versions of rich leave an empty line
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=console.quiet)
