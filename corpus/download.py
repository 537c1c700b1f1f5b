"""Downloading one file, over as many connections as it takes.

What has arrived stands in a ``.part`` file, and beside it, in ``.part.json``, what the server said about the whole
(address, ETag, Last-Modified, length). A later attempt, in this process or another, asks for the rest alone, and takes
it only where the server says that it is the rest of the same bytes; from a server that does not do ranges, or whose
file has changed, the file is fetched from its start. Whether the whole is what it should be is for the caller to check.

Times are in seconds, sizes in bytes.
"""

import json
import random
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
import urllib3.exceptions

from cache.errors import DownloadError
from cache.outfile import write_atomically

_BLOCK_BYTES = 1 << 18
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_LASTING_ERRORS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.TooManyRedirects,
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")
# Some hosts, Zenodo among them, slow down clients that do not say who they are.
_HEADERS = {"User-Agent": "earmark (cli corpus fetch)", "Accept-Encoding": "identity"}

Progress = Callable[[int, int | None], object]


@dataclass(frozen=True)
class Patience:
    """How long to put up with a server.

    Attributes
    ----------
    tries : int
        Attempts in a row that bring less than `progress_bytes`, and times to start over, before giving up.
    progress_bytes : int
        An attempt that brings as much counts as a success, whatever its end.
    first_wait_seconds, longest_wait_seconds : float
        Waits between tries double from the one to the other, with jitter.
    longest_asked_seconds : float
        A server that asks for a longer wait (Retry-After) is taken at its word, and left.
    connect_seconds, silence_seconds : float
        Without a connection, or without a byte, for so long, the attempt ends.
    stall_seconds : float, stall_bytes : int
        With fewer bytes in so many seconds the attempt ends.
    """

    tries: int = 8
    progress_bytes: int = 1 << 20
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    longest_asked_seconds: float = 600.0
    connect_seconds: float = 15.0
    silence_seconds: float = 30.0
    stall_seconds: float = 60.0
    stall_bytes: int = 60_000


