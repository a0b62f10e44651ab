"""What scripts would have made: single files, databases, the linker's hints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from pipeline.errors import ConflictError, ScriptError
from pipeline.formats.mtree import Entry, Kind
from pipeline.pkg.effects import (
    AddShell,
    CertctlForm,
    CertctlRehash,
    ChangeMode,
    CopySample,
    CreateFile,
    Effect,
    IndexInfo,
    Ldconfig,
    MakeDirectory,
    PwdMkdb,
)
from pipeline.rootfs.accounts import Accounts
from pipeline.rootfs.state import (
    Base,
    StateWriter,
    apply_databases,
    apply_file_effects,
)
from pipeline.rootfs.tree import Composer

if TYPE_CHECKING:
    from collections.abc import Sequence

EPOCH = 1000
CERTIFICATES = Path(__file__).parents[2] / "fixtures/miniature/assets/certs/trusted"
MASTER = b"root:*:0:0::0:0:Charlie &:/root:/bin/sh\n"
BASE = Base(major=15, little_endian=True, library_path=())


def file(path: str, data: bytes) -> tuple[Entry, bytes]:
    digest = hashlib.sha256(data).hexdigest()
    entry = Entry(
        path=path,
        kind=Kind.FILE,
        mode=0o644,
        user=0,
        group=0,
        mtime=5,
        size=len(data),
        digest=digest,
    )
    return entry, data


class Tree:
    """A tree under construction, with what it is read and written through."""

    def __init__(self, *files: tuple[Entry, bytes], others: Sequence[Entry] = ()) -> None:
        contents = {entry.digest: data for entry, data in files}
        self.composer = Composer(
            [*(entry for entry, _ in files), *others],
            parent_name="base",
            source_date_epoch=EPOCH,
            keep_flags=False,
        )
        self.writer = StateWriter(
            composer=self.composer,
            layer="state",
            epoch=EPOCH,
            accounts=Accounts(users={"root": 0, "www": 80}, groups={"wheel": 0, "www": 80}),
            stored=lambda entry: contents[entry.digest],
        )

    def apply(self, *effects: Effect) -> None:
        apply_file_effects(self.writer, [("quill", effect) for effect in effects])

    def refuse(self, effect: Effect) -> str:
        with pytest.raises((ScriptError, ConflictError)) as caught:
            self.apply(effect)
        return str(caught.value)

    def read(self, path: str) -> bytes | None:
        return self.writer.read(path)

    def hints(self, base: Base = BASE, *effects: Effect) -> list[str] | None:
        apply_databases(self.writer, base, effects, accounts_changed=False)
        data = self.read("var/run/ld-elf.so.hints")
        return None if data is None else data[128:-1].decode().split(":")


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path=path, kind=Kind.DIRECTORY, mode=mode, user=0, group=0, mtime=5)


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.LINK, mode=0o755, user=0, group=0, mtime=5, link=target)


def test_a_directory_is_made_with_its_parents() -> None:
    tree = Tree()
    tree.apply(MakeDirectory(path="/var/db/quill", owner="www", group="www", mode=0o750))
    made, parent = tree.composer.get("var/db/quill"), tree.composer.get("var/db")
    assert made is not None
    assert parent is not None
    assert (made.mode, made.user, made.group) == (0o750, 80, 80)
    assert (parent.mode, parent.user, parent.group) == (0o755, 0, 0)


def test_a_directory_that_exists_gets_owner_and_mode() -> None:
    """As install(1) does."""
    tree = Tree(others=[directory("var/db")])
    tree.apply(MakeDirectory(path="/var/db", owner="www", group="wheel", mode=0o700))
    made = tree.composer.get("var/db")
    assert made is not None
    assert (made.mode, made.user, made.group) == (0o700, 80, 0)


def test_a_directory_cannot_be_what_is_something_else() -> None:
    tree = Tree(file("a", b""), others=[link("b", "c")])
    for path in ("/a", "/b", "/a/x"):
        tree.refuse(MakeDirectory(path=path, owner="root", group="wheel", mode=0o755))
    effect = MakeDirectory(path="/c", owner="quill", group="wheel", mode=0o755)
    assert tree.refuse(effect).endswith("the image has no account 'quill'")
    effect = MakeDirectory(path="/c", owner="root", group="quill", mode=0o755)
    assert tree.refuse(effect).endswith("the image has no account 'quill'")


def test_a_sample_is_copied_unless_its_target_exists() -> None:
    tree = Tree(file("a.sample", b"new"), file("b", b"old"), others=[link("l", "a.sample")])
    tree.apply(CopySample(source="/a.sample", target="/a"))
    tree.apply(CopySample(source="/a.sample", target="/b"))
    tree.apply(CopySample(source="/l", target="/etc/c"))
    assert (tree.read("a"), tree.read("b"), tree.read("etc/c")) == (b"new", b"old", b"new")
    assert tree.refuse(CopySample(source="/x", target="/y")).endswith("the image has no such file")


def test_an_empty_file_is_made_unless_it_exists() -> None:
    tree = Tree(file("a", b"old"))
    tree.apply(CreateFile(path="/a"), CreateFile(path="/b"))
    assert (tree.read("a"), tree.read("b")) == (b"old", b"")


def test_a_shell_is_added_once() -> None:
    tree = Tree(file("etc/shells", b"/bin/sh"))
    tree.apply(AddShell(path="/bin/qsh"), AddShell(path="/bin/sh"), AddShell(path="/bin/qsh"))
    assert tree.read("etc/shells") == b"/bin/sh\n/bin/qsh\n"
    tree = Tree()
    tree.apply(AddShell(path="/bin/qsh"))
    assert tree.read("etc/shells") == b"/bin/qsh\n"


def test_a_mode_is_changed_of_what_a_link_leads_to() -> None:
    """As chmod(1) does."""
    tree = Tree(others=[directory("tmp"), link("alias", "tmp")])
    tree.apply(ChangeMode(path="/alias", mode=0o1777))
    changed = tree.composer.get("tmp")
    assert changed is not None
    assert changed.mode == 0o1777
    assert tree.refuse(ChangeMode(path="/x", mode=0o755)).endswith("the image has no such path")


def test_a_loop_of_links_ends() -> None:
    with pytest.raises(ScriptError, match="too many levels of symlinks"):
        Tree(others=[link("a", "b"), link("b", "a")]).read("a")


def test_passwords_are_for_root_alone_however_the_file_came() -> None:
    """pwd_mkdb leaves master.passwd with mode 0600."""
    tree = Tree(file("etc/master.passwd", MASTER))
    apply_databases(tree.writer, BASE, [PwdMkdb()], accounts_changed=False)
    modes = {path: tree.composer.get(f"etc/{path}") for path in ("master.passwd", "spwd.db")}
    assert {path: entry.mode for path, entry in modes.items() if entry} == dict.fromkeys(
        modes, 0o600
    )
    assert tree.read("etc/master.passwd") == MASTER


# ---------------------------------------------------------------- info, certificates


def test_an_info_directory_gets_its_node() -> None:
    """Of the files right in it; not of those below."""
    text = b"INFO-DIR-SECTION A\nSTART-INFO-DIR-ENTRY\n* %s: (x).\nEND-INFO-DIR-ENTRY\n"
    folder = "usr/local/share/info"
    tree = Tree(
        file(f"{folder}/quill.info", text % b"quill"),
        file(f"{folder}/more/nib.info", text % b"nib"),
    )
    apply_databases(tree.writer, BASE, [IndexInfo(directory=f"/{folder}")], accounts_changed=False)
    made = tree.read(f"{folder}/dir")
    assert made is not None
    assert made.endswith(b"* Menu:\n\nA\n* quill: (x).\n")
    empty = Tree(others=[directory(folder)])
    apply_databases(empty.writer, BASE, [IndexInfo(directory=f"/{folder}")], accounts_changed=False)
    assert empty.read(f"{folder}/dir") is None


@pytest.mark.parametrize(
    ("program", "kind"),
    [(b"install -lrs", Kind.LINK), (b"install -lm", Kind.FILE), (None, Kind.FILE)],
)
def test_the_shell_certctl_of_the_image_says_what_is_made(
    program: bytes | None, kind: Kind
) -> None:
    """The later version where there is no program."""
    source = "usr/share/certs/trusted/Aspen_Root_R1.pem"
    pem = (CERTIFICATES / "Aspen_Root_R1.pem").read_bytes()
    tools = () if program is None else (file("usr/sbin/certctl", program),)
    tree = Tree(file(source, pem), *tools)
    rehash = CertctlRehash(form=CertctlForm.SHELL)
    apply_databases(tree.writer, BASE, [rehash], accounts_changed=False)
    made = tree.composer.get("etc/ssl/certs/0e9c725c.0")
    assert made is not None
    assert made.kind is kind
    assert tree.read("etc/ssl/certs/0e9c725c.0") == pem
    if kind is Kind.LINK:
        assert made.link == f"../../../{source}"
    else:
        assert made.mode == 0o444


def test_an_edited_file_carries_the_time_of_the_build() -> None:
    """And keeps its owner and mode, but belongs to no package any more."""
    entry, data = file("etc/shells", b"/bin/sh\n")
    entry = replace(entry, mode=0o664, group=5)
    tree = Tree((entry, data))
    tree.apply(AddShell(path="/bin/qsh"))
    made = tree.composer.get("etc/shells")
    assert made is not None
    assert (made.mtime, made.mode, made.group, made.package) == (EPOCH, 0o664, 5, "")


# ---------------------------------------------------------------- hints

LDCONFIG = "usr/local/libdata/ldconfig"


def test_hints_are_made_for_libraries_or_on_request() -> None:
    assert Tree().hints() is None
    assert Tree().hints(BASE, Ldconfig()) == ["/lib", "/usr/lib", "/usr/local/lib"]
    assert Tree(file("lib/libc.so.7", b"")).hints() == ["/lib", "/usr/lib", "/usr/local/lib"]
    assert Tree(file("lib/x/libc.so.7", b"")).hints() is None
    declared = Base(major=15, little_endian=True, library_path=("/opt/lib",))
    assert Tree(file("opt/lib/a.so", b"")).hints(declared) == ["/opt/lib"]


def test_hints_have_the_directories_of_packages_in_the_order_of_all_their_lines() -> None:
    """rc.d/ldconfig: `cat ${_files} | sort -u`, and of those, what can be read."""
    tree = Tree(
        file(f"{LDCONFIG}/a", b"/usr/local/lib/zoo\n/usr/local/lib/nib\n"),
        file(f"{LDCONFIG}/z", b"/usr/local/lib/ant /usr/local/lib/bee\n\n/usr/local/lib/nib\n"),
        file(f"{LDCONFIG}/gone", b"/usr/local/lib/gone\nrelative\n/usr/local/lib/file\n"),
        file("usr/local/lib/file", b""),
        others=[
            *(directory(f"usr/local/lib/{name}") for name in ("zoo", "ant", "bee")),
            directory("relative"),
            link("usr/local/lib/nib", "ant"),
        ],
    )
    assert tree.hints(BASE, Ldconfig()) == [
        *("/lib", "/usr/lib", "/usr/local/lib"),
        *(f"/usr/local/lib/{name}" for name in ("ant", "bee", "nib", "zoo")),
    ]
