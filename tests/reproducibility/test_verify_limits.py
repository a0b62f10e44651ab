"""What anybody can attach to an image, or call one: bounded, told apart, and said."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import CommandError, ConfigurationError, LayoutError, NotFoundError
from pipeline.formats.digest import Digest
from pipeline.host.registry_session import Access
from pipeline.oci.image import descriptor_of
from pipeline.oci.media_type import MediaType
from reproducibility import verify_build, verify_locks, verify_place, verify_signatures
from reproducibility.machine import Isolation, namespace_argv
from reproducibility.verify_build import StartError
from reproducibility.verify_claim import Sources
from reproducibility.verify_image import MAX_PLATFORMS, find_subject
from reproducibility.verify_place import JoinedPlace, LayoutPlace, open_place
from reproducibility.verify_result import Outcome, Signed, Verdict
from reproducibility.verify_signatures import Witnesses, bundles_of
from tests.attest.signers import TestSigner
from tests.built_images import Workshop
from tests.reproducibility.publication import Publication, build_in_process

if TYPE_CHECKING:
    from pathlib import Path

    from reproducibility.verify_result import Verification

PUBLISHER = TestSigner(1)
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.embedded(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def theirs(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publication:
    build_in_process(monkeypatch, workshop.store)
    return Publication(tmp_path, workshop)


def reasons(v: Verification) -> list[tuple[Outcome, str]]:
    return [(a.outcome, a.reason) for a in v.attempts]


def altered_lock(theirs: Publication, name: str, change: Any) -> None:
    """Attach a lock artifact that was changed."""
    artifact = theirs.lock(name)
    document = json.loads(theirs.store.read(artifact))
    change(document)
    theirs.artifact(json.dumps(document).encode())


# ---------------------------------------------------------------- locks


def test_only_so_many_locks_are_looked_at(
    theirs: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the one that a signed provenance names is among them, however many there are."""
    monkeypatch.setattr(verify_locks, "MAX_LOCKS", 1)
    name = theirs.image()
    own = theirs.workshop
    for i in range(3):
        theirs.lock(name, declaration=own.raw_declaration + b"# %d\n" % i, lock=b"nonsense")
    theirs.lock(name)
    theirs.vouch(name, PUBLISHER, own.raw_declaration, own.raw_lock)
    v = theirs.verify(name, keys=(PUBLISHER.public_key,)).verification
    assert v.verdict is Verdict.REPRODUCED
    assert (Outcome.NOT_TRIED, "3 more locks are attached and were not looked at") in reasons(v)


@pytest.mark.parametrize(
    ("change", "outcome", "reason"),
    [
        (
            lambda d: d["layers"][0].update(size=1 << 30),
            Outcome.REFUSED,
            "has a file of 1073741824 bytes, want 1048576 at most",
        ),
        (lambda d: d["layers"][0].update(size=5), Outcome.NOT_TRIED, "longer than the limit of 5"),
        (
            lambda d: d["layers"][0].update(digest=f"sha256:{'0' * 64}"),
            Outcome.NOT_TRIED,
            "is not in the layout",
        ),
        (lambda d: d["layers"].clear(), Outcome.REFUSED, "'images.toml' is missing"),
        (
            lambda d: d["annotations"].update({"org.pkgbase-oci.target": "../../x"}),
            Outcome.REFUSED,
            "got target '../../x', want release:image",
        ),
    ],
)
def test_a_lock_artifact_that_is_none(
    theirs: Publication, change: Any, outcome: Outcome, reason: str
) -> None:
    name = theirs.image()
    altered_lock(theirs, name, change)
    v = theirs.verify(name).verification
    found = [(o, r) for o, r in reasons(v) if o is not Outcome.REPRODUCED]
    assert len(found) == 1, found
    assert found[0][0] is outcome
    assert reason in found[0][1]
    assert v.verdict is Verdict.REPRODUCED, "the other one does not suffer from it"


# ---------------------------------------------------------------- statements


