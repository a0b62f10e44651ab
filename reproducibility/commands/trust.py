"""`trust`: would podman, skopeo, cosign 2 and cosign 3 see an image as signed?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError, FormatError
from pipeline.formats import canonical_json
from pipeline.host.layout import Layout, beside
from pipeline.host.registry import Registry
from pipeline.host.registry_session import Access
from pipeline.host.repository_url import open_fetcher
from pipeline.host.signer import read_public_key
from pipeline.host.store import write_atomically
from pipeline.host.terminal import printable
from pipeline.oci.reference import Reference
from reproducibility.trust import (
    Answer,
    Keys,
    Row,
    Statements,
    find_statements,
    judge,
    judge_policy,
)
from reproducibility.trust_evidence import PairSource, RegistrySource, gather
from reproducibility.trust_policy import parse_policy
from reproducibility.trust_registries import read_registries
from reproducibility.trust_snippets import ROOTS, Trust, snippets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reproducibility.trust_evidence import Evidence, ImageSource, Lookaside

_EPILOG: Final = """\
images:
  HOST/PATH[:TAG][@DIGEST]   an image in a registry
  oci:PATH:NAME              an image in a layout; its signatures are in --attest
                             (default: `attest` beside PATH) and --lookaside (`lookaside`)

exit status:
  0  every client sees it as signed    1  one does not    2  could not tell
