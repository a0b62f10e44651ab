"""Whose packages are they: the catalogue's, signed by keys that the user has."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError
from pipeline.formats.digest import Digest
from reproducibility.verify_origin import check_origins, parse_trusted
from reproducibility.verify_result import Delivery, Origin, Outcome, Verdict
from reproducibility.verify_sources import Substitutes
from reproducibility.verify_text import verification_lines
from tests.built_images import Workshop
from tests.reproducibility.publication import STATIC
from tests.reproducibility.test_verify_result import attempt, served, verification
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

KEYS = ROOT / "fixtures/miniature/keys/pkgbase"
REPOSITORIES = ROOT / "fixtures/miniature/repositories"
NAME = "FreeBSD-base"
AT_HOME = Substitutes(urls={}, root=str(ROOT))
GOOD = Origin(repository=NAME, key="a" * 64, packages=4, unknown=(), problem="")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    own = Workshop.embedded(tmp_path_factory.mktemp("workshop"))
    return replace(own, plan=replace(own.plan, images={STATIC: own.plan.images[STATIC]}))


def check(
    workshop: Workshop, keys: Path = KEYS, at: Substitutes = AT_HOME, *, name: str = NAME
) -> Origin:
    (found,) = check_origins(workshop.plan, {name: keys}, at, store=workshop.store)
    return found


def mirror(path: Path) -> Substitutes:
    """Copy the repositories."""
    shutil.copytree(REPOSITORIES, path)
    return Substitutes(urls={NAME: f"{path}/${{ABI}}/base_release_${{VERSION_MINOR}}"}, root=None)


def test_packages_of_a_catalogue_that_is_signed(workshop: Workshop) -> None:
    origin = check(workshop)
    assert origin.is_signed
    assert (origin.repository, origin.packages) == (f"{NAME} 15.0:amd64", 4)
    assert len(origin.key) == 64


def test_keys_of_somebody_else(workshop: Workshop) -> None:
    origin = check(workshop, ROOT / "fixtures/freebsd/keys/pkgbase-15")
    assert not origin.is_signed
    assert "data.pkg: signed with key " in origin.problem
    assert origin.key == ""


def test_a_catalogue_that_was_altered(workshop: Workshop, tmp_path: Path) -> None:
    at = mirror(tmp_path / "mirror")
    for path in (tmp_path / "mirror").rglob("data.*"):
        path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    for path in (tmp_path / "mirror").rglob("packagesite.*"):
        path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    assert check(workshop, at=at).problem


def test_a_repository_that_is_gone(workshop: Workshop) -> None:
    nowhere = Substitutes(urls={NAME: "/nonexistent"}, root=None)
    assert check(workshop, at=nowhere).problem == "file:///nonexistent: no such directory"
    assert "whoever made the lock" in check(workshop, at=Substitutes(urls={}, root=None)).problem


def test_a_name_that_no_repository_has(workshop: Workshop) -> None:
    assert check(workshop, name="FreeBSD-bass").problem == (
        "no package is of a repository of that name, there is FreeBSD-base"
    )


@pytest.mark.parametrize("what", ["version", "bytes"])
def test_a_package_that_the_catalogue_does_not_have(workshop: Workshop, what: str) -> None:
    """Not in that version, or with other bytes, whatever checksum the lock says it has."""
    image = workshop.plan.images[STATIC]
    package = image.target.packages["FreeBSD-zoneinfo"]
    evil = workshop.store.put(b"evil")
    assert evil.digest == Digest.of(b"evil")
    other = {"version": {"version": "99"}, "bytes": {"digest": evil.digest}}[what]
    packages = {**image.target.packages, package.name: replace(package, **other)}  # type: ignore[arg-type]
    images = {STATIC: replace(image, target=replace(image.target, packages=packages))}
    altered = replace(workshop, plan=replace(workshop.plan, images=images))
    version = "99" if what == "version" else package.version
    assert check(altered).unknown == (f"FreeBSD-zoneinfo-{version}",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "want NAME=DIR"),
        ("=x", "want NAME=DIR"),
        ("x=", "want NAME=DIR"),
        ("x=/nonexistent", "--fingerprints /nonexistent: has no directory trusted"),
    ],
)
def test_what_is_no_pair_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_trusted((text,))


@pytest.mark.parametrize(
    ("origins", "verdict", "line"),
    [
        ((), Verdict.REPRODUCED, "packages: those that the lock pins; --fingerprints NAME=DIR"),
        ((GOOD,), Verdict.REPRODUCED, f"packages: 4 of {NAME}, all in the catalogue that aaaaaaaa"),
        (
            (GOOD, replace(GOOD, unknown=tuple("abcdefghij"))),
            Verdict.UNKNOWN,
            "  a, b, c, d, e, f, g, h and 2 more",
        ),
        (
            (replace(GOOD, problem="no data"),),
            Verdict.UNKNOWN,
            f"packages: 4 of {NAME}; who has signed them could not be told: no data",
        ),
    ],
)
def test_the_verdict_rests_on_it_where_it_was_asked(
    origins: tuple[Origin, ...], verdict: Verdict, line: str
) -> None:
    v = verification(attempt(Outcome.REPRODUCED), origins=origins)
    assert v.verdict is verdict
    assert bool(v.attested) is (verdict is Verdict.REPRODUCED)
    assert any(one.startswith(line) for one in verification_lines(v))
    damaged = replace(v, blobs=served(Delivery.DAMAGED))
    assert damaged.verdict is Verdict.DIFFERENT
