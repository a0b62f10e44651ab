"""policy.json: which images podman and skopeo accept.

Specification: containers-policy.json(5). Sources: containers/container-libs, image/signature/
policy_config.go, policy_reference_match.go, policy_eval.go.

1. The requirements are those of the closest scope of the transport `docker`: the whole reference,
   the repository, its parents, wildcards of the host's domain, the transport's default, the
   policy's default. All of them have to hold; within one, any of its keys will do.
2. A signature that says another name than the one an image is pulled by does not count, as
   `signedIdentity` says: by default the reference has to be the same, or, of an image pulled by
   digest, the repository.
3. Keyless signatures and transparency logs are not judged here: a policy that wants them is an
   error, not a guess. So is one that podman itself would not read: with an unknown member, or keys
   from more than one place.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.errors import ConfigurationError, FormatError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_optional, get_required, get_sequence_of, refuse_unknown
from pipeline.oci.reference import Reference
from reproducibility.trust_registries import scope_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DOCKER: Final = "docker"
_COMMON: Final = frozenset({"type", "keyPath", "keyPaths", "keyData", "signedIdentity"})
_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "reject": frozenset({"type"}),
    "insecureAcceptAnything": frozenset({"type"}),
    "signedBy": _COMMON | {"keyType"},
    "sigstoreSigned": _COMMON | {"keyDatas"},
}
_SOURCES: Final = ("keyPath", "keyPaths", "keyData", "keyDatas")
_KEYLESS: Final = frozenset(
    {"fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData"}
    | {"rekorPublicKeyDatas"}
)


class Identity(Protocol):
    """Which names in signatures are accepted (2)."""

    def accepts(self, signed: str, pulled: Reference) -> bool:
        """Say whether a signature's reference fits the one that is pulled."""


def _parsed(text: str) -> Reference | None:
    """Read a name in a signature, which has no transport in front."""
    if "://" in text:
        return None
    try:
        return Reference.parse(text)
    except FormatError:
        return None


@dataclass(frozen=True, slots=True)
class MatchRepoDigestOrExact:
    """The same reference or, for an image pulled by digest alone, the same repository."""

    def accepts(self, signed: str, pulled: Reference) -> bool:
        """Compare."""
        reference = _parsed(signed)
        if reference is None or (reference.tag is None and reference.digest is None):
            return False
        if pulled.tag is not None:
            return str(reference) == str(pulled)
        return pulled.digest is not None and reference.name == pulled.name


@dataclass(frozen=True, slots=True)
class MatchExact:
    """The same reference."""

    def accepts(self, signed: str, pulled: Reference) -> bool:
        """Compare."""
        reference = _parsed(signed)
        if reference is None or (reference.tag is None and reference.digest is None):
            return False
        return str(reference) == str(pulled)


@dataclass(frozen=True, slots=True)
class MatchRepository:
    """The same repository."""

    def accepts(self, signed: str, pulled: Reference) -> bool:
        """Compare."""
        reference = _parsed(signed)
        return reference is not None and reference.name == pulled.name


@dataclass(frozen=True, slots=True)
class ExactReference:
    """One reference, whatever is pulled."""

    wanted: str

    def accepts(self, signed: str, pulled: Reference) -> bool:
        """Compare."""
        del pulled
        reference = _parsed(signed)
        if reference is None or (reference.tag is None and reference.digest is None):
            return False
        return reference == _parsed(self.wanted)


@dataclass(frozen=True, slots=True)
class ExactRepository:
    """One repository, whatever is pulled."""

    wanted: str

    def accepts(self, signed: str, pulled: Reference) -> bool:
        """Compare."""
        del pulled
        reference, wanted = _parsed(signed), _parsed(self.wanted)
        return reference is not None and wanted is not None and reference.name == wanted.name


