"""The directory node of info manuals; expectations are what indexinfo 0.3 wrote, but for its name."""

from __future__ import annotations

import gzip
import random

import pytest

from pipeline.errors import FormatError
from pipeline.rootfs.sysdb.infodir import build_info_dir

HEAD = b"""Produced by: pkgbase-oci.
\x1f
File: dir,\tNode: Top\tThis is the top of the INFO tree

  This (the Directory node) gives a menu of major topics.
  Typing "q" exits, "?" lists all Info commands, "d" returns here,
  "h" gives a primer for first-timers,
  "mXXX<Return>" visits the XXX manual, etc.

* Menu:
"""
MPFR = b"""This is mpfr.info, produced by makeinfo.

INFO-DIR-SECTION Software libraries
START-INFO-DIR-ENTRY
* mpfr: (mpfr).                 Multiple Precision Floating-Point Reliable
                                  Library.
END-INFO-DIR-ENTRY

\x1f
File: mpfr.info,  Node: Top
* Copying::       not an entry
"""
NANO = b"""INFO-DIR-SECTION Editors
START-INFO-DIR-ENTRY
* nano: (nano).                 Small and friendly text editor.
END-INFO-DIR-ENTRY
"""


def menu(data: bytes) -> bytes:
    """Return what one manual puts into the node, below its head."""
    made = build_info_dir({"a.info": data})
    assert made is not None
    assert made.startswith(HEAD)
    return made.removeprefix(HEAD)


def test_node_has_a_section_for_each_that_is_named() -> None:
    assert build_info_dir({"mpfr.info": MPFR, "nano.info": NANO}) == (
        HEAD + b"\nSoftware libraries\n"
        b"* mpfr: (mpfr).                 Multiple Precision Floating-Point Reliable\n"
        b"\nEditors\n"
        b"* nano: (nano).                 Small and friendly text editor.\n"
    )


def test_compressed_manuals_are_read() -> None:
    plain = build_info_dir({"mpfr.info": MPFR})
    assert build_info_dir({"mpfr.info.gz": gzip.compress(MPFR)}) == plain


def test_order_of_the_files_is_that_of_their_names() -> None:
    files = {name: NANO.replace(b"nano", name.encode()) for name in ("b", "a", "c", "é")}
    items = [(f"{name}.info", data) for name, data in files.items()]
    want = build_info_dir(dict(items))
    assert want is not None
    assert want.index(b"* a:") < want.index(b"* b:") < want.index(b"* c:")
    for seed in range(5):
        random.Random(seed).shuffle(items)
        assert build_info_dir(dict(items)) == want


def test_sections_of_one_name_are_one() -> None:
    again = NANO.replace(b"nano", b"ee")
    made = build_info_dir({"nano.info": NANO, "ee.info": again})
    assert made is not None
    assert made.count(b"\nEditors\n") == 1


@pytest.mark.parametrize("name", ["nano", "nano.info-1", "nano.inf", "nano.info.xz", "info"])
def test_other_names_are_passed_over(name: str) -> None:
    assert build_info_dir({name: NANO}) is None


def test_without_a_section_there_is_no_node() -> None:
    assert build_info_dir({}) is None
    text = b"START-INFO-DIR-ENTRY\n* a: (a).\nEND-INFO-DIR-ENTRY\n"
    assert build_info_dir({"a.info": text}) is None


@pytest.mark.parametrize(
    ("text", "made"),
    [
        (b"INFO-DIR-SECTION  A  b\n", b"\nA  b\n"),
        (b"INFO-DIR-SECTION \n", b"\n\n"),
        (b"INFO-DIR-SECTION A\n* a: (a).\n", b"\nA\n"),
        (b"INFO-DIR-SECTION A\nSTART-INFO-DIR-ENTRY \n* a: (a).\n", b"\nA\n"),
        (b"INFO-DIR-SECTION A\nSTART-INFO-DIR-ENTRY\n* a: (a).", b"\nA\n* a: (a).\n"),
        (b"INFO-DIR-SECTION A\nSTART-INFO-DIR-ENTRY\n * a: (a).\n", b"\nA\n"),
        (
            b"START-INFO-DIR-ENTRY\n* a: (a).\nINFO-DIR-SECTION A\n* b: (b).\n",
            b"\nA\n* b: (b).\n",
        ),
        (b"INFO-DIR-SECTION A\n\x1fINFO\nSTART-INFO-DIR-ENTRY\n* a: (a).\n", b"\nA\n"),
        (
            b"INFO-DIR-SECTION A\nSTART-INFO-DIR-ENTRY\n* \xe9: (a).\r\n",
            b"\nA\n* \xe9: (a).\r\n",
        ),
    ],
)
def test_lines_of_the_head(text: bytes, made: bytes) -> None:
    assert menu(text) == made


def test_a_node_that_is_there_already_does_not_count() -> None:
    assert build_info_dir({"dir": HEAD, "nano.info": NANO}) == build_info_dir({"nano.info": NANO})


def test_a_damaged_manual_is_refused() -> None:
    with pytest.raises(FormatError, match=r"^nano\.info\.gz: damaged gzip stream"):
        build_info_dir({"nano.info.gz": b"\x1f\x8bnonsense"})


def test_a_bomb_is_read_only_so_far() -> None:
    """Eight MiB are looked at, however much there would be."""
    bomb = gzip.compress(NANO + b"\0" * (64 << 20))
    assert build_info_dir({"nano.info.gz": bomb}) == build_info_dir({"nano.info": NANO})
