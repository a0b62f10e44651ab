"""Compare indexes, manifests and configs: JSON by path, and what follows from what.

A digest or size in a document that names another part of the image differs because that part
differs. Such fields are left out: the part itself is compared. What else may differ is a finding.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.compare_json import compare_json
from reproducibility.findings import Blob, Level, State, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reproducibility.findings import Found
    from reproducibility.model import Document
    from reproducibility.patterns import Hints

_CONSEQUENCES: Final = {
    Level.INDEX: re.compile(r"\$\.manifests\[\d+\]\.(digest|size)"),
    Level.MANIFEST: re.compile(
        r"\$\.(config\.(digest|size)|layers\[\d+\](\.(digest|size|mediaType))?)"
    ),
    Level.CONFIG: re.compile(r"\$\.(rootfs\.diff_ids(\[\d+\])?)"),
}
_LISTS: Final = {
    Level.INDEX: re.compile(r"\$\.manifests\[\d+\]"),
    Level.CONFIG: re.compile(r"\$\.history\[\d+\]"),
}
"""Whole items that one side does not have: platforms and layers say so themselves."""


def step_of(a: Document | None, b: Document | None) -> Step:
    """Say how two documents relate."""
    return Step(state=state_of(a, b), a=blob_of(a), b=blob_of(b))


def state_of(a: Document | None, b: Document | None) -> State:
    """Compare two documents by their bytes."""
    if a is None or b is None:
        return State.NOT_COMPARED
    return State.IDENTICAL if a.raw == b.raw else State.DIFFERENT


def blob_of(document: Document | None) -> Blob | None:
    """Describe a document."""
    if document is None:
        return None
    return Blob(digest=str(document.digest), size=len(document.raw), media_type=document.media_type)


def compare_documents(level: Level, a: Document, b: Document, *, hints: Hints) -> Iterator[Found]:
    """Yield the differences of two documents that do not follow from those of other parts."""
    if a.raw == b.raw:
        return
    found = compare_json(
        a.raw, b.raw, hints=hints, is_name=lambda _: False, otherwise=Cause.CONFIGURATION
    )
    for finding in found or ():
        is_part = _CONSEQUENCES[level].fullmatch(finding.inside) is not None
        is_item = level in _LISTS and _LISTS[level].fullmatch(finding.inside) is not None
        if not is_part and not (is_item and "absent" in (finding.a, finding.b)):
            yield finding
