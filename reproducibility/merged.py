"""The root file system that layers make when they are applied one over the other.

Specification: image-spec v1.1.1, layer.md, sections "Applying Changesets" and "Whiteouts".
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from reproducibility.entries import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reproducibility.entry_table import EntryTable

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


def merge_layers(layers: Iterable[EntryTable], into: EntryTable) -> None:
    """Apply layers, the lowest first; each row of the result knows the number of its layer."""
    for number, layer in enumerate(layers):
        if number:
            _clear(layer, into)
        for row in layer:
            if not posixpath.basename(row.entry.path).startswith(_WHITEOUT):
                into.add(row.entry, layer=number)
        into.flush()


def _clear(layer: EntryTable, into: EntryTable) -> None:
    """Remove what a layer deletes, and what is below the directories that it replaces."""
    for row in layer:
        folder, name = posixpath.split(row.entry.path)
        if name == _OPAQUE:
            into.remove_below(folder)
        elif name.startswith(_WHITEOUT):
            into.remove(posixpath.join(folder, name[len(_WHITEOUT) :]))
        elif row.entry.kind is not Kind.DIRECTORY:
            replaced = into.get(row.entry.path)
            if replaced is not None and replaced.entry.kind is Kind.DIRECTORY:
                into.remove_below(row.entry.path)
