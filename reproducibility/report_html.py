"""The HTML report: one file, no network, deterministic.

Style and script are in the page, named by their digests in a Content-Security-Policy: nothing else
runs or loads, whatever an image may have smuggled into a name.
"""

from __future__ import annotations

import base64
import hashlib
import string
from importlib import resources
from typing import TYPE_CHECKING, Final

from reproducibility.causes import MEANING, REMEDY
from reproducibility.markup import Markup, escape, join, tag
from reproducibility.report_parts import cause_badge
from reproducibility.report_tree import ComparisonTree
from reproducibility.summary import (
    MARKS,
    VERDICTS,
    count_causes,
    headline,
    level_matrix,
)
from reproducibility.wording import plural, short_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reproducibility.findings import Cell, Comparison, Matrix, Report, Row, Subject, Timing

_MAX_PACKAGES: Final = 4


def render_html(report: Report) -> str:
    """Return the page."""
    style, script = _template("report.css"), _template("report.js")
    verdict = report.verdict
    body = join(
        (
            tag("header", _banner(report), *_subjects(report)),
            tag("main", *_main(report), id_="main"),
            _footer(report),
        )
    )
    page = string.Template(_template("report.html"))
    return page.substitute(
        title=escape(f"{VERDICTS[verdict]}: {report.title}"),
        style=style,
        style_hash=_source_hash(style),
        script=script,
        script_hash=_source_hash(script),
        body=body,
    )


def _template(name: str) -> str:
    return resources.files("reproducibility").joinpath("templates", name).read_text("utf-8")


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


# ---------------------------------------------------------------- the top


def _banner(report: Report) -> Markup:
    verdict = report.verdict
    mark = tag("span", MARKS[verdict], class_="mark", aria_hidden="true")
    return tag(
        "div",
        tag("p", report.title, class_="title"),
        tag("h1", mark, tag("span", VERDICTS[verdict])),
        tag("p", headline(report), class_="headline"),
        class_=f"verdict {verdict.value}",
    )


def _subjects(report: Report) -> list[Markup]:
    if len({(c.a, c.b) for c in report.comparisons}) != 1:
        return []
    comparison = report.comparisons[0]
    cards = [_subject("A", comparison.a), _subject("B", comparison.b)]
    return [tag("div", *cards, class_="subjects")]


def _subject(side: str, subject: Subject) -> Markup:
    return tag(
        "div",
        tag("b", side, class_="side"),
        tag("span", subject.name, class_="name"),
        tag("span", subject.kind, class_="kind"),
        tag("code", short_digest(subject.digest), class_="digest", title=subject.digest),
        class_="subject",
    )


def _main(report: Report) -> list[Markup]:
    parts = []
    causes = count_causes(report.comparisons)
    if report.matrix is not None:
        parts.append(_block(report.matrix.title, _matrix(report.matrix)))
    if len(report.comparisons) == 1 and report.comparisons[0].images:
        matrix = level_matrix(report.comparisons[0])
        if matrix.rows:
            parts.append(_block(matrix.title, _matrix(matrix)))
    if causes:
        parts.append(_block("Why it differs", _causes(report)))
    problems = [problem for c in report.comparisons for problem in c.problems]
    if problems:
        parts.append(_block("What could not be told", _list(problems)))
    parts.append(_drill_down(report))
    notes = [*report.notes, *(note for c in report.comparisons for note in c.notes)]
    if notes:
        parts.append(_block("Notes", _list(list(dict.fromkeys(notes)))))
    timings = _timings(report)
    if timings:
        parts.append(_block("Timings", timings))
    return parts


def _block(title: str, *content: str) -> Markup:
    return tag("section", tag("h2", title), *content, class_="block")


def _list(items: Sequence[str]) -> Markup:
    return tag("ul", *(tag("li", item) for item in items), class_="notes")


# ---------------------------------------------------------------- matrix


def _matrix(matrix: Matrix) -> Markup:
    head = tag(
        "tr",
        tag("th", matrix.corner, scope="col"),
        *(tag("th", column, scope="col") for column in matrix.columns),
    )
    table = tag(
        "table",
        tag("thead", head),
        tag("tbody", *map(_matrix_row, matrix.rows)),
        class_="matrix",
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=matrix.title)


def _matrix_row(row: Row) -> Markup:
    name: list[str] = [row.name]
    if row.guilty:
        name += [" ", tag("span", "guilty", class_="badge guilty")]
    if row.detail:
        name.append(tag("small", row.detail))
    return tag("tr", tag("th", *name, scope="row"), *(tag("td", _cell(c)) for c in row.cells))


