"""Compare the layers of two images: which belong together, and what is in them.

| the two images | compared |
|---|---|
| equally many layers, and no file that moved from one layer to another | layer by layer |
| a root file system on a side | the root file systems that the layers make |
| anything else | likewise, and the cutting itself is a finding |

A pair of layers is compared by digest, then by diff_id (computed, not believed), then by entries:
so another compressor is told from another content.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.compare_content import Context
from reproducibility.compare_trees import Tree, compare_trees
from reproducibility.compressors import different_fields
from reproducibility.contents import look_into
from reproducibility.entries import Kind
from reproducibility.findings import Found, LayerResult, Level, State, shown
from reproducibility.layer_view import LayerView, on_both_sides
from reproducibility.merged import merge_layers
from reproducibility.owners import find_owners
from reproducibility.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reproducibility.collector import Collector, Spot
    from reproducibility.contents import Workplace
    from reproducibility.entry_table import EntryTable, Scratch
    from reproducibility.patterns import Hints

MERGED: Final = "all layers"
"""Name of what layers make together."""

_MAX_MOVED: Final = 1000
_MAX_NAMES: Final = 300_000
_EXAMPLES: Final = 3


@dataclass(slots=True, kw_only=True)
class Reported:
    """Pairs of layers that have been reported, so that they are not reported twice."""

    pairs: dict[tuple[str, str], tuple[str, int, int, LayerResult]] = field(default_factory=dict)
    """By digests: where, first and last number of its differences, and the result."""


class LayersComparer:
    """Compares the layers of one image for one platform."""

    def __init__(
        self,
        *,
        spot: Spot,
        scratch: Scratch,
        collector: Collector,
        workplace: Workplace,
        hints: Hints,
        reported: Reported,
    ) -> None:
        self._spot = spot
        self._scratch = scratch
        self._collector = collector
        self._workplace = workplace
        self._hints = hints
        self._reported = reported

    def compare(
        self, a: Sequence[LayerView], b: Sequence[LayerView], *, flatten: bool, has_layers: bool
    ) -> tuple[LayerResult, ...]:
        """Compare all layers.

        Args:
            a: those of A, lowest first.
            b: those of B.
            flatten: compare what the layers make together, whatever they are.
            has_layers: whether both sides have layers at all, so that their cutting matters.
        """
        rest_a, rest_b = _without_identical(a, b)
        on_both_sides(a, b, LayerView.hash_blob)
        moved = _Moved()
        if rest_a or rest_b:
            merged = flatten or len(a) != len(b)
            on_both_sides(*((a, b) if merged else (rest_a, rest_b)), LayerView.read)
            self._collector.set_owners(find_owners(a, b, self._workplace.root))
            if not flatten and len(a) == len(b):
                moved = _find_moved(rest_a, rest_b)
                merged = bool(moved.counts)
            if merged:
                on_both_sides(a, b, LayerView.read)
                results = self._merged(a, b, moved if has_layers else None)
            else:
                results = self._pairwise(a, b)
        else:
            results = self._pairwise(a, b)
        self._take_problems(a, b)
        return results

    def _take_problems(self, a: Sequence[LayerView], b: Sequence[LayerView]) -> None:
        for side, views in (("A", a), ("B", b)):
            for view in views:
                for problem in view.problems:
                    self._collector.problem(f"{side}: {self._spot.place()}: {problem}")
                for note in view.notes:
                    self._collector.note(f"{side}: {self._spot.place()}: {note}")

    # ------------------------------------------------------------ layer by layer

    def _pairwise(self, a: Sequence[LayerView], b: Sequence[LayerView]) -> tuple[LayerResult, ...]:
        return tuple(
            self._pair(x, y, f"layer {number}")
            for number, (x, y) in enumerate(zip(a, b, strict=True), 1)
        )

    def _pair(self, x: LayerView, y: LayerView, name: str) -> LayerResult:
        key = x.side().digest, y.side().digest
        result = LayerResult(
            name=name,
            state=State.IDENTICAL,
            a=x.side(),
            b=y.side(),
            same_entries=max(x.side().entries, 0),
            reported_in="",
        )
        if key[0] == key[1] and key[0]:
            return result
        if key in self._reported.pairs and all(key):
            where, first, last, earlier = self._reported.pairs[key]
            self._collector.also_in(range(first, last), f"{self._spot.place()} > {name}")
            return replace(earlier, name=name, reported_in=where)
        spot = replace(self._spot, layer=name)
        first = self._collector.kept
        state, same = self._different(x, y, spot)
        result = replace(result, state=state, same_entries=same)
        where = str(spot.place())
        self._reported.pairs[key] = (where, first, self._collector.kept, result)
        return result

    def _different(self, x: LayerView, y: LayerView, spot: Spot) -> tuple[State, int]:
        """Compare two layers whose digests differ; return how they relate and the equal entries."""
        x.read()
        y.read()
        diff_ids = x.facts.diff_id, y.facts.diff_id
        if diff_ids[0] and diff_ids[0] == diff_ids[1]:
            if x.claimed and y.claimed:
                self._collector.add(Level.LAYER, spot, _compressor(x, y))
            return State.EQUAL_CONTENT, x.facts.entries
        if x.facts.problems or y.facts.problems:
            self._collector.add(Level.LAYER, spot, _unreadable(x, y))
            return State.DIFFERENT, -1
        before = self._collector.count
        same = self._trees(x.tree(), y.tree(), ([x], [y]), spot)
        if self._collector.count == before and x.layer.is_tar and y.layer.is_tar:
            self._collector.add(Level.LAYER, spot, _inexplicable(x, y))
        return State.DIFFERENT if self._collector.count > before else State.EQUAL_CONTENT, same

    # ------------------------------------------------------------ all at once

    def _merged(
        self, a: Sequence[LayerView], b: Sequence[LayerView], moved: _Moved | None
    ) -> tuple[LayerResult, ...]:
        if moved is not None:
            self._collector.add(Level.LAYER, self._spot, _layering(a, b, moved))
        spot = replace(self._spot, layer=MERGED)
        trees = [self._apply(views) for views in (a, b)]
        start = self._collector.count
        same = self._trees(trees[0], trees[1], (a, b), spot)
        state = State.DIFFERENT if self._collector.count > start else State.EQUAL_CONTENT
        results = [] if moved is None and len(a) == len(b) == 1 else list(_listed(a, b))
        return (
            *results,
            LayerResult(
                name=MERGED, state=state, a=None, b=None, same_entries=same, reported_in=""
            ),
        )

    def _apply(self, views: Sequence[LayerView]) -> Tree:
        if len(views) == 1:
            return replace(views[0].tree(), has_order=False)
        table = self._scratch.table()
        merge_layers([view.table for view in views], table)
        return Tree(
            table=table,
            is_tar=all(view.layer.is_tar for view in views),
            has_order=False,
            trailer="",
        )

    def _trees(
        self,
        a: Tree,
        b: Tree,
        views: tuple[Sequence[LayerView], Sequence[LayerView]],
        spot: Spot,
    ) -> int:
        outcome = compare_trees(a, b, collector=self._collector, spot=spot)
        if outcome.changed_omitted:
            self._collector.note(
                f"{spot.place()}: {outcome.changed_omitted} more files differ in content and were"
                " not looked into"
            )
        if outcome.changed:
            look_into(
                outcome.changed,
                ([v.layer for v in views[0]], [v.layer for v in views[1]]),
                workplace=self._workplace,
                collector=self._collector,
                spot=spot,
                context=Context(hints=self._hints, is_name=_names_of((a.table, b.table))),
            )
        return outcome.same


def _without_identical(
    a: Sequence[LayerView], b: Sequence[LayerView]
) -> tuple[list[LayerView], list[LayerView]]:
    """Return the layers that are not claimed to be the same at the same height."""
    if len(a) != len(b):
        return list(a), list(b)
    pairs = [
        (x, y)
        for x, y in zip(a, b, strict=True)
        if not x.claimed or (x.claimed, x.claimed_diff_id) != (y.claimed, y.claimed_diff_id)
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _listed(a: Sequence[LayerView], b: Sequence[LayerView]) -> list[LayerResult]:
    results = []
    for number in range(max(len(a), len(b))):
        x = a[number].side() if number < len(a) else None
        y = b[number].side() if number < len(b) else None
        state = State.NOT_COMPARED
        if x is None or y is None:
            state = State.ONLY_A if y is None else State.ONLY_B
        elif x.digest and x.digest == y.digest:
            state = State.IDENTICAL
        elif x.diff_id and x.diff_id == y.diff_id:
            state = State.EQUAL_CONTENT
        results.append(
            LayerResult(
                name=f"layer {number + 1}", state=state, a=x, b=y, same_entries=-1, reported_in=""
            )
        )
    return results


# ---------------------------------------------------------------- findings about whole layers


def _layer_found(cause: Cause, a: str, b: str, *evidence: str) -> Found:
    return Found(cause=cause, inside="", package="", a=a, b=b, evidence=tuple(map(shown, evidence)))


def _compressor(x: LayerView, y: LayerView) -> Found:
    a, b = x.facts, y.facts
    assert a.compression is not None
    assert b.compression is not None
    fields = different_fields(a.compression, b.compression)
    return _layer_found(
        Cause.COMPRESSOR,
        f"{a.compression.algorithm}, {a.size} bytes",
        f"{b.compression.algorithm}, {b.size} bytes",
        "equal diff_id: the tars are the same",
        *(fields or ("equal headers: another level, library or version",)),
    )


def _unreadable(x: LayerView, y: LayerView) -> Found:
    sides = [name for name, view in (("A", x), ("B", y)) if view.facts.problems]
    return _layer_found(
        Cause.UNKNOWN,
        x.facts.digest,
        y.facts.digest,
        f"the digests differ; {' and '.join(sides)} could not be read to the end",
    )


def _inexplicable(x: LayerView, y: LayerView) -> Found:
    a, b = x.facts, y.facts
    return _layer_found(
        Cause.ENCODING,
        f"{a.diff_id}, {a.tar_size} bytes",
        f"{b.diff_id}, {b.tar_size} bytes",
        "equal entries: the tars differ in padding or in what no reader sees",
    )


def _layering(a: Sequence[LayerView], b: Sequence[LayerView], moved: _Moved) -> Found:
    evidence = [
        f"{plural(count, 'file')} of A's layer {i} in B's layer {j}, e.g. {moved.examples[i, j]}"
        for (i, j), count in sorted(moved.counts.items())
    ]
    return _layer_found(
        Cause.LAYERING, plural(len(a), "layer"), plural(len(b), "layer"), *evidence[:_EXAMPLES]
    )


# ---------------------------------------------------------------- files that moved


@dataclass(slots=True)
class _Moved:
    """Files that are in another layer of the other image."""

    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    examples: dict[tuple[int, int], str] = field(default_factory=dict)


def _find_moved(a: Sequence[LayerView], b: Sequence[LayerView]) -> _Moved:
    """Look for files that A has in one layer only, and B in another only."""
    moved = _Moved()
    for i, view in enumerate(a):
        for row in view.table:
            if row.entry.kind is Kind.DIRECTORY or b[i].table.has_key(row.key):
                continue
            for j, other in enumerate(b):
                if j != i and other.table.has_key(row.key) and not a[j].table.has_key(row.key):
                    pair = _number(view), _number(other)
                    moved.counts[pair] += 1
                    moved.examples.setdefault(pair, row.entry.path)
            if moved.counts.total() >= _MAX_MOVED:
                return moved
    return moved


def _number(view: LayerView) -> int:
    digits = view.layer.name.rpartition(" ")[2]
    return int(digits) if digits.isdigit() else 0


def _names_of(tables: Sequence[EntryTable]) -> Callable[[str], bool]:
    """Return a predicate: is this word the path or the name of a file; asked, it reads once."""
    names: set[str] = set()

    def is_name(word: str) -> bool:
        if not names:
            for table in tables:
                for key in table.keys():  # noqa: SIM118 - not a mapping
                    names.add(key.rpartition(b"\0")[2].decode("utf-8", "surrogateescape"))
                    if len(names) >= _MAX_NAMES:
                        break
        word = word.strip().strip("/")
        return word.rpartition("/")[2] in names if word else False

    return is_name
