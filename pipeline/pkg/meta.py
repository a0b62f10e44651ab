"""Meta: `meta.conf`, where a repository says how its catalogue is called and packed.

Source: freebsd/pkg 2.8.4, libpkg/pkg_repo_meta.c. Versions 1 and 2 are in use. The file itself is
not signed, so nothing in it is believed beyond names, and those are checked: a name becomes part of
a URL and must be one plain component.

The catalogue is looked for as pkg does it (pkg_repo_fetch_remote_tmp): what comes before the last
dot of `data`, else of `manifests`, with `.pkg` and then with the packing format as extension. The
fields `data_archive` and `manifests_archive` play no part in that.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import FormatError, PackagesiteError
from pipeline.formats.fields import checked, get_optional, get_required
from pipeline.formats.ucl import parse_ucl

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSIONS: Final = (1, 2)

_NAME_RE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_RESERVED: Final = (".sig", ".pub")
_HINT: Final = "the repository is newer, older or damaged; compare with pkg-repository(5)"


class PackingFormat(enum.StrEnum):
    """Values of `packing_format`, which are also file name extensions."""

    TZST = "tzst"
    TXZ = "txz"
    TBZ = "tbz"
    TGZ = "tgz"
    TAR = "tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What of meta.conf matters for reading a catalogue."""

    version: int
    packing_format: PackingFormat
    data: str
    """Member name of the catalogue as one JSON document."""
    manifests: str
    """Member name of the catalogue as lines of JSON."""
    certificates: Mapping[str, bytes]
    """Public keys by name, for signatures that come without; trusted no more than those."""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read meta.conf.

        Raises:
            PackagesiteError: it is malformed, of another version, or names unsafe files.
        """
        try:
            document = parse_ucl(raw, lowercase_keys=True)
        except FormatError as e:
            raise PackagesiteError(e.message, context=e.context) from None
        version = get_required(document, int, "version", error=PackagesiteError)
        if version not in VERSIONS:
            raise PackagesiteError(f"got {version}, want 1 or 2", context="version", hint=_HINT)
        return cls(
            version=version,
            packing_format=_packing_format(document),
            data=_name(document, "data", default=DEFAULT_META.data),
            manifests=_name(document, "manifests", default=DEFAULT_META.manifests),
            certificates=_certificates(document),
        )

    def archive_names(self, member: str) -> tuple[str, ...]:
        """Return the file names under which the archive of a member may lie, first choice first."""
        stem = member.rpartition(".")[0] or member
        return (f"{stem}.pkg", f"{stem}.{self.packing_format}")


DEFAULT_META: Final = Meta(
    version=2,
    packing_format=PackingFormat.TZST,
    data="data",
    manifests="packagesite.yaml",
    certificates={},
)
"""What pkg assumes of a repository without meta.conf (pkg_repo_meta_set_default)."""


def _packing_format(d: Mapping[str, object]) -> PackingFormat:
    text = get_optional(d, str, "packing_format", error=PackagesiteError)
    if text is None:
        return DEFAULT_META.packing_format
    try:
        return PackingFormat(text)
    except ValueError:
        raise PackagesiteError(
            f"got {text[:40]!r}, want one of {', '.join(PackingFormat)}", context="packing_format"
        ) from None


def _name(d: Mapping[str, object], key: str, *, default: str) -> str:
    name = get_optional(d, str, key, error=PackagesiteError)
    if name is None:
        return default
    if not _NAME_RE.fullmatch(name) or name.endswith(_RESERVED):
        raise PackagesiteError(f"got {name[:80]!r}, want a plain file name", context=key)
    return name


def _certificates(d: Mapping[str, object]) -> Mapping[str, bytes]:
    """Read `cert`: one object or several, each with type, name and data."""
    value = d.get("cert", [])
    result = {}
    for i, item in enumerate(value if isinstance(value, list) else [value]):
        try:
            fields = checked(item, dict, context="", error=PackagesiteError)
            name = get_required(fields, str, "name", error=PackagesiteError)
            data = get_required(fields, str, "data", error=PackagesiteError)
        except PackagesiteError as e:
            raise e.within(f"cert[{i}]") from None
        result[name] = data.encode("utf-8")
    return result
