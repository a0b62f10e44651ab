"""Verifying: what reproduces, what does not and why, and what nobody can tell."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.oci.platform import Platform
from reproducibility.causes import Cause
from reproducibility.verify_claim import Sources, parse_claim
from reproducibility.verify_result import Delivery, Outcome, Signed, Verdict
from reproducibility.verify_sources import Substitutes
from tests.attest.signers import TestSigner
from tests.built_images import Workshop
from tests.reproducibility.publication import (
    STATIC,
    Parts,
    Publication,
    build_in_process,
    flip,
)

if TYPE_CHECKING:
    from pathlib import Path

    from reproducibility.verify_result import Verification

OTHER = "15.0:aarch64:static"
PUBLISHER = TestSigner(1)
STRANGER = TestSigner(2)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.embedded(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch, workshop: Workshop) -> None:
    build_in_process(monkeypatch, workshop.store)


@pytest.fixture
def theirs(workshop: Workshop, tmp_path: Path) -> Publication:
    return Publication(tmp_path, workshop)


def outcomes(v: Verification) -> list[tuple[Outcome, str]]:
    return [(a.outcome, a.reason) for a in v.attempts]


# ---------------------------------------------------------------- reproduced


def test_an_image_is_reproduced_from_the_lock_that_is_attached(theirs: Publication) -> None:
    name = theirs.image()
    artifact = theirs.lock(name)
    done = theirs.verify(name)
    v = done.verification
    assert v.verdict is Verdict.REPRODUCED
    assert v.digest == v.root == str(theirs.names[name].digest)
    (attempt,) = v.attempts
    assert (attempt.outcome, attempt.goal, attempt.artifact) == (
        Outcome.REPRODUCED,
        "freebsd-static:15.0",
        str(artifact),
    )
    assert (attempt.archives, attempt.hosts, attempt.warnings) == (4, (), ())
    assert (v.blobs.delivery, v.blobs.count) == (Delivery.CHECKED, 4)
    assert [p.label for p in v.parts] == ["freebsd/amd64"]
    assert v.attested == v.parts
    assert v.comparison is None
    assert done.comparison is not None
    assert done.comparison.differences == ()


def test_an_index_is_reproduced_with_all_its_platforms(theirs: Publication) -> None:
    name = theirs.index()
    theirs.lock(name, "15.0:static")
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.REPRODUCED
    assert [(p.label, p.is_same) for p in v.parts] == [
        ("index", True),
        ("freebsd/amd64", True),
        ("freebsd/arm64", True),
    ]


def test_one_platform_of_an_index_is_enough(theirs: Publication) -> None:
    """By the lock of the index, for the platform has none of its own; nothing else is built."""
    name = theirs.index()
    theirs.lock(name, "15.0:static")
    lines: list[str] = []
    arm = Platform(os="freebsd", architecture="arm64", variant="v8")
    v = theirs.verify(name, platform=arm, watch=lines.append).verification
    assert v.verdict is Verdict.REPRODUCED
    assert (v.root, v.digest) == (
        str(theirs.names[name].digest),
        str(theirs.names["freebsd-static:15.0-aarch64"].digest),
    )
    assert [p.label for p in v.parts] == ["freebsd/arm64"]
    assert v.attempts[0].archives == 4


def test_parents_are_rebuilt_and_nothing_else(theirs: Publication) -> None:
    name = theirs.image("15.0:amd64:dynamic")
    theirs.lock(name, "15.0:amd64:dynamic")
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.REPRODUCED
    site = theirs.path / "work/build-0"
    order = json.loads((site / "order.json").read_bytes())
    assert order == {"images": ["15.0:amd64:dynamic"], "index": False, "limit": 8 << 30}


def test_an_index_can_be_rebuilt_from_the_lock_of_a_platform(theirs: Publication) -> None:
    name = theirs.index()
    theirs.lock("freebsd-static:15.0-amd64", STATIC)
    assert theirs.verify(name).verification.verdict is Verdict.REPRODUCED


def test_a_gzip_image_is_reproduced_as_well(workshop: Workshop, tmp_path: Path) -> None:
    text = workshop.raw_declaration.replace(
        b"format = 1\n", b'format = 1\ncompression = { algorithm = "gzip" }\n', 1
    )
    declaration = parse_claim(
        Sources(origin="", declaration=text, lock=workshop.raw_lock, target=None, artifact=None)
    ).declaration
    theirs = Publication(tmp_path, replace(workshop, declaration=declaration, raw_declaration=text))
    name = theirs.image()
    theirs.lock(name)
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.REPRODUCED
    assert v.tools[-1] == "deflate 0.9.0"


def test_files_of_the_users_take_the_place_of_what_is_attached(theirs: Publication) -> None:
    name = theirs.image()
    theirs.lock(name, declaration=b"nonsense")
    given = Sources(
        origin="my.lock.json",
        declaration=theirs.workshop.raw_declaration,
        lock=theirs.workshop.raw_lock,
        target=None,
        artifact=None,
    )
    v = theirs.verify(name, given=given).verification
    assert v.verdict is Verdict.REPRODUCED
    assert [(a.origin, a.artifact) for a in v.attempts] == [("my.lock.json", "")]


def test_a_store_that_is_kept_gives_archives_and_nothing_else(theirs: Publication) -> None:
    """What it remembers of earlier builds proves nothing; an archive in it is hashed."""
    name = theirs.image()
    theirs.lock(name)
    kept = theirs.path / "kept"
    assert theirs.verify(name, archives=kept).verification.verdict is Verdict.REPRODUCED
    (folder,) = {p.name for p in kept.iterdir()} - {"part", "tmp"}
    assert folder == "blobs"
    archive = next(iter(sorted((kept / "blobs").rglob("*")))).parent
    victim = next(p for p in sorted(archive.rglob("*")) if p.is_file())
    victim.chmod(0o644)
    victim.write_bytes(b"altered")
    nowhere = Substitutes(urls={"FreeBSD-base": "/nonexistent"}, root=None)
    shutil.rmtree(theirs.path / "work")
    v = theirs.verify(name, archives=kept, substitutes=nowhere).verification
    assert v.verdict is Verdict.UNKNOWN
    shutil.rmtree(theirs.path / "work")
    assert theirs.verify(name, archives=kept).verification.verdict is Verdict.REPRODUCED


def test_nothing_that_a_declaration_names_is_run_read_or_written(
    theirs: Publication, tmp_path: Path
) -> None:
    """Commands, keys and places are those of whoever wrote it; they change no byte of an image."""
    mark = tmp_path / "owned"
    text = theirs.workshop.raw_declaration.replace(
        b'fingerprints = "fixtures/miniature/keys/pkgbase"', b'fingerprints = "/nonexistent"'
    ).replace(b"format = 1\n", b'format = 1\noutput = "owned"\n', 1)
    assert text.count(b"/nonexistent") == 1
    text += f"""
