"""Digests: sha256 of bytes, of streams, and while writing.

Spelled as in the OCI image specification, `sha256:<64 lower-case hex digits>`
(https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests).
Only sha256 exists here; another algorithm is a new output format.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

from pipeline.errors import DigestMismatchError, FormatError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEX: Final = frozenset("0123456789abcdef")
_SHA256_HEX_LENGTH: Final = 64
_PREFIX: Final = "sha256:"

CHUNK: Final = 1 << 20
"""Bytes moved at once: large enough that Python's share of the work vanishes."""


class Source(Protocol):
    """Something to read bytes from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, empty at the end."""


class Sink(Protocol):
    """Something to write bytes to."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The sha256 of some bytes."""

    hex: str

    def __post_init__(self) -> None:
        if len(self.hex) != _SHA256_HEX_LENGTH or not _HEX.issuperset(self.hex):
            raise FormatError(f"got digest {self.hex!r}, want 64 lower-case hex digits")

    def __str__(self) -> str:
        return _PREFIX + self.hex

    @property
    def short(self) -> str:
        """The first twelve digits, for people."""
        return self.hex[:12]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `sha256:<hex>`."""
        if not text.startswith(_PREFIX):
            raise FormatError(f"got digest {text!r}, want sha256:<hex>")
        return cls(text[len(_PREFIX) :])

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Compute the digest of bytes."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def of_chunks(cls, chunks: Iterable[bytes]) -> Self:
        """Compute the digest of a stream given in pieces."""
        state = hashlib.sha256()
        for chunk in chunks:
            state.update(chunk)
        return cls(state.hexdigest())


class HashingWriter:
    """Pass bytes on to a sink, counting and hashing them on the way."""

    def __init__(self, sink: Sink | None) -> None:
        self._sink = sink
        self._state = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Take `data`; return its length."""
        self._state.update(data)
        self.size += len(data)
        if self._sink is not None:
            self._sink.write(data)
        return len(data)

    @property
    def digest(self) -> Digest:
        """The digest of everything written so far."""
        return Digest(self._state.hexdigest())


def copy_stream(source: Source, sink: Sink | None, *, limit: int, what: str) -> tuple[Digest, int]:
    """Copy a stream to its end, hashing it; refuse more than `limit` bytes.

    Returns:
        The digest and the number of bytes.

    Raises:
        TooLargeError: the stream goes on after `limit` bytes.
    """
    writer = HashingWriter(sink)
    while chunk := source.read(CHUNK):
        if writer.size + len(chunk) > limit:
            raise TooLargeError(what, limit)
        writer.write(chunk)
    return writer.digest, writer.size


def verify_bytes(data: bytes, *, digest: Digest, what: str) -> bytes:
    """Return `data` if it has this digest, raise otherwise."""
    got = Digest.of(data)
    if got != digest:
        raise DigestMismatchError(what, got=str(got), want=str(digest))
    return data
