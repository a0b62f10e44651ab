"""The files that differ: written out on both sides, compared, and kept for a deeper look.

This is the only part that writes content to disk: into the workplace, `A/<role>/<path>` and
`B/<role>/<path>`, so that a tool which compares directories pairs them. The workplace has a budget;
files beyond it are reported as different, but not looked into.
"""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipeline.errors import PipelineError
from reproducibility.causes import Cause
from reproducibility.compare_content import compare_files
from reproducibility.excerpt import make_excerpt
from reproducibility.findings import Blob, FileResult, Found, Level

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reproducibility.collector import Collector, Spot
    from reproducibility.compare_content import Context
    from reproducibility.entries import Entry
    from reproducibility.entry_table import Row
    from reproducibility.layers import Layer

_MAX_NAME: Final = 120
_MAX_PATH: Final = 800
_MAX_DEPTH: Final = 40
_UNSAFE_RE: Final = re.compile(r"[^\w.+@%=,:~ -]")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A differing file that lies in the workplace, and what was found of it."""

    relative: str
    """Path below `A` and `B`."""
    is_unexplained: bool
    """Whether no cause was found for all of it."""
    result: FileResult


@dataclass(slots=True, kw_only=True)
class Workplace:
    """Where differing files are kept while a comparison runs."""

    root: Path
    budget: int
    """Bytes that may still be written."""
    kept: list[KeptFile] = field(default_factory=list)

    def reserve(self, a: Entry, b: Entry) -> bool:
        """Take the room for a pair of files out of the budget, if there is enough."""
        size = a.size + b.size
        if size > self.budget:
            return False
        self.budget -= size
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A differing file and where its two contents are going to lie."""

    a: Entry
    b: Entry
    relative: str


def look_into(
    changed: Sequence[tuple[Row, Row]],
    layers: tuple[Sequence[Layer], Sequence[Layer]],
    *,
    workplace: Workplace,
    collector: Collector,
    spot: Spot,
    context: Context,
) -> None:
    """Write out the files that differ, find causes, and keep them.

    Args:
        changed: pairs of rows; a row's layer is an index into the layers of its side.
        layers: the layers of A and of B.
        workplace: where to write.
        collector: takes what is found.
        spot: where the files belong.
        context: what is known of the surroundings.
    """
    plan = _plan(changed, workplace, collector, spot)
    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(_extract, side, wanted)
            for side, wanted in zip(layers, (plan.wanted_a, plan.wanted_b), strict=True)
        ]
        for future in futures:
            try:
                future.result()
            except (PipelineError, OSError) as e:
                collector.problem(f"{spot.layer}: {e}")
    for source, target in plan.copies:
        if source.exists():
            os.link(source, target)
    for pair in plan.pairs:
        _compare(pair, workplace, collector, spot, context)


@dataclass(slots=True, kw_only=True)
class _Plan:
    """What to write where."""

    pairs: list[Pair] = field(default_factory=list)
    wanted_a: dict[int, dict[int, Path]] = field(default_factory=dict)
    wanted_b: dict[int, dict[int, Path]] = field(default_factory=dict)
    copies: list[tuple[Path, Path]] = field(default_factory=list)
    """Names of one file: what is written, and what it is linked to."""


def _plan(
    changed: Sequence[tuple[Row, Row]], workplace: Workplace, collector: Collector, spot: Spot
) -> _Plan:
    """Choose places for what fits into the budget; the rest is a finding without a cause."""
    plan = _Plan()
    role = _role(spot)
    for x, y in changed:
        if not workplace.reserve(x.entry, y.entry):
            found = _not_looked(x.entry, y.entry)
            collector.add(Level.CONTENT, spot, found, path=x.entry.path)
            continue
        relative = f"{role}/{_safe(x.entry.path)}"
        plan.pairs.append(Pair(a=x.entry, b=y.entry, relative=relative))
        for row, side, wanted in ((x, "A", plan.wanted_a), (y, "B", plan.wanted_b)):
            path = workplace.root / side / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            first = wanted.setdefault(row.layer, {}).setdefault(row.entry.content, path)
            if first != path:
                plan.copies.append((first, path))
    return plan


def _not_looked(a: Entry, b: Entry) -> Found:
    return Found(
        cause=Cause.UNKNOWN,
        inside="",
        package="",
        a=f"sha256:{a.digest}",
        b=f"sha256:{b.digest}",
        evidence=("not looked into: the budget for files on disk is used up",),
    )


def _role(spot: Spot) -> str:
    image = spot.image.partition(" | ")[0]
    return _safe("/".join(filter(None, (image, spot.platform, spot.layer))) or "files")


def _safe(path: str) -> str:
    """Return a relative path that stays where it is put, with names that any system takes."""
    if len(path) > _MAX_PATH or path.count("/") > _MAX_DEPTH:
        digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
        path = f"deep-{digest[:16]}/{path.rpartition('/')[2]}"
    components = []
    for component in path.split("/"):
        name = _UNSAFE_RE.sub("_", component)
        if name in ("", ".", ".."):
            name = "_"
        if name != component or len(name) > _MAX_NAME:
            raw = component.encode("utf-8", "surrogateescape")
            name = f"{name[:_MAX_NAME]}~{hashlib.sha256(raw).hexdigest()[:8]}"
        components.append(name)
    return "/".join(components)


def _extract(layers: Sequence[Layer], wanted: Mapping[int, Mapping[int, Path]]) -> None:
    for number in sorted(wanted):
        layers[number].extract(wanted[number])


def _compare(
    pair: Pair, workplace: Workplace, collector: Collector, spot: Spot, context: Context
) -> None:
    paths = [workplace.root / side / pair.relative for side in ("A", "B")]
    for path, entry in zip(paths, (pair.a, pair.b), strict=True):
        if not path.exists():
            path.touch()
            collector.problem(f"{spot.layer}: {entry.path}: its content could not be read")
    a, b = paths
    findings = compare_files(a, b, context)
    for found in findings:
        collector.add(Level.CONTENT, spot, found, path=pair.a.path)
    excerpt = make_excerpt(a, b)
    result = FileResult(
        place=spot.place(pair.a.path),
        package=collector.owner(pair.a.path),
        a=_blob(pair.a),
        b=_blob(pair.b),
        excerpt=excerpt.lines,
        excerpt_by="built-in" if excerpt.lines else "",
        truncated=excerpt.truncated,
    )
    is_unexplained = any(found.cause is Cause.UNKNOWN for found in findings)
    workplace.kept.append(
        KeptFile(relative=pair.relative, is_unexplained=is_unexplained, result=result)
    )


def _blob(entry: Entry) -> Blob:
    digest = f"sha256:{entry.digest}" if entry.digest else ""
    return Blob(digest=digest, size=entry.size, media_type="")
