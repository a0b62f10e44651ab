"""The plan: what a declaration and its lock ask for, and when they disagree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.declaration.reading import parse_declaration
from pipeline.errors import ConfigurationError, LockfileError, StaleLockError
from pipeline.formats.digest import Digest
from pipeline.pkg.lockfile import (
    Installed,
    Lock,
    LockedImage,
    LockedPackage,
    LockedRelease,
    LockedTarget,
)
from pipeline.pkg.sum import Sum
from pipeline.stages.plan import (
    ImagePlan,
    check_lock,
    make_plan,
    picked_packages,
    read_lock,
    request_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.declaration.tables import Declaration

TEXT = """
format = 1
[repositories.base]
url = "https://example.org/${ABI}"
fingerprints = "keys"
[releases."15.0"]
architectures = ["amd64", "aarch64"]
repositories = ["base"]
[releases."14.3"]
architectures = ["amd64"]
repositories = ["base"]
images = ["static"]

[images.static]
mtree = ["root"]
packages = ["zoneinfo"]
accounts = [{ name = "a", uid = 1 }]
files = [
  { package = "runtime", paths = ["/etc/group"] },
  { package = "new", paths = ["/x"], releases = ["15.0"] },
  { path = "/y", text = "", releases = ["14.3"] },
]
[images.runtime]
parent = "static"
packages = ["runtime", "rc"]
allow_missing = ["libx.so.1"]
accounts = [{ name = "b", uid = 2 }]
"""


def package(name: str, flatsize: int = 10) -> LockedPackage:
    return LockedPackage(
        name=name,
        version="1",
        origin="base",
        repository="base",
        repopath=f"{name}.pkg",
        digest=Digest.of(name.encode()),
        size=1,
        sum=Sum.parse("0" * 64),
        manifestdigest="",
        flatsize=flatsize,
    )


def image(packages: str, picks: str = "", requested: str = "") -> LockedImage:
    return LockedImage(
        packages=tuple(Installed(name=name, asked_by=("request",)) for name in packages.split()),
        requested=tuple((requested or packages).split()),
        picks=tuple(picks.split()),
    )


def declaration(text: str = TEXT) -> Declaration:
    return parse_declaration(text.encode())


def lock_of(d: Declaration) -> Lock:
    names = ["zoneinfo", "runtime", "rc", "libs", "new", "FreeBSD-mtree"]
    target = LockedTarget(
        abi="x",
        repositories=(),
        packages={name: package(name, flatsize=len(name)) for name in names},
        images={
            "static": image("zoneinfo", "FreeBSD-mtree new runtime"),
            "runtime": image("libs runtime rc", requested="rc runtime"),
        },
    )
    return Lock(
        format=1,
        releases={
            release: LockedRelease(
                source_date_epoch=7,
                request=request_of(d, release),
                architectures=dict.fromkeys(table.architectures, target),
            )
            for release, table in d.releases.items()
        },
    )


# ---------------------------------------------------------------- request and lock


def test_a_request_is_what_the_resolver_needs() -> None:
    """Not how an image is compressed or called."""
    d = declaration()
    assert request_of(d, "14.3") == {
        "architectures": ["amd64"],
        "repositories": [
            {
                "name": "base",
                "url": "https://example.org/${ABI}",
                "signature_type": "fingerprints",
                "priority": 0,
            }
        ],
        "images": {
            "static": {
                "parent": None,
                "packages": ["zoneinfo"],
                "picks": ["FreeBSD-mtree", "runtime"],
                "allow_missing": [],
            }
        },
    }
    assert list(request_of(d, "15.0")["images"]) == ["static", "runtime"]  # type: ignore[call-overload]


def test_packages_that_only_give_files_depend_on_the_release() -> None:
    """And FreeBSD-mtree is one of them where there is a directory layer."""
    static = declaration().images["static"]
    assert picked_packages(static, "15.0") == ("FreeBSD-mtree", "new", "runtime")
    assert picked_packages(static, "14.3") == ("FreeBSD-mtree", "runtime")
    assert picked_packages(declaration().images["runtime"], "15.0") == ()


def test_a_lock_that_answers_passes() -> None:
    """Also after it has been written and read; what else is in the lock does not matter."""
    d = declaration()
    check_lock(d, lock_of(d), what="lock")
    check_lock(d, Lock.parse(lock_of(d).to_bytes()), what="lock")
    more = declaration(
        TEXT + '[releases."13.5"]\narchitectures = ["i386"]\nrepositories = ["base"]'
    )
    check_lock(d, lock_of(more), what="lock")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '["zoneinfo"]',
            '["zoneinfo", "x"]',
            "releases.15.0.images.static.packages is now ['zoneinfo', 'x'], was ['zoneinfo']",
        ),
        (
            'parent = "static"',
            "",
            "releases.15.0.images.runtime.parent is now None, was 'static'",
        ),
        ("[images.runtime]", "[images.x]\n[images.runtime]", "releases.15.0.images.x is new"),
        (
            "[images.runtime]",
            "[images.other]",
            "releases.15.0.images.other is new",
        ),
        (
            'architectures = ["amd64", "aarch64"]',
            'architectures = ["amd64"]',
            "releases.15.0.architectures is now ['amd64'], was ['amd64', 'aarch64']",
        ),
        (
            '["libx.so.1"]',
            "[]",
            "releases.15.0.images.runtime.allow_missing is now [], was ['libx.so.1']",
        ),
        (
            'images = ["static"]',
            "",
            "releases.14.3.images.runtime is new",
        ),
    ],
)
def test_the_first_difference_is_named(old: str, new: str, message: str) -> None:
    """With what to do."""
    lock = lock_of(declaration())
    assert TEXT.count(old) == 1
    with pytest.raises(StaleLockError) as caught:
        check_lock(declaration(TEXT.replace(old, new)), lock, what="images.lock.json")
    assert str(caught.value) == f"images.lock.json does not answer the declaration: {message}"
    assert "doit update" in str(caught.value.hint)


def test_an_image_that_is_gone_is_named() -> None:
    """The lock has more than the declaration."""
    without = TEXT.partition("[images.runtime]")[0]
    with pytest.raises(StaleLockError, match=r"releases\.15\.0\.images\.runtime is gone$"):
        check_lock(declaration(without), lock_of(declaration()), what="lock")


def test_a_lock_of_another_format_or_release_is_stale() -> None:
    """A released format never changes."""
    d = declaration()
    with pytest.raises(StaleLockError, match=r"^lock is of format 2, the declaration of 1$"):
        check_lock(d, replace(lock_of(d), format=2), what="lock")
    with pytest.raises(StaleLockError, match=r"^lock has no release 15\.0$"):
        check_lock(d, replace(lock_of(d), releases={}), what="lock")


def test_a_lock_that_was_damaged_by_hand_is_stale() -> None:
    """A merge may lose an architecture or an image while the request stays."""
    d = declaration()
    lock = lock_of(d)
    release = lock.releases["15.0"]
    target = release.architectures["amd64"]
    for architectures, message in (
        ({"amd64": target}, "lock has no image 15.0:aarch64:static"),
        (
            {**release.architectures, "amd64": replace(target, images={})},
            "lock has no image 15.0:amd64:static",
        ),
    ):
        damaged = {**lock.releases, "15.0": replace(release, architectures=architectures)}
        with pytest.raises(StaleLockError) as caught:
            check_lock(d, replace(lock, releases=damaged), what="lock")
        assert str(caught.value) == message


def test_a_lock_is_read_from_its_file(tmp_path: Path) -> None:
    """None if there is none; an error names the file."""
    path = tmp_path / "images.lock.json"
    assert read_lock(path) is None
    lock = lock_of(declaration())
    path.write_bytes(lock.to_bytes())
    assert read_lock(path) == lock
    path.write_bytes(b'{"format": "1"}')
    with pytest.raises(LockfileError) as caught:
        read_lock(path)
    assert str(caught.value) == f"{path}: format: got a string, want an integer"
    with pytest.raises(ConfigurationError, match=f"^{tmp_path}: is a directory$"):
        read_lock(tmp_path)


# ---------------------------------------------------------------- the plan


def plan(text: str = TEXT) -> dict[str, ImagePlan]:
    d = declaration(text)
    return dict(make_plan(d, lock_of(d)).images)


def test_every_image_of_every_release_and_architecture() -> None:
    """Parents first."""
    images = plan()
    assert list(images) == [
        "15.0:amd64:static",
        "15.0:amd64:runtime",
        "15.0:aarch64:static",
        "15.0:aarch64:runtime",
        "14.3:amd64:static",
    ]
    assert [str(image) for image in images.values()] == list(images)


def test_an_image_knows_its_ancestors_and_its_own_share() -> None:
    """Packages in install order, sources by name, accounts of the whole line."""
    runtime = plan()["15.0:aarch64:runtime"]
    assert [p.name for p in runtime.lineage] == ["static", "runtime"]
    assert runtime.parent is not None
    assert [p.name for p in runtime.packages] == ["libs", "runtime", "rc"]
    assert [p.name for p in runtime.parent.picks] == ["FreeBSD-mtree", "new", "runtime"]
    assert [p.name for p in runtime.parent.sources] == [
        "FreeBSD-mtree",
        "new",
        "runtime",
        "zoneinfo",
    ]
    assert [a.name for a in runtime.accounts] == ["a", "b"]
    assert runtime.asked_for() == {"zoneinfo", "runtime", "rc"}
    assert (str(runtime.platform), runtime.epoch) == ("freebsd/arm64", 7)
    assert runtime.reference == "freebsd-runtime:15.0"


def test_files_of_other_releases_are_left_out() -> None:
    """Declared once for all."""
    images = plan()
    assert [f.package or f.path for f in images["15.0:amd64:static"].files] == ["runtime", "new"]
    assert [f.package or f.path for f in images["14.3:amd64:static"].files] == ["runtime", "/y"]


def test_one_layer_for_all_packages() -> None:
    """By `layering = "single"`."""
    runtime = plan()["15.0:amd64:runtime"]
    assert runtime.layer_of() == dict.fromkeys(["libs", "runtime", "rc"], "packages")
    assert runtime.layers() == ("directories", "packages", "state")


@pytest.mark.parametrize(
    ("budget", "own"),
    [(40, ["libs", "rc", "runtime"]), (3, ["libs", "rc", "runtime"]), (2, ["runtime"])],
)
def test_one_layer_a_package_up_to_the_budget(budget: int, own: Any) -> None:
    """The largest have their own, the rest share one; packages of equal size by name."""
    text = TEXT.replace(
        'parent = "static"', f'parent = "static"\nlayering = "package"\nlayer_budget = {budget}'
    )
    runtime = plan(text)["15.0:amd64:runtime"]
    of = runtime.layer_of()
    assert sorted(name for name, layer in of.items() if layer == f"package-{name}") == own
    assert set(of.values()) <= {*(f"package-{name}" for name in own), "packages"}
    names = [f"package-{name}" for name in own]
    assert runtime.layers() == ("directories", *names, "packages", "state")


def test_each_archive_is_needed_once() -> None:
    """By release and architecture, however many images use it."""
    d = declaration()
    whole = make_plan(d, lock_of(d))
    needed = [(r, a, p.name) for r, a, p in whole.packages()]
    assert len(needed) == len(set(needed))
    assert [name for r, a, name in needed if (r, a) == ("15.0", "amd64")] == [
        "FreeBSD-mtree",
        "new",
        "runtime",
        "zoneinfo",
        "libs",
        "rc",
    ]


def test_references_join_architectures() -> None:
    """One index an image and release."""
    d = declaration()
    references = make_plan(d, lock_of(d)).references()
    assert {name: [p.architecture for p in images] for name, images in references.items()} == {
        "freebsd-static:15.0": ["amd64", "aarch64"],
        "freebsd-runtime:15.0": ["amd64", "aarch64"],
        "freebsd-static:14.3": ["amd64"],
    }
