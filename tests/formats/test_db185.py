"""Berkeley DB 1.85 hash files: writer and reader, each with its limits and its refusals."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import zstandard

from pipeline.errors import FormatError
from pipeline.formats.db185 import HashParameters, build_hash_file
from pipeline.formats.db185_header import (
    CHARKEY,
    ByteOrder,
    HashHeader,
    hash4,
    page_of_bucket,
    page_of_overflow,
)
from pipeline.formats.db185_read import parse_hash_file
from pipeline.formats.db185_table import DEFAULT_FFACTOR

FIXTURES = Path(__file__).parents[2] / "fixtures" / "sysdb"

SMALL = HashParameters(bsize=64, ffactor=4, nelem=1, cachesize=1 << 16, lorder=ByteOrder.LITTLE)
WIDE = replace(SMALL, bsize=256, nelem=256)
ROOMY = replace(SMALL, cachesize=1 << 26)
DYNAMIC = HashParameters(
    bsize=4096, ffactor=DEFAULT_FFACTOR, nelem=1, cachesize=1 << 16, lorder=ByteOrder.LITTLE
)


def numbered(count: int, size: int = 4) -> list[tuple[bytes, bytes]]:
    return [(b"key%d" % i, b"%d" % i * size) for i in range(count)]


def keys_of_one_bucket(count: int) -> list[bytes]:
    """Keys with equal hash values, which no split can part: "ab" and "bA" add up to the same."""
    return [b"".join(b"ab" if i >> bit & 1 else b"bA" for bit in range(12)) for i in range(count)]


# ---------------------------------------------------------------- header


def test_hash_function_is_the_default_one() -> None:
    """The header of every file holds the value for this text (hash.c, CHARKEY)."""
    assert hash4(b"%$sniglet^&\0") == CHARKEY == 0x956E7DE3
    assert hash4(b"") == 0


def test_pages_are_numbered_as_the_header_says() -> None:
    """Overflow pages of a split point follow the last bucket that existed then."""
    spares = (0, 2, 5, 5)
    assert [page_of_bucket(b, hdrpages=1, spares=spares) for b in range(6)] == [1, 2, 5, 6, 10, 11]
    assert page_of_overflow((1 << 11) + 1, hdrpages=1, spares=spares) == 3
    assert page_of_overflow((2 << 11) + 1, hdrpages=1, spares=spares) == 7
    assert page_of_overflow(1, hdrpages=1, spares=spares) == 2


def test_header_survives_a_round_trip() -> None:
    raw = build_hash_file(numbered(300), SMALL)
    header = HashHeader.parse(raw)
    assert header.to_bytes() == raw[:260]
    assert header.nkeys == 300
    assert header.max_bucket > 60


@pytest.mark.parametrize("buckets", [2, 3, 4, 5, 7, 8, 9, 33])
def test_every_stage_of_a_doubling_has_readable_masks(buckets: int) -> None:
    """A table of 2**n buckets has the masks of before or after the next doubling."""
    pairs = []
    for pair in numbered(1000):
        pairs.append(pair)
        header = HashHeader.parse(build_hash_file(pairs, SMALL))
        if header.max_bucket + 1 >= buckets:
            break
    assert dict(parse_hash_file(build_hash_file(pairs, SMALL)).pairs) == dict(pairs)


# ---------------------------------------------------------------- the files of the real programs


def hash_files() -> list[dict[str, Any]]:
    cases = json.loads((FIXTURES / "MANIFEST.json").read_text())["cases"]
    return [
        output | {"folder": f"{case['tool']}/{case['case']}"}
        for case in cases
        for run in case.get("runs", [])
        for output in run["outputs"]
        if "hash" in output
    ]


def test_there_are_recorded_files() -> None:
    assert len(hash_files()) >= 12


@pytest.mark.golden
@pytest.mark.parametrize("output", hash_files(), ids=lambda o: f"{o['folder']}/{o['path']}")
def test_reader_agrees_with_the_figures_of_a_recorded_file(output: dict[str, Any]) -> None:
    raw = (FIXTURES / output["folder"] / output["stored_as"]).read_bytes()
    if output["stored_as"].endswith(".zst"):
        raw = zstandard.ZstdDecompressor().decompress(raw, max_output_size=1 << 24)
    assert hashlib.sha256(raw).hexdigest() == output["sha256"]
    figures = output["hash"]
    read = parse_hash_file(raw)
    assert len(read.pairs) == figures["nkeys"]
    assert read.header.max_bucket + 1 == figures["buckets"]
    assert read.header.ffactor == figures["ffactor"]
    assert read.header.last_freed == figures["last_freed"]
    assert read.header.ovfl_point == figures["ovfl_point"]


# ---------------------------------------------------------------- writer


def test_empty_table_is_header_bitmap_and_holes() -> None:
    raw = build_hash_file([], DYNAMIC)
    assert len(raw) == 4 * 4096
    assert parse_hash_file(raw).pairs == {}
    assert not any(raw[260 : 3 * 4096])


@pytest.mark.parametrize("lorder", list(ByteOrder))
@pytest.mark.parametrize("parameters", [SMALL, WIDE, DYNAMIC, replace(WIDE, cachesize=1)])
def test_every_pair_can_be_read_again(parameters: HashParameters, lorder: ByteOrder) -> None:
    pairs = numbered(700)
    read = parse_hash_file(build_hash_file(pairs, replace(parameters, lorder=lorder)))
    assert dict(read.pairs) == dict(pairs)


def test_first_pair_of_a_key_wins() -> None:
    """R_NOOVERWRITE: the key of a later pair is found, and nothing is stored."""
    raw = build_hash_file([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], SMALL)
    assert parse_hash_file(raw).pairs == {b"a": b"1", b"b": b"2"}
    assert raw == build_hash_file([(b"a", b"1"), (b"b", b"2")], SMALL)


def test_duplicate_on_an_overflow_page_is_found() -> None:
    keys = keys_of_one_bucket(40)
    pairs = [(key, b"x") for key in keys]
    assert build_hash_file(pairs * 2, SMALL) == build_hash_file(pairs, SMALL)


def test_duplicate_changes_which_bytes_are_stale() -> None:
    """A lookup moves its buffer to the front, so another one is recycled next."""
    parameters = replace(WIDE, cachesize=1)
    pairs = numbered(100)
    again = [pair for i, pair in enumerate(pairs) for pair in (pair, pairs[i // 2])]
    once, twice = build_hash_file(pairs, parameters), build_hash_file(again, parameters)
    assert once != twice
    assert parse_hash_file(once).pairs == parse_hash_file(twice).pairs


def test_pair_of_the_greatest_ordinary_size_needs_no_overflow_page() -> None:
    """An empty page takes bsize - 14 bytes of key and data."""
    raw = build_hash_file([(b"k", b"x" * 49)], SMALL)
    assert HashHeader.parse(raw).max_bucket == 1
    raw = build_hash_file([(b"k", b"x" * 50)], SMALL)
    assert HashHeader.parse(raw).max_bucket == 2
    assert parse_hash_file(raw).pairs == {b"k": b"x" * 50}


@pytest.mark.parametrize("key_size", [1, 30, 49, 50, 51, 99, 100, 101, 300])
def test_big_pair_of_any_size_can_be_read_again(key_size: int) -> None:
    """Ends of key and data on every place of a page, the one where the data fits exactly too."""
    key = bytes(range(1, 255))[:key_size] * 2
    for size in range(1, 160):
        pairs = [(key[:key_size], bytes([size]) * size), (b"after", b"it"), (b"more", b"of it")]
        assert parse_hash_file(build_hash_file(pairs, SMALL)).pairs == dict(pairs)


def test_big_pairs_are_found_as_duplicates() -> None:
    """A comparison goes on over the pages of a key, and stops at the first that differs."""
    key = b"k" * 120
    keys = (key, key[:-1], key + b"l", key[:60] + b"l" + key[61:], key[:50], b"l" + key[1:])
    pairs = [(k, b"%d" % i * 70) for i, k in enumerate(keys)]
    assert build_hash_file(pairs * 2, SMALL) == build_hash_file(pairs, SMALL)
    assert parse_hash_file(build_hash_file(pairs, SMALL)).pairs == dict(pairs)


def test_big_pairs_survive_splits() -> None:
    """They keep their pages: a split hangs the first one behind one of the two buckets."""
    rng = random.Random(1)
    pairs = [
        (b"%d" % i * rng.choice((1, 1, 30)), rng.randbytes(rng.choice((3, 9, 80, 200))))
        for i in range(400)
    ]
    for cachesize in (1, 1 << 20):
        raw = build_hash_file(pairs, replace(SMALL, cachesize=cachesize))
        assert parse_hash_file(raw).pairs == dict(pairs)


def test_fill_factor_is_found_at_the_first_overflow() -> None:
    pairs = [(b"%d" % i, b"x" * 500) for i in range(30)]
    assert HashHeader.parse(build_hash_file(pairs[:8], DYNAMIC)).ffactor == DEFAULT_FFACTOR
    assert HashHeader.parse(build_hash_file(pairs, DYNAMIC)).ffactor == 8


def test_bitmap_pages_are_added() -> None:
    """A bitmap of 64 bytes counts 512 overflow pages; a page holds 50 bytes of a big pair."""
    pairs = [(b"big", b"x" * 60_000), *numbered(300)]
    read = parse_hash_file(build_hash_file(pairs, ROOMY))
    assert read.pairs == dict(pairs)
    assert sum(1 for address in read.header.bitmaps if address) == 3


def test_split_points_are_left_when_they_are_full() -> None:
    """A split point has 2,047 overflow addresses; the next ones belong to the next point."""
    for size in range(102_100, 102_500, 100):
        pairs = [(b"big", b"x" * size), (b"bigger", b"y" * 300), *numbered(30)]
        read = parse_hash_file(build_hash_file(pairs, ROOMY))
        assert read.pairs == dict(pairs)
    assert read.header.ovfl_point > 3


def test_unused_buckets_beyond_the_last_page_are_cut() -> None:
    """A file ends with the last page that was written."""
    raw = build_hash_file([], replace(SMALL, nelem=4 * 64))
    assert parse_hash_file(raw).pairs == {}
    assert len(raw) < (64 + 8) * 64 + 64 * 8


@pytest.mark.parametrize("lorder", list(ByteOrder))
def test_writer_is_a_function_of_pairs_and_parameters(lorder: ByteOrder) -> None:
    parameters = replace(WIDE, cachesize=1, lorder=lorder)
    pairs = numbered(500)
    assert build_hash_file(iter(pairs), parameters) == build_hash_file(pairs, parameters)


def test_words_of_a_big_endian_file_are_swapped_but_not_its_data() -> None:
    little, big = (
        build_hash_file([(b"key", b"data")], replace(DYNAMIC, lorder=lorder))
        for lorder in (ByteOrder.LITTLE, ByteOrder.BIG)
    )
    page = slice(4096, 8192) if any(little[4096:8192]) else slice(8192, 12288)
    assert struct.unpack_from("<5H", little[page]) == struct.unpack_from(">5H", big[page])
    assert little[page][10:] == big[page][10:]
    assert little[8:12] == b"\0\0\x04\xd2"
    assert big[8:12] == b"\0\0\x10\xe1"


# ---------------------------------------------------------------- limits of the writer


@pytest.mark.parametrize(
    "change",
    [
        {"bsize": 100},
        {"bsize": 32},
        {"bsize": 65536},
        {"ffactor": 0},
        {"nelem": 0},
        {"cachesize": 0},
        {"nelem": 1 << 20},
    ],
)
def test_parameters_out_of_range_are_a_bug_of_the_caller(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="want"):
        replace(SMALL, **change)


def test_big_pair_without_data_is_a_bug_of_the_caller() -> None:
    """The library writes a page that it cannot read."""
    with pytest.raises(ValueError, match="no defined form"):
        build_hash_file([(b"k" * 100, b"")], SMALL)


@pytest.mark.slow
def test_more_buckets_than_the_format_has_are_refused() -> None:
    pairs = ((b"%d" % i, b"") for i in range(1 << 20))
    with pytest.raises(FormatError, match="got more than 65536 buckets"):
        build_hash_file(pairs, replace(SMALL, nelem=1 << 18))


def test_more_overflow_pages_than_bitmaps_are_refused() -> None:
    """Thirty-two bitmaps of 512 pages."""
    with pytest.raises(FormatError, match="got more than 32 bitmap pages"):
        build_hash_file([(b"k", b"x" * (1 << 20))], ROOMY)


@pytest.mark.slow
def test_more_split_points_than_the_header_has_are_refused() -> None:
    """One after another is used up by a single huge pair."""
    with pytest.raises(FormatError, match="got more than 32 split points"):
        build_hash_file([(b"k", b"x" * (9 << 20))], replace(ROOMY, bsize=256, nelem=1 << 18))


def test_freed_page_with_the_last_address_of_a_split_point_is_refused() -> None:
    """The library takes the 2,047th address for an error when it was used before."""
    rng = random.Random(7)
    pairs = [(b"to leave the first split point", b"y" * 100), (b"to fill the next", b"x" * 95_000)]
    pairs += [(b"%d" % i, rng.randbytes(40)) for i in range(4000)]
    with pytest.raises(FormatError, match="got 2047 overflow pages in one split point"):
        build_hash_file(pairs, replace(ROOMY, nelem=4 * 4096))


# ---------------------------------------------------------------- attacks on the reader


HEADER_WORDS: Final = (
    *("magic", "version", "lorder", "bsize", "bshift", "dsize", "ssize", "sshift", "ovfl_point"),
    *("last_freed", "max_bucket", "high_mask", "low_mask", "ffactor", "nkeys", "hdrpages"),
    "charkey",
)


def with_header(raw: bytes, **fields: int) -> bytes:
    changed = bytearray(raw)
    for name, value in fields.items():
        offset = (
            4 * (17 + int(name[1:]))
            if name[0] == "s" and name[1:].isdigit()
            else (4 * HEADER_WORDS.index(name))
        )
        struct.pack_into(">i", changed, offset, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"magic": 0x053162}, "magic: got 0x53162, want 0x61561"),
        ({"version": 3}, "version: got 0x3, want 0x2"),
        ({"lorder": 3412}, "lorder: got 3412, want 1234 or 4321"),
        ({"bsize": 63}, "bsize: got 63, want a power of two from 64 to 32768"),
        ({"bsize": 0}, "bsize: got 0"),
        ({"bsize": -64}, "bsize: got -64"),
        ({"bsize": 65536}, "bsize: got 65536"),
        ({"bshift": 7}, "bshift: got 0x7, want 0x6"),
        ({"hdrpages": 1}, "hdrpages: got 0x1, want 0x8"),
        ({"charkey": 1}, "charkey: got 0x1, want 0x956e7de3"),
        ({"max_bucket": 0}, "max_bucket: got 0, want 1 to 65535"),
        ({"max_bucket": -1}, "max_bucket: got -1"),
        ({"max_bucket": 1 << 30}, "max_bucket: got 1073741824"),
        ({"high_mask": 1}, "masks: got 0x1 and"),
        ({"low_mask": 0}, "masks: got"),
        ({"nkeys": -1}, "nkeys: got -1, want none below 0"),
        ({"nkeys": 7}, "got 300 keys, want 7"),
        ({"ovfl_point": 5}, "ovfl_point: got 5, want 7 to 31"),
        ({"ovfl_point": 32}, "ovfl_point: got 32, want 7 to 31"),
        ({"s3": -5}, "spares: got a falling count"),
        ({"s0": 9999}, "spares: got a falling count"),
    ],
)
def test_header_out_of_range_is_refused(fields: dict[str, int], message: str) -> None:
    raw = with_header(build_hash_file(numbered(300), SMALL), **fields)
    with pytest.raises(FormatError, match="hash file") as caught:
        parse_hash_file(raw)
    assert message in str(caught.value)


def test_file_without_whole_header_is_refused() -> None:
    raw = build_hash_file([], SMALL)
    with pytest.raises(FormatError, match="header: got 259 bytes, want 260"):
        parse_hash_file(raw[:259])


def test_file_without_whole_pages_is_refused() -> None:
    raw = build_hash_file(numbered(10), SMALL)
    with pytest.raises(FormatError, match="want whole pages of 64"):
        parse_hash_file(raw[:-1])


def test_absurdly_long_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.formats.db185_read._MAX_SIZE", 1000)
    with pytest.raises(FormatError, match="want at most 1000"):
        parse_hash_file(bytes(1001))


def primary_page(raw: bytes, key: bytes) -> int:
    """Return the offset of the page of a key's bucket."""
    header = HashHeader.parse(raw)
    bucket = header.bucket_of(key)
    page = page_of_bucket(bucket, hdrpages=header.hdrpages, spares=header.spares)
    return page * header.bsize


