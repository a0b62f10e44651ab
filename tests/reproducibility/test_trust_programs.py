"""Real skopeo, podman and cosign accept what we sign and refuse everything else; `trust` agrees."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from pipeline.attest.cosign import signature_tag
from pipeline.attest.simple_signing import lookaside_directory
from pipeline.formats import canonical_json
from pipeline.host.keys import main as keys_main
from pipeline.host.registry_manifest import Manifest
from tests.programs import require_program
from tests.registry_programs import docker_registry, podman
from tests.tasks.project import embedded
from tests.trust_tools import (
    PASSWORD,
    GpgKey,
    Published,
    Said,
    call,
    copy_manifest,
    gpg_home,
    gpg_requirement,
    make_gpg_key,
    sign_and_push,
    sigstore_requirement,
    trixie,
    trixie_podman,
    trust_command,
    write_policy,
    write_registries,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline.formats.digest import Digest

pytestmark = pytest.mark.slow

STATIC = "fb/freebsd-static"
OTHER = "fb/freebsd-dynamic"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Build, sign and push static and dynamic of 15.0."""
    folder = tmp_path_factory.mktemp("trust")
    with pytest.MonkeyPatch.context() as patch, gpg_home() as home:
        patch.setenv("COSIGN_PASSWORD", PASSWORD)
        key = make_gpg_key(home)
        assert keys_main(["generate", str(folder / "cosign")]) == 0
        project = embedded(folder / "p")
        with docker_registry(folder / "registry") as host:
            digests = sign_and_push(
                project,
                host,
                key=folder / "cosign.key",
                gpg=key,
                release="15.0",
                images=("static", "dynamic"),
            )
            yield Published(
                host=host,
                project=project,
                lookaside=project.path / "build/lookaside",
                key=folder / "cosign.key",
                gpg=key,
                folder=folder,
                digests=digests,
            )


# ---------------------------------------------------------------- what happens to an image


@dataclass(frozen=True)
class Case:
    """An image as somebody finds it, and whom he trusts."""

    published: Published
    path: str
    tag: str
    lookaside: Path
    gpg_key: Path
    public_key: Path
    folder: Path

    @property
    def reference(self) -> str:
        return f"{self.published.host}/{self.path}:{self.tag}"


def _instances(manifest: Manifest) -> list[Digest]:
    return [d.digest for d in manifest.manifests]


def _with_signatures_of(case: Case, signed: list[Digest], path: str, now: list[Digest]) -> None:
    """Put the signatures of some manifests of one repository where those of others belong."""
    source = case.published.repository(path)
    target = case.published.repository(case.path)
    for old, new in zip(signed, now, strict=True):
        copy_manifest(source, signature_tag(old), target, signature_tag(new))
        folder = case.lookaside / lookaside_directory(case.path, new)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(case.lookaside / lookaside_directory(path, old), folder)


def _unsigned(case: Case) -> Case:
    """The image, without signatures."""
    source = case.published.repository(STATIC)
    target = case.published.repository("fb/unsigned")
    index = source.manifest("15.0")
    for digest in _instances(index):
        copy_manifest(source, digest, target, "x")
    target.put_manifest(index, tag="15.0")
    return replace(case, path="fb/unsigned")


def _other_keys(case: Case) -> Case:
    """Signed, but by keys that nobody trusts."""
    with gpg_home() as home:
        key: GpgKey = make_gpg_key(home)
        (case.folder / "other.gpg").write_bytes(key.export())
    assert keys_main(["generate", str(case.folder / "other")]) == 0
    return replace(case, gpg_key=case.folder / "other.gpg", public_key=case.folder / "other.pub")


