"""Typed readers: the right type or an error that says where."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import FormatError, LayoutError, LockfileError
from pipeline.formats.fields import (
    checked,
    get_as,
    get_optional,
    get_required,
    get_sequence_of,
    refuse_unknown,
)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, int, "got a boolean, want an integer"),
        (1, bool, "got an integer, want a boolean"),
        (None, str, "got null, want a string"),
        ([], dict, "got a list, want an object"),
        ({}, list, "got an object, want a list"),
        (1.5, int, "got float, want an integer"),
        ("", bytes, "got a string, want bytes"),
    ],
)
def test_only_the_exact_type_passes(value: Any, kind: Any, message: str) -> None:
    """A bool is no int, as in JSON."""
    with pytest.raises(LockfileError) as caught:
        checked(value, kind, context="a.b", error=LockfileError)
    assert str(caught.value) == f"a.b: {message}"


def test_a_required_field_must_be_there() -> None:
    """Absent is not null."""
    assert get_required({"a": "x"}, str, "a") == "x"
    with pytest.raises(FormatError) as caught:
        get_required({}, str, "a")
    assert str(caught.value) == "a: missing"
    with pytest.raises(FormatError, match="got null"):
        get_required({"a": None}, str, "a")


def test_an_optional_field_may_be_absent_but_not_null() -> None:
    """None means absent in the document, nothing else."""
    assert get_optional({}, str, "a") is None
    assert get_optional({"a": "x"}, str, "a") == "x"
    with pytest.raises(FormatError, match="got null"):
        get_optional({"a": None}, str, "a")


def test_get_as_puts_the_key_before_the_parsers_context() -> None:
    """Contexts are built while unwinding."""

    def parse(text: str) -> int:
        if not text.isdigit():
            raise LayoutError("no number", context="[2]")
        return int(text)

    assert get_as({"n": "12"}, str, parse, "n") == 12
    with pytest.raises(LayoutError) as caught:
        get_as({"n": "x"}, str, parse, "n")
    assert str(caught.value) == "n[2]: no number"


def test_get_as_gives_an_error_the_wanted_class() -> None:
    """A value's own parser does not know which document it is in."""

    def parse(text: str) -> int:
        raise FormatError("no number", hint="count")

    with pytest.raises(LockfileError) as caught:
        get_as({"n": "x"}, str, parse, "n", error=LockfileError)
    assert (str(caught.value), caught.value.hint) == ("n: no number", "count")


def test_a_sequence_names_the_item_at_fault() -> None:
    """Items are counted from 0, as JSON paths do; an absent list is empty."""
    assert get_sequence_of({"a": ["x", "y"]}, str, "a") == ("x", "y")
    assert get_sequence_of({}, str, "a") == ()
    with pytest.raises(FormatError) as caught:
        get_sequence_of({"a": ["x", 1]}, str, "a")
    assert str(caught.value) == "a[1]: got an integer, want a string"
    with pytest.raises(FormatError, match=r"^a: got an object, want a list$"):
        get_sequence_of({"a": {}}, str, "a")


def test_unknown_keys_are_refused_in_our_own_documents() -> None:
    """The first in order is named, and what is known."""
    refuse_unknown({"a": 1}, frozenset({"a", "b"}))
    with pytest.raises(LockfileError) as caught:
        refuse_unknown({"z": 1, "c": 1, "a": 1}, frozenset({"b", "a"}), error=LockfileError)
    assert str(caught.value) == "unknown key 'c', want one of a, b"
