"""login.conf and what cap_mkdb makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from pipeline.errors import FormatError
from pipeline.formats.db185_header import ByteOrder
from pipeline.formats.db185_read import parse_hash_file
from pipeline.rootfs.sysdb.capabilities import (
    CapabilityRecord,
    build_login_conf_db,
    parse_capabilities,
)

FIXTURES: Final = Path(__file__).parents[3] / "fixtures" / "sysdb" / "cap_mkdb" / "login-basic"


def texts(raw: bytes) -> list[bytes]:
    return [record.text for record in parse_capabilities(raw)]


def pairs(raw: bytes) -> dict[bytes, bytes]:
    return dict(parse_hash_file(build_login_conf_db(raw, lorder=ByteOrder.LITTLE)).pairs)


# ---------------------------------------------------------------- the files of the real program


@pytest.mark.golden
@pytest.mark.parametrize("case", ["short", "full"])
def test_database_is_that_of_cap_mkdb(case: str) -> None:
    text = (FIXTURES / "input" / case / "login.conf").read_bytes()
    expected = (FIXTURES / "expected" / case / "etc/login.conf.db").read_bytes()
    assert build_login_conf_db(text, lorder=ByteOrder.LITTLE) == expected


def test_big_endian_database_has_the_same_pairs() -> None:
    text = (FIXTURES / "input/full/login.conf").read_bytes()
    big = parse_hash_file(build_login_conf_db(text, lorder=ByteOrder.BIG))
    assert big.header.lorder is ByteOrder.BIG
    assert big.pairs == pairs(text)


# ---------------------------------------------------------------- what is stored


def test_record_is_stored_under_its_name() -> None:
    assert pairs(b"default:\\\n\t:umask=022:\n") == {b"default": b"\0default:\t:umask=022:\0"}


def test_every_name_of_a_field_refers_to_the_whole_field() -> None:
    assert pairs(b"russian|ru|Russian Users:lang=ru:\n") == {
        b"russian|ru|Russian Users": b"\0russian|ru|Russian Users:lang=ru:\0",
        b"russian": b"\2russian|ru|Russian Users",
        b"ru": b"\2russian|ru|Russian Users",
        b"Russian Users": b"\2russian|ru|Russian Users",
    }


def test_empty_name_sticks_to_the_next_one() -> None:
    assert set(pairs(b"a||x:v:\n")) == {b"a||x", b"a", b"|x"}
    assert set(pairs(b"a|:v:\n")) == {b"a|", b"a"}
    assert set(pairs(b"a||:v:\n")) == {b"a||", b"a", b"|"}


def test_name_that_is_stored_already_keeps_its_record() -> None:
    """No overwriting: neither by a reference nor by a record of its own."""
    found = pairs(b"a|b:first:\nb:second:\nc|a:third:\n")
    assert found[b"b"] == b"\2a|b"
    assert found[b"a"] == b"\2a|b"
    assert found[b"c"] == b"\2c|a"


def test_record_of_a_duplicate_is_that_of_the_first() -> None:
    assert texts(b"a:one:\na:two:\n") == [b"a:one:", b"a:one:"]
    assert pairs(b"a:one:\na:two:\n") == {b"a": b"\0a:one:\0"}


def test_record_without_colon_is_not_stored() -> None:
    """A continued line of names is no name line, but the lookup finds it first."""
    raw = b" x|\\\na\na:v:\nb:w:\n"
    assert texts(raw) == [b" x|a", b"b:w:"]
    assert set(pairs(raw)) == {b"b"}


def test_big_records_can_be_read_again() -> None:
    """Beyond 4,082 bytes of record and name field."""
    raw = (
        b"".join(b"c%d|alias %d:v=%s:tc=base:\n" % (i, i, b"y" * (i * 100)) for i in range(60))
        + b"base:umask=022:\n"
    )
    found = pairs(raw)
    for i in range(60):
        assert found[b"c%d|alias %d" % (i, i)].endswith(
            b"y:umask=022:\0" if i else b"=:umask=022:\0"
        )
        assert found[b"alias %d" % i] == b"\2c%d|alias %d" % (i, i)


# ---------------------------------------------------------------- names


def test_lines_that_name_nothing() -> None:
    raw = b"# c:\n:v:\n\tx:y:\n\n  z:1:\na:v:\n"
    assert texts(raw) == [b"a:v:"]


def test_line_after_a_continuation_names_nothing() -> None:
    assert texts(b"a:v:\\\nb:w:\nc:x:\n") == [b"a:v:b:w:", b"c:x:"]


def test_empty_line_ends_a_continuation() -> None:
    """For names; for records it is continued by the empty line."""
    assert texts(b"a:v:\\\n\nb:w:\n") == [b"a:v:", b"b:w:"]


def test_comment_can_be_continued() -> None:
    assert texts(b"# x \\\nb:w:\nc:v:\n") == [b"c:v:"]


def test_name_field_goes_on_on_the_next_line() -> None:
    """Its second line is no continuation for the names, but the one after it is skipped."""
    assert texts(b"a|\\\nb:v:\nc:w:\nd:x:\n") == [b"a|b:v:", b"d:x:"]


def test_backslash_within_a_name_ends_the_line() -> None:
    """The name goes on on the next line, and then no record has it."""
    assert texts(b"a\\b:v:\nc:w:\n") == []


def test_name_without_colon_is_merged_and_ends_the_run() -> None:
    assert texts(b"x:1:\nfoo\nbar:v:\nlast:w:\n") == [b"x:1:"]


def test_run_ends_at_a_name_that_is_not_found() -> None:
    """A last record without newline is none."""
    assert texts(b"a:v:\nb:w:x") == [b"a:v:"]
    assert texts(b"a:v:\nb:w:\\") == [b"a:v:"]
    assert texts(b"a:v:\nb") == [b"a:v:"]


def test_last_byte_of_an_unfinished_line_is_lost() -> None:
    """`ab:` becomes `ab`, which has no end."""
    with pytest.raises(FormatError, match=r"login.conf:2: got the end of the file, want a colon"):
        parse_capabilities(b"a:v:\nab:")


def test_empty_file_has_no_records() -> None:
    assert parse_capabilities(b"") == ()
    assert len(build_login_conf_db(b"", lorder=ByteOrder.LITTLE)) == 16384


def test_bytes_beyond_ascii_and_carriage_returns_are_kept() -> None:
    assert texts("größe|Ö:v=ß:\r\n".encode()) == ["größe|Ö:v=ß:\r".encode()]


def test_double_backslash_continues_too() -> None:
    """Each newline takes one backslash away."""
    assert texts(b"a:x\\\\\n:y:\nb:w:\n") == [b"a:x\\:y:", b"b:w:"]
    assert texts(b"a:x\\\\\n\n:y:\nb:w:\n") == [b"a:x:y:", b"b:w:"]


# ---------------------------------------------------------------- inclusion


def test_tc_is_replaced_by_the_record_without_its_names() -> None:
    """Tabs of continuation lines are kept."""
    raw = b"base|b:\\\n\t:u=1:\\\n\t:v=2:\nroot:\\\n\t:w:\\\n\t:tc=base:\n"
    assert texts(raw)[1] == b"root:\t:w:\t:\t:u=1:\t:v=2:"
    assert all(record.is_expanded for record in parse_capabilities(raw))


def test_tc_finds_any_name_of_a_record() -> None:
    assert texts(b"a:tc=y:\nx|y|z:v:\n")[0] == b"a:v:"


def test_tc_looks_behind_the_record_too() -> None:
    assert texts(b"a:tc=b:\nb:tc=c:\nc:v:\n") == [b"a:v:", b"b:v:", b"c:v:"]


def test_included_text_gets_a_final_colon() -> None:
    assert texts(b"a:tc=b:x:\nb:v\n")[0] == b"a:v:x:"
    assert texts(b"a:tc=b\nb:v\n")[0] == b"a:v:"


def test_record_of_a_name_alone_includes_nothing() -> None:
    assert texts(b"a:tc=b:x:\nb:\n")[0] == b"a:x:"


def test_record_without_colon_includes_a_colon() -> None:
    assert texts(b"a:tc=b:x:\n:\\\nc|d\n \\\nb\n")[0] == b"a:tc=b:x:"
    assert texts(b"a:tc=b:x:\n#\\\n\nb\n:\n")[0] == b"a::x:"


def test_several_inclusions_are_all_replaced() -> None:
    assert texts(b"a:tc=b:x:tc=c:y:\nb:1:\nc:2:\n")[0] == b"a:1:x:2:y:"


def test_tc_with_at_sign_stops_the_expansion() -> None:
    assert texts(b"a:tc@:tc=b:\nb:v:\n")[0] == b"a:tc@:tc=b:"
    assert texts(b"a:tc=@:tc=b:\nb:v:\n")[0] == b"a:tc=@:tc=b:"
    assert texts(b"a:tc=b:tc=c:\nb:tc@:\nc:w:\n")[0] == b"a:tc@:w:"


def test_field_that_only_begins_with_tc_is_none() -> None:
    assert texts(b"a:tcx=b:tc:tc#1:tc=b:\nb:v:\n")[0] == b"a:tcx=b:tc:tc#1:v:"


def test_tc_after_white_space_is_none() -> None:
    assert texts(b"a:\ttc=b:\nb:v:\n")[0] == b"a:\ttc=b:"


def test_tc_in_the_name_field_is_none() -> None:
    assert texts(b"tc=b:v:\nb:w:\n") == [b"tc=b:v:", b"b:w:"]


def test_unresolved_tc_stays_and_marks_the_record() -> None:
    (record, other) = parse_capabilities(b"a:tc=none:x:tc=b:\nb:v:\n")
    assert record == CapabilityRecord(text=b"a:tc=none:x:v:", is_expanded=False)
    assert other.is_expanded
    assert pairs(b"a:tc=none:\n") == {b"a": b"\1a:tc=none:\0"}


def test_mark_is_inherited() -> None:
    assert [r.is_expanded for r in parse_capabilities(b"a:tc=b:\nb:tc=c:\nc:tc=none:\n")] == [
        False,
        False,
        False,
    ]


def test_unresolved_tc_without_colon_loses_its_last_byte() -> None:
    """getent() writes the colon that it took away, where there was none to take."""
    assert texts(b"a:x:tc=none\n") == [b"a:x:tc=non:"]
    assert texts(b"a:x:tc=\n") == [b"a:x:tc:"]


def test_tc_may_name_two_adjacent_names() -> None:
    """The library compares bytes up to a separator."""
    assert texts(b"a:tc=y|z:\nx|y|z:v:\n")[0] == b"a:v:"
    assert texts(b"a:tc=z|y:\nx|y|z:v:\n")[0] == b"a:tc=z|y:"


def chain(length: int) -> bytes:
    return b"".join(b"c%d:tc=c%d:\n" % (i, i + 1) for i in range(length)) + b"c%d:v:\n" % length


def test_32_levels_are_the_most() -> None:
    assert texts(chain(32))[0] == b"c0:v:"
    with pytest.raises(FormatError, match=r"login.conf:1: got tc=b'c33' below more than 32 levels"):
        parse_capabilities(chain(33))


def test_levels_are_counted_below_records_that_are_known_already() -> None:
    """The end of the chain is expanded first, and asked for from its beginning later."""
    lines = chain(33).splitlines(keepends=True)
    assert len(texts(b"".join(lines[1:]))) == 33
    with pytest.raises(FormatError, match=r"login.conf:34: got tc=.* below more than 32 levels"):
        parse_capabilities(b"".join([*lines[1:], lines[0]]))


@pytest.mark.parametrize("raw", [b"a:tc=a:\n", b"a:tc=b:\nb:tc=c:\nc:tc=b:\n"])
def test_circles_are_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"login.conf:1: got tc=b'.' below more than 32 levels"):
        parse_capabilities(raw)


# ---------------------------------------------------------------- refusals


def test_inclusion_that_doubles_is_bounded() -> None:
    raw = b"".join(b"c%d:tc=c%d:tc=c%d:\n" % (i, i + 1, i + 1) for i in range(30))
    with pytest.raises(FormatError, match=r"login.conf:1: got a record beyond 16777216 bytes"):
        parse_capabilities(raw + b"c30:%s:\n" % (b"v" * 100))


def test_inclusion_of_nothing_does_not_double_the_time() -> None:
    raw = b"".join(b"c%d:tc=c%d:tc=c%d:\n" % (i, i + 1, i + 1) for i in range(30))
    assert texts(raw + b"c30:\n")[0] == b"c0:"


def test_records_together_are_bounded() -> None:
    raw = b"base:%s:\n" % (b"v" * 100_000) + b"".join(b"c%d:tc=base:\n" % i for i in range(200))
    with pytest.raises(FormatError, match=r"login.conf:.*: got records beyond 16777216 bytes"):
        parse_capabilities(raw)


def test_name_field_of_1022_bytes_is_the_longest() -> None:
    """The buffer of cgetnext() also takes the colon and a NUL."""
    parse_capabilities(b"a" * 1022 + b":v:\n")
    message = r"login.conf:2: got a name field of 1023 bytes, want at most 1022"
    with pytest.raises(FormatError, match=message):
        parse_capabilities(b"#\n" + b"a" * 1023 + b":v:\n")
    with pytest.raises(FormatError, match=message):
        parse_capabilities(b"#\n" + b"a" * 1000 + b"\\\n" + b"b" * 23 + b":v:\n")


def test_nul_byte_is_refused() -> None:
    with pytest.raises(FormatError, match=r"login.conf:2: got a NUL byte, want text"):
        parse_capabilities(b"a:v:\n\0\n")


def test_absurd_size_is_refused() -> None:
    with pytest.raises(FormatError, match=r"login.conf: got 262145 bytes, want at most 262144"):
        parse_capabilities(b"#" * 262_145)