def with_words(raw: bytes, page: int, **words: int) -> bytes:
    changed = bytearray(raw)
    for name, value in words.items():
        struct.pack_into("<H", changed, page + 2 * int(name[1:]), value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"w0": 3}, "got 3 words, want pairs on the page"),
        ({"w0": 30}, "got 30 words, want pairs on the page"),
        ({"w0": 0xFFFE}, "got 65534 words"),
        ({"w1": 0xFFFF}, "want a rising pair from 10"),
        ({"w2": 63}, "want a rising pair from 10"),
        ({"w2": 9}, "got offsets 9 and"),
        ({"w1": 62}, "got key"),
        ({"w0": 0}, "got 0 keys, want 1"),
        ({"w2": 0}, "got a link to it, want one to a page"),
        ({"w1": 2, "w2": 0}, "got 65533 words"),
    ],
)
def test_damaged_ordinary_page_is_refused(words: dict[str, int], message: str) -> None:
    raw = build_hash_file([(b"key", b"data")], SMALL)
    raw = with_words(raw, primary_page(raw, b"key"), **words)
    with pytest.raises(FormatError, match="hash file") as caught:
        parse_hash_file(raw)
    assert message in str(caught.value)


def test_tag_among_ordinary_pairs_is_refused() -> None:
    keys = keys_of_one_bucket(2)
    raw = build_hash_file([(key[:9], b"") for key in keys], SMALL)
    page = primary_page(raw, keys[0][:9])
    with pytest.raises(FormatError, match="got tag 0 in word 2, want an offset"):
        parse_hash_file(with_words(raw, page, w2=0))
    with pytest.raises(FormatError, match="got tag 2 in word 4, want an offset"):
        parse_hash_file(with_words(raw, page, w4=2))


