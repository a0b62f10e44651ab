"""`python -m pipeline.keys`."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline.attest import encrypted_key
from pipeline.attest.encrypted_key import decrypt_key
from pipeline.host.keys import main
from pipeline.host.signer import KeySigner, KeySource, PasswordSource, public_key_of
from tests.host.test_signer import KEY, pem

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "correct horse battery staple"


def _quickly(password: bytes, salt: bytes, cost: int) -> bytes:
    """Stand in for scrypt, which is slow on purpose; tests/attest has the real one."""
    return hashlib.sha256(b"%d" % cost + salt + password).digest()


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", PASSWORD)
    monkeypatch.setattr(encrypted_key, "_derive", _quickly)


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_a_new_pair_signs(tmp_path: Path, kind: str) -> None:
    assert main(["generate", str(tmp_path / "my.key.v1"), "--type", kind]) == 0
    key = tmp_path / "my.key.v1.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    own = KeySigner(KeySource(str(key)), PasswordSource())
    assert own.public_key.to_pem() == (tmp_path / "my.key.v1.pub").read_bytes()
    assert own.public_key.has_signed(b"x", own.sign(b"x"))


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.key").write_bytes(b"precious")
    assert main(["generate", str(tmp_path / "x")]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert (tmp_path / "x.key").read_bytes() == b"precious"


def test_a_key_that_exists_can_be_encrypted(tmp_path: Path) -> None:
    (tmp_path / "plain.pem").write_bytes(pem(KEY))
    (tmp_path / "plain.pem").chmod(0o600)
    assert main(["encrypt", str(tmp_path / "plain.pem"), str(tmp_path / "x")]) == 0
    data = (tmp_path / "x.key").read_bytes()
    assert decrypt_key(data, PASSWORD.encode())
    assert pem(KEY).splitlines()[1] not in data


def test_the_public_key_can_be_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_KEY", pem(KEY).decode())
    assert main(["public", "env://SOME_KEY"]) == 0
    assert capsys.readouterr().out.encode() == public_key_of(KEY).to_pem()


def test_without_a_password_and_a_terminal_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.keys", "generate", str(tmp_path / "x")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert done.stderr == ("error: no password for the key\n  hint: set COSIGN_PASSWORD\n")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(tmp_path / "absent/x")]) == 1
    assert "no such file" in capsys.readouterr().err
