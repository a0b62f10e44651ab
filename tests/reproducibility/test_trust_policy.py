"""policy.json: which requirements count, and which names in signatures."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError
from pipeline.formats.digest import Digest
from pipeline.oci.reference import Reference
from reproducibility.trust_policy import (
    ExactReference,
    ExactRepository,
    Identity,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
    parse_policy,
)

if TYPE_CHECKING:
    from pathlib import Path

    from reproducibility.trust_policy import Policy

TAGGED = Reference.parse("ghcr.io/freebsd/static:15.0")
PINNED = Reference.parse(f"ghcr.io/freebsd/static@{Digest.of(b'x')}")
REJECT = [{"type": "reject"}]
ACCEPT = [{"type": "insecureAcceptAnything"}]


def policy(**scopes: object) -> Policy:
    document = {"default": REJECT, "transports": {"docker": scopes}}
    return parse_policy(json.dumps(document).encode(), what="policy.json")


# ---------------------------------------------------------------- scopes


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ("ghcr.io/freebsd/static:15.0", True),
        ("ghcr.io/freebsd/static", True),
        ("ghcr.io/freebsd", True),
        ("ghcr.io", True),
        ("*.io", True),
        ("", True),
        ("ghcr.io/freebsd/static:14.3", False),
        ("ghcr.io/free", False),
        ("*.ghcr.io", False),
        ("quay.io", False),
    ],
)
def test_a_scope_counts_if_the_image_is_in_it(scope: str, counts: bool) -> None:
    (requirement,) = policy(**{scope: ACCEPT}).requirements(TAGGED)
    assert (requirement.kind == "insecureAcceptAnything") is counts


def test_only_the_closest_scope_counts() -> None:
    both = policy(**{"ghcr.io": ACCEPT, "ghcr.io/freebsd": REJECT})
    assert [r.kind for r in both.requirements(TAGGED)] == ["reject"]


def test_other_transports_are_of_no_interest() -> None:
    document = {"default": ACCEPT, "transports": {"oci": {"": REJECT}}}
    parsed = parse_policy(json.dumps(document).encode(), what="x")
    assert [r.kind for r in parsed.requirements(TAGGED)] == ["insecureAcceptAnything"]


# ---------------------------------------------------------------- keys


def test_keys_come_from_files_or_from_the_policy(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode())
    encoded = [base64.b64encode(data).decode() for data in (b"d", b"e")]
    for source, keys in (
        ({"keyPath": str(tmp_path / "a")}, (b"a",)),
        ({"keyPaths": [str(tmp_path / "b"), str(tmp_path / "c")]}, (b"b", b"c")),
        ({"keyData": encoded[0]}, (b"d",)),
        ({"keyDatas": encoded}, (b"d", b"e")),
    ):
        (requirement,) = policy(**{"ghcr.io": [{"type": "sigstoreSigned", **source}]}).requirements(
            TAGGED
        )
        assert requirement.keys == keys


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ({"type": "signedBaseLayer"}, "which is not judged here"),
        ({"type": "signedBy", "keyData": "AA=="}, "want GPGKeys"),
        ({"type": "signedBy", "keyType": "GPGKeys"}, "got no key, want one of keyPath"),
        (
            {"type": "sigstoreSigned", "keyData": "AA==", "keyPath": "x"},
            "got keyPath and keyData, want one of",
        ),
        ({"type": "sigstoreSigned", "keyPaths": []}, "keyPaths: want at least one"),
        ({"type": "sigstoreSigned", "keyPath": 7}, "keyPath"),
        ({"type": "signedBy", "keyType": "GPGKeys", "keyDatas": ["AA=="]}, "key 'keyDatas'"),
        ({"type": "sigstoreSigned", "keyData": "AA==", "signedIdentiy": {}}, "key 'signedIdentiy'"),
        ({"type": "reject", "keyPath": "x"}, "unknown key 'keyPath'"),
        (
            {
                "type": "sigstoreSigned",
                "keyData": "AA==",
                "signedIdentity": {"type": "matchExact", "dockerReference": "x"},
            },
            "unknown key 'dockerReference'",
        ),
        ({"type": "signedBy", "keyType": "GPGKeys", "keyData": "!"}, "not base64"),
        (
            {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nonexistent"},
            "/nonexistent: no such file",
        ),
        ({"type": "sigstoreSigned", "fulcio": {}}, "'fulcio' is not judged here"),
        (
            {"type": "sigstoreSigned", "keyData": "AA==", "rekorPublicKeyPath": "x"},
            "'rekorPublicKeyPath' is not judged here",
        ),
        (
            {"type": "sigstoreSigned", "keyData": "AA==", "signedIdentity": {"type": "x"}},
            "got 'x'",
        ),
        ({}, "type: missing"),
    ],
)
def test_what_cannot_be_judged_is_an_error(requirement: object, message: str) -> None:
    """A guess would be worse than no answer."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        policy(**{"ghcr.io": [requirement]})
    assert str(caught.value).startswith("policy.json: ghcr.io[0]")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"default":[],"transports":{}}'])
