"""Decompression: whole streams, nothing behind them, in bounded memory and to a bounded size."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArchiveError, TooLargeError
from pipeline.formats import decompression
from pipeline.formats.algorithm import Algorithm, detect
from pipeline.formats.decompression import expansion_limit, open_decompressed
from tests.archives import text

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = text(300_000)


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(data)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": _zstd,
    "xz": lzma.compress,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
}
ALL = sorted(COMPRESS)


def read_all(data: bytes, *, limit: int = 1 << 30, size: int = 65_536) -> bytes:
    stream = open_decompressed(io.BytesIO(data), limit=limit, what="x.pkg")
    pieces = []
    while piece := stream.read(size):
        assert len(piece) <= size
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [1000, 65_536, 1 << 20])
def test_content_comes_out_in_pieces_of_any_size(name: str, size: int) -> None:
    """The reader asks for what it needs; told apart by magic."""
    raw = COMPRESS[name](CONTENT)
    assert detect(raw[:6]).value == name
    assert read_all(raw, size=size) == CONTENT


@pytest.mark.parametrize("name", ALL)
def test_empty_content(name: str) -> None:
    """A frame of nothing is a frame."""
    assert read_all(COMPRESS[name](b"")) == b""


def test_what_has_no_magic_is_read_as_it_is() -> None:
    """The packing format `none` of pkg."""
    assert read_all(b"") == b""
    assert read_all(CONTENT) == CONTENT


@pytest.mark.parametrize("name", ALL)
def test_the_source_may_stand_anywhere(name: str) -> None:
    """Reading starts at the start of the file."""
    source = io.BytesIO(COMPRESS[name](CONTENT))
    source.seek(17)
    assert open_decompressed(source, limit=1 << 30, what="x").read(5) == CONTENT[:5]


@pytest.mark.parametrize("name", ALL)
def test_frames_that_follow_one_another_are_one_stream(name: str) -> None:
    """RFC 8878, section 3: frames are independent; gzip, xz and bzip2 concatenate as well."""
    compress = COMPRESS[name]
    raw = compress(CONTENT[:1000]) + compress(b"") + compress(CONTENT[1000:])
    assert read_all(raw) == CONTENT


@pytest.mark.parametrize("name", ["xz", "gzip", "bzip2"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 64])
def test_a_frame_may_start_anywhere_in_what_was_read(
    name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The magic of the next frame may be cut in two by the reader's own chunks."""
    monkeypatch.setattr(decompression, "CHUNK", chunk)
    compress = COMPRESS[name]
    assert read_all(compress(b"first ") + compress(b"second")) == b"first second"


@pytest.mark.parametrize("name", ALL)
def test_a_stream_that_is_cut_is_refused(name: str) -> None:
    """At every length: a truncated frame is an error even if all content came out."""
    raw = COMPRESS[name](CONTENT[:2000])
    for length in range(6, len(raw)):
        with pytest.raises(ArchiveError, match=f"^(truncated|damaged) {name} stream"):
            read_all(raw[:length])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 600, b"PK\x03\x04", b"\x28\xb5", b"BZ"])
def test_garbage_behind_a_stream_is_refused(name: str, garbage: bytes) -> None:
    """Nothing may follow but frames of the same kind."""
    with pytest.raises(ArchiveError, match=f"{name} stream"):
        read_all(COMPRESS[name](CONTENT) + garbage)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("other", ALL)
def test_frames_of_two_kinds_are_refused(name: str, other: str) -> None:
    """Because libarchive would read the first only."""
    if name != other:
        with pytest.raises(ArchiveError, match=f"garbage after the {name} stream"):
            read_all(COMPRESS[name](CONTENT) + COMPRESS[other](CONTENT))


@pytest.mark.parametrize("name", [*ALL, "none"])
def test_output_is_bounded(name: str) -> None:
    """A bomb ends with an error at the limit, exactly."""
    raw = COMPRESS.get(name, bytes)(bytes(100_000))
    assert read_all(raw, limit=100_000) == bytes(100_000)
    with pytest.raises(TooLargeError) as caught:
        read_all(raw, limit=99_999)
    assert str(caught.value) == "x.pkg, decompressed: longer than the limit of 99999 bytes"


@pytest.mark.parametrize("name", ALL)
def test_a_bomb_is_not_expanded_beyond_the_limit(name: str) -> None:
    """What is asked for in one go may be more than the limit."""
    raw = COMPRESS[name](bytes(10_000_000))
    stream = open_decompressed(io.BytesIO(raw), limit=1000, what="x")
    with pytest.raises(TooLargeError):
        stream.read(1 << 30)


def test_expansion_limit_grows_with_the_archive() -> None:
    """64 MiB and 256 times the size, 16 GiB at the most."""
    assert expansion_limit(0) == 64 << 20
    assert expansion_limit(1 << 20) == (64 + 256) << 20
    assert expansion_limit(1 << 40) == 16 << 30


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["zstd", "xz", "bzip2"])
def test_checksums_are_verified(name: str) -> None:
    """One flipped bit of the content is noticed where the format has a checksum."""
    raw = COMPRESS[name](CONTENT)
    if name == "zstd":
        raw = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(CONTENT)
    middle = len(raw) // 2
    damaged = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]
    with pytest.raises(ArchiveError, match=f"^damaged {name} stream: "):
        read_all(damaged)


