"""The lock: every byte that a build may use, pinned; committed and reviewed like code.

Form (docs/FORMAT.md, section Lock): JSON as `canonical_json.pretty` writes it.

    format
    releases.<release>
        source_date_epoch        seconds; everything made for this release carries it
        request                  the part of the declaration that this answers
        architectures.<arch>
            abi
            repositories[]       name, url, catalogue {path, digest, size},
                                 signature {type, fingerprint}
            packages[]           every package used, sorted by name
            images.<image>
                packages[]       {name, asked_by}: what this image adds to its parent, in
                                 install order
                requested[]      names that the declaration asks for
                picks[]          names of packages that only give files

A lock of ours is read strictly: an unknown key is an error, so that an older version never builds
half of what a newer one pinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError, LockfileError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.formats.fields import (
    get_as,
    get_required,
    get_sequence_of,
    refuse_unknown,
)
from pipeline.pkg.names import check_name, check_version
from pipeline.pkg.sum import Sum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    T = TypeVar("T")

REQUEST: Final = "request"
"""In `asked_by`: the declaration itself."""

_HINT: Final = "run `doit update` to write it anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One package archive."""

    name: str
    version: str
    origin: str
    repository: str
    repopath: str
    """Path below the repository's URL."""
    digest: Digest
    """sha256 of the archive."""
    size: int
    sum: Sum
    """The catalogue's checksum of the archive."""
    manifestdigest: str
    """What pkg compares to decide whether an installed package is the repository's."""
    flatsize: int

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "version": self.version,
            "origin": self.origin,
            "repository": self.repository,
            "repopath": self.repopath,
            "digest": str(self.digest),
            "size": self.size,
            "sum": str(self.sum),
            "manifestdigest": self.manifestdigest,
            "flatsize": self.flatsize,
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> LockedPackage:
        """Read the JSON form."""
        refuse_unknown(d, frozenset(cls.__slots__), error=LockfileError)
        return cls(
            name=get_as(d, str, check_name, "name", error=LockfileError),
            version=get_as(d, str, check_version, "version", error=LockfileError),
            origin=get_required(d, str, "origin", error=LockfileError),
            repository=get_required(d, str, "repository", error=LockfileError),
            repopath=get_as(d, str, _check_repopath, "repopath", error=LockfileError),
            digest=get_as(d, str, Digest.parse, "digest", error=LockfileError),
            size=get_as(d, int, _natural, "size", error=LockfileError),
            sum=get_as(d, str, Sum.parse, "sum", error=LockfileError),
            manifestdigest=get_required(d, str, "manifestdigest", error=LockfileError),
            flatsize=get_as(d, int, _natural, "flatsize", error=LockfileError),
        )


def _natural(number: int) -> int:
    if number < 0:
        raise LockfileError(f"got {number}, want no negative")
    return number


def _check_repopath(text: str) -> str:
    if text.startswith("/") or not text or any(c in ("", ".", "..") for c in text.split("/")):
        raise LockfileError(f"got {text!r}, want a relative path without . and ..")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRepository:
    """A repository as it was when the lock was made."""

    name: str
    url: str
    """With the ABI and version put in; relative for a `file:` URL that is."""
    catalogue_path: str
    catalogue_digest: Digest
    catalogue_size: int
    signature_type: str
    fingerprint: str
    """sha256 of the public key that signed the catalogue; empty for signature_type none."""

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "url": self.url,
            "catalogue": {
                "path": self.catalogue_path,
                "digest": str(self.catalogue_digest),
                "size": self.catalogue_size,
            },
            "signature": {"type": self.signature_type, "fingerprint": self.fingerprint},
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> LockedRepository:
        """Read the JSON form."""
        refuse_unknown(d, frozenset({"name", "url", "catalogue", "signature"}), error=LockfileError)
        path, digest, size = get_as(d, dict, _catalogue, "catalogue", error=LockfileError)
        kind, fingerprint = get_as(d, dict, _signature, "signature", error=LockfileError)
        return cls(
            name=get_required(d, str, "name", error=LockfileError),
            url=get_required(d, str, "url", error=LockfileError),
            catalogue_path=path,
            catalogue_digest=digest,
            catalogue_size=size,
            signature_type=kind,
            fingerprint=fingerprint,
        )


def _catalogue(d: Mapping[str, object]) -> tuple[str, Digest, int]:
    refuse_unknown(d, frozenset({"path", "digest", "size"}), error=LockfileError)
    return (
        get_required(d, str, "path", error=LockfileError),
        get_as(d, str, Digest.parse, "digest", error=LockfileError),
        get_as(d, int, _natural, "size", error=LockfileError),
    )


