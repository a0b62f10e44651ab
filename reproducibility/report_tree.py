"""The drill-down of the HTML report: image -> platform -> documents and layers -> files.

Everything opens and closes with `<details>`, so it works by keyboard and without script. Lists are
cut at `MAX_ITEMS`; the JSON report has all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reproducibility.causes import MEANING
from reproducibility.findings import Level, Place, State
from reproducibility.markup import Markup, join, tag
from reproducibility.summary import (
    STATES,
    counted,
    download_size,
    group,
)
from reproducibility.wording import plural, short_digest, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reproducibility.causes import Cause
    from reproducibility.findings import (
        Blob,
        Comparison,
        Difference,
        FileResult,
        ImageResult,
        LayerResult,
        LayerSide,
        PlatformResult,
        Step,
    )
    from reproducibility.summary import Group

MAX_ITEMS: Final = 400
"""Items of one list on the page."""
_MAX_PACKAGES: Final = 2


def anchor(place: Place) -> str:
    """Return an id for a place."""
    text = f"{place.image}/{place.platform}/{place.layer}/{place.path}"
    return "at-" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}" for c in text)


def badge(state: State) -> Markup:
    """Show a state."""
    return tag("span", STATES[state], class_=f"badge state-{state.value}")


def cause_badge(cause: Cause) -> Markup:
    """Show a cause, its meaning on hover."""
    return tag("span", cause.value, class_="badge", title=MEANING[cause])


class ComparisonTree:
    """Renders one comparison."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._groups: dict[tuple[str, str, str], list[Group]] = {}
        for found in group(comparison.differences):
            place = found.place
            key = place.image, place.platform, place.layer
            self._groups.setdefault(key, []).append(found)
        self._files = {file.place: file for file in comparison.files}

    def render(self) -> Markup:
        """Return every image."""
        images = self._comparison.images
        return join(self._image(image, is_only=len(images) == 1) for image in images)

    # ------------------------------------------------------------ images and platforms

    def _image(self, image: ImageResult, *, is_only: bool) -> Markup:
        parts: list[str] = []
        if image.index.a or image.index.b:
            parts.append(self._document("Index", image.index, self._of(image.name, "", "")))
        else:
            parts.append(self._all_groups(self._of(image.name, "", "")))
        single = len(image.platforms) == 1
        parts += [self._platform(image, platform, is_open=single) for platform in image.platforms]
        return _details(
            (
                tag("span", image.name or "root file system", class_="summary-name"),
                badge(image.state),
                tag("span", plural(len(image.platforms), "platform"), class_="soft"),
            ),
            parts,
            is_open=is_only or image.state is not State.IDENTICAL,
            id_=anchor(Place(image=image.name, platform="", layer="", path="")),
        )

    def _platform(self, image: ImageResult, platform: PlatformResult, *, is_open: bool) -> Markup:
        groups = self._of(image.name, platform.platform, "")
        parts: list[str] = [tag("p", note, class_="soft") for note in platform.notes]
        for name, level, step in (
            ("Manifest", Level.MANIFEST, platform.manifest),
            ("Config", Level.CONFIG, platform.config),
        ):
            if step.a or step.b:
                own = [found for found in groups if found.level is level]
                parts.append(self._document(name, step, own))
        others = [f for f in groups if f.level not in (Level.MANIFEST, Level.CONFIG)]
        parts.append(self._all_groups(others))
        parts += [self._layer(image, platform, layer) for layer in platform.layers]
        sizes = [download_size(platform, side) for side in ("a", "b")]
        size = " | ".join("?" if s is None else size_text(s) for s in sizes)
        count = sum(len(found.differences) for found in self._below(image, platform))
        return _details(
            (
                tag("span", platform.platform or "files", class_="summary-name"),
                badge(platform.state),
                tag("span", plural(count, "difference"), class_="soft") if count else Markup(""),
                tag("span", f"layers {size}", class_="soft") if sizes != [None, None] else "",
            ),
            parts,
            is_open=is_open or platform.state is not State.IDENTICAL,
            id_=anchor(Place(image=image.name, platform=platform.platform, layer="", path="")),
        )

    def _of(self, image: str, platform: str, layer: str) -> list[Group]:
        return self._groups.get((image, platform, layer), [])

    def _below(self, image: ImageResult, platform: PlatformResult) -> Iterator[Group]:
        for (name, on, _), groups in self._groups.items():
            if (name, on) == (image.name, platform.platform):
                yield from groups

    # ------------------------------------------------------------ documents and layers

    def _document(self, name: str, step: Step, groups: Sequence[Group]) -> Markup:
        facts = [
            ("A", _blob_text(step.a)),
            ("B", _blob_text(step.b)),
        ]
        follows = step.state is State.DIFFERENT and not groups
        note = "differs only because what it refers to differs" if follows else ""
        return _details(
            (
                tag("span", name, class_="summary-name"),
                badge(step.state),
                tag("span", note or _count_text(groups), class_="soft"),
            ),
            (_facts(facts), self._all_groups(groups)),
        )

    def _layer(self, image: ImageResult, platform: PlatformResult, layer: LayerResult) -> Markup:
        groups = self._of(image.name, platform.platform, layer.name)
        parts: list[str] = []
        if layer.a or layer.b:
            parts.append(_sides_table(layer.a, layer.b))
        if layer.reported_in:
            parts.append(tag("p", f"The same pair of layers is reported in {layer.reported_in}."))
        content = [found for found in groups if found.level is Level.CONTENT]
        other = [found for found in groups if found.level is not Level.CONTENT]
        parts.append(self._all_groups(other))
        parts.append(self._contents(content))
        return _details(
            (
                tag("span", layer.name, class_="summary-name"),
                badge(layer.state),
                tag("span", _layer_text(layer, groups), class_="soft"),
            ),
            parts,
            is_open=bool(groups),
            id_=anchor(
                Place(image=image.name, platform=platform.platform, layer=layer.name, path="")
            ),
        )

    # ------------------------------------------------------------ differences

    def _all_groups(self, groups: Sequence[Group]) -> Markup:
        return join(self._group(found, is_open=len(groups) <= 2) for found in groups)  # noqa: PLR2004

    def _group(self, found: Group, *, is_open: bool) -> Markup:
        items = [self._difference(d) for d in found.differences[:MAX_ITEMS]]
        count = len(found.differences)
        is_entry = found.level is Level.ENTRY
        what = plural(count, "entry", "entries") if is_entry else plural(count, "difference")
        return _details(
            (
                cause_badge(found.cause),
                tag("span", what, class_="summary-name"),
                _ignored(found.differences),
            ),
            (
                tag("p", MEANING[found.cause].capitalize() + ".", class_="soft"),
                tag("ul", *items, class_="diffs"),
                _more(len(found.differences)),
            ),
            is_open=is_open and len(found.differences) <= 10,  # noqa: PLR2004
        )

    def _difference(self, d: Difference) -> Markup:
        place = " ".join(filter(None, (d.place.path, d.inside)))
        parts: list[str] = []
        if place:
            parts.append(tag("code", place))
        if d.package:
            parts.append(Markup(" ") + tag("span", d.package, class_="badge"))
        if d.a or d.b:
            parts.append(_values(d.a, d.b))
        parts.append(_evidence(d))
        return tag("li", *parts, data_text=_search_text(d), class_=_class_of(d))

    def _contents(self, groups: Sequence[Group]) -> Markup:
        """Show content file by file."""
        by_path: dict[str, list[Difference]] = {}
        for found in groups:
            for d in found.differences:
                by_path.setdefault(d.place.path, []).append(d)
        paths = sorted(by_path, key=str.encode)
        shown = [self._file(by_path[path]) for path in paths[:MAX_ITEMS]]
        return join((*shown, _more(len(paths))))

    def _file(self, differences: Sequence[Difference]) -> Markup:
        first = differences[0]
        file = self._files.get(first.place)
        causes = sorted({d.cause for d in differences}, key=lambda cause: cause.value)
        items = [
            self._inside(d, owner=first.package, is_only=len(causes) == 1)
            for d in differences[:MAX_ITEMS]
        ]
        parts: list[str] = []
        if file is not None:
            parts.append(_facts((("A", _blob_text(file.a)), ("B", _blob_text(file.b)))))
        parts += [tag("ul", *items, class_="diffs"), _more(len(differences))]
        if file is not None and file.excerpt:
            parts.append(_excerpt(file))
        words = " ".join(map(_search_text, differences[:MAX_ITEMS]))
        return _details(
            (
                tag("code", first.place.path, class_="summary-name"),
                *map(cause_badge, causes),
                *_packages(differences),
            ),
            parts,
            class_=_class_of(first),
            data_text=words,
            id_=anchor(first.place),
        )

    def _inside(self, d: Difference, *, owner: str, is_only: bool) -> Markup:
        """Show a difference within a file; what the file's heading says is not repeated."""
        parts: list[str] = [] if is_only else [cause_badge(d.cause)]
        if d.inside:
            parts += [" ", tag("code", d.inside)]
        if d.package and d.package != owner:
            parts += [" ", tag("span", d.package, class_="badge")]
        parts += [_values(d.a, d.b) if d.a or d.b else "", _evidence(d)]
        return tag("li", *parts)


