"""Typed readers for decoded documents, with the place of an error in its context.

Each reader raises the error class it is told to (a `FormatError`), so that a document's own
module decides what breaking it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
V = TypeVar("V")

_NAMES = {str: "a string", int: "an integer", bool: "a boolean", list: "a list", dict: "an object"}


def _kind(value: object) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def checked(
    value: object, kind: type[T], *, context: str, error: type[FormatError] = FormatError
) -> T:
    """Return `value` if it is exactly of `kind` (a bool is no int), raise otherwise."""
    if type(value) is not kind:
        raise error(f"got {_kind(value)}, want {_NAMES.get(kind, kind.__name__)}", context=context)
    return value


def get_required(
    d: Mapping[str, object], kind: type[T], key: str, *, error: type[FormatError] = FormatError
) -> T:
    """Return d[key], which must be there and of `kind`."""
    if key not in d:
        raise error("missing", context=key)
    return checked(d[key], kind, context=key, error=error)


def get_optional(
    d: Mapping[str, object], kind: type[T], key: str, *, error: type[FormatError] = FormatError
) -> T | None:
    """Return d[key] of `kind`, or None if the key is absent (an explicit null is an error)."""
    if key not in d:
        return None
    return checked(d[key], kind, context=key, error=error)


def get_as(
    d: Mapping[str, object],
    kind: type[T],
    parse: Callable[[T], V],
    key: str,
    *,
    error: type[FormatError] = FormatError,
) -> V:
    """Return parse(d[key]); an error of `parse` gets the key as its context, and the class."""
    value = get_required(d, kind, key, error=error)
    try:
        return parse(value)
    except FormatError as e:
        e.within(key)
        raise (
            e if isinstance(e, error) else error(e.message, context=e.context, hint=e.hint)
        ) from None


def get_sequence_of(
    d: Mapping[str, object], kind: type[T], key: str, *, error: type[FormatError] = FormatError
) -> tuple[T, ...]:
    """Return d[key], a list whose items are all of `kind`; an absent key is an empty list."""
    if key not in d:
        return ()
    items = checked(d[key], list, context=key, error=error)
    return tuple(
        checked(item, kind, context=f"{key}[{i}]", error=error) for i, item in enumerate(items)
    )


def refuse_unknown(
    d: Mapping[str, object], known: frozenset[str], *, error: type[FormatError] = FormatError
) -> None:
    """Raise if a document of our own has a key that nobody reads."""
    unknown = sorted(set(d) - known)
    if unknown:
        raise error(f"unknown key {unknown[0]!r}, want one of {', '.join(sorted(known))}")
