"""UCL: whatever is written comes back, and no input does anything but parse or be refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FormatError
from pipeline.formats.ucl import parse_ucl

pytestmark = pytest.mark.property

_TEXT = st.text(
    st.characters(codec="utf-8", min_codepoint=0x20, exclude_characters="\x7f"), max_size=20
)
_SCALAR = st.one_of(_TEXT, st.booleans(), st.none(), st.integers(-(2**63), 2**63 - 1))
_KEY = _TEXT.filter(bool)
_VALUE = st.recursive(
    _SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEY, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=50)
@given(st.dictionaries(_KEY, _VALUE, max_size=5), st.sampled_from([None, 2]))
def test_json_is_ucl(document: dict[str, object], indent: int | None) -> None:
    """What pkg writes of meta.conf into its own directory is JSON."""
    raw = json.dumps(document, ensure_ascii=False, indent=indent).encode()
    assert parse_ucl(raw, keep_variables=True) == document


_ATOM = st.from_regex(r"[a-z][a-z0-9_/-]{1,8}", fullmatch=True).filter(
    lambda text: text not in {"true", "yes", "on", "false", "no", "off", "null", "nan", "inf"}
)
_SEPARATOR = st.sampled_from([" ", " = ", ": ", "=", "\t:", " =\n  "])
_END = st.sampled_from([";", "\n", ",", ";\n\n", " # why\n", "\r\n", " /* why */\n"])


@given(st.lists(st.tuples(_ATOM, _SEPARATOR, _ATOM, _END), max_size=6))
def test_separators_do_not_matter(items: list[tuple[str, str, str, str]]) -> None:
    text = "".join(key + separator + value + end for key, separator, value, end in items)
    expected: dict[str, list[str]] = {}
    for key, _, value, _ in items:
        expected.setdefault(key, []).append(value)
    got = parse_ucl(text.encode())
    assert got == {k: v[0] if len(v) == 1 else v for k, v in expected.items()}


_MARKS = [*"=:;,{}[]#.$'\\\n\t ", '"', "/*", "*/"]
_WORDS = ["a", "b ", "<<EOD\n", "\nEOD\n", "1", "0x", "1.5", "10k", "5min", "yes", "${x}"]
_PIECES = st.sampled_from([*_MARKS, *_WORDS])


@given(
    st.one_of(st.binary(max_size=60), st.lists(_PIECES, max_size=20).map("".join).map(str.encode))
)
def test_parses_or_refuses_and_nothing_else(raw: bytes) -> None:
    try:
        value = parse_ucl(raw)
    except FormatError as e:
        assert "\n" not in str(e)  # noqa: PT017 - most inputs are refused
    else:
        assert parse_ucl(raw) == value
