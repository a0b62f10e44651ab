"""GPG's signed messages, with the real gpg."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import CommandError, ConfigurationError, SignatureError
from pipeline.host.gpg import GpgSigner, Keyring, check_fingerprint
from tests.trust_tools import PASSPHRASE, GpgKey, gpg_home, make_gpg_key

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOAD = b'{"critical":{}}'


@pytest.fixture(scope="module")
def key() -> Iterator[GpgKey]:
    with gpg_home() as home:
        yield make_gpg_key(home)


@pytest.fixture(scope="module")
def other(key: GpgKey) -> GpgKey:
    return make_gpg_key(key.home)


def signer(key: GpgKey) -> GpgSigner:
    return GpgSigner(key.fingerprint, home=key.home)


def test_a_message_verifies_with_gpg_itself(key: GpgKey) -> None:
    """Binary, one signature, the payload inside."""
    message = signer(key).sign(PAYLOAD)
    assert not message.startswith(b"-----")
    verified = subprocess.run(
        ["gpg", "--batch", "--status-fd", "2", "--decrypt"],
        env=key.environment(),
        input=message,
        capture_output=True,
        check=True,
    )
    assert verified.stdout == PAYLOAD
    assert verified.stderr.count(b"GOODSIG") == 1
    packets = key.gpg("--list-packets", stdin=message)
    assert packets.count(b":signature packet:") == 1
    assert b":literal data packet:" in packets


def test_a_keyring_returns_the_payload(key: GpgKey, other: GpgKey) -> None:
    message = signer(key).sign(PAYLOAD)
    with Keyring.of([other.export(), key.export()]) as keyring:
        assert keyring.verify(message, what="signature") == PAYLOAD
    with Keyring.of([key.gpg("--armor", "--export", key.fingerprint)]) as keyring:
        assert keyring.verify(message, what="signature") == PAYLOAD


def test_a_message_by_another_key_is_refused(key: GpgKey, other: GpgKey) -> None:
    message = signer(key).sign(PAYLOAD)
    with (
        Keyring.of([other.export()]) as keyring,
        pytest.raises(SignatureError, match="signature: no good signature by a trusted key"),
    ):
        keyring.verify(message, what="signature")


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "text", "plain"])
def test_a_message_that_was_altered_is_refused(key: GpgKey, change: str) -> None:
    message = bytearray(signer(key).sign(PAYLOAD))
    changed = {
        "flip": bytes(message).replace(b"critical", b"Critical"),
        "cut": bytes(message[:-5]),
        "empty": b"",
        "text": b"hello",
        "plain": key.gpg("-z", "0", "--store", stdin=PAYLOAD),
    }[change]
    assert changed != bytes(message)
    with Keyring.of([key.export()]) as keyring, pytest.raises(SignatureError):
        keyring.verify(changed, what="signature")


def test_an_armored_message_is_refused_as_podman_does(key: GpgKey) -> None:
    armored = key.gpg("--armor", "--local-user", key.fingerprint, "--sign", stdin=PAYLOAD)
    with Keyring.of([key.export()]) as keyring, pytest.raises(SignatureError, match="armored"):
        keyring.verify(armored, what="signature")


def test_two_signatures_in_one_message_are_refused(key: GpgKey, other: GpgKey) -> None:
    users = ("--local-user", key.fingerprint, "--local-user", other.fingerprint)
    message = key.gpg(*users, "--sign", stdin=PAYLOAD)
    with Keyring.of([key.export(), other.export()]) as keyring, pytest.raises(SignatureError):
        keyring.verify(message, what="signature")


def test_signatures_by_subkeys_are_refused(key: GpgKey) -> None:
    """Podman and skopeo compare the fingerprint with those of primary keys."""
    own = make_gpg_key(key.home, usage="cert")
    key.gpg(
        *("--pinentry-mode", "loopback", "--passphrase", ""),
        *("--quick-add-key", own.fingerprint, "ed25519", "sign", "never"),
    )
    message = key.gpg("--local-user", own.fingerprint, "--sign", stdin=PAYLOAD)
    with (
        Keyring.of([own.export()]) as keyring,
        pytest.raises(SignatureError, match="by the subkey"),
    ):
        keyring.verify(message, what="signature")
    with pytest.raises(ConfigurationError, match="may not sign, only its subkeys may") as caught:
        signer(own).sign(PAYLOAD)
    assert "quick-generate-key" in str(caught.value.hint)
    rows = key.gpg("--with-colons", "--list-keys", own.fingerprint).decode().splitlines()
    subkey = [row.split(":")[9] for row in rows if row.startswith("fpr")][1]
    with pytest.raises(ConfigurationError, match=f"want its primary key, {own.fingerprint}"):
        GpgSigner(subkey, home=key.home).sign(PAYLOAD)


def test_an_expired_key_does_not_sign_and_does_not_verify(key: GpgKey) -> None:
    past = ("--faked-system-time", "20200101T000000!")
    own = make_gpg_key(key.home, past, expire="1d")
    message = key.gpg(*past, "--local-user", own.fingerprint, "--sign", stdin=PAYLOAD)
    with Keyring.of([own.export()]) as keyring, pytest.raises(SignatureError):
        keyring.verify(message, what="signature")
    with pytest.raises(ConfigurationError, match="expired"):
        signer(own).sign(PAYLOAD)


def test_a_key_that_is_not_there_is_named(key: GpgKey) -> None:
    with pytest.raises(ConfigurationError, match="there is no such secret key"):
        GpgSigner("A" * 40, home=key.home).sign(PAYLOAD)


@pytest.mark.usefixtures("key")
def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not an OpenPGP public key"), Keyring.of([b"x"]):
        pass


@pytest.mark.parametrize(
    "text", ["a" * 40, "0x" + "A" * 40, " ".join(["AAAA"] * 10), "A" * 40 + "!", "b" * 64]
)
def test_fingerprints_are_written_in_many_ways(text: str) -> None:
    assert check_fingerprint(text) in ("A" * 40, "B" * 64)


@pytest.mark.parametrize("text", ["", "AAAA1111", "someone@example.org", "Z" * 40])
def test_only_a_fingerprint_names_a_key(text: str) -> None:
    with pytest.raises(ConfigurationError, match="want a whole fingerprint"):
        check_fingerprint(text)


@pytest.mark.slow
def test_a_passphrase_comes_from_the_environment_and_is_never_shown(
    key: GpgKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_gpg_key(key.home, passphrase=PASSPHRASE)
    monkeypatch.setenv("GPG_PASSPHRASE", PASSPHRASE)
    message = signer(own).sign(PAYLOAD)
    with Keyring.of([own.export()]) as keyring:
        assert keyring.verify(message, what="signature") == PAYLOAD
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=key.environment(), check=True)
    monkeypatch.setenv("GPG_PASSPHRASE", "not " + PASSPHRASE)
    with pytest.raises(CommandError) as caught:
        signer(own).sign(PAYLOAD)
    for text in (str(caught.value), repr(vars(caught.value)), repr(signer(own))):
        assert PASSPHRASE not in text
