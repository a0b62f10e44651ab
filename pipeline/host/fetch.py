"""Fetching: small files as bytes, large ones into the store under their digest.

A `Fetcher` knows how to reach one repository. `fetch_all` downloads what a catalogue or a lock
names, several files at once, and believes none of it before length and checksum are right:

1. Content goes to `part/<sum>.part` in the store's directory. A download that was cut off, by
   whatever, goes on from there the next time; the checksum of the whole decides in the end.
2. A finished file moves to its place with one rename. Nothing half is ever there.
3. A part that was continued from an earlier run and turns out wrong is fetched once more from its
   start, because the earlier run's source may have been at fault.
4. A part is locked while somebody writes it, so that two builds with one store do not mix.
5. The first failure stops the others at their next piece of content.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.errors import DigestMismatchError, FetchError
from pipeline.formats.digest import CHUNK, Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

WORKERS: Final = 8
"""Downloads at once; more does not help a single server."""


class HashState(Protocol):
    """What `hashlib` gives."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take more bytes."""

    def digest(self) -> bytes:
        """Return the digest so far."""


class Checksum(Protocol):
    """What content must add up to, e.g. `pipeline.pkg.sum.Sum`; `str()` identifies it."""

    def start(self) -> HashState:
        """Begin hashing."""

    def verify(self, state: HashState, *, what: str) -> None:
        """Compare a finished hash; raise DigestMismatchError naming `what`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """A file that a catalogue or a lock names."""

    path: str
    """Below the repository's URL."""
    size: int
    sum: Checksum
    digest: Digest | None
    """sha256, where it is known already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A file that has come, is right, and lies in the store."""

    wanted: WantedFile
    digest: Digest


class Receiver(Protocol):
    """Where a fetcher puts content."""

    @property
    def size(self) -> int:
        """Bytes that are here."""

    @property
    def is_short(self) -> bool:
        """Whether more are known to be wanted."""

    def expect(self, total: int) -> None:
        """Hear how long the whole is going to be; raise if that cannot be right."""

    def write(self, data: bytes) -> None:
        """Take more content; raise if it is too much."""

    def restart(self) -> None:
        """Forget all content."""

    def pause(self, seconds: float) -> None:
        """Wait before another attempt; raise if there shall be none."""


class Fetcher(Protocol):
    """One repository, wherever it is."""

    def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
        """Return a small file.

        Raises:
            NotFoundError: there is none.
            TooLargeError: it is longer than `max_length`.
            FetchError: it could not be had.
        """

    def fetch_into(self, path: str, receiver: Receiver) -> None:
        """Bring the receiver to the file's end, from where it is or from the start."""


class Store(Protocol):
    """Where finished files go: `pipeline.host.store.Store`."""

    @property
    def root(self) -> Path:
        """Its directory; parts lie below it, on the same file system as everything else."""

    def adopt(self, path: Path, digest: Digest) -> None:
        """Move a finished file to its place."""


class Progress(Protocol):
    """Somebody who wants to know how far downloads are."""

    def __call__(self, wanted: WantedFile, size: int, /) -> None:
        """Hear that `size` bytes are here, fewer than before after a restart.

        Called from several threads; `wanted.size` bytes are the end of it.
        """


def no_progress(wanted: WantedFile, size: int, /) -> None:
    """Ignore progress."""


# ---------------------------------------------------------------- one file


