"""Resolution, against the plans of the real pkg and by its own rules."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from fixtures.resolve.small import (
    AMD64,
    cases,
    catalogue,
    catalogues_of,
    installed_before,
    record,
    requests,
    universe,
)
from pipeline.errors import (
    ConflictError,
    DeclarationError,
    PackagesiteError,
    PipelineError,
    ResolutionError,
    UnsatisfiedError,
)
from pipeline.pkg import search
from pipeline.pkg.abi import Abi
from pipeline.pkg.resolver import Resolution, install_order, resolve
from pipeline.pkg.universe import Universe

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

ROOT = Path(__file__).parents[2]


def added(resolution: Resolution) -> list[str]:
    """Return what a resolution installs, in order, as `name-version`."""
    return [str(package.candidate) for package in resolution.packages]


# ---------------------------------------------------------------- pkg's own plans


@dataclass(frozen=True)
class As:
    """The same packages, order and flags as pkg's."""

    requests: str
    allow_missing: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Own:
    """Another answer than pkg's; why, is in fixtures/resolve/README.md."""

    requests: str
    adds: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Refuses:
    """An error."""

    requests: str
    error: type[PipelineError]


NOT_ASKED = "no request that a declaration can make: fixtures/resolve/README.md"

TREATMENT: dict[str, As | Own | Refuses | str] = {
    "01-chain/top": As("a"),
    "01-chain/middle": As("c"),
    "01-chain/bottom-then-top": As("a"),
    "01-chain/two-names": As("e a"),
    "01-chain/two-names-reversed": As("a e"),
    "01-chain/twice-the-same": As("e e"),
    "02-diamond/fresh": As("top"),
    "02-diamond/old-base-installed": As("top"),
    "02-diamond/mixed": As("other top"),
    "02-diamond/upgrade": NOT_ASKED,
    "03-conflicts-key/both": Refuses("xeno yeti", ConflictError),
    "03-conflicts-key/other-installed": Refuses("xeno", ConflictError),
    "03-conflicts-key/alone": Own("xeno", ["xeno-1.0"]),
    "03-conflicts-key/reverse": As("yeti"),
    "04-file-conflict/both": Own("alpha beta", ["alpha-1.0", "beta-1.0"]),
    "04-file-conflict/second": Own("beta", ["beta-1.0"]),
    "04-file-conflict/through-a-third": Own("gamma", ["alpha-1.0", "beta-1.0", "gamma-1.0"]),
    "05-provides/free-choice": As("mail-client"),
    "05-provides/chosen": As("mail-client postfix"),
    "05-provides/installed": As("mail-client"),
    "05-provides/two-requirements": As("list-server"),
    "05-provides/irrelevant": As("mail-client"),
    "06-shlibs/free-choice": As("prog"),
    "06-shlibs/chosen": As("prog foo-compat"),
    "06-shlibs/installed": As("prog"),
    "06-shlibs/nobody-provides": Refuses("prog2", UnsatisfiedError),
    "06-shlibs/dep-and-shlib": As("prog3"),
    "07-priorities/priority-0-0": As("tool"),
    "07-priorities/priority-10-0": Own("tool", ["lib-1.0", "tool-1.0"]),
    "07-priorities/priority-0-10": As("tool"),
    "07-priorities/named-repository": NOT_ASKED,
    "07-priorities/across": Own(
        "only-first only-second", ["lib-1.0", "only-first-1.0", "only-second-1.0"]
    ),
    "07-priorities/upgrade-from-first": NOT_ASKED,
    "08-older-in-better/fresh": As("app"),
    "08-older-in-better/newer-installed": As("app"),
    "08-older-in-better/version-pin": Own("app=1.5,1", ["dep-1.0", "app-1.5,1"]),
    "08-older-in-better/upgrade": NOT_ASKED,
    "09-satisfied/same": As("one"),
    "09-satisfied/force": NOT_ASKED,
    "09-satisfied/newer-available": As("two"),
    "09-satisfied/upgrade": NOT_ASKED,
    "09-satisfied/partly": As("two"),
    "10-missing/unknown-name": Refuses("nothing-like-it", UnsatisfiedError),
    "10-missing/unknown-and-known": Refuses("fine nothing-like-it", UnsatisfiedError),
    "10-missing/missing-dep": Refuses("needs-ghost", UnsatisfiedError),
    "10-missing/missing-requires": Refuses("needs-spirit", UnsatisfiedError),
    "10-missing/dep-older-than-available": As("old-dep"),
    "10-missing/dep-newer-than-available": As("new-dep"),
    "10-missing/formula-unsatisfied": Refuses("formula", UnsatisfiedError),
    "10-missing/formula-satisfied": Own("formula-ok", ["fine-1.0", "formula-ok-1.0"]),
    "10-missing/formula-alternative": Own("formula-or", ["fine-1.0", "formula-or-1.0"]),
    "11-pins-and-patterns/newest": As("libab"),
    "11-pins-and-patterns/exact": As("libab=1.1"),
    "11-pins-and-patterns/exact-epoch": As("libab=2.0_1,1"),
    "11-pins-and-patterns/no-such-version": Refuses("libab=9", UnsatisfiedError),
    "11-pins-and-patterns/glob": Own("liba*", ["libaa-1.0", "libab-2.0_1,1"]),
    "11-pins-and-patterns/glob-version": Own("libab-1.*", ["libab-1.1"]),
    "11-pins-and-patterns/glob-none": Refuses("zzz*", UnsatisfiedError),
    "11-pins-and-patterns/regex": As("py31[0-9]-x"),
    "11-pins-and-patterns/regex-dot": As("x?y"),
    "11-pins-and-patterns/literal-dot": As("x.y"),
    "11-pins-and-patterns/case": Refuses("LIBAA", UnsatisfiedError),
    "11-pins-and-patterns/insensitive": Refuses("libac", UnsatisfiedError),
    "11-pins-and-patterns/case-sensitive": Refuses("libac", UnsatisfiedError),
    "11-pins-and-patterns/origin": Refuses("test/libaa", DeclarationError),
    "11-pins-and-patterns/origin-flavor": Refuses("test/py-x@py311", DeclarationError),
    "11-pins-and-patterns/origin-of-two": Refuses("test/py-x", DeclarationError),
    "11-pins-and-patterns/name-tilde": Refuses("libaa~test/libaa", DeclarationError),
    "11-pins-and-patterns/glob-in-plain": Own("liba*", ["libaa-1.0", "libab-2.0_1,1"]),
    "12-abi/any": As("any"),
    "12-abi/native": As("native"),
    "12-abi/allany": As("allany"),
    "12-abi/future": Refuses("future", UnsatisfiedError),
    "12-abi/needs-future": Refuses("needs-future", UnsatisfiedError),
    "12-abi/past": As("past"),
    "12-abi/future-ignored": As("future"),
    "12-abi/older": Refuses("older", PackagesiteError),
    "12-abi/beside-older": Refuses("native2", PackagesiteError),
    "12-abi/good-and-older": Refuses("native", PackagesiteError),
    "12-abi/arm": Refuses("arm", PackagesiteError),
    "12-abi/arm-with-its-abi": As("arm"),
    "13-automatic/requested-with-its-dependency": As("app data"),
    "13-automatic/dependency-afterwards": As("lib"),
    "13-automatic/all-automatic": NOT_ASKED,
    "13-automatic/autoremove": NOT_ASKED,
    "13-automatic/autoremove-kept": NOT_ASKED,
    "13-automatic/delete-needed": NOT_ASKED,
    "14-pkgbase/all": As(
        "FreeBSD-set-minimal FreeBSD-utilities greetd greet-tools greet-doc py311-greet"
        " FreeBSD-certctl FreeBSD-libarchive FreeBSD-zoneinfo FreeBSD-pkg-bootstrap ed-tiny",
        frozenset({"libgreet < 2"}),
    ),
    "14-pkgbase/order-reversed": As(
        "ed-tiny FreeBSD-pkg-bootstrap FreeBSD-zoneinfo FreeBSD-libarchive FreeBSD-certctl"
        " py311-greet greet-doc greet-tools greetd FreeBSD-utilities FreeBSD-set-minimal",
        frozenset({"libgreet < 2"}),
    ),
    "14-pkgbase/runtime": As(
        "FreeBSD-runtime FreeBSD-certctl FreeBSD-libarchive FreeBSD-rc FreeBSD-pkg-bootstrap"
        " FreeBSD-mtree FreeBSD-zoneinfo FreeBSD-caroot"
    ),
    "14-pkgbase/single": As("FreeBSD-zoneinfo"),
    "14-pkgbase/second-run": As(
        "FreeBSD-set-minimal FreeBSD-utilities greetd greet-tools greet-doc py311-greet",
        frozenset({"libgreet < 2"}),
    ),
    "15-aarch64/runtime": As("FreeBSD-runtime FreeBSD-caroot libgreet"),
    "16-odd/cycle": Own("good", ["good-1.0", "other-1.0"]),
    "16-odd/self-dep": As("good"),
    "16-odd/duplicate-same": As("good"),
    "16-odd/duplicate-different": Refuses("good", PackagesiteError),
    "16-odd/wrong-abi": Refuses("other", PackagesiteError),
}


