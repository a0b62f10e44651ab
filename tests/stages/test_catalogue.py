"""The stage `catalogue`: golden repositories are believed as declared, hostile ones never."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

import pipeline.errors
from fixtures.miniature.archive import Member, Packing, archive, compress
from fixtures.miniature.repository import catalogue as pack
from fixtures.miniature.signer import Mode, Signer, read_signer
from pipeline.errors import (
    ArchiveError,
    ConfigurationError,
    DigestMismatchError,
    FetchError,
    FingerprintError,
    NotFoundError,
    PackagesiteError,
    PipelineError,
    RevokedFingerprintError,
    SignatureError,
    SignatureTypeError,
    TooLargeError,
    UntrustedFingerprintError,
)
from pipeline.formats.decompression import open_decompressed
from pipeline.formats.digest import Digest
from pipeline.formats.tar import TarReader
from pipeline.host.directory_fetcher import DirectoryFetcher
from pipeline.host.fetch import WantedFile, fetch_all, fetch_file
from pipeline.host.repository_url import expand_url, open_fetcher, url_variables
from pipeline.host.store import Store
from pipeline.pkg.abi import Abi
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.packagesite import verify_manifest
from pipeline.stages.catalogue import (
    FetchedCatalogue,
    RepositorySettings,
    fetch_catalogue,
)
from tests.host.loopback import serve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.host.fetch import Receiver
    from pipeline.pkg.record import CatalogueRecord

FIXTURES = Path(__file__).parents[2] / "fixtures"
REPOSITORIES = FIXTURES / "repositories"
HOSTILE = FIXTURES / "hostile" / "catalogues"
KEYS = REPOSITORIES / "keys"
SAFE = "/:@!$&'()*+,;=~"
AMD64 = Abi.parse("FreeBSD:15:amd64")

UNSIGNED = RepositorySettings(
    name="test",
    priority=5,
    abi=AMD64,
    signature_type="none",
    fingerprints=None,
    pubkey=None,
    allow_unsigned=True,
    allow_missing_meta=False,
)


def by_key(name: str) -> RepositorySettings:
    return replace(UNSIGNED, signature_type="pubkey", pubkey=KEYS / name, allow_unsigned=False)


def by_fingerprint(name: str) -> RepositorySettings:
    return replace(
        UNSIGNED,
        signature_type="fingerprints",
        fingerprints=KEYS / "fingerprints" / name,
        allow_unsigned=False,
    )


def fetch(settings: RepositorySettings, directory: Path) -> FetchedCatalogue:
    return fetch_catalogue(settings, DirectoryFetcher(directory))


class MemoryFetcher:
    """A repository in memory that counts what is asked of it."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []

    def __str__(self) -> str:
        return "memory:"

    def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
        self.asked.append(path)
        if path not in self.files:
            raise NotFoundError(f"memory:/{path}: not found")
        if len(self.files[path]) > max_length:
            raise TooLargeError(f"memory:/{path}", max_length)
        return self.files[path]

    def fetch_into(self, path: str, receiver: Receiver) -> None:
        raise AssertionError(path)


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


# ---------------------------------------------------------------- golden repositories

GOLDEN = {
    "plain": UNSIGNED,
    "hashed": UNSIGNED,
    "rsa": by_key("test-rsa.pub"),
    "rsa-2.4.2": by_key("test-rsa.pub"),
    "ecdsa": by_key("test-ecdsa.pub"),
    "eddsa": by_key("test-eddsa.pub"),
    "fingerprints": by_fingerprint("trusted"),
    "fingerprints-ecdsa": by_fingerprint("ecdsa"),
    "meta-v1": UNSIGNED,
    "meta-v1-txz": UNSIGNED,
    "packing-tar": UNSIGNED,
    "packing-tgz": UNSIGNED,
    "packing-tbz": UNSIGNED,
    "packing-txz": UNSIGNED,
    "list-files": UNSIGNED,
    "list-files-2.4.2": UNSIGNED,
    "groups": UNSIGNED,
    "aarch64-14": replace(UNSIGNED, abi=Abi.parse("FreeBSD:14:aarch64")),
}


def test_no_golden_repository_is_left_out() -> None:
    folders = {path.name for path in REPOSITORIES.iterdir() if path.is_dir()}
    assert set(GOLDEN) == folders - {"keys", "__pycache__"}


