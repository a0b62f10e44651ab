"""Compare two sources: pair images and platforms, then index, manifest, config and layers.

Images are paired by name; if each side has one image, these are a pair whatever they are called.
Platforms are paired by name likewise. A name for one platform of an index that has been compared
(`base:15.0-amd64` beside `base:15.0`) is not compared again.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.collector import Collector, Spot
from reproducibility.compare_documents import blob_of, compare_documents, step_of
from reproducibility.compare_layers import LayersComparer, Reported
from reproducibility.contents import Workplace
from reproducibility.diffoscope import Diffoscope, deepen
from reproducibility.entry_table import Scratch
from reproducibility.findings import (
    Comparison,
    Found,
    ImageResult,
    Level,
    PlatformResult,
    State,
    Step,
    Subject,
    Timing,
)
from reproducibility.layer_view import Side
from reproducibility.patterns import Hints
from reproducibility.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reproducibility.model import Document, Image, PlatformImage, Source

MAX_DIFFERENCES: Final = 20_000
BUDGET: Final = 2 << 30
_NO_HINTS: Final = Hints()
_DIFFOSCOPE: Final = Diffoscope()


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to compare; the defaults are for people at a terminal."""

    label: str = ""
    """What to call the comparison in a report: `umask only`."""
    platforms: tuple[str, ...] = ()
    """Only these; empty means all."""
    ignored: tuple[Cause, ...] = ()
    """Causes that are reported, but do not count."""
    flatten: bool = False
    """Compare the root file systems that the layers make, not layer by layer."""
    hints: Hints = _NO_HINTS
    """What is known of the surroundings in which A and B were made."""
    diffoscope: Diffoscope | None = _DIFFOSCOPE
    """None leaves it out."""
    artifacts: Path | None = None
    """Where diffoscope's own reports are kept; None drops them."""
    max_differences: int = MAX_DIFFERENCES
    """Differences that are kept; more are only counted."""
    budget: int = BUDGET
    """Bytes of differing files that may be written to the temporary directory."""
    progress: Callable[[str], None] = _silent
    """Told what is going on."""


def compare(a: str, b: str, options: Options | None = None) -> Comparison:
    """Compare two sources by their names (`reproducibility.sources`).

    Raises:
        ConfigurationError: one of them is not there or of no known kind.
        LayoutError: one of them is an archive that cannot be read at all.
    """
    with open_source(a) as x, open_source(b) as y:
        return compare_sources(x, y, options)


def compare_sources(a: Source, b: Source, options: Options | None = None) -> Comparison:
    """Compare two open sources at every level; never raises for what is in them."""
    options = options or Options()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        sides = Side(stack.enter_context(Scratch())), Side(stack.enter_context(Scratch()))
        workplace = Workplace(root=root, budget=options.budget)
        comparer = _Comparer(a, b, sides, workplace, options)
        return comparer.compare()