def test_a_broken_policy_is_an_error(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"policy\.json"):
        parse_policy(data, what="policy.json")


# ---------------------------------------------------------------- names

SAME = "ghcr.io/freebsd/static:15.0"
OTHER_TAG = "ghcr.io/freebsd/static:14.3"
NO_TAG = "ghcr.io/freebsd/static"
OTHER = "ghcr.io/freebsd/dynamic:15.0"
BROKEN = "No Reference"
TRANSPORT = f"docker://{SAME}"


@pytest.mark.parametrize(
    ("identity", "pulled", "accepted"),
    [
        (MatchRepoDigestOrExact(), TAGGED, {SAME}),
        (MatchRepoDigestOrExact(), PINNED, {SAME, OTHER_TAG}),
        (MatchExact(), TAGGED, {SAME}),
        (MatchExact(), PINNED, set()),
        (MatchRepository(), TAGGED, {SAME, OTHER_TAG, NO_TAG}),
        (MatchRepository(), PINNED, {SAME, OTHER_TAG, NO_TAG}),
        (ExactReference(OTHER), TAGGED, {OTHER}),
        (ExactRepository("ghcr.io/freebsd/dynamic"), TAGGED, {OTHER}),
        (ExactReference(NO_TAG), TAGGED, set()),
        (ExactReference(BROKEN), TAGGED, set()),
        (ExactRepository(BROKEN), TAGGED, set()),
        (RemapIdentity("mirror.example", "ghcr.io"), TAGGED, {SAME}),
        (RemapIdentity("ghcr.io/freebsd", "ghcr.io/other"), TAGGED, set()),
        (RemapIdentity("ghcr.io/freebsd", "No Host"), TAGGED, set()),
    ],
)
def test_names_in_signatures(identity: Identity, pulled: Reference, accepted: set[str]) -> None:
    """As containers/image compares them (policy_reference_match.go)."""
    names = {SAME, OTHER_TAG, NO_TAG, OTHER, BROKEN, TRANSPORT}
    assert {name for name in names if identity.accepts(name, pulled)} == accepted


def test_a_mirror_may_be_mapped_to_what_it_mirrors() -> None:
    identity = RemapIdentity("mirror.example:5000", "ghcr.io/freebsd")
    pulled = Reference.parse("mirror.example:5000/static:15.0")
    assert identity.accepts(SAME, pulled)
    assert not identity.accepts(OTHER_TAG, pulled)
    assert not identity.accepts(SAME, Reference.parse("mirror.example:50001/static:15.0"))


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"type": "matchRepository"}, MatchRepository()),
        ({"type": "matchExact"}, MatchExact()),
        ({"type": "matchRepoDigestOrExact"}, MatchRepoDigestOrExact()),
        ({"type": "exactReference", "dockerReference": OTHER}, ExactReference(OTHER)),
        ({"type": "exactRepository", "dockerRepository": NO_TAG}, ExactRepository(NO_TAG)),
        (
            {"type": "remapIdentity", "prefix": "a", "signedPrefix": "b"},
            RemapIdentity("a", "b"),
        ),
    ],
)
def test_identities_are_read(document: dict[str, str], wanted: Identity) -> None:
    requirement = {"type": "sigstoreSigned", "keyData": "AA==", "signedIdentity": document}
    (parsed,) = policy(**{"ghcr.io": [requirement]}).requirements(TAGGED)
    assert parsed.identity == wanted
