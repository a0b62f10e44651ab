"""What somebody does who has only an image's digest: real processes, a real registry, real clients.

One image is published with all that belongs to it; everything else is a way to tamper with that.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from pipeline.host.registry import Registry
from reproducibility.machine import Isolation
from reproducibility.verify_build import isolation
from tests.attest.signers import TestSigner
from tests.built_images import Workshop
from tests.host.loopback import serve
from tests.registry_programs import docker_registry
from tests.reproducibility.publication import Publication, flip
from tests.reproducibility.shop import REPOSITORIES, VARIABLES, Auditor, Shop
from tests.tasks.project import ROOT
from tests.trust_tools import call, trixie

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.slow

PUBLISHER = TestSigner(1)
STRANGER = TestSigner(2)
ZONES = b"usr/share/zoneinfo/zone.tab"
VSA = "https://slsa.dev/verification_summary/v1"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    workshop = Workshop.embedded(folder / "store")
    with docker_registry(folder / "registry") as host:
        (folder / "publisher.pub").write_bytes(PUBLISHER.public_key.to_pem())
        yield Shop(host, Publication(folder / "published", workshop), folder)


@pytest.fixture(scope="module")
def index(shop: Shop) -> str:
    """A signed image for two platforms, with its lock."""
    theirs = shop.theirs
    name = theirs.index()
    own = theirs.workshop
    theirs.lock(name, "15.0:static")
    theirs.lock("freebsd-static:15.0-amd64", "15.0:amd64:static")
    theirs.sign(name, PUBLISHER)
    theirs.vouch(name, PUBLISHER, own.raw_declaration, own.raw_lock)
    return shop.send(name, "static")


@pytest.fixture
def auditor(shop: Shop, tmp_path: Path) -> Auditor:
    here = tmp_path / "empty"
    here.mkdir()
    return Auditor(here, shop)


def files(auditor: Auditor) -> list[str]:
    return sorted(p.name for p in auditor.here.iterdir())


# ---------------------------------------------------------------- it is what it claims to be


def test_a_digest_is_enough(auditor: Auditor, index: str) -> None:
    key = ("--key", auditor.shop.publisher, "--require-signature")
    done = auditor.verify(index, *key, "--json", "result.json")
    assert done.status == 0, done.out + done.err
    assert done.out.startswith(f"✓ Reproduced: bit for bit  {index}\n")
    assert "named by a signed provenance" in done.out
    assert "signed: by the key that was named" in done.out
    assert "served: 6 blobs, 66.2 kB, each is what its digest says" in done.out
    assert files(auditor) == ["result.json"], "nothing is left behind"
    result = json.loads((auditor.here / "result.json").read_bytes())
    assert [part["label"] for part in result["parts"]] == [
        "index",
        "freebsd/amd64",
        "freebsd/arm64",
    ]
    assert all(part["digest"] == part["built"] for part in result["parts"])


def test_nothing_but_a_digest_where_the_lock_names_public_repositories(auditor: Auditor) -> None:
    """By way of a proxy, since no test goes out; the packages' catalogue is asked as well."""
    shop = auditor.shop.fresh("public")
    own = shop.theirs.workshop
    old, new = b"file:fixtures/miniature/repositories/", b"http://pkg.example.org/"
    name = shop.theirs.image()
    shop.theirs.lock(
        name,
        declaration=own.raw_declaration.replace(old, new),
        lock=own.raw_lock.replace(old, new),
    )
    image = shop.send(name, "public")
    with serve() as proxy:
        for path in sorted(p for p in REPOSITORIES.rglob("*") if p.is_file()):
            url = f"{new.decode()}{path.relative_to(REPOSITORIES)}"
            proxy.files[url] = path.read_bytes()
        keys = f"FreeBSD-base={ROOT}/fixtures/miniature/keys/pkgbase"
        done = auditor.run(
            *("verify", image, "--fingerprints", keys),
            http_proxy=proxy.url,
            no_proxy="127.0.0.1",
        )
    assert done.status == 0, done.out + done.err
    assert "4 packages of pkg.example.org" in done.out
    assert "packages: 4 of FreeBSD-base 15.0:amd64, all in the catalogue that" in done.out
    assert f"asked: {shop.host}, pkg.example.org" in done.out


def test_a_tag_is_looked_up_once_and_said(auditor: Auditor, index: str) -> None:
    name = index.replace("@", ":15.0@").rpartition("@")[0]
    done = auditor.verify(name, "--platform", "freebsd/amd64")
    assert done.status == 0
    assert f"{name} is {index.rpartition('@')[2]} now" in done.out


