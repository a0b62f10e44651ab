"""Reference: the name of an image in a registry, `host[:port]/path[:tag][@digest]`.

Specification: distribution-spec v1.1 (names and tags of a repository), and the rules by which
docker, podman and skopeo complete short names (github.com/distribution/reference):

1. The first component is the host if it has a dot, a colon or a capital, or is `localhost`;
   without a host the registry is docker.io, and there a single component is below `library/`.
2. `index.docker.io` and `registry-1.docker.io` are docker.io.
3. Host and path together have 255 characters at the most; a path that is a bare digest is refused.

Only sha256 digests exist here. A leading `docker://`, as skopeo writes it, is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Self

from pipeline.errors import FormatError
from pipeline.formats.digest import Digest

DOCKER: Final = "docker.io"
DEFAULT_TAG: Final = "latest"

_DOCKER_HOSTS: Final = frozenset({DOCKER, "index.docker.io", "registry-1.docker.io"})
_DOCKER_API: Final = "registry-1.docker.io"
_OFFICIAL: Final = "library/"
_TRANSPORT: Final = "docker://"
_MAX_NAME: Final = 255
_MAX_PORT: Final = 65535

_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST_RE: Final = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_COMPONENT: Final = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH_RE: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG_RE: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST_RE: Final = re.compile("[0-9a-f]{64}")
_ACCOUNT_RE: Final = re.compile("^(?:[a-z]+://)?[^/]*@(?!sha256:)")


def _shown(text: str) -> str:
    """Return what was given, for people; an account in front of a host is not repeated."""
    plain = _ACCOUNT_RE.sub("", text)
    return f"{'…@' if plain != text else ''}{plain[:300]}"


def check_host(text: str) -> str:
    """Return a registry's host and port if that is what it is."""
    match = _HOST_RE.fullmatch(text)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        raise FormatError(f"got registry {_shown(text)!r}, want a host name and perhaps a port")
    return text


def check_path(text: str) -> str:
    """Return the path of a repository within its registry if that is what it is."""
    if _PATH_RE.fullmatch(text) is None or _DIGEST_RE.fullmatch(text):
        raise FormatError(
            f"got repository {text[:300]!r}, want lower-case words between slashes"
            " (letters, digits; dots, dashes and underscores within a word)"
        )
    return text


def check_tag(text: str) -> str:
    """Return a tag if that is what it is."""
    if _TAG_RE.fullmatch(text) is None:
        raise FormatError(
            f"got tag {text[:300]!r}, want up to 128 letters, digits, dots, dashes and underscores,"
            " neither a dot nor a dash first"
        )
    return text


def canonical_host(host: str) -> str:
    """Return docker.io for each of its names (2), any other host as it is."""
    return DOCKER if host in _DOCKER_HOSTS else host


def api_host(host: str) -> str:
    """Return where the registry of that name answers."""
    return _DOCKER_API if host == DOCKER else host


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What image, in which repository of which registry."""

    host: str
    """With its port, if it has one; docker.io under this name."""
    path: str
    """Of the repository, within the registry."""
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        check_host(self.host)
        check_path(self.path)
        if self.tag is not None:
            check_tag(self.tag)
        if len(self.name) > _MAX_NAME:
            raise FormatError(f"got a name of {len(self.name)} characters, want {_MAX_NAME}")

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """Host and path, without tag and digest."""
        return f"{self.host}/{self.path}"

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest if there is one, else the tag."""
        return str(self.digest) if self.digest is not None else self.tag or DEFAULT_TAG

    def with_digest(self, digest: Digest) -> Self:
        """Return the same image, by what it is."""
        return replace(self, digest=digest)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a reference, completing short names (1, 2).

        Raises:
            FormatError: it is none.
        """
        if _ACCOUNT_RE.match(text.removeprefix(_TRANSPORT)):
            raise FormatError(
                f"got reference {_shown(text)!r}, want HOST/PATH[:TAG][@sha256:DIGEST], no account",
                hint="log in, e.g. with podman login",
            )
        rest, at, digest = text.removeprefix(_TRANSPORT).partition("@")
        start = rest.rfind("/") + 1
        last, colon, tag = rest[start:].partition(":")
        host, path = _split_host(rest[:start] + last)
        try:
            return cls(
                host=host,
                path=path,
                tag=tag if colon else None,
                digest=Digest.parse(digest) if at else None,
            )
        except FormatError as e:
            raise e.within(f"reference {text[:300]!r}") from None


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = first == "localhost" or any(c in ".:" or c.isupper() for c in first)
    host, path = (canonical_host(first), rest) if slash and is_host else (DOCKER, name)
    if host == DOCKER and path and "/" not in path and not _DIGEST_RE.fullmatch(path):
        return host, _OFFICIAL + path
    return host, path


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Where images go: a registry, and perhaps a namespace in it."""

    host: str
    path: str
    """Empty where repositories are at the registry's top."""

    def __post_init__(self) -> None:
        check_host(self.host)
        if self.path:
            check_path(self.path)

    def __str__(self) -> str:
        return f"{self.host}/{self.path}" if self.path else self.host

    def repository(self, name: str) -> str:
        """Return the path of a repository below the prefix."""
        return check_path(f"{self.path}/{name}" if self.path else name)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `host[:port][/namespace]`; a host has to look like one (1).

        Raises:
            FormatError: it is something else.
        """
        host, _, path = text.removeprefix(_TRANSPORT).rstrip("/").partition("/")
        if host != "localhost" and not any(c in ".:" for c in host):
            raise FormatError(
                f"got {_shown(text)!r}, want a registry and perhaps a namespace in it"
            )
        return cls(host=canonical_host(host), path=path)
