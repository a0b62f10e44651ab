"""The command line of `verify` and `policy`: status, words, attestations; builds in this process."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jsonschema  # type: ignore[import-untyped]
import pytest

from pipeline.host.keys import main as keys_main
from pipeline.host.layout import Layout
from reproducibility import verify_build
from reproducibility.__main__ import main
from tests.attest.signers import TestSigner
from tests.built_images import Workshop
from tests.reproducibility.publication import Publication, build_in_process, flip
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHER = TestSigner(1)
ZONES = b"usr/share/zoneinfo/zone.tab"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.embedded(tmp_path_factory.mktemp("workshop"))


@dataclass
class Desk:
    """A published image, and an empty directory to verify it in."""

    theirs: Publication
    here: Path
    capture: pytest.CaptureFixture[str]

    def image(self, name: str) -> str:
        return f"oci:{self.theirs.images.root}:{name}"

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; its status, and what it said."""
        try:
            status = main(arguments)
        except SystemExit as e:
            status = int(str(e.code))
        out, err = self.capture.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    def verify(self, name: str, *arguments: str) -> tuple[int, str, str]:
        return self.run(
            "verify", self.image(name), "--root", str(ROOT), "--no-diffoscope", *arguments
        )


@pytest.fixture
def desk(
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    build_in_process(monkeypatch, workshop.store)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("COSIGN_PASSWORD", "secret")
    for name in ("PKGBASE_OCI_KEY", "PKGBASE_OCI_VERIFIER_ID", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    (here / "work").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(here / "work"))
    return Desk(Publication(tmp_path, workshop), here, capsys)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rebuilder's keys; opening one takes time, as it should."""
    folder = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSIGN_PASSWORD", "secret")
        assert keys_main(["generate", str(folder / "anna")]) == 0
    return folder


@pytest.fixture
def key(desk: Desk, pair: Path) -> str:
    for path in pair.iterdir():
        shutil.copy(path, desk.here)
    return str(desk.here / "anna.key")


# ---------------------------------------------------------------- verify


def test_reproduced_is_0_and_leaves_nothing_behind(desk: Desk) -> None:
    name = desk.theirs.image()
    desk.theirs.lock(name)
    status, out, _ = desk.verify(name)
    assert (status, out.splitlines()[0]) == (
        0,
        f"✓ Reproduced: bit for bit  {desk.image(name)}",
    )
    assert list((desk.here / "work").iterdir()) == []


def test_different_is_1_with_a_report(desk: Desk) -> None:
    name = desk.theirs.altered(desk.theirs.image(), flip(ZONES))
    desk.theirs.lock(name)
    status, out, _ = desk.verify(name, "--report", "report", "--json", "result.json")
    assert status == 1
    assert out.startswith("≠ Different")
    assert "usr/share/zoneinfo/zone.tab" in out
    assert (desk.here / "report/index.html").is_file()
    result = json.loads((desk.here / "result.json").read_bytes())
    schema = json.loads((ROOT / "docs/schemas/verify.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(result)
    assert (result["verdict"], result["exit_code"]) == ("different", 1)
    assert list((desk.here / "work").iterdir()) == []


def test_could_not_tell_is_2_and_json_goes_to_standard_output(desk: Desk) -> None:
    status, out, _ = desk.verify(desk.theirs.image(), "--json", "-")
    assert (status, json.loads(out)["verdict"]) == (2, "could-not-tell")
    assert desk.verify(desk.theirs.image(), "--quiet")[:2] == (2, "")


def test_a_signature_that_is_required_and_missing_is_1(desk: Desk) -> None:
    name = desk.theirs.image()
    desk.theirs.lock(name)
    (desk.here / "publisher.pub").write_bytes(PUBLISHER.public_key.to_pem())
    arguments = ("--key", "publisher.pub", "--require-signature")
    status, out, _ = desk.verify(name, *arguments)
    assert (status, out[0]) == (1, "✗")
    desk.theirs.sign(name, PUBLISHER)
    status, out, _ = desk.verify(name, *arguments)
    assert status == 0
    assert "signed: by the key that was named" in out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--tries", "0"), "--tries: got '0', want 1 or more"),
        (("--timeout", "-1"), "--timeout: got '-1', want seconds"),
        (("--timeout", "nan"), "--timeout: got 'nan', want seconds"),
        (("--limit", "x"), "--limit: got 'x', want e.g. 500M"),
        (("--root", "/nonexistent"), "--root /nonexistent: no such directory"),
        (("--work", "/nonexistent"), "--work /nonexistent: no such directory"),
        (("--work", "/proc"), "/proc: "),
        (("--key", "/nonexistent"), "public key /nonexistent: no such file"),
        (("--platform", "x"), "got platform 'x', want e.g. freebsd/arm64"),
        (("--platform", "linux/amd64"), "nothing for linux/amd64"),
        (("--lock", "x"), "--lock and --declaration go together"),
        (("--lock", "x", "--declaration", "x"), "x: no such file or directory"),
        (("--target", "15.0:static"), "--target goes with --lock"),
        (("--require-signature",), "wants the publisher's public key"),
        (("--repository", "x"), "got 'x', want NAME=URL"),
        (("--attestations", "oci:work"), "oci:work: is no OCI layout, it has no index.json"),
        (("--attestations", "x y"), "reference 'x y'"),
        (("--output", "x"), "--output and --push go with --attest"),
        (("--attest",), "where does the attestation go?"),
        (("--attest", "--output", "/nonexistent/x"), "/nonexistent/x: no such directory"),
        (("--attest", "--output", "work"), "--output work: is a directory"),
        (("--attest", "--output", "oci:"), "want FILE or oci:PATH"),
        (("--attest", "--push"), "a layout is no registry"),
        (("--attest", "--push", "x y"), "reference 'x y'"),
        (("--attest", "--output", "x", "--verifier-id", "a b"), "got verifier 'a b', want a URI"),
        (("--attest", "--output", "x"), "there is no key to sign the attestation with"),
        (("--attest", "--output", "x", "--signing-key", "/nonexistent"), "no such file"),
        (("--attest", "--output", "x", "--signing-command", "x"), "wants its --public-key"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_any_work(
    desk: Desk, arguments: tuple[str, ...], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_build, "_run", None)
    status, out, err = desk.verify(desk.theirs.image(), *arguments)
    lines = [line for line in err.splitlines() if re.search(r"\berror: ", line)]
    assert (status, out, len(lines)) == (2, "", 1)
    assert error in lines[0]


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("oci:/nonexistent", "'/nonexistent': no such file or directory"),
        ("oci:work", "oci:work: is no OCI layout, it has no index.json"),
        (f"oci-archive:{ROOT}/README.md", f"{ROOT}/README.md: not a tar header"),
        ("x y", "reference 'x y'"),
        ("127.0.0.1:1/x:1", "no connection: connection refused"),
    ],
)
def test_an_image_that_is_none_is_an_error_of_one_line(
    desk: Desk, image: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.host.registry_session.Session.pause", lambda *_: None)
    (desk.here / "policy.toml").write_text(POLICY.replace("KEY", _pem()))
    for arguments in (["verify", image], ["policy", image, "--policy", "policy.toml"]):
        status, out, err = desk.run(*arguments)
        assert (status, out) == (2, "")
        assert error in err.splitlines()[0]


def test_an_interruption_is_no_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    name = desk.theirs.image()
    desk.theirs.lock(name)
    monkeypatch.setattr(verify_build, "_run", interrupt)
    status, out, err = desk.verify(name)
    assert (status, out) == (130, "")
    assert err.endswith("interrupted\n")
    assert list((desk.here / "work").iterdir()) == []


def test_a_bug_of_ours_is_no_answer_either(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("reproducibility.commands.verify.verify", fail)
    assert main(["verify", desk.image(desk.theirs.image())]) == 2
    assert "ZeroDivisionError" in desk.capture.readouterr().err


def test_a_full_disk_is_one_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/x")

    monkeypatch.setattr("reproducibility.commands.verify.verify", fail)
    status, _, err = desk.run("verify", desk.image(desk.theirs.image()))
    assert (status, err) == (2, "error: /x: no space left on device\n")


# ---------------------------------------------------------------- attestations


def test_an_attestation_is_a_file_and_goes_into_a_layout(desk: Desk, key: str) -> None:
    name = desk.theirs.index()
    desk.theirs.lock(name, "15.0:static")
    arguments = ("--attest", "--signing-key", key)
    status, _, err = desk.verify(
        name, *arguments, "--output", "a.json", "--verifier-id", "https://anna.example"
    )
    assert status == 0
    assert err.endswith("attested: a.json\n")
    status, _, _ = desk.verify(name, *arguments, "--output", "oci:statements")
    assert status == 0
    references = Layout(desk.here / "statements").references()
    assert len(references) == 3, "each digest has one that refers to it"
    policy = POLICY.replace("KEY", "anna.pub")
    (desk.here / "policy.toml").write_text(policy)
    image = ("policy", desk.image(name), "--policy", "policy.toml")
    assert desk.run(*image)[0] == 1
    assert desk.run(*image, "--attestation", "a.json")[0] == 0
    assert desk.run(*image, "--attestations", "oci:statements")[0] == 0
    (desk.here / "policy.toml").write_text(policy.replace("#", "verifier_id ='https://x.example'#"))
    status, out, _ = desk.run(*image, "--attestation", "a.json", "--json", "result.json")
    assert status == 1
    assert "calls its verifier 'https://anna.example', want 'https://x.example'" in out
    assert out.endswith("where more are kept, or --attestation FILE\n")
    schema = json.loads((ROOT / "docs/schemas/policy-result.schema.json").read_bytes())
    result = json.loads((desk.here / "result.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(result)


def test_a_failure_is_attested_where_the_publisher_stands_by_the_lock(desk: Desk, key: str) -> None:
    """And refuses."""
    name = desk.theirs.altered(desk.theirs.image(), flip(ZONES))
    own = desk.theirs.workshop
    desk.theirs.lock(name)
    arguments = ("--attest", "--signing-key", key, "--output", "a.json")
    status, _, err = desk.verify(name, *arguments)
    assert status == 1
    assert "not attested: it is different, but anybody can attach a lock" in err
    (desk.here / "publisher.pub").write_bytes(PUBLISHER.public_key.to_pem())
    desk.theirs.vouch(name, PUBLISHER, own.raw_declaration, own.raw_lock)
    status, _, err = desk.verify(name, *arguments, "--key", "publisher.pub")
    assert status == 1
    assert err.endswith("attested: a.json\n")
    (desk.here / "policy.toml").write_text(POLICY.replace("KEY", "anna.pub"))
    status, out, _ = desk.run(
        *("policy", desk.image(name), "--policy", "policy.toml", "--attestation", "a.json")
    )
    assert status == 1
    assert "freebsd/amd64: anna could not reproduce it" in out


def test_what_is_not_certain_is_not_attested(desk: Desk, key: str) -> None:
    arguments = ("--attest", "--signing-key", key, "--output", "a.json")
    status, _, err = desk.verify(desk.theirs.image(), *arguments)
    assert status == 2
    assert err.endswith("not attested: there is no certain result\n")
    assert not (desk.here / "a.json").exists()


def test_with_files_of_ones_own_the_attestation_names_them(desk: Desk, key: str) -> None:
    status, _, _ = desk.verify(
        desk.theirs.image(),
        *("--lock", str(ROOT / "images.lock.json"), "--declaration", str(ROOT / "images.toml")),
        *("--attest", "--signing-key", key, "--output", "oci:statements"),
    )
    assert status == 0
    (desk.here / "policy.toml").write_text(POLICY.replace("KEY", "anna.pub"))
    store = desk.here / "statements/blobs/sha256"
    (bundle,) = [p for p in store.iterdir() if b"dsseEnvelope" in p.read_bytes()]
    statement = json.loads(_payload(bundle.read_bytes()))
    inputs = [one["name"] for one in statement["predicate"]["inputAttestations"]]
    assert inputs == ["images.toml", "images.lock.json"]


def _payload(raw: bytes) -> bytes:
    return b64decode(json.loads(raw)["dsseEnvelope"]["payload"])


# ---------------------------------------------------------------- policy


POLICY = """\
format = 1
threshold = 1
[[rebuilders]]
name = "anna"
key = '''KEY'''
#
"""


def _pem() -> str:
    return PUBLISHER.public_key.to_pem().decode()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "policy.toml: no such file or directory"),
        ("x", "policy.toml: not TOML"),
        (POLICY, "policy.toml: rebuilders[0].key: KEY: no such file or directory"),
        (POLICY.replace("1", "2"), "policy.toml: "),
    ],
)
def test_a_policy_that_is_none_is_an_error_of_one_line(
    desk: Desk, text: str | None, error: str
) -> None:
    if text is not None:
        (desk.here / "policy.toml").write_text(text)
    status, out, err = desk.run("policy", "oci:work", "--policy", "policy.toml")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {error}")
    assert "Traceback" not in err


def test_what_cannot_be_read_makes_it_uncertain(desk: Desk) -> None:
    """Unless somebody has failed: that refuses, whatever else there is."""
    name = desk.theirs.image()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "size": 2,
            },
            "layers": [
                {
                    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                    "digest": f"sha256:{'0' * 64}",
                    "size": 100,
                }
            ],
            "subject": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": str(desk.theirs.names[name].digest),
                "size": desk.theirs.names[name].size,
            },
        }
    ).encode()
    desk.theirs.artifact(manifest)
    (desk.here / "policy.toml").write_text(POLICY.replace("KEY", _pem()))
    status, out, _ = desk.run("policy", desk.image(name), "--policy", "policy.toml")
    assert status == 2
    assert out.startswith("? Could not tell")
    assert "note: referrer " in out
