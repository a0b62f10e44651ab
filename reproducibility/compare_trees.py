"""Compare two trees of entries: two layers, or two root file systems.

Both are read in path order at the same time; nothing but the differences is kept. A directory that
one side does not have is one difference, whatever is below it. For two layers, what is written
differently but means the same, and the order of the entries, are told once for the whole tree; two
file systems have neither.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.compare_entries import FILES, compare_entries, encoding_of
from reproducibility.entries import Kind
from reproducibility.entry_table import merge
from reproducibility.findings import Found, Level, shown, text_of
from reproducibility.ordering import LOCAL, Order, order_of
from reproducibility.wording import plural, size_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reproducibility.collector import Collector, Spot
    from reproducibility.entries import Entry
    from reproducibility.entry_table import EntryTable, Row

_MAX_CHANGED: Final = 5000
"""Files whose content is looked into."""
_EXAMPLES: Final = 3
_MAX_NAMES: Final = 50_000
"""Names whose order is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One side: entries and what is known of how they were written."""

    table: EntryTable
    is_tar: bool
    """Whether flags, attributes and fractions of seconds are known."""
    has_order: bool
    """False for a directory, and for layers applied one over the other."""
    trailer: str


@dataclass(slots=True, kw_only=True)
class TreeOutcome:
    """What a comparison of trees leaves to be done."""

    same: int = 0
    """Entries that are equal in every respect."""
    changed: list[tuple[Row, Row]] = field(default_factory=list)
    """Files whose content differs."""
    changed_omitted: int = 0


def compare_trees(a: Tree, b: Tree, *, collector: Collector, spot: Spot) -> TreeOutcome:
    """Compare; differences go to the collector, files with other content are returned."""
    return _TreeComparer(a, b, collector, spot).compare()


class _Fold:
    """A directory of one side only, with everything below it."""

    def __init__(self, row: Row, *, is_a: bool) -> None:
        self.row = row
        self.is_a = is_a
        self.count = 0
        self.size = row.entry.size
        self.packages: Counter[str] = Counter()

    def holds(self, row: Row) -> bool:
        """Say whether a row is below the directory."""
        entry = self.row.entry
        return entry.kind is Kind.DIRECTORY and row.key.startswith(self.row.key + b"\0")


class _TreeComparer:
    def __init__(self, a: Tree, b: Tree, collector: Collector, spot: Spot) -> None:
        self._a = a
        self._b = b
        self._is_tar = a.is_tar and b.is_tar
        self._has_order = a.has_order and b.has_order
        self._collector = collector
        self._spot = spot
        self._outcome = TreeOutcome()
        self._writings: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._fold: _Fold | None = None
        self._positions = array("q")
        self._folders_a, self._folders_b = _FolderWatcher(), _FolderWatcher()

    def compare(self) -> TreeOutcome:
        if self._has_order:
            self._positions = array("q", [-1]) * max(self._a.table.added, 1)
        for x, y in merge(self._a.table, self._b.table):
            if x is not None and y is not None:
                self._pair(x, y)
            else:
                self._single(x, y)
        self._unfold()
        if self._has_order:
            self._order()
            self._encoding()
        return self._outcome

    # ------------------------------------------------------------ one side only

    def _single(self, x: Row | None, y: Row | None) -> None:
        row, is_a = (x, True) if x is not None else (y, False)
        assert row is not None
        fold = self._fold
        if fold is not None and fold.is_a == is_a and fold.holds(row):
            fold.count += 1
            fold.size += row.entry.size
        else:
            self._unfold()
            fold = self._fold = _Fold(row, is_a=is_a)
        owner = self._collector.owner(row.entry.path)
        if owner:
            fold.packages[owner] += 1

    def _unfold(self) -> None:
        fold, self._fold = self._fold, None
        if fold is None:
            return
        entry = fold.row.entry
        if not entry.path and not fold.count and not self._has_order:
            return  # an entry for the root itself, which a file system need not have
        what = entry.kind.value
        if fold.count:
            what += f" with {plural(fold.count, 'entry', 'entries')} below, {size_text(fold.size)}"
        elif entry.kind is Kind.FILE:
            what += f" of {size_text(entry.size)}"
        packages = [f"{name} ({n})" for name, n in sorted(fold.packages.items())]
        more = [f"and {len(packages) - _EXAMPLES} more"] if len(packages) > _EXAMPLES else []
        evidence = (
            ("packages: " + ", ".join((*packages[:_EXAMPLES], *more)),) if len(packages) > 1 else ()
        )
        sides = (what, "absent") if fold.is_a else ("absent", what)
        found = Found(
            cause=Cause.PRESENCE,
            inside="",
            package=next(iter(fold.packages)) if len(packages) == 1 else "",
            a=sides[0],
            b=sides[1],
            evidence=evidence,
        )
        self._collector.add(Level.ENTRY, self._spot, found, path=entry.path or ".")

    # ------------------------------------------------------------ both sides

    def _pair(self, x: Row, y: Row) -> None:
        a, b = x.entry, y.entry
        if self._fold is not None and not self._fold.holds(x):
            self._unfold()
        if self._has_order:
            self._positions[a.ordinal] = b.ordinal
            self._folders_a.watch(a)
            self._folders_b.watch(b)
        found = list(compare_entries(a, b, is_tar=self._is_tar))
        found += self._links(a, b)
        for finding in found:
            self._collector.add(Level.ENTRY, self._spot, finding, path=a.path or ".")
        if a.kind in FILES and b.kind in FILES and a.digest != b.digest:
            if a.kind is b.kind is Kind.HARDLINK and a.link == b.link:
                return  # told under the first name
            if len(self._outcome.changed) < _MAX_CHANGED:
                self._outcome.changed.append((x, y))
            else:
                self._outcome.changed_omitted += 1
        elif not found:
            writing = encoding_of(a, b) if self._has_order else ""
            if writing:
                self._writings[writing] += 1
                self._examples.setdefault(writing, text_of(a.path))
            else:
                self._outcome.same += 1

    def _links(self, a: Entry, b: Entry) -> list[Found]:
        """Compare which names are one file."""
        if a.kind not in FILES or b.kind not in FILES:
            return []
        first_a, first_b = _first_name(a), _first_name(b)
        if first_a == first_b:
            return []
        same_group = (
            _name_in(self._a.table, first_b) == first_a
            and _name_in(self._b.table, first_a) == first_b
        )
        if same_group and not self._has_order:
            return []
        return [
            Found(
                cause=Cause.ORDER if same_group else Cause.LINK,
                inside="",
                package="",
                a=_link_text(a),
                b=_link_text(b),
                evidence=(
                    "the names of one file, another of them first"
                    if same_group
                    else "hard-linked on one side, or with other names",
                ),
            )
        ]

    # ------------------------------------------------------------ the whole tree

    def _order(self) -> None:
        """Tell if the entries that both have come in another order."""
        swapped = _first_swap(self._positions)
        if swapped is None:
            return
        a, b = (order_of(_names(tree.table)) for tree in (self._a, self._b))
        cause, evidence = _judge(a, b, (self._folders_a.are_first, self._folders_b.are_first))
        first, second = _names_at(self._a.table, swapped)
        self._collector.add(
            Level.LAYER,
            self._spot,
            Found(
                cause=cause,
                inside="entries",
                package="",
                a=shown(f"{first}, then {second}"),
                b=shown(f"{second}, then {first}"),
                evidence=(f"A is {a}, B is {b}", *evidence),
            ),
        )

    def _encoding(self) -> None:
        """Tell how the two writers differ where they mean the same."""
        evidence = [
            f"{plural(count, 'entry', 'entries')}, {writing}, e.g. {self._examples[writing]}"
            for writing, count in sorted(self._writings.items())
        ]
        if self._a.trailer != self._b.trailer:
            evidence.append(f"end of archive: {self._a.trailer} | {self._b.trailer}")
        if evidence:
            found = Found(
                cause=Cause.ENCODING,
                inside="tar headers",
                package="",
                a="",
                b="",
                evidence=tuple(map(shown, evidence)),
            )
            self._collector.add(Level.LAYER, self._spot, found)


class _FolderWatcher:
    """See whether every directory comes before what is in it; entries pass by in path order."""

    def __init__(self) -> None:
        self.are_first = True
        self._stack: list[Entry] = []

    def watch(self, entry: Entry) -> None:
        while self._stack and not entry.path.startswith(self._stack[-1].path + "/"):
            self._stack.pop()
        if self._stack and self._stack[-1].ordinal > entry.ordinal:
            self.are_first = False
        if entry.kind is Kind.DIRECTORY and entry.path:
            self._stack.append(entry)


def _judge(a: Order, b: Order, are_first: tuple[bool, bool]) -> tuple[Cause, tuple[str, ...]]:
    if (a in LOCAL or b in LOCAL) and Order.NONE not in (a, b):
        return Cause.LOCALE, ()
    for order, is_first in ((a, are_first[0]), (b, are_first[1])):
        if order is Order.NONE and not is_first:
            return Cause.HASH_ORDER, ("files come before their directories: no walk does that",)
    return Cause.ORDER, ()


def _first_swap(positions: Sequence[int]) -> tuple[int, int] | None:
    """Return two entries of A, by ordinal, the first of which comes later in B."""
    previous = -1
    for ordinal, position in enumerate(positions):
        if position < 0:
            continue
        if previous >= 0 and position < positions[previous]:
            return previous, ordinal
        previous = ordinal
    return None


def _names(table: EntryTable) -> list[str]:
    """Return the first paths of an archive in its order."""
    found = [(row.entry.ordinal, row.entry.path) for row in table if row.entry.ordinal < _MAX_NAMES]
    return [path for _, path in sorted(found)]


def _names_at(table: EntryTable, ordinals: tuple[int, int]) -> tuple[str, str]:
    names = {row.entry.ordinal: row.entry.path for row in table if row.entry.ordinal in ordinals}
    return names.get(ordinals[0], "?"), names.get(ordinals[1], "?")


def _name_in(table: EntryTable, path: str) -> str:
    row = table.get(path)
    return "" if row is None else _first_name(row.entry)


def _first_name(entry: Entry) -> str:
    return entry.link if entry.kind is Kind.HARDLINK else entry.path


def _link_text(entry: Entry) -> str:
    return f"another name of {entry.link}" if entry.kind is Kind.HARDLINK else "a file"