class Part:
    """A `Receiver` in a file, hashed as it grows."""

    def __init__(
        self, file: BinaryIO, wanted: WantedFile, *, progress: Progress, cancelled: threading.Event
    ) -> None:
        self._file = file
        self._wanted = wanted
        self._progress = progress
        self._cancelled = cancelled
        self._start()
        self._take_held()

    def _start(self) -> None:
        self.size = 0
        self._sum = self._wanted.sum.start()
        self._sha256 = hashlib.sha256()

    def _take_held(self) -> None:
        """Hash what an earlier run has left; more than is wanted is worth nothing."""
        self._file.seek(0)
        while data := self._file.read(CHUNK):
            if self.size + len(data) > self._wanted.size:
                self.restart()
                return
            self._hash(data)
        self._progress(self._wanted, self.size)

    def _hash(self, data: bytes) -> None:
        self._sum.update(data)
        self._sha256.update(data)
        self.size += len(data)

    @property
    def is_short(self) -> bool:
        """Whether content is missing at the end."""
        return self.size < self._wanted.size

    def expect(self, total: int) -> None:
        """Refuse a whole of another length."""
        if total != self._wanted.size:
            raise DigestMismatchError(
                f"{self._wanted.path}: size", got=str(total), want=str(self._wanted.size)
            )

    def write(self, data: bytes) -> None:
        """Append content."""
        self._stop_if_cancelled()
        if self.size + len(data) > self._wanted.size:
            raise DigestMismatchError(
                f"{self._wanted.path}: size", got="more", want=str(self._wanted.size)
            )
        self._file.write(data)
        self._hash(data)
        self._progress(self._wanted, self.size)

    def restart(self) -> None:
        """Empty the file."""
        self._file.seek(0)
        self._file.truncate()
        self._start()
        self._progress(self._wanted, 0)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than the others go on."""
        self._cancelled.wait(seconds)
        self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise FetchError(f"{self._wanted.path}: stopped, because another download failed")

    def verify(self, *, durable: bool) -> Digest:
        """Return the sha256 of the content if it is what was wanted."""
        self.expect(self.size)
        self._wanted.sum.verify(self._sum, what=self._wanted.path)
        digest = Digest(self._sha256.hexdigest())
        want = self._wanted.digest
        if want is not None and digest != want:
            raise DigestMismatchError(self._wanted.path, got=str(digest), want=str(want))
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())
        return digest


def part_path(store: Store, wanted: WantedFile) -> Path:
    """Return where the unfinished content of a file lies."""
    return Path(store.root) / "part" / (re.sub("[^A-Za-z0-9]", "-", str(wanted.sum)) + ".part")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a part for this process alone (rule 4)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                yield file
                return
        # whoever held the lock has finished the file or given it up: start another


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def fetch_file(
    fetcher: Fetcher,
    wanted: WantedFile,
    *,
    store: Store,
    progress: Progress = no_progress,
    cancelled: threading.Event | None = None,
    durable: bool = False,
) -> FetchedFile:
    """Download one file into the store.

    Args:
        fetcher: the repository.
        wanted: the file.
        store: where it goes.
        progress: hears of every piece.
        cancelled: stops the download when set.
        durable: wait until the disk has it, before it gets its name.

    Raises:
        DigestMismatchError: what came is not what was wanted.
        FetchError: it did not come.
    """
    path = part_path(store, wanted)
    try:
        with _locked(path) as file:
            part = Part(file, wanted, progress=progress, cancelled=cancelled or threading.Event())
            try:
                digest = _complete(fetcher, wanted, part, durable=durable)
            except DigestMismatchError:
                path.unlink()
                raise
            store.adopt(path, digest)
    except OSError as e:
        raise FetchError(f"{path}: {(e.strerror or 'cannot be written').lower()}") from e
    return FetchedFile(wanted=wanted, digest=digest)


def _complete(fetcher: Fetcher, wanted: WantedFile, part: Part, *, durable: bool) -> Digest:
    was_held = part.size > 0
    try:
        if part.is_short:
            fetcher.fetch_into(wanted.path, part)
        return part.verify(durable=durable)
    except DigestMismatchError:
        if not was_held:
            raise
    part.restart()  # rule 3
    fetcher.fetch_into(wanted.path, part)
    return part.verify(durable=durable)


# ---------------------------------------------------------------- many files


def fetch_all(
    wanted: Sequence[tuple[Fetcher, WantedFile]],
    *,
    store: Store,
    workers: int = WORKERS,
    progress: Progress = no_progress,
    durable: bool = False,
) -> tuple[FetchedFile, ...]:
    """Download files in parallel; return them in the order in which they were asked for.

    Files with the same checksum are downloaded once.

    Raises:
        DigestMismatchError, FetchError: the first failure; the other downloads stop, and what they
            have goes on from there the next time.
    """
    cancelled = threading.Event()
    distinct = {str(file.sum): (fetcher, file) for fetcher, file in reversed(wanted)}
    with ThreadPoolExecutor(max(workers, 1), thread_name_prefix="fetch") as pool:
        try:
            futures = {
                name: pool.submit(
                    fetch_file,
                    *distinct[name],
                    store=store,
                    progress=progress,
                    cancelled=cancelled,
                    durable=durable,
                )
                for name in dict.fromkeys(str(file.sum) for _, file in wanted)
            }
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            for future in futures.values():
                if future.done():
                    future.result()
        finally:
            cancelled.set()
            pool.shutdown(wait=True, cancel_futures=True)
    return tuple(
        FetchedFile(wanted=file, digest=futures[str(file.sum)].result().digest)
        for _, file in wanted
    )