def test_a_build_is_alone_where_the_machine_lets_it(auditor: Auditor, index: str) -> None:
    done = auditor.verify(index)
    assert ("this machine has no namespaces" in done.out) is (isolation() is Isolation.NONE)


def test_rebuilders_sign_and_a_policy_counts_them(auditor: Auditor, index: str) -> None:
    """One keeps it beside the image, one in a repository of his own; one is not enough."""
    shop = auditor.shop
    anna = ("--attest", "--signing-key", str(shop.key("anna")))
    assert auditor.verify(index, *anna, "--push", "--output", "anna.json").status == 0
    (auditor.here / "policy.toml").write_text(
        "format = 1\nthreshold = 2\n"
        f'[[rebuilders]]\nname = "anna"\nkey = "{shop.folder}/anna.pub"\n'
        f'[[rebuilders]]\nname = "ben"\nkey = "{shop.folder}/ben.pub"\n'
        f'[publisher]\nkey = "{shop.publisher}"\n'
    )
    ben = ("--attest", "--signing-key", str(shop.key("ben")))
    ask = ("policy", index, "--policy", "policy.toml")
    done = auditor.run(*ask)
    assert done.status == 1
    assert "reproduced by 1 of 2 rebuilders, 2 needed" in done.out
    elsewhere = f"{shop.host}/ben/statements"
    assert auditor.verify(index, *ben, "--push", elsewhere).status == 0
    assert auditor.run(*ask).status == 1
    done = auditor.run(*ask, "--attestations", elsewhere)
    assert done.status == 0, done.out
    assert done.out.startswith(f"✓ Accepted  {index}\n")


def test_cosign_verifies_what_a_rebuilder_has_signed(auditor: Auditor, index: str) -> None:
    """As a statement that refers to the image, and as a file; and not by another key."""
    shop = auditor.shop
    arguments = ("--attest", "--signing-key", str(shop.key("cleo")))
    done = auditor.verify(index, *arguments, "--push", "--output", "cleo.json")
    assert done.status == 0
    root = auditor.here / "root.json"
    assert call(*trixie("cosign"), "trusted-root", "create", "--out", str(root)).status == 0
    offline = ("--new-bundle-format", "--trusted-root", str(root), "--insecure-ignore-tlog")
    manifest = auditor.here / "manifest.json"
    manifest.write_bytes(shop.theirs.store.read(shop.theirs.names["freebsd-static:15.0"].digest))
    shop.key("stranger")
    for name, is_believed in (("cleo", True), ("stranger", False)):
        key = ("--key", str(shop.folder / f"{name}.pub"), "--type", VSA)
        common = (*offline, *key)
        env = {"HOME": str(auditor.here)}
        attached = call(
            *(*trixie("cosign"), "verify-attestation", *common, "--allow-http-registry", index),
            env=env,
        )
        assert (attached.status == 0) is is_believed, attached.text
        blob = call(
            *(*trixie("cosign"), "verify-blob-attestation", *common),
            *("--bundle", str(auditor.here / "cleo.json"), str(manifest)),
            env=env,
        )
        assert (blob.status == 0) is is_believed, blob.text


# ---------------------------------------------------------------- it is not


def test_one_byte_of_a_layer_is_found_and_explained(auditor: Auditor) -> None:
    shop = auditor.shop.fresh("altered")
    theirs = shop.theirs
    name = theirs.altered(theirs.image(), flip(ZONES))
    theirs.lock(name)
    done = auditor.verify(shop.send(name, "altered"), "--report", "report")
    assert done.status == 1
    assert done.out.startswith("≠ Different")
    assert "usr/share/zoneinfo/zone.tab" in done.out
    assert "FreeBSD-zoneinfo" in done.out
    assert (auditor.here / "report/index.html").is_file()
    assert files(auditor) == ["report"]


def test_other_bytes_under_the_right_digest(auditor: Auditor) -> None:
    """The registry, or its disk, gives something else than the digest says."""
    shop = auditor.shop.fresh("damaged")
    name = shop.theirs.image("14.3:amd64:static")
    shop.theirs.lock(name, "14.3:amd64:static")
    image = shop.send(name, "damaged")
    manifest = json.loads(shop.theirs.store.read(shop.theirs.names[name].digest))
    layer = manifest["layers"][1]["digest"]
    path = shop.blob(type(shop.theirs.names[name].digest).parse(layer))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    done = auditor.verify(image)
    assert done.status == 1
    assert "the digest is reproduced, and other bytes are served for it" in done.out
    path.unlink()
    done = auditor.verify(image)
    assert done.status == 2
    assert "not all that belongs to it could be read" in done.out


