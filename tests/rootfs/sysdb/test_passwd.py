"""master.passwd and what pwd_mkdb makes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import zstandard

from pipeline.errors import FormatError
from pipeline.formats.db185_header import ByteOrder
from pipeline.formats.db185_read import parse_hash_file
from pipeline.rootfs.sysdb.passwd import (
    MasterPasswd,
    PasswdEntry,
    build_passwd,
    build_pwd_db,
    build_spwd_db,
    parse_master_passwd,
)

FIXTURES: Final = Path(__file__).parents[3] / "fixtures" / "sysdb" / "pwd_mkdb"
ROOT: Final = b"root:$6$x:0:0::0:0:Charlie &:/root:/bin/sh"


def only(line: bytes) -> PasswdEntry:
    (entry,) = parse_master_passwd(line).entries
    return entry


def pairs(raw: bytes) -> dict[bytes, bytes]:
    return dict(parse_hash_file(build_pwd_db(parse_master_passwd(raw))).pairs)


# ---------------------------------------------------------------- the files of the real program


@pytest.mark.golden
@pytest.mark.parametrize("case", ["base-system", "users-300", "nis-compat"])
class TestRecordedCase:
    def expected(self, case: str, path: str) -> bytes:
        file = FIXTURES / case / "expected" / path
        if file.exists():
            return file.read_bytes()
        stored = file.with_name(f"{file.name}.zst").read_bytes()
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=1 << 22)

    def master(self, case: str) -> MasterPasswd:
        return parse_master_passwd((FIXTURES / case / "input/master.passwd").read_bytes())

    def test_pwd_db_is_that_of_pwd_mkdb(self, case: str) -> None:
        assert build_pwd_db(self.master(case)) == self.expected(case, "etc/pwd.db")

    def test_spwd_db_is_that_of_pwd_mkdb(self, case: str) -> None:
        assert build_spwd_db(self.master(case)) == self.expected(case, "etc/spwd.db")

    def test_passwd_is_that_of_current_revisions(self, case: str) -> None:
        passwd = build_passwd(self.master(case), keep_comments=False)
        assert passwd == self.expected(case, "etc/passwd")

    def test_passwd_is_that_of_older_revisions(self, case: str) -> None:
        passwd = build_passwd(self.master(case), keep_comments=True)
        assert passwd == self.expected(case, "comments-kept/etc/passwd")


# ---------------------------------------------------------------- lines


def test_fields_are_those_of_the_line() -> None:
    entry = only(b"ada:$6$p:1001:1002:staff:3:-4:Ada A:/home/ada:/bin/tcsh\n")
    assert entry == PasswdEntry(
        pw_name=b"ada",
        pw_passwd=b"$6$p",
        pw_uid=1001,
        pw_gid=1002,
        pw_class=b"staff",
        pw_change=3,
        pw_expire=-4,
        pw_gecos=b"Ada A",
        pw_dir=b"/home/ada",
        pw_shell=b"/bin/tcsh",
        pw_fields=0x3FF,
    )


def test_empty_file_has_no_entries() -> None:
    assert parse_master_passwd(b"") == MasterPasswd(())
    assert pairs(b"") == {b"\xffVERSION": b"\x04"}
    assert build_passwd(MasterPasswd(()), keep_comments=True) == b""


def test_last_line_may_lack_its_newline() -> None:
    assert parse_master_passwd(ROOT) == parse_master_passwd(ROOT + b"\n")
    assert build_passwd(parse_master_passwd(ROOT), keep_comments=False).endswith(b"/bin/sh\n")


@pytest.mark.parametrize("line", [b"", b"#", b"# root:*:", b"   ", b"\t#x", b" \t "])
def test_comments_and_blank_lines_are_no_entries(line: bytes) -> None:
    master = parse_master_passwd(line + b"\n" + ROOT + b"\n")
    assert [entry.pw_name for entry in master.entries] == [b"root"]
    assert build_passwd(master, keep_comments=True).startswith(line + b"\n")
    assert build_passwd(master, keep_comments=False).startswith(b"root:")


def test_comments_do_not_count_as_entries() -> None:
    """The number of an entry is the key 0x42 with four bytes."""
    keys = pairs(b"# one\n" + ROOT + b"\n\n# two\ntoor:*:0:0::0:0::/root:\n")
    assert {key for key in keys if key[:1] == b"B"} == {b"B\0\0\0\1", b"B\0\0\0\2"}


def test_carriage_return_stays_in_the_shell() -> None:
    assert only(ROOT + b"\r\n").pw_shell == b"/bin/sh\r"


def test_line_of_a_carriage_return_is_no_comment() -> None:
    """Only blanks and tabs are skipped."""
    with pytest.raises(FormatError, match=r"master.passwd:2: got 1 fields, want 10"):
        parse_master_passwd(ROOT + b"\n\r\n")


def test_bytes_beyond_ascii_are_kept() -> None:
    line = "käthe:*:5:5::0:0:Käthe Ö:/home/käthe:/bin/sh".encode()
    passwd = build_passwd(parse_master_passwd(line), keep_comments=False)
    assert passwd == "käthe:*:5:5:Käthe Ö:/home/käthe:/bin/sh\n".encode()
    latin = only(b"k\xe4the:*:5:5::0:0::/:/bin/sh")
    assert latin.pw_name == b"k\xe4the"


def test_passwd_of_the_public_database_is_hidden() -> None:
    master = parse_master_passwd(ROOT)
    public = parse_hash_file(build_pwd_db(master)).pairs[b"Aroot"]
    secret = parse_hash_file(build_spwd_db(master)).pairs[b"Aroot"]
    assert public.startswith(b"root\0*\0")
    assert secret.startswith(b"root\0$6$x\0")
    assert public.replace(b"*", b"$6$x") == secret
    assert b"$6$x" not in build_passwd(master, keep_comments=False)


def test_databases_are_big_endian_whatever_the_machine() -> None:
    header = parse_hash_file(build_pwd_db(parse_master_passwd(ROOT))).header
    assert header.lorder is ByteOrder.BIG


def test_empty_password_is_hidden_too() -> None:
    record = pairs(b"root::0:0::0:0::/root:")[b"Aroot"]
    assert record.startswith(b"root\0*\0")
    assert only(b"root::0:0::0:0::/root:").pw_fields & 2 == 0


def test_record_has_numbers_as_big_endian_words() -> None:
    record = pairs(b"a:*:258:772:c:1:2:g:d:s")[b"Aa"]
    assert record == (
        b"a\0*\0\0\0\1\2\0\0\3\4\0\0\0\1c\0g\0d\0s\0\0\0\0\2" + (0x3FF).to_bytes(4, "big")
    )


# ---------------------------------------------------------------- duplicates


def test_first_entry_of_a_uid_wins() -> None:
    """It is root, not toor."""
    found = pairs(ROOT + b"\ntoor:*:0:0::0:0::/root:\n")
    assert found[b"C\0\0\0\0"].startswith(b"root\0")
    assert found[b"Atoor"].startswith(b"toor\0")
    assert found[b"B\0\0\0\2"].startswith(b"toor\0")


def test_first_entry_of_a_name_wins_but_every_number_is_stored() -> None:
    found = pairs(b"a:*:1:1::0:0::/:\na:*:2:2::0:0::/:\n")
    assert found[b"Aa"] == found[b"B\0\0\0\1"] == found[b"C\0\0\0\1"]
    assert found[b"B\0\0\0\2"] == found[b"C\0\0\0\2"] != found[b"Aa"]


# ---------------------------------------------------------------- NIS


def test_nis_lines_get_numbers_of_their_own_and_a_flag() -> None:
    found = pairs(ROOT + b"\n+@staff:::::::::\n-mallory:::::::::\n")
    assert found[b"E\0\0\0\1"] == found[b"A+@staff"] == found[b"B\0\0\0\2"]
    assert found[b"E\0\0\0\2"] == found[b"A-mallory"] == found[b"B\0\0\0\3"]
    assert found[b"D"] == b"\3"


def test_file_without_nis_lines_has_no_flag() -> None:
    assert b"D" not in pairs(ROOT)


def test_empty_uid_of_a_nis_line_is_0_and_loses_to_root() -> None:
    found = pairs(ROOT + b"\n+:::::::::\n")
    assert found[b"C\0\0\0\0"].startswith(b"root\0")
    assert pairs(b"+:::::::::")[b"C\0\0\0\0"].startswith(b"+\0")


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b"+:::::::::", 1),
        (b"+name:::::::::", 0),
        (b"-name:::::::::", 1),
        (b"-:::::::::", 1),
        (b"+name:::::::::/bin/sh", 0x100),
        (b":*:1:1::0:0:::", 0x2 | 0x4 | 0x8 | 0x10 | 0x200),
    ],
)
def test_field_bits_tell_what_is_not_empty(line: bytes, fields: int) -> None:
    """The name of `+name` is not a field that is set, that of `+` alone is."""
    assert only(line).pw_fields == fields


def test_empty_numbers_stay_empty_in_passwd() -> None:
    passwd = build_passwd(parse_master_passwd(b"+name:::::::::/bin/sh"), keep_comments=False)
    assert passwd == b"+name:*:::::/bin/sh\n"
    passwd = build_passwd(parse_master_passwd(b"+name::0:7::::::"), keep_comments=False)
    assert passwd == b"+name:*:0:7:::\n"


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("text", "uid"),
    [(b"007", 7), (b" 7", 7), (b"+7", 7), (b"-0", 0), (b"4294967295", 0xFFFFFFFF), (b"\r7", 7)],
)
def test_ids_are_read_as_c_does(text: bytes, uid: int) -> None:
    assert only(b"a:*:%s:%s::0:0::/:" % (text, text)).pw_uid == uid
    passwd = build_passwd(parse_master_passwd(b"a:*:%s:1::0:0::/:" % text), keep_comments=False)
    assert passwd == b"a:*:%d:1::/:\n" % uid


@pytest.mark.parametrize("text", [b"4294967296", b"-1", b"7 ", b"0x7", b"seven", b" ", b"9" * 30])
@pytest.mark.parametrize("field", ["uid", "gid"])
def test_id_that_is_no_number_is_refused(text: bytes, field: str) -> None:
    ids = (text, b"1") if field == "uid" else (b"1", text)
    with pytest.raises(
        FormatError, match=re.escape(f"master.passwd:1: {field}: got {text!r}, want")
    ):
        parse_master_passwd(b"a:*:%s:%s::0:0::/:" % ids)


@pytest.mark.parametrize("line", [b"a:*::1::0:0::/:", b"a:*:1:::0:0::/:"])
def test_empty_id_is_refused_but_on_nis_lines(line: bytes) -> None:
    with pytest.raises(FormatError, match="got nothing, want a number"):
        parse_master_passwd(line)


def test_root_has_uid_0() -> None:
    with pytest.raises(FormatError, match=r"master.passwd:2: got root with uid 1, want 0"):
        parse_master_passwd(b"#\nroot:*:1:0::0:0::/root:\n")


def test_times_are_prefixes_and_keep_their_low_words() -> None:
    """atol(3): what is no number is 0; the low 32 bits are stored."""
    record = pairs(b"a:*:1:1::12x:never::/:")[b"Aa"]
    assert record[12:16] == b"\0\0\0\x0c"
    record = pairs(b"a:*:1:1::-1:4294967297::/:")[b"Aa"]
    assert record[12:16] == b"\xff" * 4
    assert record[-8:-4] == b"\0\0\0\1"
    record = pairs(b"a:*:1:1::99999999999999999999:-99999999999999999999::/:")[b"Aa"]
    assert record[12:16] == b"\xff" * 4
    assert record[-8:-4] == bytes(4)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("fields", [1, 9, 11])
def test_other_numbers_of_fields_are_refused(fields: int) -> None:
    line = b":".join([b"1"] * fields)
    with pytest.raises(FormatError, match=f"master.passwd:1: got {fields} fields, want 10"):
        parse_master_passwd(line)


def test_line_of_2046_bytes_is_the_longest() -> None:
    line = ROOT.replace(b"Charlie", b"x" * (2046 - len(ROOT) + 7))
    assert len(line) == 2046
    parse_master_passwd(line)
    with pytest.raises(FormatError, match=r"master.passwd:1: got 2047 bytes, want at most 2046"):
        parse_master_passwd(b"x" + line)
    with pytest.raises(FormatError, match="got 2047 bytes"):
        parse_master_passwd(b"#" * 2047)


def test_name_beyond_the_key_buffer_is_refused() -> None:
    parse_master_passwd(b"n" * 1023 + b":*:1:1::0:0::/:")
    with pytest.raises(FormatError, match="got a name of 1024 bytes, want at most 1023"):
        parse_master_passwd(b"n" * 1024 + b":*:1:1::0:0::/:")


def test_nul_byte_is_refused() -> None:
    with pytest.raises(FormatError, match=r"master.passwd:2: got a NUL byte, want text"):
        parse_master_passwd(ROOT + b"\n# \0\n")


def test_absurd_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.rootfs.sysdb.passwd._MAX_INPUT", 10)
    with pytest.raises(FormatError, match=r"master.passwd: got 42 bytes, want at most 10"):
        parse_master_passwd(ROOT)


def test_many_accounts_can_be_read_again() -> None:
    """More than 512 pages: buffers are recycled in a big-endian file."""
    raw = b"".join(
        b"u%d:%s:%d:1::0:0:User %d:/home/u%d:/bin/sh\n" % (i, b"x" * 900, i, i, i)
        for i in range(1, 1500)
    )
    master = parse_master_passwd(raw)
    spwd_db = build_spwd_db(master)
    assert len(spwd_db) > 600 * 4096
    read = parse_hash_file(spwd_db).pairs
    for number, entry in enumerate(master.entries, 1):
        record = entry.to_record(entry.pw_passwd)
        assert read[b"A" + entry.pw_name] == record
        assert read[b"B" + number.to_bytes(4, "big")] == record
