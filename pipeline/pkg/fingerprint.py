"""FingerprintSet: which public keys may sign a repository, and which must not.

Source: freebsd/pkg 2.8.4, libpkg/pkg_repo.c (pkg_repo_parse_fingerprint and its callers).
A repository's `fingerprints` directory has two folders, `trusted` and `revoked`; each file in them
is UCL with `function: "sha256"` and `fingerprint: "<64 hex digits>"`, the digest of a public key
exactly as the catalogue carries it.

1. Revoked beats trusted: one revoked signer makes the whole catalogue untrusted.
2. pkg passes over a file that it cannot read; here it is an error: it may be a revocation. A file
   without any key is empty, whatever comments it has, and counts for nothing.
3. Hexadecimal digits and keys are read in either case, for the same reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import (
    FingerprintError,
    FormatError,
    RevokedFingerprintError,
    UntrustedFingerprintError,
)
from pipeline.formats.fields import get_required
from pipeline.formats.ucl import parse_ucl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FINGERPRINT_RE: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FingerprintSet:
    """Digests of public keys, in lower-case hex."""

    trusted: frozenset[str]
    revoked: frozenset[str]

    @classmethod
    def from_files(cls, trusted: Mapping[str, bytes], revoked: Mapping[str, bytes]) -> Self:
        """Read the files of the two folders, given as name -> content.

        Raises:
            FingerprintError: a file is malformed, or nothing is trusted.
        """
        result = cls(
            trusted=_parse_files(trusted, "trusted"), revoked=_parse_files(revoked, "revoked")
        )
        if not result.trusted:
            raise FingerprintError("got no fingerprint, want at least one", context="trusted")
        return result

    def verify_signers(self, fingerprints: Iterable[str]) -> frozenset[str]:
        """Return those of a catalogue's signers that are trusted.

        Raises:
            RevokedFingerprintError: one of them is revoked (rule 1).
            UntrustedFingerprintError: none of them is trusted.
        """
        signers = frozenset(fingerprints)
        if revoked := sorted(signers & self.revoked):
            raise RevokedFingerprintError(f"signed with key {revoked[0]}, which is revoked")
        if not signers & self.trusted:
            raise UntrustedFingerprintError(
                f"signed with {_listed(signers)}, want one of {_listed(self.trusted)}",
                hint="if you trust that key, put its fingerprint into the folder trusted/",
            )
        return signers & self.trusted


def _listed(fingerprints: frozenset[str]) -> str:
    return ", ".join(f"key {f}" for f in sorted(fingerprints))


def _parse_files(files: Mapping[str, bytes], folder: str) -> frozenset[str]:
    result = set()
    for name in sorted(files):
        try:
            fingerprint = parse_fingerprint(files[name])
        except FormatError as e:
            where = f"{folder}/{name}"
            context = f"{where}, {e.context}" if e.context else where
            raise FingerprintError(e.message, context=context) from None
        if fingerprint is not None:
            result.add(fingerprint)
    return frozenset(result)


def parse_fingerprint(raw: bytes) -> str | None:
    """Read one file; None if there is nothing in it (rule 2).

    Raises:
        FingerprintError: it has keys, but not one sha256 fingerprint.
    """
    try:
        document = parse_ucl(raw, lowercase_keys=True)
    except FormatError as e:
        raise FingerprintError(e.message, context=e.context) from None
    if not document:
        return None
    function = get_required(document, str, "function", error=FingerprintError)
    if function.lower() != "sha256":
        raise FingerprintError(f"got {function[:40]!r}, want sha256", context="function")
    fingerprint = get_required(document, str, "fingerprint", error=FingerprintError).lower()
    if not _FINGERPRINT_RE.fullmatch(fingerprint):
        raise FingerprintError(
            f"got {fingerprint[:80]!r}, want 64 hexadecimal digits", context="fingerprint"
        )
    return fingerprint
