"""The store: nothing half-written under its final name, nothing believed that has changed."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import DigestMismatchError
from pipeline.formats.digest import Digest
from pipeline.host import store as module
from pipeline.host.store import (
    Blob,
    Record,
    Store,
    copy_file,
    hash_file,
    write_atomically,
)
from tests.elsewhere import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS = {"archive": "sha256:1", "code": "x"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start code in another process; what it prints is its progress."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ---------------------------------------------------------------- blobs


def test_a_blob_has_its_digest_as_its_name(store: Store) -> None:
    """blobs/sha256/<digest>, read-only."""
    blob = store.put(b"hello")
    assert blob == Blob(digest=Digest.of(b"hello"), size=5)
    path = store.path(blob.digest)
    assert path == store.root / "blobs/sha256" / blob.digest.hex
    assert path.stat().st_mode & 0o777 == 0o444
    assert store.read(blob.digest) == b"hello"
    with store.open(blob.digest) as f:
        assert f.read(2) == b"he"
    assert store.has(blob.digest)
    assert not store.has(Digest.of(b"other"))
    assert blob.to_dict() == {"digest": str(blob.digest), "size": 5}


def test_putting_the_same_bytes_twice_writes_once(store: Store) -> None:
    """The second time the file stays as it is."""
    first = store.put(b"hello")
    inode = store.path(first.digest).stat().st_ino
    assert store.put(b"hello") == first
    assert store.path(first.digest).stat().st_ino == inode


def test_an_edited_blob_is_not_believed_because_of_its_name(store: Store) -> None:
    """`put` hashes what is there; otherwise a memo would record the edit as true."""
    blob = store.put(b"hello")
    path = store.path(blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"jello")
    store.put(b"hello")
    assert store.read(blob.digest) == b"hello"


def test_verify_removes_what_is_wrong(store: Store) -> None:
    """A blob whose digest no longer fits is no blob."""
    blob = store.put(b"hello")
    assert store.verify(blob.digest)
    store.path(blob.digest).chmod(0o644)
    store.path(blob.digest).write_bytes(b"")
    assert not store.verify(blob.digest)
    assert not store.has(blob.digest)
    assert not store.verify(blob.digest)


def test_remove_forgets_a_blob(store: Store) -> None:
    """Twice is no error."""
    blob = store.put(b"hello")
    store.remove(blob.digest)
    store.remove(blob.digest)
    assert not store.has(blob.digest)


# ---------------------------------------------------------------- writing


def test_a_writer_names_its_content_at_the_end(store: Store) -> None:
    """Until then it is a temporary file of this process."""
    with store.writer() as writer:
        writer.write(b"hel")
        writer.write(b"lo")
        assert writer.size == 5
        (name,) = files(store.root)
        assert name.startswith("tmp/")
        blob = writer.commit(want=Digest.of(b"hello"))
    assert blob == Blob(digest=Digest.of(b"hello"), size=5)
    assert len(files(store.root)) == 1


def test_a_writer_that_does_not_commit_leaves_nothing(store: Store) -> None:
    """Also when it is left by an exception."""
    with pytest.raises(KeyError), store.writer() as writer:  # noqa: PT012
        writer.write(b"x" * 100)
        raise KeyError
    assert files(store.root) == []


def test_content_that_is_not_wanted_is_refused(store: Store) -> None:
    """A download is compared before it gets its name."""
    with store.writer() as writer:
        writer.write(b"hello")
        with pytest.raises(DigestMismatchError, match=r"^x\.pkg: got sha256:"):
            writer.commit(want=Digest.of(b"other"), what="x.pkg")
    assert files(store.root) == []


KILLED = {
    "writer": "with s.writer() as w:\n w.write(b'x' * (9 << 20)); print('ready', flush=True)"
    "\n import time; time.sleep(60)",
    "put": "import os\nreal = os.fdopen\ndef slow(*a, **k):\n f = real(*a, **k)"
    "\n f.write(b'half'); f.flush(); print('ready', flush=True)\n import time; time.sleep(60)"
    "\nos.fdopen = slow\ns.put(b'hello')",
    "adopt": "import pathlib\ndef slow(self, target):\n print('ready', flush=True)"
    "\n import time; time.sleep(60)\npathlib.Path.replace = slow\ns.put(b'hello')",
    "memo": "import pathlib\nfrom pipeline.host.store import Record\nreal = pathlib.Path.replace"
    "\ndef slow(self, target):\n if target.suffix != '.json':\n  return real(self, target)"
    "\n print('ready', flush=True)\n import time; time.sleep(60)\npathlib.Path.replace = slow"
    "\ns.memoise('x', {}, lambda: Record(outputs={}, facts={}))",
}


@pytest.mark.parametrize("where", KILLED)
def test_sigkill_leaves_no_lie_and_the_next_run_sweeps(where: str, store: Store) -> None:
    """At any instant: no file under a final name; temporary files of the dead are removed."""
    code = "import sys, pathlib\nfrom pipeline.host.store import Store\n"
    process = run(code + "s = Store(pathlib.Path(sys.argv[1]))\n" + KILLED[where], store.root)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    left = files(store.root)
    assert [name.partition("/")[0] for name in left] == ["tmp"]
    again = Store(store.root)
    record = again.memoise("stage", INPUTS, lambda: make(again))
    names = [store.path(record.outputs["out"].digest), store.memo_path("stage", INPUTS)]
    assert files(store.root) == [str(path.relative_to(store.root)) for path in names]


def test_sweeping_spares_what_is_being_written(store: Store) -> None:
    """Another process, or this one, may be at work."""
    code = "import sys, pathlib\nfrom pipeline.host.store import Store\n"
    code += "with Store(pathlib.Path(sys.argv[1])).writer():\n print('up', flush=True); import time; time.sleep(60)"
    process = run(code, store.root)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        with store.writer() as writer:
            writer.write(b"here")
            (store.root / "tmp" / "left").touch()
            Store(store.root).sweep()
            assert len(files(store.root)) == 2
            writer.commit()
        process.kill()
    Store(store.root).sweep()
    assert [name.partition("/")[0] for name in files(store.root)] == ["blobs"]


def test_what_is_swept_before_it_is_locked_is_begun_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two calls that make a temporary file and lock it, it looks like a dead one."""
    real = fcntl.flock
    swept: list[Path] = []

    def flock(descriptor: int, operation: int) -> None:
        if not swept:
            swept.extend((store.root / "tmp").iterdir())
            fresh(store).sweep()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    blob = store.put(b"content")
    assert len(swept) == 1
    assert store.read(blob.digest) == b"content"
    assert list((store.root / "tmp").iterdir()) == []


