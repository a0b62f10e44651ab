"""Where the archives of a claim are fetched, and whom that asks. Pure.

The URLs of a lock are somebody else's words, so

1. `file:` means a directory of whoever made the lock: it is refused, unless the user says what
   takes its place (`--repository NAME=URL`) or, for a relative one, where it starts (`--root DIR`),
   and then it stays below that;
2. so are hosts that mean something else here than there: this machine, and its own network; what a
   public host leads to is looked at when it does (`verify_public`);
3. a URL with an account in it is refused.

What comes is believed by the digests of the lock alone, so any mirror will do.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from pipeline.errors import ConfigurationError, FormatError
from pipeline.host.repository_url import expand_url, url_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.pkg.lockfile import LockedPackage
    from pipeline.stages.plan import ImagePlan, Plan

_REMOTE: Final = frozenset({"http", "https", "pkg+http", "pkg+https"})
_SCHEME_RE: Final = re.compile("[a-z+]+:", re.IGNORECASE)
_NEAR: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Where IPv4 lies in IPv6 (RFC 6052)."""
_NUMBER_RE: Final = re.compile("[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitutes:
    """What the user says about repositories."""

    urls: Mapping[str, str]
    """By name of the repository; with the variables that a declaration may use."""
    root: str | None
    """Absolute directory where relative `file:` URLs start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive that is needed, and where to get it."""

    url: str
    is_given: bool
    """Whether the user has named the place; else it is the lock's word."""
    package: LockedPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What has to be fetched."""

    archives: tuple[Archive, ...]
    """Each content once, by digest."""
    hosts: tuple[str, ...]
    """Who is asked for it; a directory is nobody."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(archive.package.size for archive in self.archives)


def parse_substitutes(pairs: tuple[str, ...], *, root: str | None) -> Substitutes:
    """Read `NAME=URL`; a URL without a scheme is a directory.

    Raises:
        ConfigurationError: it is no such pair, or no such URL.
    """
    urls = {}
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not name or not equals or not url:
            raise ConfigurationError(f"got {pair!r}, want NAME=URL")
        _expanded(url, "1.0", "amd64")
        urls[name] = url
    return Substitutes(urls=urls, root=root)


def find_needs(plan: Plan, substitutes: Substitutes) -> Needs:
    """Say what has to be fetched to build some images.

    Raises:
        ConfigurationError: a repository cannot be reached as it stands, or there is none of a name
            that was given.
    """
    declared = plan.declaration.repositories
    for name in substitutes.urls:
        if name not in declared:
            known = ", ".join(sorted(declared))
            raise ConfigurationError(
                f"no repository is called {name!r}", hint=f"--repository NAME=URL, of {known[:300]}"
            )
    found: dict[str, Archive] = {}
    urls: dict[tuple[str, str, str], str] = {}
    for image in plan.images.values():
        for package in image.sources:
            key = (image.release, image.architecture, package.repository)
            if key not in urls:
                urls[key] = repository_url(image, package.repository, substitutes)
            archive = Archive(
                url=urls[key], is_given=package.repository in substitutes.urls, package=package
            )
            found.setdefault(str(package.digest), archive)
    hosts = {_host(url) for url in urls.values()}
    return Needs(
        archives=tuple(found[digest] for digest in sorted(found)),
        hosts=tuple(sorted(host for host in hosts if host)),
    )


def repository_url(image: ImagePlan, name: str, substitutes: Substitutes) -> str:
    """Return where a repository of an image is.

    Raises:
        ConfigurationError: it cannot be reached as it stands.
    """
    given = substitutes.urls.get(name)
    if given is not None:
        return _expanded(given, image.release, image.architecture)
    locked = next(r.url for r in image.target.repositories if r.name == name)
    hint = f"name a mirror, or a directory that has a copy: --repository {name}=URL"
    try:
        return _locked(locked, substitutes.root)
    except FormatError as e:
        raise ConfigurationError(f"repository {name}: {e}", hint=hint) from None


def _expanded(text: str, release: str, architecture: str) -> str:
    """Return a URL that the user has written, with variables put in."""
    try:
        url = expand_url(text, url_variables(release, architecture))
    except FormatError as e:
        raise ConfigurationError(str(e)) from None
    scheme = _SCHEME_RE.match(url)
    if scheme is None:
        return _file_url(posixpath.join(".", url))
    if scheme[0][:-1].lower() not in (*_REMOTE, "file"):
        raise ConfigurationError(
            f"got {url[:80]!r} for a repository, want http, https, file or a directory"
        )
    return url


def _file_url(path: str) -> str:
    """Return what `pipeline.host.repository_url.open_fetcher` takes for a path."""
    return f"file:{quote(path)}"


def _locked(url: str, root: str | None) -> str:
    """Return a URL of a lock if it may be used (1, 2, 3)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise FormatError(f"got a malformed URL, {url[:80]!r}") from None
    if parts.scheme in _REMOTE and host:
        if "@" in parts.netloc:
            raise FormatError("has an account in its URL, and this is a published lock")
        if is_near(host):
            raise FormatError(f"is at {host[:80]}, which here is another machine than there")
        return url
    path = unquote(parts.path)
    if parts.scheme != "file" or parts.netloc or not path:
        raise FormatError(f"got URL {url[:80]!r}, want http or https")
    if path.startswith("/") or root is None:
        raise FormatError(f"is the directory {path[:80]!r} of whoever made the lock")
    if ".." in path.split("/"):
        raise FormatError(f"is {path[:80]!r}, which leads out of its directory")
    return _file_url(posixpath.join(root, path))


def is_near(host: str) -> bool:
    """Say whether a host is this machine, or one of its network, by its name or address (2)."""
    name = host.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        last = name.rpartition(".")[2]  # a name that ends in a number is an address, oddly written
        return "." not in name or name.endswith(_NEAR) or _NUMBER_RE.fullmatch(last) is not None
    meant = _inner(address) or (address,)
    return not all(a.is_global and not a.is_multicast for a in meant)


def _inner(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 address that an IPv6 address leads to, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    translated = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
    return tuple(filter(None, (address.ipv4_mapped, address.sixtofour, translated)))


def _host(url: str) -> str:
    """Return the host and port of a URL, empty for a directory."""
    return urlsplit(url).netloc.rpartition("@")[2]