def test_every_recorded_case_has_its_treatment() -> None:
    assert set(TREATMENT) == set(cases())


def test_every_difference_is_explained() -> None:
    """The README names each case whose answer is not pkg's."""
    readme = (ROOT / "fixtures" / "resolve" / "README.md").read_text()
    for case, treatment in TREATMENT.items():
        pkg_refuses = cases()[case]["exit"] != 0
        same_error = isinstance(treatment, Refuses) and pkg_refuses
        if not isinstance(treatment, As) and not same_error:
            assert case in readme, case


def answer(
    case: Mapping[str, Any], texts: str, allow_missing: frozenset[str] = frozenset()
) -> Resolution:
    built = Universe.build(
        catalogues_of(case), abi=Abi.parse(case["abi"]), osversion=case["osversion"]
    )
    return resolve(
        built,
        requests(*texts.split()),
        installed=installed_before(case),
        allow_missing=allow_missing,
    )


def pick(kind: type[T]) -> list[Any]:
    """Return parameters: the recorded case and how it is treated."""
    return [
        pytest.param(cases()[case], treatment, id=case)
        for case, treatment in TREATMENT.items()
        if isinstance(treatment, kind)
    ]


@pytest.mark.parametrize(("recorded", "treatment"), pick(As))
def test_same_answer_as_pkg(recorded: dict[str, Any], treatment: As) -> None:
    """Same packages, same order, same repository, same automatic flags, also of those before."""
    resolution = answer(recorded, treatment.requests, treatment.allow_missing)
    assert added(resolution) == recorded["order"]
    after = [
        f"{p.name}|{p.candidate.record.version}|{int(p.automatic)}|{p.candidate.repository}"
        for p in resolution.packages
    ]
    for line in recorded["installed_before"]:
        name, version, automatic, repository = line.split("|")
        automatic = "0" if name in resolution.requested else automatic
        after.append(f"{name}|{version}|{automatic}|{repository}")
    assert sorted(after) == sorted(recorded["installed_after"])