def test_what_was_made_is_what_is_offered() -> None:
    """made.json: the packages that `pkg repo` was given."""
    for made in json.loads((REPOSITORIES / "made.json").read_bytes()):
        name = made["repository"]
        found = fetch(GOLDEN[name], REPOSITORIES / name).catalogue.records
        if "packages" in made:
            names = sorted(f"{record.manifest.name_version}.pkg" for record in found)
            assert names == sorted(made["packages"])


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_repository(name: str) -> None:
    fetched = fetch(GOLDEN[name], REPOSITORIES / name)
    raw = (REPOSITORIES / name / fetched.path).read_bytes()
    assert fetched.path == ("packagesite.txz" if name == "meta-v1-txz" else "data.pkg")
    assert (fetched.digest, fetched.size) == (Digest.of(raw), len(raw))
    assert fetched.signature_type == GOLDEN[name].signature_type
    assert fetched.catalogue.priority == 5
    assert fetched.catalogue.records
    public = {"rsa": "rsa", "rsa-2.4.2": "rsa", "ecdsa": "ecdsa", "eddsa": "eddsa"}
    public |= {"fingerprints": "rsa", "fingerprints-ecdsa": "ecdsa"}
    if name in public:
        key = (KEYS / f"test-{public[name]}.pub").read_bytes()
        assert fetched.fingerprint == hashlib.sha256(key).hexdigest()
    else:
        assert fetched.fingerprint == ""


@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "meta-v1-txz"])
def test_packagesite_says_what_data_says(name: str) -> None:
    files = files_of(REPOSITORIES / name)
    whole = fetch_catalogue(GOLDEN[name], MemoryFetcher(files))
    del files["data.pkg"]
    files.pop("data.tzst", None)
    files.pop("data.txz", None)
    other = fetch_catalogue(GOLDEN[name], MemoryFetcher(files))
    assert other.path == "packagesite.pkg"
    assert other.catalogue == whole.catalogue
    assert other.fingerprint == whole.fingerprint


def test_unsigned_catalogue_is_said_loudly(caplog: pytest.LogCaptureFixture) -> None:
    fetch(UNSIGNED, REPOSITORIES / "plain")
    assert "nothing was verified" in caplog.text


def test_signed_meta_txz_is_verified() -> None:
    """Without meta.conf pkg takes meta.txz, an archive that is signed like the others."""
    signer = read_signer(KEYS / "test-rsa.key", Mode.PUBKEY)
    data = (REPOSITORIES / "plain.data.json").read_bytes()
    files = {
        "meta.txz": pack("meta", b'version = 1; packing_format = "txz";', signer),
        "data.txz": pack("data", data, signer),
    }
    fetched = fetch_catalogue(by_key("test-rsa.pub"), MemoryFetcher(files))
    assert (fetched.path, len(fetched.catalogue.records)) == ("data.txz", 20)
    files["meta.txz"] = pack("meta", b"version = 1")
    with pytest.raises(SignatureError, match=r"meta\.txz: got no signature"):
        fetch_catalogue(by_key("test-rsa.pub"), MemoryFetcher(files))


def test_missing_meta_is_accepted_on_request() -> None:
    settings = replace(UNSIGNED, allow_missing_meta=True)
    assert len(fetch(settings, HOSTILE / "meta-missing").catalogue.records) == 2


# ---------------------------------------------------------------- hostile repositories

EXPECTED: dict[str, dict[str, Any]] = json.loads((HOSTILE / "expected.json").read_bytes())


def settings_of(case: Mapping[str, str]) -> RepositorySettings:
    if "pubkey" in case:
        return by_key(case["pubkey"])
    return by_fingerprint(case["fingerprints"]) if "fingerprints" in case else UNSIGNED


def take_package(record: CatalogueRecord, directory: Path, store: Store) -> PackageManifest:
    """Fetch a package into a store and compare what it says of itself with its record."""
    wanted = WantedFile(path=record.repopath, size=record.pkgsize, sum=record.sum, digest=None)
    digest = fetch_file(DirectoryFetcher(directory), wanted, store=store).digest
    with store.open(digest) as file:
        reader = TarReader(open_decompressed(file, limit=1 << 20, what=record.repopath))
        for member in reader:
            if member.name == "+MANIFEST":
                return verify_manifest(PackageManifest.parse(reader.read()), record)
    raise AssertionError(record)


def outcome(case: Mapping[str, str], directory: Path, store: Store) -> list[str]:
    records = fetch(settings_of(case), directory).catalogue.records
    if case.get("step") == "package":
        take_package(next(r for r in records if r.name == "good"), directory, store)
    return [record.manifest.name_version for record in records]


