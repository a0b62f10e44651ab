"""Effects: an existing one is valid, describes itself and has one canonical form."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from pipeline.errors import ScriptError
from pipeline.formats import canonical_json
from pipeline.pkg.effect_fields import check_image_path
from pipeline.pkg.effects import (
    DIRECTORY_ARGUMENT,
    AddGroup,
    AddMember,
    AddShell,
    AddUser,
    ByteOrder,
    CapMkdb,
    CertctlForm,
    CertctlRehash,
    ChangeMode,
    CopySample,
    CreateFile,
    Effect,
    IndexInfo,
    KldXref,
    Ldconfig,
    MakeDirectory,
    PwdMkdb,
    ServicesMkdb,
)

if TYPE_CHECKING:
    from collections.abc import Callable

USER = AddUser(
    name="quill",
    uid=742,
    gid=742,
    login_class="daemon",
    groups=("ink", "nib"),
    comment="Quill",
    home="/",
    shell="/usr/sbin/nologin",
)
ALL: dict[Effect, tuple[str, str]] = {
    PwdMkdb(): (
        '{"effect":"pwd_mkdb"}',
        "make the account databases out of /etc/master.passwd",
    ),
    ServicesMkdb(argument=DIRECTORY_ARGUMENT, byte_order=ByteOrder.LITTLE): (
        '{"argument":"directory","byte_order":"little","effect":"services_mkdb"}',
        "make /var/db/services.db out of a directory, byte order little",
    ),
    ServicesMkdb(argument="/etc/services", byte_order=ByteOrder.NATIVE): (
        '{"argument":"/etc/services","byte_order":"native","effect":"services_mkdb"}',
        "make /var/db/services.db out of /etc/services, byte order native",
    ),
    CapMkdb(path="/etc/login.conf", byte_order=ByteOrder.BIG): (
        '{"byte_order":"big","effect":"cap_mkdb","path":"/etc/login.conf"}',
        "make /etc/login.conf.db out of /etc/login.conf, byte order big",
    ),
    CertctlRehash(form=CertctlForm.C): (
        '{"effect":"certctl_rehash","form":"c"}',
        "rehash the certificates of /etc/ssl (copies and cert.pem)",
    ),
    CertctlRehash(form=CertctlForm.SHELL): (
        '{"effect":"certctl_rehash","form":"shell"}',
        "rehash the certificates of /etc/ssl (links)",
    ),
    Ldconfig(): (
        '{"effect":"ldconfig"}',
        "rebuild the hints of the run-time linker",
    ),
    IndexInfo(directory="/usr/local/info"): (
        '{"directory":"/usr/local/info","effect":"indexinfo"}',
        "index the info files of /usr/local/info",
    ),
    KldXref(directory="/boot/modules"): (
        '{"directory":"/boot/modules","effect":"kldxref"}',
        "skipped: kldxref /boot/modules (kernel modules are loaded by a host, never inside an image)",
    ),
    AddGroup(name="quill", gid=742): (
        '{"effect":"add_group","gid":742,"name":"quill"}',
        "add group quill (742)",
    ),
    USER: (
        '{"comment":"Quill","effect":"add_user","gid":742,"groups":["ink","nib"],"home":"/","login_class":"daemon","name":"quill","shell":"/usr/sbin/nologin","uid":742}',
        "add user quill (742:742, also in ink, nib), home /",
    ),
    AddMember(group="ink", user="quill"): (
        '{"effect":"add_member","group":"ink","user":"quill"}',
        "add user quill to group ink",
    ),
    MakeDirectory(path="/var/db/quill", owner="quill", group="ink", mode=0o750): (
        '{"effect":"make_directory","group":"ink","mode":"0750","owner":"quill","path":"/var/db/quill"}',
        "make directory /var/db/quill (quill:ink 0750)",
    ),
    CopySample(source="/a.sample", target="/a"): (
        '{"effect":"copy_sample","source":"/a.sample","target":"/a"}',
        "copy /a.sample to /a unless it exists",
    ),
    CreateFile(path="/var/log/quill"): (
        '{"effect":"create_file","path":"/var/log/quill"}',
        "make the empty file /var/log/quill unless it exists",
    ),
    AddShell(path="/usr/local/bin/qsh"): (
        '{"effect":"add_shell","path":"/usr/local/bin/qsh"}',
        "add /usr/local/bin/qsh to /etc/shells",
    ),
    ChangeMode(path="/tmp", mode=0o1777): (
        '{"effect":"change_mode","mode":"1777","path":"/tmp"}',
        "change the mode of /tmp to 1777",
    ),
}


def test_every_effect_is_tested() -> None:
    assert {type(effect) for effect in ALL} == set(get_args(Effect))


@pytest.mark.parametrize("effect", ALL, ids=lambda effect: effect.kind)
def test_effect_describes_itself(effect: Effect) -> None:
    document, line = ALL[effect]
    assert canonical_json.dumps(effect.to_dict()).decode().strip() == document
    assert effect.describe() == line


def test_kinds_are_distinct() -> None:
    kinds = [kind.kind for kind in get_args(Effect)]
    assert len(set(kinds)) == len(kinds)


def test_user_without_other_groups_is_short() -> None:
    user = AddUser(
        name="q",
        uid=1,
        gid=2,
        login_class="",
        groups=(),
        comment="",
        home="/nonexistent",
        shell="/bin/sh",
    )
    assert user.describe() == "add user q (1:2), home /nonexistent"


@pytest.mark.parametrize(
    "make",
    [
        lambda: AddGroup(name="", gid=1),
        lambda: AddGroup(name="-a", gid=1),
        lambda: AddGroup(name="a:b", gid=1),
        lambda: AddGroup(name="a b", gid=1),
        lambda: AddGroup(name="a\n", gid=1),
        lambda: AddGroup(name="12", gid=1),
        lambda: AddGroup(name="\u0430", gid=1),
        lambda: AddGroup(name="a" * 33, gid=1),
        lambda: AddGroup(name="a", gid=-1),
        lambda: AddGroup(name="a", gid=2**32 - 1),
        lambda: AddMember(group="a", user="b,c"),
        lambda: ChangeMode(path="/tmp", mode=0o10000),
        lambda: ChangeMode(path="/", mode=0o755),
        lambda: ChangeMode(path="tmp", mode=0o755),
        lambda: CopySample(source="/a", target="/b/../c"),
        lambda: CopySample(source="/a//b", target="/c"),
        lambda: CreateFile(path="/a b"),
        lambda: CreateFile(path="/a\n"),
        lambda: CreateFile(path="/\u2215"),
        lambda: CreateFile(path="/" + "a" * 2000),
        lambda: IndexInfo(directory=""),
        lambda: ServicesMkdb(argument="", byte_order=ByteOrder.BIG),
    ],
)
def test_invalid_effect_cannot_exist(make: Callable[[], Effect]) -> None:
    with pytest.raises(ScriptError):
        make()


def test_root_is_a_path_only_where_it_may_be() -> None:
    assert check_image_path("/", root=True) == "/"
    assert check_image_path("/a", root=True) == "/a"
    with pytest.raises(ScriptError, match="below /"):
        check_image_path("/")


@pytest.mark.parametrize("name", ["_quill", "www", "a.b-c", "machine$", "Debian", "0a", "a" * 32])
def test_names_that_pw_accepts(name: str) -> None:
    assert AddGroup(name=name, gid=0).name == name
