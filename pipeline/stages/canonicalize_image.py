"""Stage `canonicalize oci`: an image of a layout, for one platform or many, in canonical form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import DigestMismatchError, FormatError, LayoutError
from pipeline.formats.algorithm import Algorithm
from pipeline.formats.fields import get_as, get_required, get_sequence_of
from pipeline.host.layout import Layout
from pipeline.host.output import Spool
from pipeline.host.staged_layout import StagedLayout
from pipeline.oci.descriptor import Descriptor, get_descriptors
from pipeline.oci.media_type import LAYER_TYPES, REF_NAME, ZSTD_INSTANCE, MediaType
from pipeline.oci.rewrite import (
    HINT,
    Revision,
    check_image_manifest,
    check_layer_type,
    is_attestation,
    rewrite_config,
    rewrite_descriptor,
    rewrite_index,
    rewrite_manifest,
)
from pipeline.oci.validate import verify_layout
from pipeline.stages.layout_place import read_document, read_object, verified_blob
from pipeline.stages.normal_archive import Encoding, read_archive

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.formats.digest import Digest
    from pipeline.rootfs.normalise import Rules
    from pipeline.stages.canonicalize_database import DatabaseRules
    from pipeline.stages.layout_place import Place

_MAX_DEPTH: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """What became of a layer."""

    before: Digest
    after: Digest
    diff_id_before: Digest
    diff_id: Digest
    notes: tuple[str, ...]
    """What changed beyond order and times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChange:
    """What became of an image."""

    before: Digest
    """Of the manifest or index under the name."""
    after: Digest
    layers: tuple[LayerChange, ...]
    """Each once, in the order in which they were met."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRules:
    """What is asked of an image."""

    archive: Rules
    database: DatabaseRules
    algorithm: Algorithm | None
    """Compression of the layers; None keeps what each of them has."""
    level: int | None


@dataclass(frozen=True, slots=True)
class _Layer:
    descriptor: Descriptor
    change: LayerChange
    names: Mapping[str, str]
    """Old to new paths of what has another name now, here and in the layers below."""


def canonicalize_image(
    source: Place, output: Place, *, rules: ImageRules, dry_run: bool
) -> ImageChange:
    """Write an image canonically to a layout, which may be its own.

    Args:
        source: the image.
        output: where to; without a name it keeps its own.
        rules: see there.
        dry_run: do everything but put the image in its place.

    Raises:
        LayoutError: the image is not whole, or has what the canonical form cannot hold.
        DigestMismatchError: a blob is not what its descriptor says.
    """
    # (1) What the layout has under the name
    descriptor, written = source.descriptor()
    with StagedLayout(output.path) as staged:
        # (2) Layers, configs, manifests and indexes, from the bottom up
        rewriter = _Rewriter(Layout(source.path), staged, rules)
        try:
            new = rewriter.tree(descriptor, 0)
        except FormatError as e:
            raise e.in_document(str(source)) from None
        if new is None:
            raise LayoutError("is an attestation, no image", context=str(source))
        listed = _named(
            rewrite_descriptor(written, rewriter.revision(rewriter.layers.values()), new),
            output.name,
        )
        # (3) Believe nothing of it before it has been read again
        verify_layout(staged.finish(listed), what=f"{source}, canonicalized")
        if not dry_run:
            staged.publish(listed)
    return ImageChange(
        before=descriptor.digest,
        after=new.digest,
        layers=tuple(layer.change for layer in rewriter.layers.values()),
        notes=tuple(rewriter.notes),
    )


def _named(listed: dict[str, object], name: str | None) -> dict[str, object]:
    """Return index.json's descriptor under another name, if there is one."""
    if name is None:
        return listed
    annotations = listed.get("annotations")
    kept = annotations if isinstance(annotations, dict) else {}
    return {**listed, "annotations": {**kept, REF_NAME: name}}