@pytest.mark.parametrize(("recorded", "treatment"), pick(Own))
def test_own_answer(recorded: dict[str, Any], treatment: Own) -> None:
    assert added(answer(recorded, treatment.requests)) == treatment.adds
    assert treatment.adds != recorded["order"] or recorded["exit"] != 0


@pytest.mark.parametrize(("recorded", "treatment"), pick(Refuses))
def test_refused(recorded: dict[str, Any], treatment: Refuses) -> None:
    with pytest.raises(treatment.error) as caught:
        answer(recorded, treatment.requests)
    assert type(caught.value) is treatment.error


# ---------------------------------------------------------------- what a name stands for


def test_installed_package_is_never_replaced() -> None:
    """Rule 1: neither by a newer version nor for a library that only the newer one has."""
    built = universe(
        record("lib", "2", shlibs_provided=["lib.so.2"]),
        record("prog", deps=["lib"]),
        record("new", shlibs_required=["lib.so.2"]),
    )
    installed = [record("lib", "1", shlibs_provided=["lib.so.1"]).manifest]
    assert added(resolve(built, requests("prog"), installed=installed)) == ["prog-1.0"]
    with pytest.raises(
        UnsatisfiedError, match=r"nothing provides shared library 'lib\.so\.2'"
    ) as e:
        resolve(built, requests("new"), installed=installed)
    assert e.value.hint == (
        "lib-2 would do, but the parent image has lib-1;"
        ' allow_missing = ["lib.so.2"] does without it'
    )


