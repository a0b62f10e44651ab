"""Compression: the bytes are those of output format 1, whatever the machine."""

from __future__ import annotations

import gzip
import struct
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import deflate
import pytest
import zstandard

from pipeline.formats import compression
from pipeline.formats.algorithm import GZIP_MEMBER, LEVELS, ZSTD_JOB_SIZE, Algorithm, detect
from pipeline.formats.compression import encoder_versions, open_compressor, unpinned_encoder
from pipeline.formats.digest import Digest
from tests.archives import Memory, text

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = text(700_000)
LARGE = text(9 * 1024 * 1024 + 123)
"""More than two jobs of zstd and nine members of gzip."""


def compress(
    data: bytes, algorithm: Algorithm, level: int, *, workers: int = 2, cuts: Sequence[int] = ()
) -> bytes:
    sink = Memory()
    compressor = open_compressor(sink, algorithm, level=level, workers=workers, size=len(data))
    for start, end in pairwise([0, *cuts, len(data)]):
        compressor.write(data[start:end])
    compressor.close()
    return bytes(sink)


GOLDEN = [
    (Algorithm.ZSTD, 1, LARGE, "f4e947b581661e0c12e3d5027e98225d9feebbc52b50da24a7af63e9213d47fe"),
    (Algorithm.ZSTD, 3, LARGE, "43db1352ab0a5d6afe1969f894040cf8261bfba22106553027ebfdcd0182d999"),
    (Algorithm.ZSTD, 9, LARGE, "1328fb4c5b418f066e6df933e47b643a0ffd8c7caccc7d0facbc275ddeb0fc60"),
    (Algorithm.ZSTD, 12, SMALL, "14e6612cad6ce0284ffddac2e284c82bccaddc98d0e6df42a6f3a8389d8e4a6b"),
    (Algorithm.ZSTD, 19, SMALL, "46881f7003d07b94ee19a9b2b37d860c15443ffd76a36b187a80a7315d1a7c63"),
    (Algorithm.ZSTD, 9, b"", "6fb8543883dafcc2ed0934866b8b3f775231f5b0933add08bf502e9e84944cbd"),
    (Algorithm.GZIP, 1, LARGE, "f5b3f62a9c4e3eeadd914c6d85fb092f7fbaf12829d0f787f34a795c4b894b15"),
    (Algorithm.GZIP, 6, LARGE, "4b70fe8c536f660cff1533346f46a5f384f824b438d42c6a5ba1d72437399dd0"),
    (Algorithm.GZIP, 9, SMALL, "8915cc611937c04bde267ab40baa08cfe8da5e040e00bd37b5f50e13128b8d39"),
    (Algorithm.GZIP, 12, SMALL, "64f649a2835d1d95500dd53c499e53d13aa00d14ecc7d6e368952ac99b4e468b"),
    (Algorithm.GZIP, 9, b"", "10c2221846da8b4250e556aa520c86d6674614d7c5874d8b9cb7f26d62835036"),
]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("algorithm", "level", "data", "digest"),
    GOLDEN,
    ids=[f"{algorithm}-{level}-{len(data)}" for algorithm, level, data, _ in GOLDEN],
)
def test_golden_bytes(algorithm: Algorithm, level: int, data: bytes, digest: str) -> None:
    """A change here is a new output format (docs/FORMAT.md, section Compression)."""
    assert unpinned_encoder(algorithm) is None, "this machine's encoder is not the pinned one"
    assert Digest.of(compress(data, algorithm, level)).hex == digest


@pytest.mark.parametrize("algorithm", [Algorithm.ZSTD, Algorithm.GZIP])
def test_bytes_do_not_depend_on_workers(algorithm: Algorithm) -> None:
    """Rules 1 and 2: a machine with more cores gives the same bytes."""
    want = compress(LARGE, algorithm, 1, workers=1)
    for workers in (0, 2, 4, 7):
        assert compress(LARGE, algorithm, 1, workers=workers) == want, workers