class _Rewriter:
    """Rewrites what a descriptor refers to, everything once."""

    def __init__(self, layout: Layout, staged: StagedLayout, rules: ImageRules) -> None:
        self._layout = layout
        self._staged = staged
        self._rules = rules
        self.layers: dict[object, _Layer] = {}
        self.notes: list[str] = []

    def revision(self, layers: Iterable[_Layer]) -> Revision:
        """Say what is new about an image of these layers."""
        return Revision(
            self._rules.archive.source_date_epoch,
            any(layer.change.before != layer.change.after for layer in layers),
        )

    def tree(self, descriptor: Descriptor, depth: int) -> Descriptor | None:
        """Rewrite a manifest or an index; None for what is to be left out."""
        if is_attestation(descriptor):
            self.notes.append(f"left out {descriptor.digest}, an attestation of the old image")
            return None
        try:
            return self._document(descriptor, depth)
        except FormatError as e:
            raise e.in_document(str(descriptor.digest)) from None

    def _document(self, descriptor: Descriptor, depth: int) -> Descriptor:
        if depth > _MAX_DEPTH:
            raise LayoutError(f"indexes nested deeper than {_MAX_DEPTH}")
        if descriptor.media_type == MediaType.INDEX:
            return self._index(descriptor, read_object(self._layout, descriptor), depth)
        if descriptor.media_type == MediaType.MANIFEST:
            return self._manifest(descriptor, read_object(self._layout, descriptor))
        raise LayoutError(
            f"got mediaType {descriptor.media_type!r}, want index or manifest", hint=HINT
        )

    def _index(self, old: Descriptor, d: Mapping[str, object], depth: int) -> Descriptor:
        manifests = [self.tree(child, depth + 1) for child in get_descriptors(d, "manifests")]
        return self._put(old, rewrite_index(d, self.revision(self.layers.values()), manifests))

    def _manifest(self, old: Descriptor, d: Mapping[str, object]) -> Descriptor:
        config = get_as(d, dict, Descriptor.from_dict, "config", error=LayoutError)
        check_image_manifest(d, config)
        raw_config = read_document(self._layout, config)
        layers: list[_Layer] = []
        for layer in get_descriptors(d, "layers"):
            layers.append(self._layer(layer, layers[-1].names if layers else {}))
        self._check_diff_ids(read_object(self._layout, config), layers)
        revision = self.revision(layers)
        new_config = rewrite_config(
            raw_config, revision, diff_ids=[layer.change.diff_id for layer in layers]
        )
        manifest = rewrite_manifest(
            d,
            revision,
            config=self._put(config, new_config),
            layers=[layer.descriptor for layer in layers],
        )
        zstd = any(layer.descriptor.media_type == MediaType.LAYER_ZSTD for layer in layers)
        return replace(
            self._put(old, manifest),
            annotations={ZSTD_INSTANCE: "true"} if zstd and old.platform is not None else {},
        )

    def _check_diff_ids(self, config: Mapping[str, object], layers: list[_Layer]) -> None:
        rootfs = get_required(config, dict, "rootfs", error=LayoutError)
        claimed = get_sequence_of(rootfs, str, "diff_ids", error=LayoutError)
        if len(claimed) != len(layers):
            raise LayoutError(
                f"got {len(claimed)}, want {len(layers)} as layers", context="diff_ids"
            )
        for number, (got, layer) in enumerate(zip(claimed, layers, strict=True)):
            if got != str(layer.change.diff_id_before):
                want = str(layer.change.diff_id_before)
                raise DigestMismatchError(f"diff_ids[{number}]", got=got, want=want)

    def _put(self, old: Descriptor, data: bytes) -> Descriptor:
        blob = self._staged.put(data)
        return Descriptor(media_type=old.media_type, digest=blob.digest, size=blob.size)

    # ------------------------------------------------------------ layers

    def _layer(self, old: Descriptor, names: Mapping[str, str]) -> _Layer:
        """Normalise a layer; one that several images share is read once."""
        key = (old.digest, old.media_type, tuple(sorted(names.items())))
        if key not in self.layers:
            self.layers[key] = self._normalised(old, names)
        return self.layers[key]

    def _normalised(self, old: Descriptor, names: Mapping[str, str]) -> _Layer:
        what = f"layer {old.digest}"
        present = Algorithm(check_layer_type(old.media_type))
        path = verified_blob(self._layout, old)
        algorithm = self._rules.algorithm or present
        with Spool(path, self._staged.root, what=what) as spool:
            diff_id_before = spool.digest()
            archive = read_archive(
                spool, self._rules.archive, database=self._rules.database, names=names, what=what
            )
            with self._staged.writer() as sink:
                diff_id = archive.write_compressed(sink, Encoding(algorithm, self._rules.level))
        notes = archive.tree.notes
        if archive.database is not None:
            notes = (*notes, f"database: {archive.database}")
        return _Layer(
            descriptor=Descriptor(
                media_type=LAYER_TYPES[algorithm], digest=sink.digest, size=sink.size
            ),
            change=LayerChange(
                before=old.digest,
                after=sink.digest,
                diff_id_before=diff_id_before,
                diff_id=diff_id,
                notes=notes,
            ),
            names=archive.names,
        )
