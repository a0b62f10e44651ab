"""Stage `package`: verify a package's archive and unpack it once into the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import DigestMismatchError
from pipeline.formats import mtree
from pipeline.formats.digest import Digest
from pipeline.host.store import Blob, Record
from pipeline.host.toolchain import code_digest

if TYPE_CHECKING:
    from pipeline.host.store import Store
    from pipeline.pkg.archive import PackageContents
    from pipeline.pkg.lockfile import LockedPackage

STAGE: Final = "package"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageResult:
    """A verified package in the store."""

    manifest: Blob
    """The bytes of its +MANIFEST."""
    spec: Blob
    """Its entries as an mtree(5) spec, owners by name."""
    payload: Blob
    """The contents of its files, one after the other."""
    extents: Blob
    """Lines of `<sha256> <offset> <size>`: where each content lies in the payload."""
    newest_mtime: int
    """Seconds; what source_date_epoch derives from."""
    config: tuple[tuple[str, str, int], ...]
    """Path, sha256 in hex and size of each configuration file whose content pkg records."""

    @classmethod
    def from_record(cls, record: Record) -> PackageResult:
        """Read what the store remembers."""
        newest = record.facts["newest_mtime"]
        config = record.facts["config"]
        assert isinstance(newest, int)
        assert isinstance(config, list)
        return cls(
            manifest=record.outputs["manifest"],
            spec=record.outputs["spec"],
            payload=record.outputs["payload"],
            extents=record.outputs["extents"],
            newest_mtime=newest,
            config=tuple((path, digest, size) for path, digest, size in config),
        )


def _inputs(digest: Digest, name: str, version: str) -> dict[str, object]:
    return {"archive": str(digest), "name": name, "version": version, "code": code_digest()}


def recall_package(package: LockedPackage, *, store: Store) -> PackageResult | None:
    """Return the package if it is unpacked already and all of it still holds."""
    record = store.recall(STAGE, _inputs(package.digest, package.name, package.version))
    return None if record is None else PackageResult.from_record(record)


def unpack_package(
    package: LockedPackage, *, store: Store, suspicious: bool = False
) -> PackageResult:
    """Verify and unpack a package whose archive is in the store.

    Raises:
        DigestMismatchError: the archive is not the locked one.
        ArchiveError, ManifestError: it is malformed, hostile or another package.
    """
    return unpack_archive(
        package.digest,
        name=package.name,
        version=package.version,
        store=store,
        suspicious=suspicious,
    )


def unpack_archive(
    digest: Digest, *, name: str, version: str, store: Store, suspicious: bool = False
) -> PackageResult:
    """Do the same for an archive that no lock pins yet."""

    def make() -> Record:
        from pipeline.pkg.archive import read_package  # noqa: PLC0415  - only where there is work

        # (1) verify, then parse: an archive is believed only by its digest
        if not store.verify(digest):
            raise DigestMismatchError(
                f"archive of {name}-{version}",
                got="nothing of this digest in the store",
                want=str(digest),
                hint="build again: the archive is fetched anew",
            )
        # (2) unpack, hashing each file against its own sum on the way
        with store.open(digest) as source, store.writer() as payload:
            size = source.seek(0, 2)
            contents = read_package(source, payload, size=size, what=f"{name}-{version}.pkg")
            # (3) is it the package that was asked for?
            _check_identity(contents, name, version)
            payload_blob = payload.commit()
        # (4) describe it
        extents = "".join(f"{e.digest} {e.offset} {e.size}\n" for e in contents.extents)
        return Record(
            outputs={
                "manifest": store.put(contents.raw_manifest),
                "spec": store.put(mtree.to_spec(contents.entries)),
                "payload": payload_blob,
                "extents": store.put(extents.encode()),
            },
            facts={
                "newest_mtime": contents.newest_mtime,
                "config": [
                    [path, Digest.of(data).hex, len(data)] for path, data in contents.config
                ],
            },
        )

    inputs = _inputs(digest, name, version)
    return PackageResult.from_record(store.memoise(STAGE, inputs, make, suspicious=suspicious))


def _check_identity(contents: PackageContents, name: str, version: str) -> None:
    got = (contents.manifest.name, contents.manifest.version)
    if got != (name, version):
        raise DigestMismatchError(
            f"archive of {name}-{version}",
            got=f"a manifest of {'-'.join(got)}",
            want=f"{name}-{version}",
            hint="the catalogue lies about this package; do not use the repository",
        )
