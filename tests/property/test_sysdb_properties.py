"""System databases, compared with other programs on generated inputs.

The C library. Debian's `libdb1-compat` holds Berkeley DB 1.85 as the GNU C library had it: the
ancestor of the one in FreeBSD. It runs in a process of its own and differs in four known places:

1. Its pages come from malloc(3) and are not cleared. The process is told to clear them
   (`MALLOC_PERTURB_`, without the cache of small blocks that goes around it).
2. With the other byte order it swaps the words of a page in place before writing, so that stale
   words are swapped when the buffer is recycled. FreeBSD swaps a copy.
3. It recycles the buffer of a page whose chain it is just following. FreeBSD adds a buffer.
4. It cannot tell a big pair whose data exactly fills a page after the end of the key from one that
   goes on: such a pair is lost. FreeBSD writes it differently.

So our bytes equal its bytes as they are if all pages have buffers, or if the file is little-endian
and no chain is longer than the buffers; with a pool that does 2 and 3 the old way they equal its
bytes always, but for pairs of kind 4, which are not generated there. Lookups are compared always.

OpenSSL. The command `openssl` names certificates of generated subjects.

The tests fail if a program is missing, unless PKGBASE_OCI_OPTIONAL_TOOLS=missing-ok.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import string
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from pipeline.errors import FormatError
from pipeline.formats.db185 import HashParameters, build_hash_file
from pipeline.formats.db185_header import ByteOrder
from pipeline.formats.db185_pool import BufferPool
from pipeline.formats.db185_read import parse_hash_file
from pipeline.formats.db185_table import DEFAULT_FFACTOR
from pipeline.rootfs.sysdb import capabilities, passwd, services
from pipeline.rootfs.sysdb.certificates import LinkFamily, rehash_copies, rehash_links
from pipeline.rootfs.sysdb.pem import iter_pem_certificates, write_pem_certificate
from pipeline.rootfs.sysdb.subject import subject_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from pipeline.formats.db185_page import PageBuffer

pytestmark = pytest.mark.property

Pairs = list[tuple[bytes, bytes]]

FAST: Final = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
FEW: Final = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
MANY: Final = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


# ---------------------------------------------------------------- the C library

WORKER: Final = """
import ctypes, os, pickle, resource, sys, tempfile

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
library = ctypes.CDLL("libdb1.so.2", use_errno=True)

class Dbt(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]

class Db(ctypes.Structure):
    pass

P, D, F = ctypes.POINTER(Db), ctypes.POINTER(Dbt), ctypes.CFUNCTYPE
I, U = ctypes.c_int, ctypes.c_uint
Db._fields_ = [
    ("type", I), ("close", F(I, P)), ("delete", F(I, P, D, U)), ("get", F(I, P, D, D, U)),
    ("put", F(I, P, D, D, U)), ("seq", F(I, P, D, D, U)), ("sync", F(I, P, U)),
    ("internal", ctypes.c_void_p), ("fd", F(I, P)),
]

class HashInfo(ctypes.Structure):
    _fields_ = [
        ("bsize", U), ("ffactor", U), ("nelem", U), ("cachesize", U),
        ("hash", ctypes.c_void_p), ("lorder", I),
    ]

dbopen = library.dbopen
dbopen.restype = P
dbopen.argtypes = [ctypes.c_char_p, I, I, I, ctypes.c_void_p]
DB_HASH, R_NOOVERWRITE = 1, 8
path = os.path.join(tempfile.mkdtemp(), "db").encode()

def dbt(content):
    return Dbt(ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p), len(content))

def build(pairs, bsize, ffactor, nelem, cachesize, lorder):
    info = HashInfo(bsize, ffactor, nelem, cachesize, None, lorder)
    db = dbopen(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600, DB_HASH, ctypes.byref(info))
    put = db.contents.put
    for key, data in pairs:
        k, d = dbt(key), dbt(data)
        if put(db, ctypes.byref(k), ctypes.byref(d), R_NOOVERWRITE) < 0:
            return None
    if db.contents.close(db):
        return None
    with open(path, "rb") as file:
        return file.read()