class _Comparer:
    def __init__(
        self, a: Source, b: Source, sides: tuple[Side, Side], workplace: Workplace, options: Options
    ) -> None:
        self._a = a
        self._b = b
        self._sides = sides
        self._workplace = workplace
        self._options = options
        self._collector = Collector(limit=options.max_differences, ignored=options.ignored)
        self._reported = Reported()
        self._compared: set[tuple[str, str]] = set()
        """Digests of manifests that have been compared."""
        self._timings: list[Timing] = []

    def compare(self) -> Comparison:
        collector, options = self._collector, self._options
        start = time.perf_counter()
        for side, source in (("A", self._a), ("B", self._b)):
            for problem in source.problems:
                collector.problem(f"{side}: {problem}")
        images = tuple(self._images())
        compared = [p for i in images for p in i.platforms if p.state is not State.NOT_COMPARED]
        if not compared:
            collector.problem("there is nothing that both sides have")
        self._time("compare", start)
        start = time.perf_counter()
        deep = deepen(
            self._workplace,
            options.diffoscope,
            artifacts=options.artifacts,
            progress=options.progress,
        )
        for note in deep.notes:
            collector.note(note)
        if options.diffoscope is not None and self._workplace.kept:
            self._time("diffoscope", start)
        return Comparison(
            label=options.label,
            a=_subject(self._a),
            b=_subject(self._b),
            images=images,
            differences=tuple(collector.differences()),
            omitted=collector.omitted(),
            files=deep.files,
            problems=tuple(collector.problems),
            notes=tuple(collector.notes),
            ignored=tuple(sorted(set(options.ignored))),
            artifacts=deep.artifacts,
            timings=tuple(self._timings),
        )

    def _time(self, name: str, start: float) -> None:
        elapsed = int((time.perf_counter() - start) * 1000)
        self._timings.append(Timing(name=name, milliseconds=elapsed))

    # ------------------------------------------------------------ images

    def _images(self) -> Iterator[ImageResult]:
        pairs = list(_pair_images(self._a.images, self._b.images))
        pairs.sort(key=lambda pair: not any(image and image.index for image in pair))
        results = []
        for a, b in pairs:
            if a is not None and b is not None:
                if not self._is_known(a, b):
                    results.append(self._image(a, b))
            else:
                results.append(self._lonely(a, b))
        yield from sorted(results, key=lambda result: result.name)

    def _is_known(self, a: Image, b: Image) -> bool:
        """Say whether a pair is one platform of an index that has been compared."""
        return (
            a.index is None
            and b.index is None
            and len(a.platforms) == len(b.platforms) == 1
            and _manifests(a.platforms[0], b.platforms[0]) in self._compared
        )

    def _lonely(self, a: Image | None, b: Image | None) -> ImageResult:
        image = a or b
        assert image is not None
        sides = ("an image", "absent") if a else ("absent", "an image")
        spot = Spot(image=image.name, platform="")
        self._collector.add(Level.INDEX, spot, _presence(*sides))
        state = State.ONLY_A if a else State.ONLY_B
        return ImageResult(
            name=spot.place().image,
            state=state,
            index=_bare_step(a.index if a else None, b.index if b else None, state),
            platforms=(),
        )

    def _image(self, a: Image, b: Image) -> ImageResult:
        name = a.name if a.name == b.name or not b.name else f"{a.name} | {b.name}".strip(" |")
        spot = Spot(image=name, platform="")
        before = self._collector.count
        if a.index is not None and b.index is not None:
            found = compare_documents(Level.INDEX, a.index, b.index, hints=self._options.hints)
            for finding in found:
                self._collector.add(Level.INDEX, spot, finding)
        elif a.index is not None or b.index is not None:
            self._collector.note(
                f"{spot.place()}: an index on one side only; its images are paired"
            )
        platforms = tuple(self._platforms(a, b, spot))
        index = step_of(a.index, b.index)
        is_different = self._collector.count > before
        is_odd = index.state is State.DIFFERENT and not is_different
        if is_odd and not self._options.flatten and not self._collector.problems:
            self._collector.add(Level.INDEX, spot, _unexplained(index))
            is_different = True
        return ImageResult(
            name=spot.place().image,
            state=_state(is_different, (platform.state for platform in platforms)),
            index=index,
            platforms=platforms,
        )

    # ------------------------------------------------------------ platforms

    def _platforms(self, a: Image, b: Image, spot: Spot) -> Iterator[PlatformResult]:
        wanted = self._options.platforms
        both_indexes = a.index is not None and b.index is not None
        for x, y in _pair_platforms(a.platforms, b.platforms):
            platform = x or y
            assert platform is not None
            if wanted and not any(p and p.platform in wanted for p in (x, y)):
                continue
            here = replace(spot, platform=platform.platform)
            if x is not None and y is not None and x.is_readable and y.is_readable:
                yield self._platform(x, y, here)
            elif x is not None and y is not None:
                yield _bare_platform(x, y, here, State.NOT_COMPARED)
            elif both_indexes:
                sides = ("an image", "absent") if x else ("absent", "an image")
                self._collector.add(Level.INDEX, here, _presence(*sides))
                state = State.ONLY_A if x else State.ONLY_B
                yield _bare_platform(x, y, here, state)

    def _platform(self, a: PlatformImage, b: PlatformImage, spot: Spot) -> PlatformResult:
        self._options.progress(str(spot.place()) or "root file system")
        self._compared.add(_manifests(a, b))
        before = self._collector.count
        for level, x, y in (
            (Level.MANIFEST, a.manifest, b.manifest),
            (Level.CONFIG, a.config, b.config),
        ):
            if x is not None and y is not None:
                for found in compare_documents(level, x, y, hints=self._options.hints):
                    self._collector.add(level, spot, found)
        comparer = LayersComparer(
            spot=spot,
            scratch=self._sides[0].scratch,
            collector=self._collector,
            workplace=self._workplace,
            hints=self._options.hints,
            reported=self._reported,
        )
        is_rootfs = a.is_rootfs or b.is_rootfs
        layers = comparer.compare(
            self._sides[0].views(a),
            self._sides[1].views(b),
            flatten=self._options.flatten or is_rootfs,
            has_layers=not is_rootfs and not self._options.flatten,
        )
        is_different = self._collector.count > before or any(
            layer.state is State.DIFFERENT for layer in layers
        )
        return PlatformResult(
            platform=spot.place().platform,
            state=_state(
                is_different, (x.state for x in layers if x.state is not State.NOT_COMPARED)
            ),
            manifest=step_of(a.manifest, b.manifest),
            config=step_of(a.config, b.config),
            layers=layers,
            notes=tuple(_platform_notes(a, b)),
        )


