"""Nothing around the process changes a byte: hash seed, time zone, locale, umask, folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]

SCRIPT: Final = """
import hashlib, pathlib, sys
sys.path.insert(0, {root!r})
from pipeline.formats.db185_header import ByteOrder
from pipeline.rootfs.sysdb.capabilities import build_login_conf_db
from pipeline.rootfs.sysdb.certificates import LinkFamily, rehash_copies, rehash_links
from pipeline.rootfs.sysdb.hints import build_ld_elf_hints
from pipeline.rootfs.sysdb.passwd import build_passwd, build_pwd_db, build_spwd_db
from pipeline.rootfs.sysdb.passwd import parse_master_passwd
from pipeline.rootfs.sysdb.services import build_services_db
data = pathlib.Path({root!r}, "fixtures", "sysdb")
little = ByteOrder.LITTLE
master = parse_master_passwd((data / "pwd_mkdb/users-300/input/master.passwd").read_bytes())
certs = data / "certctl/rehash-basic/input"
files = {{
    str(p.relative_to(certs)): p.read_bytes() for p in set(certs.rglob("*")) if p.is_file()
}}
services = (data / "services_mkdb/realistic-500/input/services").read_bytes()
classes = (data / "cap_mkdb/login-basic/input/full/login.conf").read_bytes()
results = [
    build_pwd_db(master),
    build_spwd_db(master),
    build_passwd(master, keep_comments=True),
    build_services_db(services, lorder=little),
    build_login_conf_db(classes, lorder=little),
    build_ld_elf_hints(["/lib", "/usr/lib"], byte_order=little),
    rehash_copies(files, localbase="usr/local"),
    *(rehash_links(files, localbase="usr/local", family=f) for f in LinkFamily),
]
for r in results:
    print(hashlib.sha256(r if isinstance(r, bytes) else repr(r).encode()).hexdigest())
"""


def digests(tmp_path: Path, umask: int, **environment: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(root=str(ROOT))],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **environment},
        umask=umask,
    )
    return result.stdout.split()


@pytest.mark.slow
def test_surroundings_do_not_matter(tmp_path: Path) -> None:
    plain = digests(tmp_path, 0o022, PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C")
    other = digests(
        tmp_path, 0o077, PYTHONHASHSEED="4711", TZ="Asia/Tokyo", LC_ALL="tr_TR.UTF-8", LANG="tr_TR"
    )
    assert len(plain) == 9
    assert plain == other
