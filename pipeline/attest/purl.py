"""Package URLs: `pkg:freebsd/NAME@VERSION?arch=ABI&origin=ORIGIN`, `pkg:oci/…`.

Specification: ECMA-427 (https://github.com/package-url/purl-spec). The type `freebsd` is the one
that syft and ScanCode write; the specification does not list it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNENCODED: Final = ":"
"""Besides letters, digits, `.`, `-`, `_` and `~` (ECMA-427, 5.4)."""


def freebsd_purl(name: str, version: str, *, abi: str, origin: str) -> str:
    """Return the package URL of a FreeBSD package."""
    return _purl("freebsd", name, version, {"arch": abi, "origin": origin})


def oci_purl(name: str, digest: str, *, arch: str, tag: str) -> str:
    """Return the package URL of an image.

    Args:
        name: the last component of its repository.
        digest: of the manifest.
        arch: as OCI calls it.
        tag: the tag.
    """
    return _purl("oci", name, digest, {"arch": arch, "tag": tag})


def _purl(kind: str, name: str, version: str, qualifiers: Mapping[str, str]) -> str:
    pairs = [
        f"{key}={quote(value, safe=_UNENCODED + '/')}"
        for key, value in sorted(qualifiers.items())
        if value
    ]
    query = f"?{'&'.join(pairs)}" if pairs else ""
    return f"pkg:{kind}/{quote(name, safe=_UNENCODED)}@{quote(version, safe=_UNENCODED)}{query}"