def _signature(d: Mapping[str, object]) -> tuple[str, str]:
    refuse_unknown(d, frozenset({"type", "fingerprint"}), error=LockfileError)
    return (
        get_required(d, str, "type", error=LockfileError),
        get_required(d, str, "fingerprint", error=LockfileError),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A package of an image, and who asked for it."""

    name: str
    asked_by: tuple[str, ...]
    """Package names, or REQUEST; sorted."""

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"name": self.name, "asked_by": list(self.asked_by)}

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> Installed:
        """Read the JSON form."""
        refuse_unknown(d, frozenset(cls.__slots__), error=LockfileError)
        return cls(
            name=get_required(d, str, "name", error=LockfileError),
            asked_by=get_sequence_of(d, str, "asked_by", error=LockfileError),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """What an image adds to its parent."""

    packages: tuple[Installed, ...]
    """In install order."""
    requested: tuple[str, ...]
    """Packages that the image names itself, its parents' among them; sorted. Others are
    automatic."""
    picks: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "packages": [package.to_dict() for package in self.packages],
            "requested": list(self.requested),
            "picks": list(self.picks),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> LockedImage:
        """Read the JSON form."""
        refuse_unknown(d, frozenset({"packages", "requested", "picks"}), error=LockfileError)
        return cls(
            packages=_each(d, "packages", Installed.from_dict),
            requested=get_sequence_of(d, str, "requested", error=LockfileError),
            picks=get_sequence_of(d, str, "picks", error=LockfileError),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedTarget:
    """A release on one architecture."""

    abi: str
    repositories: tuple[LockedRepository, ...]
    packages: Mapping[str, LockedPackage]
    images: Mapping[str, LockedImage]

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "abi": self.abi,
            "repositories": [repository.to_dict() for repository in self.repositories],
            "packages": [self.packages[name].to_dict() for name in sorted(self.packages)],
            "images": {name: image.to_dict() for name, image in self.images.items()},
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> LockedTarget:
        """Read the JSON form; every name that an image uses is among the packages."""
        refuse_unknown(
            d, frozenset({"abi", "repositories", "packages", "images"}), error=LockfileError
        )
        packages: dict[str, LockedPackage] = {}
        for package in _each(d, "packages", LockedPackage.from_dict):
            if package.name in packages:
                raise LockfileError(f"package {package.name!r} twice", context="packages")
            packages[package.name] = package
        images = _map(d, "images", LockedImage.from_dict)
        for name, image in images.items():
            for used in (*(p.name for p in image.packages), *image.picks):
                if used not in packages:
                    raise LockfileError(
                        f"package {used!r} is not pinned", context=f"images.{name}", hint=_HINT
                    )
        return cls(
            abi=get_required(d, str, "abi", error=LockfileError),
            repositories=_each(d, "repositories", LockedRepository.from_dict),
            packages=packages,
            images=images,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRelease:
    """A release on all its architectures."""

    source_date_epoch: int
    request: Mapping[str, object]
    architectures: Mapping[str, LockedTarget]

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "source_date_epoch": self.source_date_epoch,
            "request": dict(self.request),
            "architectures": {
                name: target.to_dict() for name, target in self.architectures.items()
            },
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> LockedRelease:
        """Read the JSON form."""
        refuse_unknown(d, frozenset(cls.__slots__), error=LockfileError)
        return cls(
            source_date_epoch=get_as(d, int, _natural, "source_date_epoch", error=LockfileError),
            request=get_required(d, dict, "request", error=LockfileError),
            architectures=_map(d, "architectures", LockedTarget.from_dict),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The whole file."""

    format: int
    releases: Mapping[str, LockedRelease]

    def to_bytes(self) -> bytes:
        """Encode; the inverse of `parse`."""
        return canonical_json.pretty(
            {
                "format": self.format,
                "releases": {name: release.to_dict() for name, release in self.releases.items()},
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Lock:
        """Read a lock.

        Raises:
            LockfileError: with the path of the fault inside the document.
        """
        try:
            d = canonical_json.loads_object(data, error=LockfileError)
            refuse_unknown(d, frozenset({"format", "releases"}), error=LockfileError)
            return cls(
                format=get_required(d, int, "format", error=LockfileError),
                releases=_map(d, "releases", LockedRelease.from_dict),
            )
        except FormatError as e:
            raise LockfileError(e.message, context=e.context, hint=_HINT) from None


def _each(
    d: Mapping[str, object], key: str, read: Callable[[Mapping[str, object]], T]
) -> tuple[T, ...]:
    result = []
    for i, item in enumerate(get_sequence_of(d, dict, key, error=LockfileError)):
        try:
            result.append(read(item))
        except FormatError as e:
            raise e.within(f"{key}[{i}]") from None
    return tuple(result)


def _map(
    d: Mapping[str, object], key: str, read: Callable[[Mapping[str, object]], T]
) -> dict[str, T]:
    result = {}
    for name, item in get_required(d, dict, key, error=LockfileError).items():
        try:
            if not isinstance(item, dict):
                raise LockfileError("want an object")
            result[name] = read(item)
        except FormatError as e:
            raise e.within(f"{key}.{name}") from None
    return result
