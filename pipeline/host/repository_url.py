"""Repository URLs: the variables in them, and the fetcher that each kind needs.

pkg.conf(5) of freebsd/pkg 2.8.4: `${ABI}`, `${ARCH}`, `${OSNAME}`, `${VERSION_MAJOR}` and
`${VERSION_MINOR}` are replaced. `pkg+http` and `pkg+https` ask for mirrors in DNS (SRV records);
the plain name serves the same files and is used here. `file:` followed by a relative path starts at
a directory that the caller names; pkg has no such form.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from pipeline.errors import DeclarationError
from pipeline.host.directory_fetcher import DirectoryFetcher
from pipeline.host.http_client import Patience, shown
from pipeline.host.http_fetcher import HttpFetcher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.host.fetch import Fetcher

_VARIABLE_RE: Final = re.compile(r"\$(?:\{([^}]*)\}?)?")
_UNPRINTABLE_RE: Final = re.compile(r"[^!-~]")


def url_variables(release: str, architecture: str) -> dict[str, str]:
    """Return the variables for a release (`15.0`) and FreeBSD's name of an architecture."""
    major, _, minor = release.partition(".")
    return {
        "ABI": f"FreeBSD:{major}:{architecture}",
        "ARCH": architecture,
        "OSNAME": "FreeBSD",
        "VERSION_MAJOR": major,
        "VERSION_MINOR": minor,
    }


def expand_url(url: str, variables: Mapping[str, str]) -> str:
    """Put variables into a URL.

    Raises:
        DeclarationError: it has a variable that is not among them.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in variables or not match[0].endswith("}"):
            known = ", ".join(f"${{{k}}}" for k in sorted(variables))
            raise DeclarationError(f"got {match[0]!r} in a URL, want one of {known}")
        return variables[name]

    return _VARIABLE_RE.sub(value, url)


def open_fetcher(url: str, *, base: Path, patience: Patience | None = None) -> Fetcher:
    """Return the fetcher for a URL without variables.

    Args:
        url: http, https, pkg+http, pkg+https or file.
        base: where relative `file:` URLs start.
        patience: time-outs and attempts; the usual ones where None.

    Raises:
        DeclarationError: it is none of these, or has parts that make no sense here.
    """
    if _UNPRINTABLE_RE.search(url):
        raise DeclarationError("got blanks or other unprintable characters in a URL, want none")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for what is no port number
    except ValueError as e:
        raise DeclarationError(f"got a malformed URL: {str(e).lower()}") from None
    scheme = parts.scheme.removeprefix("pkg+")
    if parts.query or parts.fragment:
        raise DeclarationError(f"got {shown(url)} with a query or fragment, want none")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise DeclarationError(f"got {shown(url)}, want file:///path without a host")
        return DirectoryFetcher(base / unquote(parts.path))
    if scheme not in ("http", "https") or not parts.hostname:
        raise DeclarationError(f"got {shown(url)}, want http, https or file")
    return HttpFetcher(url.removeprefix("pkg+"), patience=patience)
