"""Digests: image-spec v1.1.1, descriptor.md, section digests."""

from __future__ import annotations

import io

import pytest

from pipeline.errors import DigestMismatchError, FormatError, TooLargeError
from pipeline.formats.digest import CHUNK, Digest, HashingWriter, copy_stream, verify_bytes
from tests.archives import Memory

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""FIPS 180-4, example of SHA-256."""


def test_of_bytes_is_sha256() -> None:
    """The value is that of FIPS 180-4's own example."""
    assert Digest.of(b"abc") == Digest(ABC)
    assert Digest.of(b"") == Digest(EMPTY)


def test_of_chunks_does_not_depend_on_the_chunks() -> None:
    """Where a stream is cut does not matter."""
    assert Digest.of_chunks([b"a", b"", b"bc"]) == Digest.of(b"abc")
    assert Digest.of_chunks([]) == Digest.of(b"")


def test_text_form_is_the_inverse_of_parse() -> None:
    """`sha256:<hex>` both ways; `short` is for people."""
    digest = Digest.of(b"abc")
    assert str(digest) == f"sha256:{ABC}"
    assert Digest.parse(str(digest)) == digest
    assert digest.short == ABC[:12]


@pytest.mark.parametrize(
    "text",
    [
        "",
        ABC,
        "sha256:",
        f"sha256:{ABC.upper()}",
        f"sha256:{ABC[:-1]}",
        f"sha256:{ABC}0",
        f"sha256:{ABC[:-1]}g",
        f"sha256:{ABC[:-1]}\n",
        f"SHA256:{ABC}",
        f"sha512:{ABC}",
        f" sha256:{ABC}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Algorithm, alphabet and length are checked once, here."""
    with pytest.raises(FormatError, match=r"^got digest "):
        Digest.parse(text)


def test_digests_have_an_order() -> None:
    """They are sorted where they are listed."""
    assert min(Digest("b" * 64), Digest("a" * 64)) == Digest("a" * 64)


def test_hashing_writer_hashes_and_passes_on() -> None:
    """One pass: the sink gets what is hashed and counted."""
    sink = Memory()
    writer = HashingWriter(sink)
    assert [writer.write(b"ab"), writer.write(b""), writer.write(b"c")] == [2, 0, 1]
    assert (bytes(sink), writer.size, writer.digest) == (b"abc", 3, Digest(ABC))
    writer.write(b"d")
    assert writer.digest == Digest.of(b"abcd"), "reading the digest does not end the hash"


def test_hashing_writer_needs_no_sink() -> None:
    """The sink may be nothing."""
    writer = HashingWriter(None)
    writer.write(b"abc")
    assert (writer.size, writer.digest) == (3, Digest(ABC))


def test_copy_stream_stops_behind_the_limit() -> None:
    """A stream of exactly the limit passes, one byte more does not."""
    sink = Memory()
    assert copy_stream(io.BytesIO(b"abc"), sink, limit=3, what="x") == (Digest(ABC), 3)
    assert sink == b"abc"
    with pytest.raises(TooLargeError, match=r"^x: longer than the limit of 2 bytes$") as caught:
        copy_stream(io.BytesIO(b"abc"), None, limit=2, what="x")
    assert caught.value.limit == 2


def test_copy_stream_writes_nothing_beyond_the_limit() -> None:
    """What is refused does not reach the sink."""
    sink = Memory()
    with pytest.raises(TooLargeError):
        copy_stream(io.BytesIO(bytes(CHUNK + 1)), sink, limit=CHUNK, what="x")
    assert len(sink) == CHUNK


def test_verify_bytes_returns_them_or_raises() -> None:
    """Never a bool: the caller goes on with what was verified."""
    assert verify_bytes(b"abc", digest=Digest(ABC), what="x") == b"abc"
    with pytest.raises(DigestMismatchError) as caught:
        verify_bytes(b"abd", digest=Digest(ABC), what="the blob")
    assert caught.value.want == f"sha256:{ABC}"
    assert str(caught.value).startswith("the blob: got sha256:")