def test_every_hostile_catalogue_has_an_expectation() -> None:
    assert set(EXPECTED) == {path.name for path in HOSTILE.iterdir() if path.is_dir()}
    for case in EXPECTED.values():
        assert case["reader"] in ("either", case["outcome"])
        assert ("why" in case) == (case["reader"] == "either")


@pytest.mark.parametrize("name", EXPECTED)
def test_hostile_catalogue(name: str, tmp_path: Path) -> None:
    case = EXPECTED[name]
    store = Store(tmp_path / "store")
    if case["outcome"] == "accept":
        assert outcome(case, HOSTILE / name, store) == case["packages"]
        return
    error: type[PipelineError] = getattr(pipeline.errors, case["error"])
    with pytest.raises(error) as caught:
        outcome(case, HOSTILE / name, store)
    assert type(caught.value) is error
    assert case["message"] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [
        path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()
    ]


@pytest.mark.parametrize("name", EXPECTED)
def test_hostile_catalogue_as_packagesite(name: str, tmp_path: Path) -> None:
    """The other form of the same catalogue ends the same way."""
    case = EXPECTED[name]
    directory = tmp_path / "repository"
    shutil.copytree(HOSTILE / name, directory)
    if not (directory / "packagesite.pkg").exists() or name == "archive-bomb":
        return
    (directory / "data.pkg").unlink(missing_ok=True)
    if case["outcome"] == "accept":
        assert outcome(case, directory, Store(tmp_path / "store")) == case["packages"]
        return
    with pytest.raises(PipelineError) as caught:
        outcome(case, directory, Store(tmp_path / "store"))
    assert type(caught.value).__name__ == case["error"]


def test_control_package_is_taken(tmp_path: Path) -> None:
    for record in fetch(UNSIGNED, HOSTILE / "control").catalogue.records:
        store = Store(tmp_path)
        assert take_package(record, HOSTILE / "control", store).name == record.name


# ---------------------------------------------------------------- each refusal by itself


def signed_files(signer: Signer, data: bytes | None = None) -> dict[str, bytes]:
    content = data if data is not None else (REPOSITORIES / "plain.data.json").read_bytes()
    return {"meta.conf": b"version = 2", "data.pkg": pack("data", content, signer)}


def pack_members(signatures: Sequence[Member], content: bytes) -> bytes:
    return compress(archive([*signatures, Member(name="data", content=content)]), Packing.TZST)


def test_wrong_key() -> None:
    with pytest.raises(SignatureError, match=r"data\.pkg: the rsa signature does not verify"):
        fetch(by_key("other-rsa.pub"), REPOSITORIES / "rsa")


def test_wrong_key_by_fingerprint() -> None:
    with pytest.raises(UntrustedFingerprintError, match=r"data\.pkg: signed with key 2d814a6e"):
        fetch(by_fingerprint("ecdsa"), REPOSITORIES / "fingerprints")


def test_revoked_fingerprint_beats_trusted() -> None:
    with pytest.raises(RevokedFingerprintError):
        fetch(by_fingerprint("revoked"), REPOSITORIES / "fingerprints")


def test_tampered_data_is_not_parsed() -> None:
    """Not even looked at: what is signed is a catalogue, what is there is no JSON at all."""
    signer = read_signer(KEYS / "test-rsa.key", Mode.PUBKEY)
    members = signer.members("data", b"the catalogue")
    files = {"meta.conf": b"version = 2", "data.pkg": pack_members(members, b"}{ not JSON")}
    with pytest.raises(SignatureError, match="does not verify"):
        fetch_catalogue(by_key("test-rsa.pub"), MemoryFetcher(files))


@pytest.mark.parametrize("keep", [0, 1, 100, 1000, -1])
def test_truncated_file(keep: int) -> None:
    files = files_of(REPOSITORIES / "rsa")
    files["data.pkg"] = files["data.pkg"][:keep]
    with pytest.raises(ArchiveError, match=r"data\.pkg"):
        fetch_catalogue(by_key("test-rsa.pub"), MemoryFetcher(files))


def test_missing_signature() -> None:
    for settings in (by_key("test-rsa.pub"), by_fingerprint("trusted")):
        with pytest.raises(SignatureError, match="got no signature"):
            fetch(settings, REPOSITORIES / "plain")


def test_swapped_signature_type() -> None:
    with pytest.raises(SignatureTypeError, match="want one for fingerprints"):
        fetch(by_fingerprint("trusted"), REPOSITORIES / "rsa")
    with pytest.raises(SignatureTypeError, match="want one for pubkey"):
        fetch(by_key("test-rsa.pub"), REPOSITORIES / "fingerprints")


