"""The verdict over what was found, its JSON form, and how it is said."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from reproducibility.compare import Options, compare
from reproducibility.verify_explain import make_report
from reproducibility.verify_result import (
    Attempt,
    Blobs,
    Delivery,
    Outcome,
    Part,
    Signatures,
    Signed,
    Verdict,
    Verification,
    verification_to_dict,
)
from reproducibility.verify_text import print_verification, verification_lines
from tests.elsewhere import ROOT
from tests.reproducibility.layouts import file, make_layout, make_tar
from tests.reproducibility.structure import bare, structure

A, B, C = (f"sha256:{digit * 64}" for digit in "abc")
SAME = (Part(label="index", digest=A, built=A), Part(label="freebsd/amd64", digest=B, built=B))
OTHER = (Part(label="index", digest=A, built=C), Part(label="freebsd/amd64", digest=B, built=B))
SERVED = Blobs(delivery=Delivery.CHECKED, count=3, size=1234, problems=())
UNSIGNED = Signatures(required=False, image=Signed.NOT_ASKED, count=0, reasons=())


def attempt(outcome: Outcome, **changes: Any) -> Attempt:
    built = outcome in (Outcome.REPRODUCED, Outcome.DIFFERENT)
    parts = SAME if outcome is Outcome.REPRODUCED else OTHER
    return replace(
        Attempt(
            origin="lock abc",
            artifact=C,
            declaration=A,
            lock=B,
            goal="freebsd-static:15.0",
            signed=Signed.NOT_ASKED,
            is_likely=True,
            outcome=outcome,
            reason="" if built else "for a reason",
            hint="",
            parts=parts if built else (),
            warnings=(),
            hosts=("pkg.example.org",),
            archives=2,
            milliseconds=1500,
        ),
        **changes,
    )


def verification(*attempts: Attempt, **changes: Any) -> Verification:
    return replace(
        Verification(
            image="registry.example/x:15.0",
            root=A,
            digest=A,
            by_tag=True,
            parts=next((a.parts for a in attempts if a.parts), SAME),
            signatures=UNSIGNED,
            attempts=attempts,
            origins=(),
            blobs=SERVED,
            comparison=None,
            encoder="",
            registries=("registry.example",),
            notes=(),
            tools=("pkgbase-oci 1",),
        ),
        **changes,
    )


def served(delivery: Delivery) -> Blobs:
    return replace(SERVED, delivery=delivery, problems=("blob x is another",))


YES, NO, LATER, NONSENSE = map(attempt, Outcome)
FAIL = attempt(Outcome.DIFFERENT, signed=Signed.YES)
WHAT = "freebsd-static:15.0, 2 packages of pkg.example.org, 1.5 s"


@pytest.mark.parametrize(
    ("attempts", "delivery", "verdict", "attested"),
    [
        ((YES,), Delivery.CHECKED, "reproduced", ["index", "freebsd/amd64"]),
        ((YES,), Delivery.NOT_CHECKED, "reproduced", ["index", "freebsd/amd64"]),
        ((YES, NO, LATER, NONSENSE), Delivery.CHECKED, "reproduced", ["index", "freebsd/amd64"]),
        ((YES,), Delivery.DAMAGED, "different", []),
        ((YES,), Delivery.INCOMPLETE, "could-not-tell", []),
        ((FAIL,), Delivery.NOT_CHECKED, "different", ["index"]),
        ((FAIL, NONSENSE), Delivery.NOT_CHECKED, "different", ["index"]),
        ((NO,), Delivery.NOT_CHECKED, "different", []),
        ((NO, LATER), Delivery.NOT_CHECKED, "could-not-tell", []),
        ((LATER,), Delivery.NOT_CHECKED, "could-not-tell", []),
        ((NONSENSE,), Delivery.NOT_CHECKED, "could-not-tell", []),
        ((), Delivery.NOT_CHECKED, "could-not-tell", []),
    ],
)
def test_the_verdict_and_what_can_be_attested(
    attempts: tuple[Attempt, ...], delivery: Delivery, verdict: str, attested: list[str]
) -> None:
    v = verification(*attempts, blobs=served(delivery))
    assert v.verdict == verdict
    assert [p.label for p in v.attested] == attested


@pytest.mark.parametrize("signed", [Signed.NO, Signed.NOT_ASKED])
def test_a_signature_that_is_required_decides(signed: Signed) -> None:
    """And then nothing else is said, nor attested."""
    signatures = replace(UNSIGNED, required=True, image=signed)
    v = verification(YES, signatures=signatures)
    assert (v.verdict, v.verdict.exit_code, v.attested) == (Verdict.NOT_SIGNED, 1, ())
    signed_one = replace(signatures, image=Signed.YES)
    assert verification(YES, signatures=signed_one).verdict is Verdict.REPRODUCED
    assert verification(signatures=signed_one).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signed": Signed.YES}, ""),
        ({"signed": Signed.YES, "is_likely": False}, ""),
        ({"signed": Signed.NOT_ASKED}, "anybody can attach a lock: name the publisher's key"),
        ({"signed": Signed.NO}, "the publisher has not signed that this is its lock"),
        ({"signed": Signed.NO, "artifact": ""}, ""),
    ],
)
def test_a_failure_is_attested_only_where_the_lock_is_the_images(
    changes: dict[str, Any], why: str
) -> None:
    """Given by the user, or signed by the publisher."""
    v = verification(replace(NO, **changes))
    assert v.verdict is Verdict.DIFFERENT
    assert (why in v.why_not_attested) if why else not v.why_not_attested
    assert bool(v.attested) is not bool(why)


def test_what_is_served_wrongly_is_not_attested() -> None:
    v = verification(YES, blobs=served(Delivery.DAMAGED))
    assert "other bytes are served" in v.why_not_attested
    assert verification(LATER).why_not_attested == "there is no certain result"


def test_exit_codes() -> None:
    assert [v.exit_code for v in Verdict] == [0, 1, 1, 2]


def test_the_best_attempt_is_that_which_tells_most() -> None:
    assert verification(NONSENSE, LATER, NO).best is NO
    assert verification(NONSENSE, LATER).best is LATER
    assert verification().best is None


# ---------------------------------------------------------------- JSON


def report(tmp_path: Any) -> Any:
    a = make_layout(tmp_path / "a", make_tar([file("etc/motd", "a\x1b[31m")]))
    b = make_layout(tmp_path / "b", make_tar([file("etc/motd", "b")]))
    comparison = compare(f"oci:{a}", f"oci:{b}", Options(diffoscope=None))
    return make_report(comparison, title="x", notes=(), generated=None, tools=())


@pytest.mark.parametrize("is_different", [False, True])
def test_the_json_form_is_as_its_schema_says(tmp_path: Any, is_different: bool) -> None:
    found = report(tmp_path) if is_different else None
    v = verification(NO if is_different else YES, LATER, NONSENSE)
    document = verification_to_dict(v, found)
    schemas = ROOT / "docs/schemas"
    schema = json.loads((schemas / "verify.schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["verdict"] == v.verdict
    if is_different:
        own = json.loads((schemas / "report.schema.json").read_bytes())
        jsonschema.Draft202012Validator(own).validate(document["report"])
    else:
        assert document["report"] is None
    assert set(document) == set(schema["required"])


def test_the_schema_has_every_field_and_no_other() -> None:
    """Its structure follows from the values; only the words are its own."""
    schema = json.loads((ROOT / "docs/schemas/verify.schema.json").read_bytes())
    want = structure(Verification, without=("comparison",))
    extra = {
        "format": {},
        "verdict": structure(Verdict),
        "exit_code": {"enum": sorted({v.exit_code for v in Verdict})},
        "report": {"type": ["object", "null"]},
    }
    want["properties"] |= extra
    want["required"] = sorted([*want["required"], *extra])
    assert bare(schema, schema) == want
    assert all("description" in d for d in schema["properties"].values() if "$ref" not in d)


# ---------------------------------------------------------------- text


def test_lines_of_an_image_that_was_reproduced() -> None:
    assert verification_lines(verification(YES)) == (
        f"registry.example/x:15.0 is {A} now",
        f"  index          {A}  same",
        f"  freebsd/amd64  {B}  same",
        f"lock abc makes this very image ({WHAT})",
        "signed: by nobody",
        "packages: those that the lock pins; --fingerprints NAME=DIR asks who has signed them",
        "served: 3 blobs, 1.2 kB, each is what its digest says",
        "asked: registry.example, pkg.example.org",
    )


def test_lines_of_one_that_was_not() -> None:
    signed = Signatures(required=False, image=Signed.NO, count=2, reasons=("by another key",))
    lines = verification_lines(
        verification(
            replace(NO, warnings=("the lock calls it so",), signed=Signed.YES),
            replace(LATER, hint="do that"),
            by_tag=False,
            signatures=signed,
            blobs=Blobs(delivery=Delivery.NOT_CHECKED, count=0, size=0, problems=()),
            notes=("a note",),
            encoder="got another",
            registries=(),
        )
    )
    assert lines == (
        f"  index          {A}  rebuilt: {C}",
        f"  freebsd/amd64  {B}  same",
        "warning: got another",
        f"lock abc makes another image ({WHAT}, named by a signed provenance)",
        f"lock abc could not be tried ({WHAT}): for a reason",
        "  hint: do that",
        "signed: not by the key that was named (2 signatures): by another key",
        "warning: the lock calls it so",
        "note: a note",
        "asked: pkg.example.org",
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"attempts": (), "by_tag": False}, "no lock is attached to it"),
        ({"blobs": served(Delivery.DAMAGED)}, "and other bytes are served for it"),
        ({"blobs": served(Delivery.DAMAGED)}, "  blob x is another"),
        ({"attempts": (NONSENSE,)}, "no lock that is of use is attached to it"),
        ({"attempts": (replace(NO, is_likely=False),)}, "this may be the lock of another image"),
        ({"blobs": served(Delivery.INCOMPLETE)}, "not all that belongs to it could be read"),
        (
            {"blobs": Blobs(delivery=Delivery.NOT_CHECKED, count=0, size=0, problems=())},
            "served: not looked at",
        ),
        ({"signatures": replace(UNSIGNED, count=1)}, "signed: 1 signature, not looked at"),
        ({"signatures": replace(UNSIGNED, image=Signed.YES)}, "signed: by the key that was named"),
        ({"attempts": (YES,) * 7}, "and 2 more locks"),
        ({"notes": tuple("abcdefgh")}, "and 2 more notes"),
        ({"parts": SAME * 10}, "and 8 more platforms"),
        (
            {"attempts": (replace(YES, archives=0, hosts=(), milliseconds=0, goal=""),)},
            "very image",
        ),
        ({"registries": (), "attempts": ()}, "asked: nobody, all of it was here"),
    ],
)
def test_other_lines(changes: dict[str, Any], line: str) -> None:
    lines = verification_lines(replace(verification(YES), **changes))
    assert any(line in one for one in lines), lines


def test_what_is_printed_is_one_screen_without_control_characters(tmp_path: Any) -> None:
    """Names, reasons and contents are somebody else's text."""
    found = report(tmp_path)
    evil = replace(NO, goal="x\x1b[2J\ny", reason="\x07", warnings=("\u202e",))
    v = verification(evil, image="r\x1b]0;x\x07/x:1", notes=("n" * 500,), comparison=None)
    stream = io.StringIO()
    print_verification(v, found, stream)
    text = stream.getvalue()
    assert text.startswith("≠ Different  r\\x1b]0;x\\x07/x:1\n")
    assert "etc/motd" in text
    assert not {c for c in text if not c.isprintable()} - {"\n"}
    assert len(text.splitlines()) < 40


def test_only_compression_differs_and_the_encoder_is_another(tmp_path: Any) -> None:
    tar = make_tar([file("etc/motd", "a" * 5000)])
    a = make_layout(tmp_path / "a", tar, level=1)
    b = make_layout(tmp_path / "b", tar, level=19)
    comparison = compare(f"oci:{a}", f"oci:{b}", Options(diffoscope=None))
    assert comparison.differences
    v = verification(NO, comparison=comparison)
    assert v.verdict is Verdict.DIFFERENT
    unpinned = replace(v, encoder="got zstd 9")
    assert (unpinned.verdict, unpinned.attested) == (Verdict.UNKNOWN, ())
    lines = verification_lines(unpinned)
    assert "equal when decompressed" in "\n".join(lines)
    configured = make_layout(tmp_path / "c", tar, level=19, config={"Env": ["A=1"]})
    comparison = compare(f"oci:{a}", f"oci:{configured}", Options(diffoscope=None))
    assert replace(unpinned, comparison=comparison).verdict is Verdict.DIFFERENT
