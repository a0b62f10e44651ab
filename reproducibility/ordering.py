"""The order of names: sorted by bytes, by a locale, per directory, backwards, or not at all.

The language's own collation is not asked (a report must not depend on the locales that a machine
has); the keys below imitate what sorting under common locales does to plain names:

| order | key |
|---|---|
| sorted by bytes | the bytes |
| sorted by bytes, component by component | `/` before everything |
| sorted without regard to case | lower case; which case comes first is not looked at |
| sorted as a locale does | letters and digits only, lower case |
| sorted as Estonian does | likewise, z between s and t |
| in reverse order | the bytes, descending |
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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


def _case(name: str) -> str:
    return name.casefold()


def _locale(name: str) -> str:
    return _letters(name)


def _estonian(name: str) -> str:
    return _letters(name).translate(_AFTER_S)


_AFTER_S: Final = {ord("š"): "s\uffff", ord("z"): "s\uffff\uffff", ord("ž"): "s\uffff\uffff\uffff"}


def _by_component(key: Callable[[str], object]) -> Callable[[str], object]:
    return lambda name: [key(component) for component in name.split("/")]


def _bytes(name: str) -> object:
    return name.encode("utf-8", "surrogateescape")


_KEYS: Final[tuple[tuple[Order, Callable[[str], Any]], ...]] = (
    (Order.BYTES, _bytes),
    (Order.COMPONENTS, _by_component(_bytes)),
    (Order.NO_CASE, _case),
    (Order.NO_CASE, _by_component(_case)),
    (Order.LOCALE, _locale),
    (Order.LOCALE, _by_component(_locale)),
    (Order.ESTONIAN, _estonian),
    (Order.ESTONIAN, _by_component(_estonian)),
)


def order_of(names: Sequence[str]) -> Order:
    """Return the order of some names; the plainest one that fits."""
    for order, key in _KEYS:
        if _is_sorted(names, key):
            return order
    is_reverse = is_telling(len(names)) and _is_sorted(names[::-1], _bytes)
    return Order.REVERSE if is_reverse else Order.NONE


def _is_sorted(names: Sequence[str], key: Callable[[str], Any]) -> bool:
    previous = None
    for name in names:
        current = key(name)
        if previous is not None and previous > current:
            return False
        previous = current
    return True


def is_telling(count: int) -> bool:
    """Say whether so many names are enough for their order to mean something."""
    return count >= _FEW