def test_other_version_of_an_installed_package_is_an_error_that_names_both() -> None:
    built = universe(record("a", "2"))
    installed = [record("a", "1").manifest]
    for text in ("a=2", "a-2*"):
        with pytest.raises(
            ConflictError,
            match=f"^request '{text[:3]}.*' asks for another version than the parent image has: a-1$",
        ) as e:
            resolve(built, requests(text), installed=installed)
        assert e.value.causes == ((text, None),)
    assert resolve(built, requests("a=1"), installed=installed).requested == ("a",)
    assert resolve(built, requests("a*"), installed=installed).packages == ()


def test_installed_package_that_no_repository_has_can_be_asked_for() -> None:
    installed = [record("local").manifest]
    resolution = resolve(universe(), requests("local", "loc*"), installed=installed)
    assert (resolution.packages, resolution.requested) == ((), ("local",))


def test_lower_priority_never_fills_in() -> None:
    """Rule 2: a dependency does not make another repository come in."""
    main = catalogue(record("lib", "1"), repository="main", priority=1)
    edge = catalogue(
        record("lib", "2", shlibs_provided=["lib.so.2"]),
        record("prog", shlibs_required=["lib.so.2"]),
        repository="edge",
    )
    built = Universe.build([edge, main], abi=AMD64)
    with pytest.raises(UnsatisfiedError) as e:
        resolve(built, requests("prog"))
    assert e.value.hint is not None
    assert e.value.hint.startswith("lib-2 would do, but lib is lib-1 here; lib=2 would choose it;")
    resolution = resolve(built, requests("prog", "lib=2"))
    assert added(resolution) == ["lib-2", "prog-1.0"]


def test_pin_and_glob_on_one_name_agree() -> None:
    built = universe(record("a", "1"), record("a", "2"), record("a", "3"))
    assert added(resolve(built, requests("a*", "a", "a=2"))) == ["a-2"]
    assert added(resolve(built, requests("a-[12]"))) == ["a-2"]
    (package,) = resolve(built, requests("a*", "a=2")).packages
    assert [reason.text for reason in package.reasons] == ["a*", "a=2"]
    assert package.asked_by == (None,)


def test_two_pins_on_one_name_conflict() -> None:
    with pytest.raises(
        ConflictError, match=r"^requests 'a=1' and 'a=2' ask for different versions of a$"
    ) as e:
        resolve(universe(record("a", "1"), record("a", "2")), requests("a=2", "a=1"))
    assert e.value.causes == (("a=1", None), ("a=2", None))


# ---------------------------------------------------------------- requests that mean nothing


def test_unknown_names_are_reported_together_with_the_nearest() -> None:
    built = universe(record("FreeBSD-runtime"), record("FreeBSD-rc"), record("zsh", "5.9_1"))
    with pytest.raises(
        UnsatisfiedError, match=r"^no repository has a package for 'FreeBSD-runtme', 'zhs-5\.9_1'$"
    ) as e:
        resolve(built, requests("zhs-5.9_1", "FreeBSD-runtme", "FreeBSD-rc"))
    assert e.value.causes == (("FreeBSD-runtme", None), ("zhs-5.9_1", None))
    assert e.value.hint == "the nearest to FreeBSD-runtme are FreeBSD-runtime, FreeBSD-rc"


def test_hint_for_an_unknown_name() -> None:
    built = universe(record("libab", "1.0"), record("libab", "1.1"))
    hints = {}
    for text in ("libaa", "libab-1.1", "libab=9", "qqq"):
        with pytest.raises(UnsatisfiedError) as e:
            resolve(built, requests(text))
        hints[text] = e.value.hint
    assert hints == {
        "libaa": "the nearest to libaa are libab",
        "libab-1.1": "a version is asked for as libab=1.1",
        "libab=9": "libab is there in version 1.1, 1.0",
        "qqq": None,
    }


def test_hint_for_a_package_of_a_newer_release() -> None:
    newer = {"annotations": {"FreeBSD_version": "1500100"}}
    offered = catalogue(
        record("0", "1", **newer),
        record("a", "1", shlibs_provided=["a.so"], **newer),
        record("b", shlibs_required=["a.so"]),
    )
    built = Universe.build([offered], abi=AMD64, osversion=1500068)
    with pytest.raises(UnsatisfiedError) as e:
        resolve(built, requests("a"))
    assert e.value.hint == "a-1 is for a newer FreeBSD than 1500068"
    with pytest.raises(UnsatisfiedError) as e:
        resolve(built, requests("b"))
    assert e.value.hint is not None
    assert e.value.hint.startswith("a-1 is for a newer FreeBSD than 1500068; allow_missing")


