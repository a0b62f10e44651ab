"""HttpFetcher: a repository behind a URL.

RFC 9110 (HTTP semantics), sections 13.1.5 (If-Range), 14 (ranges), 10.2.3 (Retry-After).

1. Connection failures, time-outs, bodies that end early and the `TRANSIENT_STATUSES` are tried
   again, with exponential back-off or as long as Retry-After says, from where the content broke
   off. Attempts that bring content do not count, but the whole has a deadline, set by its length.
2. A range is asked for with If-Range where the server has named a strong ETag or a date. What does
   not fit the range that was asked for starts the download anew.
"""

from __future__ import annotations

import email.utils
import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pipeline.errors import FetchError, HttpError, NotFoundError, TooLargeError
from pipeline.host.http_client import (
    HttpClient,
    Patience,
    TransientError,
    shown,
    without_credentials,
)

if TYPE_CHECKING:
    from pipeline.host.fetch import Receiver
    from pipeline.host.http_client import Response

_SAFE: Final = "/:@!$&'()*+,;=~-._"
_OK: Final = 200
_PARTIAL: Final = 206
_MISSING: Final = frozenset({404, 410})
_BAD_RANGE: Final = 416
TRANSIENT_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be better next time."""
_RANGE_RE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")


class HttpFetcher:
    """Read files below a URL. Threads may share it."""

    def __init__(self, url: str, *, patience: Patience | None = None) -> None:
        self._url = without_credentials(url).rstrip("/")
        self._client = HttpClient(patience or Patience(), credentials_of=url)

    def __str__(self) -> str:
        return self._url

    def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
        """Return a small file."""
        receiver = _Memory(f"{self._url}/{path}", max_length)
        self.fetch_into(path, receiver)
        return bytes(receiver.data)

    def fetch_into(self, path: str, receiver: Receiver) -> None:
        """Bring the receiver to the file's end, from where it is if the server lets it."""
        url = f"{self._url}/{quote(path, safe=_SAFE)}"
        transfer = _Transfer(self._client, url, receiver)
        patience = self._client.patience
        failures = 0
        while True:
            before = receiver.size
            try:
                transfer.attempt()
            except TransientError as e:
                failures = 1 if receiver.size > before else failures + 1
                if failures >= patience.attempts:
                    raise e.error from None
                receiver.pause(retry_delay(patience, failures, e.retry_after))
            else:
                return


class _Memory:
    """A receiver of bounded length."""

    is_short = False

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self.data = bytearray()

    @property
    def size(self) -> int:
        return len(self.data)

    def expect(self, total: int) -> None:
        if total > self._limit:
            raise TooLargeError(self._what, self._limit)

    def write(self, data: bytes) -> None:
        self.expect(self.size + len(data))
        self.data += data

    def restart(self) -> None:
        self.data.clear()

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


class _Transfer:
    """One download: what is known of it between attempts."""

    def __init__(self, client: HttpClient, url: str, receiver: Receiver) -> None:
        self._client = client
        self._url = url
        self._shown = shown(url)
        self._receiver = receiver
        self._validator = ""
        self._started = time.monotonic()
        self._seconds = client.patience.grace

    def attempt(self) -> None:
        """Ask for what is missing, and take it."""
        receiver = self._receiver
        headers = {}
        if receiver.size:
            headers["Range"] = f"bytes={receiver.size}-"
            if self._validator:
                headers["If-Range"] = self._validator
        self._check_deadline()
        with self._client.get(self._url, headers) as response:
            self._check_status(response)
            self._validator = _validator(response)
            for data in response.chunks():
                receiver.write(data)
                self._check_deadline()
        if receiver.is_short:
            raise TransientError(FetchError(f"{self._shown}: ends after {receiver.size} bytes"))

    def _check_deadline(self) -> None:
        if time.monotonic() - self._started > self._seconds:
            raise FetchError(f"{self._shown}: not complete after {self._seconds:.3g} s")

    def _check_status(self, response: Response) -> None:
        status = response.status
        if status == _PARTIAL and self._receiver.size:
            self._check_range(response)
        elif status == _OK:
            if self._receiver.size:
                self._receiver.restart()
            self._check_length(response.header("Content-Length"))
        elif status in _MISSING:
            raise NotFoundError(f"{self._shown}: not found")
        elif status == _BAD_RANGE and self._receiver.size:
            raise self._begin_anew(HttpError(self._shown, status))
        elif status in TRANSIENT_STATUSES:
            raise TransientError(
                HttpError(self._shown, status),
                retry_after=retry_after_seconds(response.header("Retry-After")),
            )
        else:
            raise HttpError(self._shown, status)

    def _check_length(self, text: str) -> None:
        length = _digits(text)
        if length is not None:
            self._expect(length)
        elif text:  # http.client would take some of these for numbers
            raise FetchError(f"{self._shown}: got Content-Length {text[:40]!r}, want digits")

    def _check_range(self, response: Response) -> None:
        match = _RANGE_RE.fullmatch(response.header("Content-Range"))
        if match is None or int(match[1]) != self._receiver.size:
            raise self._begin_anew(FetchError(f"{self._shown}: got another range than asked for"))
        self._expect(int(match[3]))

    def _expect(self, total: int) -> None:
        self._receiver.expect(total)
        patience = self._client.patience
        self._seconds = patience.grace + total / patience.slowest

    def _begin_anew(self, error: FetchError) -> TransientError:
        self._receiver.restart()
        self._validator = ""
        return TransientError(error)


def retry_delay(patience: Patience, failures: int, retry_after: float | None) -> float:
    """Return the seconds to wait after some failures in a row (rule 1)."""
    backoff = patience.backoff * 2.0 ** (failures - 1)
    return min(max(backoff, retry_after or 0.0), patience.longest_pause)


def _digits(text: str) -> int | None:
    return int(text[:20]) if text.isascii() and text.isdigit() else None


def _validator(response: Response) -> str:
    """Return what If-Range may say, if anything: a weak ETag will not do (rule 2)."""
    etag = response.header("ETag")
    return etag if etag.startswith('"') else response.header("Last-Modified")


def retry_after_seconds(text: str) -> float | None:
    """Read Retry-After: seconds, or a date; None if it says neither."""
    if (seconds := _digits(text)) is not None:
        return float(seconds)
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return None
