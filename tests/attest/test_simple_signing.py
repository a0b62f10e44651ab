"""Claims of GPG simple signing and of cosign."""

from __future__ import annotations

import json

import pytest

from pipeline.attest.simple_signing import Claim, ClaimType, lookaside_directory
from pipeline.errors import FormatError
from pipeline.formats.digest import Digest

DIGEST = Digest.of(b"manifest")
NAME = "ghcr.io/freebsd/freebsd-static:15.0"


def claim(kind: ClaimType) -> Claim:
    return Claim(kind=kind, digest=DIGEST, reference=NAME)


def test_a_claim_for_gpg_has_these_bytes() -> None:
    """containers-signature(5); no time of its own, the signature has one."""
    assert claim(ClaimType.GPG).to_bytes(creator="pkgbase-oci 1.0.0").decode() == (
        '{"critical":{"identity":{"docker-reference":"ghcr.io/freebsd/freebsd-static:15.0"},'
        f'"image":{{"docker-manifest-digest":"{DIGEST}"}},'
        '"type":"atomic container signature"},"optional":{"creator":"pkgbase-oci 1.0.0"}}'
    )


def test_a_claim_for_cosign_has_these_bytes() -> None:
    """Cosign's SIGNATURE_SPEC.md; `optional` is null, which containers/image tolerates."""
    assert claim(ClaimType.COSIGN).to_bytes(creator="x").decode() == (
        '{"critical":{"identity":{"docker-reference":"ghcr.io/freebsd/freebsd-static:15.0"},'
        f'"image":{{"docker-manifest-digest":"{DIGEST}"}},'
        '"type":"cosign container image signature"},"optional":null}'
    )


@pytest.mark.parametrize("kind", ClaimType)
def test_parse_is_the_inverse(kind: ClaimType) -> None:
    assert Claim.parse(claim(kind).to_bytes(creator="x"), kind=kind) == claim(kind)


def test_one_kind_is_not_taken_for_the_other() -> None:
    """A signature by one key must not be moved to the other form."""
    data = claim(ClaimType.COSIGN).to_bytes(creator="x")
    with pytest.raises(FormatError, match="want 'atomic container signature'"):
        Claim.parse(data, kind=ClaimType.GPG)


def altered(path: str, value: object) -> bytes:
    document = json.loads(claim(ClaimType.GPG).to_bytes(creator="x"))
    table = document
    *parents, last = path.split(".")
    for parent in parents:
        table = table[parent]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("critical", None),
        ("optional", None),
        ("optional", 3),
        ("more", {}),
        ("critical.more", 1),
        ("critical.type", None),
        ("critical.identity", None),
        ("critical.identity.more", "x"),
        ("critical.identity.docker-reference", 7),
        ("critical.image.more", "x"),
        ("critical.image.docker-manifest-digest", "sha256:00"),
        ("critical.image.Docker-manifest-digest", str(DIGEST)),
    ],
)
def test_critical_members_are_exactly_these(path: str, value: object) -> None:
    """`critical` means that a reader who does not know a member refuses the signature."""
    with pytest.raises(FormatError):
        Claim.parse(altered(path, value), kind=ClaimType.GPG)


def test_optional_members_are_anybodys() -> None:
    data = altered("optional", {"creator": 7, "timestamp": 1, "more": []})
    assert Claim.parse(data, kind=ClaimType.GPG) == claim(ClaimType.GPG)


def test_signatures_lie_below_the_path_of_the_repository() -> None:
    assert lookaside_directory("freebsd/static", DIGEST) == f"freebsd/static@sha256={DIGEST.hex}"
