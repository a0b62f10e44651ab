"""Names of deferred triggers: pkg draws ten letters at random, which two builds never agree on.

pkg runs whatever lies in the directory, by whatever name (libpkg/triggers.c). Rule N23 of
docs/format/normalisation.md.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

from pipeline.formats.digest import Digest
from pipeline.rootfs.whiteouts import whiteout_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LENGTH: Final = 10
_DRAWN: Final = re.compile(
    rf"var/db/pkg/triggers/(?![0-9a-f]{{{_LENGTH}}}\Z)[A-Za-z0-9]{{{_LENGTH}}}"
)
"""Not hexadecimal digits alone: those are names of ours, and pkg draws one in 800,000 times."""


def is_drawn_name(path: str) -> bool:
    """Say whether a path is that of a deferred trigger, under a name that pkg has drawn."""
    return _DRAWN.fullmatch(path) is not None


def trigger_names(contents: Mapping[str, Digest], taken: Iterable[str]) -> dict[str, str]:
    """Return new paths for deferred triggers, by old path, that follow from their contents.

    Args:
        contents: path to digest of content.
        taken: paths that are not free.
    """
    result: dict[str, str] = {}
    used = set(taken)
    for path in sorted(contents):
        names = (_name(path, contents[path], copy) for copy in itertools.count())
        result[path] = next(name for name in names if name not in used)
        used.add(result[path])
    return result


def _name(path: str, digest: Digest, copy: int) -> str:
    """Return the name of the first of several equal triggers, or of a copy."""
    name = Digest.of(f"{digest.hex} {copy}".encode()) if copy else digest
    return f"{path.rpartition('/')[0]}/{name.hex[:_LENGTH]}"


def with_whiteouts(names: Mapping[str, str]) -> dict[str, str]:
    """Return the same names, and for each what a whiteout of it is called."""
    return {**names, **{whiteout_of(old): whiteout_of(new) for old, new in names.items()}}