def _cell(cell: Cell) -> Markup:
    if cell.verdict is None:
        return tag("span", tag("span", "-", aria_hidden="true"), cell.text, class_="cell none")
    mark = tag("span", MARKS[cell.verdict], aria_hidden="true")
    return tag("span", mark, cell.text, class_=f"cell {cell.verdict.value}")


# ---------------------------------------------------------------- causes


def _causes(report: Report) -> Markup:
    rows = []
    for found in count_causes(report.comparisons):
        packages = ", ".join(found.packages[:_MAX_PACKAGES])
        if len(found.packages) > _MAX_PACKAGES:
            packages += f" and {len(found.packages) - _MAX_PACKAGES} more"
        rows.append(
            tag(
                "tr",
                tag(
                    "th",
                    cause_badge(found.cause),
                    " not counted" if found.is_ignored else "",
                    scope="row",
                ),
                tag("td", f"{found.count:,}", class_="number", data_label="Differences"),
                tag("td", _meaning(found.cause), data_label="Meaning"),
                tag("td", packages or "-", data_label="Packages"),
            )
        )
    head = tag(
        "tr",
        tag("th", "Cause", scope="col"),
        tag("th", "Differences", scope="col", class_="number"),
        tag("th", "Meaning, and what usually helps", scope="col"),
        tag("th", "Packages", scope="col"),
    )
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", *rows), class_="stack"),
        class_="scroll",
    )


def _meaning(cause: object) -> Markup:
    meaning, remedy = MEANING[cause], REMEDY[cause]  # type: ignore[index]
    return join(
        (
            meaning[:1].upper() + meaning[1:] + ".",
            tag("br"),
            tag("span", f"{remedy[:1].upper()}{remedy[1:]}.", class_="soft"),
        )
    )


# ---------------------------------------------------------------- drill-down


def _drill_down(report: Report) -> Markup:
    field = tag(
        "div",
        tag("label", "Search paths, packages, causes and values", for_="search"),
        tag("input", id_="search", type="search", autocomplete="off"),
        class_="field",
    )
    tools = tag(
        "div",
        field,
        tag("button", "Open all", id_="expand", type="button"),
        tag("button", "Close all", id_="collapse", type="button"),
        tag("span", "", id_="search-count", class_="soft", role="status"),
        class_="tools",
        id_="tools",
        hidden=True,
    )
    return _block("Image by image", tools, *map(_comparison, report.comparisons))


def _comparison(comparison: Comparison) -> Markup:
    parts: list[str] = []
    if comparison.label:
        verdict = comparison.verdict
        words = VERDICTS[verdict].lower()
        cell = tag("span", MARKS[verdict], " ", words, class_=f"cell {verdict.value}")
        parts.append(tag("h3", comparison.label, " ", cell))
    omitted = sum(count.count for count in comparison.omitted)
    if omitted:
        text = f"{plural(omitted, 'further difference')} were counted, but not kept."
        parts.append(tag("p", text, class_="soft"))
    parts.append(ComparisonTree(comparison).render())
    if comparison.artifacts:
        pages = [name for name in comparison.artifacts if name.endswith(".html")]
        links = [join((tag("a", name, href=_link(name)), " ")) for name in pages]
        parts.append(tag("p", "All that diffoscope says: ", *links))
    return join(parts)


def _link(name: str) -> str:
    """Return a relative link to a file that we named ourselves."""
    return f"./{name}"


# ---------------------------------------------------------------- the end


def _timings(report: Report) -> Markup | None:
    rows: list[tuple[str, Timing]] = [("", timing) for timing in report.timings]
    for comparison in report.comparisons:
        rows += [(comparison.label, timing) for timing in comparison.timings]
    if not rows:
        return None
    items = [
        tag(
            "tr",
            tag("th", " ".join(filter(None, (label, timing.name))), scope="row"),
            tag("td", f"{timing.milliseconds / 1000:,.2f} s", class_="number"),
        )
        for label, timing in rows
    ]
    return tag("div", tag("table", tag("tbody", *items)), class_="scroll")


def _footer(report: Report) -> Markup:
    parts = [*report.tools]
    if report.generated:
        parts.append(f"made {report.generated}")
    parts.append("report.json holds the same facts for programs")
    return tag("footer", tag("p", " · ".join(parts)))