# ---------------------------------------------------------------- what has to hold


def test_missing_package_is_explained_by_its_chain() -> None:
    built = universe(
        record("a", deps=["b"]),
        record("b", deps=["c"]),
        record("c", deps=["ghost"]),
        record("host"),
    )
    with pytest.raises(
        UnsatisfiedError,
        match=r"^request 'a' -> a-1\.0 -> b-1\.0 -> c-1\.0: no repository has package 'ghost'$",
    ) as e:
        resolve(built, requests("a"))
    assert e.value.causes == (("a", None), ("b", "a"), ("c", "b"), ("ghost", "c"))
    assert e.value.hint == "the nearest names are host"


def test_all_that_is_missing_is_named() -> None:
    built = universe(
        record("a", shlibs_required=[f"l{i}.so" for i in range(6)], requires=["mta"]),
        record("x", provides=["mts"]),
    )
    with pytest.raises(UnsatisfiedError, match=r"'l0\.so'$") as e:
        resolve(built, requests("a"))
    assert e.value.hint == (
        'allow_missing = ["l0.so"] does without it;'
        " missing too: l1.so for a-1.0, l2.so for a-1.0, l3.so for a-1.0 and 3 more"
    )
    with pytest.raises(UnsatisfiedError, match=r"a-1\.0: nothing provides 'mta'$") as e:
        resolve(built, requests("a"), allow_missing=frozenset(f"l{i}.so" for i in range(6)))
    assert e.value.hint == 'the nearest are mts of x; allow_missing = ["mta"] does without it'


def test_chain_through_a_library() -> None:
    built = universe(
        record("prog", shlibs_required=["l.so"]),
        record("lib", shlibs_provided=["l.so"], deps=["no"]),
    )
    with pytest.raises(
        UnsatisfiedError,
        match=r"^request 'p\*' -> prog-1\.0 -> lib-1\.0: no repository has package 'no'$",
    ) as e:
        resolve(built, requests("p*"))
    assert e.value.causes == (("p*", None), ("l.so", "prog"), ("no", "lib"))
    assert e.value.hint is None


def test_allow_missing_excuses_what_nothing_provides() -> None:
    built = universe(
        record(
            "a", shlibs_required=["l.so", "m.so"], requires=["mta"], dep_formula="ghost > 1 | b < 1"
        ),
        record("b", shlibs_provided=["m.so"]),
    )
    allowed = frozenset({"l.so", "m.so", "mta", "ghost > 1 | b < 1"})
    resolution = resolve(built, requests("a"), allow_missing=allowed)
    assert added(resolution) == ["a-1.0", "b-1.0"], "what can be provided is"
    assert [(name, requirement.text) for name, requirement in resolution.excused] == [
        ("a", "ghost > 1 | b < 1"),
        ("a", "l.so"),
        ("a", "mta"),
    ]


def test_allow_missing_never_excuses_a_package_by_name() -> None:
    built = universe(record("a", deps=["ghost"]))
    with pytest.raises(UnsatisfiedError):
        resolve(built, requests("a"), allow_missing=frozenset({"ghost"}))


def test_unsatisfied_formula_says_what_there_is() -> None:
    built = universe(
        record("a", dep_formula="b > 1"), record("b", "1"), record("c", dep_formula="bb")
    )
    with pytest.raises(UnsatisfiedError, match=r"nothing satisfies 'b > 1'$") as e:
        resolve(built, requests("a"))
    assert e.value.hint == 'there is b-1; allow_missing = ["b > 1"] does without it'
    with pytest.raises(UnsatisfiedError) as e:
        resolve(built, requests("c"))
    assert e.value.hint == 'the nearest names are b; allow_missing = ["bb"] does without it'


def test_older_version_that_would_do_is_named_not_taken() -> None:
    built = universe(
        record("a", dep_formula="b < 2"),
        record("b", "1"),
        record("b", "2"),
        record("c", deps=["b"]),
    )
    with pytest.raises(UnsatisfiedError) as e:
        resolve(built, requests("a"))
    assert e.value.hint is not None
    assert e.value.hint.startswith("b-1 would do, but b is b-2 here; b=1 would choose it;")
    assert added(resolve(built, requests("a", "b=1"))) == ["a-1.0", "b-1"]