def test_the_lock_of_another_image(auditor: Auditor) -> None:
    shop = auditor.shop.fresh("other")
    name = shop.theirs.image()
    shop.theirs.lock(name, "15.0:amd64:dynamic")
    arguments = ("--attest", "--signing-key", str(shop.key("anna")), "--output", "a.json")
    done = auditor.verify(shop.send(name, "other"), *arguments)
    assert done.status == 1
    assert "this may be the lock of another image" in done.out
    assert "not attested: it is different, but anybody can attach a lock" in done.err
    assert files(auditor) == []


def test_no_lock(auditor: Auditor) -> None:
    shop = auditor.shop.fresh("bare")
    done = auditor.verify(shop.send(shop.theirs.image(), "bare"))
    assert done.status == 2
    assert "no lock is attached to it, so there is nothing to rebuild it from\n  hint: " in done.out


# ---------------------------------------------------------------- signatures


def test_the_key_of_somebody_else(auditor: Auditor, index: str) -> None:
    """It is reproduced all the same, and said; where a signature is required it is a no."""
    (auditor.here / "other.pub").write_bytes(STRANGER.public_key.to_pem())
    done = auditor.verify(index, "--key", "other.pub")
    assert done.status == 0
    assert "signed: not by the key that was named" in done.out
    done = auditor.verify(index, "--key", "other.pub", "--require-signature")
    assert done.status == 1
    assert done.out.startswith("✗ Not signed by the key that was named")


def test_the_signature_of_another_image(auditor: Auditor) -> None:
    """Moved under this one's tag: a signature says which digest it is of."""
    shop = auditor.shop.fresh("moved")
    theirs = shop.theirs
    name = theirs.image()
    theirs.lock(name)
    other = theirs.image("15.0:aarch64:static")
    theirs.sign(other, PUBLISHER)
    image = shop.send(name, "moved")
    shop.send(other, "moved")
    repository = Registry(shop.host).repository("fb/moved", writable=True)
    tags = [f"sha256-{theirs.names[n].digest.hex}.sig" for n in (other, name)]
    signature = repository.manifest(tags[0])
    repository.put_manifest(signature, tag=tags[1])
    done = auditor.verify(image, "--key", shop.publisher, "--require-signature")
    assert done.status == 1
    assert done.out.startswith("✗ Not signed by the key that was named")


# ---------------------------------------------------------------- packages


def test_packages_that_are_gone(auditor: Auditor, index: str) -> None:
    mirror = auditor.here / "mirror"
    shutil.copytree(REPOSITORIES, mirror)
    for path in mirror.rglob("FreeBSD-zoneinfo*"):
        path.unlink()
    done = auditor.verify(index, mirror=f"{mirror}/{VARIABLES}")
    assert done.status == 2
    assert "gone from the repository: FreeBSD-zoneinfo-15.0" in done.out
    assert "  hint: name a mirror that has what the lock pins: --repository FreeBSD-base=URL" in (
        done.out
    )


def test_other_packages_under_the_same_names(auditor: Auditor, index: str) -> None:
    """Over HTTP, of the same length: the lock's digest is what counts."""
    with serve() as server:
        for path in sorted(p for p in REPOSITORIES.rglob("*") if p.is_file()):
            data = path.read_bytes()
            if path.name.startswith("FreeBSD-zoneinfo"):
                data = data[:-1] + b"x"
            server.files[f"/{path.relative_to(REPOSITORIES)}"] = data
        done = auditor.verify(index, mirror=f"{server.url}/{VARIABLES}")
    assert done.status == 2
    assert "another file under the same name: FreeBSD-zoneinfo-15.0" in done.out


def test_a_lock_that_leads_into_this_machine(auditor: Auditor, index: str) -> None:
    """The embedded one has a relative directory: whose?"""
    done = auditor.run("verify", index)
    assert done.status == 2
    assert "repository FreeBSD-base: is the directory 'fixtures/miniature" in done.out
    assert "--repository FreeBSD-base=URL" in done.out


# ---------------------------------------------------------------- time


def test_a_build_that_takes_too_long_is_ended(auditor: Auditor, index: str) -> None:
    done = auditor.verify(index, "--timeout", "0.05")
    assert done.status == 2
    assert "was stopped: not ready after 0.05 s\n  hint: allow more: --timeout" in done.out
