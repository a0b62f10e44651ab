"""Claims: what is read, what is refused, what is meant."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import FormatError, PipelineError, StaleLockError
from pipeline.oci.platform import Platform
from reproducibility.verify_claim import (
    MAX_DECLARATION,
    MAX_LOCK,
    Claim,
    Published,
    Sources,
    UnsupportedFormatError,
    contradictions,
    find_goal,
    parse_claim,
    same_platform,
)
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

DECLARATION = (ROOT / "images.toml").read_bytes()
LOCK = (ROOT / "images.lock.json").read_bytes()
AMD64 = Platform(os="freebsd", architecture="amd64")


def sources(declaration: bytes = DECLARATION, lock: bytes = LOCK, target: str = "") -> Sources:
    return Sources(
        origin="test", declaration=declaration, lock=lock, target=target or None, artifact=None
    )


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the lock after a change."""
    value = json.loads(LOCK)
    change(value)
    return json.dumps(value).encode()


CLAIM = parse_claim(sources())


def published(**changes: Any) -> Published:
    return replace(Published(name="", platform=None, annotations={}), **changes)


def said_by(claim: Claim, release: str, image: str) -> dict[str, str]:
    """Return what an image of a claim says of itself."""
    prefix = "org.opencontainers.image."
    declared = claim.declaration.images[image]
    epoch = next(p.epoch for p in claim.plan.images.values() if p.release == release)
    assert epoch
    return {
        f"{prefix}title": declared.title,
        f"{prefix}description": declared.description,
        f"{prefix}version": release,
        "org.pkgbase-oci.format": "1",
        f"{prefix}created": _created(epoch),
    }


def _created(epoch: int) -> str:
    return f"{dt.datetime.fromtimestamp(epoch, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


# ---------------------------------------------------------------- hostile


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        (b"{" * 100_000, "lock: not JSON|lock: nested too deeply"),
        (b'{"a":' * 90 + b"1" + b"}" * 90, "lock: nested too deeply"),
        (b'{"format": ' + b"9" * 5000 + b"}", "lock: a number has too many digits"),
        (b'{"format": "1"}', "lock: format: got a string"),
        (b"[]", "lock: got list"),
        (b"\xff", "lock: not UTF-8"),
        (b'{"format": 1, "format": 1}', "twice"),
        (b'{"format": 1, "releases": {}, "exec": []}', "unknown key 'exec'"),
    ],
)
def test_a_lock_that_is_none_is_refused(lock: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_claim(sources(lock=lock))


def first_package(lock: dict[str, Any]) -> dict[str, Any]:
    package = lock["releases"]["15.0"]["architectures"]["amd64"]["packages"][0]
    assert isinstance(package, dict)
    return package


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("repopath", "../../etc/passwd", "want a relative path"),
        ("repopath", "/etc/passwd", "want a relative path"),
        ("repopath", "a//b", "want a relative path"),
        ("name", "../x", "got package name"),
        ("name", "-x", "got package name"),
        ("version", "1/../2", "got package version"),
        ("size", -1, "want no negative"),
        ("size", True, "got a boolean"),
        ("size", 1.5, "got number 1.5"),
        ("digest", "sha256:zz", "got digest"),
        ("repository", "elsewhere", "is of no repository that is there"),
    ],
)
def test_a_lock_with_hostile_fields_is_refused(field: str, value: object, message: str) -> None:
    lock = edited(lambda d: first_package(d).update({field: value}))
    with pytest.raises(FormatError, match=message) as caught:
        parse_claim(sources(lock=lock))
    assert str(caught.value).startswith("lock: ")
    assert caught.value.hint is None, "nobody who verifies can run `doit update`"


