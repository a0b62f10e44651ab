"""Trees: layers do not depend on the order of what does not conflict, and are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConflictError
from pipeline.formats.mtree import Entry, Kind, to_spec
from pipeline.rootfs.tree import Composer, Layer

if TYPE_CHECKING:
    from random import Random

pytestmark = pytest.mark.property

NAMES = st.sampled_from(["a", "b", "c", "d", "é"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
EPOCH = 500


def file(path: str, package: str, mtime: int) -> Entry:
    return Entry(
        path=path,
        kind=Kind.FILE,
        mode=0o644,
        user=0,
        group=0,
        mtime=mtime,
        size=1,
        digest="a" * 64,
        package=package,
    )


def directory(path: str, package: str, mode: int, mtime: int) -> Entry:
    return Entry(
        path=path, kind=Kind.DIRECTORY, mode=mode, user=0, group=0, mtime=mtime, package=package
    )


@st.composite
def packages(draw: st.DrawFn) -> dict[str, list[Entry]]:
    """Return packages whose paths are all different, none below another's file."""
    paths = sorted(draw(st.sets(PATHS, min_size=1, max_size=12)))
    found: dict[str, list[Entry]] = {}
    for path in paths:
        name = draw(st.sampled_from(["p", "q", "r"]))
        mtime = draw(st.integers(0, 1000))
        is_parent = any(other.startswith(f"{path}/") for other in paths)
        if is_parent or draw(st.booleans()):
            entry = directory(path, name, draw(st.sampled_from([0o755, 0o700])), mtime)
        else:
            entry = file(path, name, mtime)
        found.setdefault(name, []).append(entry)
    return found


def compose(
    order: list[tuple[str, list[Entry]]], *, apart: bool, parent: tuple[Entry, ...] = ()
) -> tuple[list[Layer], tuple[Entry, ...]]:
    """Install packages, all in one layer or each in its own."""
    composer = Composer(parent, parent_name="base", source_date_epoch=EPOCH, keep_flags=False)
    for name, entries in order:
        composer.package(f"package-{name}" if apart else "packages", name, entries, ())
    names = sorted({f"package-{name}" for name, _ in order}) if apart else ["packages"]
    layers = [layer for name in names if (layer := composer.layer(name)) is not None]
    return layers, composer.tree()


@given(packages(), st.booleans(), st.randoms())
def test_the_order_of_packages_does_not_matter(
    found: dict[str, list[Entry]], apart: bool, random: Random
) -> None:
    """Where no two of them want one path."""
    order = list(found.items())
    want = compose(order, apart=apart)
    random.shuffle(order)
    shuffled = [(name, random.sample(entries, len(entries))) for name, entries in order]
    assert compose(shuffled, apart=apart) == want


@given(packages(), st.booleans())
def test_layers_are_sorted_and_complete(found: dict[str, list[Entry]], apart: bool) -> None:
    """Rule 7: every ancestor has an entry, before what is below it; nothing is later than now."""
    layers, tree = compose(list(found.items()), apart=apart)
    for layer in layers:
        keys = [entry.key for entry in layer.entries]
        assert keys == sorted(set(keys))
        kinds = {entry.path: entry.kind for entry in layer.entries}
        for entry in layer.entries:
            parent = entry.path.rpartition("/")[0]
            assert not parent or kinds[parent] is Kind.DIRECTORY
            assert 0 <= entry.mtime <= EPOCH
        assert to_spec(layer.entries)
    assert {e.path for layer in layers for e in layer.entries} == {e.path for e in tree}


@given(packages())
def test_every_layer_gives_a_directory_the_attributes_of_the_image(
    found: dict[str, list[Entry]],
) -> None:
    """Rule 7: overlay file systems take them from the uppermost layer that has it."""
    layers, tree = compose(list(found.items()), apart=True)
    modes = {entry.path: (entry.mode, entry.package) for entry in tree}
    for layer in layers:
        for entry in layer.entries:
            assert (entry.mode, entry.package) == modes[entry.path]


@given(packages(), packages())
def test_a_child_leaves_its_parents_packages_alone(
    below: dict[str, list[Entry]], above: dict[str, list[Entry]]
) -> None:
    """What the parent owns it still owns; or the two conflict, and both are named."""
    _, parent = compose(list(below.items()), apart=False)
    try:
        _, tree = compose(
            [(f"child-{name}", entries) for name, entries in above.items()],
            apart=False,
            parent=parent,
        )
    except ConflictError as e:
        assert "package child-" in str(e)  # noqa: PT017
        assert "image base" in str(e)  # noqa: PT017
        return
    owners = {entry.path: entry.package for entry in tree}
    for entry in parent:
        assert not entry.package or owners[entry.path] == entry.package


@given(packages())
def test_a_layer_does_not_depend_on_the_times_beneath_it(found: dict[str, list[Entry]]) -> None:
    """Rule 6: the parent's directories may be of any age."""
    order = list(found.items())
    directories = [directory(p, "", 0o711, 0) for p in ("a", "b", "c", "d", "é")]
    results = []
    for mtime in (1, 400):
        parent = tuple(directory(d.path, "", d.mode, mtime) for d in directories)
        try:
            layers, _ = compose(order, apart=False, parent=parent)
        except ConflictError:
            return
        results.append(layers)
    assert results[0] == results[1]