class _Again(Exception):
    """An attempt that failed in passing: its reason, and the wait that the server asks for."""

    def __init__(self, reason: str, asked_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.asked_seconds = asked_seconds


class Download:
    """One file on its way.

    Parameters
    ----------
    url : str
        Of http or https.
    part : Path
        Where the bytes gather; its folder is there. Bytes from before are kept, those from a mirror too.
    max_bytes : int
        Of the whole; a server that announces or sends more is refused.
    patience : Patience
    progress : callable
        Called with the bytes that are there and in all (None where the server does not say), before each block is
        written. What it raises ends the download, and leaves a part that can be resumed.
    wait : callable
        Sleeps so many seconds; what it raises ends the download, too.
    say : callable
        Called with one sentence where an attempt failed and another follows.
    """

    def __init__(
        self,
        url: str,
        part: Path,
        *,
        max_bytes: int,
        patience: Patience,
        progress: Progress,
        wait: Callable[[float], object] = time.sleep,
        say: Callable[[str], object],
    ) -> None:
        self.url = url
        self.part = part
        self.max_bytes = max_bytes
        self._notes = part.with_name(f"{part.name}.json")
        self._patience = patience
        self._progress = progress
        self._wait = wait
        self._say = say
        self._restarts = 0

    @property
    def have(self) -> int:
        """Bytes that are there."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        """Fetch what is missing.

        Raises
        ------
        DownloadError
            The server does not have the file, sends something else, or all tries failed.
        OSError
            The part cannot be written.
        """
        failures = 0
        while True:
            before = self.have
            try:
                return self._attempt()
            except _Again as trouble:
                failures = 1 if self.have - before >= self._patience.progress_bytes else failures + 1
                if max(failures, self._restarts) >= self._patience.tries:
                    message = f"{self.url} failed {self._patience.tries} times, at last because {trouble}: "
                    raise DownloadError(message + "run the same command later; it goes on from here") from trouble
                self._pause(failures, trouble)

    def remove(self) -> None:
        """Remove the part and what is known about it."""
        self.part.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _pause(self, failures: int, trouble: _Again) -> None:
        patience = self._patience
        longest = min(patience.longest_wait_seconds, patience.first_wait_seconds * 2 ** (failures - 1))
        seconds = max(trouble.asked_seconds, random.uniform(0.5, 1) * longest)
        name = self.part.name.removesuffix(".part")
        self._say(f"{name}: {trouble}; trying again in {seconds:.0f} s ({failures} of {patience.tries} tries)")
        self._wait(seconds)

    def _attempt(self) -> None:
        known = self._read_notes()
        if known is None or not self.have:
            self.remove()
            known = {}
        timeouts = (self._patience.connect_seconds, self._patience.silence_seconds)
        headers = _HEADERS | self._range_headers(known)
        try:
            with (
                requests.Session() as session,
                session.get(self.url, headers=headers, stream=True, timeout=timeouts) as response,
            ):
                self._receive(response, known)
        except _LASTING_ERRORS as error:
            message = f"{self.url} cannot be downloaded ({error}): give another --url"
            raise DownloadError(message) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _Again(self._reason(error)) from error

    def _range_headers(self, known: dict[str, object]) -> dict[str, str]:
        """Ask for the rest, on the condition that the file is still the same where the server can tell."""
        if not self.have:
            return {}
        headers = {"Range": f"bytes={self.have}-"}
        etag, modified = str(known.get("etag") or ""), str(known.get("last_modified") or "")
        condition = etag if etag and not etag.startswith("W/") else modified
        return headers | ({"If-Range": condition} if condition else {})

    def _receive(self, response: requests.Response, known: dict[str, object]) -> None:
        status = response.status_code
        if status == 416 and self.have:
            self._beyond_the_end(response)
        elif status == 206 and self.have:
            self._check_rest(response, known)
            self._read_body(response, total=_length(response, self.have))
        elif status == 200:
            self._restarts += bool(self.have)
            self.remove()
            total = _length(response, 0)
            self._write_notes(response, total)
            self._read_body(response, total=total)
        else:
            self._refuse_status(response)

    def _beyond_the_end(self, response: requests.Response) -> None:
        """Take a part for whole where the server says that it ends there; else start over."""
        found = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != self.have:
            self._start_over("the part does not fit the file there")

    def _check_rest(self, response: requests.Response, known: dict[str, object]) -> None:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != self.have:
            self._start_over("another range came than the one asked for")
        elif "*" not in (found[2], str(known.get("total") or "*")) and int(found[2]) != known["total"]:
            self._start_over("the file there has changed its length")
        for header, name in (("ETag", "etag"), ("Last-Modified", "last_modified")):
            if known.get(name) and response.headers.get(header, known[name]) != known[name]:
                self._start_over("the file there has changed")

    def _start_over(self, reason: str) -> None:
        self.remove()
        self._restarts += 1
        raise _Again(reason)

    def _refuse_status(self, response: requests.Response) -> None:
        what = f"the server answered {response.status_code} {response.reason}".rstrip()
        asked = _asked_seconds(response.headers.get("Retry-After", ""))
        if response.status_code in _PASSING_STATUSES and asked <= self._patience.longest_asked_seconds:
            raise _Again(what, asked)
        wait = f" and asks to wait {asked / 60:.0f} min" if asked else ""
        message = f"{self.url}: {what}{wait}; run the same command later, or give another --url"
        raise DownloadError(message)

    def _read_body(self, response: requests.Response, *, total: int | None) -> None:
        if total is not None:
            self._check_size(total)
        have = window_have = self.have
        window_start = time.monotonic()
        with self.part.open("ab") as out:
            while block := response.raw.read1(_BLOCK_BYTES, decode_content=False):
                have += len(block)
                self._check_size(have)
                self._progress(have, total)
                out.write(block)
                out.flush()  # what has arrived outlives this process
                now = time.monotonic()
                if now - window_start >= self._patience.stall_seconds:
                    self._check_stall(have - window_have, now - window_start)
                    window_start, window_have = now, have
        if total is not None and have < total:
            reason = f"the connection ended after {have:,} of {total:,} bytes"
            raise _Again(reason)

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self.max_bytes:
            message = f"{self.url} has {n_bytes:,} bytes or more, and the file asked for at most {self.max_bytes:,}"
            raise DownloadError(message + ": give another --url")

    def _check_stall(self, n_bytes: int, seconds: float) -> None:
        if n_bytes < self._patience.stall_bytes:
            reason = f"only {n_bytes:,} bytes came in {seconds:.0f} s"
            raise _Again(reason)

    def _read_notes(self) -> dict[str, object] | None:
        """Give what is known about the part; None where nothing is.

        Of a part from another address, a mirror's, the length counts alone: the same file has another ETag there.
        """
        try:
            known = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(known, dict):
            return None
        return known if known.get("url") == self.url else {"total": known.get("total")}

    def _write_notes(self, response: requests.Response, total: int | None) -> None:
        notes = {
            "url": self.url,
            "etag": response.headers.get("ETag"),
            "last_modified": response.headers.get("Last-Modified"),
            "total": total,
        }
        write_atomically(self._notes, lambda path: path.write_text(json.dumps(notes), encoding="utf-8"))

    def _reason(self, error: Exception) -> str:
        """Say in a few words why an attempt failed; refuse what no further attempt will change."""
        causes = _causes(error)
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                reason = f"its certificate is not trusted ({cause.verify_message})"
                message = f"{self.url} cannot be downloaded: {reason}; give another --url"
                raise DownloadError(message) from error
            if isinstance(cause, OSError) and cause.strerror:
                return f"the connection failed ({cause.strerror})"
        silent = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
        return "the server was silent" if isinstance(causes[-1], silent) else "the connection was cut"


def _causes(error: BaseException) -> list[BaseException]:
    """Give an error and what it came from, in turn."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None:
        found.append(cause)
    return found


def _length(response: requests.Response, have: int) -> int | None:
    """Give the length of the whole file as a response to a request for its rest announces it."""
    text = response.headers.get("Content-Length", "")
    return have + int(text) if text.isascii() and text.isdigit() else None


def _asked_seconds(text: str) -> float:
    """Read a Retry-After header: seconds, or a date; 0 where it says nothing."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
