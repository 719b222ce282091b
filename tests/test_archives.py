import hashlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from dynaconv.data.archives import CIFAR10, CIFAR100, FASHION_MNIST, Archive, fetch_archive
from dynaconv.data.download import Limits
from dynaconv.errors import DataError
from tests.mirror import CONTENT, MD5, NAME, VARIABLE, Server

QUICK = Limits(connect=1, probe=5, sample=0.5, stall=0.5, window=0.3, rate=1e6)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def silent_url() -> Iterator[str]:
    """Accept connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{NAME}"


@pytest.fixture
def dead_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/{NAME}"


def visible(folder: Path) -> list[str]:
    """Return the names of what a user would take for files in ``folder``: all but the lock."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def fetch_in_process(archive: Archive, folder: Path, together: Barrier | None = None) -> None:
    if together is not None:
        together.wait(60)
    fetch_archive(archive, folder, limits=Limits(stall=60, rate=0))


def test_archive_arrives_whole_in_a_folder_that_is_made(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar"
    path = fetch_archive(server.archive("good"), folder)
    assert path == folder / NAME
    assert path.read_bytes() == CONTENT
    assert visible(folder) == [NAME]


def test_archive_that_is_there_needs_no_network(dead_url: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    tmp_path.chmod(0o555)  # nor a folder that can be written
    assert fetch_archive(Archive(NAME, MD5, (dead_url,), VARIABLE), tmp_path) == tmp_path / NAME
    assert os.listdir(tmp_path) == [NAME]


def test_users_file_of_another_content_is_refused_and_left_alone(server: Server, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(CONTENT[:1000])
    with pytest.raises(DataError) as caught:
        fetch_archive(server.archive("good"), tmp_path)
    found = hashlib.md5(CONTENT[:1000]).hexdigest()
    assert all(part in str(caught.value) for part in (str(path), found, MD5, "Delete it or set it aside"))
    assert path.read_bytes() == CONTENT[:1000]
    assert server.probes == server.downloads == []


def test_folder_that_is_a_file_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(DataError, match=r"data.* cannot be read or written: .*--root"):
        fetch_archive(server.archive("good"), tmp_path / "data")


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("404", "HTTP 404 Not Found"),
        ("503", "HTTP 503 Service Unavailable"),
        ("garbage", f"another file, of MD5 {hashlib.md5(bytes(len(CONTENT))).hexdigest()}"),
        ("cut", "131072 bytes read, 131072 more expected"),
        ("stall", "nothing came for 0.5 s"),
        ("slow", "slow, "),
        ("trickle", "slow, 0 kB/s"),
    ],
)
def test_bad_source_is_given_up_for_the_next(
    manner: str, reason: str, server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = fetch_archive(server.archive(manner, "good"), tmp_path, limits=QUICK)
    assert path.read_bytes() == CONTENT
    assert visible(tmp_path) == [NAME]
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Gave up")]
    assert len(lines) == 1
    assert server.url(manner) in lines[0]
    assert reason in lines[0]


@pytest.mark.parametrize("manner", ["404", "503", "garbage", "cut", "stall"])
def test_nothing_is_left_where_all_sources_fail(manner: str, server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        fetch_archive(server.archive(manner), tmp_path, limits=QUICK)
    assert visible(tmp_path) == []


def test_refused_connection_is_given_up(server: Server, dead_url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Connection refused|actively refused"):
        fetch_archive(Archive(NAME, MD5, (dead_url,), VARIABLE), tmp_path)
    fetch_archive(Archive(NAME, MD5, (dead_url, server.url("good")), VARIABLE), tmp_path)


def test_error_names_each_source_and_the_other_ways(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, server.url("403"))
    with pytest.raises(DataError) as caught:
        fetch_archive(server.archive("404", "503"), tmp_path, limits=QUICK)
    message = str(caught.value)
    assert f"{VARIABLE} ({server.url('403')}): HTTP 403 Forbidden" in message
    assert f"{server.url('404')}: HTTP 404 Not Found" in message
    assert f"{server.url('503')}: HTTP 503 Service Unavailable" in message
    assert all(part in message for part in (NAME, MD5, str(tmp_path), "--data PATH", "--data digits"))
    assert "\n" not in message


def test_silent_sources_cost_one_wait_together(silent_url: str, tmp_path: Path) -> None:
    urls = tuple(f"{silent_url}?{number}" for number in range(6))
    started = time.monotonic()
    with pytest.raises(DataError, match=r"no answer within 0.5 s"):
        fetch_archive(Archive(NAME, MD5, urls, VARIABLE), tmp_path, limits=Limits(probe=0.5))
    assert time.monotonic() - started < 1.5


def test_limits_let_all_fail_well_under_fifteen_seconds() -> None:
    limits = Limits()
    assert limits.connect + limits.probe < 10  # the variable's URL, then all others at once


def test_fastest_mirror_is_first_and_the_origin_last(server: Server, silent_url: str, tmp_path: Path) -> None:
    urls = server.archive("thin-cut", "far-cut", "near-cut", "origin").urls
    limits = Limits(probe=1.5, sample=0.2)
    fetch_archive(Archive(NAME, MD5, (silent_url, *urls), VARIABLE), tmp_path, limits=limits)
    assert server.downloads == ["near-cut", "far-cut", "thin-cut", "origin"]


def test_variable_comes_first_and_alone(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, server.url("good"))
    fetch_archive(server.archive("404"), tmp_path)
    assert server.downloads == ["good"]
    assert server.probes == []


def test_variable_of_a_set_of_files_holds_their_folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(NAME, MD5, (server.url("404"),), VARIABLE, variable_is_folder=True)
    for number, slash in enumerate(("", "/")):
        monkeypatch.setenv(VARIABLE, server.url("good").removesuffix(f"/{NAME}") + slash)
        fetch_archive(archive, tmp_path / str(number))
    assert server.downloads == ["good", "good"]


@pytest.mark.parametrize("value", ["http://127.0.0.1:{port}/404/x", "no-url", "file:///x"])
def test_variable_that_fails_is_said_and_mirrors_follow(
    value: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    value = value.format(port=server.server_port)
    monkeypatch.setenv(VARIABLE, value)
    assert fetch_archive(server.archive("good"), tmp_path).read_bytes() == CONTENT
    assert f"Gave up {VARIABLE} ({value}): " in capfd.readouterr().err


def test_only_source_may_be_slow(server: Server, tmp_path: Path) -> None:
    assert fetch_archive(server.archive("slow"), tmp_path, limits=QUICK).read_bytes() == CONTENT
    assert server.downloads == ["slow"]


def test_fastest_is_taken_where_all_are_slow(server: Server, tmp_path: Path) -> None:
    archive = server.archive("slow", "slower")
    assert fetch_archive(archive, tmp_path, limits=QUICK).read_bytes() == CONTENT
    assert server.downloads == ["slow", "slower", "slow"]


def test_archive_that_a_server_calls_encoded_stays_as_it_is(server: Server, tmp_path: Path) -> None:
    assert fetch_archive(server.archive("encoded"), tmp_path).read_bytes() == CONTENT


def test_processes_at_once_download_once(server: Server, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(3)
    arguments = (server.archive("slow"), tmp_path, together)
    processes = [spawn.Process(target=fetch_in_process, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert server.downloads == ["slow"]
    assert visible(tmp_path) == [NAME]


def test_killed_download_leaves_no_archive_and_does_not_block(server: Server, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=fetch_in_process, args=(server.archive("stall"), tmp_path))
    process.start()
    assert server.halfway.wait(60)
    process.kill()
    process.join(60)
    assert NAME not in visible(tmp_path)
    assert fetch_archive(server.archive("good"), tmp_path).read_bytes() == CONTENT


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupted_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    user = threading.main_thread().ident
    assert user is not None

    def interrupt() -> None:
        while not any((tmp_path / name).stat().st_size for name in visible(tmp_path)):
            time.sleep(0.01)
        signal.pthread_kill(user, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        fetch_archive(server.archive("stall"), tmp_path)
    assert visible(tmp_path) == []


def test_plain_line_says_what_comes_from_where(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetch_archive(server.archive("good"), tmp_path)
    written = capfd.readouterr()
    assert written.err == f"Downloading {NAME} from {server.url('good')}\n"
    assert written.out == ""


def test_bar_is_for_terminals(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stderr", terminal)
        fetch_archive(server.archive("good"), tmp_path)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as screen, suppress(OSError):  # Linux's end of a terminal
        while part := screen.read(4096):
            shown += part
    assert b"262.1 kB" in shown


def test_every_archive_has_a_mirror_beside_its_origin() -> None:
    archives = (CIFAR10, CIFAR100, *FASHION_MNIST)
    assert all(len({*archive.urls}) >= 2 for archive in archives)
    assert all(url.endswith(f"/{archive.file_name}") for archive in archives for url in archive.urls)


def test_digests_are_those_that_torchvision_checks() -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    assert CIFAR10.md5 == datasets.CIFAR10.tgz_md5
    assert CIFAR100.md5 == datasets.CIFAR100.tgz_md5
    assert [(archive.file_name, archive.md5) for archive in FASHION_MNIST] == datasets.FashionMNIST.resources
