"""The hashed certificate directories below /etc/ssl, as `certctl rehash` makes them.

Specification: FreeBSD `usr.sbin/certctl/certctl.c` (15 and later) and `certctl.sh` (14 and
earlier, two families); OpenSSL for names (`subject`) and files (`pem`).

Copies (`rehash_copies`, 15 and later):

1. Untrusted are all certificates in the untrusted source directories, in /etc/ssl/untrusted and in
   /etc/ssl/blacklisted. Trusted are those in the trusted source directories and in /etc/ssl/certs
   that are not untrusted. Directories are read with what is below them, whatever a file's name is.
   A file may hold many certificates, or none.
2. Certificates are ordered by the SHA-1 digest of their DER. Each is written once, as
   `<subject hash>.<count>`, in PEM without text; cert.pem holds all trusted ones in that order.
3. Other files in the two directories are removed.

Links (`rehash_links`, 14 and earlier):

4. Only names in .pem, .crt, .cer and .crl count. Untrusted files are linked first; a trusted file
   is skipped if its certificate is untrusted. There is no cert.pem.
5. Symbolic family: each file stands for its first certificate, its link is relative; directories
   are not read recursively, the same certificate twice gives two links.
6. Mixed family: directories are read recursively, trusted certificates are linked once. A file with
   one line `Certificate:` is hard linked, one without is skipped, one with several is split before
   each such line and the pieces, without blank lines and comments, are copied.

The order in which find(1) visits files decides about numbers in the mixed family; here it is the
order of the paths as bytes. Left out: the directory names of 12 and 13 (`blacklisted`), metalogs.
"""

from __future__ import annotations

import enum
import hashlib
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.rootfs.sysdb.pem import iter_pem_certificates, write_pem_certificate
from pipeline.rootfs.sysdb.subject import certificate_der, subject_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_TRUSTED_DIRECTORY: Final = "etc/ssl/certs"
_UNTRUSTED_DIRECTORY: Final = "etc/ssl/untrusted"
_LEGACY_DIRECTORY: Final = "etc/ssl/blacklisted"
_BUNDLE: Final = "etc/ssl/cert.pem"
_SYSTEM_TRUSTED: Final = "usr/share/certs/trusted"
_SYSTEM_UNTRUSTED: Final = "usr/share/certs/untrusted"
_FILE_MODE: Final = 0o444
_LINKED_SUFFIXES: Final = (".pem", ".crt", ".cer", ".crl")
_TITLE: Final = b"Certificate:"
_SHELL_UNSAFE: Final = re.compile(r"[\s*?\[\\]")


class LinkFamily(enum.StrEnum):
    """What the shell versions of certctl install, by revision."""

    SYMBOLIC = "relative-symlink"
    MIXED = "mixed-link"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFile:
    """A file to be written."""

    path: str
    """Path below the root, without a leading slash."""
    content: bytes
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateLink:
    """A link to be made."""

    path: str
    """Path below the root, without a leading slash."""
    target: str
    """Text of a symbolic link; path below the root that a hard link shares."""
    is_symbolic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehash:
    """What a run changes; everything in it is sorted by path."""

    directories: tuple[str, ...]
    """To be made with mode 0755 if they are missing, with their parents."""
    removed: tuple[str, ...]
    """Given files that are gone afterwards."""
    files: tuple[CertificateFile, ...]
    links: tuple[CertificateLink, ...]


def source_directories(localbase: str) -> tuple[str, ...]:
    """Return the directories whose files any version reads, or removes, all below the root."""
    return (
        _TRUSTED_DIRECTORY,
        _UNTRUSTED_DIRECTORY,
        _LEGACY_DIRECTORY,
        "usr/share/certs",
        f"{localbase}/share/certs",
        f"{localbase}/etc/ssl",
    )


