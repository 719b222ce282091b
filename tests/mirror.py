"""A mirror on this machine that serves well or badly, as it is told."""

import hashlib
import random
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dynaconv.data.archives import Archive

NAME = "images.tar.gz"
VARIABLE = "DYNACONV_TEST_URL"
CONTENT = random.Random(0).randbytes(1 << 18)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serve CONTENT as the path's first part tells; probes (Range) well, unless it tells "far" or "thin"."""

    server: "Server"

    def do_GET(self) -> None:
        manner = self.path.split("/")[1]
        first = "Range" in self.headers
        with self.server.lock:
            (self.server.probes if first else self.server.downloads).append(manner)
        body = bytes(len(CONTENT)) if manner == "garbage" else CONTENT
        if manner.isdigit() or self.path != f"/{manner}/{NAME}":
            self.send_error(int(manner) if manner.isdigit() else 404)
        elif first and "thin" in manner:
            self.send_pieces(body, 4096, 0.05)
        elif first:
            self.server.released.wait(0.5 if "far" in manner else 0)
            self.send_whole(206, body)
        elif manner == "trickle":
            self.send_pieces(body, 1, 0.02)
        elif manner == "slow":  # 160 kB/s
            self.send_pieces(body, 8192, 0.05)
        elif manner == "slower":
            self.send_pieces(body, 4096, 0.05)
        elif "stall" in manner or "cut" in manner:
            self.send_head(200, len(body))
            self.wfile.write(body[: len(body) // 2])
            self.server.halfway.set()
            self.server.released.wait(10 if "stall" in manner else 0)
        elif manner == "encoded":  # what some servers say of every .gz
            self.send_whole(200, body, {"Content-Encoding": "x-gzip"})
        else:
            self.send_whole(200, body)

    def send_head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_whole(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_head(status, len(body), headers)
        self.wfile.write(body)

    def send_pieces(self, body: bytes, size: int, pause: float) -> None:
        self.send_head(200, len(body))
        for start in range(0, len(body), size):
            self.wfile.write(body[start : start + size])
            if self.server.released.wait(pause):
                return

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has given us up
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.probes: list[str] = []
        self.downloads: list[str] = []
        self.halfway = threading.Event()
        self.released = threading.Event()

    def url(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{manner}/{NAME}"

    def archive(self, *manners: str) -> Archive:
        return Archive(NAME, MD5, tuple(self.url(manner) for manner in manners), VARIABLE)
