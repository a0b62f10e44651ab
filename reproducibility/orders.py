"""The same things in another order: whose order is it?

| orders of the two sides | cause |
|---|---|
| one sorted by bytes, the other as a locale sorts; or two locales | locale |
| one side sorted or backwards (four things or more) | order |
| neither, and half of the things are names of files in the image | order (a directory listing) |
| neither | hash-order |
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.ordering import LOCAL, Order, is_telling, order_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SAMPLE: Final = 1000
HEADING: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reordering:
    """The same things in two orders."""

    cause: Cause
    a: str
    b: str
    """The first thing that is elsewhere on the other side."""
    evidence: str


def explain_order(
    a: Sequence[str], b: Sequence[str], *, is_name: Callable[[str], bool]
) -> Reordering | None:
    """Explain two lists, or return None unless one is the other in another order.

    Args:
        a: one side.
        b: the other.
        is_name: says whether a thing is the name of a file in the image.
    """
    if len(a) != len(b) or len(a) < 2 or Counter(a) != Counter(b):  # noqa: PLR2004
        return None
    first = next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)
    if first is None:
        return None
    orders, cause = _orders(a, b, first)
    described = f"{len(a)} things, A {orders[0]}, B {orders[1]}"
    if cause is Cause.HASH_ORDER:
        sample = a[:_SAMPLE]
        if 2 * sum(map(is_name, sample)) >= len(sample):
            cause = Cause.ORDER
            described = f"{len(a)} names of files, in the order of a directory"
    return Reordering(cause=cause, a=a[first], b=b[first], evidence=described)


def _orders(a: Sequence[str], b: Sequence[str], first: int) -> tuple[tuple[Order, Order], Cause]:
    """Find the two orders, without up to three things that both begin or end with.

    `keys: b, a, c` is a heading and three things.
    """
    whole = order_of(a), order_of(b)
    best = whole, judge_orders(*whole, count=len(a))
    if Order.NONE not in whole or len(a) > _SAMPLE:
        return best
    last = next(i for i, (x, y) in enumerate(zip(reversed(a), reversed(b), strict=True)) if x != y)
    for start in range(min(first, HEADING) + 1):
        for end in range(len(a), len(a) - min(last, HEADING) - 1, -1):
            orders = order_of(a[start:end]), order_of(b[start:end])
            cause = judge_orders(*orders, count=end - start)
            if cause is Cause.LOCALE:
                return orders, cause
            if best[1] is Cause.HASH_ORDER:
                best = orders, cause
    return best


def judge_orders(a: Order, b: Order, *, count: int) -> Cause:
    """Return the cause that two orders of the same things speak for."""
    if not is_telling(count):
        return Cause.HASH_ORDER
    if a in LOCAL or b in LOCAL:
        return Cause.LOCALE if Order.NONE not in (a, b) else Cause.ORDER
    return Cause.HASH_ORDER if a is b is Order.NONE else Cause.ORDER
