"""UCL as libucl reads it; the expected values are those of libucl in freebsd/pkg 2.8.4."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pipeline.errors import FormatError
from pipeline.formats.ucl import MAX_DEPTH, MAX_UCL, parse_ucl

SAME_AS_LIBUCL: list[tuple[str, object]] = [
    ("", {}),
    ("# nothing\n", {}),
    ("a = 1", {"a": 1}),
    ("a: 1; b 2, c = x\nd : z", {"a": 1, "b": 2, "c": "x", "d": "z"}),
    ("{ a = 1 }", {"a": 1}),
    ('{"a": [1, 2, {"b": "c"}], "d": {}}', {"a": [1, 2, {"b": "c"}], "d": {}}),
    ("section { x = 1; y = 2 }", {"section": {"x": 1, "y": 2}}),
    ("section = {\n  x = 1\n}\nz = 2", {"section": {"x": 1}, "z": 2}),
    ("a b c { x = 1 }; d = 2", {"a": {"b": {"c": {"x": 1}}}, "d": 2}),
    ("a b [1, 2]; c = 3", {"a": {"b": [1, 2]}, "c": 3}),
    ("a = 1; a = 2; a = x", {"a": [1, 2, "x"]}),
    ("s { x = 1 }; s { y = 2 }", {"s": [{"x": 1}, {"y": 2}]}),
    ("a = 1; a = [2]", {"a": [1, [2]]}),
    ("k = value # comment\nl = 2", {"k": "value", "l": 2}),
    ("/* outer /* inner */ still */ k = 1", {"k": 1}),
    ('/* "*/" */ k = 1', {"k": 1}),
    ("k = a/b /* c */; l = 1", {"k": "a/b", "l": 1}),
    ("k = http://host/path", {"k": "http://host/path"}),
    ("k = two words  ; l = 1", {"k": "two words", "l": 1}),
    (r'k = "a\n\t\"\\\/b"', {"k": 'a\n\t"\\/b'}),
    (r'k = "\u00e9\u20ac"', {"k": "é€"}),
    (r"k = a\,b\;c", {"k": "a,b;c"}),
    (r"k = 'raw \n it\'s'", {"k": r"raw \n it's"}),
    ("k = 'one\\\nline'", {"k": "oneline"}),
    ("k = <<EOD\nline 1\n  line 2;\nEOD\nl = 1", {"k": "line 1\n  line 2;", "l": 1}),
    ("k = <<EOD\nEODX\nEOD;", {"k": "EODX"}),
    ("k = <<EOD\n\nEOD", {"k": ""}),
    ("a = true; b = Yes; c = ON; d = y", {"a": True, "b": True, "c": True, "d": True}),
    ("a = false; b = no; c = Off; d = n", {"a": False, "b": False, "c": False, "d": False}),
    ('a = "yes"; b = null', {"a": "yes", "b": None}),
    ("a = 0x1f; b = -12; c = 10k; d = 1kb; e = 2M", {"a": 31, "b": -12, "c": 10000, "d": 1024, "e": 2000000}),
    ("a = 9223372036854775807", {"a": 9223372036854775807}),
    ("a = 1.5; b = 2.50k; c = 1e3", {"a": Decimal("1.5"), "b": Decimal(2500), "c": Decimal(1000)}),
    ("a = 5min; b = 10ms; c = 2d", {"a": Decimal(300), "b": Decimal("0.01"), "c": Decimal(172800)}),
    ("a = 1.2.3; b = 10 apples; c = 15.0p1; d = 2001:db8::1", {"a": "1.2.3", "b": "10 apples", "c": "15.0p1", "d": "2001:db8::1"}),
    ("a = 1d7b45d20fa8d6ed", {"a": "1d7b45d20fa8d6ed"}),
    ("a = 10k ;", {"a": "10k"}),
    ("k = {a{b}c}", None),
    ("k = x{a}y[b]z; l = 1", {"k": "x{a}y[b]z", "l": 1}),
    ("a = [1, 2,]; b = [\n1\n2\n]", {"a": [1, 2], "b": [1, 2]}),
    ("a = [1, # one\n 2]", {"a": [1, 2]}),
    ("a =\n  1", {"a": 1}),
    ("k /* c */ = /* d */ x", {"k": "x"}),
    ("a =\n# c\n# d\n/* e */b", {"a": "b"}),
    ("k = <<EOD\nx\nEODX\nEOD", {"k": "x\nEODX"}),
    ('"a b" = 1; "c\\"d": 2', {"a b": 1, 'c"d': 2}),
    ("a.b-c/d = 1", {"a.b-c/d": 1}),
    ("größe = 1", {"größe": 1}),
    ("a=1;;;b=2", {"a": 1, "b": 2}),
    ("a = 1\r\nb = 2\r\n", {"a": 1, "b": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SAME_AS_LIBUCL)
def test_reads_as_libucl_does(text: str, value: object) -> None:
    """None stands for a document that libucl refuses."""
    if value is None:
        with pytest.raises(FormatError):
            parse_ucl(text.encode())
    else:
        assert parse_ucl(text.encode()) == value


REFUSED = [
    (".include /etc/passwd", "macros are not accepted"),
    ("a = 1\n.priority 2", "macros are not accepted"),
    ("a = ${HOME}", "variable"),
    ('a = "$ABI"', "variable"),
    ("a = <<EOD\n${x}\nEOD", "variable"),
    ("a = ", "no value"),
    ("a", "in a key"),
    ("a = {", "want '}'"),
    ("a = [1", "want ']'"),
    ("a = 1}", "end of the item"),
    ("{ a = 1 } b = 2", "after the end"),
    ("}{ not ucl", "want a key"),
    ("[1, 2]", "want the keys"),
    ('a = "x', "without an end"),
    ("a = 'x", "without an end"),
    ('a = "x\ny"', "want it escaped"),
    ("/* a", "comment without an end"),
    ("a = <<EOD\nx\n", "without an end"),
    ("a = <<eod\nx\neod\n", "<<WORD"),
    ("a = <<AA\nx\nAAA\nAA\n", "begins with AA"),
    ('a = "\\x41"', "escape"),
    ('a = "\\u12"', "escape"),
    ('a = "\\u0000"', "escape"),
    ('a = "\\ud800"', "escape"),
    ('"" = 1', "empty key"),
    ('a = "x" "y"', "end of the item"),
    ("a = 9223372036854775808", "out of range"),
    ("a = 1e999", "out of range"),
    ("a = 10000000000g", "out of range"),
    ("a = 1.5kb", "fraction of bytes"),
    ("a = nan", "got nan"),
    ("a = 0x12zz", "hexadecimal"),
    ("a = 5x10", "hexadecimal"),
    ("a = 1 /* one */", "comment after a number"),
    ("a = [2]; a = 3", "again after its array"),
    ("a = = 1", "after '='"),
    ("a = # c\n1", "after '='"),
    ("a # c\n1", "comment after a key"),
    ("a = [ # c\n 1]", "blanks between a comment and a value"),
    ("/* c */ {a = 1}", "want the keys"),
    ("a b = x{y", "want a key"),
    ('a "b" "c{"', "after keys"),
    ("a = \x01", "control character"),
    ("a\x00 = 1", "control character"),
    ("@ = 1", "want a key"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refuses_with_place(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=r".") as caught:
        parse_ucl(text.encode())
    assert message in caught.value.message
    assert caught.value.context.startswith("line ")


def test_names_line_and_column() -> None:
    with pytest.raises(FormatError) as caught:
        parse_ucl(b"a = 1\nb = 2\n  @ = 3\n")
    assert str(caught.value) == "line 3, column 3: got '@', want a key"


def test_refuses_other_encodings() -> None:
    with pytest.raises(FormatError, match="not UTF-8 at byte 4"):
        parse_ucl(b"a = \xe9")


def test_refuses_what_is_too_long_before_looking_at_it() -> None:
    with pytest.raises(FormatError, match=f"want at most {MAX_UCL}"):
        parse_ucl(b"\xff" * (MAX_UCL + 1))


@pytest.mark.parametrize("opening", ["a { ", "a b { ", "a "])
def test_depth_is_bounded(opening: str) -> None:
    """A parser that recurses must not be led beyond its stack."""
    with pytest.raises(FormatError, match="nested more than"):
        parse_ucl(opening.encode() * 10_000 + b"{")
    with pytest.raises(FormatError, match="nested more than"):
        parse_ucl(b"a = " + b"[" * 10_000)


def test_depth_up_to_the_bound_is_fine() -> None:
    value = parse_ucl(b"a {" + b" a {" * (MAX_DEPTH - 1) + b"}" * MAX_DEPTH)
    for _ in range(MAX_DEPTH):
        inner = value["a"]
        assert isinstance(inner, dict)
        value = inner
    assert value == {}


def test_keeps_variables_on_request() -> None:
    """A repository's .conf: pkg puts its own values in, we leave that to the URL's reader."""
    raw = b"""
    FreeBSD-base: {
      url: "pkg+https://pkg.FreeBSD.org/${ABI}/base_release_${VERSION_MINOR}",
      mirror_type: "srv",
      signature_type: "fingerprints",
      fingerprints: "/usr/share/keys/pkgbase-15",
      enabled: no
    }
    """
    assert parse_ucl(raw, keep_variables=True) == {
        "FreeBSD-base": {
            "url": "pkg+https://pkg.FreeBSD.org/${ABI}/base_release_${VERSION_MINOR}",
            "mirror_type": "srv",
            "signature_type": "fingerprints",
            "fingerprints": "/usr/share/keys/pkgbase-15",
            "enabled": False,
        }
    }


def test_dollar_signs_that_are_no_variables_stay() -> None:
    assert parse_ucl(b"a = \"^x$\"; b = 5$; c = '${raw}'") == {"a": "^x$", "b": "5$", "c": "${raw}"}


def test_reads_a_trigger() -> None:
    raw = b"""path: [ "/usr/local/share/glib-2.0/schemas" ]
cleanup: {
  type: lua, sandbox: false,
  script: <<EOS
if x then os.remove("y") end
EOS
}
trigger: { type: lua, script: <<EOS
pkg.exec({"/usr/local/bin/glib-compile-schemas", arg[1]})
EOS
}
"""
    value = parse_ucl(raw)
    assert value["path"] == ["/usr/local/share/glib-2.0/schemas"]
    cleanup = value["cleanup"]
    assert isinstance(cleanup, dict)
    assert cleanup["script"] == 'if x then os.remove("y") end'


def test_folds_keys_on_request() -> None:
    assert parse_ucl(b'VERSION = 2; "\xc3\x84A" = X', lowercase_keys=True) == {
        "version": 2,
        "Äa": "X",
    }
