"""A summary for the terminal, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from reproducibility.findings import State, Verdict
from reproducibility.summary import (
    MARKS,
    STATES,
    VERDICTS,
    count_causes,
    counted,
    headline,
    where_text,
)
from reproducibility.wording import plural, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from rich.console import RenderableType

    from reproducibility.findings import Comparison, Difference, Matrix, PlatformResult, Report

_COLOURS: Final = {
    Verdict.REPRODUCIBLE: "green",
    Verdict.DIFFERENT: "red",
    Verdict.UNKNOWN: "yellow",
}
_MAX_IMAGES: Final = 12
_MAX_CAUSES: Final = 8
_MAX_FOUND: Final = 8
_MAX_NOTES: Final = 3
_WIDTH: Final = 100


def print_report(report: Report, stream: TextIO, *, width: int | None = None) -> None:
    """Print a summary; colours only if the stream is a terminal."""
    console = Console(file=stream, width=width, highlight=False, soft_wrap=False)
    if width is None and not console.is_terminal:
        console = Console(file=stream, width=_WIDTH, highlight=False)
    console.print(Group(*_parts(report)))


def _parts(report: Report) -> Iterator[RenderableType]:
    verdict = report.verdict
    colour = _COLOURS[verdict]
    yield Text(f"{MARKS[verdict]} {VERDICTS[verdict]}", style=f"bold {colour}") + Text(
        f"  {report.title}", style="default"
    )
    yield Text(headline(report))
    if report.matrix is not None:
        yield _matrix(report.matrix)
    for comparison in report.comparisons:
        if comparison.label:
            yield Text(f"\n{comparison.label}", style="bold")
        yield _images(comparison)
    if report.verdict is Verdict.DIFFERENT:
        yield _causes(report)
        yield from _examples(report)
    problems = [p for c in report.comparisons for p in c.problems]
    for problem in problems[:_MAX_NOTES]:
        yield Text(f"problem: {problem}", style="yellow")
    notes = [*report.notes, *(n for c in report.comparisons for n in c.notes)]
    for note in notes[:_MAX_NOTES]:
        yield Text(f"note: {note}", style="dim")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    for column in columns:
        name = column.removeprefix(">")
        table.add_column(name, justify="right" if column != name else "left", overflow="ellipsis")
    return table


def _images(comparison: Comparison) -> Table:
    table = _table(
        "IMAGE", "PLATFORM", "INDEX", "MANIFEST", "CONFIG", "LAYERS", ">SIZE A", ">SIZE B"
    )
    shown = 0
    total = sum(len(image.platforms) or 1 for image in comparison.images)
    for image in comparison.images:
        if not image.platforms and shown < _MAX_IMAGES:
            table.add_row(Text(image.name), Text(STATES[image.state], style="red"))
            shown += 1
        for platform in image.platforms:
            if shown >= _MAX_IMAGES:
                break
            shown += 1
            table.add_row(
                Text(image.name or "root file system"),
                Text(platform.platform),
                _state(image.index.state),
                _state(platform.manifest.state),
                _state(platform.config.state),
                _layers(platform),
                _size(platform, "a"),
                _size(platform, "b"),
            )
    if total > shown:
        table.add_row(Text(f"and {total - shown} more"))
    return table


def _state(state: State) -> Text:
    if state is State.NOT_COMPARED:
        return Text("-", style="dim")
    good = state in (State.IDENTICAL, State.EQUAL_CONTENT)
    return Text(STATES[state], style="green" if good else "red")


def _layers(platform: PlatformResult) -> Text:
    states = [layer.state for layer in platform.layers if layer.state is not State.NOT_COMPARED]
    bad = [s for s in states if s not in (State.IDENTICAL, State.EQUAL_CONTENT)]
    if not bad:
        return Text(f"{len(states)} equal", style="green")
    return Text(f"{len(bad)} of {len(states)} differ", style="red")


def _size(platform: PlatformResult, side: str) -> Text:
    sides = [getattr(layer, side) for layer in platform.layers]
    sizes = [s.size for s in sides if s is not None]
    return Text(size_text(sum(sizes)) if sizes and min(sizes) >= 0 else "")


def _matrix(matrix: Matrix) -> Table:
    table = _table(matrix.corner.upper(), *matrix.columns)
    for row in matrix.rows:
        cells = [
            Text(
                f"{MARKS[cell.verdict] if cell.verdict else '-'} {cell.text}",
                style=_COLOURS[cell.verdict] if cell.verdict else "dim",
            )
            for cell in row.cells
        ]
        name = Text(row.name, style="bold red" if row.guilty else "default")
        table.add_row(name, *cells)
    return table


def _causes(report: Report) -> Table:
    table = _table("CAUSE", ">COUNT", "PACKAGES", "FOR EXAMPLE")
    causes = count_causes(report.comparisons)
    for found in causes[:_MAX_CAUSES]:
        packages = ", ".join(found.packages[:2])
        if len(found.packages) > 2:  # noqa: PLR2004
            packages += f" +{len(found.packages) - 2}"
        name = found.cause.value + (" (not counted)" if found.is_ignored else "")
        table.add_row(Text(name), str(found.count), Text(packages), Text(found.example))
    if len(causes) > _MAX_CAUSES:
        table.add_row(Text(plural(len(causes) - _MAX_CAUSES, "more cause")), "", "", "")
    return table


def _examples(report: Report) -> Iterator[Text]:
    """Show differences while there are only a few."""
    found = [d for c in report.comparisons for d in counted(c.differences)]
    if len(found) > _MAX_FOUND:
        return
    for d in found:
        yield _example(d)


def _example(d: Difference) -> Text:
    text = Text("≠ ", style="red")
    text.append(f"{where_text(d)}", style="bold")
    text.append(f"  {d.cause.value}", style="yellow")
    text.append(f"\n    A {d.a or '-'}\n    B {d.b or '-'}", style="default")
    for line in d.evidence[:1]:
        text.append(f"\n    {line}", style="dim")
    return text
