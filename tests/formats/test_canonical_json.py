"""Canonical JSON: one encoding, and a strict decoder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import FormatError, LayoutError
from pipeline.formats.canonical_json import MAX_DEPTH, dumps, loads, loads_object, pretty

VECTORS = [
    ({}, b"{}"),
    ([], b"[]"),
    ({"b": 1, "a": [True, False, None, -1]}, b'{"a":[true,false,null,-1],"b":1}'),
    ({"é": 'ü\n"\\/'}, '{"é":"ü\\n\\"\\\\/"}'.encode()),
    ({"\U0001f600": 1, "\uffff": 2}, '{"\uffff":2,"\U0001f600":1}'.encode()),
    ({"a": "\x00\x1f\x7f"}, b'{"a":"\\u0000\\u001f\x7f"}'),
    (({"a": ()},), b'[{"a":[]}]'),
    ({"n": 2**70}, b'{"n":1180591620717411303424}'),
]


@pytest.mark.parametrize(("value", "data"), VECTORS)
def test_vectors(value: Any, data: bytes) -> None:
    """Sorted by code point, no white space, UTF-8, no escape that JSON does not need."""
    assert dumps(value) == data


@pytest.mark.parametrize(("value", "data"), VECTORS)
def test_loads_is_the_inverse(value: Any, data: bytes) -> None:
    """Both ways; a tuple comes back as a list."""
    assert loads(data) == json.loads(json.dumps(value))
    decoded: Any = loads(data)
    assert dumps(decoded) == data


def test_pretty_is_the_same_document_for_people() -> None:
    """Two spaces and one trailing newline; it reads back to the same value."""
    value = {"b": [1, {"c": "é"}], "a": {}}
    assert pretty(value).decode() == (
        '{\n  "a": {},\n  "b": [\n    1,\n    {\n      "c": "é"\n    }\n  ]\n}\n'
    )
    assert loads(pretty(value)) == value


def test_insertion_order_does_not_matter() -> None:
    """The same value, the same bytes."""
    assert dumps({"a": 1, "b": {"x": 1, "y": 2}}) == dumps({"b": {"y": 2, "x": 1}, "a": 1})


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize("value", [{"a": 1.0}, {1: 2}, {"a": b""}, {"a": {1}}, {"a": _Text("x")}])
def test_what_has_no_canonical_form_is_a_bug(value: Any) -> None:
    """Floats, bytes, sets and subclasses are refused as misuse."""
    with pytest.raises(TypeError):
        dumps(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON: "),
        (b"{", "not JSON: "),
        (b"{} x", "not JSON: Extra data at character 3"),
        (b'{"a":1,}', "not JSON: "),
        (b'{"a":"\n"}', "not JSON: "),
        (b"\xef\xbb\xbf{}", "not JSON: "),
        (b'{"a":"\xe9"}', "not UTF-8 at byte 6"),
        (b'{"a":1.5}', "got number 1.5, want an integer"),
        (b"1e3", "got number 1e3, want an integer"),
        (b"NaN", "got number NaN, want an integer"),
        (b"-Infinity", "got number -Infinity, want an integer"),
        (b'{"a":1,"b":2,"a":1}', "key 'a' twice in one object"),
        (b'{"x":{"a":1,"a":1}}', "key 'a' twice in one object"),
        (b"9" * 5000, "a number has too many digits"),
        (b'{"a":"\\ud800"}', "a lone surrogate in a string"),
        (b'{"\\udfff":1}', "a lone surrogate in a string"),
        (b'["\\udc00\\ud800"]', "a lone surrogate in a string"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_the_decoder_is_strict(data: bytes, message: str) -> None:
    """Each fault is a FormatError of the wanted class, never another exception."""
    with pytest.raises(LayoutError) as caught:
        loads(data, error=LayoutError)
    assert str(caught.value).startswith(message)


def test_pairs_of_surrogates_are_text() -> None:
    """RFC 8259, section 7: characters beyond U+FFFF are escaped as a pair."""
    assert loads(b'["\\ud83d\\ude00\\\\ud800"]') == ["\U0001f600\\ud800"]


@pytest.mark.parametrize("kind", ["[%s]", '{"a":%s}'])
def test_depth_has_one_bound_for_both_directions(kind: str) -> None:
    """MAX_DEPTH containers around a value pass, one more does not, on every Python."""
    text = "1"
    for _ in range(MAX_DEPTH):
        text = kind % text
    value: Any = loads(text.encode())
    assert dumps(value) == text.encode()
    with pytest.raises(FormatError, match="nested too deeply"):
        loads((kind % text).encode())
    with pytest.raises(ValueError, match="nested too deeply"):
        dumps([value])


def test_a_document_must_be_an_object() -> None:
    """`loads_object` names what it got."""
    assert loads_object(b'{"a":1}') == {"a": 1}
    with pytest.raises(LayoutError, match=r"^got list, want an object$"):
        loads_object(b"[]", error=LayoutError)


_TEXTS = st.text(max_size=6)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.property
@given(st.dictionaries(_TEXTS, _VALUES, max_size=3))
def test_any_value_survives_both_encodings(value: Any) -> None:
    """`loads` undoes `dumps` and `pretty`."""
    assert loads(dumps(value)) == value
    assert loads(pretty(value)) == value


@pytest.mark.property
@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    """Nothing but FormatError comes out of bytes that somebody else wrote."""
    try:
        value = loads(data)
    except FormatError:
        return
    if isinstance(value, dict):
        assert loads(dumps(value)) == value