@pytest.mark.parametrize(("name", "key"), [("ecdsa", "test-rsa"), ("eddsa", "test-ecdsa")])
def test_key_of_another_algorithm(name: str, key: str) -> None:
    with pytest.raises(FingerprintError, match=r"data\.pkg: got no .* public key|WEI25519"):
        fetch(by_key(f"{key}.pub"), REPOSITORIES / name)


@pytest.mark.parametrize("name", ["meta.conf", "data.pkg"])
def test_oversized_metadata(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stages.catalogue.MAX_UCL", 1000)
    monkeypatch.setattr("pipeline.stages.catalogue.MAX_ARCHIVE", 2000)
    files = files_of(REPOSITORIES / "plain") | {name: b"x" * 2001}
    with pytest.raises(TooLargeError, match=name):
        fetch_catalogue(UNSIGNED, MemoryFetcher(files))


def test_oversized_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stages.catalogue.MAX_PAYLOAD", 1000)
    with pytest.raises(TooLargeError, match=r"data\.pkg: data: longer than the limit of 1000"):
        fetch(UNSIGNED, REPOSITORIES / "plain")


def test_unsigned_wants_to_be_allowed() -> None:
    settings = replace(UNSIGNED, allow_unsigned=False)
    fetcher = MemoryFetcher({})
    with pytest.raises(SignatureTypeError, match="signature_type none, want a signature"):
        fetch_catalogue(settings, fetcher)
    assert fetcher.asked == []


@pytest.mark.parametrize("signature_type", ["pubkey", "fingerprints", "other"])
def test_signature_type_without_keys(signature_type: str) -> None:
    settings = replace(UNSIGNED, signature_type=signature_type)
    with pytest.raises(ConfigurationError, match="without keys"):
        fetch(settings, REPOSITORIES / "plain")


# ---------------------------------------------------------------- which file, which keys


def test_broken_data_is_an_error_and_no_reason_to_look_further() -> None:
    files = files_of(REPOSITORIES / "plain") | {"data.pkg": b"no archive"}
    fetcher = MemoryFetcher(files)
    with pytest.raises(ArchiveError):
        fetch_catalogue(UNSIGNED, fetcher)
    assert fetcher.asked == ["meta.conf", "data.pkg"]


def test_failure_is_no_absence() -> None:
    """Only a file that is not there lets the next one be tried."""

    class Failing(MemoryFetcher):
        def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
            if path == "data.pkg":
                raise FetchError("no connection")
            return super().fetch_bytes(path, max_length=max_length)

    with pytest.raises(FetchError, match="no connection"):
        fetch_catalogue(UNSIGNED, Failing(files_of(REPOSITORIES / "plain")))


def test_names_that_were_tried_are_listed() -> None:
    with pytest.raises(NotFoundError, match=r"none of data\.pkg, data\.tzst, packagesite\.pkg"):
        fetch_catalogue(UNSIGNED, MemoryFetcher({"meta.conf": b"version = 2"}))


def test_repository_that_is_not_there() -> None:
    with pytest.raises(NotFoundError, match=r"meta\.conf: not found") as caught:
        fetch_catalogue(UNSIGNED, MemoryFetcher({}))
    assert caught.value.hint is not None


def test_malformed_catalogue_names_its_file() -> None:
    files = signed_files(read_signer(KEYS / "test-rsa.key", Mode.PUBKEY), b"[]")
    with pytest.raises(PackagesiteError) as caught:
        fetch_catalogue(by_key("test-rsa.pub"), MemoryFetcher(files))
    assert str(caught.value) == "memory:/data.pkg: got list, want an object"


def test_key_comes_from_meta_conf() -> None:
    signer = read_signer(KEYS / "test-rsa.key")
    key = signer.public_key.decode()
    content = (REPOSITORIES / "plain.data.json").read_bytes()
    meta = f"version = 2; cert {{ type = rsa; name = data; data = {json.dumps(key)} }}"
    files = {
        "meta.conf": meta.encode(),
        "data.pkg": pack_members(signer.members("data", content)[:1], content),
    }
    fetched = fetch_catalogue(by_fingerprint("trusted"), MemoryFetcher(files))
    assert fetched.fingerprint == signer.fingerprint


def test_directory_without_revoked(tmp_path: Path) -> None:
    shutil.copytree(KEYS / "fingerprints" / "trusted" / "trusted", tmp_path / "trusted")
    settings = replace(by_fingerprint("trusted"), fingerprints=tmp_path)
    assert fetch(settings, REPOSITORIES / "fingerprints").catalogue.records
    (tmp_path / "revoked").symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match="revoked"):
        fetch(settings, REPOSITORIES / "fingerprints")


