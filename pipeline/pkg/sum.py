"""Checksums as pkg(8) writes them: `<type>$<hash>`, or the bare hash of older versions.

Source: freebsd/pkg 2.8.4, libpkg/pkg_checksum.c.

1. `1$<64 hex>`: sha256 in lower-case hex (pkg <= 2.7 in manifests).
2. `2$<103 z-base-32>`: BLAKE2b-512, z-base-32 with bits packed from the least significant end
   (pkg >= 2.8).
3. `<64 hex>` without a type: sha256 (catalogues of pkg <= 2.7, old manifests).
4. A symlink's sum covers its target with leading slashes stripped but the length kept, so that as
   many NUL bytes follow (pkg_checksum_symlink).

Other types exist in pkg's table but are written by no version; they are refused.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Protocol, Self

from pipeline.errors import DigestMismatchError, FormatError

_ALPHABET: Final = "ybndrfg8ejkmcpqxot1uwisza345h769"
_SHA256_RE: Final = re.compile(r"(?:1\$)?([0-9a-f]{64})")
_BLAKE2_RE: Final = re.compile(r"2\$([ybndrfg8ejkmcpqxot1uwisza345h769]{103})")


class HashState(Protocol):
    """What `hashlib` gives: feed bytes, read the digest."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take more bytes."""

    def digest(self) -> bytes:
        """Return the digest so far."""


def zbase32(data: bytes) -> str:
    """Encode in z-base-32, least significant bits first (pkg_checksum_encode_base32)."""
    number = int.from_bytes(data, "little")
    length = (len(data) * 8 + 4) // 5
    return "".join(_ALPHABET[(number >> (5 * i)) & 31] for i in range(length))


@dataclass(frozen=True, slots=True)
class Sum:
    """A parsed checksum; `str()` gives back the text it was parsed from."""

    text: str
    algorithm: str
    """`sha256` or `blake2b`, as hashlib names them."""
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse one of the three spellings."""
        if match := _BLAKE2_RE.fullmatch(text):
            return cls(text, "blake2b", match[1])
        if match := _SHA256_RE.fullmatch(text):
            return cls(text, "sha256", match[1])
        raise FormatError(f"got sum {text[:80]!r}, want 1$<hex>, 2$<z-base-32> or 64 hex digits")

    def __str__(self) -> str:
        return self.text

    def start(self) -> HashState:
        """Begin hashing content that is to be compared with this sum."""
        return hashlib.sha256() if self.algorithm == "sha256" else hashlib.blake2b()

    def verify(self, state: HashState, *, what: str) -> None:
        """Compare a finished hash; raise DigestMismatchError naming `what`."""
        raw = state.digest()
        got = raw.hex() if self.algorithm == "sha256" else zbase32(raw)
        if got != self.encoded:
            raise DigestMismatchError(f"{what}: sum", got=got, want=self.encoded)

    def verify_bytes(self, data: bytes, *, what: str) -> None:
        """Hash and compare at once."""
        state = self.start()
        state.update(data)
        self.verify(state, what=what)


def symlink_content(target: bytes) -> bytes:
    """Return the bytes that stand for a symlink in its sum (rule 4)."""
    stripped = target.lstrip(b"/")
    return stripped + bytes(len(target) - len(stripped))