@pytest.mark.parametrize(
    ("algorithm", "level", "asked", "given"),
    [
        (Algorithm.ZSTD, 3, 64, 13),
        (Algorithm.ZSTD, 9, 64, 6),
        (Algorithm.ZSTD, 9, 2, 2),
        (Algorithm.ZSTD, 19, 64, 1),
        (Algorithm.GZIP, 9, 64, 8),
        (Algorithm.GZIP, 9, 0, 1),
    ],
)
def test_threads_are_as_many_as_fit_into_memory(
    algorithm: Algorithm, level: int, asked: int, given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 3: a machine with 64 cores needs no more memory than others."""
    seen = []
    for name in ("_ZstdWriter", "_GzipWriter"):
        monkeypatch.setattr(compression, name, lambda _sink, _level, n, *_: seen.append(n))
    open_compressor(Memory(), algorithm, level=level, workers=asked, size=0)
    assert seen == [given]


@pytest.mark.parametrize("algorithm", [Algorithm.ZSTD, Algorithm.GZIP])
@pytest.mark.parametrize(
    "cuts",
    [
        (1,),
        (len(LARGE) - 1,),
        tuple(range(0, len(LARGE), 65_537)),
        (GZIP_MEMBER - 1, GZIP_MEMBER, GZIP_MEMBER + 1),
        (ZSTD_JOB_SIZE - 1, ZSTD_JOB_SIZE, 2 * ZSTD_JOB_SIZE, 2 * ZSTD_JOB_SIZE + 1),
        (5 << 20, 5 << 20, 8 << 20),
    ],
    ids=lambda cuts: f"{len(cuts)}-{cuts[0]}",
)
def test_bytes_do_not_depend_on_chunks(algorithm: Algorithm, cuts: Any) -> None:
    """How the content arrives does not matter."""
    assert compress(LARGE, algorithm, 1, cuts=cuts) == compress(LARGE, algorithm, 1)


@pytest.mark.parametrize(
    "size", [0, 1, GZIP_MEMBER - 1, GZIP_MEMBER, GZIP_MEMBER + 1, 4 * GZIP_MEMBER, len(LARGE)]
)
def test_other_decoders_read_it(size: int) -> None:
    """Read zstd as one frame, gzip as a multi-member stream, none as it is."""
    data = LARGE[:size]
    assert zstandard.ZstdDecompressor().decompress(compress(data, Algorithm.ZSTD, 3)) == data
    assert gzip.decompress(compress(data, Algorithm.GZIP, 6)) == data
    assert compress(data, Algorithm.NONE, 0, cuts=(size // 2,)) == data


def test_zstd_frame_has_its_size_and_no_checksum() -> None:
    """Rule 1."""
    frame = zstandard.get_frame_parameters(compress(SMALL, Algorithm.ZSTD, 3))
    assert (frame.content_size, frame.has_checksum, frame.dict_id) == (len(SMALL), False, 0)


def test_zstd_refuses_another_length_than_announced() -> None:
    """`size` is exact; a caller that gets it wrong is a bug that must not pass."""
    compressor = open_compressor(Memory(), Algorithm.ZSTD, level=3, workers=1, size=10)
    compressor.write(b"only nine")
    with pytest.raises(zstandard.ZstdError):
        compressor.close()


def test_gzip_members_hold_a_mebibyte_and_a_neutral_header() -> None:
    """Rule 2: no name, time 0, OS 255; each member has exactly GZIP_MEMBER bytes of input."""
    raw = compress(LARGE, Algorithm.GZIP, 6)
    sizes = []
    while raw:
        magic, flags, mtime, _, system = struct.unpack("<3sBIBB", raw[:10])
        assert (magic, flags, mtime, system) == (b"\x1f\x8b\x08", 0, 0, 255)
        member = zlib_member(raw)
        sizes.append(len(member[0]))
        raw = member[1]
    assert sizes == [GZIP_MEMBER] * 9 + [len(LARGE) - 9 * GZIP_MEMBER]


def zlib_member(raw: bytes) -> tuple[bytes, bytes]:
    state = zlib.decompressobj(wbits=31)
    return state.decompress(raw), state.unused_data


@pytest.mark.parametrize("algorithm", [Algorithm.XZ, Algorithm.BZIP2])
def test_layers_are_not_written_in_other_formats(algorithm: Algorithm) -> None:
    """OCI has no media type for them."""
    with pytest.raises(ValueError, match="layers are not written as"):
        open_compressor(Memory(), algorithm, level=1, workers=1, size=0)


@pytest.mark.parametrize("algorithm", [Algorithm.ZSTD, Algorithm.GZIP])
def test_every_level_that_may_be_declared_works(algorithm: Algorithm) -> None:
    """LEVELS is what the declaration is checked against."""
    low, high = LEVELS[algorithm]
    sizes = [len(compress(SMALL[:50_000], algorithm, level)) for level in (low, high)]
    assert sizes[1] < sizes[0] < 50_000


def test_encoders_are_named_as_provenance_records_them() -> None:
    """Name and version."""
    versions = encoder_versions()
    assert versions["gzip"] == f"deflate {deflate.__version__}"
    assert versions["zstd"].startswith("zstd 1.")


def test_another_encoder_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other versions may give other bytes; whoever builds is told."""
    monkeypatch.setattr(compression, "ZSTD_VERSION", (1, 4, 0))
    monkeypatch.setattr(compression, "GZIP_ENCODER", "deflate 0.1.0")
    assert "want zstd 1.4.0" in str(unpinned_encoder(Algorithm.ZSTD))
    assert "want deflate 0.1.0" in str(unpinned_encoder(Algorithm.GZIP))
    assert unpinned_encoder(Algorithm.NONE) is None


@pytest.mark.parametrize("algorithm", [Algorithm.ZSTD, Algorithm.GZIP])
def test_detect_knows_our_own_output(algorithm: Algorithm) -> None:
    """Magic numbers."""
    assert detect(compress(b"x", algorithm, 1)[:6]) is algorithm
    assert detect(b"") is Algorithm.NONE
