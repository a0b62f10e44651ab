"""Differences for people: grouped, counted, put into sentences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.findings import Agreement, Cell, Level, Matrix, Row, State
from reproducibility.verdict import Verdict
from reproducibility.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reproducibility.findings import (
        AttachmentResult,
        Comparison,
        Difference,
        ImageResult,
        Place,
        PlatformResult,
        Report,
    )

VERDICTS: Final = {
    Verdict.REPRODUCIBLE: "Reproducible",
    Verdict.DIFFERENT: "Different",
    Verdict.UNKNOWN: "Could not tell",
}
MARKS: Final = {Verdict.REPRODUCIBLE: "✓", Verdict.DIFFERENT: "≠", Verdict.UNKNOWN: "?"}

STATES: Final = {
    State.IDENTICAL: "identical",
    State.EQUAL_CONTENT: "equal content",
    State.DIFFERENT: "different",
    State.ONLY_A: "only in A",
    State.ONLY_B: "only in B",
    State.NOT_COMPARED: "not compared",
}
_NAMED: Final = 3
_AGREEMENTS: Final = {
    Agreement.IMAGES: "The images are the same to the byte; only what is said of them differs.",
    Agreement.TARS: "Every layer holds the same tar; only compression or documents differ.",
    Agreement.FILES: "The same files with the same content; only metadata, order or form differ.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseCount:
    """How often a cause was found."""

    cause: Cause
    count: int
    packages: tuple[str, ...]
    """Those with most of them first."""
    example: str
    is_ignored: bool


def counted(differences: Iterable[Difference]) -> list[Difference]:
    """Return the differences that decide the verdict."""
    return [d for d in differences if not d.ignored]


def count_causes(comparisons: Iterable[Comparison]) -> tuple[CauseCount, ...]:
    """Count differences by cause, the most frequent first."""
    counts: Counter[Cause] = Counter()
    packages: dict[Cause, Counter[str]] = {}
    examples: dict[Cause, str] = {}
    ignored: set[Cause] = set()
    for comparison in comparisons:
        ignored.update(comparison.ignored)
        for d in comparison.differences:
            counts[d.cause] += 1
            examples.setdefault(d.cause, where_text(d))
            if d.package:
                packages.setdefault(d.cause, Counter())[d.package] += 1
        for omitted in comparison.omitted:
            counts[Cause(omitted.name)] += omitted.count
    order = sorted(counts, key=lambda cause: (-counts[cause], list(Cause).index(cause)))
    return tuple(
        CauseCount(
            cause=cause,
            count=counts[cause],
            packages=tuple(sorted(packages.get(cause, {}), key=lambda p: (-packages[cause][p], p))),
            example=examples.get(cause, ""),
            is_ignored=cause in ignored,
        )
        for cause in order
    )


def where_text(d: Difference) -> str:
    """Say where a difference is, in few words: the path, or the field of a document."""
    place = d.place
    parts = [place.path or place.layer or place.attachment or d.level.value, d.inside]
    return " ".join(filter(None, parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Differences of one kind in one place."""

    place: Place
    level: Level
    cause: Cause
    differences: tuple[Difference, ...]


def group(differences: Iterable[Difference]) -> tuple[Group, ...]:
    """Group by image, platform, layer and document, then by level and cause; order is kept."""
    groups: dict[tuple[Place, Level, Cause], list[Difference]] = {}
    for d in differences:
        place = replace(d.place, path="")
        groups.setdefault((place, d.level, d.cause), []).append(d)
    return tuple(
        Group(place=place, level=level, cause=cause, differences=tuple(found))
        for (place, level, cause), found in groups.items()
    )


def headline(report: Report) -> str:
    """Put a report into a sentence or two."""
    comparisons = report.comparisons
    total = sum(_total(c) for c in comparisons)
    platforms = sum(len(image.platforms) for c in comparisons for image in c.images)
    images = sum(len(c.images) for c in comparisons)
    compared = f"{plural(images, 'image')}, {plural(platforms, 'platform')}"
    ignored = sorted({cause.value for c in comparisons for cause in c.ignored})
    text = {
        Verdict.REPRODUCIBLE: f"No difference in {compared}.",
        Verdict.UNKNOWN: f"{compared} compared; {_problem_text(comparisons)}",
        Verdict.DIFFERENT: f"{plural(total, 'difference')} in {compared}.",
    }[report.verdict]
    agreements = {c.agreement for c in comparisons}
    if report.verdict is Verdict.DIFFERENT:
        if len(agreements) == 1:
            text += " " + _AGREEMENTS.get(agreements.pop(), "")
        text = f"{text.strip()} {_why(report)}"
    if ignored:
        text += f" Not counted: {', '.join(ignored)}."
    return text.strip()


