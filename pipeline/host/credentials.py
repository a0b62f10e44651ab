"""Credentials for registries, from where podman, skopeo and docker keep them.

Specification: containers-auth.json(5), docker's config.json, docker-credential-helpers.

1. Files, in this order: the file that the caller names or, without one, the file that
   REGISTRY_AUTH_FILE names, and then no other. Else on Linux
   `$XDG_RUNTIME_DIR/containers/auth.json` (`/run/containers/<uid>/auth.json` where that variable
   is not set), elsewhere, on FreeBSD too, `~/.config/containers/auth.json`; then
   `$XDG_CONFIG_HOME/containers/auth.json` (`~/.config/…`), `$DOCKER_CONFIG/config.json`
   (`~/.docker/…`), `~/.dockercfg`. (github.com/containers/container-libs: image/pkg/docker/config)
2. In a file: `credHelpers` of the host; then `auths` of the longest matching prefix of
   `host/path`, then of the host as a URL, as docker writes it; then `credsStore`, which only docker
   has. An entry without content, which docker leaves beside a store, says nothing.
3. A helper is `docker-credential-<name> get` with the host on its standard input. A helper of
   `credHelpers` that does not exist is an error; a `credsStore` that does not exist is docker's
   business on some other machine and passed over with a warning.
4. No secret is in a log, an argument, an error or a `repr`. What a helper says when it fails is
   not repeated.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError
from pipeline.host.command import inherited, run
from pipeline.oci.reference import DOCKER, canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_logger = logging.getLogger(__name__)

_DOCKER_URL: Final = "https://index.docker.io/v1/"
"""docker.io, as docker calls it."""
_TOKEN_USER: Final = "<token>"  # noqa: S105  - docker-credential-helpers: no password, but its mark
_MAX_FILE: Final = 4 << 20
_HELPER_SECONDS: Final = 120.0
"""A helper may ask a person."""
_HELPER_RE: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FOUND: Final = b"credentials not found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An account at a registry."""

    username: str
    secret: str = field(repr=False)
    is_identity_token: bool
    """Whether the secret is an OAuth 2 refresh token rather than a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthFile:
    """A file that may hold credentials."""

    path: Path
    is_legacy: bool = False
    """`.dockercfg`: only the entries, without sections around them."""


def auth_files(
    environment: Mapping[str, str], *, uid: int, platform: str = sys.platform
) -> tuple[AuthFile, ...]:
    """Return the files to look into, in order (1)."""
    if named := environment.get("REGISTRY_AUTH_FILE"):
        return (AuthFile(path=Path(named)),)
    home = Path(environment.get("HOME") or "/nonexistent")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    primary = home / ".config/containers"
    if platform == "linux":
        runtime = environment.get("XDG_RUNTIME_DIR")
        primary = Path(runtime, "containers") if runtime else Path("/run/containers", str(uid))
    paths = (
        primary / "auth.json",
        config / "containers/auth.json",
        docker / "config.json",
    )
    return (
        *(AuthFile(path=path) for path in dict.fromkeys(paths)),
        AuthFile(path=home / ".dockercfg", is_legacy=True),
    )


def find_credentials(host: str, path: str, *, auth_file: Path | None = None) -> Credentials | None:
    """Look up the account for a repository; None where there is none.

    Args:
        host: of the registry, with its port; docker.io under this name.
        path: of the repository.
        auth_file: look only here; it must exist.

    Raises:
        ConfigurationError: a file cannot be understood, or a helper fails.
    """
    if auth_file is not None:
        if not auth_file.is_file():
            raise ConfigurationError(f"{auth_file}: there is no such file of credentials")
        return _find_in(AuthFile(path=auth_file), host, path)
    for file in auth_files(inherited(), uid=os.getuid()):
        credentials = _find_in(file, host, path)
        if credentials is not None:
            return credentials
    return None


def _find_in(file: AuthFile, host: str, path: str) -> Credentials | None:
    document = _read(file.path)
    if file.is_legacy:
        document = {"auths": document}
    helper = _section(document, "credHelpers", file.path).get(host)
    if helper:
        return _ask(_helper(helper, file.path), host)
    auths = _section(document, "auths", file.path)
    for key in _keys(auths, host, path):
        credentials = _decode(auths[key], f"{file.path}: auths.{key}")
        if credentials is not None:
            return credentials
    store = document.get("credsStore")
    return _ask_store(_helper(store, file.path), host) if store else None


# ---------------------------------------------------------------- files


def _read(path: Path) -> dict[str, object]:
    """Return a file's document, empty where there is no file. Errors do not quote it (4)."""
    try:
        with path.open("rb") as f:
            data = f.read(_MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as e:
        raise ConfigurationError(f"{path}: {(e.strerror or 'cannot be read').lower()}") from None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f"{path}: not JSON", hint="log in again, e.g. with podman login"
        ) from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: want an object at the top")
    return document


