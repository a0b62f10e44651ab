"""`trust` on layouts: what each client would say, and the command itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.attest.statement import PredicateType, Statement, Subject
from pipeline.errors import DigestMismatchError, FetchError, PipelineError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.gpg import GpgSigner
from pipeline.host.layout import Layout, PublishedLayout
from pipeline.host.store import Blob, Store
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.image import ImageIndex, descriptor_of
from pipeline.oci.media_type import MediaType
from pipeline.oci.platform import Platform
from pipeline.oci.reference import Reference
from pipeline.stages.attest import Signatures, Target, attest, publish
from pipeline.stages.sign import GpgSignatures, sign, sign_with_gpg
from reproducibility.trust import Keys, Row, find_statements, judge
from reproducibility.trust_evidence import PairSource, gather
from reproducibility.trust_snippets import Trust, snippets
from tests.attest.signers import TestSigner
from tests.trust_tools import GpgKey, gpg_home, make_gpg_key, trust_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "freebsd-static:15.0"
IDENTITY = f"ghcr.io/freebsd/{NAME}"
PULLED = Reference.parse(IDENTITY)
SIGNER = TestSigner()
CLIENTS = (
    *("podman, GPG", "skopeo, GPG", "podman, sigstore", "skopeo, sigstore"),
    *("cosign 2", "cosign 3"),
)


@dataclass(frozen=True)
class Pair:
    """An image over two platforms, and what is said of it."""

    folder: Path
    store: Store
    index: Target
    platforms: tuple[Target, ...]
    gpg: GpgKey

    @property
    def attest(self) -> PublishedLayout:
        return PublishedLayout(self.folder / "attest", store=self.store)

    @property
    def targets(self) -> tuple[Target, ...]:
        return (self.index, *self.platforms)

    def sign(self, *targets: Target, signer: TestSigner = SIGNER) -> None:
        for target in targets:
            signatures = Signatures(signer, store=self.store)
            statement = Statement(
                subjects=(Subject(target.digest),), predicate_type=PredicateType.SPDX, predicate={}
            )
            documents = (
                *sign(target, signatures, store=self.store),
                *attest(
                    target,
                    [self.store.put(statement.to_bytes())],
                    signatures,
                    store=self.store,
                ),
            )
            publish(documents, layout=self.attest)

    def sign_with_gpg(self, *targets: Target) -> None:
        signer = GpgSigner(self.gpg.fingerprint, home=self.gpg.home)
        for target in targets:
            signatures = GpgSignatures(signer=signer, store=self.store)
            sign_with_gpg(target, signatures, lookaside=self.folder / "lookaside")

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run the command; its status and JSON."""
        (self.folder / "key.pub").write_bytes(SIGNER.public_key.to_pem())
        (self.folder / "key.gpg").write_bytes(self.gpg.export())
        status = trust_command(
            *(f"oci:{self.folder / 'oci'}:{NAME}", "--json", str(self.folder / "t.json")),
            *arguments,
        )
        return status, json.loads((self.folder / "t.json").read_bytes())

    def run_with_keys(self, *arguments: str) -> tuple[int, dict[str, bool]]:
        """Run it with both keys; its status and who sees the image as signed."""
        status, result = self.run(
            *("--key", str(self.folder / "key.pub"), "--gpg-key", str(self.folder / "key.gpg")),
            *("--as", IDENTITY, *arguments),
        )
        return status, {row["client"]: row["signed"] for row in result["clients"]}


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgKey]:
    with gpg_home() as home:
        yield make_gpg_key(home)


