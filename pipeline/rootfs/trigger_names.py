"""Names of deferred triggers: pkg draws ten letters at random, which two builds never agree on.

pkg runs whatever lies in the directory, by whatever name (libpkg/triggers.c). Rule N23 of
docs/format/normalisation.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.formats.digest import Digest
from pipeline.rootfs.whiteouts import whiteout_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME_LENGTH: Final = 10
_DEFERRED: Final = re.compile(rf"var/db/pkg/triggers/[A-Za-z0-9]{{{_NAME_LENGTH}}}")


def is_deferred_trigger(path: str) -> bool:
    """Say whether a path is that of a trigger that pkg has put off."""
    return _DEFERRED.fullmatch(path) is not None


def trigger_names(contents: Mapping[str, Digest]) -> dict[str, str]:
    """Return new paths for deferred triggers, by old path, that follow from their contents.

    Args:
        contents: path to digest of content.
    """
    result: dict[str, str] = {}
    for digest in sorted(set(contents.values())):
        equal = sorted(path for path in contents if contents[path] == digest)
        names = [_name(equal[0], digest, copy) for copy in range(len(equal))]
        kept = {path: path for path in equal if path in names}
        free = iter(name for name in names if name not in kept)
        result |= {path: kept.get(path) or next(free) for path in equal}
    return result


def _name(path: str, digest: Digest, copy: int) -> str:
    """Return the name of the first of several equal triggers, or of a copy."""
    name = Digest.of(f"{digest.hex} {copy}".encode()) if copy else digest
    return f"{path.rpartition('/')[0]}/{name.hex[:_NAME_LENGTH]}"


def with_whiteouts(names: Mapping[str, str]) -> dict[str, str]:
    """Return the same names, and for each what a whiteout of it is called."""
    return {**names, **{whiteout_of(old): whiteout_of(new) for old, new in names.items()}}
