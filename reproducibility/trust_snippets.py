"""What a user installs so that podman and skopeo enforce signatures.

Specification: containers-policy.json(5), containers-registries.d(5). Paths of FreeBSD:
container-libs, image/signature/policy_paths_freebsd.go, image/docker/paths_freebsd.go.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOTS: Final = {"linux": "etc/containers", "freebsd": "usr/local/etc/containers"}
"""Where the settings of containers/image are, by operating system."""

_UNFIT_RE: Final = re.compile("[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to trust for which images."""

    scope: str
    """Host, and path of a repository or its parent: `ghcr.io/freebsd`."""
    lookaside: str
    """URL of the tree of GPG's signatures; empty for none."""
    gpg: bytes | None
    """Content of the key file."""
    cosign: bytes | None


def snippets(trust: Trust, system: str) -> Mapping[str, bytes]:
    """Return files by their path below the root directory of a system.

    The policy accepts everything else as before. Where a policy.json exists, its `transports` get
    the one entry that this one has.

    Args:
        trust: whom to trust.
        system: a key of ROOTS.
    """
    root = ROOTS[system]
    stem = _UNFIT_RE.sub("-", trust.scope.lower()).strip("-")
    files: dict[str, bytes] = {}
    requirements: list[dict[str, object]] = []
    if trust.gpg is not None:
        path = f"{root}/keys/{stem}.gpg"
        files[path] = trust.gpg
        requirements.append({"type": "signedBy", "keyType": "GPGKeys", "keyPath": f"/{path}"})
    if trust.cosign is not None:
        path = f"{root}/keys/{stem}.pub"
        files[path] = trust.cosign
        requirements.append({"type": "sigstoreSigned", "keyPath": f"/{path}"})
    policy = {
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {"docker": {trust.scope: requirements}},
    }
    files[f"{root}/policy.json"] = (json.dumps(policy, indent=2) + "\n").encode()
    files[f"{root}/registries.d/{stem}.yaml"] = _registries(trust).encode()
    return files


def _registries(trust: Trust) -> str:
    lines = ["docker:", f"  {trust.scope}:"]
    if trust.gpg is not None and trust.lookaside:
        lines.append(f"    lookaside: {trust.lookaside}")
    if trust.cosign is not None:
        lines.append("    use-sigstore-attachments: true")
    if len(lines) == 2:  # noqa: PLR2004  - nothing to say of the scope
        lines[1] = f"  {trust.scope}: {{}}"
    return "\n".join(lines) + "\n"