@pytest.mark.parametrize(
    "declaration",
    [
        b"a = " + b"[" * 100_000,
        b"a = " + b"{a = " * 100_000,
        b"format = " + b"9" * 5000,
        b"\xff",
        b"format = ",
        b"format = 1\nrun = 'rm -rf /'",
        DECLARATION.replace(b'url = "file:', b'url = "ssh:'),
    ],
)
def test_a_declaration_that_is_none_is_refused(declaration: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_claim(sources(declaration))
    assert str(caught.value).startswith("declaration: ")


def test_absurd_sizes_are_not_looked_at() -> None:
    with pytest.raises(FormatError, match="declaration: longer than"):
        parse_claim(sources(b"#" * (MAX_DECLARATION + 1)))
    with pytest.raises(FormatError, match="lock: longer than"):
        parse_claim(sources(lock=b" " * (MAX_LOCK + 1)))


def test_a_lock_of_another_declaration_is_refused() -> None:
    declaration = DECLARATION.replace(b'"FreeBSD-zoneinfo"]', b'"FreeBSD-clibs"]')
    assert declaration != DECLARATION
    with pytest.raises(StaleLockError, match="the lock does not answer the declaration"):
        parse_claim(sources(declaration))


@pytest.mark.parametrize("what", ["declaration", "lock"])
def test_another_format_is_told_apart_from_nonsense(what: str) -> None:
    """Even if everything else in the file is new as well."""
    one = {
        "declaration": sources(DECLARATION.replace(b"format = 1", b"format = 3\nnew = {}", 1)),
        "lock": sources(lock=b'{"format": 3, "new": 1}'),
    }[what]
    with pytest.raises(UnsupportedFormatError, match=f"the {what} is of output format 3"):
        parse_claim(one)


def test_commands_keys_and_places_of_a_declaration_mean_nothing() -> None:
    """They are read, as they are part of the file, and that is all."""
    text = b'[signing]\nkey = "/etc/shadow"\ncommand = ["touch", "/tmp/x"]\n'
    assert parse_claim(sources(DECLARATION + text)).pairs == CLAIM.pairs


# ---------------------------------------------------------------- goals


def test_an_index_is_built_over_all_architectures() -> None:
    goal = find_goal(parse_claim(sources(target="15.0:runtime")), published())
    assert goal.is_index
    assert [p.architecture for p in goal.plans] == ["amd64", "aarch64"]
    assert goal.reference == "freebsd-runtime:15.0"
    needed = goal.plan(CLAIM.declaration).images
    assert list(needed) == [
        f"15.0:{arch}:{image}"
        for arch in ("amd64", "aarch64")
        for image in ("static", "dynamic", "runtime")
    ]


def test_one_platform_is_built_with_its_parents() -> None:
    claim = parse_claim(sources(target="15.0:amd64:dynamic"))
    goal = find_goal(claim, published(platform=AMD64))
    assert not goal.is_index
    assert list(goal.plan(claim.declaration).images) == ["15.0:amd64:static", "15.0:amd64:dynamic"]


def test_the_lock_of_an_index_serves_each_of_its_platforms() -> None:
    arm = Platform(os="freebsd", architecture="arm64", variant="v8")
    goal = find_goal(parse_claim(sources(target="15.0:static")), published(platform=arm))
    assert [p.architecture for p in goal.plans] == ["aarch64"]


@pytest.mark.parametrize(
    ("target", "platform", "message"),
    [
        ("static", None, "want release:image"),
        ("15.0:amd64:static:x", None, "want release:image"),
        ("15.0:nginx", None, "target 15.0:nginx is not in its declaration"),
        ("16.0:static", None, "target 16.0:static is not in its declaration"),
        ("15.0:riscv64:static", None, "no such architecture"),
        ("../x:static", None, "is not in its declaration"),
        ("15.0:aarch64:static", AMD64, "it is for aarch64, and the image for freebsd/amd64"),
        ("15.0:static", Platform(os="linux", architecture="amd64"), "makes nothing for linux"),
    ],
)
def test_what_cannot_be_about_the_image_is_refused(
    target: str, platform: Platform | None, message: str
) -> None:
    claim = parse_claim(sources(target=target))
    with pytest.raises(FormatError, match=message):
        find_goal(claim, published(platform=platform))


def test_without_a_target_an_image_is_known_by_what_it_says() -> None:
    said = said_by(CLAIM, "14.3", "dynamic")
    goal = find_goal(CLAIM, published(annotations=said))
    assert (goal.release, goal.image) == ("14.3", "dynamic")
    with pytest.raises(PipelineError, match="none of its 6 images") as caught:
        find_goal(CLAIM, published(annotations={**said, "x": "y"}))
    assert caught.value.hint == "say which it is: --target RELEASE:IMAGE"


def test_without_a_target_a_name_tells_images_apart_that_say_the_same() -> None:
    text = DECLARATION.replace(b'"FreeBSD dynamic"', b'"same"').replace(
        b'"FreeBSD static"', b'"same"'
    )
    for line in text.split(b"\n"):
        if line.startswith(b"description"):
            text = text.replace(line + b"\n", b"")
    claim = parse_claim(sources(text))
    said = said_by(claim, "15.0", "static")
    del said["org.opencontainers.image.description"]
    goal = find_goal(claim, published(annotations=said, name="freebsd-static:15.0"))
    assert goal.image == "static"
    with pytest.raises(FormatError, match="2 of its 6 images"):
        find_goal(claim, published(annotations=said, name="something:1"))


def test_what_contradicts_an_image_is_said() -> None:
    claim = parse_claim(sources(target="15.0:static"))
    goal = find_goal(claim, published())
    said = said_by(claim, "15.0", "static")
    base = {"org.opencontainers.image.base.name": "whatever"}
    assert contradictions(claim, goal, published(annotations={**said, **base})) == ()
    said["org.opencontainers.image.title"] = "FreeBSD evil"
    del said["org.pkgbase-oci.format"]
    assert contradictions(claim, goal, published(annotations=said)) == (
        "title 'FreeBSD static', the image says 'FreeBSD evil'",
        "org.pkgbase-oci.format '1', the image says nothing",
    )


def test_platforms() -> None:
    arm = Platform(os="freebsd", architecture="arm64")
    assert same_platform(arm, replace(arm, variant="v8"))
    assert not same_platform(arm, replace(arm, variant="v9"))
    assert not same_platform(arm, replace(arm, os="linux"))
    assert not same_platform(
        Platform(os="freebsd", architecture="arm", variant="v7"),
        Platform(os="freebsd", architecture="arm"),
    )