def _altered(case: Case) -> Case:
    """Altered after it was signed, with the signatures of what it was."""
    source = case.published.repository(STATIC)
    case = replace(case, path="fb/freebsd-static-altered")
    target = case.published.repository(case.path)
    index = source.manifest("15.0")
    altered = []
    document = canonical_json.loads_object(index.raw)
    entries = document["manifests"]
    assert isinstance(entries, list)
    for entry, digest in zip(entries, _instances(index), strict=True):
        copy_manifest(source, digest, target, "x")
        d = canonical_json.loads_object(source.manifest(digest).raw)
        raw = canonical_json.dumps({**d, "annotations": {"altered": "yes"}})
        manifest = Manifest.parse(raw)
        target.put_manifest(manifest)
        altered.append(manifest.digest)
        entry.update(digest=str(manifest.digest), size=len(raw))
    new = Manifest.parse(canonical_json.dumps(document))
    target.put_manifest(new, tag="15.0")
    _with_signatures_of(case, [index.digest, *_instances(index)], STATIC, [new.digest, *altered])
    return case


def _of_another_image(case: Case) -> Case:
    """With the good signatures of another image."""
    unsigned = _unsigned(case)
    target = case.published.repository("fb/unsigned")
    copied = replace(unsigned, path="fb/swapped")
    swapped = case.published.repository(copied.path)
    index = target.manifest("15.0")
    for digest in _instances(index):
        copy_manifest(target, digest, swapped, "x")
    swapped.put_manifest(index, tag="15.0")
    other = case.published.repository(OTHER).manifest("15.0")
    _with_signatures_of(
        copied,
        [other.digest, *_instances(other)],
        OTHER,
        [index.digest, *_instances(index)],
    )
    return copied


def _other_name(case: Case) -> Case:
    """The right image with its own signatures, under another name."""
    source = case.published.repository(STATIC)
    index = source.manifest("15.0")
    case = replace(case, path="fb/freebsd-runtime")
    target = case.published.repository(case.path)
    for digest in _instances(index):
        copy_manifest(source, digest, target, "x")
    target.put_manifest(index, tag="15.0")
    digests = [index.digest, *_instances(index)]
    _with_signatures_of(case, digests, STATIC, digests)
    return case


def _other_tag(case: Case) -> Case:
    """The right image with its own signatures, under the tag of another release."""
    source = case.published.repository(STATIC)
    source.put_manifest(source.manifest("15.0"), tag="14.3")
    return replace(case, tag="14.3")


def _as_it_is(case: Case) -> Case:
    return case


CASES: dict[str, tuple[Callable[[Case], Case], bool]] = {
    "as it is": (_as_it_is, True),
    "unsigned": (_unsigned, False),
    "another key": (_other_keys, False),
    "altered": (_altered, False),
    "signature of another image": (_of_another_image, False),
    "another name": (_other_name, False),
    "another tag": (_other_tag, False),
}
COSIGN_ACCEPTS = {"as it is", "another name", "another tag"}
"""cosign compares digests, not names."""


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Case, bool]:
    name: str = request.param
    folder = tmp_path_factory.mktemp("case")
    plain = Case(
        published=published,
        path=STATIC,
        tag="15.0",
        lookaside=published.lookaside,
        gpg_key=published.gpg_file(),
        public_key=published.public_key,
        folder=folder,
    )
    change, is_accepted = CASES[name]
    return name, change(plain), is_accepted


# ---------------------------------------------------------------- the programs


def skopeo_copy(program: list[str], case: Case, requirement: dict[str, object]) -> Said:
    target = case.folder / "copy"
    shutil.rmtree(target, ignore_errors=True)
    policy = write_policy(case.folder / "policy.json", case.published.host, requirement)
    registries = write_registries(case.folder / "registries.d", case.published.host, case.lookaside)
    return call(
        *(*program, "--registries.d", str(registries), "--policy", str(policy)),
        *("copy", "--all", "--src-tls-verify=false"),
        *(f"docker://{case.reference}", f"dir:{target}"),
    )


def check(said: Said, *, accepted: bool) -> None:
    """A refusal has to be one, not some other failure."""
    assert (said.status == 0) is accepted, said.text
    if not accepted:
        assert "Source image rejected" in said.text


