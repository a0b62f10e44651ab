"""A summary for the terminal, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from reproducibility.compare_layers import MERGED
from reproducibility.findings import State, shown
from reproducibility.summary import (
    MARKS,
    STATES,
    VERDICTS,
    count_causes,
    counted,
    headline,
    said_of,
    where_text,
)
from reproducibility.verdict import Verdict
from reproducibility.wording import plural, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from rich.console import RenderableType

    from reproducibility.findings import (
        AttachmentResult,
        Comparison,
        Difference,
        Matrix,
        PlatformResult,
        Report,
    )

_COLOURS: Final = {
    Verdict.REPRODUCIBLE: "green",
    Verdict.DIFFERENT: "red",
    Verdict.UNKNOWN: "yellow",
}
_MAX_IMAGES: Final = 12
_MAX_CAUSES: Final = 8
_MAX_FOUND: Final = 6
_MAX_NOTES: Final = 3
_WIDTH: Final = 100
_GAP: Final = 2
_NARROWEST: Final = 8


def print_report(report: Report, stream: TextIO, *, width: int | None = None) -> None:
    """Print a summary; colours only if the stream is a terminal."""
    console = Console(file=stream, width=width, highlight=False, soft_wrap=False)
    if width is None and not console.is_terminal:
        console = Console(file=stream, width=_WIDTH, highlight=False)
    console.print(Group(*_parts(report, console.width)))


def _parts(report: Report, width: int) -> Iterator[RenderableType]:
    verdict = report.verdict
    colour = _COLOURS[verdict]
    yield Text(f"{MARKS[verdict]} {VERDICTS[verdict]}", style=f"bold {colour}") + _line(
        f"  {report.title}", style="default"
    )
    yield Text(shown(headline(report)))
    if report.matrix is not None:
        yield _matrix(report.matrix, width)
    for comparison in report.comparisons:
        if comparison.label:
            yield _line(comparison.label, style="bold")
        yield _images(comparison, width)
    if report.verdict is Verdict.DIFFERENT:
        yield _causes(report, width)
        yield from _examples(report)
    problems = [p for c in report.comparisons for p in c.problems]
    for problem in problems[:_MAX_NOTES]:
        yield _line(f"problem: {problem}", style="yellow")
    notes = [*report.notes, *(n for c in report.comparisons for n in c.notes)]
    for note in notes[:_MAX_NOTES]:
        yield _line(f"note: {note}", style="dim")


def _line(text: str, style: str = "") -> Text:
    """Make text of an image's fit for a terminal: one line, nothing but characters."""
    return Text(shown(text), style=style, no_wrap=True, overflow="ellipsis")


