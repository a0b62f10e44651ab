"""registries.d: where podman and skopeo look for the signatures of a registry's images.

Specification: containers-registries.d(5). Source for the order of scopes: containers/
container-libs, image/docker/registries_d.go.

The files are YAML. What occurs in them is mappings of plain or quoted scalars, nested by
indentation; this and nothing else is read here, the rest is an error rather than a guess.

1. Every file `*.yaml` of the directory counts; a scope stands in one of them only.
2. A setting comes from the most specific scope that has it: the whole reference, then the
   repository and each of its parents, then `default-docker`.
3. Without a lookaside anywhere it is `/var/lib/containers/sigstore`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pipeline.oci.reference import Reference

DEFAULT_LOOKASIDE: Final = "file:///var/lib/containers/sigstore"

_LINE_RE: Final = re.compile(
    r"""(?P<indent>\ *)
    (?:"(?P<double>[^"\\]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"'\[\]{}#&*!|>%@`,-][^#"'\[\]{}]*?))
    \s*:(?:\s+(?P<value>.*?))?\s*""",
    re.VERBOSE,
)
_VALUE_RE: Final = re.compile(
    r"""(?:"(?P<double>[^"\\]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"'\[\]{}#&*!|>%@`][^#]*?))?
    (?:\s+\#.*|\#.*)?""",
    re.VERBOSE,
)
_TRUE: Final = frozenset({"true", "True", "TRUE", "yes", "on"})
_FALSE: Final = frozenset({"false", "False", "FALSE", "no", "off"})

Mapping_: TypeAlias = "dict[str, str | Mapping_]"


def parse_mappings(text: str, *, what: str) -> Mapping_:
    """Read YAML that is nothing but nested mappings of scalars.

    Raises:
        ConfigurationError: there is something else in it.
    """
    root: Mapping_ = {}
    open_: list[tuple[int, Mapping_]] = [(0, root)]
    pending: tuple[int, Mapping_] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#") or line.strip() == "---":
            continue
        match = _LINE_RE.fullmatch(line)
        if match is None:
            raise _not_understood(what, number)
        indent = len(match["indent"])
        if pending is not None and indent > pending[0]:
            open_.append((indent, pending[1]))
        while open_ and indent < open_[-1][0]:
            open_.pop()
        if not open_ or indent != open_[-1][0]:
            raise _not_understood(what, number)
        target = open_[-1][1]
        key = next(part for part in (match["double"], match["single"], match["plain"]) if part)
        value = _scalar(match["value"] or "", what, number)
        if key in target:
            raise ConfigurationError(f"{what}, line {number}: {key!r} twice")
        child: Mapping_ = {}
        target[key] = child if value is None else value
        pending = (indent, child) if value is None else None
    return root


def _scalar(text: str, what: str, number: int) -> str | None:
    """Return a scalar, None where there is none."""
    match = _VALUE_RE.fullmatch(text)
    if match is None:
        raise _not_understood(what, number)
    for part in ("double", "single", "plain"):
        if match[part] is not None:
            return match[part].strip() if part == "plain" else match[part]
    return None


def _not_understood(what: str, number: int) -> ConfigurationError:
    return ConfigurationError(
        f"{what}, line {number}: not understood; only nested mappings of scalars are read"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The settings of one scope; None is absent."""

    lookaside: str | None
    use_attachments: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """The settings of all files."""

    scopes: Mapping[str, Scope]
    default: Scope | None

    def _scopes(self, reference: Reference) -> Iterator[Scope]:
        for name in scope_names(reference):
            if name in self.scopes:
                yield self.scopes[name]
        if self.default is not None:
            yield self.default

    def lookaside(self, reference: Reference) -> str:
        """Return the URL of the lookaside tree (2, 3)."""
        return next(
            (s.lookaside for s in self._scopes(reference) if s.lookaside), DEFAULT_LOOKASIDE
        )

    def uses_attachments(self, reference: Reference) -> bool:
        """Say whether sigstore's signatures are looked for at all (2)."""
        settings = (s.use_attachments for s in self._scopes(reference))
        return next((s for s in settings if s is not None), False)


def scope_names(reference: Reference) -> Iterator[str]:
    """Yield the names of scopes that a reference belongs to, the closest first."""
    yield str(reference)
    name = reference.name
    while name:
        yield name
        name = name.rpartition("/")[0]


def read_registries(folder: Path) -> Registries:
    """Read a directory (1).

    Raises:
        ConfigurationError: a file cannot be understood, or two of them contradict each other.
    """
    scopes: dict[str, Scope] = {}
    default: Scope | None = None
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such directory")
    for path in sorted(folder.glob("*.yaml")):
        document = parse_mappings(path.read_text("utf-8"), what=str(path))
        for key, value in document.items():
            if key not in ("docker", "default-docker") or isinstance(value, str):
                raise ConfigurationError(f"{path}: {key!r}: want the mapping docker")
        tables = document.get("docker", {})
        assert isinstance(tables, dict), "checked above"
        for name, table in tables.items():
            if name in scopes:
                raise ConfigurationError(f"{path}: scope {name!r} stands in two files")
            scopes[name] = _scope(table, f"{path}: {name}")
        if "default-docker" in document:
            if default is not None:
                raise ConfigurationError(f"{path}: default-docker stands in two files")
            default = _scope(document["default-docker"], f"{path}: default-docker")
    return Registries(scopes=scopes, default=default)


def _scope(table: str | Mapping_, where: str) -> Scope:
    if isinstance(table, str):
        raise ConfigurationError(f"{where}: got a scalar, want a mapping")
    settings: dict[str, str] = {}
    for key, value in table.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"{where}.{key}: want a scalar")
        settings[key] = value
    use = settings.get("use-sigstore-attachments")
    if use is not None and use not in _TRUE | _FALSE:
        raise ConfigurationError(f"{where}.use-sigstore-attachments: got {use!r}, want true")
    return Scope(
        lookaside=settings.get("lookaside") or settings.get("sigstore"),
        use_attachments=None if use is None else use in _TRUE,
    )