@pytest.fixture
def pair(tmp_path: Path, gpg: GpgKey) -> Pair:
    """Make an image; its platforms are empty, for nobody looks into them."""
    store = Store(tmp_path / "store")
    layout = PublishedLayout(tmp_path / "oci", store=store)
    descriptors = []
    for architecture in ("amd64", "arm64"):
        config = store.put(architecture.encode())
        raw = canonical_json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MediaType.MANIFEST.value,
                "config": Descriptor(
                    media_type=MediaType.CONFIG, digest=config.digest, size=config.size
                ).to_dict(),
                "layers": [],
            }
        )
        blob = store.put(raw)
        descriptor = Descriptor(
            media_type=MediaType.MANIFEST,
            digest=blob.digest,
            size=blob.size,
            platform=Platform(os="freebsd", architecture=architecture),
        )
        layout.publish(f"{NAME}-{architecture}", descriptor, [config, blob])
        descriptors.append(descriptor)
    raw = ImageIndex(manifests=tuple(descriptors), annotations={}).to_bytes()
    store.put(raw)
    index = descriptor_of(raw, MediaType.INDEX)
    layout.publish(NAME, index, [Blob(digest=index.digest, size=index.size)])
    targets = [
        Target(name=NAME, descriptor=d, references=(IDENTITY,), epoch=1)
        for d in (index, *descriptors)
    ]
    return Pair(tmp_path, store, targets[0], tuple(targets[1:]), gpg)


def rows(pair: Pair) -> dict[str, Row]:
    source = PairSource(Layout(pair.folder / "oci"), pair.attest, NAME)
    keys = Keys(gpg=(), cosign=(SIGNER.public_key,))
    evidence = gather(source, PULLED, None)
    return {r.client: r for r in judge(evidence, keys, PULLED, attachments=True)}


# ---------------------------------------------------------------- who sees what


