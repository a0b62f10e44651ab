"""Checksums as pkg(8) writes them: `<type>$<hash>`, or the bare hash of older versions.

Source: freebsd/pkg 2.8.4, libpkg/pkg_checksum.c.

1. `1$<64 hex>`: sha256 in lower-case hex (pkg <= 2.7 in manifests).
2. `2$<103 z-base-32>`: BLAKE2b-512, z-base-32 with bits packed from the least significant end
   (pkg >= 2.8).
3. `<64 hex>` without a type: sha256 (catalogues of pkg <= 2.7, old manifests).
4. A symlink's sum covers its target with leading slashes left out but the length kept, so that
   the NUL behind an absolute target is part of it (pkg_checksum_symlink_readlink).

Other types exist in pkg's table but are written by no version; they are refused.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final, Protocol, Self

import msgspec

from pipeline.errors import DigestMismatchError, FormatError

_FROM_BASE32: Final = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"ybndrfg8ejkmcpqxot1uwisza345h769"
)
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
    length = (len(data) * 8 + 4) // 5
    groups = -(-length // 8)
    digits = base64.b32encode(data[::-1].rjust(5 * groups, b"\0"))
    return digits[::-1][:length].translate(_FROM_BASE32).decode()


_TO_BASE32: Final = str.maketrans(
    "ybndrfg8ejkmcpqxot1uwisza345h769", "0123456789abcdefghijklmnopqrstuv"
)


def _zbase32_number(text: str) -> int:
    """Read z-base-32 as a number: int() knows base 32 and is quicker than encoding."""
    return int(text.translate(_TO_BASE32)[::-1], 32)


class Sum(msgspec.Struct, frozen=True, gc=False):
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
        if self.algorithm == "sha256":
            if raw.hex() != self.encoded:
                raise DigestMismatchError(f"{what}: sum", got=raw.hex(), want=self.encoded)
        elif int.from_bytes(raw, "little") != _zbase32_number(self.encoded):
            raise DigestMismatchError(f"{what}: sum", got=zbase32(raw), want=self.encoded)

    def verify_bytes(self, data: bytes, *, what: str) -> None:
        """Hash and compare at once."""
        state = self.start()
        state.update(data)
        self.verify(state, what=what)


def symlink_content(target: bytes) -> bytes | None:
    """Return the bytes that stand for a symlink in its sum (rule 4).

    None for a target with two or more leading slashes: pkg reads past the end of its buffer
    there, so that the sum depends on what lay behind it and means nothing.
    """
    stripped = target.lstrip(b"/")
    lost = len(target) - len(stripped)
    return None if lost > 1 else stripped + bytes(lost)
