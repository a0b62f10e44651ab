"""What certctl rehash makes of certificate files, in its three forms."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

import pytest

from pipeline.errors import FormatError
from pipeline.rootfs.sysdb.certificates import (
    CertificateFile,
    LinkFamily,
    Rehash,
    rehash_copies,
    rehash_links,
    source_directories,
)
from pipeline.rootfs.sysdb.pem import iter_pem_certificates, write_pem_certificate

FIXTURES: Final = Path(__file__).parents[3] / "fixtures" / "sysdb"
LOCALBASE: Final = "usr/local"
TRUSTED: Final = "usr/share/certs/trusted"
UNTRUSTED: Final = "usr/share/certs/untrusted"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


INPUT: Final = tree(FIXTURES / "certctl/rehash-basic/input")
EXPECTED: Final = tree(FIXTURES / "certctl/rehash-basic/expected")
LINKS: Final = json.loads(
    (FIXTURES / "certctl-sh/links-basic/expected/links.json").read_text(encoding="utf-8")
)


def source(name: str) -> bytes:
    return next(content for path, content in INPUT.items() if path.endswith(f"/{name}.pem"))


ASPEN: Final = source("Aspen_Root_R1")
"""Subject hash 0e9c725c."""
ELM_OLD: Final = source("Elm_2019")
"""Subject hash 1a04f4f6."""
ELM_NEW: Final = source("Elm_2024")
"""Subject hash 1a04f4f6 too."""
LARCH: Final = source("Larch")
"""Subject hash 0733bc9a."""


def bare(pem: bytes) -> bytes:
    """Return a certificate without its text."""
    return pem[pem.index(b"-----BEGIN") :]


def copies(files: dict[str, bytes]) -> Rehash:
    return rehash_copies(files, localbase=LOCALBASE)


def links(files: dict[str, bytes], family: LinkFamily = LinkFamily.MIXED) -> Rehash:
    return rehash_links(files, localbase=LOCALBASE, family=family)


def written(rehash: Rehash) -> dict[str, bytes]:
    return {file.path: file.content for file in rehash.files}


def targets(rehash: Rehash) -> dict[str, str]:
    return {link.path: link.target for link in rehash.links}


# ---------------------------------------------------------------- the trees of the real program


@pytest.mark.golden
def test_copies_are_those_of_certctl() -> None:
    rehash = copies(INPUT)
    assert written(rehash) == {k: v for k, v in EXPECTED.items() if k != "METALOG"}
    assert {file.mode for file in rehash.files} == {0o444}
    assert rehash.links == ()
    assert rehash.removed == ()
    assert rehash.directories == ("etc/ssl/certs", "etc/ssl/untrusted")


@pytest.mark.golden
def test_sizes_are_those_of_the_metalog() -> None:
    lines = [
        f"./{file.path} type=file uname=root gname=wheel mode=0{file.mode:o}"
        f" size={len(file.content)}"
        for file in copies(INPUT).files
    ]
    assert sorted(lines) == sorted(EXPECTED["METALOG"].decode().splitlines())


@pytest.mark.golden
@pytest.mark.parametrize("family", list(LinkFamily))
def test_links_are_those_of_the_script(family: LinkFamily) -> None:
    rehash = links(INPUT, family)
    key = "symlink" if family is LinkFamily.SYMBOLIC else "hardlink"
    assert targets(rehash) == {
        f"{directory}/{name}": link[key]
        for directory, names in LINKS[family].items()
        for name, link in names.items()
    }
    assert {link.is_symbolic for link in rehash.links} == {family is LinkFamily.SYMBOLIC}
    assert rehash.files == ()


def test_second_run_changes_nothing() -> None:
    """What was installed is read again."""
    first = copies(INPUT)
    assert copies(INPUT | written(first)) == first


def test_order_of_the_files_does_not_matter() -> None:
    backwards = dict(reversed(INPUT.items()))
    assert copies(backwards) == copies(INPUT)
    assert links(backwards) == links(INPUT)


def test_results_are_sorted_by_path() -> None:
    paths = [file.path for file in copies(INPUT).files]
    assert paths == sorted(paths)
    paths = [link.path for link in links(INPUT).links]
    assert paths == sorted(paths)


# ---------------------------------------------------------------- copies


def test_empty_tree_gets_an_empty_bundle() -> None:
    assert copies({}).files == (CertificateFile(path="etc/ssl/cert.pem", content=b"", mode=0o444),)


def test_untrusted_certificate_is_not_trusted() -> None:
    """Whichever file it is in."""
    rehash = copies({f"{TRUSTED}/a.pem": ASPEN + LARCH, f"{UNTRUSTED}/b.pem": bare(ASPEN)})
    assert written(rehash) == {
        "etc/ssl/cert.pem": bare(LARCH),
        "etc/ssl/certs/0733bc9a.0": bare(LARCH),
        "etc/ssl/untrusted/0e9c725c.0": bare(ASPEN),
    }


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        (f"{TRUSTED}/x.pem", "certs"),
        (f"{TRUSTED}/below/x", "certs"),
        ("usr/local/share/certs/trusted/x", "certs"),
        ("usr/local/share/certs/x", "certs"),
        ("usr/local/share/certs/any/README", "certs"),
        ("etc/ssl/certs/x", "certs"),
        (f"{UNTRUSTED}/x.pem", "untrusted"),
        ("usr/local/share/certs/untrusted/x", "untrusted"),
        ("etc/ssl/untrusted/x", "untrusted"),
        ("etc/ssl/blacklisted/below/x", "untrusted"),
        ("usr/share/certs/x.pem", None),
        ("usr/local/etc/ssl/certs/x.pem", None),
        ("etc/ssl/x.pem", None),
        (f"{TRUSTED}.pem", None),
    ],
)
def test_directories_that_are_read(path: str, directory: str | None) -> None:
    """A local untrusted certificate is below a trusted directory too, and untrusted."""
    files = written(copies({path: ASPEN}))
    del files["etc/ssl/cert.pem"]
    assert files == ({f"etc/ssl/{directory}/0e9c725c.0": bare(ASPEN)} if directory else {})
    read = path.startswith(tuple(f"{name}/" for name in source_directories(LOCALBASE)))
    assert read or directory is None


def test_localbase_is_an_argument() -> None:
    files = {"opt/share/certs/x": ASPEN, "usr/local/share/certs/x": LARCH}
    assert written(rehash_copies(files, localbase="opt"))["etc/ssl/cert.pem"] == bare(ASPEN)


def test_same_certificate_is_written_once() -> None:
    rehash = copies({f"{TRUSTED}/a.pem": ASPEN, f"{TRUSTED}/b.pem": bare(ASPEN) * 2})
    assert written(rehash)["etc/ssl/cert.pem"] == bare(ASPEN)
    assert len(rehash.files) == 2


def test_equal_hashes_are_counted_in_the_order_of_sha1() -> None:
    """Not in that of the file names."""
    files = {f"{TRUSTED}/z.pem": ELM_OLD, f"{TRUSTED}/a.pem": ELM_NEW}
    rehash = written(copies(files))
    first, second = rehash["etc/ssl/certs/1a04f4f6.0"], rehash["etc/ssl/certs/1a04f4f6.1"]
    assert {first, second} == {bare(ELM_OLD), bare(ELM_NEW)}
    assert first + second == rehash["etc/ssl/cert.pem"]
    swapped = {f"{TRUSTED}/a.pem": ELM_OLD, f"{TRUSTED}/z.pem": ELM_NEW}
    assert written(copies(swapped)) == rehash


def test_that_order_is_not_the_one_of_the_certificates_themselves() -> None:
    """Certificates that differ in the last byte of their signature: their own order is known."""
    (der,) = iter_pem_certificates(ELM_OLD)
    ders = [der[:-1] + bytes((byte,)) for byte in range(8)]
    by_sha1 = sorted(ders, key=lambda d: hashlib.sha1(d, usedforsecurity=False).digest())
    assert by_sha1 != ders
    pem = b"".join(write_pem_certificate(d) for d in ders)
    rehash = written(copies({f"{TRUSTED}/a.pem": pem}))
    for count, expected in enumerate(by_sha1):
        assert rehash[f"etc/ssl/certs/1a04f4f6.{count}"] == write_pem_certificate(expected)


def test_other_files_of_the_directories_are_removed() -> None:
    files = {
        f"{TRUSTED}/a.pem": ASPEN,
        "etc/ssl/certs/0e9c725c.0": b"stale",
        "etc/ssl/certs/README": b"text",
        "etc/ssl/certs/below/kept": b"in a directory",
        "etc/ssl/untrusted/old": b"text",
        "etc/ssl/openssl.cnf": b"kept",
    }
    assert copies(files).removed == ("etc/ssl/certs/README", "etc/ssl/untrusted/old")


def test_file_without_certificate_is_no_error() -> None:
    assert len(copies({f"{TRUSTED}/README": b"text"}).files) == 1


def test_block_that_is_no_certificate_ends_its_file() -> None:
    files = {f"{TRUSTED}/a.pem": ASPEN + write_pem_certificate(b"junk") + LARCH}
    assert written(copies(files))["etc/ssl/cert.pem"] == bare(ASPEN)


def test_certificate_beyond_this_walk_is_refused_with_its_path() -> None:
    files = {f"{TRUSTED}/a.pem": ASPEN + write_pem_certificate(b"\x30\x02\x30\x00")}
    with pytest.raises(FormatError, match=r"usr/share/certs/trusted/a.pem: got 0 bytes at byte 4"):
        copies(files)


# ---------------------------------------------------------------- links, both families


@pytest.mark.parametrize("family", list(LinkFamily))
class TestBothFamilies:
    def test_untrusted_file_is_linked_and_its_certificate_not_trusted(
        self, family: LinkFamily
    ) -> None:
        rehash = links({f"{TRUSTED}/a.pem": ASPEN, f"{UNTRUSTED}/b.pem": ASPEN}, family)
        assert [link.path for link in rehash.links] == ["etc/ssl/untrusted/0e9c725c.0"]

    def test_untrusted_files_are_not_compared(self, family: LinkFamily) -> None:
        rehash = links({f"{UNTRUSTED}/a.pem": ASPEN, f"{UNTRUSTED}/b.pem": ASPEN}, family)
        assert sorted(targets(rehash)) == [f"etc/ssl/untrusted/0e9c725c.{i}" for i in (0, 1)]

    def test_equal_hashes_are_counted_in_the_order_of_names(self, family: LinkFamily) -> None:
        files = {f"{TRUSTED}/z.pem": ELM_OLD, f"{TRUSTED}/a.pem": ELM_NEW}
        assert targets(links(files, family))["etc/ssl/certs/1a04f4f6.0"].endswith("/a.pem")

    def test_directories_are_read_in_their_order(self, family: LinkFamily) -> None:
        files = {
            "usr/local/etc/ssl/certs/a.pem": ELM_NEW,
            "usr/local/share/certs/b.pem": ASPEN,
            f"{TRUSTED}/c.pem": ELM_OLD,
        }
        found = targets(links(files, family))
        assert found["etc/ssl/certs/1a04f4f6.0"].endswith("usr/share/certs/trusted/c.pem")
        assert found["etc/ssl/certs/1a04f4f6.1"].endswith("usr/local/etc/ssl/certs/a.pem")
        assert found["etc/ssl/certs/0e9c725c.0"].endswith("usr/local/share/certs/b.pem")

    @pytest.mark.parametrize("name", ["a.pem", "a.crt", "a.cer", "a.crl", ".pem"])
    def test_suffixes_that_count(self, family: LinkFamily, name: str) -> None:
        assert len(links({f"{TRUSTED}/{name}": ASPEN}, family).links) == 1

    @pytest.mark.parametrize("name", ["a", "a.txt", "a.pem.bak", "a.PEM"])
    def test_suffixes_that_do_not(self, family: LinkFamily, name: str) -> None:
        assert links({f"{TRUSTED}/{name}": ASPEN}, family).links == ()

    @pytest.mark.parametrize("name", ["a b.pem", "a*.pem", "[a].pem", "a\n.pem"])
    def test_name_that_the_shell_splits_is_refused(self, family: LinkFamily, name: str) -> None:
        with pytest.raises(FormatError, match="got a name that the shell splits, want a plain one"):
            links({f"{TRUSTED}/{name}": ASPEN}, family)

    def test_file_without_certificate_is_skipped(self, family: LinkFamily) -> None:
        files = {f"{folder}/a.pem": b"Certificate:\n" for folder in (TRUSTED, UNTRUSTED)}
        assert links(files, family).links == ()

    def test_what_was_installed_is_removed(self, family: LinkFamily) -> None:
        files = {
            f"{TRUSTED}/a.pem": ASPEN,
            "etc/ssl/certs/0e9c725c.0": ASPEN,
            "etc/ssl/certs/0e9c725c.1": ASPEN,
            "etc/ssl/certs/below/old": b"",
            "etc/ssl/cert.pem": b"",
        }
        rehash = links(files, family)
        assert rehash.removed == ("etc/ssl/certs/0e9c725c.1", "etc/ssl/certs/below/old")
        assert sorted(targets(rehash)) == ["etc/ssl/certs/0e9c725c.0"]


# ---------------------------------------------------------------- symbolic links


def test_symbolic_link_is_relative() -> None:
    found = targets(links({f"{TRUSTED}/a.pem": ASPEN}, LinkFamily.SYMBOLIC))
    assert found == {"etc/ssl/certs/0e9c725c.0": "../../../usr/share/certs/trusted/a.pem"}


def test_symbolic_family_links_a_certificate_twice() -> None:
    files = {f"{TRUSTED}/a.pem": ASPEN, f"{TRUSTED}/b.pem": ASPEN}
    assert len(links(files, LinkFamily.SYMBOLIC).links) == 2


def test_symbolic_family_takes_the_first_certificate_of_a_file() -> None:
    files = {f"{TRUSTED}/a.pem": bare(ASPEN) + bare(LARCH)}
    assert list(targets(links(files, LinkFamily.SYMBOLIC))) == ["etc/ssl/certs/0e9c725c.0"]


def test_symbolic_family_does_not_descend() -> None:
    assert links({f"{TRUSTED}/below/a.pem": ASPEN}, LinkFamily.SYMBOLIC).links == ()


# ---------------------------------------------------------------- mixed links


def test_mixed_family_links_a_trusted_certificate_once() -> None:
    files = {f"{TRUSTED}/a.pem": ASPEN, f"{TRUSTED}/b.pem": ASPEN}
    assert targets(links(files)) == {"etc/ssl/certs/0e9c725c.0": f"{TRUSTED}/a.pem"}


def test_mixed_family_descends() -> None:
    assert targets(links({f"{TRUSTED}/below/a.pem": ASPEN})) == {
        "etc/ssl/certs/0e9c725c.0": f"{TRUSTED}/below/a.pem"
    }


def test_mixed_family_skips_files_without_text() -> None:
    assert links({f"{TRUSTED}/a.pem": bare(ASPEN)}).links == ()


def test_mixed_family_splits_a_file_with_several_texts() -> None:
    """Blank lines and comments are lost, and so is what no certificate belongs to."""
    bundle = b"##\n# A bundle\n\nintroduction\n" + ASPEN + b"\n\n" + LARCH.rstrip(b"\n")
    rehash = links({f"{TRUSTED}/bundle.crt": bundle})
    assert rehash.links == ()
    pieces = written(rehash)
    assert sorted(pieces) == ["etc/ssl/certs/0733bc9a.0", "etc/ssl/certs/0e9c725c.0"]
    for piece, whole in (("0e9c725c", ASPEN), ("0733bc9a", LARCH)):
        lines = [line for line in whole.split(b"\n") if line and not line.startswith(b"#")]
        assert pieces[f"etc/ssl/certs/{piece}.0"] == b"\n".join((*lines, b""))
    assert {file.mode for file in rehash.files} == {0o444}


def test_pieces_and_links_share_their_numbers() -> None:
    rehash = links({f"{TRUSTED}/a.crt": ELM_OLD + ASPEN, f"{TRUSTED}/b.pem": ELM_NEW})
    assert "etc/ssl/certs/1a04f4f6.0" in written(rehash)
    assert targets(rehash) == {"etc/ssl/certs/1a04f4f6.1": f"{TRUSTED}/b.pem"}


def test_digests_of_the_inputs_are_recorded() -> None:
    manifest = json.loads((FIXTURES / "MANIFEST.json").read_text(encoding="utf-8"))
    case = next(c for c in manifest["cases"] if c["case"] == "rehash-basic")
    for item in case["inputs"]:
        content = INPUT[item["path"].removeprefix("input/")]
        assert hashlib.sha256(content).hexdigest() == item["sha256"]
