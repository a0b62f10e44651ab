"""Values of variations, and which of them a build takes."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reproducibility.recipe import Recipe

INTERPRETERS: Final = ("python", "apsw")
"""Variations that come with an interpreter, of which there is one a build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value of a variation."""

    name: str
    """In words: `GMT+12`."""
    change: Callable[[Recipe], Recipe]
    parts: tuple[Setting, ...] = ()
    """Smaller settings that it consists of, if there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """One thing that must not matter."""

    name: str
    title: str
    held: Setting
    hostile: tuple[Setting, ...]
    """Those that can be applied here."""
    impossible: tuple[str, ...]
    """Why others cannot, a sentence each."""

    @property
    def is_possible(self) -> bool:
        """Whether it can be applied at all."""
        return bool(self.hostile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A variation and the value that a build gives it."""

    variation: str
    setting: Setting

    def __str__(self) -> str:
        return f"{self.variation} ({self.setting.name})"


def apply(recipe: Recipe, settings: Iterable[Setting]) -> Recipe:
    """Return a recipe with settings applied, one after the other."""
    return functools.reduce(lambda changed, setting: setting.change(changed), settings, recipe)


def held_recipe(recipe: Recipe, variations: Iterable[Variation]) -> Recipe:
    """Return a recipe with everything held that can be."""
    return apply(recipe, (variation.held for variation in variations))


def choose_round(variations: Sequence[Variation], number: int) -> tuple[Choice, ...]:
    """Return the values of one hostile build: all variations at once, each at its next value.

    Python and apsw come with an interpreter, and there is one a build: they take turns.
    """
    interpreters = [v.name for v in variations if v.name in INTERPRETERS and v.is_possible]
    chosen = []
    for variation in variations:
        turn = number
        if variation.name in interpreters:
            turn, place = divmod(number, len(interpreters))
            if interpreters[place] != variation.name:
                continue
        if variation.is_possible:
            setting = variation.hostile[turn % len(variation.hostile)]
            chosen.append(Choice(variation=variation.name, setting=setting))
    return tuple(chosen)


def select(
    variations: Sequence[Variation], *, only: Sequence[str], without: Sequence[str]
) -> tuple[Variation, ...]:
    """Keep the variations that are asked for.

    Args:
        variations: all there are.
        only: names of those that vary, the others are held; empty means all.
        without: names of those that are left alone, neither varied nor held.

    Raises:
        ConfigurationError: there is no such variation.
    """
    names = [variation.name for variation in variations]
    for name in (*only, *without):
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise ConfigurationError(
                f"{name!r} is no variation" + (f"; did you mean {near[0]!r}?" if near else ""),
                hint=f"there are {', '.join(names)}",
            )
    kept = [variation for variation in variations if variation.name not in without]
    return tuple(
        variation
        if not only or variation.name in only
        else replace(variation, hostile=(), impossible=("not asked for",))
        for variation in kept
    )
