"""Progress of transfers: one line where there is no terminal, nothing where nothing goes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pipeline.formats.digest import Digest
from pipeline.host.registry_progress import Transfers
from pipeline.oci.descriptor import Descriptor

if TYPE_CHECKING:
    import pytest

BLOB = Descriptor(media_type="x", digest=Digest.of(b"x"), size=1500)


def test_a_transfer_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    with Transfers("pushing x:1") as progress:
        progress.expect([BLOB])
        progress.advance(BLOB, 700)
        progress.advance(BLOB, 1500)
    assert capsys.readouterr().err == "pushing x:1: 1 files, 1.5 kB\n"


def test_nothing_is_not_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    with Transfers("pushing x:1") as progress:
        progress.expect([])
        progress.advance(BLOB, 1)
    assert capsys.readouterr().err == ""
