"""Stage `layer`: from a spec and the packages' payloads to a compressed layer, in one pass."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pipeline.declaration.tables import Compression
from pipeline.formats import tar
from pipeline.formats.decompression import open_decompressed
from pipeline.formats.digest import CHUNK, Digest
from pipeline.formats.mtree import Entry, Kind, parse_spec, to_spec
from pipeline.host.store import Blob, Store
from pipeline.oci.layer import write_layer
from pipeline.stages import content as content_module
from pipeline.stages.content import ContentSource
from pipeline.stages.layer import LayerResult, build_layer, recall_layer
from pipeline.stages.package import PackageResult, unpack_archive
from tests.archives import Item, Memory, package, text

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = Path(__file__).resolve().parents[2] / "fixtures" / "packages"
ALGORITHMS = ["zstd", "gzip", "none"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def unpacked(store: Store, name: str, version: str = "15.0") -> PackageResult:
    archive = store.put((PACKAGES / f"{name}-{version}.pkg").read_bytes())
    return unpack_archive(archive.digest, name=name, version=version, store=store)


def entries_of(store: Store, package_: PackageResult) -> list[Entry]:
    entries = parse_spec(store.read(package_.spec.digest))
    return [replace(e, user=0, group=0) for e in entries]


@pytest.fixture
def sample(store: Store) -> tuple[Blob, list[PackageResult]]:
    """Return the spec of a layer and the packages whose files it holds."""
    packages = [unpacked(store, "FreeBSD-runtime"), unpacked(store, "FreeBSD-mtree")]
    inline = store.put(b"written by the declaration\n")
    entries = {e.path: e for p in packages for e in entries_of(store, p)}
    entries["etc/inline"] = Entry(
        path="etc/inline",
        kind=Kind.FILE,
        mode=0o600,
        user=0,
        group=0,
        mtime=1,
        size=inline.size,
        digest=inline.digest.hex,
    )
    return store.put(to_spec(entries.values())), packages


def build(
    store: Store, spec: Blob, packages: Iterable[PackageResult], algorithm: str = "zstd"
) -> LayerResult:
    compression = Compression(algorithm=algorithm, level=0 if algorithm == "none" else 3)  # type: ignore[arg-type]
    return build_layer(spec, compression, packages=lambda: packages, store=store)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_layer_is_its_specs_tar(algorithm: str, store: Store, sample: Any) -> None:
    """diff_id and size are those of the tar, digest and size those of the blob."""
    spec, packages = sample
    result = build(store, spec, packages, algorithm)
    with ContentSource(packages, store=store) as source:
        want = Memory()
        write_layer(parse_spec(store.read(spec.digest)), source.chunks, want)
    assert result.diff_id == Digest.of(bytes(want))
    assert result.tar_size == len(want)
    assert store.verify(result.blob.digest)
    with store.open(result.blob.digest) as f:
        stream = open_decompressed(f, limit=1 << 30, what="layer")
        got = b"".join(iter(lambda: stream.read(CHUNK), b""))
    assert got == bytes(want)
    reader = tar.TarReader(io.BytesIO(got))
    contents = {member.name: reader.read() for member in reader}
    assert contents["etc/inline"] == b"written by the declaration\n"
    assert len(contents) == store.read(spec.digest).count(b"\n") - 1


def test_diff_ids_do_not_depend_on_the_compression(store: Store, sample: Any) -> None:
    """So that a container store shares them."""
    results = [build(store, sample[0], sample[1], algorithm) for algorithm in ALGORITHMS]
    assert len({result.diff_id for result in results}) == 1
    assert len({result.blob.digest for result in results}) == 3


@pytest.mark.parametrize("algorithm", ["zstd", "gzip"])
def test_layers_do_not_depend_on_the_machine(
    algorithm: str, tmp_path: Path, store: Store, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of cores decides only how long it takes."""
    spec, packages = sample
    digests = set()
    for cores in (1, 3, None):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        fresh = Store(tmp_path / f"store-{cores}")
        for blob in (spec, *(b for p in packages for b in (p.spec, p.payload, p.extents))):
            fresh.put(store.read(blob.digest))
        inline = hashlib.sha256(b"written by the declaration\n").hexdigest()
        fresh.put(store.read(Digest(inline)))
        digests.add(build(fresh, spec, packages, algorithm).blob.digest)
    assert len(digests) == 1