def test_debians_skopeo_enforces_our_gpg_key(case: tuple[str, Case, bool]) -> None:
    _, image, accepted = case
    said = skopeo_copy([require_program("skopeo")], image, gpg_requirement(image.gpg_key))
    check(said, accepted=accepted)


def test_a_newer_skopeo_enforces_our_gpg_key(case: tuple[str, Case, bool]) -> None:
    _, image, accepted = case
    said = skopeo_copy(trixie("skopeo"), image, gpg_requirement(image.gpg_key))
    check(said, accepted=accepted)


def test_a_newer_skopeo_enforces_our_sigstore_key(case: tuple[str, Case, bool]) -> None:
    _, image, accepted = case
    said = skopeo_copy(trixie("skopeo"), image, sigstore_requirement(image.public_key))
    check(said, accepted=accepted)


def test_podman_enforces_our_gpg_key(
    case: tuple[str, Case, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman has no option for registries.d; it looks below HOME first."""
    _, image, accepted = case
    policy = write_policy(
        image.folder / "podman.json", image.published.host, gpg_requirement(image.gpg_key)
    )
    home = image.folder / "home"
    write_registries(
        home / ".config/containers/registries.d", image.published.host, image.lookaside
    )
    monkeypatch.setenv("HOME", str(home))
    with podman() as own:
        for architecture in ("amd64", "arm64"):
            done = own(
                *("pull", "--signature-policy", str(policy), "--tls-verify=false"),
                *("--os", "freebsd", "--arch", architecture, image.reference),
                check=False,
            )
            assert ("Source image rejected" in done) is not accepted, done
            assert ("Error" in done) is not accepted, done


def test_a_newer_podman_enforces_our_sigstore_key(
    case: tuple[str, Case, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one platform, as podman pulls it."""
    _, image, accepted = case
    requirement = sigstore_requirement(image.public_key)
    policy = write_policy(image.folder / "podman5.json", image.published.host, requirement)
    home = image.folder / "home"
    write_registries(
        home / ".config/containers/registries.d", image.published.host, image.lookaside
    )
    monkeypatch.setenv("HOME", str(home))
    with trixie_podman() as program:
        said = call(
            *(*program, "pull", "--signature-policy", str(policy), "--tls-verify=false"),
            *("--os", "freebsd", "--arch", "arm64", image.reference),
        )
    check(said, accepted=accepted)


def cosign(command: str, image: Case, *arguments: str) -> Said:
    return call(
        *(*trixie("cosign"), command, "--key", str(image.public_key)),
        *("--insecure-ignore-tlog", "--allow-http-registry", *arguments, image.reference),
        env={"HOME": str(image.folder)},
    )


def test_cosign_verifies_the_signature_under_the_tag(case: tuple[str, Case, bool]) -> None:
    """It does not compare names: only podman and skopeo refuse an image under another one."""
    name, image, _ = case
    said = cosign("verify", image)
    assert (said.status == 0) is (name in COSIGN_ACCEPTS), said.text


def trust(case: Case, result: Path) -> int:
    registries = write_registries(case.folder / "registries.d", case.published.host, case.lookaside)
    return trust_command(
        *(case.reference, "--registries-d", str(registries)),
        *("--gpg-key", str(case.gpg_key), "--key", str(case.public_key)),
        *("--json", str(result)),
    )


def test_trust_sees_what_the_programs_see(
    case: tuple[str, Case, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    """The emulation gives the answers that the tests above expect of the programs."""
    name, image, accepted = case
    status = trust(image, image.folder / "trust.json")
    found = {
        row["client"]: row["signed"]
        for row in json.loads((image.folder / "trust.json").read_bytes())["clients"]
    }
    for client in ("podman, GPG", "skopeo, GPG", "podman, sigstore", "skopeo, sigstore"):
        assert found[client] is accepted, capsys.readouterr().out
    assert found["cosign 2"] is (name in COSIGN_ACCEPTS)
    assert status == (0 if all(found.values()) else 1)


# ---------------------------------------------------------------- statements


@pytest.fixture(scope="module")
def trusted_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty root: enough for keys, and nothing is fetched."""
    path = tmp_path_factory.mktemp("root") / "root.json"
    said = call(*trixie("cosign"), "trusted-root", "create", "--out", str(path))
    assert said.status == 0, said.text
    return path


KINDS = {
    "https://spdx.dev/Document": True,
    "https://cyclonedx.org/bom": True,
    "https://slsa.dev/provenance/v1": True,
    "spdxjson": True,
    "cyclonedx": True,
    "slsaprovenance1": True,
    "https://openvex.dev/ns": False,
}


@pytest.fixture
def image(published: Published, tmp_path: Path) -> Case:
    return Case(
        published=published,
        path=STATIC,
        tag="15.0",
        lookaside=published.lookaside,
        gpg_key=published.gpg_file(),
        public_key=published.public_key,
        folder=tmp_path,
    )


def _of_platform(image: Case) -> str:
    digest = image.published.digests["freebsd-static:15.0-amd64"]
    return f"{image.published.host}/{STATIC}@{digest}"


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_finds_statements_of_a_platform(image: Case, kind: str, trusted_root: Path) -> None:
    """Under the tag `.att`, and as bundles that refer to the manifest."""
    common = [
        *(*trixie("cosign"), "verify-attestation", "--key", str(image.public_key)),
        *("--type", kind, "--insecure-ignore-tlog", "--allow-http-registry"),
    ]
    legacy = call(*common, _of_platform(image), env={"HOME": str(image.folder)})
    assert (legacy.status == 0) is KINDS[kind], legacy.text
    bundle = call(
        *(*common, "--new-bundle-format", "--trusted-root", str(trusted_root)),
        _of_platform(image),
        env={"HOME": str(image.folder)},
    )
    assert (bundle.status == 0) is KINDS[kind], bundle.text


def test_cosign_finds_the_signature_bundle(image: Case, trusted_root: Path) -> None:
    """Cosign 2.5 verifies it as a statement; `cosign verify` of that version reads only `.sig`."""
    arguments = [
        *("--type", "https://sigstore.dev/cosign/sign/v1"),
        *("--new-bundle-format", "--trusted-root", str(trusted_root)),
    ]
    assert cosign("verify-attestation", image, *arguments).status == 0
    assert keys_main(["generate", str(image.folder / "other")]) == 0
    other = replace(image, public_key=image.folder / "other.pub")
    assert cosign("verify-attestation", other, *arguments).status == 1


def test_cosign_finds_the_provenance_of_the_index_by_its_tag(image: Case) -> None:
    assert cosign("verify-attestation", image, "--type", "slsaprovenance1").status == 0


def test_oras_shows_every_artifact_by_its_type(image: Case) -> None:
    said = call(*trixie("oras"), "discover", "--plain-http", _of_platform(image))
    for kind in (
        "application/vnd.pkgbase-oci.lock.v1",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/spdx+json",
        "application/vnd.cyclonedx+json",
    ):
        assert kind in said.text


def test_oras_fetches_the_files_to_rebuild_an_image_from(image: Case) -> None:
    """What anybody does who has only the digest."""
    referrers = json.loads(
        call(
            *(*trixie("oras"), "discover", "--plain-http", "--format", "json"),
            *("--artifact-type", "application/vnd.pkgbase-oci.lock.v1", _of_platform(image)),
        ).text
    )
    (lock,) = referrers["manifests"]
    assert lock["annotations"]["org.pkgbase-oci.target"] == "15.0:amd64:static"
    said = call(
        *(*trixie("oras"), "pull", "--plain-http", "-o", str(image.folder / "sources")),
        lock["reference"],
    )
    assert said.status == 0, said.text
    for name in ("images.toml", "images.lock.json"):
        got = (image.folder / "sources" / name).read_bytes()
        assert got == (image.published.project.path / name).read_bytes()


def test_a_key_of_ours_signs_with_cosign(image: Case, tmp_path: Path) -> None:
    """The encrypted form is cosign's own, for every kind of key."""
    for kind in ("ecdsa", "ed25519", "rsa"):
        prefix = tmp_path / kind
        assert keys_main(["generate", str(prefix), "--type", kind]) == 0
        blob = tmp_path / "blob"
        blob.write_bytes(b"some bytes")
        signature = tmp_path / f"{kind}.sig"
        signed = call(
            *(*trixie("cosign"), "sign-blob", "--key", f"{prefix}.key", "--tlog-upload=false"),
            *("--yes", "--output-signature", str(signature), str(blob)),
            env={"HOME": str(tmp_path), "COSIGN_PASSWORD": PASSWORD},
        )
        assert signed.status == 0, signed.text
        verified = call(
            *(*trixie("cosign"), "verify-blob", "--key", f"{prefix}.pub"),
            *("--insecure-ignore-tlog", "--signature", str(signature), str(blob)),
            env={"HOME": str(tmp_path)},
        )
        assert verified.status == 0, verified.text


def test_skopeo_signs_with_a_key_of_ours(published: Published, tmp_path: Path) -> None:
    """Skopeo reads the encrypted key, and its signature passes our judgement."""
    registries = write_registries(tmp_path / "r", published.host, tmp_path / "none")
    (tmp_path / "password").write_text(PASSWORD)
    target = f"{published.host}/fb/signed-by-skopeo:15.0"
    said = call(
        *(*trixie("skopeo"), "--registries.d", str(registries), "copy", "--all"),
        *("--preserve-digests", "--dest-tls-verify=false"),
        *("--sign-by-sigstore-private-key", str(published.key)),
        *("--sign-passphrase-file", str(tmp_path / "password")),
        f"oci:{published.project.output}:freebsd-static:15.0",
        f"docker://{target}",
    )
    assert said.status == 0, said.text
    result = tmp_path / "t.json"
    trust_command(target, "--key", str(published.public_key), "--json", str(result))
    rows = json.loads(result.read_bytes())["clients"]
    signed = {row["client"]: row["signed"] for row in rows}
    assert signed == {
        "podman, sigstore": True,
        "skopeo, sigstore": True,
        "cosign 2": True,
        "cosign 3": False,
    }


def test_settings_that_trust_writes_make_skopeo_enforce(image: Case, tmp_path: Path) -> None:
    """The files are used as they are, below another root."""
    status = trust_command(
        *(image.reference, "--lookaside", str(image.lookaside)),
        *("--gpg-key", str(image.gpg_key), "--key", str(image.public_key)),
        *("--snippets", str(tmp_path / "s"), "--lookaside-url", image.lookaside.as_uri()),
    )
    assert status == 0
    for system, root in (("linux", "etc/containers"), ("freebsd", "usr/local/etc/containers")):
        base = tmp_path / "s" / system / root
        policy = base / "policy.json"
        policy.write_text(policy.read_text().replace(f'"/{root}', f'"{base}'))
        for path, accepted in ((STATIC, True), ("fb/unsigned", False)):
            said = call(
                *(*trixie("skopeo"), "--registries.d", str(base / "registries.d")),
                *("--policy", str(policy), "copy", "--all", "--src-tls-verify=false"),
                *(f"docker://{image.published.host}/{path}:15.0", f"dir:{tmp_path}/{system}"),
            )
            assert (said.status == 0) is accepted, said.text


def test_nothing_secret_is_in_the_project(published: Published) -> None:
    """Neither in the store nor in what is published nor in doit's record."""
    secrets = [PASSWORD.encode(), published.key.read_bytes()[100:164]]
    files = [p for p in published.project.path.rglob("*") if p.is_file() and not p.is_symlink()]
    assert len(files) > 100
    for path in files:
        data = path.read_bytes()
        assert not any(secret in data for secret in secrets), path