"""

_NOT_SIGNED: Final = 1
_OCI: Final = "oci:"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments."""
    parser = subparsers.add_parser(
        "trust",
        help="would podman, skopeo and cosign see an image as signed?",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("image", metavar="IMAGE")
    add(
        "--gpg-key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="judge by this GPG key, as exported (repeatable)",
    )
    add(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="judge by this cosign.pub (repeatable)",
    )
    add("--policy", type=Path, metavar="FILE", help="judge by this policy.json as well")
    add("--registries-d", type=Path, metavar="DIR", help="take the lookaside from these settings")
    add("--lookaside", metavar="URL", help="lookaside tree: https, file, or a directory")
    add("--attest", type=Path, metavar="DIR", help="layout of attestations")
    add("--as", dest="pulled", metavar="NAME", help="the name that it is going to be pulled by")
    add("--json", type=Path, metavar="FILE", help="write the result there")
    add("--snippets", type=Path, metavar="DIR", help="write policy.json, registries.d and keys")
    add("--lookaside-url", default="", metavar="URL", help="what the snippets say of it")
    registry = parser.add_argument_group("registry")
    more = registry.add_argument
    more("--plain-http", action="store_true", default=None, help="without TLS, also elsewhere")
    more("--ca-file", type=Path, metavar="FILE", help="more certificate authorities")
    more("--auth-file", type=Path, metavar="FILE", help="look for accounts only there")


def run(arguments: argparse.Namespace) -> int:
    """Gather, judge, print; return the exit status."""
    keys = _keys(arguments)
    pulled = _pulled(arguments)
    attachments, lookaside = _settings(arguments, pulled)
    # (1) what there is
    evidence = gather(_source(arguments), pulled, lookaside)
    # (2) how each client sees it
    rows = list(judge(evidence, keys, pulled, attachments=attachments))
    if arguments.policy is not None:
        policy = parse_policy(_read(arguments.policy), what=str(arguments.policy))
        rows += judge_policy(policy, evidence, pulled, attachments=attachments)
    statements = [find_statements(item, keys.cosign) for item in evidence if keys.cosign]
    # (3) say it
    sys.stdout.write(printable(_render(pulled, evidence, rows, statements)))
    if arguments.json is not None:
        write_atomically(arguments.json, _as_json(pulled, evidence, rows, statements))
    if arguments.snippets is not None:
        _write_snippets(arguments, pulled)
    return 0 if all(row.is_signed for row in rows) else _NOT_SIGNED


# ---------------------------------------------------------------- arguments


def _keys(arguments: argparse.Namespace) -> Keys:
    if not (arguments.gpg_key or arguments.key or arguments.policy):
        raise ConfigurationError(
            "there is no key to judge by", hint="name one by --gpg-key, --key or --policy"
        )
    return Keys(
        gpg=tuple(_read(path) for path in arguments.gpg_key),
        cosign=tuple(read_public_key(path) for path in arguments.key),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        reason = (e.strerror or "cannot be read").lower()
        raise ConfigurationError(f"{path}: {reason}") from None


def _layout(image: str) -> tuple[Path, str]:
    """Split `oci:PATH:NAME`; a path has no colon."""
    path, colon, name = image.removeprefix(_OCI).partition(":")
    if not colon or not name:
        raise ConfigurationError(f"got {image!r}, want oci:PATH:NAME")
    return Path(path), name


def _pulled(arguments: argparse.Namespace) -> Reference:
    text = arguments.pulled or arguments.image
    if text.startswith(_OCI):
        raise ConfigurationError(
            "signatures name the image, and a layout does not know under which name it is pulled",
            hint="say it: --as HOST/PATH:TAG",
        )
    try:
        reference = Reference.parse(text)
    except FormatError as e:
        raise ConfigurationError(str(e)) from None
    if reference.tag is None and reference.digest is None:
        return Reference.parse(f"{reference}:latest")
    return reference


def _source(arguments: argparse.Namespace) -> ImageSource:
    if arguments.image.startswith(_OCI):
        path, name = _layout(arguments.image)
        if not path.is_dir():
            raise ConfigurationError(f"{path}: there is no such layout")
        attest = arguments.attest or beside(path, "attest")
        return PairSource(Layout(path), Layout(attest), name)
    reference = Reference.parse(arguments.image)
    access = Access(
        plain_http=arguments.plain_http,
        ca_file=arguments.ca_file,
        auth_file=arguments.auth_file,
    )
    repository = Registry(reference.host, access).repository(reference.path)
    return RegistrySource(repository, reference.digest or reference.wanted)


def _settings(arguments: argparse.Namespace, pulled: Reference) -> tuple[bool, Lookaside | None]:
    """Return whether attachments are used, and the lookaside tree."""
    attachments, url = True, arguments.lookaside
    if arguments.registries_d is not None:
        registries = read_registries(arguments.registries_d)
        attachments = registries.uses_attachments(pulled)
        url = url or registries.lookaside(pulled)
    if url is None and arguments.image.startswith(_OCI):
        url = str(beside(_layout(arguments.image)[0], "lookaside"))
    if url is None:
        return attachments, None
    if "://" not in url:
        url = Path(url).absolute().as_uri()
    if url.startswith("file://") and not Path(url.removeprefix("file://")).is_dir():
        return attachments, None
    return attachments, open_fetcher(url, base=Path())


# ---------------------------------------------------------------- output


def _render(
    pulled: Reference,
    evidence: Sequence[Evidence],
    rows: Sequence[Row],
    statements: Sequence[Statements],
) -> str:
    head = ["", *(item.label for item in evidence)]
    table = [head, *([row.client, *(cell.answer.value for cell in row.cells)] for row in rows)]
    table += [
        [title, *(str(len(getattr(item, field))) for item in statements)]
        for title, field in (
            ("signed statements, cosign 2", "legacy"),
            ("signed statements, cosign 3", "bundles"),
        )
        if statements
    ]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    lines = [f"{pulled}  {evidence[0].digest}"]
    lines += [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    lines += [f"warning: {text}" for text in _warnings(rows, statements)]
    return "\n".join(lines) + "\n"


def _warnings(rows: Sequence[Row], statements: Sequence[Statements]) -> list[str]:
    """Say what is amiss, each thing once with all the clients that see it."""
    seen: dict[tuple[str, Answer, str], list[str]] = {}
    for row in rows:
        for cell in row.cells:
            if cell.answer in (Answer.UNSIGNED, Answer.REFUSED):
                key = (cell.label, cell.answer, "; ".join(cell.reasons))
                seen.setdefault(key, []).append(row.client)
    found = [
        f"{label} is {answer} for {' and '.join(clients)}: {reasons}"
        for (label, answer, reasons), clients in seen.items()
    ]
    found += [f"{item.label}: {text}" for item in statements for text in item.problems]
    found += [
        f"{item.label}: cosign 2 and cosign 3 find different statements"
        for item in statements
        if item.legacy != item.bundles
    ]
    return found


def _as_json(
    pulled: Reference,
    evidence: Sequence[Evidence],
    rows: Sequence[Row],
    statements: Sequence[Statements],
) -> bytes:
    return canonical_json.pretty(
        {
            "image": str(pulled),
            "manifests": {item.label: str(item.digest) for item in evidence},
            "clients": [
                {
                    "client": row.client,
                    "signed": row.is_signed,
                    "manifests": {
                        cell.label: {
                            "answer": cell.answer.value,
                            "reasons": list(cell.reasons),
                        }
                        for cell in row.cells
                    },
                }
                for row in rows
            ],
            "statements": {
                item.label: {
                    "cosign 2": list(item.legacy),
                    "cosign 3": list(item.bundles),
                    "problems": list(item.problems),
                }
                for item in statements
            },
        }
    )


def _write_snippets(arguments: argparse.Namespace, pulled: Reference) -> None:
    trust = Trust(
        scope=pulled.name.rpartition("/")[0],
        lookaside=arguments.lookaside_url,
        gpg=_read(arguments.gpg_key[0]) if arguments.gpg_key else None,
        cosign=_read(arguments.key[0]) if arguments.key else None,
    )
    for system in ROOTS:
        for path, data in snippets(trust, system).items():
            write_atomically(arguments.snippets / system / path, data)
            sys.stdout.write(f"{arguments.snippets / system / path}\n")