def test_a_layer_is_made_once(store: Store, sample: Any) -> None:
    """The packages are not even asked for."""
    spec, packages = sample
    compression = Compression(level=3)
    assert recall_layer(spec, compression, store=store) is None
    first = build_layer(spec, compression, packages=lambda: packages, store=store)

    def unwanted() -> Iterable[PackageResult]:
        raise AssertionError("nothing is to be done")

    for again in (store, Store(store.root)):
        assert build_layer(spec, compression, packages=unwanted, store=again) == first
        assert recall_layer(spec, compression, store=again) == first
    assert recall_layer(spec, Compression(level=4), store=store) is None
    assert recall_layer(spec, Compression(algorithm="gzip", level=3), store=store) is None


def test_an_edited_layer_is_made_again(store: Store, sample: Any) -> None:
    """Not trusted because of its name."""
    spec, packages = sample
    result = build(store, spec, packages)
    path = store.path(result.blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * result.blob.size)
    again = Store(store.root)
    assert recall_layer(spec, Compression(level=3), store=again) is None
    assert build(again, spec, packages) == result
    assert again.verify(result.blob.digest)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_failed_layer_leaves_nothing(algorithm: str, store: Store, sample: Any) -> None:
    """A payload that is too short: no blob, no memo, no temporary file."""
    spec, packages = sample
    path = store.path(packages[0].payload.digest)
    path.chmod(0o644)
    os.truncate(path, 100)
    before = sorted(p for p in store.root.rglob("*") if p.is_file())
    with pytest.raises(ValueError, match="bytes of content, want"):
        build(store, spec, packages, algorithm)
    assert sorted(p for p in store.root.rglob("*") if p.is_file()) == before


# ---------------------------------------------------------------- contents


def _many(store: Store, count: int) -> tuple[list[PackageResult], list[Entry]]:
    packages, entries = [], []
    for i in range(count):
        data = package([Item(path=f"/{i:03d}", content=b"content %d" % i)])
        archive = store.put(data)
        packages.append(unpack_archive(archive.digest, name="p", version="1", store=store))
        entries += entries_of(store, packages[-1])
    return packages, entries


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_only_some_payloads_are_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many packages a layer has; they are opened again when needed."""
    monkeypatch.setattr(content_module, "_OPEN_FILES", 3)
    packages, entries = _many(store, 8)
    before = _open_files()
    with ContentSource(packages, store=store) as source:
        for entry in (*entries, *entries[::-1], *entries[::3]):
            assert source.read(entry) == b"content %d" % int(entry.path)
            assert _open_files() <= before + 3
    assert _open_files() == before


def test_large_content_comes_in_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of bounded size."""
    monkeypatch.setattr(content_module, "CHUNK", 1000)
    data = package([Item(path="/a", content=text(2500)), Item(path="/b", content=b"b")])
    result = unpack_archive(store.put(data).digest, name="p", version="1", store=store)
    a, b = entries_of(store, result)
    with ContentSource([result], store=store) as source:
        assert [len(piece) for piece in source.chunks(a)] == [1000, 1000, 500]
        assert source.read(a) == text(2500)
        assert source.read(b) == b"b"


def test_content_of_no_package_is_a_blob(store: Store) -> None:
    """Inline files of the declaration and what the build computed."""
    blob = store.put(b"inline")
    entry = Entry(
        path="a",
        kind=Kind.FILE,
        mode=0,
        user=0,
        group=0,
        mtime=0,
        size=6,
        digest=blob.digest.hex,
    )
    with ContentSource([], store=store) as source:
        assert source.read(entry) == b"inline"
        assert source.read_digest(blob.digest.hex, 6) == b"inline"
        with pytest.raises(FileNotFoundError):
            source.read(replace(entry, digest="0" * 64))
