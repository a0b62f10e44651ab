"""The blobs of an image, as they are served: hashed as they come, never kept.

A digest that was rebuilt says what an image is; whether a registry really has that is another
question. A blob is read up to the size that its manifest says, and no further.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from pipeline.errors import DigestMismatchError, FetchError, NotFoundError, PipelineError
from pipeline.formats.digest import CHUNK, Digest
from reproducibility.verify_place import LayoutPlace, RegistryPlace
from reproducibility.verify_result import Blobs, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.oci.descriptor import Descriptor

    Progress = Callable[[Descriptor, int], object]

WORKERS: Final = 4

NOT_CHECKED: Final = Blobs(delivery=Delivery.NOT_CHECKED, count=0, size=0, problems=())


def _no_progress(blob: Descriptor, size: int, /) -> None:
    """Ignore progress."""


class _Hash:
    """A `pipeline.host.fetch.Receiver` that keeps nothing."""

    def __init__(
        self, descriptor: Descriptor, cancelled: threading.Event, progress: Progress
    ) -> None:
        self._wanted = descriptor
        self._cancelled = cancelled
        self._progress = progress
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self._state = hashlib.sha256()
        self.size = 0

    @property
    def is_short(self) -> bool:
        """Whether content is missing at the end."""
        return self.size < self._wanted.size

    def expect(self, total: int) -> None:
        """Refuse a blob of another length."""
        if total != self._wanted.size:
            raise DigestMismatchError(
                f"blob {self._wanted.digest}: size", got=str(total), want=str(self._wanted.size)
            )

    def write(self, data: bytes) -> None:
        """Hash content, but no more than there should be."""
        self._stop_if_cancelled()
        self.size += len(data)
        if self.size > self._wanted.size:
            self.expect(self.size)
        self._state.update(data)
        self._progress(self._wanted, self.size)

    def pause(self, seconds: float) -> None:
        """Wait before another attempt."""
        self._cancelled.wait(seconds)
        self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise FetchError(f"blob {self._wanted.digest}: stopped")

    def verify(self) -> None:
        """Raise DigestMismatchError if that was another blob."""
        self.expect(self.size)
        got, want = Digest(self._state.hexdigest()), self._wanted.digest
        if got != want:
            raise DigestMismatchError(f"blob {want}", got=str(got), want=str(want))


def _read(place: RegistryPlace | LayoutPlace, blob: Descriptor, receiver: _Hash) -> None:
    if isinstance(place, RegistryPlace):
        place.repository.fetcher().fetch_into(str(blob.digest), receiver)
        return
    try:
        with place.source.open(blob.digest) as f:
            while data := f.read(CHUNK):
                receiver.write(data)
    except FileNotFoundError:
        raise NotFoundError(f"{place}: blob {blob.digest} is not in the layout") from None


def check_blobs(
    place: RegistryPlace | LayoutPlace,
    blobs: Sequence[Descriptor],
    *,
    progress: Progress = _no_progress,
) -> Blobs:
    """Read blobs and compare them with their digests; what is wrong is a result.

    Args:
        place: where they are.
        blobs: each digest once.
        progress: told how far each is.
    """
    cancelled = threading.Event()

    def check(blob: Descriptor) -> PipelineError | None:
        receiver = _Hash(blob, cancelled, progress)
        try:
            _read(place, blob, receiver)
            receiver.verify()
        except PipelineError as e:
            return e
        return None

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="blobs") as pool:
        try:
            errors = list(filter(None, pool.map(check, blobs)))
        finally:
            cancelled.set()
            pool.shutdown(cancel_futures=True)
    damaged = [e for e in errors if isinstance(e, DigestMismatchError)]
    delivery = Delivery.CHECKED if not errors else Delivery.INCOMPLETE
    return Blobs(
        delivery=Delivery.DAMAGED if damaged else delivery,
        count=len(blobs),
        size=sum(blob.size for blob in blobs),
        problems=tuple(str(e) for e in (*damaged, *(e for e in errors if e not in damaged))),
    )
