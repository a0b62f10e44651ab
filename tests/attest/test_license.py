"""Licence expressions, judged by the SPDX licence list."""

from __future__ import annotations

import re

import pytest
from license_expression import get_spdx_licensing  # type: ignore[import-untyped]

from pipeline.attest.license import SPDX, license_of

LICENSING = get_spdx_licensing()


@pytest.mark.parametrize("expression", sorted(set(SPDX.values())))
def test_every_name_of_the_table_is_of_the_list(expression: str) -> None:
    assert LICENSING.validate(expression, strict=True).errors == []


@pytest.mark.parametrize("name", [n for n in SPDX if n.startswith(("AGPL", "GPL", "LGPL"))])
def test_a_plus_means_or_later_and_nothing_else_does(name: str) -> None:
    """With the version that the name says: `LGPL21+` is LGPL-2.1-or-later."""
    match = re.fullmatch(r"([ALG]*PL)v?(\d)(\d?)(?:RLE)?(\+?)", name)
    assert match is not None
    kind, major, minor, plus = match.groups()
    wanted = f"{kind}-{major}.{minor or 0}-{'or-later' if plus else 'only'}"
    assert SPDX[name].partition(" ")[0] == wanted


@pytest.mark.parametrize(
    ("names", "logic", "expression", "identifier"),
    [
        (("BSD2CLAUSE",), "single", "BSD-2-Clause", "BSD-2-Clause"),
        (("MIT",), None, "MIT", "MIT"),
        (("CC-BY-SA-4.0",), "single", "CC-BY-SA-4.0", "CC-BY-SA-4.0"),
        (("APACHE20", "MIT"), "or", "Apache-2.0 OR MIT", ""),
        (("BSD2CLAUSE", "BSD3CLAUSE"), "and", "BSD-2-Clause AND BSD-3-Clause", ""),
        (("BSD2CLAUSE", "MIT"), "single", "BSD-2-Clause AND MIT", ""),
        (("GPLv3RLE",), "single", "GPL-3.0-only WITH GCC-exception-3.1", ""),
        (
            ("GPLv3+", "GPLv3RLE+"),
            "and",
            "GPL-3.0-or-later AND (GPL-3.0-or-later WITH GCC-exception-3.1)",
            "",
        ),
        (("MIT", "MIT"), "and", "MIT", "MIT"),
        (("GPLv2",), "single", "GPL-2.0-only", "GPL-2.0-only"),
        (("GPLv2+",), "single", "GPL-2.0-or-later", "GPL-2.0-or-later"),
    ],
)
def test_licences_of_the_list(
    names: tuple[str, ...], logic: str | None, expression: str, identifier: str
) -> None:
    license_ = license_of(names, logic)
    assert license_ is not None
    assert license_.expression == expression
    assert license_.identifier == identifier
    assert license_.references == ()
    assert LICENSING.validate(expression, strict=True).errors == []


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("PD", "LicenseRef-FreeBSD-PD"),
        ("NONE", "LicenseRef-FreeBSD-NONE"),
        ("my_own licence!", "LicenseRef-FreeBSD-my-own-licence"),
        ("EULA+", "LicenseRef-FreeBSD-EULA-or-later"),
        ("§", "LicenseRef-FreeBSD-unnamed"),
    ],
)
def test_other_licences_are_named_and_explained(name: str, reference: str) -> None:
    license_ = license_of((name, "MIT"), "or")
    assert license_ is not None
    assert license_.expression == f"{reference} OR MIT"
    assert license_.references == ((reference, name),)


def test_no_licence_is_nothing() -> None:
    assert license_of((), "single") is None
