"""The order of names: sorted by bytes, by a locale, per directory, backwards, or not at all.

The language's own collation is not asked (a report must not depend on the locales that a machine
has); the keys below imitate what sorting under common locales does to plain names:

| order | key |
|---|---|
| sorted by bytes | the bytes |
| sorted by bytes, component by component | `/` before everything |
| sorted without regard to case | lower case first, then the bytes |
| sorted as a locale does | letters and digits only, lower case; punctuation counts last |
| sorted as Estonian does | likewise, z between s and t |
| in reverse order | the bytes, descending |
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Order(enum.StrEnum):
    """An order, in words."""

    BYTES = "sorted by bytes"
    COMPONENTS = "sorted by bytes, component by component"
    NO_CASE = "sorted without regard to case"
    LOCALE = "sorted as a locale does"
    ESTONIAN = "sorted as Estonian does"
    REVERSE = "in reverse order"
    NONE = "in no order"


LOCAL: Final = (Order.NO_CASE, Order.LOCALE, Order.ESTONIAN)
"""Orders that the language settings make."""
SORTED: Final = (Order.BYTES, Order.COMPONENTS)

_FEW: Final = 4
"""Fewer names than this are in some order by accident."""


def _letters(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _case(name: str) -> object:
    return name.casefold(), name.swapcase()


def _locale(name: str) -> object:
    return _letters(name), name.swapcase()


def _estonian(name: str) -> object:
    return _letters(name).translate(_AFTER_S), name.swapcase()


_AFTER_S: Final = {ord("š"): "s\uffff", ord("z"): "s\uffff\uffff", ord("ž"): "s\uffff\uffff\uffff"}


def _by_component(key: Callable[[str], object]) -> Callable[[str], object]:
    return lambda name: [key(component) for component in name.split("/")]


def _bytes(name: str) -> object:
    return name.encode("utf-8", "surrogateescape")


_KEYS: Final[tuple[tuple[Order, Callable[[str], object]], ...]] = (
    (Order.BYTES, _bytes),
    (Order.COMPONENTS, _by_component(_bytes)),
    (Order.NO_CASE, _case),
    (Order.NO_CASE, _by_component(_case)),
    (Order.LOCALE, _locale),
    (Order.LOCALE, _by_component(_locale)),
    (Order.ESTONIAN, _estonian),
    (Order.ESTONIAN, _by_component(_estonian)),
)


class OrderWatcher:
    """Find the order of names that pass by, in bounded memory."""

    def __init__(self) -> None:
        self._previous: str | None = None
        self._candidates = list(_KEYS)
        self._is_reverse = True
        self.count = 0

    def watch(self, name: str) -> None:
        """Take the next name."""
        previous, self._previous = self._previous, name
        self.count += 1
        if previous is None:
            return
        self._candidates = [
            (order, key)
            for order, key in self._candidates
            if not key(previous) > key(name)  # type: ignore[operator]
        ]
        self._is_reverse = self._is_reverse and _bytes(previous) >= _bytes(name)  # type: ignore[operator]

    @property
    def order(self) -> Order:
        """The order of what was seen; the plainest one that fits."""
        if self._candidates:
            return self._candidates[0][0]
        if self._is_reverse and self.count >= _FEW:
            return Order.REVERSE
        return Order.NONE


def order_of(names: Iterable[str]) -> Order:
    """Return the order of some names."""
    watcher = OrderWatcher()
    for name in names:
        watcher.watch(name)
    return watcher.order


def is_telling(count: int) -> bool:
    """Say whether so many names are enough for their order to mean something."""
    return count >= _FEW
