"""Checksums as pkg(8) writes them; expected values made by the real pkg."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DigestMismatchError, FormatError
from pipeline.pkg.sum import Sum, symlink_content, zbase32

PACKAGES = Path(__file__).resolve().parents[2] / "fixtures" / "packages"
INDEX = json.loads((PACKAGES / "INDEX.json").read_text())

HEX = hashlib.sha256(b"hello\n").hexdigest()


def _zbase32_bit_by_bit(data: bytes) -> str:
    """pkg_checksum_encode_base32, written down bit by bit."""
    bits = [byte >> i & 1 for byte in data for i in range(8)]
    bits += [0] * (-len(bits) % 5)
    digits = [sum(bits[i + j] << j for j in range(5)) for i in range(0, len(bits), 5)]
    return "".join("ybndrfg8ejkmcpqxot1uwisza345h769"[d] for d in digits)


@pytest.mark.parametrize("size", range(70))
def test_zbase32_packs_from_the_least_significant_end(size: int) -> None:
    """Any length, also those that do not fill five bits."""
    data = hashlib.shake_256(b"%d" % size).digest(size)
    assert zbase32(data) == _zbase32_bit_by_bit(data)


@pytest.mark.parametrize("entry", INDEX, ids=lambda entry: entry["file"])
def test_sums_of_archives_are_those_of_the_real_pkg(entry: Any) -> None:
    """As `pkg repo` computes it: BLAKE2b by pkg 2.8, the bare sha256 by older ones."""
    data = (PACKAGES / entry["file"]).read_bytes()
    if entry["sum"] is not None:  # of packages that are in a catalogue
        Sum.parse(entry["sum"]).verify_bytes(data, what="archive")
    Sum.parse(entry["sha256"]).verify_bytes(data, what="archive")


def test_the_corpus_is_not_empty() -> None:
    """An empty INDEX would pass every test."""
    assert len(INDEX) == 29
    assert {Sum.parse(e["sum"]).algorithm for e in INDEX if e["sum"]} == {"sha256", "blake2b"}


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (f"1${HEX}", "sha256"),
        (HEX, "sha256"),
        ("2$" + zbase32(hashlib.blake2b(b"hello\n").digest()), "blake2b"),
    ],
)
def test_three_spellings(text: str, algorithm: str) -> None:
    """Rules 1 to 3; the text comes back as it was."""
    parsed = Sum.parse(text)
    assert (str(parsed), parsed.algorithm) == (text, algorithm)
    parsed.verify_bytes(b"hello\n", what="x")
    state = parsed.start()
    state.update(b"hel")
    state.update(b"lo\n")
    parsed.verify(state, what="x")


@pytest.mark.parametrize("text", [f"1${HEX}", "2$" + zbase32(hashlib.blake2b(b"hello\n").digest())])
def test_other_content_is_a_mismatch(text: str) -> None:
    """Both values are in the error, in the sum's own spelling."""
    with pytest.raises(DigestMismatchError) as caught:
        Sum.parse(text).verify_bytes(b"hello", what="p-1: /a")
    assert caught.value.want == text[2:]
    assert len(caught.value.got) == len(caught.value.want)
    assert str(caught.value).startswith("p-1: /a: sum: got ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        HEX[:-1],
        HEX.upper(),
        f"1${HEX.upper()}",
        f"1${HEX}0",
        f"1${HEX}\n",
        f"0${HEX}",
        f"3${HEX}",
        f"9${HEX}",
        f"1$1${HEX}",
        "2$" + "y" * 102,
        "2$" + "l" * 103,
        "2$2$" + "y" * 103,
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    """Types that pkg's table has but no version writes are refused."""
    with pytest.raises(FormatError, match=r"^got sum "):
        Sum.parse(text)


@pytest.mark.parametrize(
    ("target", "content"),
    [
        (b"a", b"a"),
        (b"../x/y", b"../x/y"),
        (b"/usr/x", b"usr/x\0"),
        (b"/", b"\0"),
        (b"a/", b"a/"),
        (b"//usr/x", None),
        (b"///", None),
    ],
)
def test_the_content_that_stands_for_a_symlink(target: bytes, content: bytes | None) -> None:
    """Rule 4: pkg hashes the length of the target, but leaves the leading slash out."""
    assert symlink_content(target) == content


def test_sums_of_symlinks_are_those_of_the_real_pkg() -> None:
    """Relative and absolute targets, sha256 and BLAKE2b: every symlink of the packages."""
    kinds = set()
    for path in sorted((PACKAGES / "expected").rglob("*.info-raw.json")):
        manifest = json.loads(path.read_text("utf-8", "surrogateescape"))
        for record in manifest.get("files", {}).values():
            target = record.get("symlink_target")
            if target:
                content = symlink_content(target.encode("utf-8", "surrogateescape"))
                if content is None:
                    assert target.startswith("//")
                    continue
                parsed = Sum.parse(record["sum"])
                parsed.verify_bytes(content, what=f"{path.name}: {target}")
                kinds.add((parsed.algorithm, target.startswith("/")))
    assert kinds >= {("blake2b", True), ("blake2b", False), ("sha256", False)}
