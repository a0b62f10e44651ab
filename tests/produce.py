"""Call every producing function once, for `tests/test_determinism.py`.

Inputs that have no order of their own are given in an order that follows PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from pipeline.declaration.reading import json_schema
from pipeline.declaration.tables import Compression
from pipeline.formats import canonical_json, mtree
from pipeline.formats.algorithm import Algorithm
from pipeline.formats.compression import open_compressor
from pipeline.formats.digest import Digest
from pipeline.formats.mtree import Entry, Kind
from pipeline.host.store import Store
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.image import ImageConfig, ImageIndex, ImageLayer, ImageManifest, RuntimeConfig
from pipeline.oci.layer import layer_size, write_layer
from pipeline.oci.media_type import MediaType
from pipeline.oci.platform import Platform
from pipeline.pkg.lockfile import (
    Installed,
    Lock,
    LockedImage,
    LockedPackage,
    LockedRelease,
    LockedTarget,
)
from pipeline.pkg.sum import Sum
from pipeline.rootfs.tree import Composer
from pipeline.stages.layer import build_layer
from pipeline.stages.package import unpack_archive
from tests.archives import Memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")


def reorder(items: Sequence[T]) -> list[T]:
    """Order by the hashes of their texts, which follow PYTHONHASHSEED."""
    return sorted(items, key=lambda item: hash(str(item)))


def pairs(*items: tuple[str, T]) -> dict[str, T]:
    """Return a dict whose order follows PYTHONHASHSEED."""
    return dict(reorder(items))


def entries() -> Iterator[tuple[Entry, bytes]]:
    """Yield entries with their contents, two of them names of one file."""
    names = ["a", "b", "usr/lib/x", "usr/é", "z z", "\udcff", "n" * 120]
    for i, name in enumerate(names):
        content = name.encode("utf-8", "surrogateescape") * 1000
        file = Entry(
            path=name,
            kind=Kind.FILE,
            mode=0o644,
            user=0,
            group=0,
            mtime=5,
            size=len(content),
            digest=hashlib.sha256(content).hexdigest(),
            inode=1 if i == 0 else 0,
        )
        yield file, content
        if i == 0:
            yield replace(file, path="c"), content
    yield Entry(path="l", kind=Kind.LINK, mode=0o777, user=1, group=1, mtime=5, link="é"), b""


def _tree() -> dict[str, bytes]:
    contents = {e.digest: content for e, content in entries()}
    everything = reorder([e for e, _ in entries()])
    made = {"to_spec": mtree.to_spec(everything)}
    composer = Composer((), parent_name="x", source_date_epoch=9, keep_flags=False)
    linked = [e for e in everything if e.inode]
    composer.package("l", "linked", linked, [])
    for e in everything:
        if not e.inode:
            composer.package("l", e.path, [e], [])
    layer = composer.layer("l")
    assert layer is not None
    made["compose"] = mtree.to_spec(layer.entries)

    def content(e: Entry) -> list[bytes]:
        return [contents[e.digest]] if e.size else []

    plain = Memory()
    write_layer(layer.entries, content, plain)
    made["write_layer"] = bytes(plain)
    for algorithm in ("zstd", "gzip"):
        out = Memory()
        compressor = open_compressor(
            out, Algorithm(algorithm), level=6, workers=2, size=layer_size(layer.entries)
        )
        write_layer(layer.entries, content, compressor)
        compressor.close()
        made[f"compress {algorithm}"] = bytes(out)
    return made


def _documents() -> dict[str, bytes]:
    described = Descriptor(
        media_type=MediaType.LAYER,
        digest=Digest("a" * 64),
        size=1,
        annotations=pairs(("x", "1"), ("y", "2"), ("é", "3")),
        platform=Platform(os="freebsd", architecture="arm", variant="v7"),
    )
    annotations = pairs(("q", "1"), ("r", "2"), ("s", "3"))
    config = ImageConfig(
        platform=Platform(os="freebsd", architecture="amd64"),
        created=1_762_000_000,
        layers=(ImageLayer(descriptor=described, diff_id=Digest("b" * 64), created_by="é"),),
        runtime=RuntimeConfig(
            cmd=("a",),
            entrypoint=(),
            env=("B=1", "A=2"),
            exposed_ports=("80", "443"),
            labels=pairs(("b", "1"), ("a", "2"), ("c", "3")),
            stop_signal="",
            user="",
            volumes=("/v",),
            working_dir="/",
        ),
    )
    manifest = ImageManifest(config=described, layers=(described,), annotations=annotations)
    index = ImageIndex(manifests=(described,), annotations=annotations)
    return {
        "ImageConfig": config.to_bytes(),
        "ImageManifest": manifest.to_bytes(),
        "ImageIndex": index.to_bytes(),
        "Lock": _lock().to_bytes(),
        "json_schema": canonical_json.dumps(json_schema()),
    }


def _lock() -> Lock:
    def locked(name: str) -> LockedPackage:
        return LockedPackage(
            name=name,
            version="1",
            origin="o",
            repository="r",
            repopath="p",
            digest=Digest("c" * 64),
            size=1,
            sum=Sum.parse("0" * 64),
            manifestdigest="m",
            flatsize=1,
        )

    installed = (Installed(name="p", asked_by=("request",)),)
    image = LockedImage(packages=installed, requested=(), picks=())
    target = LockedTarget(
        abi="x",
        repositories=(),
        images=pairs(("i", image), ("j", image)),
        packages=pairs(*((name, locked(name)) for name in ("p", "q", "r"))),
    )
    release = LockedRelease(
        source_date_epoch=1,
        request=pairs(("k", 1), ("l", 2)),
        architectures=pairs(("amd64", target), ("aarch64", target)),
    )
    return Lock(format=1, releases=pairs(("15.0", release), ("14.3", release)))


def _stages(archive: bytes, store: Store) -> dict[str, bytes]:
    blob = store.put(archive)
    package = unpack_archive(blob.digest, name="FreeBSD-runtime", version="15.0", store=store)
    made = {
        f"package stage: {name}": store.read(getattr(package, name).digest)
        for name in ("manifest", "spec", "payload", "extents")
    }
    resolved = mtree.parse_spec(made["package stage: spec"])
    names = sorted({str(name) for e in resolved for name in (e.user, e.group)})
    ids = {name: i for i, name in enumerate(names)}
    resolved = tuple(replace(e, user=ids[str(e.user)], group=ids[str(e.group)]) for e in resolved)
    spec = store.put(mtree.to_spec(reorder(resolved)))
    for compression in (Compression(algorithm="zstd"), Compression(algorithm="gzip")):
        result = build_layer(spec, compression, packages=lambda: [package], store=store)
        made[f"layer stage: {compression.algorithm}"] = store.read(result.blob.digest)
    return made


def produce(package: Path) -> dict[str, str]:
    """Return the digest of what each producing function made."""
    with tempfile.TemporaryDirectory() as folder:
        made = _tree() | _documents() | _stages(package.read_bytes(), Store(Path(folder)))
    return {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}


def main() -> None:
    """Print the digests as JSON, of the package that the command line names."""
    sys.stdout.write(json.dumps(produce(Path(sys.argv[1]))))
