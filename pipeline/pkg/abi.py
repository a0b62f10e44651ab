"""Abi: `FreeBSD:15:amd64`, which packages fit it, and the OSVERSION rule.

Source: freebsd/pkg 2.8.4, libpkg/pkg_abi.c (machine_arch_translation, pkg_arch_to_legacy) and
libpkg/utils.c (is_valid_abi, is_valid_os_version).

1. A package names the ABIs that it fits by a pattern: the ABI itself, a glob (`FreeBSD:14:*`, `*`)
   or its leading components (`FreeBSD`, `FreeBSD:15`). Case is ignored, as pkg does.
   Stricter than pkg: `FreeBSD:1` fits nothing (pkg takes any leading characters), nor does the
   empty pattern.
2. Packages of old versions of pkg name only the old spelling, `freebsd:15:x86:64`; it is
   translated first. The architecture may itself have colons there.
3. Annotation `FreeBSD_version` is the `__FreeBSD_version` (OSVERSION) that a package was built for:
   it must not exceed that of the release. No annotation fits every release.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from pipeline.pkg.record import CatalogueRecord

_LEGACY_ARCHS: Final = {
    "i386": "x86:32",
    "amd64": "x86:64",
    "powerpc": "powerpc:32:eb",
    "powerpc64": "powerpc:64:eb",
    "powerpc64le": "powerpc:64:el",
    "armv6": "armv6:32:el:eabi:hardfp",
    "armv7": "armv7:32:el:eabi:hardfp",
    "aarch64": "aarch64:64",
    "riscv64": "riscv:64:hf",
}
"""The architectures of FreeBSD >= 13 and how the old spelling calls them."""

_MODERN_ARCHS: Final = {legacy: arch for arch, legacy in _LEGACY_ARCHS.items()}

_VERSION_RE: Final = re.compile(r"[1-9][0-9]{0,3}")
_OSVERSION_RE: Final = re.compile(r"0*[1-9][0-9]{0,9}")
_INT_MAX: Final = (1 << 31) - 1

OSVERSION_ANNOTATION: Final = "FreeBSD_version"


@dataclass(frozen=True, slots=True)
class Abi:
    """What a release runs on: operating system, major version, architecture."""

    os: str
    version: int
    arch: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `FreeBSD:15:amd64` or `freebsd:15:x86:64`.

        Raises:
            FormatError: if it is another system, or an architecture that FreeBSD does not have.
        """
        parts = modern_spelling(text).split(":")
        if len(parts) != 3 or not _VERSION_RE.fullmatch(parts[1]):  # noqa: PLR2004
            raise FormatError(f"got ABI {text[:80]!r}, want FreeBSD:<major version>:<arch>")
        if parts[0] != "FreeBSD":
            raise FormatError(f"got operating system {parts[0][:40]!r} in an ABI, want FreeBSD")
        if parts[2] not in _LEGACY_ARCHS:
            known = ", ".join(sorted(_LEGACY_ARCHS))
            raise FormatError(f"got architecture {parts[2][:40]!r} in an ABI, want one of {known}")
        return cls(parts[0], int(parts[1]), parts[2])

    def __str__(self) -> str:
        return f"{self.os}:{self.version}:{self.arch}"

    @property
    def legacy(self) -> str:
        """The old spelling, which manifests still carry as `arch`."""
        return f"{self.os.lower()}:{self.version}:{_LEGACY_ARCHS[self.arch]}"

    def matches(self, pattern: str) -> bool:
        """Tell whether a package that names `pattern` fits (rules 1 and 2)."""
        wanted = modern_spelling(pattern).lower()
        own = str(self).lower()
        return bool(wanted) and (
            f"{own}:".startswith(f"{wanted}:") or fnmatch.fnmatchcase(own, wanted)
        )


def modern_spelling(pattern: str) -> str:
    """Translate the old spelling of an ABI or a pattern; return anything else as it is."""
    os, _, rest = pattern.partition(":")
    version, _, arch = rest.partition(":")
    if os != "freebsd":
        return pattern
    return ":".join(filter(None, ("FreeBSD", version, _MODERN_ARCHS.get(arch, arch))))


def parse_osversion(text: str) -> int:
    """Read an OSVERSION such as `1500068`."""
    if not _OSVERSION_RE.fullmatch(text) or int(text) > _INT_MAX:
        raise FormatError(f"got {OSVERSION_ANNOTATION} {text[:40]!r}, want 1 to {_INT_MAX}")
    return int(text)


def osversion_of(record: CatalogueRecord) -> int | None:
    """Return the OSVERSION that a package was built for (rule 3), or None."""
    if record.osversion is None:
        return None
    try:
        return parse_osversion(record.osversion)
    except FormatError as e:
        raise e.within(f"{record.name_version}.annotations") from None


def highest_osversion(major: int, minor: int) -> int:
    """Return the last OSVERSION that release `major.minor` can have (`__FreeBSD_version`)."""
    return major * 100_000 + minor * 1_000 + 999
