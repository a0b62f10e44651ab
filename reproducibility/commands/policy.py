"""`policy`: have enough of the rebuilders that you trust reproduced an image?"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError, PipelineError
from pipeline.host.terminal import one_line
from reproducibility.image_arguments import (
    IMAGES,
    STANDARD_OUTPUT,
    add_image_arguments,
    guarded,
    place_of,
    platform_of,
    write_json,
)
from reproducibility.policy import Decision, Held, Standing, Wanted, judge
from reproducibility.policy_file import parse_policy
from reproducibility.verify_image import find_subject
from reproducibility.verify_result import Signed, plain
from reproducibility.verify_signatures import MAX_BUNDLE, Witnesses, bundles_of
from reproducibility.verify_statement import PREDICATE_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reproducibility.policy import Judgement, Row
    from reproducibility.policy_file import Policy
    from reproducibility.verify_image import Subject
    from reproducibility.verify_place import JoinedPlace

FORMAT: Final = 1
"""Version of the JSON form."""

_EPILOG: Final = f"""\
{IMAGES}
The policy is a TOML file: rebuilders with their keys, and how many of them are needed.
docs/verify.md describes it, docs/schemas/policy.schema.json has every key.

exit status:
  0  accepted    1  not accepted    2  could not tell
"""
_SCHEMA: Final = (
    "docs/schemas/policy.schema.json has the keys of a policy, docs/verify.md an example"
)
_MORE: Final = "hint: --attestations PLACE, where more are kept, or --attestation FILE"
_COLUMNS: Final = ("REBUILDER", "WHEN", "RESULT", "FORMAT", "ABOUT")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments."""
    parser = subparsers.add_parser(
        "policy",
        help="have enough rebuilders reproduced an image?",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_image_arguments(parser)
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE", help="the policy")
    parser.add_argument(
        "--attestation",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a rebuild attestation, beside those that refer to the image (repeatable)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Collect, judge, print; return the exit status."""
    return guarded(_run, arguments)


def _run(arguments: argparse.Namespace) -> int:
    policy = _policy(arguments.policy)
    given = [Held(origin=str(path), raw=_read(path)) for path in arguments.attestation]
    place = place_of(arguments)
    subject = find_subject(place, platform_of(arguments))
    # (1) what has been said of it
    problems: list[str] = []
    held = [*given, *_attached(place, subject, problems)]
    # (2) has the publisher signed it?
    publisher = Signed.NOT_ASKED
    if policy.publisher is not None:
        witnesses = Witnesses(place, subject.chosen.digest, [policy.publisher])
        publisher = witnesses.image(required=True).image
        problems += witnesses.problems
    # (3) is that enough?
    judgement = judge(
        policy,
        _wanted(subject),
        held,
        publisher=publisher,
        problems=tuple(dict.fromkeys([*problems, *place.problems])),
        now=int(time.time()),
    )
    write_json(arguments.json, _as_json(place, subject, judgement))
    if not arguments.quiet and arguments.json != STANDARD_OUTPUT:
        lines = _render(place, subject, judgement)
        sys.stdout.write("\n".join(map(one_line, lines)) + "\n")
    return judgement.decision.exit_code


def _policy(path: Path) -> Policy:
    raw = _read(path)
    try:
        return parse_policy(raw, lambda name: (path.parent / name).read_bytes())
    except PipelineError as e:
        raise ConfigurationError(f"{path}: {e}", hint=e.hint or _SCHEMA) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as f:
            return f.read(MAX_BUNDLE)
    except OSError as e:
        reason = (e.strerror or "cannot be read").lower()
        raise ConfigurationError(f"{path}: {reason}") from None


def _wanted(subject: Subject) -> Wanted:
    return Wanted(
        platforms=subject.manifests,
        index=subject.root.digest if subject.root.is_index else None,
        is_whole=subject.chosen.is_index,
    )


def _attached(place: JoinedPlace, subject: Subject, problems: list[str]) -> Iterator[Held]:
    """Fetch the rebuild attestations that refer to an image, its index, or its platforms."""
    digests = (subject.root.digest, *subject.published.values())
    for digest in dict.fromkeys(digests):
        for manifest, raw in bundles_of(place, digest, (PREDICATE_TYPE,), problems):
            yield Held(origin=f"referrer {manifest.digest.short}", raw=raw)


# ---------------------------------------------------------------- output


_DECISIONS: Final = {
    Decision.ACCEPTED: "✓ Accepted",
    Decision.REFUSED: "✗ Not accepted",
    Decision.UNKNOWN: "? Could not tell",
}


def _render(place: JoinedPlace, subject: Subject, judgement: Judgement) -> list[str]:
    lines = [f"{_DECISIONS[judgement.decision]}  {place}"]
    if place.is_named:
        lines.append(f"{place} is {subject.root.digest} now")
    lines += [
        f"  {tally.platform}  {tally.digest}  {len(tally.passed)} of {judgement.threshold} needed"
        for tally in judgement.tallies
    ]
    lines += list(judgement.reasons)
    if judgement.publisher is not Signed.NOT_ASKED:
        lines.append(f"signed by the publisher: {judgement.publisher}")
    known = [row for row in judgement.rows if row.standing is not Standing.IGNORED]
    lines += _table([_COLUMNS, *map(_cells, known)]) if known else ["nobody has rebuilt it"]
    ignored = [row for row in judgement.rows if row.standing is Standing.IGNORED]
    lines += [f"ignored: {_by(row)} {row.reason}" for row in ignored]
    lines += [f"note: {problem}" for problem in judgement.problems]
    if not judgement.is_accepted and not judgement.is_failed:
        lines.append(_MORE)
    return lines


def _by(row: Row) -> str:
    return f"{row.origin} by {row.rebuilder}" if row.rebuilder else row.origin


def _cells(row: Row) -> tuple[str, ...]:
    return row.rebuilder, row.time, row.result, str(row.format), ", ".join(row.about)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _as_json(place: JoinedPlace, subject: Subject, judgement: Judgement) -> dict[str, object]:
    fields = plain(judgement)
    assert isinstance(fields, dict), "a dataclass"
    return {
        "format": FORMAT,
        "image": str(place),
        "root": str(subject.root.digest),
        "digest": str(subject.chosen.digest),
        "decision": judgement.decision.value,
        "exit_code": judgement.decision.exit_code,
        **fields,
    }