def _table(columns: Sequence[str], rows: Sequence[Sequence[Text]], width: int) -> Table:
    """Lay out rows; a column marked `>` is flush right, those marked `*` share what is left."""
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    names = [column.lstrip(">*") for column in columns]
    widths = [
        max(len(name), *(row[number].cell_len for row in rows)) if rows else len(name)
        for number, name in enumerate(names)
    ]
    soft = [number for number, column in enumerate(columns) if column.startswith("*")]
    left = width - _GAP * len(names) - sum(w for n, w in enumerate(widths) if n not in soft)
    for number in sorted(soft, key=lambda n: widths[n]):
        widths[number] = min(widths[number], max(left // len(soft), _NARROWEST))
        left -= widths[number]
        soft = soft[1:]
    for name, column, wide in zip(names, columns, widths, strict=True):
        table.add_column(
            name,
            justify="right" if column.startswith(">") else "left",
            overflow="ellipsis",
            no_wrap=True,
            width=wide,
        )
    for row in rows:
        table.add_row(*row)
    return table


def _images(comparison: Comparison, width: int) -> Table:
    rows = []
    is_said = any(said_of(image, p) for image in comparison.images for p in image.platforms)
    columns = ["*IMAGE", "PLATFORM", "INDEX", "MANIFEST", "CONFIG", "LAYERS"]
    columns += ["DOCUMENTS"] if is_said else []
    columns += [">SIZE A", ">SIZE B"]
    for image in comparison.images:
        name = _line(image.name.partition(" | ")[0] or "root file system")
        if not image.platforms:
            blank = [Text("")] * (len(columns) - 2)
            rows.append((name, Text(STATES[image.state], style="red"), *blank))
        rows += [
            (
                name,
                _line(platform.platform),
                _state(image.index.state),
                _state(platform.manifest.state),
                _state(platform.config.state),
                _layers(platform),
                *([_said(said_of(image, platform))] if is_said else []),
                _size(platform, "a"),
                _size(platform, "b"),
            )
            for platform in image.platforms
        ]
    if len(rows) > _MAX_IMAGES:
        more = Text(f"and {len(rows) - _MAX_IMAGES} more", style="dim")
        rows[_MAX_IMAGES:] = [(more, *[Text("")] * (len(columns) - 1))]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if sum(widths) + _GAP * len(widths) > width:  # names tell more than sizes
        columns, rows = columns[:-2], [row[:-2] for row in rows]
    return _table(columns, rows, width)


def _state(state: State) -> Text:
    if state is State.NOT_COMPARED:
        return Text("-", style="dim")
    good = state in (State.IDENTICAL, State.EQUAL_CONTENT)
    return Text(STATES[state], style="green" if good else "red")


def _said(attachments: Sequence[AttachmentResult]) -> Text:
    if not attachments:
        return Text("-", style="dim")
    bad = [attachment for attachment in attachments if attachment.state is not State.IDENTICAL]
    if not bad:
        return Text(f"{len(attachments)} equal", style="green")
    return Text(f"{len(bad)} of {len(attachments)} differ", style="red")


def _layers(platform: PlatformResult) -> Text:
    if platform.layers and platform.layers[-1].name == MERGED:
        a, b = (sum(1 for x in platform.layers if getattr(x, side)) for side in ("a", "b"))
        words = "differ" if platform.layers[-1].state is State.DIFFERENT else "make the same"
        return Text(f"{a or 1} | {b or 1}: {words}", style="red" if words == "differ" else "green")
    states = [layer.state for layer in platform.layers if layer.state is not State.NOT_COMPARED]
    bad = [s for s in states if s not in (State.IDENTICAL, State.EQUAL_CONTENT)]
    if not bad:
        return Text(f"{len(states)} equal", style="green")
    return Text(f"{len(bad)} of {len(states)} differ", style="red")


def _size(platform: PlatformResult, side: str) -> Text:
    sides = [getattr(layer, side) for layer in platform.layers]
    sizes = [s.size for s in sides if s is not None]
    return Text(size_text(sum(sizes)) if sizes and min(sizes) >= 0 else "")


def _matrix(matrix: Matrix, width: int) -> Table:
    rows = []
    for row in matrix.rows:
        cells = [
            _line(
                f"{MARKS[cell.verdict] if cell.verdict else '-'} {cell.text}",
                style=_COLOURS[cell.verdict] if cell.verdict else "dim",
            )
            for cell in row.cells
        ]
        rows.append((_line(row.name, style="bold red" if row.guilty else "default"), *cells))
    columns = [f"*{shown(name)}" for name in (matrix.corner.upper(), *matrix.columns)]
    return _table(columns, rows, width)


def _causes(report: Report, width: int) -> Table:
    causes = count_causes(report.comparisons)
    rows = []
    for found in causes[:_MAX_CAUSES]:
        packages = ", ".join(found.packages[:2])
        if len(found.packages) > 2:  # noqa: PLR2004
            packages += f" +{len(found.packages) - 2}"
        name = found.cause.value + (" (not counted)" if found.is_ignored else "")
        rows.append((Text(name), Text(f"{found.count:,}"), _line(packages), _line(found.example)))
    if len(causes) > _MAX_CAUSES:
        more = plural(len(causes) - _MAX_CAUSES, "more cause")
        rows.append((Text(more), Text(""), Text(""), Text("")))
    return _table(("CAUSE", ">COUNT", "*PACKAGES", "*FOR EXAMPLE"), rows, width)


def _examples(report: Report) -> Iterator[Text]:
    """Show differences while there are only a few."""
    found = [d for c in report.comparisons for d in counted(c.differences)]
    if len(found) > _MAX_FOUND:
        return
    for d in found:
        yield _example(d)


def _where(d: Difference) -> str:
    """Say where a difference is; of a document, what it is about as well: its name may not."""
    return f"{d.place} {d.inside}".strip() if d.place.attachment else where_text(d)


def _example(d: Difference) -> Text:
    text = Text("≠ ", style="red", no_wrap=True, overflow="ellipsis")
    text.append(shown(_where(d)), style="bold")
    text.append(f"  {d.cause.value}", style="yellow")
    for side, value in (("A", d.a), ("B", d.b)):
        text.append(f"\n    {side} {shown(value) or '-'}", style="default")
    for line in d.evidence[:1]:
        text.append(f"\n    {shown(line)}", style="dim")
    return text