def _subject(source: Source) -> Subject:
    documents = [image.index or image.platforms[0].manifest for image in source.images[:1]]
    only = documents[0] if len(source.images) == 1 and documents else None
    return Subject(name=source.name, kind=source.kind, digest=str(only.digest) if only else "")


def _presence(a: str, b: str) -> Found:
    return Found(cause=Cause.PRESENCE, inside="", package="", a=a, b=b, evidence=())


def _unexplained(step: Step) -> Found:
    assert step.a is not None
    assert step.b is not None
    return Found(
        cause=Cause.UNKNOWN,
        inside="",
        package="",
        a=step.a.digest,
        b=step.b.digest,
        evidence=("the digests differ, and nothing below explains it",),
    )


def _bare_step(a: Document | None, b: Document | None, state: State) -> Step:
    return Step(state=state, a=blob_of(a), b=blob_of(b))


def _bare_platform(
    a: PlatformImage | None, b: PlatformImage | None, spot: Spot, state: State
) -> PlatformResult:
    """Describe a platform that one side does not have, or that cannot be read."""
    return PlatformResult(
        platform=spot.place().platform,
        state=state,
        manifest=_bare_step(a.manifest if a else None, b.manifest if b else None, state),
        config=_bare_step(a.config if a else None, b.config if b else None, state),
        layers=(),
        notes=(),
    )


def _platform_notes(a: PlatformImage, b: PlatformImage) -> Iterator[str]:
    if a.is_rootfs or b.is_rootfs:
        if not (a.is_rootfs and b.is_rootfs):
            yield "one side is only files: documents and layers are not compared"
    elif a.manifest is None or b.manifest is None:
        yield "a docker archive has no manifest and no compressed layers: compared by diff_id"


def _state(is_different: bool, below: Iterable[State]) -> State:  # noqa: FBT001
    states = set(below)
    if is_different:
        return State.DIFFERENT
    if State.NOT_COMPARED in states:
        return State.NOT_COMPARED
    return State.EQUAL_CONTENT if State.EQUAL_CONTENT in states else State.IDENTICAL


def _manifests(a: PlatformImage, b: PlatformImage) -> tuple[str, str]:
    documents = a.manifest or a.config, b.manifest or b.config
    return tuple(str(d.digest) if d else "" for d in documents)  # type: ignore[return-value]


def _pair_images(
    a: Sequence[Image], b: Sequence[Image]
) -> Iterator[tuple[Image | None, Image | None]]:
    if len(a) == len(b) == 1:
        yield a[0], b[0]
        return
    others = {image.name: image for image in b}
    for image in a:
        yield image, others.pop(image.name, None)
    for image in others.values():
        yield None, image


def _pair_platforms(
    a: Sequence[PlatformImage], b: Sequence[PlatformImage]
) -> Iterator[tuple[PlatformImage | None, PlatformImage | None]]:
    """Pair by platform; of two lonely ones, or where one side does not say, by being there."""
    if len(a) == len(b) == 1:
        yield a[0], b[0]
        return
    left, right = _by_platform(a), _by_platform(b)
    if len(a) == 1 or len(b) == 1:
        (single,) = a if len(a) == 1 else b
        if not single.platform:
            yield a[0], b[0]
            return
    for key in sorted({*left, *right}):
        yield left.get(key), right.get(key)


def _by_platform(images: Sequence[PlatformImage]) -> dict[tuple[str, int], PlatformImage]:
    result: dict[tuple[str, int], PlatformImage] = {}
    for image in images:
        number = 0
        while (image.platform, number) in result:
            number += 1
        result[image.platform, number] = image
    return result