def test_two_processes_may_write_the_same_blob(store: Store) -> None:
    """Whoever is last wins, and both had the same bytes."""
    code = """
import sys, pathlib
from pipeline.host.store import Store
s = Store(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
input()
for _ in range(10):
    with s.writer() as w:
        w.write(b"x" * 3_000_000)
        w.commit()
    s.put(b"small")
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store.root)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        process.communicate("go\n")
        assert process.returncode == 0
    want = sorted([Digest.of(b"x" * 3_000_000).hex, Digest.of(b"small").hex])
    blobs = sorted((store.root / "blobs/sha256").iterdir())
    assert [path.name for path in blobs] == want
    assert all(hash_file(path).hex == path.name for path in blobs)
    assert len(files(store.root)) == 2


def test_bytes_that_cannot_be_stored_leave_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step may fail as well."""

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="read-only"):
        store.put(b"hello")
    assert files(store.root) == []


# ---------------------------------------------------------------- a full disk

FULL = """
import sys, pathlib, resource
from pipeline.host.store import Store
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
s = Store(pathlib.Path(sys.argv[1]))
try:
    with s.writer() as w:
        for _ in range(40):
            w.write(b"x" * 100_000)
        w.commit()
except OSError as e:
    print(e.errno, e.filename == sys.argv[1])
try:
    s.put(b"y" * 3_000_000)
except OSError as e:
    print(e.errno, e.filename == sys.argv[1])
"""


def test_a_file_size_limit_gives_an_error_and_no_file(store: Store) -> None:
    """RLIMIT_FSIZE stands for a full disk; the temporary files are gone as well."""
    out, err = run(FULL, store.root, 1_000_000).communicate()
    assert out.split() == [str(errno.EFBIG), "True"] * 2, err
    assert files(store.root) == []


def test_a_full_disk_gives_an_error_and_no_file(tmp_path: Path) -> None:
    """ENOSPC on a file system of a megabyte, where the tests may mount one."""
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tiny)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system")
    try:
        out, err = run(FULL, tiny / "store").communicate()
        left = files(tiny)
        small = Store(tiny / "store").put(b"there is room again")
    finally:
        subprocess.run(["umount", str(tiny)], check=True)
    assert out.split() == [str(errno.ENOSPC), "True"] * 2, err
    assert left == []
    assert small.size == 19


