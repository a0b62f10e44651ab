"""One JSON encoding for everything that is hashed, signed or locked.

Rules (docs/FORMAT.md, section JSON): UTF-8 without escapes that JSON does not need, keys sorted by
code point, no insignificant white space, integers only (no floats), no duplicate keys, no lone
surrogates, no value inside more than `MAX_DEPTH` objects and arrays.
`pretty` is the same document for people: two spaces, one trailing newline.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final, NoReturn

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SCALARS: Final = (str, int, bool, type(None))

MAX_DEPTH: Final = 64
"""Nesting that is encoded and decoded; nothing legitimate comes near it."""


def _refuse_float(text: str) -> NoReturn:
    raise FormatError(f"got number {text}, want an integer")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise FormatError(f"key {twice!r} twice in one object")
    return result


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_refuse_float, parse_constant=_refuse_float
)


def _check(value: object, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("value is nested too deeply to be canonical")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"key {key!r} is not a string")
            _check(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, depth + 1)
    elif type(value) not in _SCALARS:
        raise TypeError(f"{value!r} has no canonical form")


def dumps(value: Mapping[str, object] | Sequence[object]) -> bytes:
    """Encode canonically; floats and other types are a bug of the caller (TypeError)."""
    _check(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pretty(value: Mapping[str, object] | Sequence[object]) -> bytes:
    """Encode the same document for people to read and to diff."""
    _check(value)
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def loads(data: bytes, *, error: type[FormatError] = FormatError) -> object:
    """Decode strictly: by the rules above, and nothing after the end.

    Raises:
        error: with the offset of the first fault.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise error(f"not UTF-8 at byte {e.start}") from None
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as e:
        raise error(f"not JSON: {e.msg} at character {e.pos}") from None
    except FormatError as e:
        raise error(e.message) from None
    except ValueError:  # Python's limit on the digits of an integer
        raise error("a number has too many digits") from None
    except RecursionError:  # the decoder's own guard; far above MAX_DEPTH, far below a crash
        raise error("nested too deeply") from None
    if _is_deep(value):
        raise error("nested too deeply")
    if "\\u" in text and not _is_text(value):
        raise error("a lone surrogate in a string")
    return value


def _is_deep(value: object) -> bool:
    """Walk level by level: the decoder's own bound differs between versions of Python."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        inside = [v.values() if isinstance(v, dict) else v for v in level]
        level = [item for items in inside for item in items if isinstance(item, (dict, list))]
    return bool(level)


def _is_text(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def loads_object(data: bytes, *, error: type[FormatError] = FormatError) -> dict[str, object]:
    """Decode a document whose top is an object."""
    value = loads(data, error=error)
    if not isinstance(value, dict):
        raise error(f"got {type(value).__name__}, want an object")
    return value