def chain() -> tuple[bytes, int]:
    """Return a file with a chain of overflow pages and the offset of its first page."""
    keys = keys_of_one_bucket(12)
    raw = build_hash_file([(key, b"") for key in keys], replace(SMALL, ffactor=500))
    return raw, primary_page(raw, keys[0])


def test_chain_that_leads_back_is_refused() -> None:
    """Each page is in one chain, once: a circle would be read for ever."""
    raw, page = chain()
    count = struct.unpack_from("<H", raw, page)[0]
    address = struct.unpack_from("<H", raw, page + 2 * count - 2)[0]
    header = HashHeader.parse(raw)
    second = page_of_overflow(address, hdrpages=header.hdrpages, spares=header.spares)
    with pytest.raises(FormatError, match=f"page {second}: got two links to it, want one"):
        parse_hash_file(with_words(raw, second * 64, **{f"w{count - 1}": address, f"w{count}": 0}))


@pytest.mark.parametrize("address", [0, 0x1000, 0x7801])
def test_chain_that_leads_to_no_overflow_page_is_refused(address: int) -> None:
    """Offsets count from 1, and split points beyond the current one are not in use."""
    raw, page = chain()
    count = struct.unpack_from("<H", raw, page)[0]
    with pytest.raises(FormatError, match=f"got overflow address {address:#x}, want one in use"):
        parse_hash_file(with_words(raw, page, **{f"w{count - 1}": address}))


