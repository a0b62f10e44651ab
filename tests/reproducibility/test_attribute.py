"""The table of heuristics in `reproducibility.attribute`, row by row."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import pytest

from reproducibility.attribute import attribute_text
from reproducibility.attribute_bytes import attribute_bytes
from reproducibility.causes import Cause
from reproducibility.moments import explain_moments, format_distance, parse_moment
from reproducibility.patterns import Hints, Surroundings

if TYPE_CHECKING:
    from reproducibility.findings import Found

NO_HINTS = Hints()
NAMES = frozenset({"alpha", "beta.txt", "gamma", "delta", "rc.d"})


def text(a: str, b: str, hints: Hints = NO_HINTS) -> tuple[Found, ...]:
    return attribute_text(a, b, hints=hints, is_name=NAMES.__contains__)


def causes(a: str, b: str, hints: Hints = NO_HINTS) -> list[Cause]:
    return [f.cause for f in text(a, b, hints)]


# ---------------------------------------------------------------- one row each


@pytest.mark.parametrize(
    ("a", "b", "cause"),
    [
        # moments
        ("built 2026-11-24T21:11:03Z", "built 2026-11-24T23:40:59Z", Cause.CLOCK),
        ("built 2026-11-24 21:11:03", "built 2027-01-01 00:00:01", Cause.CLOCK),
        (
            "date: Tue, 24 Nov 2026 21:11:03 +0000",
            "date: Wed, 25 Nov 2026 03:00:00 +0000",
            Cause.CLOCK,
        ),
        ("Tue Nov 24 21:11:03 UTC 2026", "Wed Nov 25 09:30:01 UTC 2026", Cause.CLOCK),
        ("Tue Nov 24 21:11:03 2026", "Tue Nov  3 09:30:01 2026", Cause.CLOCK),
        ('__DATE__ "Nov 24 2026"', '__DATE__ "Dec  1 2026"', Cause.CLOCK),
        ("stamp=20261124", "stamp=20261125", Cause.CLOCK),
        ("stamp=20261124T211103Z", "stamp=20261125T000001Z", Cause.CLOCK),
        ("at 21:11:03", "at 21:11:09", Cause.CLOCK),
        ("time=1764018663", "time=1764018999", Cause.CLOCK),
        ("ms 1764018663123", "ms 1764018999456", Cause.CLOCK),
        ("UTCTime 241124221100Z", "UTCTime 241125000101Z", Cause.CLOCK),
        ("on 2026/11/24 21:11:03 ok", "on 2026/11/25 03:11:04 ok", Cause.CLOCK),
        ("log-2026-11-24.txt", "log-2026-11-25.txt", Cause.CLOCK),
        # zones
        ("at 2026-11-24T21:11:03+00:00", "at 2026-11-24T23:11:03+02:00", Cause.TIMEZONE),
        ("at 2026-11-24 21:11:03", "at 2026-11-25 11:11:03", Cause.TIMEZONE),
        (
            "Tue Nov 24 21:11:03 UTC 2026",
            "Tue Nov 24 09:11:03 AOE 2026",
            Cause.TIMEZONE,
        ),
        ("at 2026-11-24 21:11:03 UTC", "at 2026-11-25 00:11:03 EET", Cause.TIMEZONE),
        # paths, identities
        ("cc -I/tmp/build-1/include x.c", "cc -I/home/me/src/include x.c", Cause.PATH),
        ("prefix=/build/one/usr", "prefix=/build/two-long/usr", Cause.PATH),
        ("packager root@alpha.example", "packager builder@beta", Cause.IDENTITY),
        ("started (pid 4711)", "started (pid 99)", Cause.IDENTITY),
        # random, digests
        (
            "id 2f1acc6c-3f8f-4c1e-9a7e-6c1f0a1b2c3d",
            "id 9b2d1c3e-7a6b-4d5c-8e9f-0a1b2c3d4e5f",
            Cause.RANDOM,
        ),
        ("using tmpab12cd34 now", "using tmpzz98yy76 now", Cause.RANDOM),
        ("open /tmp/tmpab12cd34/x", "open /tmp/tmpzz98yy76/x", Cause.RANDOM),
        ("sum " + "0a" * 32, "sum " + "1b" * 32, Cause.CONSEQUENCE),
        # language
        ("size 1.5 MB", "size 1,5 MB", Cause.LOCALE),
        ("title", "t\u0131tle", Cause.LOCALE),
        ("FILE", "FİLE", Cause.LOCALE),
        ("made Mon 24 November", "made esmaspäev 24 november", Cause.LOCALE),
        ("on 3 May", "on 3 May\u0131s", Cause.LOCALE),
        # nothing known
        ("version 1", "version 2", Cause.UNKNOWN),
        ("size 1.5", "size 2.5", Cause.UNKNOWN),
        ("a b c", "a b d", Cause.UNKNOWN),
        ("number 12345", "number 12346", Cause.UNKNOWN),
    ],
)
def test_one_line(a: str, b: str, cause: Cause) -> None:
    """A line with one word that differs, between lines that do not."""
    for before, after in (("", ""), ("# head\n", "\ntail\n")):
        assert causes(before + a + after, before + b + after) == [cause]
        assert causes(before + b + after, before + a + after) == [cause]


@pytest.mark.parametrize(
    ("a", "b", "cause"),
    [
        # sorted by bytes against sorted by a locale
        (["B", "Z", "a", "c"], ["a", "B", "c", "Z"], Cause.LOCALE),
        (["a-b", "a.c", "ab", "ac"], ["ab", "a-b", "ac", "a.c"], Cause.LOCALE),
        (["sa", "ta", "ua", "za"], ["sa", "za", "ta", "ua"], Cause.LOCALE),
        # one side sorted, or backwards
        (["k1", "k2", "k3", "k4"], ["k3", "k1", "k4", "k2"], Cause.ORDER),
        (["k4", "k3", "k2", "k1"], ["k3", "k1", "k4", "k2"], Cause.ORDER),
        # names of files, in no order on either side
        (
            ["gamma", "alpha", "delta", "beta.txt"],
            ["alpha", "gamma", "beta.txt", "delta"],
            Cause.ORDER,
        ),
        (["gamma", "alpha"], ["alpha", "gamma"], Cause.ORDER),
        # anything else
        (["k3", "k1", "k4", "k2"], ["k2", "k3", "k1", "k4"], Cause.HASH_ORDER),
        (["k2", "k1"], ["k1", "k2"], Cause.HASH_ORDER),
    ],
)
def test_same_things_in_another_order(a: list[str], b: list[str], cause: Cause) -> None:
    """As lines, and as words of a line."""
    assert causes("\n".join(a), "\n".join(b)) == [cause]
    assert causes(f"keys: {', '.join(a)}", f"keys: {', '.join(b)}") == [cause]
    assert causes(f"{{{a!r}}} x", f"{{{b!r}}} x") == [cause]


def test_lines_that_moved_among_others() -> None:
    """What has no partner may be elsewhere."""
    a = "head\nk3\nk1\nmiddle\nk4\nk2\ntail 2026-11-24\n"
    b = "head\nk1\nk4\nmiddle\nk2\nk3\ntail 2026-11-25\n"
    assert set(causes(a, b)) == {Cause.CLOCK, Cause.HASH_ORDER}


def test_several_causes_are_several_findings() -> None:
    """Each with its own evidence, the unexplained last."""
    a = "at 2026-11-24\nin /tmp/a/b\nversion 1\n"
    b = "at 2026-11-25\nin /opt/c/b\nversion 2\n"
    found = text(a, b)
    assert [f.cause for f in found] == [Cause.CLOCK, Cause.PATH, Cause.UNKNOWN]
    assert found[0].a == "2026-11-24"
    assert found[0].evidence == ("1 d apart",)


def test_inserted_line_does_not_hide_the_rest() -> None:
    """Lines are paired by what does not vary."""
    a = "".join(f"step {i} at 2026-11-24T00:00:{i:02}Z\n" for i in range(20))
    b = "".join(f"step {i} at 2026-11-25T00:01:{i:02}Z\n" for i in range(20))
    found = text(a, b.replace("step 5", "extra\nstep 5"))
    assert [f.cause for f in found] == [Cause.CLOCK, Cause.UNKNOWN]
    assert found[1].evidence == ("0 lines only in A, 1 only in B",)
    assert "20 places" in found[0].evidence


def test_line_ends() -> None:
    """The same lines, ended differently."""
    found = text("a\nb\n", "a\r\nb\r\n")
    assert [f.cause for f in found] == [Cause.ENCODING]
    assert "CR LF" in found[0].b


def test_hints_make_short_paths_and_names_certain() -> None:
    """A build's own directory and host are known to the audit."""
    hints = Hints(
        a=Surroundings(paths=("/b1",), identities=("alpha",)),
        b=Surroundings(paths=("/somewhere/else",), identities=("omega",)),
    )
    found = text("root=/b1/x host alpha", "root=/somewhere/else/x host omega", hints)
    assert {f.cause for f in found} == {Cause.PATH, Cause.IDENTITY}
    assert causes("host alpha", "host omega") == [Cause.UNKNOWN], "without the hint"


