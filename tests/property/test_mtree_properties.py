"""mtree(5): specs are a normal form, names of any bytes survive, nothing else is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import FormatError
from pipeline.formats.mtree import (
    Entry,
    Kind,
    decode_name,
    encode_name,
    number_links,
    parse_dist,
    parse_spec,
    to_spec,
)

if TYPE_CHECKING:
    from random import Random

pytestmark = pytest.mark.property

COMPONENTS = st.binary(min_size=1, max_size=12).filter(
    lambda b: b not in (b".", b"..") and not {0, 0x2F} & set(b)
)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map(
    lambda parts: b"/".join(parts).decode("utf-8", "surrogateescape")
)
OWNERS = st.integers(0, 2**32 - 2) | st.sampled_from(["root", "wheel", "a b", "ünï"])


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Return entries of distinct paths, some of them hard links of one another."""
    result = []
    for path in sorted(draw(st.sets(PATHS, max_size=8))):
        kind = draw(st.sampled_from(Kind))
        is_file = kind is Kind.FILE
        inode = draw(st.integers(0, 3)) if is_file else 0
        result.append(
            Entry(
                path=path,
                kind=kind,
                mode=draw(st.integers(0, 0o7777)),
                user=draw(OWNERS),
                group=draw(OWNERS),
                mtime=draw(st.integers(0, 2**33 - 1)),
                size=draw(st.integers(0, 2**40)) if is_file else 0,
                digest=f"{inode:064x}" if is_file else "",
                link=draw(PATHS) if kind is Kind.LINK else "",
                inode=inode,
                flags=draw(st.sampled_from(["", "schg", "uchg,uarch"])),
                package=draw(st.sampled_from(["", "FreeBSD-runtime", "p+q"])),
            )
        )
    return result


@given(entries(), st.randoms())
def test_a_spec_is_a_normal_form(wanted: list[Entry], random: Random) -> None:
    """Parsing gives the sorted, numbered entries; any order of them gives the same bytes."""
    spec = to_spec(wanted)
    assert list(parse_spec(spec)) == number_links(wanted)
    assert to_spec(parse_spec(spec)) == spec
    random.shuffle(wanted)
    assert to_spec(wanted) == spec


@given(entries())
def test_a_spec_is_sorted_ascii_text(wanted: list[Entry]) -> None:
    """One line an entry, whatever the names are."""
    spec = to_spec(wanted)
    assert spec.isascii()
    assert spec.count(b"\n") == len(wanted) + 1
    paths = [decode_name(line.split(b" ")[0]) for line in spec.splitlines()[1:]]
    assert paths == sorted(paths)


@given(st.binary(max_size=40))
def test_names_survive(raw: bytes) -> None:
    """vis(3) there and back."""
    assert decode_name(encode_name(raw)) == raw


WORDS = st.sampled_from(
    [
        *("/set", "/unset", "..", ".", "a", "b\\040c", "\\q", "mode=0755", "mode=x", "type=dir"),
        *("type=file", "uname=root", "gname=wheel", "nochange", "flags=none", "#", "\\"),
        *("tags=x", "x/y"),
    ]
)
LINES = st.lists(st.lists(WORDS, max_size=4).map(" ".join), max_size=8).map("\n".join)


@given(LINES.map(str.encode) | st.binary(max_size=60))
def test_any_dist_file_is_read_or_refused(data: bytes) -> None:
    """Parents come first, each directory once."""
    try:
        directories = parse_dist(data)
    except FormatError as e:
        assert e.context.startswith("line ")  # noqa: PT017
        return
    paths = [d.path for d in directories]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert "/" not in path or path.rpartition("/")[0] in paths


@given(
    st.lists(
        st.sampled_from(
            [
                *("./a", "type=dir", "type=file", "type=link", "mode=0755", "mode=9", "uid=0"),
                *("gid=x", "gid=0", "time=1.0", "time=", "size=-", "link=\\400"),
                *("sha256digest=é", "x", ""),
            ]
        ),
        max_size=8,
    ).map(" ".join)
)
def test_any_line_of_a_spec_is_read_or_refused(line: str) -> None:
    """Only FormatError."""
    try:
        (entry,) = parse_spec(f"#mtree\n{line}\n".encode())
    except FormatError:
        return
    assert to_spec([entry])
