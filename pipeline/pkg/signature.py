"""Signed archives of a repository: the content comes out only with its signature verified.

Source: freebsd/pkg 2.8.4, libpkg/pkg_repo.c (pkg_repo_meta_extract_signature_*,
pkg_repo_archive_extract_check_archive). `data.pkg`, `packagesite.pkg` and `meta.txz` are tars with
one member of content and, in any order, its signatures:

1. `signature` (`pkg repo DIR KEY`): checked with a public key file, signature_type pubkey.
2. `<name>.sig` and `<name>.pub` (`signing_command`): the public key comes along and its sha256,
   over the exact bytes after the header of rule 3, must be a trusted fingerprint. There may be
   several signers: none may be revoked, and one that is trusted must have signed well.
3. Other types than rsa stand in a header, `$PKGSIGN:<type>$`, before the signature and the key. The
   two must agree (pkg lets the later one count).
4. H is the sha256 of the content in lower-case hex. In both modes an rsa key signs the 64 bytes H;
   ecdsa and eddsa keys sign the raw BLAKE2b-512 of the content with signature_type pubkey and H
   with fingerprints. The member `signature` of an rsa key may have one NUL behind it.
5. A second member of a name that means something here is refused, and so are links.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import (
    ArchiveError,
    MissingSignatureError,
    SignatureError,
    SignatureTypeError,
    TooLargeError,
)
from pipeline.formats.decompression import open_decompressed
from pipeline.formats.tar import REGULAR, TarReader
from pipeline.pkg.publickey import KeyType, verify_legacy_rsa, verify_signature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from pipeline.pkg.fingerprint import FingerprintSet

MAX_SIGNATURE: Final = 64 << 10
"""Bytes of one signature or public key inside an archive."""
MAX_SIGNATURE_MEMBERS: Final = 8
"""`.sig` and `.pub` members of one archive, as in pkg (PKG_REPO_MAX_SIGNATURE_ENTRIES)."""

_MAX_MEMBERS: Final = 64
_OVERHEAD: Final = 4 << 20
"""Bytes of an archive besides its content: headers, signatures, padding."""

_SIGNATURE: Final = "signature"
_HEAD: Final = b"$PKGSIGN:"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedArchive:
    """The members of an archive; nothing in it is to be believed yet."""

    payload: bytes
    signatures: Mapping[str, bytes]
    """Content of `signature`, `….sig` and `….pub`, by member name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPayload:
    """Content that somebody vouches for."""

    payload: bytes
    fingerprint: str
    """sha256 of the public key, in hex; empty if nobody signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signer:
    key_type: KeyType
    signature: bytes
    public_key: bytes


def read_signed_archive(source: BinaryIO, member: str, *, limit: int, what: str) -> SignedArchive:
    """Take the content called `member` and its signatures out of an archive.

    Args:
        source: the archive, seekable, compressed in any way that pkg packs.
        member: name of the content, e.g. `data`.
        limit: bytes of content that are accepted.
        what: name of the archive for error messages.

    Raises:
        ArchiveError: it is damaged, or has no such member, or has it twice.
        TooLargeError: the content is larger than `limit`.
        SignatureError: a signature is empty, oversized, or one of too many.
    """
    try:
        stream = open_decompressed(source, limit=limit + _OVERHEAD, what=what)
        return _read_members(TarReader(stream), member, limit=limit, what=what)
    except ArchiveError as e:
        raise e.within(what) from None


def _read_members(reader: TarReader, member: str, *, limit: int, what: str) -> SignedArchive:
    payload: bytes | None = None
    signatures: dict[str, bytes] = {}
    for count, entry in enumerate(reader):
        if count >= _MAX_MEMBERS:
            raise ArchiveError(f"more than {_MAX_MEMBERS} members")
        is_signature = entry.name == _SIGNATURE or entry.name.endswith((".sig", ".pub"))
        if entry.name != member and not is_signature:
            continue
        if entry.kind != REGULAR:
            raise ArchiveError(f"member {entry.name!r} is no regular file")
        if entry.name in signatures or (entry.name == member and payload is not None):
            raise ArchiveError(f"member {entry.name!r} twice")
        if entry.name == member:
            if entry.size > limit:
                raise TooLargeError(f"{what}: {member}", limit)
            payload = reader.read()
            continue
        if not 0 < entry.size <= MAX_SIGNATURE:
            raise SignatureError(
                f"{what}: got {entry.name[:80]!r} of {entry.size} bytes, want 1 to {MAX_SIGNATURE}"
            )
        signatures[entry.name] = reader.read()
    if payload is None:
        raise ArchiveError(f"no member {member!r}")
    return SignedArchive(payload=payload, signatures=signatures)


def accept_unsigned(archive: SignedArchive) -> VerifiedPayload:
    """Return the content without looking at any signature: signature_type none."""
    return VerifiedPayload(payload=archive.payload, fingerprint="")


# ---------------------------------------------------------------- pubkey


def verify_pubkey(archive: SignedArchive, public_key: bytes) -> VerifiedPayload:
    """Return the content if the owner of a public key signed it (rule 1).

    Raises:
        MissingSignatureError, SignatureTypeError, SignatureError: it is not signed so.
        FingerprintError: the key cannot be used.
    """
    raw = archive.signatures.get(_SIGNATURE)
    if raw is None:
        if any(name.endswith(".sig") for name in archive.signatures):
            raise SignatureTypeError(
                "got signatures for signature_type fingerprints, want one for pubkey"
            )
        raise MissingSignatureError("got no signature, want one for signature_type pubkey")
    key_type, signature = _split_header(raw)
    if key_type is KeyType.RSA:
        _verify_rsa_pubkey(archive.payload, signature, public_key)
    else:
        verify_signature(
            hashlib.blake2b(archive.payload).digest(),
            signature,
            public_key=public_key,
            key_type=key_type,
        )
    return VerifiedPayload(
        payload=archive.payload, fingerprint=hashlib.sha256(public_key).hexdigest()
    )


def _verify_rsa_pubkey(payload: bytes, signature: bytes, public_key: bytes) -> None:
    message = _hex_digest(payload)
    signature = signature.removesuffix(b"\0")
    try:
        verify_signature(message, signature, public_key=public_key, key_type=KeyType.RSA)
    except SignatureError:
        verify_legacy_rsa(message, signature, public_key=public_key)


# ---------------------------------------------------------------- fingerprints


def verify_fingerprints(
    archive: SignedArchive,
    fingerprints: FingerprintSet,
    *,
    certificates: Mapping[str, bytes],
) -> VerifiedPayload:
    """Return the content if a trusted signer, and no revoked one, signed it (rule 2).

    Args:
        archive: with `.sig` members.
        fingerprints: trusted and revoked keys.
        certificates: keys by name, out of meta.conf, for a `.sig` that has no `.pub` beside it.

    Raises:
        RevokedFingerprintError, UntrustedFingerprintError: as to the keys.
        MissingSignatureError, SignatureTypeError, SignatureError: as to the signatures.
    """
    signers = _signers(archive, certificates)
    trusted = fingerprints.verify_signers(signers)
    failure: SignatureError | None = None
    for fingerprint in sorted(trusted):
        signer = signers[fingerprint]
        try:
            verify_signature(
                _hex_digest(archive.payload),
                signer.signature,
                public_key=signer.public_key,
                key_type=signer.key_type,
            )
        except SignatureError as e:
            failure = e
        else:
            return VerifiedPayload(payload=archive.payload, fingerprint=fingerprint)
    assert failure is not None  # verify_signers returns at least one
    raise failure


def _signers(archive: SignedArchive, certificates: Mapping[str, bytes]) -> dict[str, _Signer]:
    """Pair signatures with keys; the result is by fingerprint."""
    members = [name for name in archive.signatures if name != _SIGNATURE]
    if not members:
        if _SIGNATURE in archive.signatures:
            raise SignatureTypeError(
                "got a signature for signature_type pubkey, want one for fingerprints"
            )
        raise MissingSignatureError("got no signature, want one for signature_type fingerprints")
    if len(members) > MAX_SIGNATURE_MEMBERS:
        raise SignatureError(
            f"got {len(members)} signatures and keys, want at most {MAX_SIGNATURE_MEMBERS}"
        )
    result: dict[str, _Signer] = {}
    for name in sorted({member[:-4] for member in members}):
        signer = _signer(name, archive.signatures, certificates)
        fingerprint = hashlib.sha256(signer.public_key).hexdigest()
        if fingerprint in result:
            raise SignatureError(f"key {fingerprint} signed twice")
        result[fingerprint] = signer
    return result


def _signer(
    name: str, signatures: Mapping[str, bytes], certificates: Mapping[str, bytes]
) -> _Signer:
    raw_signature = signatures.get(f"{name}.sig")
    if raw_signature is None:
        raise MissingSignatureError(f"got key {name[:80]!r} and no signature of it")
    key_type, signature = _split_header(raw_signature)
    raw_key = signatures.get(f"{name}.pub")
    if raw_key is None:
        if name not in certificates:
            raise MissingSignatureError(f"got signature {name[:80]!r} and no public key for it")
        return _Signer(key_type=key_type, signature=signature, public_key=certificates[name])
    stated, public_key = _split_header(raw_key)
    if stated is not key_type:
        raise SignatureTypeError(f"got a signature of type {key_type}, and a key of type {stated}")
    return _Signer(key_type=key_type, signature=signature, public_key=public_key)


def _split_header(raw: bytes) -> tuple[KeyType, bytes]:
    """Take the header of rule 3 off; without one the type is rsa."""
    if not raw.startswith(_HEAD):
        return KeyType.RSA, raw
    name, mark, rest = raw[len(_HEAD) :].partition(b"$")
    if not mark:
        raise SignatureTypeError("got $PKGSIGN: without an end, want $PKGSIGN:<type>$")
    return KeyType.parse(name.decode("ascii", "replace")), rest


def _hex_digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).hexdigest().encode("ascii")