def test_installed_packages_satisfy_every_kind_of_requirement() -> None:
    base = record("base", shlibs_provided=["l.so"], provides=["mta"]).manifest
    built = universe(
        record(
            "a",
            deps=["base"],
            dep_formula="x | base = 1",
            shlibs_required=["l.so"],
            requires=["mta"],
        ),
        record("x", shlibs_provided=["l.so"], provides=["mta"]),
    )
    resolution = resolve(built, requests("a"), installed=[base])
    assert added(resolution) == ["a-1.0"]


def test_conflict_names_both_sides_and_why_they_are_there() -> None:
    built = universe(
        record("a", deps=["x"]), record("b", deps=["y"]), record("x", conflicts=["y"]), record("y")
    )
    with pytest.raises(
        ConflictError,
        match=r"^x-1\.0 conflicts with y-1\.0:"
        r" request 'a' -> a-1\.0 -> x-1\.0; request 'b' -> b-1\.0 -> y-1\.0$",
    ) as e:
        resolve(built, requests("a", "b"))
    assert e.value.causes == (("a", None), ("x", "a"), ("b", None), ("y", "b"))
    assert e.value.hint == "one of the two has to go from the declaration"


@pytest.mark.parametrize("side", ["old", "new"])
def test_conflict_with_an_installed_package_counts_in_both_directions(side: str) -> None:
    old = record("old", conflicts=["new"] if side == "old" else [])
    new = record("new", conflicts=["old"] if side == "new" else [])
    with pytest.raises(ConflictError, match=r"old-1\.0 of the parent image") as e:
        resolve(universe(new), requests("new"), installed=[old.manifest])
    assert e.value.causes == (("new", None),)


def test_further_conflicts_are_counted_and_own_name_is_none() -> None:
    built = universe(record("a", conflicts=["a", "b", "c", "unknown"]), record("b"), record("c"))
    with pytest.raises(ConflictError) as e:
        resolve(built, requests("*"))
    assert e.value.hint == "1 more conflicts; one of the two has to go from the declaration"
    assert added(resolve(built, requests("a"))) == ["a-1.0"]


# ---------------------------------------------------------------- choices


def chosen(built: Universe, *texts: str) -> list[str]:
    resolution = resolve(built, requests(*texts))
    return sorted(package.name for package in resolution.packages)


def test_provider_that_comes_anyway_is_enough() -> None:
    """Rule 5: `dep` needs b by name, so the library brings nothing more."""
    built = universe(
        record("app", shlibs_required=["l.so"], deps=["dep"]),
        record("dep", deps=["b"]),
        record("a", shlibs_provided=["l.so"]),
        record("b", shlibs_provided=["l.so", "m.so"]),
    )
    assert chosen(built, "app") == ["app", "b", "dep"]


def test_provider_chosen_before_is_preferred() -> None:
    """Rules 5 and 6: m.so has one provider less, so it is settled first and l.so follows it."""
    built = universe(
        record("app", shlibs_required=["l.so", "m.so"]),
        record("a", shlibs_provided=["l.so"]),
        record("b", shlibs_provided=["l.so", "m.so"]),
        record("c", shlibs_provided=["l.so", "m.so", "n.so"]),
    )
    assert chosen(built, "app") == ["app", "b"]


def test_formula_prefers_what_is_written_first() -> None:
    built = universe(
        record("app", dep_formula="wide | narrow"),
        record("wide", provides=["1", "2", "3"]),
        record("narrow"),
    )
    assert chosen(built, "app") == ["app", "wide"]


def test_repository_of_the_asking_package_is_preferred() -> None:
    first = catalogue(record("a", shlibs_provided=["l.so"]), repository="first", priority=9)
    second = catalogue(
        record("z", shlibs_provided=["l.so", "m.so"]),
        record("app", shlibs_required=["l.so"]),
        repository="second",
    )
    assert chosen(Universe.build([first, second], abi=AMD64), "app") == ["app", "z"]


def test_narrowest_then_smallest_then_priority_then_name() -> None:
    app = record("app", shlibs_required=["l.so"])
    bundle = record("a-bundle", shlibs_provided=["l.so", "m.so"])
    heavy = record("heavy", shlibs_provided=["l.so"], deps=["more"])
    more = record("more")
    light = record("light", shlibs_provided=["l.so"])
    letter = record("k", shlibs_provided=["l.so"])
    assert chosen(universe(app, bundle, heavy, more), "app") == ["app", "heavy", "more"]
    assert chosen(universe(app, bundle, heavy, more, light), "app") == ["app", "light"]
    assert chosen(universe(app, light, letter), "app") == ["app", "k"]
    others = [
        catalogue(letter, repository="low"),
        catalogue(light, repository="high", priority=1),
        catalogue(app, repository="own", priority=2),
    ]
    assert chosen(Universe.build(others, abi=AMD64), "app") == ["app", "light"]


