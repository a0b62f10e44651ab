"""Verifying: what nobody can tell, and why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from reproducibility.verify_result import Outcome, Verdict
from reproducibility.verify_sources import Substitutes
from tests.attest.signers import TestSigner
from tests.built_images import Workshop
from tests.reproducibility.publication import (
    Publication,
    build_in_process,
    flip,
)
from tests.tasks.project import ROOT

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


def test_without_a_lock_nobody_can_tell(theirs: Publication) -> None:
    v = theirs.verify(theirs.image()).verification
    assert (v.verdict, v.attempts, v.attested) == (Verdict.UNKNOWN, (), ())
    assert [p.built for p in v.parts] == [""]


def test_packages_that_are_gone_are_named(theirs: Publication, tmp_path: Path) -> None:
    name = theirs.image()
    theirs.lock(name)
    mirror = tmp_path / "mirror"
    shutil.copytree(ROOT / "fixtures/miniature/repositories", mirror)
    for path in (*mirror.rglob("FreeBSD-zoneinfo*"), *mirror.rglob("FreeBSD-caroot*")):
        path.unlink()
    urls = {"FreeBSD-base": f"{mirror}/${{ABI}}/base_release_${{VERSION_MINOR}}"}
    v = theirs.verify(name, substitutes=Substitutes(urls=urls, root=None)).verification
    assert v.verdict is Verdict.UNKNOWN
    ((outcome, reason),) = outcomes(v)
    assert outcome is Outcome.NOT_TRIED
    assert reason.startswith("gone from the repository: FreeBSD-caroot-15.0")
    assert "FreeBSD-zoneinfo-" in reason
    assert "--repository FreeBSD-base=URL" in v.attempts[0].hint


def test_a_repository_that_serves_other_bytes_is_not_believed(
    theirs: Publication, tmp_path: Path
) -> None:
    name = theirs.image()
    theirs.lock(name)
    mirror = tmp_path / "mirror"
    shutil.copytree(ROOT / "fixtures/miniature/repositories", mirror)
    for path in mirror.rglob("FreeBSD-zoneinfo*"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    urls = {"FreeBSD-base": f"{mirror}/${{ABI}}/base_release_${{VERSION_MINOR}}"}
    v = theirs.verify(name, substitutes=Substitutes(urls=urls, root=None)).verification
    assert v.verdict is Verdict.UNKNOWN
    assert "another file under the same name: FreeBSD-zoneinfo-" in v.attempts[0].reason


@pytest.mark.parametrize("where", ["artifact", "declaration", "lock"])
def test_another_format_wants_another_version(theirs: Publication, where: str) -> None:
    name = theirs.image()
    own = theirs.workshop
    changes: dict[str, dict[str, Any]] = {
        "artifact": {"number": 2},
        "declaration": {
            "declaration": own.raw_declaration.replace(b"format = 1", b"format = 2\nnew = 1", 1)
        },
        "lock": {"lock": own.raw_lock.replace(b'"format": 1', b'"format": 2', 1)},
    }
    theirs.lock(name, **changes[where])
    v = theirs.verify(name).verification
    assert v.verdict is Verdict.UNKNOWN
    ((outcome, reason),) = outcomes(v)
    assert outcome is Outcome.NOT_TRIED
    assert "is of output format 2, this version writes format 1" in reason
    assert v.attempts[0].hint == "verify with a version of pkgbase-oci that writes format 2"


def test_a_future_lock_beside_a_lie_leaves_it_open(theirs: Publication) -> None:
    name = theirs.altered(theirs.image(), flip(b"usr/share/zoneinfo/zone.tab"))
    theirs.lock(name)
    theirs.lock(name, number=2)
    v = theirs.verify(name).verification
    assert [o for o, _ in outcomes(v)] == [Outcome.DIFFERENT, Outcome.NOT_TRIED]
    assert v.verdict is Verdict.UNKNOWN


def test_nonsense_beside_a_lie_does_not_save_it(theirs: Publication) -> None:
    name = theirs.altered(theirs.image(), flip(b"usr/share/zoneinfo/zone.tab"))
    theirs.lock(name)
    theirs.lock(name, declaration=b"nonsense")
    v = theirs.verify(name).verification
    assert [o for o, _ in outcomes(v)] == [Outcome.DIFFERENT, Outcome.REFUSED]
    assert v.verdict is Verdict.DIFFERENT


def test_more_than_is_allowed_is_not_fetched(theirs: Publication) -> None:
    name = theirs.altered(theirs.image(), flip(b"usr/share/zoneinfo/zone.tab"))
    theirs.lock(name)
    v = theirs.verify(name, limit=1000).verification
    assert v.verdict is Verdict.UNKNOWN
    assert "longer than the limit of 1000 bytes" in v.attempts[0].reason
    assert "--limit" in v.attempts[0].hint


def test_with_another_encoder_only_content_is_judged(
    theirs: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal when decompressed: then it is this machine that cannot tell."""
    monkeypatch.setattr("reproducibility.verify.encoder_warning", lambda _: "got zstd 9.9.9")
    name = theirs.image()
    theirs.lock(name)
    v = theirs.verify(name).verification
    assert (v.verdict, v.encoder) == (Verdict.REPRODUCED, "got zstd 9.9.9"), "digests are digests"
    by_level = _recompressed(theirs, name)
    theirs.lock(by_level)
    v = theirs.verify(by_level).verification
    assert v.verdict is Verdict.UNKNOWN
    assert v.is_compressor_only
    changed = theirs.altered(name, flip(b"usr/share/zoneinfo/zone.tab"), name="changed:1")
    theirs.lock(changed)
    assert theirs.verify(changed).verification.verdict is Verdict.DIFFERENT


def _recompressed(theirs: Publication, name: str) -> str:
    """Publish an image whose first layer is compressed in another way."""
    manifest = json.loads(theirs.store.read(theirs.names[name].digest))
    first = manifest["layers"][0]
    tar = zstandard.ZstdDecompressor().decompress(theirs._read(first), 1 << 24)
    data = zstandard.ZstdCompressor(level=1).compress(tar)
    blob = theirs.store.put(data)
    assert str(blob.digest) != first["digest"]
    manifest["layers"][0] = {**first, "digest": str(blob.digest), "size": blob.size}
    raw = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    described = theirs.store.put(raw)
    descriptor = replace(theirs.names[name], digest=described.digest, size=described.size)
    others = [theirs.names[name]]
    blobs = [blob, described, *(replace(described, digest=d.digest, size=d.size) for d in others)]
    theirs.images.publish("recompressed:1", descriptor, blobs)
    theirs.names["recompressed:1"] = descriptor
    return "recompressed:1"