def test_everybody_sees_an_image_with_all_signatures(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.sign(*pair.targets)
    pair.sign_with_gpg(*pair.targets)
    assert pair.run_with_keys() == (0, dict.fromkeys(CLIENTS, True))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{IDENTITY}  {pair.index.digest}"
    assert lines[1].split() == ["index", "freebsd/amd64", "freebsd/arm64"]
    assert lines[2].split()[2:] == ["-", "signed", "signed"]
    assert lines[6].split()[2:] == ["signed", "signed", "signed"]
    assert not any(line.startswith("warning") for line in lines)


def test_nobody_sees_an_image_without_signatures(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pair.run_with_keys() == (1, dict.fromkeys(CLIENTS, False))
    assert "freebsd/arm64 is unsigned for podman, GPG and skopeo, GPG" in capsys.readouterr().out


def test_podman_does_not_look_at_the_index(pair: Pair) -> None:
    """Only the index signed: cosign is content with the tag, podman and skopeo refuse."""
    pair.sign(pair.index)
    pair.sign_with_gpg(pair.index)
    _, seen = pair.run_with_keys()
    assert not any(seen.values())
    cosign = rows(pair)["cosign 2"]
    assert [cell.answer for cell in cosign.cells] == ["signed", "unsigned", "unsigned"]
    assert rows(pair)["podman, sigstore"].cells[0].answer == "-"


def test_cosign_does_look_at_the_index(pair: Pair) -> None:
    """Only the platforms signed: the reverse."""
    pair.sign(*pair.platforms)
    pair.sign_with_gpg(*pair.platforms)
    status, seen = pair.run_with_keys()
    assert status == 1
    assert seen == {client: "cosign" not in client for client in CLIENTS}


def test_bundles_alone_are_not_what_podman_reads(pair: Pair) -> None:
    """What cosign 3 writes: signed for cosign 3, unsigned for everybody else."""
    pair.sign(*pair.targets)
    for name in list(pair.attest.references()):
        if name.endswith((".sig", ".att")):
            pair.attest.withdraw(name)
    _, seen = pair.run_with_keys()
    assert {client for client, signed in seen.items() if signed} == {"cosign 3"}


def test_without_bundles_cosign_3_sees_nothing(pair: Pair) -> None:
    pair.sign(*pair.targets)
    for name in list(pair.attest.references()):
        if name.endswith(".bundle.signature"):
            pair.attest.withdraw(name)
    cosign = rows(pair)["cosign 3"]
    assert not cosign.is_signed
    assert cosign.cells[0].reasons == ("no signature bundle",)


def test_a_registries_d_without_attachments_hides_sigstore(pair: Pair, tmp_path: Path) -> None:
    """The setting that is easily forgotten."""
    pair.sign(*pair.targets)
    pair.sign_with_gpg(*pair.targets)
    folder = tmp_path / "registries.d"
    folder.mkdir()
    (folder / "x.yaml").write_text(
        f"docker:\n  ghcr.io:\n    lookaside: file://{pair.folder}/lookaside\n"
    )
    _, seen = pair.run_with_keys("--registries-d", str(folder))
    assert seen == {client: "sigstore" not in client for client in CLIENTS}
    (folder / "x.yaml").write_text("docker:\n  ghcr.io:\n    lookaside: file:///nonexistent\n")
    _, seen = pair.run_with_keys("--registries-d", str(folder))
    assert not seen["podman, GPG"]


def test_another_name_is_refused_with_the_reason(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.sign(*pair.targets)
    status, seen = pair.run_with_keys("--as", "ghcr.io/freebsd/freebsd-static:latest")
    assert status == 1
    assert not seen["podman, sigstore"]
    assert seen["cosign 2"]
    assert f"signature says {IDENTITY!r}, pulled as ghcr.io/" in capsys.readouterr().out


def test_pulled_by_digest_only_the_repository_matters(pair: Pair) -> None:
    pair.sign(*pair.targets)
    pair.sign_with_gpg(*pair.targets)
    by_digest = f"ghcr.io/freebsd/freebsd-static@{pair.index.digest}"
    assert pair.run_with_keys("--as", by_digest)[0] == 0


def test_signatures_by_another_key_do_not_count(pair: Pair) -> None:
    pair.sign(*pair.targets, signer=TestSigner(7))
    _, seen = pair.run_with_keys()
    assert not any(seen.values())
    assert rows(pair)["cosign 2"].cells[0].reasons == ("signature: by another key",)


def test_a_good_signature_beside_a_bad_one_counts(pair: Pair) -> None:
    """As seen with skopeo."""
    pair.sign(*pair.targets)
    pair.sign_with_gpg(*pair.targets)
    for target in pair.targets:
        folder = pair.folder / "lookaside" / f"freebsd/freebsd-static@sha256={target.digest.hex}"
        shutil.move(folder / "signature-1", folder / "signature-2")
        (folder / "signature-1").write_bytes(b"nonsense")
    assert pair.run_with_keys()[0] == 0


def test_a_signature_of_another_manifest_does_not_count(pair: Pair) -> None:
    """Moved to where the client looks."""
    pair.sign(pair.platforms[1])
    names = pair.attest.references()
    other, own = (t.digest.hex for t in (pair.platforms[1], pair.platforms[0]))
    descriptor = names[f"freebsd-static:sha256-{other}.sig"]
    pair.attest.publish(f"freebsd-static:sha256-{own}.sig", descriptor, [])
    cells = {c.label: c for c in rows(pair)["podman, sigstore"].cells}
    assert cells["freebsd/arm64"].answer == "signed"
    assert cells["freebsd/amd64"].answer == "refused"
    assert "signature of another manifest" in cells["freebsd/amd64"].reasons[0]


def test_a_statement_about_another_manifest_does_not_count(pair: Pair) -> None:
    """Signed by our key, and attached to what it is not about."""
    about, attached_to = pair.platforms
    for kind in (PredicateType.SIGNATURE, PredicateType.SPDX):
        statement = Statement(
            subjects=(Subject(about.digest),), predicate_type=kind, predicate={}
        ).to_bytes()
        documents = attest(
            attached_to,
            [pair.store.put(statement)],
            Signatures(SIGNER, store=pair.store),
            store=pair.store,
        )
        publish(documents, layout=pair.attest)
    cell = rows(pair)["cosign 3"].cells[2]
    assert (cell.label, cell.answer) == ("freebsd/arm64", "refused")
    assert set(cell.reasons) == {"a statement about another manifest"}
    source = PairSource(Layout(pair.folder / "oci"), pair.attest, NAME)
    found = find_statements(gather(source, PULLED, None)[2], [SIGNER.public_key])
    assert found.legacy == found.bundles == ()
    assert set(found.problems) == {"statement: a statement about another manifest"}


def test_two_manifests_of_one_platform_are_judged_each(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unsigned manifest does not hide behind a signed one that claims the same platform."""
    pair.sign(*pair.targets)
    pair.sign_with_gpg(*pair.targets)
    signed = pair.platforms[0].descriptor
    foreign = json.loads(pair.store.read(signed.digest)) | {"annotations": {"foreign": "1"}}
    blob = pair.store.put(canonical_json.dumps(foreign))
    other = Descriptor(
        media_type=MediaType.MANIFEST, digest=blob.digest, size=blob.size, platform=signed.platform
    )
    manifests = (other, *(platform.descriptor for platform in pair.platforms))
    raw = ImageIndex(manifests=manifests, annotations={}).to_bytes()
    pair.store.put(raw)
    index = descriptor_of(raw, MediaType.INDEX)
    layout = PublishedLayout(pair.folder / "oci", store=pair.store)
    layout.publish(NAME, index, [blob, Blob(digest=index.digest, size=index.size)])
    pair.sign(Target(name=NAME, descriptor=index, references=(IDENTITY,), epoch=1))
    status, seen = pair.run_with_keys()
    assert (status, seen) == (1, dict.fromkeys(CLIENTS, False))
    labels = [cell.label for cell in rows(pair)["skopeo, sigstore"].cells]
    assert labels == [
        "index",
        f"freebsd/amd64 {other.digest.short}",
        f"freebsd/amd64 {signed.digest.short}",
        "freebsd/arm64",
    ]
    assert f"freebsd/amd64 {other.digest.short} is unsigned" in capsys.readouterr().out


def test_statements_are_counted_in_both_forms(pair: Pair) -> None:
    pair.sign(*pair.targets)
    source = PairSource(Layout(pair.folder / "oci"), pair.attest, NAME)
    for evidence in gather(source, PULLED, None):
        found = find_statements(evidence, [SIGNER.public_key])
        assert found.legacy == found.bundles == (PredicateType.SPDX,)
        assert found.problems == ()
        foreign = find_statements(evidence, [TestSigner(7).public_key])
        assert foreign.legacy == foreign.bundles == ()
        assert foreign.problems


# ---------------------------------------------------------------- policy, snippets, errors


def test_a_policy_is_judged_by_all_its_requirements(pair: Pair, tmp_path: Path) -> None:
    pair.sign(*pair.targets)
    (pair.folder / "key.pub").write_bytes(SIGNER.public_key.to_pem())
    (pair.folder / "key.gpg").write_bytes(pair.gpg.export())
    policy = tmp_path / "policy.json"
    requirements = [
        {"type": "sigstoreSigned", "keyPath": str(pair.folder / "key.pub")},
        {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(pair.folder / "key.gpg")},
    ]
    policy.write_text(
        json.dumps(
            {
                "default": [{"type": "reject"}],
                "transports": {"docker": {"ghcr.io/freebsd": requirements}},
            }
        )
    )
    arguments = ("--policy", str(policy), "--as", IDENTITY)
    status, result = pair.run(*arguments)
    assert status == 1
    assert {row["client"]: row["signed"] for row in result["clients"]} == {
        "podman, policy 1 sigstoreSigned": True,
        "skopeo, policy 1 sigstoreSigned": True,
        "podman, policy 2 signedBy": False,
        "skopeo, policy 2 signedBy": False,
    }
    pair.sign_with_gpg(*pair.targets)
    assert pair.run(*arguments)[0] == 0
    status, result = pair.run("--policy", str(policy), "--as", "quay.io/x/y:1")
    assert status == 1
    assert result["clients"][0]["manifests"]["freebsd/amd64"]["reasons"] == ["policy rejects it"]


@pytest.mark.parametrize(
    ("system", "root"),
    [("linux", "etc/containers"), ("freebsd", "usr/local/etc/containers")],
)
def test_snippets_are_for_the_paths_of_the_system(system: str, root: str) -> None:
    trust = Trust(
        scope="ghcr.io/freebsd", lookaside="https://sigs.example.org", gpg=b"G", cosign=b"C"
    )
    files = snippets(trust, system)
    assert set(files) == {
        f"{root}/policy.json",
        f"{root}/registries.d/ghcr-io-freebsd.yaml",
        f"{root}/keys/ghcr-io-freebsd.gpg",
        f"{root}/keys/ghcr-io-freebsd.pub",
    }
    policy = json.loads(files[f"{root}/policy.json"])
    assert policy["default"] == [{"type": "insecureAcceptAnything"}]
    assert policy["transports"]["docker"]["ghcr.io/freebsd"] == [
        {
            "type": "signedBy",
            "keyType": "GPGKeys",
            "keyPath": f"/{root}/keys/ghcr-io-freebsd.gpg",
        },
        {"type": "sigstoreSigned", "keyPath": f"/{root}/keys/ghcr-io-freebsd.pub"},
    ]
    assert files[f"{root}/registries.d/ghcr-io-freebsd.yaml"] == (
        b"docker:\n  ghcr.io/freebsd:\n    lookaside: https://sigs.example.org\n"
        b"    use-sigstore-attachments: true\n"
    )


def test_snippets_say_only_what_there_is_a_key_for() -> None:
    files = snippets(Trust(scope="x.org/y", lookaside="", gpg=None, cosign=b"C"), "linux")
    assert b"lookaside" not in files["etc/containers/registries.d/x-org-y.yaml"]
    assert b"signedBy" not in files["etc/containers/policy.json"]
    files = snippets(Trust(scope="x.org/y", lookaside="", gpg=b"G", cosign=None), "linux")
    assert files["etc/containers/registries.d/x-org-y.yaml"] == b"docker:\n  x.org/y: {}\n"


def test_the_command_writes_snippets(pair: Pair, tmp_path: Path) -> None:
    pair.run_with_keys("--snippets", str(tmp_path / "s"), "--lookaside-url", "https://s.example")
    policy = tmp_path / "s/freebsd/usr/local/etc/containers/policy.json"
    assert "ghcr.io/freebsd" in policy.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("oci:x:y",), "there is no key to judge by"),
        (("oci:x", "--policy", "p", "--as", "a.b/c:1"), "want oci:PATH:NAME"),
        (("oci:x:y", "--policy", "p"), "does not know under which name it is pulled"),
        (("oci:x:y", "--policy", "p", "--as", "A B"), "reference 'A B'"),
        (("oci:x:y", "--key", "/nonexistent", "--as", "a.b/c:1"), "public key /nonexistent"),
        (("oci:x:y", "--gpg-key", "/nonexistent", "--as", "a.b/c:1"), "/nonexistent: no such"),
        (("oci:x:y", "--policy", "p", "--as", "a.b/c:1"), "x: there is no such layout"),
    ],
)
def test_misuse_is_said_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        trust_command(*arguments)


def test_a_policy_that_is_not_there_is_said_in_one_line(pair: Pair) -> None:
    with pytest.raises(PipelineError, match=r"^/nonexistent: no such file or directory$"):
        pair.run("--policy", "/nonexistent", "--as", IDENTITY)


def test_a_name_without_a_tag_is_latest(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.run_with_keys("--as", "ghcr.io/freebsd/freebsd-static")
    assert capsys.readouterr().out.startswith("ghcr.io/freebsd/freebsd-static:latest  ")


def test_what_is_said_of_an_image_has_a_limit(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """All together; whoever may push may otherwise fill the memory of whoever verifies."""
    pair.sign(*pair.targets)
    monkeypatch.setattr("reproducibility.trust_evidence._MAX_TOTAL", 5000)
    with pytest.raises(FetchError, match="more than 5000 bytes of signatures and statements"):
        pair.run_with_keys()


def test_a_damaged_blob_is_not_believed(pair: Pair) -> None:
    pair.sign(*pair.targets)
    descriptor = pair.attest.references()[f"freebsd-static:sha256-{pair.index.digest.hex}.sig"]
    manifest = json.loads(pair.attest.path(descriptor.digest).read_bytes())
    victim = pair.attest.path(Digest.parse(manifest["layers"][0]["digest"]))
    victim.write_bytes(b"x" * victim.stat().st_size)
    with pytest.raises(DigestMismatchError):
        pair.run_with_keys()
