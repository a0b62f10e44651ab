"""Stage `export`: images of a layout as a directory that a plain web server serves as a registry.

Specification: distribution-spec v1.1, the read-only part. Below the directory:

    v2/index.html                            answers GET /v2/, by which clients know a registry
    v2/<path>/manifests/<tag or digest>      manifests and indexes
    v2/<path>/indexes/<tag or digest>        the indexes among them once more
    v2/<path>/blobs/<digest>
    v2/<path>/referrers/<digest>             lists, for clients that ask the API
    v2/<path>/manifests/sha256-<hex>         likewise, for clients that ask for the tag
    v2/<path>/tags/list

The bytes say all there is to say, but podman and skopeo believe the header Content-Type, and a file
named `15.0` has no type. `indexes/` is there so that a web server can tell the two types without
knowing the images: docs/registries.md has nginx's configuration.

Blobs are written first, tags last, each file whole or not at all, so a directory that is being
served can be exported into. What an earlier export has left stays: whoever pulls by digest may
still need it. Signatures under cosign's older tags are added to those of others (`signature_tags`).
The same blob in several repositories is one file with several names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import DigestMismatchError, FormatError, LayoutError
from pipeline.formats.digest import CHUNK, Digest, HashingWriter
from pipeline.host.registry_manifest import Contents, Manifest
from pipeline.host.store import hash_file, write_atomically
from pipeline.oci.image import ImageIndex
from pipeline.oci.media_type import MediaType
from pipeline.oci.reference import check_path, check_tag
from pipeline.oci.referrers import fallback_tag, merge_referrers, referrer_descriptor
from pipeline.stages.parcel import pack
from pipeline.stages.signature_tags import has_signatures, join_signatures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.oci.descriptor import Descriptor
    from pipeline.oci.validate import LayoutSource
    from pipeline.stages.parcel import Parcel, Target

_ROOT: Final = b"{}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export has made."""

    digests: Mapping[str, Digest]
    """Of the images, by their names in the layout."""
    written: int
    """Bytes of blobs that were not there."""


def export(source: LayoutSource, targets: Sequence[Target], directory: Path) -> ExportResult:
    """Write images into a directory; see the module.

    Raises:
        LayoutError: an image is not in the layout, or not whole.
        DigestMismatchError: the layout has been altered.
    """
    contents = Contents(source)
    parcels = [pack(contents, target) for target in targets]
    folders = {p.target.path: directory / "v2" / check_path(p.target.path) for p in parcels}
    written = _Blobs(source, directory).write(parcels)
    for parcel in parcels:
        _write_manifests(parcel, folders[parcel.target.path])
    for parcel in parcels:
        _write_tags(parcel, folders[parcel.target.path])
    for path, folder in folders.items():
        _write_list(path, folder)
    _write(directory / "v2/index.html", _ROOT)
    return ExportResult(digests={p.target.name: p.root.digest for p in parcels}, written=written)


class _Blobs:
    """Write each blob once, give it a name in every repository."""

    def __init__(self, source: LayoutSource, directory: Path) -> None:
        self._source = source
        self._directory = directory
        self._first: dict[Digest, Path] = {}

    def write(self, parcels: Sequence[Parcel]) -> int:
        written = 0
        for parcel in parcels:
            folder = self._directory / "v2" / parcel.target.path / "blobs"
            for blob in parcel.blobs:
                path = folder / str(blob.digest)
                first = self._first.setdefault(blob.digest, path)
                if first is path:
                    written += self._copy(blob, path)
                elif first != path:
                    _link(first, path)
        return written

    def _copy(self, blob: Descriptor, path: Path) -> int:
        """Write a blob unless it is there; return how many bytes that took."""
        if path.is_file() and path.stat().st_size == blob.size and hash_file(path) == blob.digest:
            return 0
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)  # an export that was interrupted may have made it a link
        what = f"blob {blob.digest}"
        try:
            with self._source.open(blob.digest) as reader, part.open("wb") as f:
                writer = HashingWriter(f)
                while data := reader.read(CHUNK):
                    writer.write(data)
        except FileNotFoundError:
            raise LayoutError("is not in the layout", context=what) from None
        if writer.digest != blob.digest:
            part.unlink()
            raise DigestMismatchError(what, got=str(writer.digest), want=str(blob.digest))
        part.replace(path)
        return blob.size


def _link(first: Path, path: Path) -> None:
    """Give a file one more name; where the file system has no links, copy it."""
    if path.is_file() and path.samefile(first):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        part.hardlink_to(first)
    except OSError:
        part.write_bytes(first.read_bytes())
    part.replace(path)


def _write_manifests(parcel: Parcel, folder: Path) -> None:
    """Write what is asked for by digest, and the lists of referrers."""
    everything = (*parcel.manifests, *parcel.referrers, *parcel.cosign.values())
    referrers: dict[Digest, list[Descriptor]] = {m.digest: [] for m in everything}
    for manifest in everything:
        _write_manifest(folder, str(manifest.digest), manifest)
        if manifest.subject is not None:
            described = referrer_descriptor(manifest.raw)
            referrers.setdefault(manifest.subject.digest, []).append(described)
    for subject, listed in referrers.items():
        _write_referrers(folder, subject, listed)


def _write_referrers(folder: Path, subject: Digest, listed: Sequence[Descriptor]) -> None:
    """Add to the list of a subject's referrers, which earlier exports may have begun."""
    path = folder / "referrers" / str(subject)
    try:
        held: bytes | None = path.read_bytes()
    except FileNotFoundError:
        held = ImageIndex(manifests=(), annotations={}).to_bytes()
    try:
        data = merge_referrers(held, listed)
    except FormatError as e:
        raise e.within(str(path)) from None
    _write(path, data)
    if listed:
        index = Manifest.parse(data, media_type=MediaType.INDEX)
        _write_manifest(folder, fallback_tag(subject), index)


def _write_tags(parcel: Parcel, folder: Path) -> None:
    for tag, manifest in parcel.cosign.items():
        _write_signatures(folder, check_tag(tag), manifest)
    for tag in parcel.target.tags:
        _write_manifest(folder, check_tag(tag), parcel.root)


def _write_signatures(folder: Path, tag: str, ours: Manifest) -> None:
    """Add to the signatures under a tag, among which may be those of others."""
    path = folder / "manifests" / tag
    try:
        held = Manifest.parse(path.read_bytes())
        if has_signatures(held, ours):
            return
        joined, config = join_signatures(held, ours)
    except FileNotFoundError:
        _write_manifest(folder, tag, ours)
        return
    except FormatError as e:
        raise e.within(str(path)) from None
    _write(folder / "blobs" / str(Digest.of(config)), config)
    _write_manifest(folder, str(joined.digest), joined)
    _write_manifest(folder, tag, joined)


def _write_manifest(folder: Path, name: str, manifest: Manifest) -> None:
    index = folder / "indexes" / name
    if manifest.is_index:
        _write(index, manifest.raw)
    _write(folder / "manifests" / name, manifest.raw)
    if not manifest.is_index:
        index.unlink(missing_ok=True)


def _write_list(path: str, folder: Path) -> None:
    names = [entry.name for entry in (folder / "manifests").iterdir()]
    tags = sorted(name for name in names if ":" not in name and not name.startswith("."))
    _write(folder / "tags/list", json.dumps({"name": path, "tags": tags}).encode() + b"\n")


def _write(path: Path, data: bytes) -> None:
    """Write a small file, if that changes anything."""
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)
