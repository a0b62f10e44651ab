"""Arguments that commands about published images share: where an image is, and how to get there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError, FormatError, PipelineError
from pipeline.formats import canonical_json
from pipeline.host.registry_session import Access
from pipeline.host.store import write_atomically
from pipeline.host.terminal import one_line
from pipeline.stages.pull import parse_platform
from reproducibility.verify_place import JoinedPlace, beside, open_place

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from pipeline.oci.platform import Platform

IMAGES: Final = """\
images:
  HOST/PATH[:TAG][@sha256:DIGEST]  in a registry; a tag is looked up once, and the digest said
  oci:PATH[:NAME]                  in an OCI layout, by name or as the only one
  oci:PATH@sha256:DIGEST           by digest: an index, or the manifest of one platform
  oci-archive:FILE[:NAME]          in a layout in a tar; also with @sha256:DIGEST
"""

STANDARD_OUTPUT: Final = "-"


def guarded(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command such that what goes wrong is an error of one line."""
    try:
        return command(arguments)
    except PipelineError:
        clear_line()
        raise
    except BrokenPipeError:
        raise
    except OSError as e:
        clear_line()
        where = f"{e.filename}: " if e.filename else ""
        what = os.strerror(e.errno).lower() if e.errno else "i/o error"
        raise ConfigurationError(f"{where}{what}") from None


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    add = parser.add_argument
    add("image", metavar="IMAGE")
    add("--platform", metavar="OS/ARCH", help="of an index, this platform alone: freebsd/arm64")
    add(
        "--attestations",
        action="append",
        default=[],
        metavar="PLACE",
        help="look here as well for what is said of the image: HOST/PATH, oci:PATH"
        " (repeatable; of oci:build/oci also oci:build/attest, without being told)",
    )
    add("--json", metavar="FILE", help="write the result there as JSON; - is standard output")
    add("--quiet", action="store_true", help="print nothing; the status tells")
    registry = parser.add_argument_group("registry")
    registry.add_argument(
        "--plain-http", action="store_true", default=None, help="without TLS, also elsewhere"
    )
    registry.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="more certificate authorities"
    )
    registry.add_argument(
        "--auth-file", type=Path, metavar="FILE", help="look for accounts only there"
    )


def access_of(arguments: argparse.Namespace) -> Access:
    """Return how to reach registries."""
    return Access(
        plain_http=arguments.plain_http,
        ca_file=arguments.ca_file,
        auth_file=arguments.auth_file,
    )


def place_of(arguments: argparse.Namespace) -> JoinedPlace:
    """Open the image's place, and those of what is said of it.

    Raises:
        ConfigurationError: one of them is no name, or not there.
    """
    access = access_of(arguments)
    others = list(arguments.attestations)
    near = beside(arguments.image)
    if not others and near is not None:
        others.append(near)
    image = open_place(arguments.image, access)
    return JoinedPlace(image, [open_place(text, access) for text in others])


def platform_of(arguments: argparse.Namespace) -> Platform | None:
    """Return the platform that was asked for."""
    if arguments.platform is None:
        return None
    try:
        return parse_platform(arguments.platform)
    except FormatError as e:
        raise ConfigurationError(str(e)) from None


def write_json(where: str | None, document: Mapping[str, object]) -> None:
    """Write a result, if it was asked for."""
    if where is None:
        return
    data = canonical_json.pretty(document)
    if where == STANDARD_OUTPUT:
        sys.stdout.write(data.decode())
    else:
        write_atomically(Path(where), data)


def progress_line(*, quiet: bool) -> Callable[[str], None]:
    """Return who is told what is going on: one line on a terminal, a line each elsewhere."""
    if quiet:
        return lambda _: None

    def show(text: str) -> None:
        line = one_line(text)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{line[:78]}\r")
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    return show


def clear_line() -> None:
    """Remove the progress line."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