def test_chain_that_leads_out_of_the_file_is_refused() -> None:
    raw, page = chain()
    count = struct.unpack_from("<H", raw, page)[0]
    with pytest.raises(FormatError, match="got a link to it, want one to a page"):
        parse_hash_file(with_words(raw, page, **{f"w{count - 1}": 0x800 + 0x7FF}))


def test_key_that_stands_twice_is_refused() -> None:
    raw = build_hash_file([(b"ab", b""), (b"bA", b"")], SMALL)
    with pytest.raises(FormatError, match="got key b'ab' twice"):
        parse_hash_file(raw.replace(b"bA", b"ab"))


BIG_KEY = b"k" * 60


def big() -> tuple[bytes, list[int]]:
    """Return a file with one big pair and the offsets of its pages."""
    raw = build_hash_file([(BIG_KEY, b"d" * 150)], SMALL)
    header = HashHeader.parse(raw)
    pages = []
    word = struct.unpack_from("<H", raw, primary_page(raw, BIG_KEY) + 2)[0]
    while True:
        page = 64 * page_of_overflow(word, hdrpages=header.hdrpages, spares=header.spares)
        pages.append(page)
        if struct.unpack_from("<H", raw, page)[0] == 2:
            return raw, pages
        word = struct.unpack_from("<H", raw, page + 6)[0]