def test_keys_that_are_not_there(tmp_path: Path) -> None:
    fetcher = MemoryFetcher({})
    for settings, message in [
        (replace(by_fingerprint("trusted"), fingerprints=tmp_path), "trusted: no such directory"),
        (replace(by_key("x"), pubkey=tmp_path / "x.pub"), r"x\.pub: no such file"),
        (replace(by_key("x"), pubkey=tmp_path), "is a directory"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            fetch_catalogue(settings, fetcher)
    assert fetcher.asked == []


def test_unreasonable_keys(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(1 << 20))
    with pytest.raises(ConfigurationError, match="longer than"):
        fetch(replace(by_key("x"), pubkey=tmp_path / "key"), REPOSITORIES / "rsa")
    (tmp_path / "trusted").mkdir()
    for i in range(300):
        (tmp_path / "trusted" / str(i)).touch()
    settings = replace(by_fingerprint("trusted"), fingerprints=tmp_path)
    with pytest.raises(ConfigurationError, match="more than 256 files"):
        fetch(settings, REPOSITORIES / "fingerprints")


def test_empty_fingerprint_directory() -> None:
    with pytest.raises(FingerprintError, match=r"empty: trusted: got no fingerprint"):
        fetch(by_fingerprint("empty"), REPOSITORIES / "fingerprints")


# ---------------------------------------------------------------- packages


@pytest.mark.parametrize("name", ["plain", "hashed", "rsa-2.4.2", "aarch64-14"])
def test_packages_of_a_golden_repository(name: str, tmp_path: Path) -> None:
    """Sums of both kinds, and the hashed layout with its odd characters."""
    store = Store(tmp_path)
    for record in fetch(GOLDEN[name], REPOSITORIES / name).catalogue.records:
        assert take_package(record, REPOSITORIES / name, store).version == record.version


def test_tampered_package(tmp_path: Path) -> None:
    directory = tmp_path / "repository"
    shutil.copytree(REPOSITORIES / "rsa", directory)
    record = fetch(by_key("test-rsa.pub"), directory).catalogue.records[0]
    raw = bytearray((directory / record.repopath).read_bytes())
    raw[len(raw) // 2] ^= 1
    (directory / record.repopath).write_bytes(raw)
    with pytest.raises(DigestMismatchError, match="sum: got"):
        take_package(record, directory, Store(tmp_path / "store"))
    (directory / record.repopath).write_bytes(raw[:-1])
    with pytest.raises(DigestMismatchError, match="size: got"):
        take_package(record, directory, Store(tmp_path / "store"))
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_result_does_not_depend_on_anything_else() -> None:
    files = files_of(REPOSITORIES / "fingerprints")
    settings = by_fingerprint("trusted")
    first = fetch_catalogue(settings, MemoryFetcher(files))
    again = fetch_catalogue(settings, MemoryFetcher(dict(reversed(files.items()))))
    assert first == again


def test_what_is_read_is_said_before_it_is_read() -> None:
    files = files_of(REPOSITORIES / "fingerprints")
    said: list[str] = []
    fetched = fetch_catalogue(by_fingerprint("trusted"), MemoryFetcher(files), say=said.append)
    count = len(fetched.catalogue.records)
    assert said == [f"reading catalogue test, FreeBSD:15:amd64: {count} packages"]


def test_over_http_as_from_a_directory(tmp_path: Path) -> None:
    """The hashed layout: catalogue, then every package, over one server."""
    with serve() as server:
        for path in sorted((REPOSITORIES / "fingerprints").rglob("*")):
            if path.is_file():
                name = path.relative_to(REPOSITORIES / "fingerprints").as_posix()
                server.files[f"/FreeBSD:15:amd64/{quote(name, safe=SAFE)}"] = path.read_bytes()
        url = expand_url(f"pkg+{server.url}/${{ABI}}", url_variables("15.0", "amd64"))
        fetcher = open_fetcher(url, base=tmp_path)
        fetched = fetch_catalogue(by_fingerprint("trusted"), fetcher)
        store = Store(tmp_path)
        wanted = [
            WantedFile(path=r.repopath, size=r.pkgsize, sum=r.sum, digest=None)
            for r in fetched.catalogue.records
        ]
        digests = [file.digest for file in fetch_all([(fetcher, w) for w in wanted], store=store)]
    assert fetched == fetch(by_fingerprint("trusted"), REPOSITORIES / "fingerprints")
    for record, digest in zip(fetched.catalogue.records, digests, strict=True):
        record.sum.verify_bytes(store.read(digest), what=record.name)
