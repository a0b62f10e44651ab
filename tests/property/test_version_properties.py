"""The order of versions is total, whatever the text."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pkg.version import PkgVersion

if TYPE_CHECKING:
    from random import Random

pytestmark = pytest.mark.property

_TOKENS = [
    *("0", "1", "2", "10", "007", "99999999999999999999"),
    *(".", "..", "_", "_1", ",", ",1", "+", "*", "-", "~", ":", "/", " "),
    *("a", "b", "Z", "pl", "snap", "alpha", "beta", "pre", "rc", "RC", "snapshot", "é"),
]
versions = st.lists(st.sampled_from(_TOKENS), min_size=1, max_size=6).map(
    lambda tokens: PkgVersion.parse("".join(tokens))
)


def sign(a: PkgVersion, b: PkgVersion) -> int:
    return (a > b) - (a < b)


@given(versions, versions)
def test_antisymmetric_and_consistent(a: PkgVersion, b: PkgVersion) -> None:
    assert sign(a, b) == -sign(b, a)
    assert (a == b) == (sign(a, b) == 0)
    assert (a <= b, a >= b) == (not a > b, not a < b)
    if a == b:
        assert hash(a) == hash(b)


@settings(max_examples=150)
@given(st.lists(versions, min_size=3, max_size=5))
def test_transitive(items: list[PkgVersion]) -> None:
    for a, b, c in itertools.permutations(items, 3):
        if a <= b <= c:
            assert a <= c
        if a == b:
            assert sign(a, c) == sign(b, c)


@given(st.lists(versions, max_size=8), st.randoms())
def test_sorting_any_permutation_gives_one_sequence(
    items: list[PkgVersion], random: Random
) -> None:
    """Up to versions that are equal."""
    shuffled = items[:]
    random.shuffle(shuffled)
    assert sorted(items) == sorted(shuffled)


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_any_text_is_equal_to_itself(text: str) -> None:
    assert PkgVersion.parse(text) == PkgVersion.parse(text)
    assert str(PkgVersion.parse(text)) == text


@given(versions, st.sampled_from(["name-", "other-name-1-"]))
def test_name_does_not_count(version: PkgVersion, name: str) -> None:
    assert PkgVersion.parse(name + version.text) == version
