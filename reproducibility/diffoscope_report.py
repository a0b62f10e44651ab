"""diffoscope's JSON report, taken apart by file; nothing in it is believed to be well-formed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_MAX_DEPTH: Final = 50


def read_report(path: Path) -> Mapping[str, object] | None:
    """Read a JSON report; None if it is none, or says nothing."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.get("source1") else None


def lines_by_file(document: Mapping[str, object] | None) -> Iterator[tuple[str, list[str]]]:
    """Take the differences of single files out of the tree of a report."""
    if document is None:
        return
    waiting = [(document, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            continue
        source = node.get("source1")
        children = [child for child in _details(node) if isinstance(child, dict)]
        is_file = isinstance(source, str) and not any(
            str(child.get("source1", "")).startswith(f"{source}/") for child in children
        )
        if isinstance(source, str) and source.startswith("A/") and is_file:
            lines = list(_flatten(node, 0))
            if lines:
                yield source.removeprefix("A/"), lines
        else:
            waiting.extend((child, depth + 1) for child in reversed(children))


def _details(node: Mapping[str, object]) -> Sequence[object]:
    details = node.get("details")
    return details if isinstance(details, list) else ()


def _flatten(node: Mapping[str, object], depth: int) -> Iterator[str]:
    """Yield the lines of a file's difference, what is inside it after its own."""
    if depth > _MAX_DEPTH:
        return
    if depth:
        yield f"@@ {node.get('source1')} @@"
    comments = node.get("comments")
    if isinstance(comments, list) and not depth:
        yield from (f"# {comment}" for comment in comments if isinstance(comment, str))
    diff = node.get("unified_diff")
    if isinstance(diff, str):
        yield from diff.splitlines()
    for child in _details(node):
        if isinstance(child, dict):
            yield from _flatten(child, depth + 1)
