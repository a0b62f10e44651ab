"""Where the archives of a claim are fetched, and whom that asks. Pure.

The URLs of a lock are somebody else's words, so

1. `file:` means a directory of whoever made the lock: it is refused, unless the user says what
   takes its place (`--repository NAME=URL`) or, for a relative one, where it starts (`--root DIR`),
   and then it stays below that;
2. so are hosts that mean something else here than there: this machine, and its own network;
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
_NUMBER_RE: Final = re.compile("[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitutes:
    """What the user says about repositories."""

    urls: Mapping[str, str]
    """By name; with the variables that a declaration may use."""
    root: str | None
    """Absolute directory where relative `file:` URLs start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive that is needed, and where to get it."""

    url: str
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
        ConfigurationError: it is no such pair.
    """
    urls = {}
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not name or not equals or not url:
            raise ConfigurationError(f"got {pair!r}, want NAME=URL")
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
            raise ConfigurationError(f"no repository is called {name!r}, there is {known}")
    found: dict[str, Archive] = {}
    urls: dict[tuple[str, str, str], str] = {}
    for image in plan.images.values():
        for package in image.sources:
            key = (image.release, image.architecture, package.repository)
            if key not in urls:
                urls[key] = _url(image, package.repository, substitutes)
            found.setdefault(str(package.digest), Archive(url=urls[key], package=package))
    hosts = {_host(url) for url in urls.values()}
    return Needs(
        archives=tuple(found[digest] for digest in sorted(found)),
        hosts=tuple(sorted(host for host in hosts if host)),
    )


def _url(image: ImagePlan, name: str, substitutes: Substitutes) -> str:
    given = substitutes.urls.get(name)
    if given is not None:
        return _given(given, image)
    locked = next(r.url for r in image.target.repositories if r.name == name)
    hint = f"name a mirror, or a directory that has a copy: --repository {name}=URL"
    try:
        return _locked(locked, substitutes.root)
    except FormatError as e:
        raise ConfigurationError(f"repository {name}: {e}", hint=hint) from None


def _given(text: str, image: ImagePlan) -> str:
    try:
        url = expand_url(text, url_variables(image.release, image.architecture))
    except FormatError as e:
        raise ConfigurationError(str(e)) from None
    if _SCHEME_RE.match(url):
        return url
    return _file_url(posixpath.join(".", url))


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
        if _is_near(host):
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


def _is_near(host: str) -> bool:
    """Say whether a host is one of this machine's network, by its name (2)."""
    name = host.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        last = name.rpartition(".")[2]  # a name that ends in a number is an address, oddly written
        return "." not in name or name.endswith(_NEAR) or _NUMBER_RE.fullmatch(last) is not None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_global


def _host(url: str) -> str:
    """Return the host and port of a URL, empty for a directory."""
    return urlsplit(url).netloc.rpartition("@")[2]
