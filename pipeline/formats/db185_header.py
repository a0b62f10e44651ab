"""The header of a Berkeley DB 1.85 hash file, its hash function and its page numbers.

Specification: FreeBSD `lib/libc/db/hash/hash.h`, `hash.c` and `hash_func.c`. The header is 260
bytes at offset 0 and always big-endian; `lorder` says how the words of all other pages are stored.
Buckets and overflow pages share one numbering: the overflow pages of a split point lie between
the buckets that existed before a doubling of the table and those that came after it, and `spares`
counts them cumulatively per split point.

Left out: hash functions other than the default and tables of more than 65,536 buckets.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC: Final = 0x061561
VERSION: Final = 2
MAX_BUCKETS: Final = 65536
"""A bigger directory is written with a size that depends on the machine's pointers."""
SPLIT_POINTS: Final = 32
SPLIT_SHIFT: Final = 11
SPLIT_MASK: Final = 0x7FF
"""An overflow address is a split point above eleven bits of offset, counted from one."""
MIN_BSIZE: Final = 64
MAX_BSIZE: Final = 32768
"""The next size, 65,536, cannot be an offset in a 16-bit word."""

_HEADER: Final = struct.Struct(">17i32i32H")
_SEGMENT: Final = 256
_HEADER_SIZE_FLOOR: Final = 512
_HASH_MASK: Final = 0xFFFFFFFF


class ByteOrder(enum.IntEnum):
    """The `lorder` of a hash file, as in `<sys/endian.h>`."""

    LITTLE = 1234
    BIG = 4321

    @property
    def prefix(self) -> str:
        """The byte order character of the `struct` module."""
        return "<" if self is ByteOrder.LITTLE else ">"


def hash4(key: bytes) -> int:
    """Hash a key as the default hash function does."""
    value = 0
    for byte in key:
        value = (value * 33 + byte) & _HASH_MASK
    return value


CHARKEY: Final = hash4(b"%$sniglet^&\0")
"""A reader compares this with its own hash of the same text, to detect another function."""


def page_of_bucket(bucket: int, *, hdrpages: int, spares: Sequence[int]) -> int:
    """Return the page number of a bucket."""
    return bucket + hdrpages + (spares[bucket.bit_length() - 1] if bucket else 0)


def page_of_overflow(address: int, *, hdrpages: int, spares: Sequence[int]) -> int:
    """Return the page number of an overflow address."""
    last_bucket = (1 << (address >> SPLIT_SHIFT)) - 1
    base = page_of_bucket(last_bucket, hdrpages=hdrpages, spares=spares)
    return base + (address & SPLIT_MASK)


def hdrpages_of(bsize: int) -> int:
    """Return how many pages the header occupies."""
    return (_HEADER_SIZE_FLOOR - 1) // bsize + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HashHeader:
    """The fields of a header that differ between files, named as in `hash.h`."""

    lorder: ByteOrder
    bsize: int
    ovfl_point: int
    last_freed: int
    max_bucket: int
    high_mask: int
    low_mask: int
    ffactor: int
    nkeys: int
    spares: tuple[int, ...]
    bitmaps: tuple[int, ...]
    """Overflow addresses of the bitmap pages; 0 where there is none."""

    @property
    def hdrpages(self) -> int:
        """Pages before bucket 0."""
        return hdrpages_of(self.bsize)

    def bucket_of(self, key: bytes) -> int:
        """Return the bucket that holds a key."""
        bucket = hash4(key) & self.high_mask
        return bucket if bucket <= self.max_bucket else bucket & self.low_mask

    def to_bytes(self) -> bytes:
        """Return the 260 bytes of the header."""
        return _HEADER.pack(
            MAGIC,
            VERSION,
            self.lorder,
            self.bsize,
            self.bsize.bit_length() - 1,
            _SEGMENT,
            _SEGMENT,
            _SEGMENT.bit_length() - 1,
            self.ovfl_point,
            self.last_freed,
            self.max_bucket,
            self.high_mask,
            self.low_mask,
            self.ffactor,
            self.nkeys,
            self.hdrpages,
            CHARKEY - (1 << 32),
            *self.spares,
            *self.bitmaps,
        )

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read the header of a file and refuse what the pages could not follow."""
        if len(raw) < _HEADER.size:
            raise FormatError(f"hash file header: got {len(raw)} bytes, want {_HEADER.size}")
        fields = _HEADER.unpack_from(raw)
        (magic, version, lorder, bsize, bshift, *_, hdrpages, charkey) = fields[:17]
        _expect("magic", magic, MAGIC)
        _expect("version", version, VERSION)
        if lorder not in tuple(ByteOrder):
            raise FormatError(f"hash file lorder: got {lorder}, want 1234 or 4321")
        if bsize & (bsize - 1) or not MIN_BSIZE <= bsize <= MAX_BSIZE:
            raise FormatError(
                f"hash file bsize: got {bsize}, want a power of two from {MIN_BSIZE} to {MAX_BSIZE}"
            )
        _expect("bshift", bshift, bsize.bit_length() - 1)
        _expect("hdrpages", hdrpages, hdrpages_of(bsize))
        _expect("charkey", charkey & _HASH_MASK, CHARKEY)
        header = cls(
            lorder=ByteOrder(lorder),
            bsize=bsize,
            ovfl_point=fields[8],
            last_freed=fields[9],
            max_bucket=fields[10],
            high_mask=fields[11],
            low_mask=fields[12],
            ffactor=fields[13],
            nkeys=fields[14],
            spares=fields[17 : 17 + SPLIT_POINTS],
            bitmaps=fields[17 + SPLIT_POINTS :],
        )
        header._check_table()
        return header

    def _check_table(self) -> None:
        if not 0 < self.max_bucket < MAX_BUCKETS:
            raise FormatError(
                f"hash file max_bucket: got {self.max_bucket}, want 1 to {MAX_BUCKETS - 1}"
            )
        width = self.max_bucket.bit_length()
        # A table whose size is a power of two may carry the masks of the next doubling.
        widths = (width, width + 1) if self.max_bucket + 1 == 1 << width else (width,)
        masks = {((1 << w) - 1, (1 << w) >> 1) for w in widths}
        if (self.high_mask, self.low_mask + 1) not in masks:
            raise FormatError(
                f"hash file masks: got {self.high_mask:#x} and {self.low_mask:#x},"
                f" want those of {self.max_bucket + 1} buckets"
            )
        if not width <= self.ovfl_point < SPLIT_POINTS:
            raise FormatError(
                f"hash file ovfl_point: got {self.ovfl_point}, want {width} to {SPLIT_POINTS - 1}"
            )
        if self.nkeys < 0:
            raise FormatError(f"hash file nkeys: got {self.nkeys}, want none below 0")
        used = self.spares[: self.ovfl_point + 1]
        if any(count < 0 for count in used) or list(used) != sorted(used):
            raise FormatError("hash file spares: got a falling count, want a rising one")


def _expect(field: str, got: int, want: int) -> None:
    if got != want:
        raise FormatError(f"hash file {field}: got {got:#x}, want {want:#x}")