def _section(document: Mapping[str, object], name: str, path: Path) -> dict[str, object]:
    section = document.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise ConfigurationError(f"{path}: {name}: want an object")
    return section


def _keys(auths: Mapping[str, object], host: str, path: str) -> Iterator[str]:
    """Yield the entries that may hold the account, the closest first (2)."""
    key = f"{host}/{path}" if path else host
    while key:
        if key in auths:
            yield key
        key = key.rpartition("/")[0]
    yield from (key for key in auths if _plain(key) == _plain(host))


def _plain(key: str) -> str:
    """Return the host of an entry that docker has written as a URL, or of docker.io's names."""
    bare = key.removeprefix("https://").removeprefix("http://")
    host = bare.partition("/")[0] if bare != key else key
    return canonical_host(host)


def _decode(entry: object, where: str) -> Credentials | None:
    """Read an entry of `auths`; None where it is empty."""
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where}: want an object")
    auth, token = (entry.get(key) or "" for key in ("auth", "identitytoken"))
    if not isinstance(auth, str) or not isinstance(token, str):
        raise ConfigurationError(f"{where}: want strings")
    try:
        pair = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{where}: auth is not base64 of user:password") from None
    username, colon, password = pair.partition(":")
    if token:
        return Credentials(username=username, secret=token, is_identity_token=True)
    if not pair:
        return None
    if not colon:
        raise ConfigurationError(f"{where}: auth is not base64 of user:password")
    return Credentials(username=username, secret=password.strip("\0"), is_identity_token=False)


# ---------------------------------------------------------------- helpers


def _helper(name: object, path: Path) -> str:
    if not isinstance(name, str) or _HELPER_RE.fullmatch(name) is None:
        raise ConfigurationError(f"{path}: got helper {name!r}, want docker-credential-<name>")
    return f"docker-credential-{name}"


def _ask_store(program: str, host: str) -> Credentials | None:
    if shutil.which(program) is None:
        _logger.warning("%s, the credsStore of docker's configuration, is not installed", program)
        return None
    for server in (_DOCKER_URL, host) if host == DOCKER else (host,):
        credentials = _ask(program, server)
        if credentials is not None:
            return credentials
    return None


def _ask(program: str, server: str) -> Credentials | None:
    """Ask a helper (3, 4)."""
    output = run(
        [program, "get"],
        environment=inherited(),
        stdin=server.encode(),
        timeout=_HELPER_SECONDS,
        check=False,
    )
    if output.status == 0:
        return _understood(output.stdout, program)
    if _NOT_FOUND in output.stdout.lower():
        return None
    raise ConfigurationError(
        f"{program}: exit status {output.status}, no credentials for {server}",
        hint=f"to see why: echo {server} | {program} get",
    )


def _understood(answer: bytes, program: str) -> Credentials | None:
    try:
        document = json.loads(answer)
        username, secret = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigurationError(f"{program}: answers something else than credentials") from None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise ConfigurationError(f"{program}: answers something else than credentials")
    if not secret:
        return None
    is_token = username == _TOKEN_USER
    return Credentials(
        username="" if is_token else username, secret=secret, is_identity_token=is_token
    )