# ---------------------------------------------------------------- small pieces


def _packages(differences: Iterable[Difference]) -> list[Markup]:
    names = sorted({d.package for d in differences if d.package})
    if len(names) > _MAX_PACKAGES:
        names = [plural(len(names), "package")]
    return [tag("span", name, class_="badge") for name in names]


def _details(
    summary: Iterable[str],
    parts: Iterable[str],
    *,
    is_open: bool = False,
    class_: str | None = None,
    data_text: str | None = None,
    id_: str | None = None,
) -> Markup:
    return tag(
        "details",
        tag("summary", *summary),
        tag("div", *parts, class_="body"),
        class_=class_,
        data_text=data_text,
        id_=id_,
        open=is_open,
    )


def _facts(facts: Iterable[tuple[str, str]]) -> Markup:
    items = [join((tag("dt", name), tag("dd", value))) for name, value in facts if value]
    return tag("dl", *items, class_="facts")


def _blob_text(blob: Blob | None) -> Markup:
    if blob is None:
        return Markup("")
    return join(
        (
            tag("code", short_digest(blob.digest), title=blob.digest),
            f" {size_text(blob.size)} {blob.media_type}",
        )
    )


def _sides_table(a: LayerSide | None, b: LayerSide | None) -> Markup:
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


def _layer_text(layer: LayerResult, groups: Sequence[Group]) -> str:
    parts = [_count_text(groups)] if groups else []
    if layer.same_entries > 0:
        parts.append(f"{plural(layer.same_entries, 'entry', 'entries')} equal")
    if layer.a and layer.a.size >= 0:
        parts.append(size_text(layer.a.size))
    return ", ".join(filter(None, parts))


