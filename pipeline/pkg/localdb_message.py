"""The column `packages.message`: a package's messages as the JSON that libucl writes.

docs/format/local-sqlite.md, rule L47. Source: freebsd/pkg 2.8.4, libpkg/pkg.c
(pkg_message_to_str, pkg_message_from_ucl), libucl's ucl_emitter_utils.c (ucl_elt_string_write_json)
and ucl_util.c (ucl_object_fromstring_common).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pipeline.errors import DatabaseError
from pipeline.formats.fields import checked, get_optional, get_required, refuse_unknown
from pipeline.pkg.manifest import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_UPGRADE: Final = "upgrade"
_KINDS: Final = (None, "install", _UPGRADE, "remove")
_KEYS: Final = frozenset({"message", "type", "minimum_version", "maximum_version"})

_SPACE: Final = " \t\n\v\f\r"
_UNKNOWN: Final = "\\uFFFD"
_ESCAPES: Final = str.maketrans(
    {
        **{chr(code): _UNKNOWN for code in (*range(0x20), 0x7F, 0xFFFD)},
        "\n": "\\n",
        "\r": "\\r",
        "\b": "\\b",
        "\t": "\\t",
        "\f": "\\f",
        "\v": "\\u000B",
        "\\": "\\\\",
        '"': '\\"',
    }
)
"""libucl's escapes; U+FFFD itself too, so that a text that was read back stays the same."""


def messages_text(messages: Sequence[Message]) -> str | None:
    """Return the column: compact JSON, or None (NULL) where there is no message."""
    if not messages:
        return None
    return "[" + ",".join(_message_text(m) for m in messages) + "]"


def _message_text(message: Message) -> str:
    members = [("message", message.text.strip(_SPACE))]
    if message.kind is not None:
        members.append(("type", message.kind))
    if message.kind == _UPGRADE:  # pkg reads versions for no other kind
        if message.maximum_version is not None:
            members.append(("maximum_version", message.maximum_version))
        if message.minimum_version is not None:
            members.append(("minimum_version", message.minimum_version))
    return "{" + ",".join(f"{_quoted(key)}:{_quoted(value)}" for key, value in members) + "}"


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def parse_messages(column: str | None) -> tuple[Message, ...]:
    """Read the column: NULL, JSON, or a plain text as pkg before 1.11 wrote it.

    Raises:
        DatabaseError: JSON that pkg does not write.
    """
    if not column:
        return ()
    if not column.startswith("["):
        return (_message({"message": column}),)
    try:
        items = json.loads(column)
    except (ValueError, RecursionError):
        raise DatabaseError(f"not JSON: {column[:80]!r}", context="message") from None
    result = []
    for i, item in enumerate(items):
        try:
            result.append(_message(checked(item, dict, context="", error=DatabaseError)))
        except DatabaseError as e:
            raise e.within(f"message[{i}]") from None
    return tuple(result)


def _message(d: Mapping[str, object]) -> Message:
    refuse_unknown(d, _KEYS, error=DatabaseError)
    kind = get_optional(d, str, "type", error=DatabaseError)
    if kind not in _KINDS:
        raise DatabaseError(f"got {kind!r}, want install, upgrade or remove", context="type")
    text = get_required(d, str, "message", error=DatabaseError)
    if "\0" in text:
        raise DatabaseError("NUL in text", context="message")
    return Message(
        text=text,
        kind=kind,
        minimum_version=get_optional(d, str, "minimum_version", error=DatabaseError),
        maximum_version=get_optional(d, str, "maximum_version", error=DatabaseError),
    )