def test_gzip_checksum_is_verified() -> None:
    """RFC 1952, section 2.3.1: CRC32 behind the data."""
    raw = bytearray(COMPRESS["gzip"](CONTENT))
    raw[-5] ^= 1
    with pytest.raises(ArchiveError, match=r"^damaged gzip stream: "):
        read_all(bytes(raw))


def test_zstd_checksum_may_be_there() -> None:
    """Written by other tools, not by pkg."""
    raw = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(CONTENT)
    assert read_all(raw) == CONTENT
    with pytest.raises(ArchiveError, match=r"^truncated zstd stream$"):
        read_all(raw[:-1])


@pytest.mark.parametrize(
    "raw",
    [
        zstandard.ZstdCompressor(level=1, write_content_size=False).compress(CONTENT),
        zstandard.ZstdCompressor(level=1).compress(CONTENT[:100]),
        zstandard.ZstdCompressor(level=1).compress(CONTENT[:5000]),
        zstandard.ZstdCompressor(level=1).compress(bytes(200_000)),
        zstandard.ZstdCompressor(level=1).compress(CONTENT) * 3,
    ],
    ids=["no-size", "one-byte-size", "two-byte-size", "rle-blocks", "three-frames"],
)
def test_zstd_headers_of_every_shape(raw: bytes) -> None:
    """RFC 8878, section 3.1.1.1: the frame header's optional fields."""
    want = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    assert read_all(raw) == want


def test_zstd_skippable_frames_are_skipped() -> None:
    """RFC 8878, section 3.1.2; the first frame decides the kind."""
    skippable = b"\x5a\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    raw = _zstd(b"one ") + skippable + _zstd(b"two")
    assert read_all(raw) == b"one two"
    assert read_all(raw + skippable) == b"one two"
    with pytest.raises(ArchiveError, match=r"^truncated zstd stream$"):
        read_all(raw + skippable[:-1])
    with pytest.raises(ArchiveError, match=r"^truncated zstd stream$"):
        read_all(raw + skippable[:6])


def test_zstd_frame_that_needs_too_much_memory_is_refused() -> None:
    """A window of 256 MiB; pkg's own level 19 needs 8 MiB."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    raw = compressor.compress(CONTENT) + compressor.flush()
    with pytest.raises(ArchiveError, match=r"^damaged zstd stream: .*memory"):
        read_all(raw)


def test_xz_stream_that_needs_too_much_memory_is_refused() -> None:
    """A dictionary of 1 GiB: the xz format, version 1.2.1, section 5.3.1, bits of dictionary size."""
    raw = bytearray(lzma.compress(CONTENT[:100]))
    start = 12
    length = 4 * (raw[start] + 1)
    where = raw.index(b"\x21\x01", start) + 2
    raw[where] = 36
    crc = zlib.crc32(raw[start : start + length - 4])
    raw[start + length - 4 : start + length] = crc.to_bytes(4, "little")
    with pytest.raises(ArchiveError, match=r"^damaged xz stream: Memory usage limit exceeded"):
        read_all(bytes(raw))


@pytest.mark.property
@pytest.mark.parametrize("name", ALL)
@given(position=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_flipped_byte_gives_content_or_our_error(name: str, position: int, value: Any) -> None:
    """Never another exception, whatever the damage."""
    raw = bytearray(COMPRESS[name](CONTENT[:3000]))
    raw[position % len(raw)] ^= value
    with contextlib.suppress(ArchiveError, TooLargeError):
        read_all(bytes(raw), limit=1 << 20)


@pytest.mark.property
@given(st.sampled_from(ALL), st.binary(max_size=100))
def test_anything_behind_a_magic_gives_content_or_our_error(name: str, data: bytes) -> None:
    """The same for what only starts like a stream."""
    raw = COMPRESS[name](b"")[:4] + data
    assert detect(raw[:6].ljust(6, b"\0")) is not None
    with contextlib.suppress(ArchiveError, TooLargeError):
        read_all(raw, limit=1 << 20)


@pytest.mark.parametrize(
    ("head", "algorithm"),
    [
        (b"\x28\xb5\x2f\xfd\x00\x00", Algorithm.ZSTD),
        (b"\xfd7zXZ\x00", Algorithm.XZ),
        (b"\x1f\x8b\x08\x00\x00\x00", Algorithm.GZIP),
        (b"BZh91A", Algorithm.BZIP2),
        (b"+COMPA", Algorithm.NONE),
        (b"\x1f", Algorithm.NONE),
    ],
)
def test_magic(head: bytes, algorithm: Algorithm) -> None:
    """As libarchive tells them apart."""
    assert detect(head) is algorithm
