"""Licences of packages as SPDX expressions.

Sources: FreeBSD ports, Mk/bsd.licenses.db.mk (the names that ports and pkgbase use); the SPDX
licence list (https://spdx.org/licenses/); SPDX 2.3, Annex D (expressions).

1. A name that means one licence of SPDX's list becomes its identifier; a name that is such an
   identifier stays.
2. Any other name, a port's own or one that leaves the version open, becomes
   `LicenseRef-FreeBSD-<name>`, with what is not a letter, digit, dot or dash as a dash. The
   document says what the name was.
3. pkg's licence logic: `or` joins by OR; `and`, and `single` with several names, by AND.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SPDX: Final = {
    "AGPLv3": "AGPL-3.0-only",
    "AGPLv3+": "AGPL-3.0-or-later",
    "APACHE10": "Apache-1.0",
    "APACHE11": "Apache-1.1",
    "APACHE20": "Apache-2.0",
    "ART10": "Artistic-1.0",
    "ART20": "Artistic-2.0",
    "ARTPERL10": "Artistic-1.0-Perl",
    "BSD0CLAUSE": "0BSD",
    "BSD1CLAUSE": "BSD-1-Clause",
    "BSD2CLAUSE": "BSD-2-Clause",
    "BSD3CLAUSE": "BSD-3-Clause",
    "BSD4CLAUSE": "BSD-4-Clause",
    "BSL": "BSL-1.0",
    "CC0-1.0": "CC0-1.0",
    "CDDL": "CDDL-1.0",
    "CPAL-1.0": "CPAL-1.0",
    "ClArtistic": "ClArtistic",
    "EPL": "EPL-1.0",
    "GPLv1": "GPL-1.0-only",
    "GPLv1+": "GPL-1.0-or-later",
    "GPLv2": "GPL-2.0-only",
    "GPLv2+": "GPL-2.0-or-later",
    "GPLv3": "GPL-3.0-only",
    "GPLv3+": "GPL-3.0-or-later",
    "GPLv3RLE": "GPL-3.0-only WITH GCC-exception-3.1",
    "GPLv3RLE+": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "ISCL": "ISC",
    "LGPL20": "LGPL-2.0-only",
    "LGPL20+": "LGPL-2.0-or-later",
    "LGPL21": "LGPL-2.1-only",
    "LGPL21+": "LGPL-2.1-or-later",
    "LGPL3": "LGPL-3.0-only",
    "LGPL3+": "LGPL-3.0-or-later",
    "LPPL10": "LPPL-1.0",
    "LPPL11": "LPPL-1.1",
    "LPPL12": "LPPL-1.2",
    "LPPL13a": "LPPL-1.3a",
    "LPPL13c": "LPPL-1.3c",
    "MIT": "MIT",
    "MPL10": "MPL-1.0",
    "MPL11": "MPL-1.1",
    "MPL20": "MPL-2.0",
    "NCSA": "NCSA",
    "OFL10": "OFL-1.0",
    "OFL11": "OFL-1.1",
    "OpenSSL": "OpenSSL",
    "PHP30": "PHP-3.0",
    "PHP301": "PHP-3.01",
    "PSFL": "PSF-2.0",
    "PostgreSQL": "PostgreSQL",
    "RUBY": "Ruby",
    "UNLICENSE": "Unlicense",
    "WTFPL": "WTFPL",
    "ZLIB": "Zlib",
    "ZPL21": "ZPL-2.1",
}
"""Rule 1. Left out because SPDX has no such licence, or several: BSD, GFDL, GMGPL, LPPL13, LPPL13b,
NONE, OWL, PD, PHP202, WTFPL1."""

_CC_RE: Final = re.compile(r"CC-BY(?:-NC)?(?:-ND|-SA)?-(?:1\.0|2\.0|2\.5|3\.0|4\.0)")
_IDENTIFIERS: Final = frozenset(SPDX.values())
_UNFIT_RE: Final = re.compile("[^A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class License:
    """A licence expression."""

    expression: str
    identifier: str
    """Of SPDX's list, where the expression is nothing else; empty otherwise."""
    references: tuple[tuple[str, str], ...]
    """Pairs of (`LicenseRef-…`, the name that it stands for), sorted."""


def license_of(names: Sequence[str], logic: str | None) -> License | None:
    """Return the licence of a package, None if it names none.

    Args:
        names: `licenses` of its manifest.
        logic: `licenselogic` of its manifest.
    """
    if not names:
        return None
    terms = {name: _term(name) for name in names}
    joint = " OR " if logic == "or" else " AND "
    several = len(set(terms.values())) > 1
    parts = [f"({t})" if several and " WITH " in t else t for t in dict.fromkeys(terms.values())]
    expression = joint.join(parts)
    references = {term: name for name, term in terms.items() if term.startswith("LicenseRef-")}
    return License(
        expression=expression,
        identifier=expression if not several and _is_identifier(expression) else "",
        references=tuple(sorted(references.items())),
    )


def _term(name: str) -> str:
    if name in SPDX:
        return SPDX[name]
    if _is_identifier(name):
        return name
    fit = _UNFIT_RE.sub("-", name.replace("+", "-or-later")).strip("-")
    return f"LicenseRef-FreeBSD-{fit or 'unnamed'}"


def _is_identifier(name: str) -> bool:
    return " " not in name and (name in _IDENTIFIERS or _CC_RE.fullmatch(name) is not None)
