"""k of n: who counts, who does not, and what refuses an image."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from pipeline.attest.bundle import Bundle
from pipeline.attest.dsse import Envelope, EnvelopeSignature, pae
from pipeline.attest.statement import PAYLOAD_TYPE
from pipeline.formats.digest import Digest
from reproducibility.policy import Decision, Held, Judgement, Standing, Wanted, judge
from reproducibility.policy_file import Policy, Rebuilder
from reproducibility.verify_result import Signed, plain
from reproducibility.verify_statement import Summary, rebuild_statement
from tests.attest.signers import TestSigner
from tests.elsewhere import ROOT
from tests.reproducibility.structure import bare, structure

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_800_000_000
DAY = 24 * 3600
INDEX, AMD64, ARM64, OTHER = (Digest.of(x) for x in (b"index", b"amd64", b"arm64", b"other"))
ALL = {"index": INDEX, "freebsd/amd64": AMD64, "freebsd/arm64": ARM64}
ANNA, BEN, CLEO, STRANGER = (TestSigner(n) for n in range(1, 5))
SUMMARY = Summary(
    verifier="https://rebuild.example",
    version={},
    time=NOW - DAY,
    resource="pkg:oci/x",
    format=1,
    inputs=(),
    is_passed=True,
)
WHOLE = Wanted(
    platforms={"freebsd/amd64": AMD64, "freebsd/arm64": ARM64}, index=INDEX, is_whole=True
)
ONE = Wanted(platforms={"freebsd/amd64": AMD64}, index=INDEX, is_whole=False)
ALONE = Wanted(platforms={"freebsd/amd64": AMD64}, index=None, is_whole=False)


def policy(**changes: Any) -> Policy:
    rebuilders = tuple(
        Rebuilder(name=name, key=signer.public_key, verifier="")
        for name, signer in (("anna", ANNA), ("ben", BEN), ("cleo", CLEO))
    )
    return replace(
        Policy(
            threshold=2,
            rebuilders=rebuilders,
            publisher=None,
            requires_all_platforms=True,
            refuses_failure=True,
            maximal_age=None,
        ),
        **changes,
    )


def bundle(signer: TestSigner, payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    signature = EnvelopeSignature(signer.sign(pae(kind, payload)))
    envelope = Envelope(payload_type=kind, payload=payload, signatures=(signature,))
    return Bundle(hint=signer.public_key.hint, envelope=envelope).to_bytes()


def says(signer: TestSigner, *labels: str, **changes: Any) -> Held:
    """Return a rebuild attestation about some digests."""
    subjects = [(label, ALL[label]) for label in labels or tuple(ALL)]
    payload = rebuild_statement(subjects, replace(SUMMARY, **changes)).to_bytes()
    return Held(origin=f"test {len(payload)}", raw=bundle(signer, payload))


def decide(
    *held: Held,
    wanted: Wanted = WHOLE,
    publisher: Signed = Signed.NOT_ASKED,
    problems: Sequence[str] = (),
    **changes: Any,
) -> Judgement:
    return judge(policy(**changes), wanted, held, publisher=publisher, problems=problems, now=NOW)


def reasons(judgement: Judgement) -> Sequence[str]:
    return [row.reason for row in judgement.rows if row.standing is Standing.IGNORED]


# ---------------------------------------------------------------- counting


def test_two_of_three_are_enough() -> None:
    judgement = decide(says(ANNA), says(BEN))
    assert judgement.is_accepted
    assert judgement.decision.exit_code == 0
    assert [(t.platform, t.passed) for t in judgement.tallies] == [
        ("freebsd/amd64", ("anna", "ben")),
        ("freebsd/arm64", ("anna", "ben")),
    ]
    assert [(r.rebuilder, r.result, r.time, r.format) for r in judgement.rows] == [
        ("anna", "PASSED", "2027-01-14T08:00:00Z", 1),
        ("ben", "PASSED", "2027-01-14T08:00:00Z", 1),
    ]


def test_one_of_three_is_not() -> None:
    judgement = decide(says(ANNA))
    assert judgement.decision.exit_code == 1
    assert judgement.reasons == (
        "freebsd/amd64: reproduced by 1 of 3 rebuilders, 2 needed",
        "freebsd/arm64: reproduced by 1 of 3 rebuilders, 2 needed",
    )
    assert not decide().is_accepted


def test_rebuilders_are_counted_and_not_statements() -> None:
    """Whatever he says, and however often: one key, one vote."""
    again = [says(ANNA, time=NOW - n) for n in range(5)]
    judgement = decide(*again, says(ANNA, "freebsd/amd64", verifier="https://other.example"))
    assert not judgement.is_accepted
    assert {t.passed for t in judgement.tallies} == {("anna",)}
    assert len(judgement.rows) == 6


def test_the_same_statement_in_two_places_is_one() -> None:
    one = says(ANNA)
    assert len(decide(one, replace(one, origin="elsewhere")).rows) == 1


def test_platforms_are_counted_each_by_itself() -> None:
    """Whoever has reproduced the index has reproduced them all; others one at a time."""
    held = [says(ANNA, "index"), says(BEN, "freebsd/amd64"), says(CLEO, "freebsd/arm64")]
    assert decide(*held).is_accepted
    judgement = decide(*held[:2])
    assert judgement.reasons == ("freebsd/arm64: reproduced by 1 of 3 rebuilders, 2 needed",)


def test_one_platform_of_an_index_is_judged_by_what_is_said_of_either() -> None:
    assert decide(says(ANNA, "index"), says(BEN, "freebsd/amd64"), wanted=ONE).is_accepted
    assert not decide(says(ANNA, "index"), says(BEN, "freebsd/arm64"), wanted=ONE).is_accepted
    assert not decide(says(ANNA, "index"), says(BEN, "freebsd/amd64"), wanted=ALONE).is_accepted


def test_one_platform_can_be_enough_for_an_index() -> None:
    held = [says(ANNA, "freebsd/arm64"), says(BEN, "freebsd/arm64")]
    assert not decide(*held).is_accepted
    judgement = decide(*held, requires_all_platforms=False)
    assert judgement.is_accepted
    assert [t.platform for t in judgement.tallies if t.is_accepted] == ["freebsd/arm64"]
    refused = decide(held[0], requires_all_platforms=False)
    assert refused.reasons[0] == "none of its platforms is accepted"
    assert not decide(*held, wanted=ONE, requires_all_platforms=False).is_accepted


def test_an_image_without_platforms_is_never_accepted() -> None:
    nothing = replace(WHOLE, platforms={})
    assert decide(says(ANNA), says(BEN), wanted=nothing).reasons == ("it has no platforms",)


# ---------------------------------------------------------------- who does not count


def test_a_statement_about_other_digests_is_ignored_and_named() -> None:
    """A replay: true, signed by somebody trusted, of another image."""
    payload = rebuild_statement([("other", OTHER)], SUMMARY).to_bytes()
    judgement = decide(says(ANNA), Held(origin="replay", raw=bundle(BEN, payload)))
    assert not judgement.is_accepted
    assert reasons(judgement) == [f"is about other digests: {OTHER}"]
    assert judgement.rows[1].rebuilder == "ben"


def test_strangers_are_listed_and_do_not_count() -> None:
    judgement = decide(says(ANNA), says(STRANGER))
    assert not judgement.is_accepted
    assert reasons(judgement) == ["is signed by no key of the policy, or was altered"]
    assert judgement.rows[1].rebuilder == ""


def test_a_stranger_cannot_refuse_an_image() -> None:
    assert decide(says(ANNA), says(BEN), says(STRANGER, is_passed=False)).is_accepted


def alter(raw: bytes, old: bytes, new: bytes) -> bytes:
    """Change what a bundle says, and leave its signature."""
    document = json.loads(raw)
    payload = base64.b64decode(document["dsseEnvelope"]["payload"])
    assert old in payload
    changed = payload.replace(old, new)
    document["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()
    return json.dumps(document).encode()


def test_an_altered_statement_does_not_count() -> None:
    """A failure that was made a success; another digest put in."""
    failed = says(BEN, is_passed=False).raw
    forged = alter(failed, b'"FAILED"', b'"PASSED"')
    payload = rebuild_statement([("x", OTHER)], SUMMARY).to_bytes()
    moved = alter(bundle(CLEO, payload), OTHER.hex.encode(), AMD64.hex.encode())
    judgement = decide(says(ANNA), *(Held(origin="forged", raw=raw) for raw in (forged, moved)))
    assert not judgement.is_accepted
    assert reasons(judgement) == ["is signed by no key of the policy, or was altered"] * 2


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is no signed statement: not JSON"),
        (b"[]", "is no signed statement: got list"),
        (b"{}", "is no signed statement: payloadType: missing"),
        (b'{"mediaType": "x"}', "is no signed statement: mediaType: got 'x'"),
        (b'{"a":' * 90 + b"1" + b"}" * 90, "is no signed statement: nested too deeply"),
        (bundle(BEN, b"{}"), "is no rebuild attestation: _type: missing"),
        (bundle(BEN, b"\xff"), "is no rebuild attestation: not UTF-8 at byte 0"),
    ],
)
def test_what_is_none_is_ignored(raw: bytes, reason: str) -> None:
    judgement = decide(says(ANNA), Held(origin="x", raw=raw), says(BEN))
    assert judgement.is_accepted
    (said,) = reasons(judgement)
    assert said.startswith(reason)


def test_a_payload_of_another_type_is_none() -> None:
    payload = rebuild_statement([("x", AMD64)], SUMMARY).to_bytes()
    signature = EnvelopeSignature(BEN.sign(pae("text/plain", payload)))
    raw = Envelope(payload_type="text/plain", payload=payload, signatures=(signature,)).to_bytes()
    (said,) = reasons(decide(Held(origin="x", raw=raw)))
    assert said == "is no signed statement: got a payload of type 'text/plain'"


def test_a_bare_envelope_will_do() -> None:
    """A file need not be a bundle."""
    envelope = json.dumps(json.loads(says(BEN).raw)["dsseEnvelope"]).encode()
    assert decide(says(ANNA), Held(origin="file", raw=envelope)).is_accepted


def test_a_rebuilder_may_have_to_use_his_name() -> None:
    rebuilders = [replace(r, verifier="https://ben.example") for r in policy().rebuilders]
    held = [says(ANNA, verifier="https://ben.example"), says(BEN)]
    judgement = decide(*held, rebuilders=tuple(rebuilders))
    assert not judgement.is_accepted
    assert reasons(judgement) == [
        "calls its verifier 'https://rebuild.example', want 'https://ben.example'"
    ]


@pytest.mark.parametrize(
    ("time", "is_accepted", "reason"),
    [
        (NOW - 10 * DAY, True, ""),
        (NOW - 10 * DAY - 1, False, "is 10 days old"),
        (NOW + 3600, True, ""),
        (NOW + 3601, False, "is from the future"),
    ],
)
def test_age(time: int, is_accepted: bool, reason: str) -> None:
    judgement = decide(says(ANNA), says(BEN, time=time), maximal_age=10 * DAY)
    assert judgement.is_accepted is is_accepted
    assert reasons(judgement) == ([reason] if reason else [])


def test_without_a_maximal_age_old_ones_count() -> None:
    assert decide(says(ANNA, time=1), says(BEN, time=2)).is_accepted


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("time", [1, NOW, NOW + 10 * DAY])
def test_one_failure_refuses(time: int) -> None:
    """By anybody trusted, whenever that was, whatever he says besides."""
    held = [says(s) for s in (ANNA, BEN, CLEO)]
    failure = says(CLEO, "index", "freebsd/arm64", is_passed=False, time=time)
    judgement = decide(*held, failure, maximal_age=10 * DAY)
    assert judgement.reasons == (
        "freebsd/arm64: cleo could not reproduce it",
        "index: cleo could not reproduce it",
    )
    assert decide(*held, failure, refuses_failure=False, maximal_age=10 * DAY).is_accepted


def test_the_failure_of_one_platform_does_not_refuse_another() -> None:
    held = [says(ANNA), says(BEN), says(CLEO, "index", "freebsd/arm64", is_passed=False)]
    assert decide(*held, wanted=ONE).is_accepted
    judgement = decide(*held, requires_all_platforms=False)
    assert judgement.is_accepted
    assert [t.platform for t in judgement.tallies if t.is_accepted] == ["freebsd/amd64"]


@pytest.mark.parametrize(
    ("signed", "is_accepted"), [(Signed.YES, True), (Signed.NO, False), (Signed.NOT_ASKED, False)]
)
def test_a_publisher_must_have_signed(signed: Signed, is_accepted: bool) -> None:
    key = STRANGER.public_key
    held = [says(ANNA), says(BEN)]
    judgement = judge(policy(publisher=key), WHOLE, held, publisher=signed, now=NOW)
    assert judgement.is_accepted is is_accepted
    if not is_accepted:
        assert judgement.reasons == ("the publisher's key has not signed it",)


# ---------------------------------------------------------------- the result


def test_the_json_form_is_as_its_schema_says() -> None:
    judgement = decide(says(ANNA), says(STRANGER), says(BEN, is_passed=False))
    fields = plain(judgement)
    assert isinstance(fields, dict)
    head = {
        "format": 1,
        "image": "x",
        "root": str(INDEX),
        "digest": str(INDEX),
        "decision": "refused",
        "exit_code": 1,
    }
    schema = json.loads((ROOT / "docs/schemas/policy-result.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate({**head, **fields})


def test_the_schema_of_the_result_has_every_field_and_no_other() -> None:
    schema = json.loads((ROOT / "docs/schemas/policy-result.schema.json").read_bytes())
    want = structure(Judgement)
    extra = {
        "format": {},
        "decision": structure(Decision),
        "exit_code": {"enum": sorted({d.exit_code for d in Decision})},
        **{key: {"type": "string"} for key in ("image", "root", "digest")},
    }
    want["properties"] |= extra
    want["required"] = sorted([*want["required"], *extra])
    result = want["properties"]["rows"]["items"]["properties"]
    result["result"] = {"enum": ["PASSED", "FAILED", ""]}
    assert bare(schema, schema) == want


def test_what_could_not_be_read_leaves_it_open_unless_somebody_has_failed() -> None:
    short = decide(says(ANNA), problems=["referrer x: broken"])
    assert (short.decision, short.decision.exit_code) == (Decision.UNKNOWN, 2)
    failed = decide(says(ANNA), says(BEN, is_passed=False), problems=["referrer x: broken"])
    assert failed.decision is Decision.REFUSED
    enough = decide(says(ANNA), says(BEN), problems=["referrer x: broken"])
    assert enough.decision is Decision.ACCEPTED