def rehash_copies(files: Mapping[str, bytes], *, localbase: str) -> Rehash:
    """Compute what certctl of FreeBSD 15 and later makes of a tree.

    Args:
        files: Content by path below the root; symbolic links with the content of their target.
        localbase: Usually `usr/local`.

    Raises:
        FormatError: a file has a certificate in a form that is not followed here.
    """
    local = f"{localbase}/share/certs"
    untrusted = _collect(
        files,
        (_SYSTEM_UNTRUSTED, f"{local}/untrusted", _UNTRUSTED_DIRECTORY, _LEGACY_DIRECTORY),
    )
    # `local` holds its own trusted directory, and its untrusted one, which is subtracted.
    trusted = _collect(files, (_SYSTEM_TRUSTED, local, _TRUSTED_DIRECTORY)) - untrusted
    bundle = b"".join(write_pem_certificate(certificate.der) for certificate in sorted(trusted))
    written = [
        *_copies(untrusted, _UNTRUSTED_DIRECTORY),
        *_copies(trusted, _TRUSTED_DIRECTORY),
        CertificateFile(path=_BUNDLE, content=bundle, mode=_FILE_MODE),
    ]
    installed = (
        path
        for path in files
        if posixpath.dirname(path) in {_TRUSTED_DIRECTORY, _UNTRUSTED_DIRECTORY}
    )
    return _rehash(installed, files=written, links=[])


def rehash_links(files: Mapping[str, bytes], *, localbase: str, family: LinkFamily) -> Rehash:
    """Compute what certctl of FreeBSD 14 and earlier makes of a tree.

    Args:
        files: Content by path below the root; symbolic links with the content of their target.
        localbase: Usually `usr/local`.
        family: Which of the two kinds of revisions.

    Raises:
        FormatError: a file has a certificate in a form that is not followed here, or a name that a
            shell would take apart.
    """
    local = f"{localbase}/etc/ssl"
    linker = _Linker(files, family)
    linker.add_untrusted((_SYSTEM_UNTRUSTED, f"{local}/untrusted", f"{local}/blacklisted"))
    linker.add_trusted((_SYSTEM_TRUSTED, f"{localbase}/share/certs", f"{local}/certs"))
    installed = _below(files, (_TRUSTED_DIRECTORY, _UNTRUSTED_DIRECTORY))
    return _rehash(installed, files=linker.files, links=linker.links)


def _rehash(
    installed: Iterable[str], *, files: list[CertificateFile], links: list[CertificateLink]
) -> Rehash:
    kept = {file.path for file in files} | {link.path for link in links}
    return Rehash(
        directories=(_TRUSTED_DIRECTORY, _UNTRUSTED_DIRECTORY),
        removed=_by_path(path for path in installed if path not in kept),
        files=tuple(sorted(files, key=lambda file: _order(file.path))),
        links=tuple(sorted(links, key=lambda link: _order(link.path))),
    )


@dataclass(frozen=True, slots=True, order=True)
class _Certificate:
    """A certificate, in the order in which certctl keeps them."""

    sha1: bytes
    der: bytes
    subject_hash: str