def test_big_pair_spans_the_pages_that_the_attacks_change() -> None:
    raw, pages = big()
    tags = [struct.unpack_from("<H", raw, page + 4)[0] for page in pages]
    assert tags == [1, 3, 2, 2, 3]


@pytest.mark.parametrize(
    ("index", "words", "message"),
    [
        (0, {"w0": 2}, "got 2 words within a big pair, want 4"),
        (0, {"w2": 3}, "got offsets"),
        (0, {"w1": 5}, "got offsets 5 and 64"),
        (1, {"w2": 20}, "got an ordinary page, want a part of a big pair"),
        (1, {"w0": 6}, "got an ordinary page, want a part of a big pair"),
        (1, {"w0": 2}, "got 2 words after a key, want 4"),
        (1, {"w4": 63}, "got offsets 63 and"),
        (1, {"w5": 7}, "got 2 keys, want 1"),
        (2, {"w2": 1}, "got tag 1, want 2 or 3"),
        (2, {"w2": 0}, "got an ordinary page"),
        (3, {"w3": 0xFFF}, "got a link to it"),
        (4, {"w2": 2}, "got 2 words within a big pair, want 4"),
    ],
)
def test_damaged_big_pair_is_refused(index: int, words: dict[str, int], message: str) -> None:
    raw, pages = big()
    with pytest.raises(FormatError, match="hash file") as caught:
        parse_hash_file(with_words(raw, pages[index], **words))
    assert message in str(caught.value)


def test_no_damage_escapes_as_another_error() -> None:
    """Every byte of a file with all kinds of pages, changed one by one."""
    pairs = [*numbered(20), (BIG_KEY, b"d" * 150), *((k, b"") for k in keys_of_one_bucket(8))]
    raw = build_hash_file(pairs, SMALL)
    rng = random.Random(3)
    refused = 0
    for _ in range(1500):
        changed = bytearray(raw)
        changed[rng.randrange(len(raw))] = rng.randrange(256)
        try:
            parse_hash_file(bytes(changed))
        except FormatError:
            refused += 1
    assert refused > 100
