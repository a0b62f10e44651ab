"""Stage `layer`: from a layer's spec to its compressed blob, in one pass."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.formats.algorithm import GZIP_MEMBER, ZSTD_JOB_SIZE, Algorithm
from pipeline.formats.digest import Digest, HashingWriter
from pipeline.host.store import Blob, Record
from pipeline.host.toolchain import code_digest, encoder_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline.declaration.tables import Compression
    from pipeline.host.store import Store
    from pipeline.stages.package import PackageResult

STAGE: Final = "layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerResult:
    """A layer in the store."""

    blob: Blob
    """As stored, compressed."""
    diff_id: Digest
    """Of the uncompressed tar."""
    tar_size: int

    @classmethod
    def from_record(cls, record: Record) -> LayerResult:
        """Read what the store remembers."""
        diff_id, tar_size = record.facts["diff_id"], record.facts["tar_size"]
        assert isinstance(diff_id, str)
        assert isinstance(tar_size, int)
        return cls(blob=record.outputs["layer"], diff_id=Digest.parse(diff_id), tar_size=tar_size)


def _inputs(spec: Blob, compression: Compression) -> dict[str, object]:
    return {
        "spec": str(spec.digest),
        "compression": {
            "algorithm": compression.algorithm,
            "level": compression.effective_level,
            "encoder": encoder_version(compression.algorithm),
            "unit": GZIP_MEMBER if compression.algorithm == "gzip" else ZSTD_JOB_SIZE,
        },
        "code": code_digest(),
    }


def recall_layer(spec: Blob, compression: Compression, *, store: Store) -> LayerResult | None:
    """Return the layer if it has been made already and still holds."""
    record = store.recall(STAGE, _inputs(spec, compression))
    return None if record is None else LayerResult.from_record(record)


def build_layer(
    spec: Blob,
    compression: Compression,
    *,
    packages: Callable[[], Iterable[PackageResult]],
    store: Store,
    suspicious: bool = False,
) -> LayerResult:
    """Render a layer: read contents, write tar, hash, compress, hash, all in one pass.

    Args:
        spec: the layer's spec, in the store.
        compression: as declared.
        packages: the packages whose files it may hold; asked only if there is work to do.
        store: holds everything.
        suspicious: believe no earlier result without hashing it.
    """

    def make() -> Record:
        from pipeline.formats import mtree  # noqa: PLC0415  - only where there is work
        from pipeline.formats.compression import open_compressor  # noqa: PLC0415
        from pipeline.oci.layer import layer_size, write_layer  # noqa: PLC0415
        from pipeline.stages.content import ContentSource  # noqa: PLC0415

        # (1) what is in it
        entries = mtree.parse_spec(store.read(spec.digest))
        size = layer_size(entries)
        # (2) tar -> diff_id -> compressor -> digest
        with ContentSource(packages(), store=store) as content, store.writer() as sink:
            compressor = open_compressor(
                sink,
                Algorithm(compression.algorithm),
                level=compression.effective_level,
                workers=1 + (os.cpu_count() or 1),  # while one waits for more to do
                size=size,
            )
            tar = HashingWriter(compressor)
            write_layer(entries, content.chunks, tar)
            compressor.close()
            blob = sink.commit()
        return Record(
            outputs={"layer": blob},
            facts={"diff_id": str(tar.digest), "tar_size": tar.size},
        )

    inputs = _inputs(spec, compression)
    return LayerResult.from_record(store.memoise(STAGE, inputs, make, suspicious=suspicious))


def encoder_warning(compression: Compression) -> str | None:
    """Return a sentence if this machine's encoder is not that of the output format, else None."""
    from pipeline.formats.compression import unpinned_encoder  # noqa: PLC0415  - slow to import

    return unpinned_encoder(Algorithm(compression.algorithm))
