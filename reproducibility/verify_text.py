"""A verification for people, on one screen. Pure but for the colours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from pipeline.host.terminal import one_line
from reproducibility.report_terminal import print_report
from reproducibility.verify_result import Delivery, Outcome, Signed, Verdict
from reproducibility.wording import plural, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from reproducibility.findings import Report
    from reproducibility.verify_result import Attempt, Verification

VERDICTS: Final = {
    Verdict.REPRODUCED: ("✓", "Reproduced: bit for bit", "green"),
    Verdict.DIFFERENT: ("≠", "Different", "red"),
    Verdict.NOT_SIGNED: ("✗", "Not signed by the key that was named", "red"),
    Verdict.UNKNOWN: ("?", "Could not tell", "yellow"),
}
_OUTCOMES: Final = {
    Outcome.REPRODUCED: "makes this very image",
    Outcome.DIFFERENT: "makes another image",
    Outcome.NOT_TRIED: "could not be tried",
    Outcome.REFUSED: "is of no use",
}
_ANOTHER_LOCK: Final = (
    "  hint: --attestations PLACE, where its lock is kept, or --lock FILE --declaration FILE"
)
_MAX_LOCKS: Final = 5
_MAX_NOTES: Final = 6
_MAX_PARTS: Final = 12
_MAX_NAMES: Final = 8


def print_verification(verification: Verification, report: Report | None, stream: TextIO) -> None:
    """Print it; colours only if the stream is a terminal."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    mark, text, colour = VERDICTS[verification.verdict]
    head = Text(f"{mark} {text}", style=f"bold {colour}")
    console.print(head + Text(f"  {one_line(verification.image)}", style="default"))
    for line in verification_lines(verification):
        console.print(Text(one_line(line)))
    if report is not None and verification.verdict is Verdict.DIFFERENT:
        console.print()
        print_report(replace(report, notes=()), stream)


def verification_lines(v: Verification) -> tuple[str, ...]:
    """Return what there is to say, the verdict itself excepted."""
    return (
        *_parts(v),
        *_reasons(v),
        *(line for attempt in v.attempts[:_MAX_LOCKS] for line in _attempt(attempt)),
        *_more(len(v.attempts) - _MAX_LOCKS, "lock"),
        _signatures(v),
        *_origins(v),
        *_blobs(v),
        *(f"warning: {text}" for text in (v.best.warnings if v.best else ())[:_MAX_NOTES]),
        *(f"note: {text}" for text in v.notes[:_MAX_NOTES]),
        *_more(len(v.notes) - _MAX_NOTES, "note"),
        f"asked: {', '.join(_asked(v)) or 'nobody, all of it was here'}",
    )


def _more(count: int, what: str) -> tuple[str, ...]:
    return (f"and {plural(count, f'more {what}')}",) if count > 0 else ()


def _parts(v: Verification) -> Iterator[str]:
    if v.by_tag:
        yield f"{v.image} is {v.root} now"
    width = max(len(part.label) for part in v.parts)
    for part in v.parts[:_MAX_PARTS]:
        result = "same" if part.is_same else f"rebuilt: {part.built or 'nothing'}"
        yield f"  {part.label.ljust(width)}  {part.digest}" + (
            f"  {result}" if v.best and v.best.parts else ""
        )
    yield from _more(len(v.parts) - _MAX_PARTS, "platform")


