"""A Markdown summary for the page of a CI job: short, safe, without markup from images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from reproducibility.summary import (
    MARKS,
    VERDICTS,
    count_causes,
    counted,
    headline,
    level_matrix,
    where_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reproducibility.findings import Matrix, Report

_MAX_ROWS: Final = 20
_SPECIAL_RE: Final = re.compile(r"([\\`*_{}\[\]<>#|~!@&:])")


def render_markdown(report: Report) -> str:
    """Return the summary."""
    return "\n".join(_lines(report)) + "\n"


def escape_markdown(text: str) -> str:
    """Make text that says only what it says; what is not printable becomes a space."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return _SPECIAL_RE.sub(r"\\\1", " ".join(printable.split()))


def _lines(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield f"## {MARKS[verdict]} {VERDICTS[verdict]}: {escape_markdown(report.title)}"
    yield ""
    yield escape_markdown(headline(report))
    matrix = report.matrix
    if matrix is None and len(report.comparisons) == 1:
        matrix = level_matrix(report.comparisons[0])
    if matrix is not None and matrix.rows:
        yield ""
        yield from _matrix(matrix)
    yield from _causes(report)
    yield from _differences(report)
    yield from _listed("Could not be told", [p for c in report.comparisons for p in c.problems])
    notes = [*report.notes, *(note for c in report.comparisons for note in c.notes)]
    yield from _listed("Notes", list(dict.fromkeys(notes)))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _matrix(matrix: Matrix) -> Iterator[str]:
    yield _row([*map(escape_markdown, (matrix.corner, *matrix.columns))])
    yield _row(["---"] * (len(matrix.columns) + 1))
    for row in matrix.rows:
        cells = [
            f"{MARKS[cell.verdict] if cell.verdict else '-'} {escape_markdown(cell.text)}"
            for cell in row.cells
        ]
        name = escape_markdown(row.name)
        yield _row([f"**{name}** (guilty)" if row.guilty else name, *cells])


def _causes(report: Report) -> Iterator[str]:
    causes = count_causes(report.comparisons)
    if not causes:
        return
    yield ""
    yield _row(["Cause", "Differences", "Packages", "For example"])
    yield _row(["---", "---:", "---", "---"])
    for found in causes:
        yield _row(
            [
                found.cause.value + (" (not counted)" if found.is_ignored else ""),
                str(found.count),
                escape_markdown(", ".join(found.packages[:3])) or "-",
                escape_markdown(found.example),
            ]
        )


def _differences(report: Report) -> Iterator[str]:
    differences = [d for c in report.comparisons for d in counted(c.differences)]
    if not differences:
        return
    yield ""
    yield f"<details><summary>The first {min(len(differences), _MAX_ROWS)} differences</summary>"
    yield ""
    yield _row(["Where", "Cause", "A", "B"])
    yield _row(["---"] * 4)
    for d in differences[:_MAX_ROWS]:
        place = " ".join(filter(None, (d.place.image, d.place.platform, where_text(d))))
        yield _row([escape_markdown(place), d.cause.value, *map(escape_markdown, (d.a, d.b))])
    yield ""
    yield "</details>"


def _listed(title: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield ""
        yield f"**{title}**"
        yield ""
        yield from (f"- {escape_markdown(item)}" for item in items[:_MAX_ROWS])
