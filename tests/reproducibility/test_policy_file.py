"""The policy: what can be said, and what makes no sense."""

from __future__ import annotations

import json
import re
import tomllib

import jsonschema  # type: ignore[import-untyped]
import pytest

from pipeline.errors import ConfigurationError
from reproducibility.policy_file import MAX_POLICY, Policy, json_schema, parse_policy
from tests.attest.signers import TestSigner
from tests.elsewhere import ROOT

DAY = 24 * 3600
ANNA, BEN, CLEO = (TestSigner(n) for n in range(1, 4))
PEMS = {f"{n}.pub": s.public_key.to_pem() for n, s in (("anna", ANNA), ("ben", BEN))}
TEXT = """
format = 1
threshold = 2
[[rebuilders]]
name = "anna"
key = "anna.pub"
[[rebuilders]]
name = "ben"
key = "ben.pub"
verifier_id = "https://ben.example"
"""


def parse(text: str) -> Policy:
    def read(name: str) -> bytes:
        if name not in PEMS:
            raise FileNotFoundError(2, "No such file or directory")
        return PEMS[name]

    return parse_policy(text.encode(), read)


def test_a_policy_is_read_with_its_keys() -> None:
    read = parse(TEXT)
    assert [(r.name, r.key, r.verifier) for r in read.rebuilders] == [
        ("anna", ANNA.public_key, ""),
        ("ben", BEN.public_key, "https://ben.example"),
    ]
    assert (read.threshold, read.publisher, read.maximal_age) == (2, None, None)
    assert read.requires_all_platforms
    assert read.refuses_failure


def test_everything_can_be_said() -> None:
    pem = CLEO.public_key.to_pem().decode()
    head = 'require_all_platforms = false\non_failure = "report"\nmaximal_age_days = 90\n'
    read = parse(head + TEXT + f'[publisher]\nkey = """\n{pem}"""\n')
    assert read.publisher == CLEO.public_key
    assert not read.requires_all_platforms
    assert not read.refuses_failure
    assert read.maximal_age == 90 * DAY


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"ben.pub"', '"anna.pub"', "'anna' and 'ben' have one key, and would be one rebuilder"),
        ('"ben"', '"anna"', "two rebuilders are called 'anna'"),
        ("threshold = 2", "threshold = 3", "threshold 3 cannot be met by 2 rebuilders"),
        ("threshold = 2", "threshold = 0", "threshold"),
        ("threshold = 2", 'threshold = "2"', "threshold"),
        ("threshold = 2\n", "", "missing required field `threshold`"),
        ("format = 1", "format = 2", "format"),
        ("format = 1", "format = 1\nthresold = 1", "unknown field `thresold`"),
        ('"ben.pub"', '"none.pub"', "rebuilders[1].key: none.pub: no such file"),
        ('"ben.pub"', '"-----BEGIN x"', "rebuilders[1].key: not a public key in PEM"),
        ('name = "ben"', 'name = ""', "name"),
        ("format = 1", "maximal_age_days = 0\nformat = 1", "maximal_age_days"),
        ("format = 1", 'on_failure = "x"\nformat = 1', "on_failure"),
        ("format = 1", "format = ", "not TOML"),
        ("format = 1", "a = " + "[" * 5000, "not TOML"),
        ("[[rebuilders]]", "[publisher]\nkey = 'anna.pub'\n[[rebuilders]]", "'anna' have one key"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigurationError) as caught:
        parse(TEXT.replace(old, new, 1))
    assert message in str(caught.value)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte 0"):
        parse_policy(b"\xff", lambda _: b"")
    with pytest.raises(ConfigurationError, match="longer than"):
        parse_policy(b"#" * (MAX_POLICY + 1), lambda _: b"")


def test_the_schema_is_that_of_the_code() -> None:
    path = ROOT / "docs/schemas/policy.schema.json"
    want = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert path.read_text("utf-8") == want
    validator = jsonschema.Draft202012Validator(json.loads(want))
    validator.validate(tomllib.loads(TEXT))
    assert not validator.is_valid({**tomllib.loads(TEXT), "thresold": 1})


def test_the_example_of_the_documentation_is_one() -> None:
    text = (ROOT / "docs/verify.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.+?)```", text, re.DOTALL)
    names = ("alice", "bob", "freebsd-rebuilds", "images")
    keys = {f"{name}.pub": TestSigner(n) for n, name in enumerate(names, 1)}
    read = parse_policy(example.encode(), lambda name: keys[name].public_key.to_pem())
    assert (read.threshold, len(read.rebuilders), read.maximal_age) == (2, 3, 90 * DAY)
    assert read.publisher == keys["images.pub"].public_key
    schema = json.loads((ROOT / "docs/schemas/policy.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(tomllib.loads(example))