def test_long_texts_take_bounded_time() -> None:
    """A hundred thousand lines that all differ."""
    a = "\n".join(f"{i} x {i * 7}" for i in range(100_000))
    b = "\n".join(f"{i} y {i * 7}" for i in range(100_001))
    assert Cause.UNKNOWN in causes(a, b)


# ---------------------------------------------------------------- bytes


def binary(a: bytes, b: bytes, hints: Hints = NO_HINTS) -> list[Cause]:
    found = attribute_bytes(a, b, hints=hints, is_name=NAMES.__contains__)
    return [f.cause for f in found]


@pytest.mark.parametrize("form", ["<I", ">I", "<q", ">q"])
def test_binary_time(form: str) -> None:
    """A time of either byte order and width, aligned."""
    for first, second in ((1_764_018_663, 1_764_018_999), (1_764_000_000, 1_764_900_000)):
        a = b"\x01\x02\x03\xff" * 4 + struct.pack(form, first) + b"\xfe\x00\x01\x02" * 4
        b = b"\x01\x02\x03\xff" * 4 + struct.pack(form, second) + b"\xfe\x00\x01\x02" * 4
        assert binary(a, b) == [Cause.CLOCK]


def test_binary_numbers_that_are_no_times() -> None:
    """Two small numbers, two far times: nothing is claimed."""
    for first, second in ((7, 8), (1_300_000_000, 1_900_000_000), (0xDEADBEEF, 0xFEEDFACE)):
        a, b = (bytes(16) + struct.pack("<I", n) + bytes(16) for n in (first, second))
        assert binary(a, b) == [Cause.UNKNOWN]