def _why(report: Report) -> str:
    """Name the variations that are guilty, or else the causes."""
    guilty = [row.name for row in report.matrix.rows if row.guilty] if report.matrix else []
    if guilty:
        return f"Guilty: {', '.join(guilty)}."
    causes = [found for found in count_causes(report.comparisons) if not found.is_ignored]
    named = [f"{found.cause.value} {found.count:,}" for found in causes[:_NAMED]]
    if len(causes) > _NAMED:
        named.append(f"{len(causes) - _NAMED} more")
    return f"Causes: {', '.join(named)}." if named else ""


def _total(comparison: Comparison) -> int:
    ignored = {cause.value for cause in comparison.ignored}
    omitted = sum(o.count for o in comparison.omitted if o.name not in ignored)
    return len(counted(comparison.differences)) + omitted


def _problem_text(comparisons: Sequence[Comparison]) -> str:
    problems = [problem for c in comparisons for problem in c.problems]
    if not problems:
        return "not everything could be done."
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}."


def download_size(platform: PlatformResult, side: str) -> int | None:
    """Return the bytes of all layers of one side, None if they are not known."""
    sides = [getattr(layer, side) for layer in platform.layers]
    sizes = [s.size for s in sides if s is not None]
    return sum(sizes) if sizes and min(sizes) >= 0 else None


# ---------------------------------------------------------------- the matrix of a plain comparison

_LEVELS: Final = (
    (Level.INDEX, "Index"),
    (Level.MANIFEST, "Manifest"),
    (Level.CONFIG, "Config"),
    (Level.LAYER, "Layers"),
    (Level.ENTRY, "Entries"),
    (Level.CONTENT, "Contents"),
    (Level.ATTACHMENT, "Documents"),
)


def said_of(image: ImageResult, platform: PlatformResult) -> tuple[AttachmentResult, ...]:
    """Return what is said of an image for a platform, and of its index."""
    return (*image.attachments, *platform.attachments)


def said_state(attachments: Sequence[AttachmentResult]) -> State:
    """Sum up what is said of something."""
    states = {attachment.state for attachment in attachments}
    if not states:
        return State.NOT_COMPARED
    return State.IDENTICAL if states == {State.IDENTICAL} else State.DIFFERENT


def level_matrix(comparison: Comparison) -> Matrix:
    """Return images by levels: how often each differs where."""
    places = [
        (image.name, platform.platform)
        for image in comparison.images
        for platform in image.platforms
    ]
    counts: Counter[tuple[str, str, Level]] = Counter()
    for d in counted(comparison.differences):
        counts[d.place.image, d.place.platform, d.level] += 1
        for image_name, platform_name in _also(d, places):
            counts[image_name, platform_name, d.level] += 1
    is_said = any(said_of(image, p) for image in comparison.images for p in image.platforms)
    levels = _LEVELS if is_said else _LEVELS[:-1]
    rows = []
    for image in comparison.images:
        for platform in image.platforms:
            states = {
                Level.INDEX: image.index.state,
                Level.MANIFEST: platform.manifest.state,
                Level.CONFIG: platform.config.state,
                Level.ATTACHMENT: said_state(said_of(image, platform)),
            }
            cells = []
            for level, _ in levels:
                count = counts[image.name, platform.platform, level]
                count += counts[image.name, "", level]
                cells.append(_level_cell(count, states.get(level)))
            rows.append(
                Row(
                    name=image.name or "root file system",
                    detail=platform.platform,
                    guilty=False,
                    cells=tuple(cells),
                )
            )
    return Matrix(
        title="Where it differs" if counts else "Level by level",
        corner="Image",
        columns=tuple(name for _, name in levels),
        rows=tuple(rows),
    )


def _level_cell(count: int, state: State | None) -> Cell:
    if count:
        return Cell(verdict=Verdict.DIFFERENT, text=f"{count:,}")
    if state is State.NOT_COMPARED:
        return Cell(verdict=None, text="not compared")
    if state is State.DIFFERENT:
        return Cell(verdict=None, text="follows")
    return Cell(verdict=Verdict.REPRODUCIBLE, text="same")


def _also(d: Difference, places: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the other images that have a difference, too."""
    return [
        (image, platform)
        for image, platform in places
        if any(text.startswith(f"{image} > {platform} > ") for text in d.also_in)
    ]
