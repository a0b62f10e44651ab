"""Check a layout on disk from its bytes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import LayoutError
from pipeline.host.layout import Layout
from pipeline.oci.validate import validate_layout

if TYPE_CHECKING:
    from pathlib import Path


def check_layout(path: Path) -> tuple[tuple[str, ...], int]:
    """Recompute every digest, size, diff_id and history of a layout.

    Returns:
        What is not as it must be, and how many names the layout has.

    Raises:
        LayoutError: there is no layout.
    """
    if not path.is_dir():
        raise LayoutError(f"{path}: nothing is built", hint="doit build")
    layout = Layout(path)
    findings = tuple(map(str, validate_layout(layout)))
    return findings, 0 if findings else len(layout.references())
