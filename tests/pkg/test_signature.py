"""Signed archives: every way in which pkg signs verifies, every change is refused."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fixtures.miniature.repository import catalogue
from fixtures.miniature.signer import Mode, ecdsa_signer, ed25519_signer
from pipeline.errors import (
    ArchiveError,
    MissingSignatureError,
    RevokedFingerprintError,
    SignatureError,
    SignatureTypeError,
    TooLargeError,
    UntrustedFingerprintError,
)
from pipeline.formats import tar
from pipeline.pkg.fingerprint import FingerprintSet
from pipeline.pkg.signature import (
    MAX_SIGNATURE,
    SignedArchive,
    VerifiedPayload,
    accept_unsigned,
    read_signed_archive,
    verify_fingerprints,
    verify_pubkey,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fixtures.miniature.signer import Signer

REPOSITORIES = Path(__file__).parents[2] / "fixtures" / "repositories"
KEYS = REPOSITORIES / "keys"
ARCHIVES = [("data.pkg", "data"), ("packagesite.pkg", "packagesite.yaml")]
LIMIT = 1 << 20


def read(repository: str, name: str, member: str) -> SignedArchive:
    raw = (REPOSITORIES / repository / name).read_bytes()
    return read_signed_archive(io.BytesIO(raw), member, limit=LIMIT, what=name)


def key(name: str) -> bytes:
    return (KEYS / name).read_bytes()


def fingerprints(name: str) -> FingerprintSet:
    folder = KEYS / "fingerprints" / name
    return FingerprintSet.from_files(
        {path.name: path.read_bytes() for path in (folder / "trusted").iterdir()},
        {path.name: path.read_bytes() for path in (folder / "revoked").iterdir()},
    )


def pack(members: Sequence[tuple[str, bytes]], kind: bytes = tar.REGULAR) -> io.BytesIO:
    blocks = []
    for name, content in members:
        held = content if kind == tar.REGULAR else b""
        head = tar.header(
            name.encode(), kind, mode=0o644, uid=0, gid=0, mtime=0, size=len(held),
            link=b"" if kind == tar.REGULAR else content,
        )  # fmt: skip
        blocks += [head, held, tar.padding(len(held))]
    return io.BytesIO(b"".join(blocks) + tar.END)


def rsa_sign(content: bytes, name: str = "test-rsa.key") -> bytes:
    private = load_pem_private_key(key(name), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    message = hashlib.sha256(content).hexdigest().encode()
    return private.sign(message, padding.PKCS1v15(), SHA256())


def signed(payload: bytes, **signatures: bytes) -> SignedArchive:
    return SignedArchive(
        payload=payload,
        signatures={name.replace("_", "."): value for name, value in signatures.items()},
    )


# ---------------------------------------------------------------- what pkg has signed


@pytest.mark.parametrize(("name", "member"), ARCHIVES)
@pytest.mark.parametrize(
    ("repository", "public_key"),
    [
        ("rsa", "test-rsa.pub"),
        ("rsa-2.4.2", "test-rsa.pub"),
        ("ecdsa", "test-ecdsa.pub"),
        ("eddsa", "test-eddsa.pub"),
    ],
)
def test_signed_by_key(repository: str, public_key: str, name: str, member: str) -> None:
    archive = read(repository, name, member)
    verified = verify_pubkey(archive, key(public_key))
    assert verified.payload == archive.payload
    assert verified.fingerprint == hashlib.sha256(key(public_key)).hexdigest()


@pytest.mark.parametrize(("name", "member"), ARCHIVES)
@pytest.mark.parametrize(
    ("repository", "folder"), [("fingerprints", "trusted"), ("fingerprints-ecdsa", "ecdsa")]
)
def test_signed_by_command(repository: str, folder: str, name: str, member: str) -> None:
    archive = read(repository, name, member)
    keys = fingerprints(folder)
    verified = verify_fingerprints(archive, keys, certificates={})
    assert verified.payload == archive.payload
    assert {verified.fingerprint} == keys.trusted


@pytest.mark.parametrize("make", [ed25519_signer, ecdsa_signer])
@pytest.mark.parametrize("mode", list(Mode))
def test_signed_by_our_own_writer(make: Callable[[str, Mode], Signer], mode: Mode) -> None:
    """There is no golden repository signed by command with eddsa; the message is H, as with ecdsa."""
    signer = make("test", mode)
    archive = read_signed_archive(
        io.BytesIO(catalogue("data", b"content", signer)), "data", limit=LIMIT, what="d"
    )
    if mode is Mode.PUBKEY:
        verified = verify_pubkey(archive, signer.public_key)
    else:
        keys = FingerprintSet(frozenset({signer.fingerprint}), frozenset())
        verified = verify_fingerprints(archive, keys, certificates={})
    assert verified == VerifiedPayload(payload=b"content", fingerprint=signer.fingerprint)


def test_unsigned_content_has_no_fingerprint() -> None:
    archive = read("plain", "data.pkg", "data")
    assert accept_unsigned(archive).fingerprint == ""
    assert accept_unsigned(archive).payload == archive.payload


@pytest.mark.parametrize("packing", ["tar", "tgz", "tbz", "txz"])
def test_every_packing_is_read(packing: str) -> None:
    assert read(f"packing-{packing}", "data.pkg", "data").payload.startswith(b'{"groups":')


# ---------------------------------------------------------------- what is not to be believed


@pytest.mark.parametrize("repository", ["rsa", "ecdsa", "eddsa"])
def test_tampered_data_by_key(repository: str) -> None:
    archive = read(repository, "data.pkg", "data")
    tampered = SignedArchive(payload=archive.payload + b" ", signatures=archive.signatures)
    with pytest.raises(SignatureError, match="does not verify"):
        verify_pubkey(tampered, key(f"test-{repository}.pub"))


@pytest.mark.parametrize("repository", ["fingerprints", "fingerprints-ecdsa"])
def test_tampered_data_by_command(repository: str) -> None:
    archive = read(repository, "data.pkg", "data")
    tampered = SignedArchive(payload=b" " + archive.payload, signatures=archive.signatures)
    folder = "trusted" if repository == "fingerprints" else "ecdsa"
    with pytest.raises(SignatureError, match="does not verify"):
        verify_fingerprints(tampered, fingerprints(folder), certificates={})


def test_wrong_key() -> None:
    with pytest.raises(SignatureError, match="rsa signature does not verify"):
        verify_pubkey(read("rsa", "data.pkg", "data"), key("other-rsa.pub"))


def test_untrusted_signer() -> None:
    with pytest.raises(UntrustedFingerprintError):
        verify_fingerprints(
            read("fingerprints", "data.pkg", "data"), fingerprints("ecdsa"), certificates={}
        )


def test_revoked_fingerprint_beats_trusted() -> None:
    with pytest.raises(RevokedFingerprintError):
        verify_fingerprints(
            read("fingerprints", "data.pkg", "data"), fingerprints("revoked"), certificates={}
        )


def test_key_in_place_of_the_trusted_one_is_untrusted() -> None:
    archive = signed(b"x", data_sig=rsa_sign(b"x", "other-rsa.key"), data_pub=key("other-rsa.pub"))
    with pytest.raises(UntrustedFingerprintError):
        verify_fingerprints(archive, fingerprints("trusted"), certificates={})


@pytest.mark.parametrize(
    ("verify", "signature_type"),
    [
        (lambda archive: verify_pubkey(archive, key("test-rsa.pub")), "pubkey"),
        (
            lambda archive: verify_fingerprints(archive, fingerprints("trusted"), certificates={}),
            "fingerprints",
        ),
    ],
)
def test_missing_signature(verify: Callable[[SignedArchive], object], signature_type: str) -> None:
    with pytest.raises(MissingSignatureError, match=f"for signature_type {signature_type}"):
        verify(read("plain", "data.pkg", "data"))


def test_signed_for_the_other_signature_type() -> None:
    with pytest.raises(SignatureTypeError, match="want one for pubkey"):
        verify_pubkey(read("fingerprints", "data.pkg", "data"), key("test-rsa.pub"))
    with pytest.raises(SignatureTypeError, match="want one for fingerprints"):
        verify_fingerprints(
            read("rsa", "data.pkg", "data"), fingerprints("trusted"), certificates={}
        )


@pytest.mark.parametrize("name", ["dsa", "", "RSA", "unknown"])
def test_unknown_type_in_the_header(name: str) -> None:
    archive = signed(b"x", signature=f"$PKGSIGN:{name}$".encode() + rsa_sign(b"x"))
    with pytest.raises(SignatureTypeError, match="want rsa, ecdsa or eddsa"):
        verify_pubkey(archive, key("test-rsa.pub"))


def test_header_without_an_end() -> None:
    with pytest.raises(SignatureTypeError, match="without an end"):
        verify_pubkey(signed(b"x", signature=b"$PKGSIGN:rsa"), key("test-rsa.pub"))


def test_type_of_signature_and_key_must_agree() -> None:
    """The trusted rsa key, and a header that has the ecdsa signer look at it."""
    archive = signed(
        b"x", data_sig=b"$PKGSIGN:ecdsa$" + rsa_sign(b"x"), data_pub=key("test-rsa.pub")
    )
    with pytest.raises(SignatureTypeError, match="type ecdsa, and a key of type rsa"):
        verify_fingerprints(archive, fingerprints("trusted"), certificates={})


def test_header_rsa_says_what_no_header_says() -> None:
    archive = signed(
        b"x",
        data_sig=b"$PKGSIGN:rsa$" + rsa_sign(b"x"),
        data_pub=b"$PKGSIGN:rsa$" + key("test-rsa.pub"),
    )
    assert verify_fingerprints(archive, fingerprints("trusted"), certificates={}).payload == b"x"


def test_signatures_of_the_two_modes_are_not_interchangeable() -> None:
    """With rsa they are the same bytes; with ecdsa the message differs."""
    archive = read("ecdsa", "data.pkg", "data")
    moved = signed(
        archive.payload,
        data_sig=archive.signatures["signature"],
        data_pub=b"$PKGSIGN:ecdsa$" + key("test-ecdsa.pub"),
    )
    with pytest.raises(SignatureError, match="ecdsa signature does not verify"):
        verify_fingerprints(moved, fingerprints("ecdsa"), certificates={})


def test_second_trusted_signer_may_be_the_good_one() -> None:
    archive = signed(
        b"x",
        a_sig=b"bad", a_pub=key("test-rsa.pub"),
        b_sig=rsa_sign(b"x", "other-rsa.key"), b_pub=key("other-rsa.pub"),
    )  # fmt: skip
    both = frozenset(
        hashlib.sha256(key(name)).hexdigest() for name in ("test-rsa.pub", "other-rsa.pub")
    )
    verified = verify_fingerprints(archive, FingerprintSet(both, frozenset()), certificates={})
    assert verified.fingerprint == hashlib.sha256(key("other-rsa.pub")).hexdigest()


def test_key_may_come_from_meta_conf() -> None:
    archive = signed(b"x", data_sig=rsa_sign(b"x"))
    keys = fingerprints("trusted")
    with pytest.raises(MissingSignatureError, match="no public key"):
        verify_fingerprints(archive, keys, certificates={"other": key("test-rsa.pub")})
    verified = verify_fingerprints(archive, keys, certificates={"data": key("test-rsa.pub")})
    assert verified.payload == b"x"
    with pytest.raises(UntrustedFingerprintError):
        verify_fingerprints(archive, keys, certificates={"data": key("other-rsa.pub")})


def test_key_without_signature() -> None:
    with pytest.raises(MissingSignatureError, match="no signature of it"):
        verify_fingerprints(
            signed(b"x", data_pub=key("test-rsa.pub")), fingerprints("trusted"), certificates={}
        )


def test_one_key_signs_once() -> None:
    archive = signed(
        b"x",
        a_sig=rsa_sign(b"x"), a_pub=key("test-rsa.pub"),
        b_sig=rsa_sign(b"x"), b_pub=key("test-rsa.pub"),
    )  # fmt: skip
    with pytest.raises(SignatureError, match="signed twice"):
        verify_fingerprints(archive, fingerprints("trusted"), certificates={})


# ---------------------------------------------------------------- archives


def test_member_that_is_not_there() -> None:
    with pytest.raises(ArchiveError, match=r"data\.pkg: no member 'index'"):
        read("plain", "data.pkg", "index")


@pytest.mark.parametrize("name", ["data", "signature", "data.sig", "data.pub"])
def test_second_member_of_a_name_is_refused(name: str) -> None:
    source = pack(
        [("data", b"x"), ("signature", b"s"), ("data.sig", b"s"), ("data.pub", b"k"), (name, b"y")]
    )
    with pytest.raises(ArchiveError, match=f"member '{name}' twice"):
        read_signed_archive(source, "data", limit=LIMIT, what="data.pkg")


@pytest.mark.parametrize("kind", [tar.SYMLINK, tar.HARDLINK, tar.DIRECTORY])
@pytest.mark.parametrize("name", ["data", "signature", "data.pub"])
def test_member_that_is_no_file_is_refused(name: str, kind: bytes) -> None:
    with pytest.raises(ArchiveError, match="no regular file"):
        read_signed_archive(pack([(name, b"/etc/passwd")], kind), "data", limit=LIMIT, what="d")


def test_signature_after_the_content_counts() -> None:
    source = pack([("README", b"hello"), ("data", b"x"), ("signature", rsa_sign(b"x") + b"\0")])
    archive = read_signed_archive(source, "data", limit=LIMIT, what="data.pkg")
    assert verify_pubkey(archive, key("test-rsa.pub")).payload == b"x"


@pytest.mark.parametrize("size", [0, MAX_SIGNATURE + 1])
def test_signature_of_impossible_size(size: int) -> None:
    with pytest.raises(SignatureError, match=f"of {size} bytes"):
        read_signed_archive(pack([("signature", b"s" * size)]), "data", limit=LIMIT, what="d")


def test_content_over_the_limit_is_not_unpacked() -> None:
    source = pack([("data", b"x" * 1001)])
    with pytest.raises(TooLargeError, match="d: data: longer than the limit of 1000 bytes"):
        read_signed_archive(source, "data", limit=1000, what="d")


def test_bomb_beside_the_content() -> None:
    bomb = zstandard.compress(pack([("other", bytes(64 << 20))]).getvalue())
    with pytest.raises(TooLargeError, match="decompressed"):
        read_signed_archive(io.BytesIO(bomb), "data", limit=LIMIT, what="d")


def test_too_many_members() -> None:
    source = pack([(f"m{i}", b"") for i in range(100)])
    with pytest.raises(ArchiveError, match="more than 64 members"):
        read_signed_archive(source, "data", limit=LIMIT, what="d")


@pytest.mark.parametrize(
    "repository", ["rsa", "packing-tar", "packing-tgz", "packing-tbz", "packing-txz"]
)
def test_truncated_archive(repository: str) -> None:
    """At every length: never content, never anything but an error of ours."""
    raw = (REPOSITORIES / repository / "data.pkg").read_bytes()
    whole = read_signed_archive(io.BytesIO(raw), "data", limit=LIMIT, what="d")
    assert whole.payload
    end = len(raw) - (1 if repository != "packing-tar" else 1024 * 2)
    for length in [*range(0, end, 97), end]:
        with pytest.raises(ArchiveError):
            read_signed_archive(io.BytesIO(raw[:length]), "data", limit=LIMIT, what="d")
