"""Gather what is found, in its place, up to a limit; beyond it only count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reproducibility.findings import Count, Difference, Found, Level, Place, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reproducibility.causes import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where the comparison is at work: an image, a platform, perhaps a layer."""

    image: str
    platform: str
    layer: str = ""

    def place(self, path: str = "") -> Place:
        """Return the place of something here."""
        return Place(
            image=text_of(self.image),
            platform=text_of(self.platform),
            layer=self.layer,
            path=text_of(path),
        )


class Collector:
    """Takes findings."""

    def __init__(self, *, limit: int, ignored: Iterable[Cause]) -> None:
        self._limit = limit
        self._ignored = frozenset(ignored)
        self._differences: list[Difference] = []
        self._omitted: Counter[str] = Counter()
        self._owners: Mapping[str, str] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    @property
    def count(self) -> int:
        """How many differences there are so far, kept or not."""
        return len(self._differences) + self._omitted.total()

    @property
    def kept(self) -> int:
        """How many differences are kept so far."""
        return len(self._differences)

    def also_in(self, numbers: range, where: str) -> None:
        """Say that some differences are in another image, too."""
        for i in numbers:
            d = self._differences[i]
            self._differences[i] = replace(d, also_in=(*d.also_in, where))

    def set_owners(self, owners: Mapping[str, str]) -> None:
        """Say which package owns which path from now on."""
        self._owners = owners

    def owner(self, path: str) -> str:
        """Return the package that owns a path, or nothing."""
        return self._owners.get(path, "")

    def add(self, level: Level, spot: Spot, found: Found, *, path: str = "") -> None:
        """Take a finding."""
        if len(self._differences) >= self._limit:
            self._omitted[found.cause.value] += 1
            return
        self._differences.append(
            Difference(
                level=level,
                cause=found.cause,
                place=spot.place(path),
                inside=found.inside,
                package=text_of(found.package or self.owner(path)),
                a=found.a,
                b=found.b,
                evidence=found.evidence,
                also_in=(),
                ignored=found.cause in self._ignored,
            )
        )

    def note(self, text: str) -> None:
        """Take a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def problem(self, text: str) -> None:
        """Take a problem, once."""
        text = text_of(text)
        if text not in self.problems:
            self.problems.append(text)

    def differences(self) -> list[Difference]:
        """Return what was kept."""
        return self._differences

    def omitted(self) -> tuple[Count, ...]:
        """Return what was only counted."""
        return tuple(Count(name=name, count=self._omitted[name]) for name in sorted(self._omitted))
