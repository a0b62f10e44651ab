"""services and what services_mkdb makes of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pytest
import zstandard

from pipeline.errors import FormatError
from pipeline.formats.db185_header import ByteOrder
from pipeline.formats.db185_read import parse_hash_file
from pipeline.rootfs.sysdb.services import build_services_db

FIXTURES: Final = Path(__file__).parents[3] / "fixtures" / "sysdb" / "services_mkdb"
EMPTY_DIGEST: Final = "06eebad8e1b36a9b6fa60bd0bbc7d02f36f4333c09d9575e60f10f2113bce151"


def pairs(raw: bytes) -> dict[bytes, bytes]:
    return dict(parse_hash_file(build_services_db(raw, lorder=ByteOrder.LITTLE)).pairs)


def records(raw: bytes) -> list[bytes]:
    """Return the numbered records in order."""
    found = pairs(raw)
    count = sum(key[:1].isdigit() for key in found)
    return [found[b"%d\0" % i] for i in range(count)]


# ---------------------------------------------------------------- the files of the real program


@pytest.mark.golden
@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("small/input/services", "small/expected/var/db/services.db.zst"),
        ("realistic-500/input/services", "realistic-500/expected/var/db/services.db.zst"),
        ("empty/input/empty-file/services", "empty/expected/empty-file/var/db/services.db.zst"),
        ("empty/input/empty-file/services", "empty/expected/directory/var/db/services.db.zst"),
    ],
)
def test_database_is_that_of_services_mkdb(text: str, database: str) -> None:
    """That of a directory is that of an empty file."""
    stored = (FIXTURES / database).read_bytes()
    expected = zstandard.ZstdDecompressor().decompress(stored, max_output_size=1 << 23)
    assert build_services_db((FIXTURES / text).read_bytes(), lorder=ByteOrder.LITTLE) == expected


def test_empty_database_has_the_digest_of_the_install_scripts() -> None:
    raw = build_services_db(b"", lorder=ByteOrder.LITTLE)
    assert len(raw) == 2_097_920
    assert hashlib.sha256(raw).hexdigest() == EMPTY_DIGEST


def test_big_endian_database_has_the_same_pairs() -> None:
    text = (FIXTURES / "small/input/services").read_bytes()
    big = parse_hash_file(build_services_db(text, lorder=ByteOrder.BIG))
    assert big.header.lorder is ByteOrder.BIG
    assert big.pairs == pairs(text)


# ---------------------------------------------------------------- records


def test_line_makes_a_record_and_its_references() -> None:
    assert pairs(b"discard 9/tcp sink null\n") == {
        b"0\0": b"discard 9/tcp sink null \0",
        b"\xff9/tcp\0": b"0\0",
        b"\xff9\0": b"0\0",
        b"\xfediscard/tcp\0": b"0\0",
        b"\xfediscard\0": b"0\0",
        b"\xfesink/tcp\0": b"0\0",
        b"\xfesink\0": b"0\0",
        b"\xfenull/tcp\0": b"0\0",
        b"\xfenull\0": b"0\0",
    }


def test_record_without_aliases_ends_in_a_blank() -> None:
    assert records(b"ssh 22/tcp\n") == [b"ssh 22/tcp \0"]


def test_records_are_ordered_by_port() -> None:
    assert records(b"b 20/tcp\na 10/tcp\nc 9/tcp\n") == [
        b"c 9/tcp \0",
        b"a 10/tcp \0",
        b"b 20/tcp \0",
    ]


def test_records_of_a_port_are_ordered_by_first_appearance_of_their_protocols() -> None:
    """Not by the alphabet."""
    found = records(b"x 1/udp\nz 7/sctp\na 7/tcp\na 7/udp\n")
    assert found == [b"x 1/udp \0", b"a 7/udp \0", b"z 7/sctp \0", b"a 7/tcp \0"]


def test_lowest_port_wins_a_name() -> None:
    found = pairs(b"domain 53/udp\ndomain 5/udp\n")
    assert found[b"\xfedomain/udp\0"] == found[b"\xfedomain\0"] == b"0\0"
    assert found[b"0\0"] == b"domain 5/udp \0"


def test_first_protocol_wins_a_port() -> None:
    found = pairs(b"echo 7/udp\necho 7/tcp\n")
    assert found[b"\xff7\0"] == b"0\0"
    assert found[b"\xff7/tcp\0"] == b"1\0"
    assert found[b"\xfeecho\0"] == b"0\0"


def test_names_of_one_port_and_protocol_are_merged_without_duplicates() -> None:
    assert records(b"a 7/tcp x a\nb 7/tcp x y\na 7/tcp z\n") == [b"a 7/tcp x b y z \0"]


def test_key_of_a_name_with_a_slash_is_cut_at_the_first() -> None:
    found = pairs(b"a/b 7/tcp\n")
    assert found[b"\xfea/b/tcp\0"] == b"0\0"
    assert found[b"\xfea\0"] == b"0\0"
    assert b"\xfea/b\0" not in found


def test_protocol_may_have_a_slash() -> None:
    """It is everything after the first one."""
    assert records(b"a 7/tcp/x\n") == [b"a 7/tcp/x \0"]


# ---------------------------------------------------------------- lines


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"# ssh 22/tcp",
        b"   # ssh 22/tcp",
        b"\v\f\r",
        b"ssh",
        b"ssh ",
        b"ssh \t ",
        b"ssh 22",
        b"ssh 22/",
        b"ssh /tcp",
        b"ssh tcp/22",
        b"ssh 08/tcp",
        b"ssh 22x/tcp",
        b"ssh 0x/tcp",
        b"ssh -1/tcp",
        b"ssh 65536/tcp",
        b"ssh 99999999999999999999999/tcp",
        b"ssh +/tcp",
        b"ssh # 22/tcp",
    ],
)
def test_line_without_service_is_skipped(line: bytes) -> None:
    assert records(line + b"\nntp 123/udp\n") == [b"ntp 123/udp \0"]


@pytest.mark.parametrize(
    ("port", "number"),
    [(b"014", 12), (b"0x10", 16), (b"0X1f", 31), (b"+5", 5), (b"0", 0), (b"65535", 65535)],
)
def test_ports_are_read_as_c_does(port: bytes, number: int) -> None:
    assert records(b"a %s/tcp\n" % port) == [b"a %d/tcp \0" % number]


def test_white_space_before_a_line_is_skipped() -> None:
    """All that isspace(3) accepts there, but only blanks and tabs between words."""
    assert records(b"\f\v \tssh\t \t22/tcp\t\tx\ty\n") == [b"ssh 22/tcp x y \0"]
    assert records(b"a\vb 22/tcp\n") == [b"a\vb 22/tcp \0"]


def test_comment_begins_within_an_alias_but_not_within_name_and_port() -> None:
    assert records(b"s#h 22/t#p x#y z\n") == [b"s#h 22/t#p x \0"]


def test_alias_like_the_name_of_its_line_is_not_repeated() -> None:
    assert records(b"tcp 22/tcp tcp 22/tcp\n") == [b"tcp 22/tcp 22/tcp \0"]


def test_carriage_return_stays_in_the_last_word() -> None:
    assert records(b"a 1/tcp\r\nb 2/tcp x\r\n") == [b"a 1/tcp\r \0", b"b 2/tcp x\r \0"]


def test_last_line_may_lack_its_newline() -> None:
    assert pairs(b"ssh 22/tcp") == pairs(b"ssh 22/tcp\n")


def test_bytes_beyond_ascii_are_kept() -> None:
    assert records("größe 7/tcp ärger\n".encode()) == ["größe 7/tcp ärger \0".encode()]


def test_skipped_line_introduces_no_protocol() -> None:
    text = b"a 70000/first\nb 7/udp\nb 7/tcp\n" + b"".join(b"c 8/p%d\n" % i for i in range(3))
    assert records(text)[0] == b"b 7/udp \0"


# ---------------------------------------------------------------- big records


def test_long_records_become_big_pairs() -> None:
    """A page of 256 bytes takes 242 bytes of key and data."""
    lines = [b"svc%d %d/tcp %s\n" % (i, i, b"alias%d " % i * 1 + b"x" * (i * 9)) for i in range(99)]
    found = pairs(b"".join(lines))
    for i in range(99):
        assert found[found[b"\xfesvc%d\0" % i]].startswith(b"svc%d %d/tcp alias%d " % (i, i, i))


def test_table_grows_after_an_overflow() -> None:
    raw = build_services_db(b"a 1/tcp %s\n" % (b"x" * 500), lorder=ByteOrder.LITTLE)
    assert parse_hash_file(raw).header.max_bucket > 8191


# ---------------------------------------------------------------- refusals


def test_sixth_protocol_is_refused() -> None:
    text = b"".join(b"a 7/p%d\n" % i for i in range(5))
    assert len(records(text)) == 5
    with pytest.raises(FormatError, match="services:6: got b'p5' as one more protocol, want at"):
        pairs(text + b"a 7/p5\n")


def test_record_of_1023_bytes_is_the_longest() -> None:
    """At 1,024 the program reads beyond its buffer."""
    line = b"a 7/tcp " + b"x" * (1023 - 9)
    assert len(records(line + b"\n")[0]) == 1024
    with pytest.raises(FormatError, match="services:2: got a record of 1024 bytes, want at most"):
        pairs(b"\n" + line + b"x\n")


def test_merged_record_is_measured_whole() -> None:
    line = b"a 7/tcp %s\n"
    with pytest.raises(FormatError, match="services:2: got a record of 1209 bytes"):
        pairs(line % (b"x" * 600) + line % (b"y" * 599))


def test_nul_byte_is_refused() -> None:
    with pytest.raises(FormatError, match="services:2: got a NUL byte, want text"):
        pairs(b"\n# \0\n")


def test_absurd_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.rootfs.sysdb.services._MAX_INPUT", 3)
    with pytest.raises(FormatError, match="services: got 4 bytes, want at most 3"):
        pairs(b"\n\n\n\n")
