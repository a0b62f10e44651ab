"""The environment variables that are honoured; nobody else reads the environment."""

from __future__ import annotations

import os
from typing import Final

from pipeline.errors import ConfigurationError

_YEAR_9999: Final = 253_402_300_799

_PREFIX: Final = "PKGBASE_OCI_"


def setting(name: str) -> str:
    """Return the environment's word on a setting, e.g. PKGBASE_OCI_GPG_KEY for `gpg_key`."""
    return os.environ.get(_PREFIX + name.upper(), "")


def source_date_epoch() -> int | None:
    """Return SOURCE_DATE_EPOCH, None where it is not set.

    Specification: https://reproducible-builds.org/specs/source-date-epoch/

    Raises:
        ConfigurationError: it is no time.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > _YEAR_9999:
        raise ConfigurationError(f"got SOURCE_DATE_EPOCH {text!r}, want seconds since 1970")
    return int(text)