def test_text_within_bytes() -> None:
    """The printable run around a difference is read as text is."""
    a = b"\x00\x01built at 2026-11-24T21:11:03Z by\x00\x00"
    b = b"\x00\x01built at 2026-11-24T21:11:59Z by\x00\x00"
    assert binary(a, b) == [Cause.CLOCK]
    a, b = b"\x00/tmp/one/src/x.c\x00", b"\x00/tmp/two/src/x.c\x00"
    assert binary(a, b) == [Cause.PATH]


def test_bytes_of_other_length() -> None:
    """Printable runs are compared; what is between them must be equal for a verdict."""
    a = b"\x7f\x00\x02/tmp/one/src/x.c\x00\x00\x03rest of it\x00"
    b = b"\x7f\x00\x02/home/somebody/src/x.c\x00\x00\x03rest of it\x00"
    assert binary(a, b) == [Cause.PATH]
    assert binary(a, b + b"\x01") == [Cause.PATH, Cause.UNKNOWN]


def test_section_of_an_elf_file_is_named() -> None:
    """Where in the file a byte is, in the words of its format."""
    names = b"\0.text\0.note.gnu.build-id\0.shstrtab\0"
    content = bytearray(64)
    content[:16] = b"\x7fELF\x02\x01\x01\x09" + bytes(8)
    text_at = len(content)
    content += b"\x90" * 32
    note_at = len(content)
    content += b"\x11" * 32
    names_at = len(content)
    content += names
    table_at = len(content)
    for name, kind, offset, size in (
        (0, 0, 0, 0),
        (1, 1, text_at, 32),
        (7, 7, note_at, 32),
        (26, 3, names_at, len(names)),
    ):
        content += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, 0, 1, 0)
    struct.pack_into("<Q", content, 40, table_at)
    struct.pack_into("<3H", content, 58, 64, 4, 3)
    other = bytearray(content)
    other[note_at + 3] = 0xEE
    (found,) = attribute_bytes(
        bytes(content), bytes(other), hints=NO_HINTS, is_name=lambda _: False
    )
    assert found.evidence == (f"bytes at byte {note_at + 3} in section .note.gnu.build-id",)
    cut = bytes(other[:table_at])
    assert binary(bytes(content[:table_at]), cut) == [Cause.UNKNOWN], "a damaged table is no crash"