[signing]
key = "/etc/shadow"
password_command = ["touch", "{mark}"]
command = ["touch", "{mark}"]
public_key = "/nonexistent"

[registry]
ca_file = "/nonexistent"
prefix = "127.0.0.1:1/x"
""".encode()
    name = theirs.image()
    theirs.lock(name, declaration=text)
    assert theirs.verify(name).verification.verdict is Verdict.REPRODUCED
    assert not list(tmp_path.rglob("owned"))


def test_without_reading_what_is_served(theirs: Publication) -> None:
    name = theirs.image()
    theirs.lock(name)
    v = theirs.verify(name, is_shallow=True).verification
    assert (v.verdict, v.blobs.delivery) == (Verdict.REPRODUCED, Delivery.NOT_CHECKED)


# ---------------------------------------------------------------- different


def test_an_altered_layer_is_found_and_explained(theirs: Publication) -> None:
    """Every digest was made anew, so the image is whole; the file and its package are named."""
    name = theirs.altered(theirs.image(), flip(b"usr/share/zoneinfo/zone.tab"))
    theirs.lock(name)
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.DIFFERENT
    assert v.comparison is not None
    found = {(d.place.path, d.package) for d in v.comparison.differences}
    assert ("usr/share/zoneinfo/zone.tab", "FreeBSD-zoneinfo") in found
    assert not v.parts[0].is_same


def test_an_altered_config_is_found_and_explained(theirs: Publication) -> None:
    def change(parts: Parts) -> None:
        parts.config["config"]["Env"] = ["LD_PRELOAD=/evil.so"]

    name = theirs.altered(theirs.image(), change)
    theirs.lock(name)
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.DIFFERENT
    assert v.comparison is not None
    (difference,) = [d for d in v.comparison.differences if d.cause is Cause.CONFIGURATION]
    assert difference.inside.startswith("$.config.Env")


def test_only_the_platform_that_differs_is_attested_as_different(theirs: Publication) -> None:
    theirs.index()
    bad = theirs.altered("freebsd-static:15.0-aarch64", flip(b"usr/share/zoneinfo/zone.tab"))
    index = json.loads(theirs.store.read(theirs.names["freebsd-static:15.0"].digest))
    index["manifests"][1] |= {
        "digest": str(theirs.names[bad].digest),
        "size": theirs.names[bad].size,
    }
    raw = json.dumps(index).encode()
    descriptor = replace(
        theirs.names["freebsd-static:15.0"], digest=theirs.store.put(raw).digest, size=len(raw)
    )
    theirs.images.publish("mixed:1", descriptor, [theirs.store.put(raw)])
    theirs.names["mixed:1"] = descriptor
    own = theirs.workshop
    theirs.lock("mixed:1", "15.0:static")
    theirs.vouch("mixed:1", PUBLISHER, own.raw_declaration, own.raw_lock)
    v = theirs.verify("mixed:1", keys=(PUBLISHER.public_key,)).verification
    assert v.verdict is Verdict.DIFFERENT
    assert [p.label for p in v.attested] == ["index", "freebsd/arm64"]


def test_the_lock_of_another_image_makes_another_image(theirs: Publication) -> None:
    name = theirs.image()
    theirs.lock(name, "15.0:amd64:dynamic")
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.DIFFERENT
    warnings = v.attempts[0].warnings
    assert any("'FreeBSD dynamic', the image says 'FreeBSD static'" in w for w in warnings)
    assert v.attested == ()
    assert "anybody can attach a lock" in v.why_not_attested


def test_a_failure_is_the_images_only_if_the_publisher_stands_by_the_lock(
    theirs: Publication,
) -> None:
    """Whoever can attach a lock shall not have an image of somebody else called a failure."""
    name = theirs.altered(theirs.image(), flip(b"usr/share/zoneinfo/zone.tab"))
    theirs.lock(name)
    keys = (PUBLISHER.public_key,)
    v = theirs.verify(name, keys=keys).verification
    assert v.verdict is Verdict.DIFFERENT
    assert v.attested == ()
    assert "the publisher has not signed that this is its lock" in v.why_not_attested
    theirs.vouch(name, PUBLISHER, theirs.workshop.raw_declaration, theirs.workshop.raw_lock)
    shutil.rmtree(theirs.path / "work")
    v = theirs.verify(name, keys=keys).verification
    assert (v.verdict, v.attested) == (Verdict.DIFFERENT, v.parts)


def test_a_name_that_leads_to_another_image_is_said(theirs: Publication) -> None:
    """It reproduces all the same: it is what its own lock makes."""
    theirs.image()
    descriptor = theirs.names["freebsd-static:15.0-amd64"]
    for name in ("freebsd-runtime:15.0", "freebsd-static:14.3"):
        theirs.images.publish(name, descriptor, [])
        theirs.names[name] = descriptor
        theirs.lock(name)
        v = theirs.verify(name).verification
        assert v.verdict is Verdict.REPRODUCED
        assert v.attempts[0].warnings == (
            f"the lock calls it freebsd-static:15.0, it was asked for as {name}",
        )


def test_one_of_two_locks_may_be_a_lie(theirs: Publication) -> None:
    """The one that contradicts the image is tried last."""
    name = theirs.image()
    lie = theirs.workshop.raw_declaration.replace(b'"FreeBSD static"', b'"FreeBSD stasis"')
    assert lie != theirs.workshop.raw_declaration
    for declaration in (lie, None):
        theirs.lock(name, declaration=declaration)
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.REPRODUCED
    assert [o for o, _ in outcomes(v)] == [Outcome.REPRODUCED]


def test_a_lie_that_looks_true_is_tried_and_passed_over(theirs: Publication) -> None:
    name = theirs.image()
    lie = theirs.workshop.raw_declaration.replace(
        b"[images.static]\n", b'[images.static]\ncmd = ["/evil"]\n'
    )
    for declaration in (lie, None):
        theirs.lock(name, declaration=declaration)
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.REPRODUCED
    assert Outcome.REPRODUCED in {o for o, _ in outcomes(v)}
    v = theirs.verify(name, tries=1).verification
    assert v.verdict in (Verdict.REPRODUCED, Verdict.UNKNOWN)  # by which of them comes first


def test_a_signed_provenance_says_which_lock_to_try_first(theirs: Publication) -> None:
    name = theirs.image()
    lies = [
        theirs.workshop.raw_declaration.replace(
            b"[images.static]\n", b'[images.static]\ncmd = ["/evil%d"]\n' % i
        )
        for i in range(3)
    ]
    for declaration in (*lies, None):
        theirs.lock(name, declaration=declaration)
    own = theirs.workshop
    theirs.vouch(name, PUBLISHER, own.raw_declaration, own.raw_lock)
    theirs.vouch(name, STRANGER, lies[0], own.raw_lock)
    v = theirs.verify(name, tries=1, keys=(PUBLISHER.public_key,)).verification
    assert v.verdict is Verdict.REPRODUCED
    assert v.attempts[0].signed is Signed.YES
    v = theirs.verify(name, tries=1, keys=(STRANGER.public_key,)).verification
    assert [o for o, _ in outcomes(v)] == [Outcome.DIFFERENT, *[Outcome.NOT_TRIED] * 3]
    assert v.verdict is Verdict.UNKNOWN, "one that was not tried may be the true one"
