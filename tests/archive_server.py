"""A web server for downloads: it serves bytes from memory, and misbehaves as it is told, request by request."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """How the answer to one request goes wrong; the values that are not given are as they should be."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    send: int | None = None  # so many bytes of the body, then the connection is closed
    extra_length: int = 0  # added to Content-Length
    no_length: bool = False
    no_ranges: bool = False
    flip: int | None = None  # this byte of the file is another
    hang: bool = False  # after what is sent, until the test ends
    pause_seconds: float = 0.0  # after each 1,000 bytes
    range_shift: int = 0


class ArchiveServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.always: Fault | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.sent: dict[str, int] = defaultdict(int)
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/files"

    def ranges(self, name: str) -> list[str | None]:
        """The Range header of each request for a file, in order."""
        return [headers.get("Range") for asked, headers in self.asked if asked == name]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error here."""


class _Handler(BaseHTTPRequestHandler):
    server: ArchiveServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2].partition("?")[0]
        self.server.asked.append((name, dict(self.headers.items())))
        faults = self.server.faults[name]
        self._answer(name, faults.pop(0) if faults else self.server.always or Fault())

    def _answer(self, name: str, fault: Fault) -> None:
        body, first = self.server.files.get(name), 0
        if fault.status or body is None:
            self._end(fault.status or 404, fault.headers)
            return
        etag = self.server.etags.get(name)
        asked = self.headers.get("Range")
        if asked and not fault.no_ranges and self.headers.get("If-Range", etag) == etag:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(body):
                self._end(416, {"Content-Range": f"bytes */{len(body)}"})
                return
        if fault.flip is not None:
            body = body[: fault.flip] + bytes([body[fault.flip] ^ 1]) + body[fault.flip + 1 :]
        self._send(name, body, first, etag, fault)

    def _end(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": "0", **headers}.items():
            self.send_header(key, value)
        self.end_headers()

    def _send(self, name: str, body: bytes, first: int, etag: str | None, fault: Fault) -> None:
        self.close_connection = True
        self.send_response(206 if first else 200)
        if first:
            shown = first + fault.range_shift
            self.send_header("Content-Range", f"bytes {shown}-{len(body) - 1}/{len(body)}")
        if etag:
            self.send_header("ETag", etag)
        rest = body[first:]
        if not fault.no_length:
            self.send_header("Content-Length", str(len(rest) + fault.extra_length))
        self.end_headers()
        for start in range(0, len(rest[: fault.send]), 1000):
            block = rest[: fault.send][start : start + 1000]
            self.server.sent[name] += len(block)  # before the client can have seen it
            self.wfile.write(block)
            if fault.pause_seconds:
                time.sleep(fault.pause_seconds)
        self.wfile.flush()
        if fault.hang:
            self.server.over.wait(30)


@contextmanager
def serving() -> Iterator[ArchiveServer]:
    """Serve until the block ends."""
    server = ArchiveServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