def test_only_so_much_of_statements_is_read(
    theirs: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = theirs.image()
    own = theirs.workshop
    theirs.vouch(name, PUBLISHER, own.raw_declaration, own.raw_lock)
    digest = theirs.names[name].digest
    place = theirs.place(name)
    problems: list[str] = []
    assert len(list(bundles_of(place, digest, (), problems))) == 0, "of another kind"
    kinds = ("https://slsa.dev/provenance/v1",)
    assert len(list(bundles_of(place, digest, kinds, problems))) == 1
    assert problems == []
    monkeypatch.setattr(verify_signatures, "_MAX_BUNDLES", 10)
    assert list(bundles_of(place, digest, kinds, problems)) == []
    assert problems == [f"more than 10 B of statements refer to {digest}: not all were read"]


def test_a_statement_that_cannot_be_read_vouches_for_nothing(theirs: Publication) -> None:
    name = theirs.image()
    subject = theirs.names[name]
    manifest = {
        "schemaVersion": 2,
        "mediaType": str(MediaType.MANIFEST),
        "artifactType": BUNDLE,
        "config": {"mediaType": str(MediaType.EMPTY), "digest": str(Digest.of(b"{}")), "size": 2},
        "layers": [{"mediaType": BUNDLE, "digest": f"sha256:{'0' * 64}", "size": 3}],
        "subject": {
            "mediaType": subject.media_type,
            "digest": str(subject.digest),
            "size": subject.size,
        },
    }
    theirs.artifact(json.dumps(manifest).encode())
    witnesses = Witnesses(theirs.place(name), subject.digest, [PUBLISHER.public_key])
    (problem,) = witnesses.problems
    assert "is not in the layout" in problem
    assert witnesses.image(required=True).image is Signed.NO
    assert witnesses.lock(subject.digest, subject.digest) is Signed.NO


def test_only_so_many_referrers_are_looked_at(
    theirs: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_place, "MAX_REFERRERS", 2)
    name = theirs.image()
    for i in range(4):
        theirs.lock(name, lock=b"%d" % i)
    place = theirs.place(name)
    assert len(place.referrers(theirs.names[name].digest)) == 2
    assert place.problems == (f"4 referrers of {theirs.names[name].digest}: only 2 were looked at",)


# ---------------------------------------------------------------- images


def published(theirs: Publication, document: dict[str, Any], media_type: MediaType) -> JoinedPlace:
    raw = json.dumps({"schemaVersion": 2, "mediaType": str(media_type), **document}).encode()
    theirs.images.publish("x:1", descriptor_of(raw, media_type), [theirs.store.put(raw)])
    place = open_place(f"oci:{theirs.images.root}:x:1", Access())
    assert isinstance(place, LayoutPlace)
    return JoinedPlace(place, [])


def test_something_said_of_an_image_is_none(theirs: Publication) -> None:
    artifact = theirs.lock(theirs.image())
    place = open_place(f"oci:{theirs.attest.root}@{artifact}", Access())
    with pytest.raises(LayoutError, match="is no image, but something said of one"):
        find_subject(place, None)


def test_an_index_within_an_index_is_none(theirs: Publication) -> None:
    inner = theirs.names[theirs.index()]
    entry = {"mediaType": inner.media_type, "digest": str(inner.digest), "size": inner.size}
    place = published(theirs, {"manifests": [entry]}, MediaType.INDEX)
    with pytest.raises(LayoutError, match="an index within an index"):
        find_subject(place, None)


def test_an_index_over_too_many_is_not_read(theirs: Publication) -> None:
    manifest = theirs.names[theirs.image()]
    entry = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": manifest.size,
    }
    many = {"manifests": [entry] * (MAX_PLATFORMS + 1)}
    place = published(theirs, many, MediaType.INDEX)
    with pytest.raises(LayoutError, match="65 manifests, want 64"):
        find_subject(place, None)


def test_an_index_over_nothing_is_none(theirs: Publication) -> None:
    theirs.image()
    with pytest.raises(NotFoundError, match="nothing"):
        find_subject(published(theirs, {"manifests": []}, MediaType.INDEX), None)


# ---------------------------------------------------------------- this machine


@pytest.mark.parametrize("works", [Isolation.ROOT, Isolation.USER, Isolation.NONE])
def test_namespaces_are_used_if_python_runs_in_them(
    works: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: list[str], **_: object) -> None:
        assert argv[-4] == sys.executable
        if argv[:-4] != list(namespace_argv(works)):
            raise CommandError(argv, 126, "unshare: failed to execute")

    monkeypatch.setattr("pipeline.host.command.run", run)
    monkeypatch.setattr(sys, "platform", "linux")
    assert verify_build.isolation.__wrapped__() is works


def test_a_process_that_never_was_is_not_the_locks_fault(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    sources = Sources(
        origin="",
        declaration=workshop.raw_declaration,
        lock=workshop.raw_lock,
        target=None,
        artifact=None,
    )
    with pytest.raises((StartError, ConfigurationError)):
        verify_build.check_claim(sources, tmp_path / "site")
