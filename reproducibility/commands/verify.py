"""`verify`: rebuild a published image from the lock that is attached to it, and compare."""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from pipeline.errors import ConfigurationError
from pipeline.host.environment import source_date_epoch
from pipeline.host.registry import Registry
from pipeline.host.store import Store
from reproducibility.diffoscope import Diffoscope, tool_version
from reproducibility.image_arguments import (
    IMAGES,
    STANDARD_OUTPUT,
    access_of,
    clear_line,
    guarded,
    place_of,
    write_json,
)
from reproducibility.report import clear_artifacts, write_report
from reproducibility.verify import verify
from reproducibility.verify_arguments import (
    add_verify_arguments,
    check_arguments,
    settings_of,
    verifier_of,
)
from reproducibility.verify_attest import Rebuilder, attest, push, write
from reproducibility.verify_explain import make_report
from reproducibility.verify_place import RegistryPlace, parse_reference
from reproducibility.verify_result import verification_to_dict
from reproducibility.verify_text import print_verification

if TYPE_CHECKING:
    from pipeline.host.signer import Signer
    from reproducibility.findings import Report
    from reproducibility.verify import Verified
    from reproducibility.verify_attest import Attestation
    from reproducibility.verify_place import JoinedPlace

_EPILOG: Final = f"""\
{IMAGES}
The lock is looked for among what refers to the image. Anybody can attach one, so each is only
tried: what decides is the digest of what it makes. docs/verify.md has the whole way.

exit status:
  0  reproduced, bit for bit
  1  different, or (--require-signature) not signed
  2  could not tell: no lock, packages gone from their repository, another output format,
     nobody answers
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments."""
    parser = subparsers.add_parser(
        "verify",
        help="rebuild a published image from its digest, and compare",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_verify_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify, write, print, attest; return the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    return guarded(_run, arguments)


def _run(arguments: argparse.Namespace) -> int:
    signer = check_arguments(arguments)
    if arguments.report is not None:
        clear_artifacts(arguments.report)
    work = _make_work(arguments.work)
    try:
        place = place_of(arguments)
        verified = verify(place, settings_of(arguments, work))
        report = _report(arguments, verified)
        _say(arguments, verified, report)
        if signer is not None:
            _attest(arguments, place, verified, signer, Store(work / "attest"))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return verified.verification.verdict.exit_code


def _interrupt(*_: object) -> NoReturn:
    """Let a request to end have the effect of Ctrl-C, which leaves nothing behind."""
    raise KeyboardInterrupt


def _make_work(folder: Path | None) -> Path:
    if folder is not None and not folder.is_dir():
        raise ConfigurationError(f"--work {folder}: no such directory", hint="make it first")
    try:
        return Path(tempfile.mkdtemp(prefix="verify-", dir=folder)).absolute()
    except OSError as e:
        reason = (e.strerror or "cannot be written").lower()
        raise ConfigurationError(
            f"{folder or tempfile.gettempdir()}: {reason}", hint="--work DIR, one to write in"
        ) from None


def _report(arguments: argparse.Namespace, verified: Verified) -> Report | None:
    """Write the reports; return what is in them, if the image is different."""
    verification = verified.verification
    if verified.comparison is None:
        return None
    tools = () if arguments.no_diffoscope else tool_version(Diffoscope())
    report = make_report(
        verified.comparison,
        title=verification.image,
        notes=tuple(_notes(verified)),
        generated=f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        tools=(*verification.tools, *tools),
    )
    if arguments.report is not None:
        write_report(report, arguments.report)
    return None if verification.comparison is None else report


def _notes(verified: Verified) -> list[str]:
    verification = verified.verification
    best = verification.best
    assert best is not None, "something was compared"
    return [
        f"rebuilt as {best.goal} from {best.origin} ({best.artifact or 'a file'})",
        *best.warnings,
        *verification.blobs.problems,
        *verification.notes,
    ]


def _say(arguments: argparse.Namespace, verified: Verified, report: Report | None) -> None:
    clear_line()
    verification = verified.verification
    write_json(arguments.json, verification_to_dict(verification, report))
    if not arguments.quiet and arguments.json != STANDARD_OUTPUT:
        print_verification(verification, report, sys.stdout)
        if arguments.report is not None and verified.comparison is not None:
            sys.stdout.write(f"report: {arguments.report / 'index.html'}\n")
        sys.stdout.flush()


def _attest(
    arguments: argparse.Namespace,
    place: JoinedPlace,
    verified: Verified,
    signer: Signer,
    store: Store,
) -> None:
    reason = verified.verification.why_not_attested
    if reason:
        sys.stderr.write(f"not attested: {reason}\n")
        return
    epoch = source_date_epoch()
    rebuilder = Rebuilder(
        identity=verifier_of(arguments),
        signer=signer,
        time=int(time.time()) if epoch is None else epoch,
    )
    attestation = attest(place, verified, rebuilder, store=store)
    said = []
    if arguments.output is not None:
        write(attestation, arguments.output, store=store)
        said.append(arguments.output)
    if arguments.push is not None:
        said.append(_push(arguments, place, attestation, store))
    if not arguments.quiet:
        sys.stderr.write(f"attested: {', '.join(said)}\n")


def _push(
    arguments: argparse.Namespace, place: JoinedPlace, attestation: Attestation, store: Store
) -> str:
    """Attach it where the image is, or keep it in another repository; return where."""
    image = place.image
    if arguments.push:
        reference = parse_reference(arguments.push)
    else:
        assert isinstance(image, RegistryPlace), "checked before any work was done"
        reference = image.reference
    registry = Registry(reference.host, access_of(arguments))
    push(attestation, repository=registry.repository(reference.path, writable=True), store=store)
    return f"{reference.name}, for {', '.join(str(t.digest) for t in attestation.targets)}"