def _reasons(v: Verification) -> Iterator[str]:
    """Say what the verdict rests on, where that is not the digests alone."""
    outcomes = {attempt.outcome for attempt in v.attempts}
    if v.verdict is Verdict.UNKNOWN and outcomes <= {Outcome.REFUSED}:
        what = "no lock that is of use" if outcomes else "no lock"
        yield f"{what} is attached to it, so there is nothing to rebuild it from"
        yield _ANOTHER_LOCK
    if v.verdict is Verdict.DIFFERENT and _is_doubtful(v.best):
        yield "the image says other things of itself: this may be the lock of another image"
        yield _ANOTHER_LOCK
    if v.is_compressor_only:
        yield "equal when decompressed: only the compressor differs, and this machine's is not the"
        yield f"  one of the output format: {v.encoder}"
    elif v.encoder:
        yield f"warning: {v.encoder}"
    if v.blobs.delivery is Delivery.DAMAGED:
        yield "the digest is reproduced, and other bytes are served for it"
        yield "  hint: pull this digest from somewhere else: here it is damaged, or was altered"
    if v.blobs.delivery is Delivery.INCOMPLETE:
        yield "the digest is reproduced, and not all that belongs to it could be read"
        yield "  hint: try again later; --shallow is content with the digest"


def _is_doubtful(best: Attempt | None) -> bool:
    """Say whether a lock that makes another image may be that of another image."""
    return best is not None and not best.is_likely and best.signed is not Signed.YES


def _attempt(attempt: Attempt) -> Iterator[str]:
    facts = [attempt.goal] if attempt.goal else []
    if attempt.archives:
        of = f" of {', '.join(attempt.hosts)}" if attempt.hosts else ""
        facts.append(f"{plural(attempt.archives, 'package')}{of}")
    if attempt.milliseconds:
        facts.append(f"{attempt.milliseconds / 1000:.1f} s")
    if attempt.signed is Signed.YES:
        facts.append("named by a signed provenance")
    tail = f": {attempt.reason}" if attempt.reason else ""
    inside = f" ({', '.join(facts)})" if facts else ""
    yield f"{attempt.origin} {_OUTCOMES[attempt.outcome]}{inside}{tail}"
    if attempt.hint:
        yield f"  hint: {attempt.hint}"


def _signatures(v: Verification) -> str:
    s = v.signatures
    count = plural(s.count, "signature")
    if not s.count and s.image is Signed.NOT_ASKED:
        return "signed: by nobody"
    if s.image is Signed.YES:
        return f"signed: by the key that was named ({count})"
    if s.image is Signed.NOT_ASKED:
        return f"signed: {count}, not looked at; --key FILE names the publisher's key"
    return f"signed: not by the key that was named ({count}): {'; '.join(s.reasons)}"


def _origins(v: Verification) -> Iterator[str]:
    """Say whose the packages are."""
    is_reproduced = v.best is not None and v.best.outcome is Outcome.REPRODUCED
    if is_reproduced and not v.origins:
        yield "packages: those that the lock pins; --fingerprints NAME=DIR asks who has signed them"
    for origin in v.origins:
        count = f"{origin.packages} of {origin.repository}"
        if origin.problem:
            yield f"packages: {count}; who has signed them could not be told: {origin.problem}"
        elif origin.unknown:
            missing = ", ".join(origin.unknown[:_MAX_NAMES])
            more = len(origin.unknown) - _MAX_NAMES
            tail = f" and {more} more" if more > 0 else ""
            yield f"packages: {count}; the catalogue that {origin.key[:12]} has signed has no"
            yield f"  {missing}{tail}"
        else:
            yield f"packages: {count}, all in the catalogue that {origin.key[:12]} has signed"


def _blobs(v: Verification) -> Iterator[str]:
    b = v.blobs
    what = f"{plural(b.count, 'blob')}, {size_text(b.size)}"
    if b.delivery is Delivery.CHECKED:
        yield f"served: {what}, each is what its digest says"
    elif v.best is not None and v.best.outcome is Outcome.REPRODUCED:
        yield f"served: {what if b.count else 'not looked at'}"
        yield from (f"  {problem}" for problem in b.problems[:_MAX_NOTES])
        yield from _more(len(b.problems) - _MAX_NOTES, "problem")


def _asked(v: Verification) -> list[str]:
    return list(dict.fromkeys((*v.registries, *(h for a in v.attempts for h in a.hosts))))
