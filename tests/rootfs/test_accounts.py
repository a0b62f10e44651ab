"""Accounts: an image's own ids, never the host's."""

from __future__ import annotations

import pytest

from pipeline.errors import FormatError
from pipeline.rootfs.accounts import ROOT_ONLY, Accounts, parse_accounts

MASTER = b"""# $FreeBSD$
#
root::0:0::0:0:Charlie &:/root:/bin/sh
toor:*:0:0::0:0:Bourne-again Superuser:/root:

  # indented comment
operator:*:2:5::0:0:System &:/:/usr/sbin/nologin
nobody:*:65534:65534::0:0:Unprivileged user:/nonexistent:/usr/sbin/nologin
m\xfcller:*:1001:1001::0:0::/:/bin/sh
quill:*:1002:1002::0:0:a\x0bb\x0cc\x1cd\xc2\x85e\xe2\x80\xa8f\rg:/:/bin/sh
operator:*:99:99::0:0:again:/:/bin/sh
+:::::::::
-nobody:::::::::
"""
GROUP = b"wheel:*:0:root\noperator:*:5:root\nnogroup:*:65533:\nbig:*:4294967294:\n"


def test_names_have_the_ids_of_the_images_files() -> None:
    """passwd(5) and group(5): third field; comments and NIS lines are passed over."""
    accounts = parse_accounts(MASTER, GROUP)
    assert accounts == Accounts(
        users={
            "root": 0,
            "toor": 0,
            "operator": 2,
            "nobody": 65534,
            "m\udcfcller": 1001,
            "quill": 1002,
        },
        groups={"wheel": 0, "operator": 5, "nogroup": 65533, "big": 4294967294},
    )


def test_the_first_of_a_name_counts() -> None:
    """As in getpwnam(3)."""
    assert parse_accounts(MASTER, GROUP).uid("operator") == 2


def test_an_id_is_itself_and_an_unknown_name_is_nobody() -> None:
    """Entries may have been resolved already."""
    accounts = parse_accounts(MASTER, GROUP)
    assert (accounts.uid("root"), accounts.gid("operator")) == (0, 5)
    assert (accounts.uid(7), accounts.gid(8)) == (7, 8)
    assert (accounts.uid("www"), accounts.gid("www")) == (None, None)


def test_an_image_without_files_knows_root_and_wheel() -> None:
    """And no other owner."""
    assert (ROOT_ONLY.uid("root"), ROOT_ONLY.gid("wheel")) == (0, 0)
    assert (ROOT_ONLY.uid("bin"), ROOT_ONLY.gid("operator")) == (None, None)


@pytest.mark.parametrize(
    ("master", "group", "context", "message"),
    [
        (b"root\n", b"", "/etc/master.passwd, line 1", "got 'root', want name:*:id:"),
        (b"#\nroot:*:0\n", b"", "/etc/master.passwd, line 2", "got 'root:*:0'"),
        (b"", b"wheel:*:x:\n", "/etc/group, line 1", "got 'wheel:*:x:'"),
        (b"", b"wheel:*::\n", "/etc/group, line 1", "got 'wheel:*::'"),
        (b"", b"wheel:*:-1:\n", "/etc/group, line 1", "got 'wheel:*:-1:'"),
        (b"", "wheel:*:٣:\n".encode(), "/etc/group, line 1", "got 'wheel:*:٣:'"),
        (b"", b"big:*:4294967295:\n", "/etc/group, line 1", "got id 4294967295, want at most"),
        (b"", b"big:*:" + b"9" * 5000 + b":\n", "/etc/group, line 1", f"got id {'9' * 60}, want"),
    ],
)
def test_errors_have_the_file_and_the_line(
    master: bytes, group: bytes, context: str, message: str
) -> None:
    """An id of -1 means no owner to chown(2)."""
    with pytest.raises(FormatError) as caught:
        parse_accounts(master, group)
    assert caught.value.context == context
    assert caught.value.message.startswith(message)