def lookup(raw, keys):
    with open(path, "wb") as file:
        file.write(raw)
    db = dbopen(path, os.O_RDONLY, 0, DB_HASH, None)
    result, d = {}, Dbt()
    for key in keys:
        k = dbt(key)
        if not db.contents.get(db, ctypes.byref(k), ctypes.byref(d), 0):
            result[key] = ctypes.string_at(d.data, d.size)
    db.contents.close(db)
    return result

while True:
    try:
        name, arguments = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    pickle.dump({"build": build, "lookup": lookup}[name](*arguments), sys.stdout.buffer)
    sys.stdout.buffer.flush()
os.path.exists(path) and os.unlink(path)
os.rmdir(os.path.dirname(path))
"""


def need(is_present: bool, what: str) -> None:
    """Fail where a tool is missing, skip if that is allowed."""
    if is_present:
        return
    if os.environ.get("PKGBASE_OCI_OPTIONAL_TOOLS") == "missing-ok":
        pytest.skip(f"{what} is missing")
    pytest.fail(f"{what} is missing; install it, or set PKGBASE_OCI_OPTIONAL_TOOLS=missing-ok")


@dataclass(slots=True)
class Library:
    """The C library in its process."""

    to_worker: IO[bytes]
    from_worker: IO[bytes]

    def call(self, name: str, *arguments: object) -> object:
        pickle.dump((name, arguments), self.to_worker)
        self.to_worker.flush()
        return pickle.load(self.from_worker)

    def build(self, pairs: Pairs, parameters: HashParameters) -> bytes | None:
        ffactor = 0 if parameters.ffactor == DEFAULT_FFACTOR else parameters.ffactor
        order = int(parameters.lorder)
        sizes = (parameters.bsize, ffactor, parameters.nelem, parameters.cachesize, order)
        result = self.call("build", pairs, *sizes)
        assert result is None or isinstance(result, bytes)
        return result

    def lookup(self, raw: bytes, keys: list[bytes]) -> object:
        return self.call("lookup", raw, keys)


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    environment = {
        "PATH": os.environ["PATH"],
        "MALLOC_PERTURB_": "255",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    }
    probe = "import ctypes; ctypes.CDLL('libdb1.so.2').dbopen"
    found = subprocess.run([sys.executable, "-c", probe], check=False, stderr=subprocess.DEVNULL)
    need(found.returncode == 0, "libdb1.so.2 (Debian package libdb1-compat)")
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Library(process.stdin, process.stdout)


class OldPool(BufferPool):
    """The pool with differences 2 and 3 undone."""

    __slots__ = ()

    def _is_chained(self, first: PageBuffer, wanted: PageBuffer) -> bool:
        return False

    def _to_file(self, buffer: PageBuffer) -> bytes:
        swapped = super()._to_file(buffer)
        buffer.page[:] = swapped
        return swapped


@contextlib.contextmanager
def old_pool() -> Iterator[None]:
    with mock.patch("pipeline.formats.db185_table.BufferPool", OldPool):
        yield


# ---------------------------------------------------------------- generated pairs


def is_lost_by_the_library(bsize: int, key: bytes, data: bytes) -> bool:
    """Tell pairs of difference 4."""
    room = bsize - 14
    rest = room - 1 - (len(key) - 1) % room
    is_big = len(key) + len(data) > room
    return is_big and (rest == len(data) or (not rest and len(data) == room))


SEED: Final = st.integers(0, 1 << 32)


def parameters_of(cachesizes: list[int]) -> st.SearchStrategy[HashParameters]:
    return st.builds(
        HashParameters,
        bsize=st.sampled_from([64, 128, 256, 512, 4096]),
        ffactor=st.sampled_from([4, 8, 32, DEFAULT_FFACTOR]),
        nelem=st.sampled_from([1, 16, 256, 3000]),
        cachesize=st.sampled_from(cachesizes),
        lorder=st.sampled_from(list(ByteOrder)),
    )


@dataclass(frozen=True, slots=True)
class Recipe:
    """Pairs by the hundred from a few numbers, some of them big, some of them twice."""

    seed: int
    count: int
    longest: int
    big: float

    def pairs(self, *, bsize: int | None = None) -> Pairs:
        """Make the pairs; with a page size, none that the library loses."""
        rng = random.Random(self.seed)
        result: Pairs = []
        for _ in range(self.count):
            key = b"k%d" % rng.randrange(2 * self.count)
            data = rng.randbytes(rng.randrange(1, self.longest))
            if rng.random() < self.big:
                data = rng.randbytes(rng.randrange(1, 1500))
            if rng.random() < self.big / 2:
                key += b"-" * rng.randrange(1000)
            if bsize is None or not is_lost_by_the_library(bsize, key, data):
                result.append((key, data))
        return result


def recipes(*, most: int) -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        seed=SEED,
        count=st.integers(0, most),
        longest=st.sampled_from([8, 30, 100]),
        big=st.sampled_from([0, 0, 0.03, 0.3]),
    )


def first_of_each(pairs: Pairs) -> dict[bytes, bytes]:
    return dict(reversed(pairs))


ANY_CACHE: Final = [1, 1024, 4096, 65536, 1 << 24]


class TestHashFile:
    @FAST
    @given(recipe=recipes(most=200), parameters=parameters_of(ANY_CACHE))
    def test_library_finds_every_key(
        self, library: Library, recipe: Recipe, parameters: HashParameters
    ) -> None:
        pairs = recipe.pairs()
        expected = first_of_each(pairs)
        raw = build_hash_file(pairs, parameters)
        assert library.lookup(raw, [*expected, b"missing"]) == expected

    @FAST
    @given(recipe=recipes(most=200), parameters=parameters_of([1 << 24]))
    def test_bytes_are_those_of_the_library(
        self, library: Library, recipe: Recipe, parameters: HashParameters
    ) -> None:
        """Without recycling, as it is."""
        pairs = recipe.pairs(bsize=parameters.bsize)
        assert build_hash_file(pairs, parameters) == library.build(pairs, parameters)

    @FAST
    @given(recipe=recipes(most=200), parameters=parameters_of(ANY_CACHE))
    def test_stale_bytes_are_those_of_the_library(
        self, library: Library, recipe: Recipe, parameters: HashParameters
    ) -> None:
        """With recycling, the pool as it was."""
        pairs = recipe.pairs(bsize=parameters.bsize)
        with old_pool():
            assert build_hash_file(pairs, parameters) == library.build(pairs, parameters)

    @FAST
    @given(recipe=recipes(most=200), parameters=parameters_of(ANY_CACHE))
    def test_reader_returns_what_was_written(
        self, recipe: Recipe, parameters: HashParameters
    ) -> None:
        pairs = recipe.pairs()
        raw = build_hash_file(pairs, parameters)
        assert parse_hash_file(raw).pairs == first_of_each(pairs)

    @FAST
    @given(recipe=recipes(most=100), parameters=parameters_of(ANY_CACHE))
    def test_pool_changes_stale_bytes_only(
        self, recipe: Recipe, parameters: HashParameters
    ) -> None:
        raw = build_hash_file(recipe.pairs(), parameters)
        roomy = build_hash_file(recipe.pairs(), replace(parameters, cachesize=1 << 24))
        assert len(raw) == len(roomy)
        assert raw[:260] == roomy[:260]
        assert parse_hash_file(raw).pairs == parse_hash_file(roomy).pairs

    @FAST
    @given(recipe=recipes(most=50), parameters=parameters_of([65536]), data=st.data())
    def test_reader_refuses_damage_or_reads_pairs(
        self, recipe: Recipe, parameters: HashParameters, data: st.DataObject
    ) -> None:
        raw = bytearray(build_hash_file(recipe.pairs(), replace(parameters, nelem=1)))
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(FormatError):
            read = parse_hash_file(bytes(raw))
            assert len(read.pairs) == read.header.nkeys

    @FAST
    @given(raw=st.binary(max_size=600))
    def test_reader_refuses_noise(self, raw: bytes) -> None:
        with pytest.raises(FormatError):
            parse_hash_file(raw)

    @pytest.mark.slow
    @MANY
    @given(recipe=recipes(most=4000), parameters=parameters_of(ANY_CACHE))
    def test_thousands_of_pairs(
        self, library: Library, recipe: Recipe, parameters: HashParameters
    ) -> None:
        """What is beyond the limits of the format is beyond those of the library."""
        pairs = recipe.pairs(bsize=parameters.bsize)
        expected = first_of_each(pairs)
        try:
            raw = build_hash_file(pairs, parameters)
        except FormatError:
            assert library.build(pairs, parameters) is None
            return
        assert parse_hash_file(raw).pairs == expected
        assert library.lookup(raw, list(expected)) == expected
        with old_pool():
            assert build_hash_file(pairs, parameters) == library.build(pairs, parameters)


# ---------------------------------------------------------------- accounts

WORD: Final = st.text(string.ascii_letters + string.digits + "._- äß&", max_size=12)
NUMBER: Final = st.integers(0, 0xFFFFFFFF)


@st.composite
def account_lines(draw: st.DrawFn) -> bytes:
    """Draw one line of master.passwd; root comes with uid 0 or not at all."""
    kind = draw(st.sampled_from(["account"] * 8 + ["nis", "comment"]))
    if kind == "comment":
        return draw(st.sampled_from([b"", b"# x:y", b"\t# z", b"  "]))
    name = draw(WORD.filter(lambda word: word != "root" and word.strip(" \t")[:1] not in "#+-"))
    numbers = [str(draw(NUMBER)) for _ in range(4)]
    if kind == "nis":
        name = draw(st.sampled_from("+-")) + name
        numbers = [draw(st.sampled_from([number, ""])) for number in numbers]
    fields = [
        name,
        draw(WORD),
        *numbers[:2],
        draw(WORD),
        *numbers[2:],
        *(draw(WORD) for _ in "123"),
    ]
    return ":".join(fields).encode()


MASTERS: Final = st.lists(account_lines(), max_size=25).map(lambda lines: b"\n".join(lines) + b"\n")


def record_fields(record: bytes) -> tuple[bytes, ...]:
    """Take a record apart, independently of the code that made it."""
    name, secret, rest = record.split(b"\0", 2)
    numbers, rest = rest[:12], rest[12:]
    login_class, gecos, home, shell, rest = rest.split(b"\0", 4)
    return (
        name,
        secret,
        *(numbers[i : i + 4] for i in (0, 4, 8)),
        login_class,
        gecos,
        home,
        shell,
        rest,
    )


def word(text: bytes) -> bytes:
    return int(text or b"0").to_bytes(4, "big")


class TestAccounts:
    @FAST
    @given(raw=MASTERS)
    def test_every_account_is_found_by_the_library(self, library: Library, raw: bytes) -> None:
        master = passwd.parse_master_passwd(raw)
        public, secret = passwd.build_pwd_db(master), passwd.build_spwd_db(master)
        lines = [line for line in raw.split(b"\n") if line.strip(b" \t")[:1] not in {b"", b"#"}]
        keys = [b"B" + i.to_bytes(4, "big") for i in range(1, len(lines) + 1)]
        found, hidden = library.lookup(secret, keys), library.lookup(public, keys)
        assert isinstance(found, dict)
        assert isinstance(hidden, dict)
        for key, line in zip(keys, lines, strict=True):
            name, secret, uid, gid, login_class, change, expire, gecos, home, shell = line.split(
                b":"
            )
            fields = record_fields(found[key])
            assert fields[:5] == (name, secret, word(uid), word(gid), word(change))
            assert fields[5:9] == (login_class, gecos, home, shell)
            assert fields[9][:4] == word(expire)
            assert record_fields(hidden[key]) == (name, b"*", *fields[2:])

    @FAST
    @given(raw=MASTERS)
    def test_databases_are_those_of_the_library(self, library: Library, raw: bytes) -> None:
        """Big-endian; all pages have buffers."""
        master = passwd.parse_master_passwd(raw)
        for is_secure, build in ((False, passwd.build_pwd_db), (True, passwd.build_spwd_db)):
            pairs = list(passwd._pairs(master, is_secure=is_secure))
            assert build(master) == library.build(pairs, passwd._PARAMETERS)

    @FAST
    @given(raw=MASTERS)
    def test_passwd_never_shows_a_password(self, raw: bytes) -> None:
        master = passwd.parse_master_passwd(raw)
        lines = passwd.build_passwd(master, keep_comments=False).split(b"\n")
        assert lines.pop() == b""
        assert [line.split(b":")[1] for line in lines] == [b"*"] * len(master.entries)

    @FAST
    @given(raw=st.text(string.printable + "äß\0", max_size=200).map(str.encode))
    def test_any_text_is_read_or_refused(self, raw: bytes) -> None:
        with contextlib.suppress(FormatError):
            passwd.build_pwd_db(passwd.parse_master_passwd(raw))

    @pytest.mark.slow
    def test_thousands_of_accounts(self, library: Library) -> None:
        """More pages than buffers: with the old pool."""
        raw = b"".join(
            b"user%d:%s:%d:%d::0:0:User %d:/home/user%d:/bin/sh\n"
            % (i, b"$6$" + b"x" * (i % 200), 1000 + i, i % 100, i, i)
            for i in range(6000)
        )
        master = passwd.parse_master_passwd(raw)
        pairs = list(passwd._pairs(master, is_secure=True))
        spwd_db = passwd.build_spwd_db(master)
        assert library.lookup(spwd_db, [key for key, _ in pairs]) == dict(pairs)
        with old_pool():
            assert passwd.build_spwd_db(master) == library.build(pairs, passwd._PARAMETERS)


# ---------------------------------------------------------------- services

SERVICE_NAME: Final = st.text(
    string.ascii_lowercase + string.digits + "-_/#ä", min_size=1, max_size=9
)
PORT: Final = st.one_of(
    st.integers(0, 30).map(str),
    st.integers(0, 70000).map(str),
    st.sampled_from(["0x1f", "010", "08", "-1", "+7", "x", ""]),
)


@st.composite
def service_lines(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(["service"] * 8 + ["comment", "odd"]))
    if kind == "comment":
        return draw(st.sampled_from([b"", b"# x", b"  ", b"\t#ssh 22/tcp"]))
    protocol = draw(st.sampled_from(["tcp", "udp", "sctp", "t/p"]))
    words = [draw(SERVICE_NAME), f"{draw(PORT)}/{protocol}"]
    words += draw(st.lists(SERVICE_NAME, max_size=4))
    if kind == "odd":
        del words[draw(st.integers(0, 1))]
    return draw(st.sampled_from([" ", "\t", " \t "])).join(words).encode()


SERVICES: Final = st.lists(service_lines(), max_size=30).map(b"\n".join)
SERVICES_PARAMETERS: Final = HashParameters(
    bsize=256, ffactor=4, nelem=32768, cachesize=1024, lorder=ByteOrder.LITTLE
)


class TestServices:
    @FEW
    @given(raw=SERVICES)
    def test_database_is_that_of_the_library(self, library: Library, raw: bytes) -> None:
        """Six buffers, the pool as it is."""
        pairs = list(services._pairs(services._parse(raw)))
        built = services.build_services_db(raw, lorder=ByteOrder.LITTLE)
        assert built == library.build(pairs, SERVICES_PARAMETERS)
        assert library.lookup(built, [key for key, _ in pairs]) == first_of_each(pairs)

    @FEW
    @given(raw=SERVICES)
    def test_every_reference_leads_to_its_record(self, raw: bytes) -> None:
        found = parse_hash_file(services.build_services_db(raw, lorder=ByteOrder.BIG)).pairs
        for key, data in found.items():
            if key[:1] not in b"\xfe\xff":
                continue
            name, port, *aliases = found[data].rstrip(b"\0").split()
            if key[:1] == b"\xff":
                assert port == key[1:-1] or port.split(b"/")[0] == key[1:-1]
            else:
                names = {n for alias in (name, *aliases) for n in (alias, alias.split(b"/")[0])}
                assert key[1:-1] in names | {n + b"/" + port.split(b"/", 1)[1] for n in names}

    @FEW
    @given(raw=SERVICES, data=st.data())
    def test_order_of_ports_is_that_of_the_records(self, raw: bytes, data: st.DataObject) -> None:
        lorder = data.draw(st.sampled_from(list(ByteOrder)))
        found = parse_hash_file(services.build_services_db(raw, lorder=lorder)).pairs
        count = sum(key[:1].isdigit() for key in found)
        ports = [int(found[b"%d\0" % i].split()[1].split(b"/")[0]) for i in range(count)]
        assert ports == sorted(ports)

    @FEW
    @given(raw=st.text(string.printable + "äß\0", max_size=200).map(str.encode))
    def test_any_text_is_read_or_refused(self, raw: bytes) -> None:
        with contextlib.suppress(FormatError):
            services.build_services_db(raw, lorder=ByteOrder.LITTLE)

    @pytest.mark.slow
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        seed=SEED,
        count=st.sampled_from([300, 2300, 8000]),
        longest=st.sampled_from([0, 0, 3, 60]),
    )
    def test_thousands_of_services(
        self, library: Library, seed: int, count: int, longest: int
    ) -> None:
        """Up to the size of a real file and beyond, with big pairs and a growing table."""
        rng = random.Random(seed)
        lines = [
            f"svc{i}-{rng.randrange(1000)} {rng.randrange(1, 65000)}/{rng.choice(['tcp', 'udp'])} "
            + " ".join(
                f"alias{i}-{j}" for j in range(rng.randrange(longest + 1) if i % 9 == 0 else 0)
            )
            for i in range(count)
        ]
        raw = "\n".join(line for line in lines if len(line) < 500).encode()
        pairs = list(services._pairs(services._parse(raw)))
        assume(not any(is_lost_by_the_library(256, *pair) for pair in pairs))
        expected = library.build(pairs, SERVICES_PARAMETERS)
        try:
            built = services.build_services_db(raw, lorder=ByteOrder.LITTLE)
        except FormatError:
            assert expected is None
            return
        assert built == expected
        assert parse_hash_file(built).pairs == first_of_each(pairs)


# ---------------------------------------------------------------- login classes

CLASS_NAME: Final = st.sampled_from([f"c{i}" for i in range(12)] + ["default", "ä"])
CAPABILITY: Final = st.one_of(
    st.sampled_from(["umask=022", "tc@", "tc", "x@", "", "path=/bin /sbin", "\tv#7", "tc=@"]),
    CLASS_NAME.map("tc={}".format),
    CLASS_NAME.map("tc={}".format),
)
SEPARATOR: Final = st.sampled_from([":", ":\\\n\t:", ":\\\n:"])


@st.composite
def class_lines(draw: st.DrawFn) -> str:
    names = "|".join(draw(st.lists(CLASS_NAME, min_size=1, max_size=3)))
    fields = draw(st.lists(CAPABILITY, max_size=4))
    text = names + "".join(draw(SEPARATOR) + field for field in fields)
    return text + draw(st.sampled_from([":", ":", ":", "", ":\\", "\n"]))


CLASSES: Final = st.lists(st.one_of(class_lines(), st.just("# comment:\\")), max_size=12).map(
    lambda lines: "".join(line + "\n" for line in lines).encode()
)


def expand_in_place(records: list[bytes], name: bytes, depth: int = 0) -> tuple[bytes, bool] | None:
    """Expand as cgetent() does: within one buffer, scanning on from the last colon."""
    if depth > 32:
        raise FormatError("loop")
    found = (r for r in records if name in r.split(b":")[0].split(b"|"))
    text = next(found, None)
    if text is None:
        return None
    scan, is_whole = 0, True
    while True:
        colon = text.find(b":", scan)
        if colon < 0 or text[colon + 1 :].startswith((b"tc@", b"tc=@")):
            return text, is_whole
        if not text[colon + 1 :].startswith(b"tc="):
            scan = colon + 1
            continue
        end = text.find(b":", colon + 1)
        stop = len(text) if end < 0 else end
        inner = expand_in_place(records, text[colon + 4 : stop], depth + 1)
        if inner is None:
            is_whole = False
            text, scan = (text[:-1] + b":", len(text) - 1) if end < 0 else (text, end)
            continue
        is_whole = is_whole and inner[1]
        body = inner[0].partition(b":")[2]
        if not body.endswith(b":") and (body or b":" not in inner[0]):
            body += b":"
        text = text[: colon + 1] + body + text[stop + 1 :]
        scan = colon + len(body)


class TestLoginClasses:
    @FAST
    @given(raw=CLASSES)
    def test_inclusion_is_that_of_one_growing_buffer(self, raw: bytes) -> None:
        lines = raw.replace(b"\\\n", b"").split(b"\n")
        records = [line for line in lines[:-1] if line and not line.startswith(b"#")]
        try:
            result = capabilities.parse_capabilities(raw)
        except FormatError as e:
            assume("the end of the file" not in str(e))
            names = {n for record in records for n in record.split(b":")[0].split(b"|")}
            with pytest.raises(FormatError, match="loop"):
                [expand_in_place(records, name) for name in names]
            return
        for record in result:
            name = record.name_field.split(b"|")[0]
            assert any(
                expand_in_place(records, n) == (record.text, record.is_expanded)
                for n in (name, *record.name_field.split(b"|"))
            )

    @FAST
    @given(raw=CLASSES)
    def test_database_is_that_of_the_library(self, library: Library, raw: bytes) -> None:
        try:
            pairs = list(capabilities._pairs(capabilities.parse_capabilities(raw)))
        except FormatError:
            return
        assume(not any(is_lost_by_the_library(4096, *pair) for pair in pairs))
        parameters = HashParameters(
            bsize=4096, ffactor=DEFAULT_FFACTOR, nelem=1, cachesize=65536, lorder=ByteOrder.LITTLE
        )
        built = capabilities.build_login_conf_db(raw, lorder=ByteOrder.LITTLE)
        assert built == library.build(pairs, parameters)
        assert library.lookup(built, [key for key, _ in pairs]) == first_of_each(pairs)

    @FAST
    @given(raw=st.text("abtc=|:@#\\\n \tä\0", max_size=80).map(str.encode))
    def test_any_text_is_read_or_refused(self, raw: bytes) -> None:
        with contextlib.suppress(FormatError):
            capabilities.build_login_conf_db(raw, lorder=ByteOrder.LITTLE)

    @pytest.mark.slow
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        sizes=st.lists(st.integers(0, 6000), max_size=60),
        lorder=st.sampled_from(list(ByteOrder)),
    )
    @example(sizes=[3000] * 60, lorder=ByteOrder.LITTLE)
    @example(sizes=[100, 5000] * 20, lorder=ByteOrder.BIG)
    def test_large_files(self, library: Library, sizes: list[int], lorder: ByteOrder) -> None:
        """More than sixteen pages, with the old pool; records beyond a page."""
        raw = b"".join(
            b"c%d|alias%d|Class %d:\\\n\t:v=%s:tc=default:\n" % (i, i, i, b"x" * size)
            for i, size in enumerate(sizes)
        )
        raw += b"default:umask=022:\n"
        pairs = list(capabilities._pairs(capabilities.parse_capabilities(raw)))
        assume(not any(is_lost_by_the_library(4096, *pair) for pair in pairs))
        parameters = HashParameters(
            bsize=4096, ffactor=DEFAULT_FFACTOR, nelem=1, cachesize=65536, lorder=lorder
        )
        with old_pool():
            built = capabilities.build_login_conf_db(raw, lorder=lorder)
            assert built == library.build(pairs, parameters)
        built = capabilities.build_login_conf_db(raw, lorder=lorder)
        assert library.lookup(built, [key for key, _ in pairs]) == first_of_each(pairs)


# ---------------------------------------------------------------- certificates


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


ALGORITHM: Final = tlv(0x30, tlv(6, bytes.fromhex("2b6570")))


def certificate(subject: bytes, serial: int) -> bytes:
    validity = tlv(0x30, tlv(0x17, b"200101000000Z"), tlv(0x17, b"300101000000Z"))
    number = tlv(2, serial.to_bytes(5, "big").lstrip(b"\0") or b"\0")
    key = tlv(0x30, ALGORITHM, tlv(3, bytes(33)))
    version = tlv(0xA0, tlv(2, b"\2"))
    body = tlv(0x30, version, number, ALGORITHM, tlv(0x30), validity, subject, key)
    return tlv(0x30, body, ALGORITHM, tlv(3, bytes(65)))


KINDS: Final = st.sampled_from(["550403", "55040a", "55040b", "550406", "2a864886f70d010901"])
TEXT: Final = st.text(st.sampled_from(" \t\nAbZz09äÖßÑ€\u00a0\u2003🙂"), max_size=15)


@st.composite
def attributes(draw: st.DrawFn) -> bytes:
    text = draw(TEXT)
    narrow = "".join(c for c in text if ord(c) < 256)
    flat = "".join(c for c in text if ord(c) < 65536)
    value = draw(
        st.sampled_from(
            [
                tlv(0x0C, text.encode()),
                tlv(0x13, narrow.encode("latin-1")),
                tlv(0x14, narrow.encode("latin-1")),
                tlv(0x16, narrow.encode("latin-1")),
                tlv(0x1E, flat.encode("utf-16-be")),
                tlv(0x1C, text.encode("utf-32-be")),
                tlv(0x12, b"12 3"),
            ]
        )
    )
    return tlv(0x30, tlv(6, bytes.fromhex(draw(KINDS))), value)


NAMES: Final = st.lists(
    st.lists(attributes(), min_size=1, max_size=3).map(lambda parts: tlv(0x31, *sorted(parts))),
    max_size=4,
).map(lambda rdns: tlv(0x30, *rdns))


class TestCertificates:
    @FAST
    @given(subject=NAMES)
    def test_subject_hash_is_that_of_openssl(self, subject: bytes) -> None:
        openssl = shutil.which("openssl")
        need(openssl is not None, "openssl")
        assert openssl is not None
        der = certificate(subject, 1)
        result = subprocess.run(
            [openssl, "x509", "-noout", "-subject_hash"],
            input=write_pem_certificate(der),
            capture_output=True,
            check=True,
        )
        assert subject_hash(der) == result.stdout.decode().strip()

    @FAST
    @given(content=st.binary(max_size=300))
    def test_pem_is_read_as_written(self, content: bytes) -> None:
        assert list(iter_pem_certificates(write_pem_certificate(content) * 2)) == [content] * 2

    @FAST
    @given(raw=st.text("-BEGINDCERTFA abc=:\n", max_size=200).map(str.encode))
    def test_any_text_is_read_or_refused(self, raw: bytes) -> None:
        with contextlib.suppress(FormatError):
            list(iter_pem_certificates(b"-----BEGIN CERTIFICATE-----\n" + raw))

    @FAST
    @given(
        chosen=st.lists(
            st.tuples(
                st.sampled_from(["usr/share/certs/trusted", "usr/share/certs/untrusted"]),
                st.integers(0, 3),
                st.integers(1, 3),
            ),
            max_size=12,
        ),
        seed=SEED,
    )
    def test_rehash_does_not_depend_on_the_order_of_the_files(
        self, chosen: list[tuple[str, int, int]], seed: int
    ) -> None:
        title = b"Certificate:\n"
        files = {}
        for number, (folder, who, serial) in enumerate(chosen):
            name = tlv(0x30, tlv(0x31, tlv(0x30, tlv(6, b"\x55\4\3"), tlv(0x0C, b"%d" % who))))
            pem = title + write_pem_certificate(certificate(name, serial))
            files[f"{folder}/{number}.pem"] = pem
        items = list(files.items())
        random.Random(seed).shuffle(items)
        shuffled = dict(items)
        copies = rehash_copies(files, localbase="usr/local")
        assert rehash_copies(shuffled, localbase="usr/local") == copies
        for family in LinkFamily:
            links = rehash_links(files, localbase="usr/local", family=family)
            assert rehash_links(shuffled, localbase="usr/local", family=family) == links
        # Each certificate once, trusted or untrusted but not both.
        blocks = [file.content for file in copies.files if file.path != "etc/ssl/cert.pem"]
        assert len(set(blocks)) == len(blocks) == len({(who, n) for _, who, n in chosen})
