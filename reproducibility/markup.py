"""HTML that cannot be broken by what is put into it.

Everything is escaped unless it was made here: `tag` returns `Markup`, and only `Markup` goes into a
page as it is.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Make text safe; what is `Markup` stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(text, quote=True))


def join(parts: Iterable[str]) -> Markup:
    """Put parts one after the other."""
    return Markup("".join(map(escape, parts)))


def tag(name: str, *content: str, **attributes: str | bool | None) -> Markup:
    """Return an element.

    Args:
        name: its name.
        content: children; plain text is escaped.
        attributes: `class_` is `class`, `data_x` is `data-x`; True is an attribute without a value,
            None and False are none.
    """
    words = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(attribute)
        elif value is not None and value is not False:
            words.append(f'{attribute}="{html.escape(value, quote=True)}"')
    if name in _VOID:
        return Markup(f"<{' '.join(words)}>")
    return Markup(f"<{' '.join(words)}>{join(content)}</{name}>")


_VOID = frozenset({"meta", "link", "input", "br", "hr"})
