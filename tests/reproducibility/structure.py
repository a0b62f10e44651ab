"""What a JSON Schema has to say about our values, derived from the values' types."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import typing
from typing import Any

from reproducibility import findings

_PLAIN = {str: "string", int: "integer", bool: "boolean"}
_KEPT = ("type", "enum", "items", "properties", "required", "additionalProperties")


def structure(kind: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the structure of a type, as `reproducibility.verify_result.plain` writes its values."""
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if typing.get_origin(kind) is tuple:
        item, dots = typing.get_args(kind)
        assert dots is Ellipsis
        return {"type": "array", "items": structure(item)}
    assert dataclasses.is_dataclass(kind), kind
    names = vars(importlib.import_module(kind.__module__))
    hints = typing.get_type_hints(kind, {**vars(findings), **names})
    fields = {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.name not in without}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": sorted(fields),
        "properties": {name: structure(hint) for name, hint in fields.items()},
    }


def bare(node: Any, schema: dict[str, Any]) -> Any:
    """Return a schema without words and references."""
    if "$ref" in node:
        return bare(schema["$defs"][node["$ref"].removeprefix("#/$defs/")], schema)
    found = {key: node[key] for key in _KEPT if key in node}
    if "items" in found:
        found["items"] = bare(found["items"], schema)
    if "properties" in found:
        found["properties"] = {k: bare(v, schema) for k, v in found["properties"].items()}
        found["required"] = sorted(found["required"])
    return found
