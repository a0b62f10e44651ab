"""Accounts that scripts add: what pw(8) would make of master.passwd and group, and refuse."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ScriptError
from pipeline.pkg.effects import AddGroup, AddMember, AddUser, CreateFile, Effect
from pipeline.rootfs.account_files import AccountFiles, account_names, add_accounts

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = "root:*:0:0::0:0:Charlie &:/root:/bin/sh"
FILES = AccountFiles(
    f"# comment\n{ROOT}\nwww:*:80:80::0:0:Web:/:/bin/sh\n".encode(),
    b"wheel:*:0:root\noperator:*:5:root\nwww:*:080:\n",
)


def user(name: str, uid: int, gid: int, *groups: str) -> AddUser:
    return AddUser(
        name=name,
        uid=uid,
        gid=gid,
        login_class="daemon",
        groups=groups,
        comment="Quill",
        home="/nonexistent",
        shell="/usr/sbin/nologin",
    )


def test_new_accounts_are_appended_as_pw_does() -> None:
    effects: tuple[Effect, ...] = (
        AddGroup(name="quill", gid=742),
        user("quill", 742, 742, "operator"),
        AddMember(group="www", user="quill"),
        CreateFile(path="/passed/over"),
    )
    after = add_accounts(FILES, effects, of_scripts=True)
    assert after.master_passwd == FILES.master_passwd + (
        b"quill:*:742:742:daemon:0:0:Quill:/nonexistent:/usr/sbin/nologin\n"
    )
    assert (
        after.group == b"wheel:*:0:root\noperator:*:5:root,quill\nwww:*:080:quill\nquill:*:742:\n"
    )


def test_a_last_line_without_an_end_gets_one() -> None:
    files = AccountFiles(ROOT.encode(), b"wheel:*:0:root")
    effects: tuple[Effect, ...] = (
        AddGroup(name="quill", gid=742),
        user("quill", 742, 742, "wheel"),
    )
    after = add_accounts(files, effects, of_scripts=True)
    assert after.group == b"wheel:*:0:root,quill\nquill:*:742:\n"
    assert after.master_passwd.startswith(f"{ROOT}\nquill:".encode())


def test_existing_names_are_kept_with_the_groups_they_have() -> None:
    """The script asks `pw usershow` first: of a user who is there, nothing is changed."""
    effects: tuple[Effect, ...] = (
        AddGroup(name="www", gid=99),
        user("www", 99, 99, "operator"),
    )
    assert add_accounts(FILES, effects, of_scripts=True) == FILES
    member = AddMember(group="wheel", user="root")
    assert add_accounts(FILES, [member], of_scripts=True) == FILES


def test_names_are_those_of_entries() -> None:
    data = b"# a\n  # b\n\nc:*:1:\n+:::\n-d:::\n  e:*:2:\n"
    assert account_names(data) == (b"c", b"e")
    effects: tuple[Effect, ...] = (AddGroup(name="quill", gid=742), user("quill", 742, 742))
    after = add_accounts(
        AccountFiles(b"#quill:*:742:0::0:0::/:/\n", b"#quill:*:742:\n"), effects, of_scripts=True
    )
    assert after.group == b"#quill:*:742:\nquill:*:742:\n"


@pytest.mark.parametrize(
    ("effects", "message"),
    [
        ([AddGroup(name="web", gid=80)], "add group web (80): 'www' has that id already"),
        ([AddGroup(name="kmem", gid=0)], "add group kmem (0): 'wheel' has that id already"),
        (
            [user("web", 80, 80)],
            "add user web (80:80), home /nonexistent: 'www' has that id already",
        ),
        (
            [AddGroup(name="a", gid=742), AddGroup(name="b", gid=742)],
            "add group b (742): 'a' has that id already",
        ),
        (
            [user("web", 81, 81)],
            "add user web (81:81), home /nonexistent: the image has no group 81",
        ),
        (
            [user("web", 81, 80, "nib")],
            "user 'web' is to be a member of group 'nib', which the image does not have",
        ),
        (
            [AddMember(group="nib", user="root")],
            "user 'root' is to be a member of group 'nib', which the image does not have",
        ),
    ],
)
def test_what_pw_refuses_is_refused(effects: Sequence[Effect], message: str) -> None:
    """pw(8) would fail, the script would go on, and its files would belong to somebody else."""
    with pytest.raises(ScriptError) as caught:
        add_accounts(FILES, effects, of_scripts=True)
    assert str(caught.value) == message
    assert "`accounts`" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("members", "by_script", "declared"),
    [
        (b"", b"quill", b"quill"),
        (b"quill", b"quill", b"quill"),
        (b"root,quill", b"root,quill", b"root,quill"),
        (b"quill-pen", b"quill-pen", b"quill-pen,quill"),
        (b"a,b.quill,c", b"a,b.quill,c", b"a,b.quill,c,quill"),
        (b"_quill,quill2", b"_quill,quill2,quill", b"_quill,quill2,quill"),
    ],
)
def test_a_member_is_looked_for_as_grep_does(
    members: bytes, by_script: bytes, declared: bytes
) -> None:
    """`pw groupshow www | grep -qw quill`: a word of another member's name is found, too."""
    files = AccountFiles(ROOT.encode(), b"www:*:80:" + members + b"\n")
    member = AddMember(group="www", user="quill")
    for of_scripts, want in ((True, by_script), (False, declared)):
        after = add_accounts(files, [member], of_scripts=of_scripts)
        assert after.group == b"www:*:80:" + want + b"\n"


@pytest.mark.parametrize("members", [b"", b"quill", b"quill-pen", b"_quill,a.quill", b"quill2"])
def test_grep_itself_agrees(members: bytes) -> None:
    line = b"www:*:80:" + members + b"\n"
    found = subprocess.run(["grep", "-qw", "quill"], input=line, check=False).returncode == 0
    files = AccountFiles(ROOT.encode(), line)
    after = add_accounts(files, [AddMember(group="www", user="quill")], of_scripts=True)
    assert (after == files) is found


def test_the_groups_of_a_new_user_are_no_words() -> None:
    """pw(8) adds them by itself, and asks nobody."""
    files = AccountFiles(ROOT.encode(), b"www:*:80:quill-pen\nquill:*:742:\n")
    after = add_accounts(files, [user("quill", 742, 742, "www")], of_scripts=True)
    assert after.group == b"www:*:80:quill-pen,quill\nquill:*:742:\n"