# ---------------------------------------------------------------- memos


def make(store: Store, content: bytes = b"out", **facts: object) -> Record:
    return Record(outputs={"out": store.put(content)}, facts=facts)


class Maker:
    """Count how often something was made."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.count = 0

    def __call__(self) -> Record:
        self.count += 1
        return make(self.store, answer=42)


def fresh(store: Store) -> Store:
    """Return the store as another process sees it."""
    return Store(store.root)


def edit(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_what_was_made_is_remembered(store: Store) -> None:
    """By stage and inputs, across processes."""
    maker = Maker(store)
    record = store.memoise("stage", INPUTS, maker)
    assert store.memoise("stage", INPUTS, maker) is record
    again = fresh(store).memoise("stage", INPUTS, maker)
    assert (again, maker.count) == (record, 1)
    assert again.facts == {"answer": 42}
    fresh(store).memoise("other stage", INPUTS, maker)
    fresh(store).memoise("stage", {**INPUTS, "code": "y"}, maker)
    assert maker.count == 3


def test_the_order_of_inputs_does_not_matter(store: Store) -> None:
    """They are keyed by their canonical form."""
    assert store.memo_path("s", {"a": 1, "b": 2}) == store.memo_path("s", {"b": 2, "a": 1})


def test_nothing_is_recalled_that_was_not_made(store: Store) -> None:
    """No memo, no record."""
    assert store.recall("stage", INPUTS) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: edit(path, b"eout"[:3]),
        lambda path: edit(path, b"longer than it was"),
        lambda path: edit(path, b""),
        lambda path: path.unlink(),
    ],
    ids=["same-size", "longer", "empty", "deleted"],
)
def test_a_changed_output_is_made_anew(store: Store, damage: Callable[..., Any]) -> None:
    """Edited or deleted: rebuilt, not trusted."""
    maker = Maker(store)
    digest = store.memoise("stage", INPUTS, maker).outputs["out"].digest
    damage(store.path(digest))
    fresh(store).memoise("stage", INPUTS, maker)
    assert (maker.count, store.read(digest)) == (2, b"out")


def test_a_restored_mtime_deceives_nobody(store: Store) -> None:
    """Same size, same inode, same mtime, other content: ctime tells."""
    maker = Maker(store)
    digest = store.memoise("stage", INPUTS, maker).outputs["out"].digest
    path = store.path(digest)
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as f:
        f.write(b"OUT")
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_ino, after.st_mtime_ns) == (
        before.st_size,
        before.st_ino,
        before.st_mtime_ns,
    )
    fresh(store).memoise("stage", INPUTS, maker)
    assert (maker.count, store.read(digest)) == (2, b"out")


def test_a_touched_output_is_hashed_once_and_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new mtime, or a copy with another inode, is the same content."""
    maker = Maker(store)
    digest = store.memoise("stage", INPUTS, maker).outputs["out"].digest
    path = store.path(digest)
    os.utime(path, (1, 1))
    fresh(store).memoise("stage", INPUTS, maker)
    copy = path.with_name("copy")
    copy.write_bytes(b"out")
    copy.replace(path)
    fresh(store).memoise("stage", INPUTS, maker)
    assert maker.count == 1
    monkeypatch.setattr(module, "hash_file", None)
    assert fresh(store).recall("stage", INPUTS) is not None, "the memo was brought up to date"


def test_a_store_that_cannot_be_written_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's, or on a medium that is read only: then hashed each time."""
    maker = Maker(store)
    digest = store.memoise("stage", INPUTS, maker).outputs["out"].digest
    os.utime(store.path(digest), (1, 1))
    before = store.memo_path("stage", INPUTS).read_bytes()

    def refuse(_: Store) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(store.root))

    monkeypatch.setattr(Store, "temporary", refuse)
    for suspicious in (False, True):
        assert fresh(store).memoise("stage", INPUTS, maker, suspicious=suspicious).facts
    assert maker.count == 1
    assert store.memo_path("stage", INPUTS).read_bytes() == before