# ---------------------------------------------------------------- moments


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1970-01-01", 0),
        ("2000-02-29T12:34:56Z", 951_827_696),
        ("2026-11-24 21:11", 1_795_554_660),
        ("Tue Nov 24 21:11:03 2026", 1_795_554_663),
        ("24 Nov 2026 21:11:03 +0200", 1_795_554_663),
        ("20261124211103", 1_795_554_663),
        ("261124211103Z", 1_795_554_663),
        ("991124211103Z", 943_477_863),
        ("1795554663", 1_795_554_663),
        ("1795554663123", 1_795_554_663),
        ("Nov 24, 2026", 1_795_478_400),
        ("21:11:03", 76_263),
    ],
)
def test_moments_are_read(written: str, seconds: int) -> None:
    """Values from GNU date."""
    moment = parse_moment(written)
    assert moment is not None
    assert moment.seconds == seconds


def test_no_moment() -> None:
    """No calendar has these."""
    for written in ("2026-13-01", "2026-00-10", "99:99"):
        moment = parse_moment(written)
        assert moment is None or not moment.is_date


def test_same_moment_written_in_two_zones() -> None:
    """GMT+12 and GMT-14, as reproducibility tests use them."""
    assert explain_moments("2026-11-24T09:11:03-12:00", "2026-11-25T11:11:03+14:00") == (
        Cause.TIMEZONE,
        "the same moment in two time zones",
    )
    cause, evidence = explain_moments("2026-11-24 09:11:03", "2026-11-25 11:11:03")
    assert (cause, evidence) == (Cause.TIMEZONE, "exactly 1 d 2 h apart, as time zones are")


def test_distances() -> None:
    """Two units are enough."""
    assert [format_distance(n) for n in (0, 59, -61, 3661, 90_000, 40_000_000)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h 1 min",
        "1 d 1 h",
        "1 y 97 d",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "a+" * 100_000,
        "/a" * 100_000,
        "1." * 100_000,
        "Jan " * 50_000,
        "x@" * 100_000,
        "f" * 200_000,
    ],
)
def test_hostile_lines_take_bounded_time(line: str) -> None:
    """No pattern looks at a long line again and again."""
    start = time.monotonic()
    text(line, line + "!")
    text(line[:19_000], line[:19_000].replace(line[0], "\n", 1))
    text(f"{line} at 2026-11-24", f"{line} at 2026-11-25")
    assert time.monotonic() - start < 2


def test_long_line_is_looked_at_where_it_differs() -> None:
    """One line of a minified file."""
    a = "{" + '"k":1,' * 50_000 + '"at":"2026-11-24T00:00:00Z"' + ',"k":1' * 50_000 + "}"
    assert causes(a, a.replace("2026-11-24T00:00:00Z", "2026-11-24T00:00:09Z")) == [Cause.CLOCK]
