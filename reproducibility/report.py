"""Write a report in every form there is.

| file | for |
|---|---|
| `index.html` | people |
| `report.json` | programs; docs/schemas/report.schema.json |
| `junit.xml` | test pages of CI systems |
| `report.sarif` | code-scanning pages |
| `summary.md` | the page of a CI job |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.formats import canonical_json
from pipeline.host.store import write_atomically
from reproducibility.findings import Report, report_to_dict
from reproducibility.report_html import render_html
from reproducibility.report_junit import render_junit
from reproducibility.report_markdown import render_markdown
from reproducibility.report_sarif import render_sarif

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ARTIFACTS: Final = "diffoscope"
"""Folder beside the report for what diffoscope wrote."""


def render_json(report: Report) -> bytes:
    """Return the JSON form, for people to diff as well."""
    return canonical_json.pretty(report_to_dict(report))


_FORMS: Final[dict[str, Callable[[Report], bytes]]] = {
    "report.json": render_json,
    "index.html": lambda report: render_html(report).encode(),
    "junit.xml": lambda report: render_junit(report).encode(),
    "report.sarif": render_sarif,
    "summary.md": lambda report: render_markdown(report).encode(),
}


def clear_artifacts(folder: Path) -> None:
    """Remove what diffoscope wrote into a report's folder for an earlier report."""
    for path in sorted((folder / ARTIFACTS).glob("diffoscope-*")):
        if path.suffix in (".html", ".json"):
            path.unlink()


def write_report(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write every form into a folder; return the files, the page for people first."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, render in _FORMS.items():
        path = folder / name
        write_atomically(path, render(report))
        written.append(path)
    return tuple(sorted(written, key=lambda path: path.name != "index.html"))