def test_who_is_suspicious_hashes_everything(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stat says: for a file system whose times cannot be trusted."""
    maker = Maker(store)
    monkeypatch.setattr(module, "fingerprint", lambda _path: [1, 2, 3, 4])
    digest = store.memoise("stage", INPUTS, maker).outputs["out"].digest
    edit(store.path(digest), b"OUT")
    fresh(store).memoise("stage", INPUTS, maker)
    assert (maker.count, store.read(digest)) == (1, b"OUT")
    store.memoise("stage", INPUTS, maker, suspicious=True)
    assert (maker.count, store.read(digest)) == (2, b"out")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"stats":{},"outputs":[],"facts":{}}',
        b'{"stats":{},"outputs":{"out":{"digest":"x","size":1}},"facts":{}}',
        b'{"stats":{},"outputs":{"out":{"size":1}},"facts":{}}',
        b"\xff",
    ],
)
def test_a_damaged_memo_is_no_memo(store: Store, content: bytes) -> None:
    """It is made anew, as if it had never been."""
    maker = Maker(store)
    store.memoise("stage", INPUTS, maker)
    path = store.memo_path("stage", INPUTS)
    path.write_bytes(content)
    assert fresh(store).recall("stage", INPUTS) is None
    fresh(store).memoise("stage", INPUTS, maker)
    assert maker.count == 2


def test_a_memo_without_stats_is_checked_by_content(store: Store) -> None:
    """Nothing is believed by default."""
    maker = Maker(store)
    digest = store.memoise("stage", INPUTS, maker).outputs["out"].digest
    path = store.memo_path("stage", INPUTS)
    path.write_bytes(path.read_bytes().replace(digest.hex.encode() + b'":[', b'0":['))
    assert fresh(store).recall("stage", INPUTS) is not None
    assert digest.hex.encode() + b'":[' in path.read_bytes()


def test_a_failed_make_is_not_remembered(store: Store) -> None:
    """The next run tries again."""

    def fail() -> Record:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.memoise("stage", INPUTS, fail)
    assert store.recall("stage", INPUTS) is None


# ---------------------------------------------------------------- files outside the store


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_get_the_permissions_of_the_umask(umask: int, tmp_path: Path) -> None:
    """A temporary file is 0600; what is published is not."""
    code = """
import sys, pathlib, os
from pipeline.host.store import copy_file, write_atomically
os.umask(int(sys.argv[2]))
root = pathlib.Path(sys.argv[1])
write_atomically(root / "deep" / "a", b"a")
copy_file(root / "deep" / "a", root / "b")
"""
    process = run(code, tmp_path, umask)
    assert process.communicate()[1] == ""
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "deep" / "a", tmp_path / "b")}
    assert modes == {0o666 & ~umask}


def test_a_failed_write_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves no temporary file."""
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full") as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="full") as caught:
        copy_file(path, tmp_path / "b")
    assert caught.value.filename == str(tmp_path / "b")
    assert files(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"


CONTENT = bytes(range(256)) * 5000


def _fails(*_: object) -> int:
    raise OSError(errno.EXDEV, "other file system")


def _gives_up(*_: object) -> int:
    return 0


def _fails_halfway() -> object:
    real = os.copy_file_range
    calls: list[int] = []

    def half(source: int, target: int, count: int) -> int:
        if calls:
            raise OSError(errno.EIO, "broken")
        calls.append(count)
        return real(source, target, 1000)

    return half


def _gives_little() -> object:
    real = os.copy_file_range

    def little(source: int, target: int, count: int) -> int:
        return real(source, target, min(count, 100_000))

    return little


@pytest.mark.parametrize(
    "way",
    [None, _fails, _gives_up, _fails_halfway(), _gives_little()],
    ids=["as-is", "fails", "gives-up", "fails-halfway", "gives-little"],
)
@pytest.mark.parametrize("content", [CONTENT, b""], ids=["content", "empty"])
def test_copying_falls_back_to_reading_and_writing(
    way: Callable[..., Any] | None, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems cannot share blocks, and say so in different ways."""
    (tmp_path / "a").write_bytes(content)
    if way is not None:
        monkeypatch.setattr(os, "copy_file_range", way)
    copy_file(tmp_path / "a", tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").read_bytes() == content


def test_copying_works_without_the_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS, and on FreeBSD before 13."""
    (tmp_path / "a").write_bytes(CONTENT)
    monkeypatch.delattr(os, "copy_file_range")
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == CONTENT


def test_a_missing_source_leaves_nothing(tmp_path: Path) -> None:
    """Not even an empty file."""
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "nowhere", tmp_path / "b")
    assert files(tmp_path) == []


def test_hash_file(tmp_path: Path) -> None:
    """The digest of a file's content."""
    (tmp_path / "a").write_bytes(CONTENT)
    assert hash_file(tmp_path / "a") == Digest.of(CONTENT)