def test_choice_that_fails_is_taken_back() -> None:
    """Rule 7: the narrow provider of m.so excludes the only other one of l.so that is left."""
    built = universe(
        record("app", shlibs_required=["l.so"], requires=["mta"]),
        record("l1", shlibs_provided=["l.so"], conflicts=["m1", "m2"]),
        record("l2", shlibs_provided=["l.so", "x.so"]),
        record("m1", provides=["mta"]),
        record("m2", provides=["mta", "y"]),
    )
    assert chosen(built, "app") == ["app", "l2", "m1"]


@pytest.mark.parametrize(
    "fault",
    [
        {"deps": ["ghost"]},
        {"shlibs_required": ["ghost.so"]},
        {"conflicts": ["app"]},
        {"deps": ["second"], "conflicts": ["second"]},
    ],
)
def test_provider_that_cannot_stand_is_passed_over(fault: dict[str, list[str]]) -> None:
    built = universe(
        record("app", requires=["mta"]),
        record("first", "1.0", provides=["mta"], **fault),
        record("second", provides=["mta", "more"]),
    )
    assert chosen(built, "app") == ["app", "second"]


def test_provider_excluded_by_what_is_there_is_passed_over() -> None:
    built = universe(
        record("app", requires=["mta"], conflicts=["first"]),
        record("first", provides=["mta"]),
        record("second", provides=["mta", "more"]),
    )
    assert chosen(built, "app") == ["app", "second"]


def test_choices_of_choices_are_followed() -> None:
    built = universe(
        record("app", requires=["mta"]),
        record("m1", provides=["mta"], shlibs_required=["l.so"]),
        record("m2", provides=["mta", "x"]),
        record("l1", shlibs_provided=["l.so"], deps=["d"]),
        record("l2", shlibs_provided=["l.so", "k.so"]),
        record("d"),
    )
    resolution = resolve(built, requests("app"))
    assert added(resolution) == ["app-1.0", "d-1.0", "l1-1.0", "m1-1.0"]
    why = {p.name: [(r.parent, r.text) for r in p.reasons] for p in resolution.packages}
    assert why == {
        "app": [(None, "app")],
        "d": [("l1", "d")],
        "l1": [("m1", "l.so")],
        "m1": [("app", "mta")],
    }
    assert [p.automatic for p in resolution.packages] == [False, True, True, True]


def test_provider_that_the_rest_can_do_without_is_dropped() -> None:
    """Rule 7: z is chosen for f1 before q1, for f2, brings in z2, which provides f1 as well."""
    built = universe(
        record("app", requires=["f1", "f2"]),
        record("z", provides=["f1"], deps=["zz"]),
        record("zz"),
        record("z2", provides=["f1", "w1", "w2"]),
        record("q1", provides=["f2"], deps=["z2"]),
        record("q2", provides=["f2", "v1"], deps=["z2"]),
        record("q3", provides=["f2", "v1", "v2"], deps=["z2"]),
    )
    resolution = resolve(built, requests("app"))
    assert sorted(p.name for p in resolution.packages) == ["app", "q1", "z2"]
    z2 = next(p for p in resolution.packages if p.name == "z2")
    assert z2.asked_by == ("app", "q1")


def test_dead_end_tells_what_is_wrong_with_each_provider() -> None:
    built = universe(
        record("mail", requires=["mta"]),
        record("exim", provides=["mta"], deps=["ghost"]),
        record("postfix", provides=["mta"], conflicts=["mail"]),
    )
    with pytest.raises(
        UnsatisfiedError,
        match=r"^request 'mail' -> mail-1\.0: no way to provide 'mta':"
        r" exim-1\.0: request 'mail' -> mail-1\.0 -> exim-1\.0: no repository has package 'ghost';"
        r" postfix-1\.0: postfix-1\.0 conflicts with mail-1\.0: .*$",
    ) as e:
        resolve(built, requests("mail"))
    assert e.value.causes == (("mail", None), ("mta", "mail"), ("ghost", "exim"))
    assert e.value.hint == "one of the two has to go from the declaration"