class _Linker:
    """The directories as they fill."""

    def __init__(self, files: Mapping[str, bytes], family: LinkFamily) -> None:
        self._files = files
        self._family = family
        self._counts: dict[str, int] = {}
        self._untrusted: set[_Certificate] = set()
        self._trusted: set[_Certificate] = set()
        self.files: list[CertificateFile] = []
        self.links: list[CertificateLink] = []

    def add_untrusted(self, directories: tuple[str, ...]) -> None:
        for path, piece in self._candidates(directories):
            certificate = self._first_certificate(path, piece)
            if certificate is not None:
                self._untrusted.add(certificate)
                self._install(_UNTRUSTED_DIRECTORY, certificate, path, piece)

    def add_trusted(self, directories: tuple[str, ...]) -> None:
        for path, piece in self._candidates(directories):
            certificate = self._first_certificate(path, piece)
            if certificate is None or certificate in self._untrusted:
                continue
            if certificate in self._trusted and self._family is LinkFamily.MIXED:
                continue
            self._trusted.add(certificate)
            self._install(_TRUSTED_DIRECTORY, certificate, path, piece)

    def _candidates(self, directories: tuple[str, ...]) -> Iterator[tuple[str, bytes | None]]:
        """Yield each file to be linked, or each piece of a file to be copied."""
        for directory in directories:
            for path in _below(self._files, (directory,)):
                if not path.endswith(_LINKED_SUFFIXES):
                    continue
                if self._family is LinkFamily.SYMBOLIC:
                    if posixpath.dirname(path) == directory:
                        yield _shell_safe(path), None
                    continue
                titles = self._files[path].split(b"\n").count(_TITLE)
                if titles == 1:
                    yield _shell_safe(path), None
                elif titles:
                    for piece in _split(self._files[path]):
                        yield _shell_safe(path), piece

    def _first_certificate(self, path: str, piece: bytes | None) -> _Certificate | None:
        content = self._files[path] if piece is None else piece
        return next(_certificates(path, content), None)

    def _install(
        self, directory: str, certificate: _Certificate, path: str, piece: bytes | None
    ) -> None:
        name = _next_name(self._counts, directory, certificate)
        if piece is not None:
            self.files.append(CertificateFile(path=name, content=piece, mode=_FILE_MODE))
            return
        is_symbolic = self._family is LinkFamily.SYMBOLIC
        target = posixpath.relpath(f"/{path}", f"/{directory}") if is_symbolic else path
        self.links.append(CertificateLink(path=name, target=target, is_symbolic=is_symbolic))


def _collect(files: Mapping[str, bytes], directories: tuple[str, ...]) -> frozenset[_Certificate]:
    return frozenset(
        certificate
        for path in _below(files, directories)
        for certificate in _certificates(path, files[path])
    )


def _copies(certificates: frozenset[_Certificate], directory: str) -> Iterator[CertificateFile]:
    counts: dict[str, int] = {}
    for certificate in sorted(certificates):
        yield CertificateFile(
            path=_next_name(counts, directory, certificate),
            content=write_pem_certificate(certificate.der),
            mode=_FILE_MODE,
        )


def _next_name(counts: dict[str, int], directory: str, certificate: _Certificate) -> str:
    """Return the path of the next certificate with this subject hash in a directory."""
    stem = f"{directory}/{certificate.subject_hash}"
    count = counts.get(stem, 0)
    counts[stem] = count + 1
    return f"{stem}.{count}"


def _certificates(path: str, content: bytes) -> Iterator[_Certificate]:
    """Yield the certificates of a file, up to the first block that is none."""
    try:
        for block in iter_pem_certificates(content):
            der = certificate_der(block)
            if der is None:
                return
            sha1 = hashlib.sha1(der, usedforsecurity=False).digest()
            yield _Certificate(sha1, der, subject_hash(der))
    except FormatError as e:
        raise FormatError(f"{path}: {e.message}") from None


def _split(content: bytes) -> Iterator[bytes]:
    """Split a file before its title lines, without empty lines and comments."""
    piece: list[bytes] = []
    for line in content.split(b"\n"):
        if not line or line.startswith(b"#"):
            continue
        if line == _TITLE and piece:
            yield b"\n".join((*piece, b""))
            piece = []
        piece.append(line)
    yield b"\n".join((*piece, b""))


def _below(files: Mapping[str, bytes], directories: tuple[str, ...]) -> tuple[str, ...]:
    """Return the given paths that lie below some directories."""
    prefixes = tuple(f"{directory}/" for directory in directories)
    return _by_path(path for path in files if path.startswith(prefixes))


def _by_path(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(paths, key=_order))


def _order(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _shell_safe(path: str) -> str:
    if _SHELL_UNSAFE.search(path):
        raise FormatError(f"{path!r}: got a name that the shell splits, want a plain one")
    return path
