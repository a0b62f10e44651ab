"""Compare JSON values by path.

Paths are written as in JSONPath: `$.config.Env[0]`; a key that is no plain name is quoted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reproducibility.attribute import attribute_text
from reproducibility.causes import Cause
from reproducibility.findings import Found, shown
from reproducibility.model import parse_json
from reproducibility.orders import explain_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from reproducibility.patterns import Hints

ABSENT: Final = "absent"
MAX_CHANGES: Final = 500
_MAX_DEPTH: Final = 100
_NAME_RE: Final = re.compile(r"[A-Za-z_][\w-]*")


@dataclass(frozen=True, slots=True)
class Change:
    """A value that differs; None stands for `null` and `is_absent` for no value."""

    path: str
    a: object
    b: object
    is_absent_a: bool = False
    is_absent_b: bool = False

    @property
    def texts(self) -> tuple[str, str]:
        """Both sides as text: strings as they are, everything else as JSON."""
        return (
            ABSENT if self.is_absent_a else _text(self.a),
            ABSENT if self.is_absent_b else _text(self.b),
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _step(path: str, key: str) -> str:
    return f"{path}.{key}" if _NAME_RE.fullmatch(key) else f"{path}[{json.dumps(key)}]"


def json_changes(a: object, b: object, *, path: str = "$", depth: int = 0) -> Iterator[Change]:
    """Yield where two values differ, as deep as possible."""
    if depth < _MAX_DEPTH and isinstance(a, dict) and isinstance(b, dict):
        yield from _object_changes(a, b, path, depth)
    elif depth < _MAX_DEPTH and isinstance(a, list) and isinstance(b, list):
        yield from _array_changes(a, b, path, depth)
    elif a != b or type(a) is not type(b):
        yield Change(path, a, b)


def _object_changes(
    a: Mapping[str, object], b: Mapping[str, object], path: str, depth: int
) -> Iterator[Change]:
    for key in sorted({*a, *b}):
        step = _step(path, key)
        if key not in a:
            yield Change(step, None, b[key], is_absent_a=True)
        elif key not in b:
            yield Change(step, a[key], None, is_absent_b=True)
        else:
            yield from json_changes(a[key], b[key], path=step, depth=depth + 1)


def _array_changes(
    a: Sequence[object], b: Sequence[object], path: str, depth: int
) -> Iterator[Change]:
    texts_a, texts_b = list(map(_text, a)), list(map(_text, b))
    if texts_a != texts_b and sorted(texts_a) == sorted(texts_b):
        yield Change(path, a, b)
        return
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        yield from json_changes(x, y, path=f"{path}[{i}]", depth=depth + 1)
    for i in range(len(b), len(a)):
        yield Change(f"{path}[{i}]", a[i], None, is_absent_b=True)
    for i in range(len(a), len(b)):
        yield Change(f"{path}[{i}]", None, b[i], is_absent_a=True)


def explain_change(
    change: Change, *, hints: Hints, is_name: Callable[[str], bool], otherwise: Cause
) -> Found:
    """Give a change a cause; `otherwise` if there is no better one."""
    a, b = change.texts
    cause, evidence = otherwise, tuple[str, ...]()
    if isinstance(change.a, list) and isinstance(change.b, list):
        order = explain_order(
            list(map(_text, change.a)), list(map(_text, change.b)), is_name=is_name
        )
        if order is not None:
            cause, evidence = order.cause, (order.evidence,)
    elif not change.is_absent_a and not change.is_absent_b:
        found = attribute_text(a, b, hints=hints, is_name=is_name)
        if found and found[0].cause not in (Cause.UNKNOWN, Cause.ENCODING):
            cause, evidence = found[0].cause, found[0].evidence
    return Found(
        cause=cause, inside=change.path, package="", a=shown(a), b=shown(b), evidence=evidence
    )


def compare_json(
    a: bytes, b: bytes, *, hints: Hints, is_name: Callable[[str], bool], otherwise: Cause
) -> tuple[Found, ...] | None:
    """Compare two JSON texts; None if one of them is none.

    Args:
        a: one side.
        b: the other.
        hints: as in `attribute_text`.
        is_name: as in `attribute_text`.
        otherwise: the cause of a change that nothing explains.
    """
    x, y = parse_json(a), parse_json(b)
    if not isinstance(x, (dict, list)) or not isinstance(y, (dict, list)):
        return None
    changes = list(json_changes(x, y))
    if not changes:
        return (explain_writing(a, b, is_name=is_name),)
    found = [
        explain_change(change, hints=hints, is_name=is_name, otherwise=otherwise)
        for change in changes[:MAX_CHANGES]
    ]
    if len(changes) > MAX_CHANGES:
        more = f"{len(changes) - MAX_CHANGES} more values"
        found.append(Found(cause=otherwise, inside="", package="", a="", b="", evidence=(more,)))
    return tuple(found)


def explain_writing(a: bytes, b: bytes, *, is_name: Callable[[str], bool]) -> Found:
    """Explain two different texts of one value: order of keys, or white space."""
    keys_a, keys_b = _key_order(a), _key_order(b)
    order = explain_order(keys_a, keys_b, is_name=is_name)
    if order is not None:
        return Found(
            cause=order.cause,
            inside="keys",
            package="",
            a=shown(order.a),
            b=shown(order.b),
            evidence=(order.evidence,),
        )
    return Found(
        cause=Cause.ENCODING,
        inside="",
        package="",
        a=f"{len(a)} bytes",
        b=f"{len(b)} bytes",
        evidence=("equal values; white space, escapes or number forms differ",),
    )


def _key_order(raw: bytes) -> list[str]:
    """Return the keys of all objects in the order of the text, each with its depth-first number."""
    keys: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys.extend(key for key, _ in pairs)
        return dict(pairs)

    json.loads(raw, object_pairs_hook=note)
    return keys