def test_dead_end_of_conflicts_alone_is_a_conflict() -> None:
    built = universe(
        record("mail", requires=["mta"], conflicts=["exim", "postfix"]),
        record("exim", provides=["mta"]),
        record("postfix", provides=["mta"]),
    )
    with pytest.raises(ConflictError, match="no way to provide 'mta'"):
        resolve(built, requests("mail"))


def test_dead_end_further_on_is_told_as_such() -> None:
    """Each choice stands by itself; together none do."""
    built = universe(
        record("app", requires=["f1", "f2"]),
        record("a1", provides=["f1"], conflicts=["b1", "b2"]),
        record("a2", provides=["f1"], conflicts=["b1", "b2"]),
        record("b1", provides=["f2"]),
        record("b2", provides=["f2"]),
    )
    with pytest.raises(
        UnsatisfiedError,
        match=r"'f1': a1-1\.0: leads to no answer; a2-1\.0: leads to no answer$",
    ):
        resolve(built, requests("app"))


def test_search_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_ROUNDS", 1)
    built = universe(
        record("app", requires=["f1", "f2"]),
        *(record(f"{kind}{i}", provides=[kind]) for kind in ("f1", "f2") for i in range(2)),
    )
    with pytest.raises(ResolutionError, match="no answer within 1 steps") as e:
        resolve(built, requests("app"))
    assert type(e.value) is ResolutionError


# ---------------------------------------------------------------- order


def order(**deps: str) -> str:
    return "".join(install_order({n: record(n, deps=list(d)).manifest for n, d in deps.items()}))


def test_order_is_topological_with_the_least_name_first() -> None:
    """libpkg/pkg_jobs_schedule.c: Kahn's algorithm, ties by strcmp of the name."""
    assert order(a="z", b="", c="", z="") == "bcza"
    assert order(a="c", b="a", c="", B="") == "Bcab"
    assert order() == ""


def test_libraries_do_not_order() -> None:
    built = universe(record("a", shlibs_required=["l.so"]), record("b", shlibs_provided=["l.so"]))
    assert added(resolve(built, requests("a"))) == ["a-1.0", "b-1.0"]


@pytest.mark.parametrize(
    ("deps", "expected"),
    [
        ({"a": "b", "b": "a"}, "ab"),
        ({"a": "a"}, "a"),
        # y and z are needed by the circle b, c, so they go first; a needs the circle and waits.
        ({"a": "c", "b": "cz", "c": "by", "y": "", "z": ""}, "yzbca"),
        # Of two circles the one that the other needs goes first.
        ({"a": "bc", "b": "a", "c": "d", "d": "c"}, "cdab"),
        # Of two independent circles the one with the least name.
        ({"a": "d", "d": "a", "b": "c", "c": "b"}, "adbc"),
    ],
)
def test_order_of_circles(deps: dict[str, str], expected: str) -> None:
    """Rule 9."""
    assert order(**deps) == expected


# ---------------------------------------------------------------- determinism


def test_answer_does_not_depend_on_the_order_of_requests() -> None:
    case = cases()["14-pkgbase/runtime"]
    texts = "FreeBSD-runtime FreeBSD-certctl FreeBSD-libarchive FreeBSD-mtree FreeBSD-caroot"
    assert answer(case, texts) == answer(case, " ".join(reversed(texts.split())))


def test_answer_does_not_depend_on_the_hash_seed() -> None:
    """Also not the order and the reasons; in fresh interpreters."""
    script = textwrap.dedent("""
        from fixtures.resolve.small import record, requests, universe
        from pipeline.errors import ResolutionError
        from pipeline.pkg.resolver import resolve
        letters = "abcdefghijklmnop"
        records = [
            record(
                name,
                deps=[letters[(i * 7 + 3) % 16]] if i % 3 else [],
                shlibs_required=[f"l{(i * 5) % 6}", f"l{(i * 3) % 6}"],
                shlibs_provided=[f"l{i % 6}", f"l{(i * 11) % 6}"],
                conflicts=[letters[(i * 5 + 1) % 16]] if i % 5 == 0 else [],
            )
            for i, name in enumerate(letters)
        ]
        for name in (*letters, "*", "[a-c]"):
            try:
                print(resolve(universe(*records), requests(name)))
            except ResolutionError as e:
                print(e, e.hint, e.causes)
    """)
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) == 18
