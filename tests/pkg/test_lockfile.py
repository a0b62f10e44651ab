"""The lock: both ways, readable, and read strictly."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from pipeline.errors import LockfileError
from pipeline.formats.digest import Digest
from pipeline.pkg.lockfile import (
    REQUEST,
    Installed,
    Lock,
    LockedImage,
    LockedPackage,
    LockedRelease,
    LockedRepository,
    LockedTarget,
)
from pipeline.pkg.sum import Sum

PACKAGE = LockedPackage(
    name="FreeBSD-runtime",
    version="15.0",
    origin="base",
    repository="FreeBSD-base",
    repopath="All/Hashed/FreeBSD-runtime-15.0~abc.pkg",
    digest=Digest("a" * 64),
    size=4567,
    sum=Sum.parse("2$" + "y" * 103),
    manifestdigest="2$2$" + "y" * 103,
    flatsize=19189,
)
REPOSITORY = LockedRepository(
    name="FreeBSD-base",
    url="file:repo",
    catalogue_path="data.pkg",
    catalogue_digest=Digest("b" * 64),
    catalogue_size=99,
    signature_type="fingerprints",
    fingerprint="c" * 64,
)
IMAGE = LockedImage(
    packages=(Installed(name="FreeBSD-runtime", asked_by=(REQUEST,)),),
    requested=("FreeBSD-runtime",),
    picks=("FreeBSD-runtime",),
)
LOCK = Lock(
    format=1,
    releases={
        "15.0": LockedRelease(
            source_date_epoch=1_762_000_000,
            request={"images": {"base": {"packages": ["FreeBSD-runtime"]}}},
            architectures={
                "amd64": LockedTarget(
                    abi="FreeBSD:15:amd64",
                    repositories=(REPOSITORY,),
                    packages={"FreeBSD-runtime": PACKAGE},
                    images={"base": IMAGE},
                )
            },
        )
    },
)
TARGET = ("releases", "15.0", "architectures", "amd64")
WHERE = "releases.15.0.architectures.amd64"


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(LOCK.to_bytes())
    return loaded


def changed(path: tuple[str | int, ...], value: object) -> bytes:
    d = copy.deepcopy(document())
    place: Any = d
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(d).encode()


def test_parse_is_the_inverse_of_to_bytes() -> None:
    """Both ways."""
    assert Lock.parse(LOCK.to_bytes()) == LOCK
    assert Lock.parse(LOCK.to_bytes()).to_bytes() == LOCK.to_bytes()


def test_a_lock_is_text_that_diffs_well() -> None:
    """One fact a line, sorted, ending in a newline."""
    text = LOCK.to_bytes().decode()
    assert text.startswith('{\n  "format": 1,\n  "releases": {\n    "15.0": {\n')
    assert text.endswith("}\n")
    assert '              "version": "15.0"\n' in text
    assert json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n" == text


def test_packages_are_sorted_by_name() -> None:
    """Whatever order they were found in."""
    others = {
        name: LockedPackage(**{s: getattr(PACKAGE, s) for s in PACKAGE.__slots__} | {"name": name})
        for name in ("b", "a", "FreeBSD-runtime")
    }
    target = LockedTarget(abi="x", repositories=(), packages=others, images={})
    packages = target.to_dict()["packages"]
    assert isinstance(packages, list)
    assert [package["name"] for package in packages] == ["FreeBSD-runtime", "a", "b"]


def test_an_image_may_have_no_packages() -> None:
    """Lists that are absent are empty."""
    data = changed((*TARGET, "images", "base"), {})
    image = Lock.parse(data).releases["15.0"].architectures["amd64"].images["base"]
    assert image == LockedImage(packages=(), requested=(), picks=())


PINNED = (*TARGET, "packages", 0)
REPO = (*TARGET, "repositories", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("x",), 1, "unknown key 'x', want one of format, releases"),
        (("format",), "1", "format: got a string, want an integer"),
        (("format",), None, "format: missing"),
        (("releases",), None, "releases: missing"),
        (("releases", "15.0"), [], "releases.15.0: want an object"),
        (("releases", "15.0", "x"), 1, "releases.15.0: unknown key 'x'"),
        (
            ("releases", "15.0", "source_date_epoch"),
            -1,
            "releases.15.0.source_date_epoch: got -1, want no negative",
        ),
        (("releases", "15.0", "request"), None, "releases.15.0.request: missing"),
        ((*TARGET, "x"), 1, f"{WHERE}: unknown key 'x'"),
        ((*TARGET, "abi"), None, f"{WHERE}.abi: missing"),
        ((*TARGET, "images", "base", "x"), 1, f"{WHERE}.images.base: unknown key 'x'"),
        (
            (*TARGET, "images", "base", "picks"),
            ["nobody"],
            f"{WHERE}.images.base: package 'nobody' is not pinned",
        ),
        (
            (*TARGET, "images", "base", "packages"),
            [{"name": "nobody"}],
            f"{WHERE}.images.base: package 'nobody' is not pinned",
        ),
        (
            (*TARGET, "images", "base", "packages"),
            [{"name": "nobody", "x": 1}],
            f"{WHERE}.images.base.packages[0]: unknown key 'x', want one of asked_by, name",
        ),
        (
            (*TARGET, "images", "base", "packages", 0, "asked_by"),
            [1],
            f"{WHERE}.images.base.packages[0].asked_by[0]: got an integer, want a string",
        ),
        ((*TARGET, "packages"), [1], f"{WHERE}.packages[0]: got an integer, want an object"),
        (
            (*TARGET, "packages"),
            [PACKAGE.to_dict(), PACKAGE.to_dict()],
            f"{WHERE}.packages: package 'FreeBSD-runtime' twice",
        ),
        ((*PINNED, "x"), 1, f"{WHERE}.packages[0]: unknown key 'x'"),
        ((*PINNED, "name"), "-rf", f"{WHERE}.packages[0].name: got package name '-rf'"),
        ((*PINNED, "version"), "1/2", f"{WHERE}.packages[0].version: got package version '1/2'"),
        ((*PINNED, "digest"), "a" * 64, f"{WHERE}.packages[0].digest: got digest 'aaaa"),
        ((*PINNED, "sum"), "9$", f"{WHERE}.packages[0].sum: got sum '9$'"),
        ((*PINNED, "size"), -1, f"{WHERE}.packages[0].size: got -1, want no negative"),
        ((*PINNED, "flatsize"), -1, f"{WHERE}.packages[0].flatsize: got -1, want no negative"),
        ((*PINNED, "flatsize"), True, f"{WHERE}.packages[0].flatsize: got a boolean"),
        ((*PINNED, "manifestdigest"), None, f"{WHERE}.packages[0].manifestdigest: missing"),
        ((*REPO, "x"), 1, f"{WHERE}.repositories[0]: unknown key 'x'"),
        ((*REPO, "signature"), None, f"{WHERE}.repositories[0].signature: missing"),
        ((*REPO, "signature", "x"), 1, f"{WHERE}.repositories[0].signature: unknown key 'x'"),
        ((*REPO, "signature", "type"), None, f"{WHERE}.repositories[0].signature.type: missing"),
        ((*REPO, "catalogue", "x"), 1, f"{WHERE}.repositories[0].catalogue: unknown key 'x'"),
        ((*REPO, "catalogue", "size"), -1, f"{WHERE}.repositories[0].catalogue.size: got -1"),
        ((*REPO, "catalogue", "digest"), "x", f"{WHERE}.repositories[0].catalogue.digest: got "),
    ],
)
def test_each_fault_has_its_place_and_a_hint(path: Any, value: Any, message: str) -> None:
    """LockfileError, the whole path inside the document, and what to do."""
    with pytest.raises(LockfileError) as caught:
        Lock.parse(changed(path, value))
    assert str(caught.value).startswith(message)
    assert ": " not in caught.value.context
    assert "doit update" in str(caught.value.hint)


@pytest.mark.parametrize("repopath", ["", "/etc/x.pkg", "../x.pkg", "a/../b", "a//b", "./a", "a/"])
def test_a_repopath_stays_below_the_repository(repopath: str) -> None:
    """It becomes part of a URL or a path."""
    with pytest.raises(LockfileError, match=r"packages\[0\]\.repopath: got "):
        Lock.parse(changed((*PINNED, "repopath"), repopath))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON: "),
        (b"[]", "got list, want an object"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'{"format":1,"format":1}', "key 'format' twice in one object"),
        (b'{"format":1.0}', "got number 1.0, want an integer"),
    ],
)
def test_what_is_no_lock_is_refused(data: bytes, message: str) -> None:
    """A merge conflict, for instance."""
    with pytest.raises(LockfileError) as caught:
        Lock.parse(data)
    assert str(caught.value).startswith(message)
    assert "doit update" in str(caught.value.hint)
