"""Stage `package`: an archive of the store is verified, unpacked once, and remembered."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import ArchiveError, DigestMismatchError
from pipeline.formats.mtree import Kind, parse_spec
from pipeline.host.store import Store
from pipeline.pkg import archive
from pipeline.pkg.archive import read_package
from pipeline.pkg.lockfile import LockedPackage
from pipeline.pkg.sum import Sum
from pipeline.stages import package as module
from pipeline.stages.package import PackageResult, recall_package, unpack_archive, unpack_package
from tests.archives import Item, Memory, package

if TYPE_CHECKING:
    from typing import BinaryIO

    from pipeline.formats.digest import Digest, Sink

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
RUNTIME = FIXTURES / "packages" / "FreeBSD-runtime-15.0.pkg"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the archives that were read."""
    names: list[str] = []

    def counting(
        source: BinaryIO, payload: Sink, *, size: int, what: str
    ) -> archive.PackageContents:
        names.append(what)
        return read_package(source, payload, size=size, what=what)

    monkeypatch.setattr(archive, "read_package", counting)
    return names


def locked(digest: Digest, name: str = "FreeBSD-runtime", version: str = "15.0") -> LockedPackage:
    return LockedPackage(
        name=name,
        version=version,
        origin="base",
        repository="base",
        repopath="x.pkg",
        digest=digest,
        size=1,
        sum=Sum.parse("0" * 64),
        manifestdigest="",
        flatsize=1,
    )


def test_a_package_becomes_a_spec_a_payload_and_its_manifest(store: Store) -> None:
    """All by digest; the spec names owners, the extents say where contents lie."""
    blob = store.put(RUNTIME.read_bytes())
    result = unpack_package(locked(blob.digest), store=store)
    payload = Memory()
    with RUNTIME.open("rb") as f:
        want = read_package(f, payload, size=blob.size, what="x")
    assert store.read(result.manifest.digest) == want.raw_manifest
    assert store.read(result.payload.digest) == bytes(payload)
    entries = parse_spec(store.read(result.spec.digest))
    assert entries == want.entries
    assert result.newest_mtime == want.newest_mtime == max(e.mtime for e in entries)
    where = {}
    for line in store.read(result.extents.digest).decode().splitlines():
        digest, offset, size = line.split()
        where[digest] = payload[int(offset) : int(offset) + int(size)]
    for e in entries:
        if e.kind is Kind.FILE:
            assert hashlib.sha256(where[e.digest]).hexdigest() == e.digest


def test_it_is_unpacked_once(store: Store, reads: Any) -> None:
    """Also for another process, another repository, another lock."""
    package_ = locked(store.put(RUNTIME.read_bytes()).digest)
    assert recall_package(package_, store=store) is None
    first = unpack_package(package_, store=store)
    for again in (store, Store(store.root)):
        assert unpack_package(package_, store=again) == first
        assert recall_package(package_, store=again) == first
    assert unpack_archive(package_.digest, name=package_.name, version="15.0", store=store) == first
    assert len(reads) == 1


@pytest.mark.parametrize("output", ["manifest", "spec", "payload", "extents"])
def test_a_damaged_output_is_made_again(output: str, store: Store, reads: Any) -> None:
    """Edited with its mtime restored: ctime tells."""
    package_ = locked(store.put(RUNTIME.read_bytes()).digest)
    result = unpack_package(package_, store=store)
    path = store.path(getattr(result, output).digest)
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as f:
        f.write(b"damage")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = Store(store.root)
    assert recall_package(package_, store=again) is None
    assert unpack_package(package_, store=again) == result
    assert len(reads) == 2
    assert all(again.verify(b.digest) for b in (result.spec, result.payload, result.extents))


def test_suspicion_hashes_everything(store: Store, reads: Any) -> None:
    """`audit` believes no earlier result."""
    package_ = locked(store.put(RUNTIME.read_bytes()).digest)
    result = unpack_package(package_, store=store)
    assert unpack_package(package_, store=Store(store.root), suspicious=True) == result
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("name", "version"), [("FreeBSD-runtime", "15.1"), ("FreeBSD-rc", "15.0"), ("x", "y")]
)
def test_a_package_that_is_another_than_the_lock_says_is_refused(
    name: str, version: str, store: Store
) -> None:
    """The catalogue lied, and the sum was that of the lie."""
    blob = store.put(RUNTIME.read_bytes())
    with pytest.raises(DigestMismatchError) as caught:
        unpack_package(locked(blob.digest, name, version), store=store)
    assert str(caught.value) == (
        f"archive of {name}-{version}: got a manifest of FreeBSD-runtime-15.0,"
        f" want {name}-{version}"
    )
    assert "do not use the repository" in str(caught.value.hint)
    assert [p.name for p in (store.root / "blobs/sha256").iterdir()] == [blob.digest.hex]


@pytest.mark.parametrize("name", ["wrong-sum.pkg", "missing-member.pkg", "truncated-zst.pkg"])
def test_nothing_is_left_of_a_hostile_package(name: str, store: Store) -> None:
    """No blob, no memo, no temporary file."""
    blob = store.put((FIXTURES / "hostile" / "packages" / name).read_bytes())
    with pytest.raises((ArchiveError, DigestMismatchError)):
        unpack_package(locked(blob.digest), store=store)
    left = [path for path in store.root.rglob("*") if path.is_file()]
    assert left == [store.path(blob.digest)]


@pytest.mark.parametrize("damage", [b"", b"another archive"])
def test_an_archive_is_believed_only_by_its_digest(damage: bytes, store: Store, reads: Any) -> None:
    """Somebody edited the store: not one byte is parsed, and the archive is fetched anew."""
    blob = store.put(RUNTIME.read_bytes())
    path = store.path(blob.digest)
    path.chmod(0o644)
    path.write_bytes(damage)
    with pytest.raises(DigestMismatchError) as caught:
        unpack_package(locked(blob.digest), store=store)
    assert str(caught.value) == (
        "archive of FreeBSD-runtime-15.0: got nothing of this digest in the store,"
        f" want {blob.digest}"
    )
    assert reads == []
    assert not store.has(blob.digest)


def test_two_packages_with_the_same_content_share_the_payload(store: Store) -> None:
    """Blobs are by digest."""
    results = []
    for version in ("1", "2"):
        data = package([Item(path="/a", content=b"same")], version=version)
        blob = store.put(data)
        results.append(unpack_archive(blob.digest, name="p", version=version, store=store))
    one, two = results
    assert isinstance(one, PackageResult)
    assert (one.payload, one.extents, one.spec) == (two.payload, two.extents, two.spec)
    assert one.manifest != two.manifest


def test_a_new_version_of_the_code_unpacks_anew(
    store: Store, reads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is one of the inputs."""
    package_ = locked(store.put(RUNTIME.read_bytes()).digest)
    result = unpack_package(package_, store=store)
    monkeypatch.setattr(module, "code_digest", lambda: "another version")
    assert unpack_package(package_, store=store) == result
    assert len(reads) == 2