def _count_text(groups: Iterable[Group]) -> str:
    count = sum(len(found.differences) for found in groups)
    return plural(count, "difference") if count else ""


def _values(a: str, b: str) -> Markup:
    return tag(
        "div",
        *(
            tag("div", tag("b", side), value or tag("i", "nothing"), class_="side-value")
            for side, value in (("A", a), ("B", b))
        ),
        class_="sides",
    )


def _evidence(d: Difference) -> Markup:
    lines = list(d.evidence)
    if d.also_in:
        lines.append(f"also in {'; '.join(d.also_in)}")
    return (
        tag("ul", *(tag("li", line) for line in lines), class_="evidence") if lines else Markup("")
    )


def _search_text(d: Difference) -> str:
    return f"{d.cause.value} {d.place.path} {d.inside} {d.package} {d.a} {d.b}"


def _class_of(d: Difference) -> str | None:
    return "ignored" if d.ignored else None


def _ignored(differences: Sequence[Difference]) -> Markup:
    return Markup("") if counted(differences) else tag("span", "not counted", class_="badge")


def _more(count: int) -> Markup:
    if count <= MAX_ITEMS:
        return Markup("")
    return tag("p", f"{count - MAX_ITEMS:,} more are in report.json.", class_="soft")


_LINE_CLASSES: Final[Mapping[str, str]] = {"+": "add", "-": "del", "@": "hunk", "#": "hunk"}


def _excerpt(file: FileResult) -> Markup:
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
