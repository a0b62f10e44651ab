"""The digest by which pkg compares packages: `2$2$` and a BLAKE2b-512 in z-base-32.

Source: freebsd/pkg 2.8.4, libpkg/pkg_checksum.c (pkg_checksum_generate) and libpkg/pkg_abi.c
(pkg_arch_to_legacy). pkg computes it from a catalogue's record and copies it into
`packages.manifestdigest`; `pkg upgrade` takes equal digests as the same package.

1. It covers pairs of key and value: `name`, `origin`, `version`, `arch` (the old spelling),
   `vital` (0 or 1), each option under its own name, `required_shlib`, `provided_shlib`, `user`,
   `group`, `depend` (`name~origin`), `provide`, `require`, and each file's path with its sum.
2. The pairs are sorted by their bytes, key first, and hashed with nothing between them.
3. Files are in it only if the record has files: catalogues that pkg <= 2.8.1 made with
   `pkg repo -l`. The caller says so (`with_files`): a package's own manifest always has files, its
   record rarely.
4. pkg <= 2.3, which writes schema 36, leaves `vital` out (`with_vital`).
5. A pkg of 32 bits uses BLAKE2s (`2$5$`). This is the digest of a pkg of 64 bits.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from pipeline.errors import DigestMismatchError
from pipeline.pkg.names import byte_order
from pipeline.pkg.sum import zbase32

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.pkg.manifest import PackageManifest

_PREFIX: Final = "2$2$"
"""Version 2 of the digest, type 2: blake2_base32."""

_LEGACY_ARCHITECTURES: Final[Mapping[str, str]] = {
    "i386": "x86:32",
    "amd64": "x86:64",
    "powerpc": "powerpc:32:eb",
    "powerpc64": "powerpc:64:eb",
    "powerpc64le": "powerpc:64:el",
    "sparc64": "sparc64:64",
    "ia64": "ia64:64",
    "armv6": "armv6:32:el:eabi:hardfp",
    "armv7": "armv7:32:el:eabi:hardfp",
    "aarch64": "aarch64:64",
    "aarch64c": "aarch64:64:cheri",
    "aarch64cb": "aarch64:64:cheri:benchmark",
    "mipsel": "mips:32:el:o32",
    "mipsn32el": "mips:32:el:n32",
    "mips": "mips:32:eb:o32",
    "mipsn32": "mips:32:eb:n32",
    "mips64el": "mips:64:el:n64",
    "mips64": "mips:64:eb:n64",
    "riscv32": "riscv:32:hf",
    "riscv32sf": "riscv:32:sf",
    "riscv64": "riscv:64:hf",
    "riscv64c": "riscv:64:cheri:hf",
    "riscv64sf": "riscv:64:sf",
}


def legacy_arch(abi: str) -> str:
    """Return the old spelling of an ABI: `FreeBSD:15:amd64` -> `freebsd:15:x86:64`."""
    os, *rest = abi.split(":", 2)
    if len(rest) < 2:  # noqa: PLR2004 - os:version:architecture
        return ":".join([os.lower(), *rest])
    version, architecture = rest
    return f"{os.lower()}:{version}:{_LEGACY_ARCHITECTURES.get(architecture, architecture)}"


def manifest_digest(record: PackageManifest, *, with_files: bool, with_vital: bool) -> str:
    """Compute the digest of a record (rules 1 to 4)."""
    pairs = [
        ("name", record.name),
        ("origin", record.origin),
        ("version", record.version),
        ("arch", record.arch),
        *record.options,
        *(("required_shlib", name) for name in record.shlibs_required),
        *(("provided_shlib", name) for name in record.shlibs_provided),
        *(("user", name) for name in record.users),
        *(("group", name) for name in record.groups),
        *(("depend", f"{d.name}~{d.origin}") for d in record.deps),
        *(("provide", name) for name in record.provides),
        *(("require", name) for name in record.requires),
    ]
    if with_vital:
        pairs.append(("vital", "1" if record.vital else "0"))
    if with_files:
        pairs += [(f.path, f.sum or "") for f in record.files]
    state = hashlib.blake2b()
    for key, value in sorted((byte_order(key), byte_order(value)) for key, value in pairs):
        state.update(key + value)
    return _PREFIX + zbase32(state.digest())


def verify_manifest_digest(
    record: PackageManifest, digest: str, *, with_files: bool, with_vital: bool
) -> str:
    """Return `digest` if it is the record's, raise DigestMismatchError otherwise."""
    got = manifest_digest(record, with_files=with_files, with_vital=with_vital)
    if got != digest:
        raise DigestMismatchError(f"{record.name_version}: digest", got=got, want=digest)
    return digest
