"""Small pieces of the HTML report: badges, values, tables of two sides, excerpts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reproducibility.causes import MEANING
from reproducibility.markup import Markup, join, tag
from reproducibility.summary import STATES, counted
from reproducibility.wording import plural, short_digest, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reproducibility.causes import Cause
    from reproducibility.findings import (
        Blob,
        Difference,
        FileResult,
        LayerResult,
        LayerSide,
        Place,
        State,
    )
    from reproducibility.summary import Group

MAX_ITEMS: Final = 400
"""Items of one list on the page."""
_MAX_PACKAGES: Final = 2


def anchor(place: Place) -> str:
    """Return an id for a place."""
    text = f"{place.image}/{place.platform}/{place.layer}/{place.path}"
    if place.attachment:
        text += f"//{place.attachment}"
    return "at-" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}" for c in text)


def badge(state: State) -> Markup:
    """Show a state."""
    return tag("span", STATES[state], class_=f"badge state-{state.value}")


def cause_badge(cause: Cause) -> Markup:
    """Show a cause, its meaning on hover."""
    return tag("span", cause.value, class_="badge", title=MEANING[cause])


def package_badges(differences: Iterable[Difference]) -> list[Markup]:
    """Name the packages of some differences."""
    names = sorted({d.package for d in differences if d.package})
    if len(names) > _MAX_PACKAGES:
        names = [plural(len(names), "package")]
    return [tag("span", name, class_="badge") for name in names]


def details(
    summary: Iterable[str],
    parts: Iterable[str],
    *,
    is_open: bool = False,
    class_: str | None = None,
    data_text: str | None = None,
    id_: str | None = None,
) -> Markup:
    """Return something that opens and closes."""
    return tag(
        "details",
        tag("summary", *summary),
        tag("div", *parts, class_="body"),
        class_=class_,
        data_text=data_text,
        id_=id_,
        open=is_open,
    )


def facts_list(facts: Iterable[tuple[str, str]]) -> Markup:
    """Return names and values."""
    items = [join((tag("dt", name), tag("dd", value))) for name, value in facts if value]
    return tag("dl", *items, class_="facts")


def blob_text(blob: Blob | None) -> Markup:
    """Show digest, size and type."""
    if blob is None:
        return Markup("")
    return join(
        (
            tag("code", short_digest(blob.digest), title=blob.digest),
            f" {size_text(blob.size)} {blob.media_type}",
        )
    )


def sides_table(a: LayerSide | None, b: LayerSide | None) -> Markup:
    """Show what is known of both sides of a layer."""
    left, right = _side_facts(a), _side_facts(b)
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", left.get(name, "absent"), data_label="A"),
            tag("td", right.get(name, "absent"), data_label="B"),
        )
        for name in left or right
    ]
    head = tag("tr", tag("td", ""), tag("th", "A", scope="col"), tag("th", "B", scope="col"))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="stack")
    return tag("div", table, class_="scroll")


def _side_facts(side: LayerSide | None) -> dict[str, str]:
    if side is None:
        return {}
    return {
        "diff_id": tag("code", short_digest(side.diff_id) or "unknown", title=side.diff_id),
        "digest": tag("code", short_digest(side.digest) or "none", title=side.digest),
        "size": size_text(side.size) if side.size >= 0 else "unknown",
        "tar": size_text(side.tar_size) if side.tar_size >= 0 else "not read",
        "compression": side.compression or "not read",
        "entries": f"{side.entries:,}" if side.entries >= 0 else "not read",
    }


def layer_text(layer: LayerResult, groups: Sequence[Group]) -> str:
    """Sum up a layer."""
    parts = [count_text(groups)] if groups else []
    if layer.same_entries > 0:
        parts.append(f"{plural(layer.same_entries, 'entry', 'entries')} equal")
    if layer.a and layer.a.size >= 0:
        parts.append(size_text(layer.a.size))
    return ", ".join(filter(None, parts))


def count_text(groups: Iterable[Group]) -> str:
    """Count the differences of groups; nothing if there are none."""
    count = sum(len(found.differences) for found in groups)
    return plural(count, "difference") if count else ""


def sides_values(a: str, b: str) -> Markup:
    """Show both sides of a difference."""
    return tag(
        "div",
        *(
            tag("div", tag("b", side), value or tag("i", "nothing"), class_="side-value")
            for side, value in (("A", a), ("B", b))
        ),
        class_="sides",
    )


def evidence_list(d: Difference) -> Markup:
    """Show what speaks for a cause, and where else it is."""
    lines = list(d.evidence)
    if d.also_in:
        lines.append(f"also in {'; '.join(d.also_in)}")
    return (
        tag("ul", *(tag("li", line) for line in lines), class_="evidence") if lines else Markup("")
    )


def search_text(d: Difference) -> str:
    """Return what the search looks at."""
    place = d.place.path or d.place.attachment
    return f"{d.cause.value} {place} {d.inside} {d.package} {d.a} {d.b}"


def class_of(d: Difference) -> str | None:
    """Return the class of a difference."""
    return "ignored" if d.ignored else None


def ignored_badge(differences: Sequence[Difference]) -> Markup:
    """Say that a group does not count."""
    return Markup("") if counted(differences) else tag("span", "not counted", class_="badge")


def more_note(count: int) -> Markup:
    """Say how many items were cut."""
    if count <= MAX_ITEMS:
        return Markup("")
    return tag("p", f"{count - MAX_ITEMS:,} more are in report.json.", class_="soft")


_LINE_CLASSES: Final[Mapping[str, str]] = {"+": "add", "-": "del", "@": "hunk", "#": "hunk"}


def excerpt_block(file: FileResult) -> Markup:
    """Show where a file differs."""
    lines = [tag("span", line or " ", class_=_LINE_CLASSES.get(line[:1])) for line in file.excerpt]
    by = f"Excerpt by {file.excerpt_by}" + (", cut" if file.truncated else "")
    return join(
        (
            tag("p", by, class_="soft"),
            tag(
                "pre",
                tag("code", *lines),
                class_="excerpt",
                tabindex="0",
                role="region",
                aria_label=f"{by}: {file.place.path}",
            ),
        )
    )