@dataclass(frozen=True, slots=True)
class RemapIdentity:
    """Like the default, with a prefix of the pulled name replaced."""

    prefix: str
    signed_prefix: str

    def accepts(self, signed: str, pulled: Reference) -> bool:
        """Compare."""
        name = pulled.name
        if name == self.prefix or name.startswith(f"{self.prefix}/"):
            mapped = _parsed(self.signed_prefix + name.removeprefix(self.prefix))
            if mapped is None:
                return False
            pulled = replace(mapped, tag=pulled.tag, digest=pulled.digest)
        return MatchRepoDigestOrExact().accepts(signed, pulled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One condition."""

    kind: str
    """`reject`, `insecureAcceptAnything`, `signedBy`, `sigstoreSigned`."""
    keys: tuple[bytes, ...]
    """Contents of key files, of which one has to have signed."""
    identity: Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy.json."""

    default: tuple[Requirement, ...]
    scopes: Mapping[str, tuple[Requirement, ...]]
    """Of the transport docker; the empty name is its default."""

    def requirements(self, reference: Reference) -> tuple[Requirement, ...]:
        """Return what an image has to fulfil (1)."""
        for name in (*scope_names(reference), *_wildcards(reference), ""):
            if name in self.scopes:
                return self.scopes[name]
        return self.default


def _wildcards(reference: Reference) -> Iterator[str]:
    domain = reference.host
    while "." in domain:
        domain = domain.partition(".")[2]
        yield f"*.{domain}"


def parse_policy(data: bytes, *, what: str) -> Policy:
    """Read a policy.json and the keys that it names.

    Raises:
        ConfigurationError: it cannot be read or wants what is not judged here (3).
    """
    try:
        d = canonical_json.loads_object(data)
        refuse_unknown(d, frozenset({"default", "transports"}))
        transports = get_optional(d, dict, "transports") or {}
        docker = get_optional(transports, dict, _DOCKER) or {}
        return Policy(
            default=_requirements(d, "default"),
            scopes={scope: _requirements(docker, scope) for scope in docker},
        )
    except FormatError as e:
        raise ConfigurationError(f"{what}: {e}") from None


def _requirements(d: Mapping[str, object], key: str) -> tuple[Requirement, ...]:
    items = get_sequence_of(d, dict, key)
    if not items:
        raise FormatError("want at least one requirement", context=key)
    result = []
    for i, item in enumerate(items):
        try:
            result.append(_requirement(item))
        except FormatError as e:
            raise e.within(f"{key}[{i}]") from None
    return tuple(result)


def _requirement(d: Mapping[str, object]) -> Requirement:
    kind = get_required(d, str, "type")
    if kind not in _MEMBERS:
        raise FormatError(f"got {kind!r}, which is not judged here", context="type")
    wanted = sorted(_KEYLESS & set(d))
    if wanted:
        raise FormatError(f"{wanted[0]!r} is not judged here, only keys are")
    refuse_unknown(d, _MEMBERS[kind])
    if kind in ("reject", "insecureAcceptAnything"):
        return Requirement(kind=kind, keys=(), identity=MatchRepoDigestOrExact())
    if kind == "signedBy" and d.get("keyType") != "GPGKeys":
        raise FormatError(f"got {d.get('keyType')!r}, want GPGKeys", context="keyType")
    return Requirement(kind=kind, keys=tuple(_keys(d)), identity=_identity(d))


def _keys(d: Mapping[str, object]) -> Iterator[bytes]:
    sources = [name for name in _SOURCES if name in d]
    if len(sources) != 1:
        raise FormatError(
            f"got {' and '.join(sources) or 'no key'}, want one of {', '.join(_SOURCES)}"
        )
    paths = [get_required(d, str, "keyPath")] if "keyPath" in d else []
    paths += get_sequence_of(d, str, "keyPaths")
    for path in paths:
        try:
            yield Path(path).read_bytes()
        except OSError as e:
            reason = (e.strerror or "cannot be read").lower()
            raise FormatError(f"{path}: {reason}", context="keyPath") from None
    encoded = [get_required(d, str, "keyData")] if "keyData" in d else []
    encoded += get_sequence_of(d, str, "keyDatas")
    for text in encoded:
        try:
            yield base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise FormatError("not base64", context="keyData") from None
    if not paths and not encoded:
        raise FormatError("want at least one", context=sources[0])


_IDENTITY_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "exactReference": frozenset({"type", "dockerReference"}),
    "exactRepository": frozenset({"type", "dockerRepository"}),
    "remapIdentity": frozenset({"type", "prefix", "signedPrefix"}),
}


def _identity(d: Mapping[str, object]) -> Identity:
    identity = get_optional(d, dict, "signedIdentity")
    if identity is None:
        return MatchRepoDigestOrExact()
    kind = get_required(identity, str, "type")
    refuse_unknown(identity, _IDENTITY_MEMBERS.get(kind, frozenset({"type"})))
    simple: dict[str, Identity] = {
        "matchRepoDigestOrExact": MatchRepoDigestOrExact(),
        "matchExact": MatchExact(),
        "matchRepository": MatchRepository(),
    }
    if kind in simple:
        return simple[kind]
    if kind == "exactReference":
        return ExactReference(get_required(identity, str, "dockerReference"))
    if kind == "exactRepository":
        return ExactRepository(get_required(identity, str, "dockerRepository"))
    if kind == "remapIdentity":
        return RemapIdentity(
            get_required(identity, str, "prefix"), get_required(identity, str, "signedPrefix")
        )
    raise FormatError(f"got {kind!r}", context="signedIdentity.type")
