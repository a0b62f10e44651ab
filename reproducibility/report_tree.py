"""The drill-down of the HTML report: image -> platform -> documents and layers -> files.

What is said of an image stands below it, document by document.

Everything opens and closes with `<details>`, so it works by keyboard and without script. Lists are
cut at `MAX_ITEMS`; the JSON report has all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reproducibility.causes import MEANING
from reproducibility.findings import Level, Place, State, Step
from reproducibility.markup import Markup, join, tag
from reproducibility.report_parts import (
    MAX_ITEMS,
    anchor,
    badge,
    blob_text,
    cause_badge,
    class_of,
    count_text,
    details,
    evidence_list,
    excerpt_block,
    facts_list,
    ignored_badge,
    layer_text,
    more_note,
    package_badges,
    search_text,
    sides_table,
    sides_values,
)
from reproducibility.summary import download_size, group, said_of, said_state
from reproducibility.wording import plural, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reproducibility.findings import (
        AttachmentResult,
        Comparison,
        Difference,
        ImageResult,
        LayerResult,
        PlatformResult,
    )
    from reproducibility.summary import Group


class ComparisonTree:
    """Renders one comparison."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._groups: dict[tuple[str, str, str, str], list[Group]] = {}
        for found in group(comparison.differences):
            place = found.place
            key = place.image, place.platform, place.layer, place.attachment
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
        parts.append(self._attachments(image.name, "", image.attachments))
        said = [a for platform in image.platforms for a in said_of(image, platform)]
        return details(
            (
                tag("span", image.name or "root file system", class_="summary-name"),
                badge(image.state),
                tag("span", plural(len(image.platforms), "platform"), class_="soft"),
            ),
            parts,
            is_open=is_only or State.DIFFERENT in (image.state, said_state(said)),
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
        parts.append(self._attachments(image.name, platform.platform, platform.attachments))
        sizes = [download_size(platform, side) for side in ("a", "b")]
        size = " | ".join("?" if s is None else size_text(s) for s in sizes)
        count = sum(len(found.differences) for found in self._below(image, platform))
        return details(
            (
                tag("span", platform.platform or "files", class_="summary-name"),
                badge(platform.state),
                tag("span", plural(count, "difference"), class_="soft") if count else Markup(""),
                tag("span", f"layers {size}", class_="soft") if sizes != [None, None] else "",
            ),
            parts,
            is_open=is_open
            or platform.state is not State.IDENTICAL
            or said_state(platform.attachments) is State.DIFFERENT,
            id_=anchor(Place(image=image.name, platform=platform.platform, layer="", path="")),
        )

    def _of(self, image: str, platform: str, layer: str, attachment: str = "") -> list[Group]:
        return self._groups.get((image, platform, layer, attachment), [])

    def _below(self, image: ImageResult, platform: PlatformResult) -> Iterator[Group]:
        for (name, on, *_), groups in self._groups.items():
            if (name, on) == (image.name, platform.platform):
                yield from groups

    # ------------------------------------------------------------ documents and layers

    def _attachments(
        self, image: str, platform: str, attachments: Sequence[AttachmentResult]
    ) -> Markup:
        """Show what is said of an image, or of an index."""
        if not attachments:
            return Markup("")
        about = "this platform" if platform else "the index"
        parts = []
        for attachment in attachments:
            name = attachment.name
            step = Step(state=attachment.state, a=attachment.a, b=attachment.b)
            groups = self._of(image, platform, "", name)
            place = Place(image=image, platform=platform, layer="", path="", attachment=name)
            parts.append(self._document(name, step, groups, id_=anchor(place)))
        state = said_state(attachments)
        return details(
            (
                tag("span", f"What is said of {about}", class_="summary-name"),
                badge(state),
                tag("span", plural(len(attachments), "document"), class_="soft"),
            ),
            parts,
            is_open=state is State.DIFFERENT,
        )

    def _document(
        self, name: str, step: Step, groups: Sequence[Group], *, id_: str | None = None
    ) -> Markup:
        facts = [
            ("A", blob_text(step.a)),
            ("B", blob_text(step.b)),
        ]
        follows = step.state is State.DIFFERENT and not groups
        other = "what it is about, or repeats," if id_ else "what it refers to"
        note = f"differs only because {other} differs" if follows else ""
        return details(
            (
                tag("span", name, class_="summary-name"),
                badge(step.state),
                tag("span", note or count_text(groups), class_="soft"),
            ),
            (facts_list(facts), self._all_groups(groups)),
            is_open=id_ is not None and bool(groups),
            id_=id_,
        )

    def _layer(self, image: ImageResult, platform: PlatformResult, layer: LayerResult) -> Markup:
        groups = self._of(image.name, platform.platform, layer.name)
        parts: list[str] = []
        if layer.a or layer.b:
            parts.append(sides_table(layer.a, layer.b))
        if layer.reported_in:
            parts.append(tag("p", f"The same pair of layers is reported in {layer.reported_in}."))
        content = [found for found in groups if found.level is Level.CONTENT]
        other = [found for found in groups if found.level is not Level.CONTENT]
        parts.append(self._all_groups(other))
        parts.append(self._contents(content))
        return details(
            (
                tag("span", layer.name, class_="summary-name"),
                badge(layer.state),
                tag("span", layer_text(layer, groups), class_="soft"),
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
        return details(
            (
                cause_badge(found.cause),
                tag("span", what, class_="summary-name"),
                ignored_badge(found.differences),
            ),
            (
                tag("p", MEANING[found.cause].capitalize() + ".", class_="soft"),
                tag("ul", *items, class_="diffs"),
                more_note(len(found.differences)),
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
            parts.append(sides_values(d.a, d.b))
        parts.append(evidence_list(d))
        return tag("li", *parts, data_text=search_text(d), class_=class_of(d))

    def _contents(self, groups: Sequence[Group]) -> Markup:
        """Show content file by file."""
        by_path: dict[str, list[Difference]] = {}
        for found in groups:
            for d in found.differences:
                by_path.setdefault(d.place.path, []).append(d)
        paths = sorted(by_path, key=str.encode)
        shown = [self._file(by_path[path]) for path in paths[:MAX_ITEMS]]
        return join((*shown, more_note(len(paths))))

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
            parts.append(facts_list((("A", blob_text(file.a)), ("B", blob_text(file.b)))))
        parts += [tag("ul", *items, class_="diffs"), more_note(len(differences))]
        if file is not None and file.excerpt:
            parts.append(excerpt_block(file))
        words = " ".join(map(search_text, differences[:MAX_ITEMS]))
        return details(
            (
                tag("code", first.place.path, class_="summary-name"),
                *map(cause_badge, causes),
                *package_badges(differences),
            ),
            parts,
            class_=class_of(first),
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
        parts += [sides_values(d.a, d.b) if d.a or d.b else "", evidence_list(d)]
        return tag("li", *parts)
