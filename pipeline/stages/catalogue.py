"""Stage `catalogue`: fetch what a repository offers; believe it only if it is signed as declared.

meta.conf ──► names ──► data.pkg, or packagesite.pkg ──► signature ──► records
 (1 MiB)                   (limit before download)      (raw bytes)    (parsed last)
"""

from __future__ import annotations

import io
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import (
    ConfigurationError,
    FormatError,
    NotFoundError,
    SignatureTypeError,
    VerificationError,
)
from pipeline.formats.digest import Digest
from pipeline.formats.ucl import MAX_UCL
from pipeline.pkg.fingerprint import FingerprintSet
from pipeline.pkg.meta import DEFAULT_META, Meta
from pipeline.pkg.packagesite import build_catalogue, parse_data, parse_packagesite
from pipeline.pkg.publickey import MAX_KEY
from pipeline.pkg.signature import (
    accept_unsigned,
    read_signed_archive,
    verify_fingerprints,
    verify_pubkey,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pipeline.host.fetch import Fetcher
    from pipeline.pkg.abi import Abi
    from pipeline.pkg.catalogue import Catalogue
    from pipeline.pkg.signature import SignedArchive, VerifiedPayload

_logger = logging.getLogger(__name__)

MAX_ARCHIVE: Final = 128 << 20
"""Bytes of a packed catalogue; that of all of FreeBSD's ports has about 10 MiB."""
MAX_PAYLOAD: Final = 512 << 20
"""Bytes of an unpacked catalogue; that of all of FreeBSD's ports has less than 100 MiB."""
MAX_FINGERPRINT_FILES: Final = 256

_META: Final = "meta.conf"
_OLD_META: Final = "meta.txz"
_OLD_META_MEMBER: Final = "meta"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySettings:
    """How a repository was declared, with all paths and URLs resolved."""

    name: str
    priority: int
    abi: Abi
    signature_type: str
    """`fingerprints`, `pubkey` or `none`."""
    fingerprints: Path | None
    """Directory with trusted/ and revoked/, for signature_type fingerprints."""
    pubkey: Path | None
    """Public key file, for signature_type pubkey."""
    allow_unsigned: bool
    """Needed by signature_type none."""
    allow_missing_meta: bool
    """Take pkg's defaults where the repository has no meta.conf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedCatalogue:
    """A catalogue, and what shows where it came from."""

    catalogue: Catalogue
    path: str
    """File name of the archive below the repository's URL."""
    digest: Digest
    """sha256 of the archive as fetched."""
    size: int
    signature_type: str
    fingerprint: str
    """sha256 of the public key that signed it, in hex; empty for signature_type none."""


def _say_nothing(_text: str) -> None:
    """Keep it to itself."""


def fetch_catalogue(
    settings: RepositorySettings, fetcher: Fetcher, *, say: Callable[[str], None] = _say_nothing
) -> FetchedCatalogue:
    """Fetch, verify and read a repository's catalogue.

    Args:
        settings: how the repository was declared.
        fetcher: its files.
        say: hears what is being done, for people: a large catalogue takes a while.

    Raises:
        FetchError: a file could not be had, or is larger than its limit.
        PackagesiteError, ArchiveError: a file is malformed.
        VerificationError: it is not signed as declared.
        FingerprintError, ConfigurationError: the declared keys cannot be used.
    """
    # (1) what to trust: read before anything is fetched, so that a wrong path costs nothing
    trust = _Trust(settings)
    # (2) names: not signed, hence only names
    meta = _fetch_meta(settings, fetcher, trust)
    # (3) the archive: data, else packagesite
    path, member, raw = _fetch_archive(fetcher, meta)
    what = f"{fetcher}/{path}"
    # (4) unpack within bounds and verify the bytes
    verified = trust.verify(raw, member, meta.certificates, what=what)
    # (5) parse
    parse = parse_data if member == meta.data else parse_packagesite
    try:
        records = parse(verified.payload)
        say(f"reading catalogue {settings.name}, {settings.abi}: {len(records):,} packages")
        catalogue = build_catalogue(
            records,
            repository=settings.name,
            priority=settings.priority,
            abi=settings.abi,
        )
    except FormatError as e:
        raise _located(e, what) from None
    if not verified.fingerprint:
        _logger.warning("%s: nothing was verified: signature_type none", settings.name)
    return FetchedCatalogue(
        catalogue=catalogue,
        path=path,
        digest=Digest.of(raw),
        size=len(raw),
        signature_type=settings.signature_type,
        fingerprint=verified.fingerprint,
    )


def _located(e: FormatError, what: str) -> FormatError:
    e.context = f"{what}: {e.context}" if e.context else what
    return e


# ---------------------------------------------------------------- files


def _fetch_meta(settings: RepositorySettings, fetcher: Fetcher, trust: _Trust) -> Meta:
    try:
        raw = fetcher.fetch_bytes(_META, max_length=MAX_UCL)
        what = f"{fetcher}/{_META}"
    except NotFoundError as missing:
        what = f"{fetcher}/{_OLD_META}"
        try:
            packed = fetcher.fetch_bytes(_OLD_META, max_length=MAX_UCL)
        except NotFoundError:
            if settings.allow_missing_meta:
                return DEFAULT_META
            missing.hint = "is the URL that of a pkg repository, with ABI and directory?"
            raise missing from None
        raw = trust.verify(packed, _OLD_META_MEMBER, {}, what=what).payload
    try:
        return Meta.parse(raw)
    except FormatError as e:
        raise _located(e, what) from None


def _fetch_archive(fetcher: Fetcher, meta: Meta) -> tuple[str, str, bytes]:
    """Return name, member and bytes of the first archive that exists.

    One that exists and is broken is an error: pkg goes on to the next, which would let whoever can
    damage a file choose among them.
    """
    tried = []
    for member in (meta.data, meta.manifests):
        for path in meta.archive_names(member):
            try:
                return path, member, fetcher.fetch_bytes(path, max_length=MAX_ARCHIVE)
            except NotFoundError:
                tried.append(path)
    raise NotFoundError(f"{fetcher}: no catalogue: none of {', '.join(tried)} is there")


class _Trust:
    """The declared keys, and what they say of an archive."""

    def __init__(self, settings: RepositorySettings) -> None:
        self._fingerprints: FingerprintSet | None = None
        self._public_key: bytes | None = None
        context = f"repositories.{settings.name}"
        if settings.signature_type == "fingerprints" and settings.fingerprints is not None:
            self._fingerprints = _read_fingerprints(settings.fingerprints)
        elif settings.signature_type == "pubkey" and settings.pubkey is not None:
            self._public_key = _read_file(settings.pubkey, MAX_KEY)
        elif settings.signature_type != "none":
            raise ConfigurationError(
                f"{context}: got signature_type {settings.signature_type!r} without keys,"
                " want fingerprints, pubkey, or none with allow_unsigned"
            )
        elif not settings.allow_unsigned:
            raise SignatureTypeError(
                f"{context}: got signature_type none, want a signature",
                hint="set allow_unsigned = true only if nobody can change the repository",
            )

    def verify(
        self, raw: bytes, member: str, certificates: Mapping[str, bytes], *, what: str
    ) -> VerifiedPayload:
        """Return the content of an archive if it is signed as declared."""
        archive = read_signed_archive(io.BytesIO(raw), member, limit=MAX_PAYLOAD, what=what)
        try:
            return self._verified(archive, certificates)
        except VerificationError as e:
            e.message = f"{what}: {e.message}"
            raise
        except FormatError as e:
            raise _located(e, what) from None

    def _verified(
        self, archive: SignedArchive, certificates: Mapping[str, bytes]
    ) -> VerifiedPayload:
        if self._fingerprints is not None:
            return verify_fingerprints(archive, self._fingerprints, certificates=certificates)
        if self._public_key is not None:
            return verify_pubkey(archive, self._public_key)
        return accept_unsigned(archive)


# ---------------------------------------------------------------- keys


def _read_fingerprints(directory: Path) -> FingerprintSet:
    trusted = directory / "trusted"
    if not trusted.is_dir():
        raise ConfigurationError(
            f"{trusted}: no such directory", hint="fingerprints = names the directory above it"
        )
    revoked = directory / "revoked"
    try:
        return FingerprintSet.from_files(
            _read_folder(trusted), _read_folder(revoked) if os.path.lexists(revoked) else {}
        )
    except FormatError as e:
        raise _located(e, str(directory)) from None


def _read_folder(folder: Path) -> dict[str, bytes]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as e:
        raise ConfigurationError(f"{folder}: {(e.strerror or 'cannot be read').lower()}") from e
    if len(paths) > MAX_FINGERPRINT_FILES:
        raise ConfigurationError(f"{folder}: more than {MAX_FINGERPRINT_FILES} files")
    return {path.name: _read_file(path, MAX_UCL) for path in paths}


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as e:
        raise ConfigurationError(f"{path}: {(e.strerror or 'cannot be read').lower()}") from e
    if len(raw) > limit:
        raise ConfigurationError(f"{path}: longer than {limit} bytes")
    return raw
