"""Bisection: the guilty are found, in few builds; chance and failures are told apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproducibility.bisect import FAILURE, Bisection, bisect
from reproducibility.choices import Choice, Setting, apply
from reproducibility.double_build import Build
from reproducibility.recipe import Recipe

NAMES = tuple(f"v{n:02}" for n in range(24))
GRAPH: dict[str, tuple[str, ...]] = {
    "tree:a": (),
    "tree:b": (),
    "tree:c": (),
    "layer:a": ("tree:a",),
    "layer:b": ("tree:b",),
    "layer:c": ("tree:c",),
    "image:a": ("layer:a",),
    "image:b": ("layer:b",),
    "image:c": ("layer:c",),
}
HELD = Recipe(python="p", environment={})

Effect = Callable[[frozenset[str], "FakeBuilder"], str]


def choice(name: str) -> Choice:
    def change(recipe: Recipe) -> Recipe:
        return Recipe(python="p", environment={**recipe.environment, name: "1"})

    return Choice(variation=name, setting=Setting(name="on", change=change))


ALL = tuple(map(choice, NAMES))


class FakeBuilder:
    """Makes of a task whatever its effect says; what is built on it changes with it."""

    def __init__(
        self,
        effects: dict[str, Effect],
        *,
        fails: Callable[[frozenset[str]], bool] = lambda _: False,
    ) -> None:
        self.effects = effects
        self.fails = fails
        self.builds: list[tuple[str, tuple[str, ...]]] = []
        self.tasks: tuple[str, ...] = ()

    def build(self, label: str, recipe: Recipe, tasks: object) -> Build:
        assert isinstance(tasks, tuple)
        self.tasks = tasks
        self.builds.append((label, tasks))
        on = frozenset(recipe.environment)
        failure = "exit status 1" if self.fails(on) else ""
        outcomes: dict[str, str] = {}
        wanted = GRAPH if tasks == ("build",) else [t for t in GRAPH if self._is_needed(t, tasks)]
        for task in [] if failure else wanted:
            below = "".join(outcomes[t] for t in GRAPH[task])
            effect = self.effects.get(task)
            outcomes[task] = f"{task}{below}{effect(on, self) if effect else ''}"
        return Build(
            label=label,
            recipe=recipe,
            tasks=tasks,
            failure=failure,
            layout=Path("none"),
            outcomes=outcomes,
            milliseconds=0,
        )

    @staticmethod
    def _is_needed(task: str, tasks: tuple[str, ...]) -> bool:
        waiting = list(tasks)
        while waiting:
            name = waiting.pop()
            if name == task:
                return True
            waiting.extend(GRAPH[name])
        return False


def when(*names: str) -> Effect:
    """Differ if all of these variations are let go."""
    return lambda on, _: "x" if on.issuperset(names) else ""


def either(*names: str) -> Effect:
    return lambda on, _: "x" if on.intersection(names) else ""


def find(builder: FakeBuilder, rounds: tuple[tuple[Choice, ...], ...] = (ALL,)) -> Bisection:
    held = builder.build("held", HELD, ("build",))
    builds = []
    for number, choices in enumerate(rounds):
        recipe = apply(HELD, (c.setting for c in choices))
        builds.append((choices, builder.build(f"hostile-{number}", recipe, ("build",))))
    return bisect(builder, held, builds, graph=GRAPH)


def blamed(result: Bisection) -> dict[tuple[str, ...], tuple[str, ...]]:
    return {tuple(c.variation for c in g.choices): g.tasks for g in result.guilty}


@pytest.mark.parametrize("name", NAMES)
def test_the_guilty_variation_is_found_in_few_builds(name: str) -> None:
    builder = FakeBuilder({"layer:b": when(name)})
    result = find(builder)
    assert blamed(result) == {(name,): ("layer:b",)}
    assert result.names == (name,)
    assert result.builds <= 11
    assert result.unstable == result.unexplained == ()


def test_only_the_smallest_part_that_differs_is_built_again() -> None:
    builder = FakeBuilder({"tree:a": when("v03"), "layer:c": when("v20")})
    result = find(builder)
    assert result.tasks == ("layer:c", "tree:a")
    assert {task for _, tasks in builder.builds[2:] for task in tasks} == {"layer:c", "tree:a"}
    assert blamed(result) == {("v03",): ("tree:a",), ("v20",): ("layer:c",)}


def test_each_of_several_guilty_is_blamed_for_its_own() -> None:
    builder = FakeBuilder(
        {"tree:a": either("v01", "v17"), "tree:b": when("v17"), "image:c": when("v09")}
    )
    assert blamed(find(builder)) == {
        ("v01",): ("tree:a",),
        ("v09",): ("image:c",),
        ("v17",): ("tree:a", "tree:b"),
    }


def test_a_combination_is_blamed_as_one() -> None:
    for pair in (("v00", "v01"), ("v02", "v22"), ("v11", "v12")):
        builder = FakeBuilder({"tree:a": when(*pair), "tree:b": when("v05")})
        assert blamed(find(builder)) == {pair: ("tree:a",), ("v05",): ("tree:b",)}


def test_what_differs_by_itself_is_nobodys_fault() -> None:
    numbers = itertools.count()
    builder = FakeBuilder({"tree:a": lambda *_: str(next(numbers)), "tree:b": when("v08")})
    result = find(builder)
    assert result.unstable == ("tree:a",)
    assert blamed(result) == {("v08",): ("tree:b",)}
    assert "tree:a" not in {t for _, tasks in builder.builds[4:] for t in tasks}


def test_chance_that_shows_late_acquits() -> None:
    """A race that was quiet twice and then was not: the last held build brings it to light."""
    numbers = itertools.count()
    builder = FakeBuilder({"tree:a": lambda *_: "x" if next(numbers) > 2 else ""})
    held = builder.build("held", HELD, ("build",))
    recipe = apply(HELD, (c.setting for c in ALL))
    hostile = builder.build("hostile", recipe, ("build",))
    differing = Build(
        label="hostile",
        recipe=recipe,
        tasks=("build",),
        failure="",
        layout=Path("none"),
        outcomes={**hostile.outcomes, "tree:a": "y"},
        milliseconds=0,
    )
    result = bisect(builder, held, [(ALL, differing)], graph=GRAPH)
    assert result.guilty == ()
    assert result.unstable == ("tree:a",)


def test_a_task_that_depends_on_its_neighbours_is_built_with_them() -> None:
    def effect(on: frozenset[str], builder: FakeBuilder) -> str:
        return f"{len(builder.tasks) if builder.tasks != ('build',) else 'all'}{'v07' in on}"

    builder = FakeBuilder({"tree:a": effect})
    result = find(builder)
    assert blamed(result) == {("v07",): ("tree:a",)}
    assert all(tasks == ("build",) for _, tasks in builder.builds[3:])


def test_the_variation_that_makes_a_build_fail_is_found() -> None:
    builder = FakeBuilder({}, fails=lambda on: "v13" in on)
    result = find(builder)
    assert blamed(result) == {("v13",): (FAILURE,)}
    assert result.tasks == ()
    assert result.guilty[0].build.failure == "exit status 1"


def test_a_difference_is_found_although_another_variation_makes_builds_fail() -> None:
    builder = FakeBuilder({"tree:a": when("v02")}, fails=lambda on: {"v03", "v19"} <= on)
    calm = tuple(c for c in ALL if c.variation != "v19")
    result = find(builder, (ALL, calm))
    assert blamed(result) == {("v02",): ("tree:a",), ("v03", "v19"): (FAILURE,)}


def test_a_failing_build_is_no_proof_of_innocence() -> None:
    """v04 alone makes the build fail; v05, its neighbour in every group, is still found."""
    builder = FakeBuilder({"tree:a": when("v05")}, fails=lambda on: on >= {"v04"} and len(on) < 20)
    result = find(builder)
    assert blamed(result) == {("v05",): ("tree:a",)}


def test_later_rounds_explain_what_the_first_did_not_show() -> None:
    first = tuple(c for c in ALL if c.variation != "v21")
    builder = FakeBuilder({"tree:a": when("v01"), "tree:b": when("v21")})
    result = find(builder, (first, ALL, ALL))
    assert blamed(result) == {("v01",): ("tree:a",), ("v21",): ("tree:b",)}


def test_a_hostile_value_that_is_the_held_one_is_not_tried() -> None:
    same = Choice(variation="v00", setting=Setting(name="held", change=lambda recipe: recipe))
    builder = FakeBuilder({"tree:a": when("v01")})
    result = find(builder, ((same, choice("v01")),))
    assert blamed(result) == {("v01",): ("tree:a",)}
    assert not any(label.endswith("v00") for label, _ in builder.builds)


def test_a_variation_of_many_parts_is_taken_apart() -> None:
    parts = tuple(choice(f"p{n}").setting for n in range(10))

    def change(recipe: Recipe) -> Recipe:
        return apply(recipe, parts)

    named = tuple(Setting(name=f"part {n}", change=part.change) for n, part in enumerate(parts))
    whole = Choice(variation="many", setting=Setting(name="all", change=change, parts=named))
    builder = FakeBuilder({"tree:a": when("p7"), "tree:b": when("p1", "p2")})
    result = find(builder, ((*ALL, whole),))
    names = {tuple(map(str, guilt.choices)): guilt.tasks for guilt in result.guilty}
    assert names == {
        ("many (part 7)",): ("tree:a",),
        ("many (part 1)", "many (part 2)"): ("tree:b",),
    }
    assert result.names == ("many",)


def test_equal_builds_need_no_search() -> None:
    builder = FakeBuilder({})
    result = find(builder)
    assert (result.tasks, result.guilty, result.builds) == ((), (), 0)


@given(
    st.dictionaries(
        st.sampled_from(["tree:a", "tree:b", "layer:c", "image:b"]),
        st.sets(st.sampled_from(NAMES), min_size=1, max_size=3),
    )
)
def test_whoever_is_guilty_alone_is_found_and_nobody_else(guilty: dict[str, set[str]]) -> None:
    """For any set of single causes, the blame is exact for every task that differs by itself."""
    builder = FakeBuilder({task: either(*names) for task, names in guilty.items()})
    result = find(builder)
    by_task: dict[str, set[str]] = {}
    for guilt in result.guilty:
        assert len(guilt.choices) == 1
        for task in guilt.tasks:
            by_task.setdefault(task, set()).add(guilt.choices[0].variation)
    want = {task: names for task, names in guilty.items() if task in result.tasks}
    assert by_task == want
    assert set(guilty) - set(want) <= {"image:b"}, "an image is not built again beside its tree"
    assert result.unstable == result.unexplained == ()
