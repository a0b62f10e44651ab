"""Scripts of packages: what the known ones do, and that nothing else passes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pipeline.pkg
from fixtures.scripts.texts import package, read_texts
from pipeline.errors import ScriptError
from pipeline.formats import canonical_json
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
from pipeline.pkg.scripts import Language, Treatment, recognise, script_digest
from pipeline.pkg.shell import parse_shell

KNOWN = read_texts("known")
REFUSED = read_texts("refused")


def user(name: str, uid: int, home: str, comment: str, **more: object) -> AddUser:
    fields: dict[str, object] = {
        "name": name,
        "uid": uid,
        "gid": uid,
        "login_class": "",
        "groups": (),
        "comment": comment,
        "home": home,
        "shell": "/usr/sbin/nologin",
        **more,
    }
    return AddUser(**fields)  # type: ignore[arg-type]


ACCOUNTS: tuple[Effect, ...] = (
    AddGroup(name="_quill", gid=742),
    AddGroup(name="inkwell", gid=743),
    user("_quill", 742, "/var/db/quill", "Quill's scribe & (clerk)"),
    MakeDirectory(path="/var/db/quill", owner="_quill", group="_quill", mode=0o755),
    AddMember(group="inkwell", user="_quill"),
)
SAMPLE = CopySample(source="/usr/local/etc/quill.conf.sample", target="/usr/local/etc/quill.conf")
NIBS = CopySample(source="/usr/local/share/quill/nibs.dist", target="/usr/local/etc/quill/nibs")
INFO = IndexInfo(directory="/usr/local/share/info")
OLD_INFO = IndexInfo(directory="/usr/local/info")
SERVICES = ServicesMkdb(argument=DIRECTORY_ARGUMENT, byte_order=ByteOrder.LITTLE)

EXPECTED: dict[str, tuple[Effect, ...]] = {
    "accounts-2017.pre-install.sh": ACCOUNTS,
    "accounts-2025.pre-install.sh": ACCOUNTS,
    "accounts-without-root.pre-install.sh": (
        AddGroup(name="parchment", gid=744),
        user(
            "parchment",
            744,
            "/nonexistent",
            "Parchment",
            login_class="daemon",
            groups=("operator", "wheel"),
        ),
    ),
    "caroot-15.post-install.sh": (CertctlRehash(form=CertctlForm.C),),
    "certctl-14.post-install.sh": (CertctlRehash(form=CertctlForm.SHELL),),
    "info-2013.post-install.sh": (OLD_INFO,),
    "info.post-install.sh": (INFO,),
    "kernel-old.post-install.sh": (KldXref(directory="/boot/kernel"),),
    "kld.post-install.sh": (KldXref(directory="/boot/modules"),),
    "ldconfig-2017.post-install.sh": (Ldconfig(),),
    "ldconfig-and-info.post-install.sh": (Ldconfig(), INFO, OLD_INFO),
    "ldconfig.post-install.sh": (Ldconfig(),),
    "phases.install.sh": (AddGroup(name="nib", gid=745), INFO),
    "runtime-14.post-install.sh": (
        PwdMkdb(),
        ServicesMkdb(argument="/etc/services", byte_order=ByteOrder.LITTLE),
        ChangeMode(path="/tmp", mode=0o1777),
    ),
    "runtime-15.post-install.sh": (PwdMkdb(), SERVICES),
    "runtime-big-endian.post-install.sh": (
        PwdMkdb(),
        ServicesMkdb(argument=DIRECTORY_ARGUMENT, byte_order=ByteOrder.BIG),
    ),
    "sample-2013.post-install.sh": (SAMPLE,),
    "sample-2016-two.post-install.sh": (NIBS,),
    "sample-2016.post-install.sh": (SAMPLE,),
    "sample-2019.post-install.lua": (SAMPLE,),
    "sample-2021-two.post-install.lua": (NIBS,),
    "sample-2025.post-install.lua": (SAMPLE,),
    "sample-by-arguments.post-install.lua": (
        CopySample(source="/usr/local/share/quill/nibs.dist", target="/etc/nibs"),
    ),
    "shell-2016.post-install.sh": (AddShell(path="/usr/local/bin/qsh"),),
    "shell.post-install.lua": (AddShell(path="/usr/local/bin/qsh"),),
    "talk.post-install.sh": (),
    "talk.pre-install.lua": (),
    "touch.post-install.lua": (
        CreateFile(path="/usr/local/var/log/quill.log"),
        CreateFile(path="/var/db/nibs"),
    ),
    "utilities-14.post-install.sh": (CapMkdb(path="/etc/login.conf", byte_order=ByteOrder.LITTLE),),
    "utilities-no-flag.post-install.sh": (
        CapMkdb(path="/etc/login.conf", byte_order=ByteOrder.NATIVE),
    ),
}


def effects(text: str, kind: str = "post-install") -> tuple[Effect, ...]:
    (script,) = recognise(package((kind, text)), skip={})
    return script.effects


def refusal(text: str, kind: str = "post-install") -> str:
    with pytest.raises(ScriptError) as caught:
        recognise(package((kind, text)), skip={})
    return str(caught.value)


# ---------------------------------------------------------------- known


def test_every_known_script_has_an_expectation() -> None:
    assert KNOWN.keys() == EXPECTED.keys()
    assert REFUSED


@pytest.mark.parametrize("name", KNOWN)
def test_known_script_gives_its_effects(name: str) -> None:
    (script,) = recognise(KNOWN[name].package(), skip={})
    assert script.effects == EXPECTED[name]
    assert script.treatment is Treatment.COMPUTED
    assert script.digest == script_digest(KNOWN[name].text)


def test_concatenation_gives_all_effects_in_order() -> None:
    """Source: libpkg/pkg_ports.c, append_script one keyword after the other."""
    names = [name for name, t in KNOWN.items() if (t.kind, t.language) == ("post-install", "sh")]
    text = "".join(KNOWN[name].text for name in names)
    assert effects(text) == tuple(effect for name in names for effect in EXPECTED[name])


def test_trimmed_script_gives_the_same_effects() -> None:
    """The trimmed text is what pkg keeps; a line may start with what was indented."""
    for name, script in KNOWN.items():
        if script.language == "sh":
            assert effects(script.text.strip(), script.kind) == EXPECTED[name]


@pytest.mark.parametrize(
    "text",
    [
        "pwd_mkdb -i -p -d ${PKG_ROOTDIR}/etc ${PKG_ROOTDIR}/etc/master.passwd",
        "\tpwd_mkdb   -p\t-i -d${PKG_ROOTDIR}/etc   ${PKG_ROOTDIR}/etc/master.passwd   # all",
        'pwd_mkdb -ip -d "${PKG_ROOTDIR}/etc" "${PKG_ROOTDIR}"/etc/master.passwd;',
        "/usr/sbin/pwd_mkdb \\\n  -p -d $PKG_ROOTDIR/etc \\\n  $PKG_ROOTDIR/etc/master.passwd",
        "#!/bin/sh\n\n\n'pwd_mkdb' -pd ${PKG_ROOTDIR}//etc/ -- ${PKG_ROOTDIR}/etc/master.passwd\n",
        'd=${PKG_ROOTDIR}/etc\npwd_mkdb -p -d "$d" ${d}/master.passwd || exit 1',
        "true && pwd_mkdb -p -d ${PKG_ROOTDIR}/etc ${PKG_ROOTDIR}/etc/master.passwd >/dev/null 2>&1",
    ],
    ids=["plain", "blanks", "quotes", "continued", "strange", "variable", "and"],
)
def test_white_space_quotes_and_spelling_do_not_matter(text: str) -> None:
    assert effects(text) == (PwdMkdb(),)


@pytest.mark.parametrize(
    "change",
    [
        ("===> Creating groups", "===> Creating groups."),
        ("===> Creating users", "--- making users, please wait ($ & ;) ---"),
        ("Using existing group '_quill'", "there is a '_quill'."),
        (" || exit $?", ""),
        (" || exit $?", " || exit 1"),
        ("  ${PW}", "\t\t$PW"),
        (">/dev/null 2>&1; then", "> /dev/null 2> /dev/null\nthen"),
        ('-c "Quill\'s scribe & (clerk)"', "-c 'Quill'\\''s scribe & (clerk)'"),
        ("groupadd _quill -g 742", "groupadd -g 742 -n _quill"),
        ("-u 742 -g 742  -c", "-g 742 -u 742 -c"),
        (
            "install ${MDBDIR} -d -g _quill -o _quill",
            "install -m 0755 ${MDBDIR} -d -o _quill -g _quill",
        ),
        ("| grep -qw _quill", "| grep -w _quill >/dev/null"),
        ('[ "${PKG_ROOTDIR}" != "/" ]', "test ! $PKG_ROOTDIR = /"),
    ],
    ids=lambda change: change[1].strip()[:30],
)
def test_years_of_the_accounts_template_agree(change: tuple[str, str]) -> None:
    text = KNOWN["accounts-2025.pre-install.sh"].text
    assert change[0] in text
    assert effects(text.replace(*change), "pre-install") == ACCOUNTS


def test_prefix_comes_from_the_package() -> None:
    text = 'file="${PKG_PREFIX}/share/info/quill.info"\nindexinfo ${PKG_ROOTDIR}${file%/*}'
    (script,) = recognise(package(("post-install", text), prefix="/opt/quill"), skip={})
    assert script.effects == (IndexInfo(directory="/opt/quill/share/info"),)


def test_install_script_is_read_for_both_phases() -> None:
    (script,) = recognise(KNOWN["phases.install.sh"].package(), skip={})
    assert script.before == (AddGroup(name="nib", gid=745),)
    assert script.after == (INFO,)


def test_script_may_leave_early_with_success() -> None:
    text = 'if [ "$2" != "POST-INSTALL" ]; then\n  exit 0\nfi\nkldxref ${PKG_ROOTDIR}/boot/modules'
    (script,) = recognise(package(("install", text)), skip={})
    assert script.before == ()
    assert script.after == (KldXref(directory="/boot/modules"),)


def test_order_of_scripts_is_that_of_pkg() -> None:
    """Source: libpkg/pkg_add.c, pkg_add_common and pkg_script_run."""
    manifest = package(
        ("install", "echo"),
        ("post-install", "echo"),
        ("pre-install", "echo"),
        ("post-deinstall", "rm -rf /"),
    )
    kinds = [script.kind for script in recognise(manifest, skip={})]
    assert kinds == ["pre-install", "post-install", "install", "post-deinstall"]


def test_package_without_scripts_has_none() -> None:
    assert recognise(package(), skip={}) == ()


def test_script_of_comments_does_nothing() -> None:
    assert effects("# nothing\n\n   # at all") == ()
    assert effects("") == ()


@pytest.mark.parametrize(
    "condition",
    [
        '[ -z "" ]',
        "[ ! -n '' ]",
        "! false",
        "false || true",
        '[ "${PKG_METALOG:-a b}" = "a b" ]',
        "[ 1 -eq 01 ] && [ 1 -ne 2 ]",
        "test -n x </dev/null >>/dev/null",
        "case $PKG_NAME in q?ill) true;; esac",
    ],
)
def test_condition_is_decided_from_the_text(condition: str) -> None:
    text = f"if {condition}; then indexinfo /usr/local/info; fi"
    assert effects(text) == (OLD_INFO,)
    assert effects(text.replace("then", "then echo; else")) == ()


def test_exit_within_a_condition_ends_the_script() -> None:
    assert effects("if exit 0; then echo; else echo; fi\nindexinfo /usr/local/info") == ()
    assert effects("exit 0 && echo\nindexinfo /usr/local/info") == ()


# ---------------------------------------------------------------- near misses

MISSES = {
    "extra flag of pwd_mkdb": "pwd_mkdb -C -p -d ${PKG_ROOTDIR}/etc ${PKG_ROOTDIR}/etc/master.passwd",
    "pwd_mkdb without -p": "pwd_mkdb -d ${PKG_ROOTDIR}/etc ${PKG_ROOTDIR}/etc/master.passwd",
    "pwd_mkdb of another file": "pwd_mkdb -p -d ${PKG_ROOTDIR}/etc ${PKG_ROOTDIR}/etc/other",
    "pwd_mkdb into another directory": "pwd_mkdb -p -d ${PKG_ROOTDIR}/tmp ${PKG_ROOTDIR}/etc/master.passwd",
    "extra operand of pwd_mkdb": "pwd_mkdb -p -d /etc /etc/master.passwd /etc/passwd",
    "services_mkdb without -o": "services_mkdb -l -q ${PKG_ROOTDIR}/",
    "services_mkdb with both orders": "services_mkdb -l -b -o ${PKG_ROOTDIR}/var/db/services.db ${PKG_ROOTDIR}/",
    "services_mkdb elsewhere": "services_mkdb -l -o ${PKG_ROOTDIR}/etc/services.db ${PKG_ROOTDIR}/",
    "services_mkdb of another file": "services_mkdb -o ${PKG_ROOTDIR}/var/db/services.db /etc/protocols",
    "cap_mkdb with an output": "cap_mkdb -f /tmp/x ${PKG_ROOTDIR}/etc/login.conf",
    "certctl without a destination": "certctl rehash",
    "certctl with two destinations": "env DESTDIR=/ certctl -D/ rehash",
    "certctl with another command": "certctl -D${PKG_ROOTDIR}/ untrust foo.pem",
    "certctl with a METALOG": "certctl -D${PKG_ROOTDIR}/ -U -M /tmp/log rehash",
    "certctl of another root": "certctl -D/mnt rehash",
    "env with another variable": "env PATH=/tmp certctl -D${PKG_ROOTDIR} rehash",
    "env with DESTDIR twice": "env DESTDIR=/ DESTDIR=/ certctl rehash",
    "env with another program": "env DESTDIR=/ pwd_mkdb -p -d /etc /etc/master.passwd",
    "env with exit": "env exit 0",
    "env alone": "env",
    "variable in front of a command": "LD_PRELOAD=/tmp/x.so certctl -D${PKG_ROOTDIR}/ rehash",
    "DESTDIR in front of another command": "DESTDIR=/ chmod 1777 ${PKG_ROOTDIR}/tmp",
    "ldconfig of another directory": "/sbin/ldconfig -m /opt/lib",
    "ldconfig without -m": "/sbin/ldconfig /usr/local/lib",
    "other service": "service quilld restart",
    "service start": "service ldconfig start",
    "service with one more word": "service ldconfig restart now",
    "indexinfo with a flag": "indexinfo -v ${PKG_ROOTDIR}/usr/local/share/info",
    "indexinfo of a relative path": "indexinfo share/info",
    "indexinfo of two": "indexinfo /usr/local/info /usr/local/share/info",
    "indexinfo outside by dots": "indexinfo ${PKG_ROOTDIR}/../etc",
    "indexinfo beside the root": "indexinfo ${PKG_ROOTDIR}x/usr/local/info",
    "kldxref with a flag": "kldxref -R ${PKG_ROOTDIR}/boot/kernel",
    "chmod of a symbolic mode": "chmod u+s ${PKG_ROOTDIR}/bin/sh",
    "chmod recursively": "chmod -R 777 ${PKG_ROOTDIR}/",
    "chmod of two": "chmod 1777 /tmp /var/tmp",
    "chmod of too many digits": "chmod 01777 ${PKG_ROOTDIR}/tmp",
    "install without owner": "install -d -g wheel /var/db/quill",
    "install of a file": "install -o root -g wheel a b",
    "install with other accounts": "install -N /tmp -d -g wheel -o root /var/db/quill",
    "install with a symbolic mode": "install -d -m u=rwx -g wheel -o root /var/db/quill",
    "install with flags": "install -d -f schg -g wheel -o root /var/db/quill",
    "install for an id": "install -d -g 0 -o 0 /var/db/quill",
    "copy without a question": "cp -p /usr/local/etc/a.sample /usr/local/etc/a",
    "copy without -p": "[ -f /etc/a ] || cp /usr/local/etc/a.sample /etc/a",
    "copy to what was not asked for": "[ -f /etc/a ] || cp -p /usr/local/etc/a.sample /etc/b",
    "copy if it exists": "[ -f /etc/a ] && cp -p /usr/local/etc/a.sample /etc/a",
    "copy and change the mode": "[ -f /etc/a ] || { cp -p /b /etc/a && chmod 600 /etc/a; }",
    "effect that hangs on a file": "if [ -f /etc/a ]; then indexinfo /usr/local/info; fi",
    "effect that hangs on another program": "[ -x /nonexistent/pwd_mkdb ] && pwd_mkdb -p -d /etc /etc/master.passwd",
    "certctl if there is no certctl": "[ -x /usr/sbin/certctl ] || certctl -D/ rehash",
    "certctl if there is another": "[ -x /usr/local/sbin/certctl ] && certctl -D/ rehash",
    "two questions": "[ -f /a ] && [ -x /usr/sbin/certctl ] && certctl -D/ rehash",
    "questions one in the other": "if [ -f /a ]; then if [ -x /usr/sbin/certctl ]; then certctl -D/ rehash; fi; fi",
    "unknown command": "quillctl rehash",
    "unknown command behind exit": "exit 0\nquillctl rehash",
    "unknown command in a dead branch": 'if [ -n "${INSTALL_AS_USER}" ]; then quillctl; fi',
    "unknown command behind true": "true || quillctl",
    "unknown command in a dead clause": "case a in b) quillctl;; esac",
    "unknown path of a known program": "/usr/local/sbin/pwd_mkdb -p -d /etc /etc/master.passwd",
    "program of the root directory": "${PKG_ROOTDIR}/usr/sbin/pwd_mkdb -p -d /etc /etc/master.passwd",
    "known name with a suffix": "pwd_mkdb.sh -p -d /etc /etc/master.passwd",
    "name in capitals": "PWD_MKDB -p -d /etc /etc/master.passwd",
    "removal behind a known statement": "kldxref ${PKG_ROOTDIR}/boot/kernel;rm -rf /",
    "removal behind echo": "echo done && rm -rf ${PKG_ROOTDIR}/",
    "removal on the next line": "kldxref ${PKG_ROOTDIR}/boot/kernel\nrm -rf /usr/local",
    "command substitution": 'echo "$(touch /tmp/x)"',
    "command substitution in a variable": "x=$(touch /tmp/x)",
    "command substitution in a default": "echo ${PKG_METALOG:-$(touch /tmp/x)}",
    "backticks": "echo `touch /tmp/x`",
    "backticks in quotes": 'echo "`touch /tmp/x`"',
    "arithmetic": "echo $((1+1))",
    "redirection to a file": "echo quill > ${PKG_ROOTDIR}/etc/quill",
    "redirection that appends": "echo quill >> /etc/rc.conf",
    "redirection of stderr to a file": "echo quill 2>/tmp/x",
    "redirection by a variable": "n=/etc/passwd\necho quill >$n",
    "redirection from a file": "true < /etc/passwd",
    "redirection of another descriptor": "echo quill 3>/dev/null",
    "redirection to another descriptor": "echo quill >&7",
    "redirection of ten": "echo quill 10>/dev/null",
    "redirection of a test": "[ -n x ] > /etc/x",
    "redirection of a condition": "if true; then echo; fi > /etc/x",
    "redirection of a pipeline": "pw groupshow a >/dev/null | grep -qw b",
    "here-document": "cat <<EOT\nquill\nEOT",
    "background": "kldxref ${PKG_ROOTDIR}/boot/kernel &",
    "eval": 'eval "touch /tmp/x"',
    "sourcing": ". /etc/rc.subr",
    "exec": "exec touch /tmp/x",
    "function": "certctl() { touch /tmp/x; }\ncertctl -D/ rehash",
    "function by keyword": "function certctl { touch /tmp/x; }",
    "alias": "alias certctl=touch\ncertctl -D/ rehash",
    "trap": "trap 'touch /tmp/x' EXIT",
    "loop": "for i in a b; do echo $i; done",
    "loop with while": "while true; do echo; done",
    "braces": "{ echo; }",
    "subshell": "(echo quill)",
    "pipeline to a shell": "echo 'touch /tmp/x' | sh",
    "longer pipeline": "pw groupshow a | grep -qw b | true",
    "pipeline of something else": "echo a | grep -qw a",
    "pipeline with pw in the second place": "pw groupshow a | pw groupshow b",
    "pipeline of a compound": "if true; then echo; fi | grep -qw a",
    "search for part of a word": "if ! pw groupshow a | grep -q b; then pw groupmod a -m b; fi",
    "search that speaks": "if ! pw groupshow a | grep -w b; then pw groupmod a -m b; fi",
    "search in another answer": "if ! pw usershow a | grep -qw b; then pw groupmod a -m b; fi",
    "search for two": "if ! pw groupshow a | grep -qw b c; then pw groupmod a -m b; fi",
    "variable of the environment": "echo $HOME/x",
    "variable that nobody set": "echo ${QUILL}",
    "assignment to PATH": "PATH=/tmp:/bin",
    "assignment to IFS": "IFS=:",
    "assignment to PKG_ROOTDIR": "PKG_ROOTDIR=/tmp",
    "assignment to LD_PRELOAD": "LD_PRELOAD=/tmp/x.so",
    "export": "export PATH=/tmp",
    "pattern for names of files": "indexinfo /usr/local/inf*",
    "pattern in a variable": "x='/usr/local/inf*'\nindexinfo $x",
    "tilde": "indexinfo ~/info",
    "tilde in an assignment": 'x=~\n[ "$x" = "~" ] && indexinfo /usr/local/info',
    "tilde in a default": 'x=${INSTALL_AS_USER:-~}\n[ "$x" = "~" ] && indexinfo /usr/local/info',
    "format that fails": "printf %d quill && indexinfo /usr/local/info",
    "format that is none": "printf -v x && indexinfo /usr/local/info",
    "format that is not there": "printf && indexinfo /usr/local/info",
    "format with a number": "printf '\\101'",
    "format out of a variable": 'x=%d\nprintf "$x" quill && indexinfo /usr/local/info',
    "unknown operator of an expansion": "echo ${PKG_NAME#q}",
    "assigning expansion": "echo ${PKG_NAME:=x}",
    "longest suffix": "x=/a/b\nindexinfo ${x%%/*}",
    "suffix with a set": "x=/a/b\nindexinfo ${x%[ab]}",
    "all arguments": 'echo "$@"',
    "process id": "echo $$",
    "dollar quote": "echo $'x'",
    "unicode look-alike of a letter": "\u0435cho quill",
    "unicode look-alike of a command": "'\u0440w' groupshow quill",
    "unicode look-alike of a slash": "indexinfo '/usr/local\u2215info'",
    "unicode blank": "echo\u00a0quill",
    "unicode semicolon": "echo quill\uff1b",
    "unicode in a comment of an account": "if ! pw usershow q; then pw useradd q -u 1 -g 1 -c 'Qu\u0456ll' -d / -s /bin/sh; fi",
    "carriage return": "echo quill\r\n",
    "escape character": "echo '\x1b[2J'",
    "test whose answer goes nowhere": "[ -n x ] ; [ -f /etc/x ]\necho",
    "false test in the middle": '[ -z "${PKG_NAME}" ]\necho',
    "unknown test": "[ /a -nt /b ]",
    "test without bracket": "[ -n x",
    "test of two conditions": "[ -n x -a -n y ]",
    "numeric test of a word": "[ $# -eq one ]",
    "script that fails": "exit 1",
    "script that fails in the end": '[ -z "${PKG_NAME}" ] && echo',
    "exit of an unknown status": "[ -f /etc/a ] && exit 0",
    "exit under a question": "if pw usershow a; then exit 0; fi\necho",
    "exit with two arguments": "exit 0 0",
    "exit with a word": "exit well",
    "variable under a question": "if [ -f /etc/a ]; then x=1; fi",
    "failure with set -e": "set -e\nif [ -f /etc/a ]; then [ -f /etc/b ]; fi\necho",
    "set with other options": "set -x",
    "set with words": "set a b",
    "cd elsewhere": "cd /tmp",
    "cd home": "cd",
    "two lists in a clause": "case a in a) echo;; esac esac",
    "open quote": "echo 'quill",
    "open double quote": 'echo "quill',
    "open expansion": "echo ${PKG_NAME",
    "open if": "if true; then echo",
    "open case": "case a in a) echo",
    "empty command by a variable": "x=''\n$x",
    "name of the root directory": 'if [ "${PKG_ROOTDIR}" = "/mnt" ]; then indexinfo /usr/local/info; fi',
    "no name of the root directory": 'if [ "/mnt" != "${PKG_ROOTDIR}" ]; then indexinfo /usr/local/info; fi',
    "name of the root directory that decides nothing": '[ "x${PKG_ROOTDIR}" = "x/mnt" ] || true',
    "path in the root directory": 'test "${PKG_ROOTDIR}/etc" = "/mnt/etc" && echo',
    "length of the root directory": 'case "${PKG_ROOTDIR}" in /????) echo;; esac',
    "beginning of the root directory": 'case "${PKG_ROOTDIR}" in /mnt*) echo;; esac',
    "end of the root directory": 'case "${PKG_ROOTDIR}/" in */jail/) echo;; esac',
    "root directory behind something": '[ "/a${PKG_ROOTDIR}" = "${PKG_ROOTDIR}/a" ] || true',
    "what depends on the root directory": 'if [ "${PKG_ROOTDIR}" = "/" ]; then indexinfo /usr/local/info; fi',
}  # fmt: skip


@pytest.mark.parametrize("name", MISSES)
def test_near_miss_is_refused(name: str) -> None:
    assert refusal(MISSES[name]).startswith("quill-1.0_1, post-install script")


PW_MISSES = {
    "add without a question": "pw groupadd a -g 1",
    "question about another group": "if ! pw groupshow b; then pw groupadd a -g 1; fi",
    "question about a user": "if ! pw usershow a; then pw groupadd a -g 1; fi",
    "question the other way round": "if pw groupshow a; then pw groupadd a -g 1; fi",
    "group without an id": "if ! pw groupshow a; then pw groupadd a; fi",
    "group with a name for an id": "if ! pw groupshow a; then pw groupadd a -g b; fi",
    "group with a flag": "if ! pw groupshow a; then pw groupadd a -g 1 -o; fi",
    "group with an id twice": "if ! pw groupshow a; then pw groupadd a -g 1 -g 2; fi",
    "group with members": "if ! pw groupshow a; then pw groupadd a -g 1 -M root; fi",
    "group with a huge id": "if ! pw groupshow a; then pw groupadd a -g 4294967295; fi",
    "group called by a number": "if ! pw groupshow 80; then pw groupadd 80 -g 80; fi",
    "group with a strange name": "if ! pw groupshow 'a:b'; then pw groupadd 'a:b' -g 1; fi",
    "two names": "if ! pw groupshow a; then pw groupadd a b -g 1; fi",
    "another root": "if ! pw -R /mnt groupshow a; then pw -R /mnt groupadd a -g 1; fi",
    "another etc": "if ! pw -V /etc groupshow a; then pw -V /etc groupadd a -g 1; fi",
    "another subcommand": "pw userdel root",
    "no subcommand": "pw",
    "root without a subcommand": "pw -R ${PKG_ROOTDIR}",
    "user with a home made": "if ! pw usershow a; then pw useradd a -u 1 -g 1 -c a -d /a -s /bin/sh -m; fi",
    "user with a password": "echo secret | pw useradd a -u 1 -g 1 -c a -d /a -s /bin/sh -h 0",
    "user without a comment": "if ! pw usershow a; then pw useradd a -u 1 -g 1 -d /a -s /bin/sh; fi",
    "user without a shell": "if ! pw usershow a; then pw useradd a -u 1 -g 1 -c a -d /a; fi",
    "user of a named group": "if ! pw usershow a; then pw useradd a -u 1 -g a -c a -d /a -s /bin/sh; fi",
    "user with a colon": "if ! pw usershow a; then pw useradd a -u 1 -g 1 -c a:0:0 -d /a -s /bin/sh; fi",
    "user with a colon in the home": "if ! pw usershow a; then pw useradd a -u 1 -g 1 -c a -d /a:b -s /bin/sh; fi",
    "user with a line break": "if ! pw usershow a; then pw useradd a -u 1 -g 1 -c 'a\nb' -d /a -s /bin/sh; fi",
    "user with a relative home": "if ! pw usershow a; then pw useradd a -u 1 -g 1 -c a -d a -s /bin/sh; fi",
    "user with an empty group": "if ! pw usershow a; then pw useradd a -u 1 -g 1 -G '' -c a -d /a -s /bin/sh; fi",
    "value missing": "if ! pw groupshow a; then pw groupadd a -g; fi",
    "member of another group": "if ! pw groupshow a | grep -qw b; then pw groupmod c -m b; fi",
    "another member": "if ! pw groupshow a | grep -qw b; then pw groupmod a -m c; fi",
    "two members": "if ! pw groupshow a | grep -qw b; then pw groupmod a -m b,c; fi",
    "member who is an expression": "if ! pw groupshow a | grep -qw b.c; then pw groupmod a -m b.c; fi",
    "member of another group called alike": "if ! pw groupshow a | grep -qw a; then pw groupmod b -x a; fi",
    "directory with the user": "if ! pw usershow a; then install -d -o a -g a /var/a; fi",
    "directory under a question": "[ -d /var/a ] || install -d -o a -g a /var/a",
    "elif": "if pw usershow a; then echo; elif pw usershow b; then pw groupadd c -g 1; fi",
}  # fmt: skip


@pytest.mark.parametrize("name", PW_MISSES)
def test_near_miss_of_accounts_is_refused(name: str) -> None:
    assert refusal(PW_MISSES[name], "pre-install").startswith("quill-1.0_1, pre-install script")


@pytest.mark.parametrize(
    ("group", "name"), [("www", "www"), ("www-data", "www"), ("a.b", "b"), ("a-b", "a-b")]
)
def test_user_called_like_the_group_never_becomes_a_member(group: str, name: str) -> None:
    """Grep finds the name at the start of the group's own line."""
    text = f"if ! pw groupshow {group} | grep -qw {name}; then pw groupmod {group} -m {name}; fi\n"
    (script,) = recognise(package(("pre-install", text)), skip={})
    assert script.effects == ()
    text = text.replace(f"-qw {name}", "-qw ww").replace(f"-m {name}", "-m ww")
    (script,) = recognise(package(("pre-install", text)), skip={})
    assert script.effects == (AddMember(group=group, user="ww"),)


@pytest.mark.parametrize(
    "change",
    [
        ('grep -v "^${file}$"', 'grep -v "${file}"'),
        ("grep -v", "grep -i -v"),
        ("; echo ${file})", "; echo ${file}; echo /bin/evil)"),
        ("; echo ${file})", "; echo /bin/evil)"),
        ("> ${PKG_ROOTDIR}/etc/shells", "> ${PKG_ROOTDIR}/etc/passwd"),
        ("> ${PKG_ROOTDIR}/etc/shells", ">> ${PKG_ROOTDIR}/etc/shells"),
        ("> ${PKG_ROOTDIR}/etc/shells", "> ${PKG_ROOTDIR}/etc/shells 2>/dev/null"),
        ("rm -f", "rm -rf"),
        ("rm -f", "2>/dev/null rm -f"),
        ("rm -f ${PKG_ROOTDIR}/etc/shells.bak", "rm -f ${PKG_ROOTDIR}/etc/shells"),
        ("cp ${PKG_ROOTDIR}/etc/shells", "cp ${PKG_ROOTDIR}/etc/passwd"),
        ("echo ${file}", "echo ${file}*"),
        ("echo ${file}", "echo bin/qsh"),
    ],
    ids=lambda change: change[1][:40],
)
def test_near_miss_of_the_shells_block_is_refused(change: tuple[str, str]) -> None:
    text = KNOWN["shell-2016.post-install.sh"].text
    assert change[0] in text
    refusal(text.replace(*change))


@pytest.mark.parametrize("name", REFUSED)
def test_foreign_script_is_refused(name: str) -> None:
    with pytest.raises(ScriptError, match=r"^quill-1\.0_1, .*not understood"):
        recognise(REFUSED[name].package(), skip={})


def test_nul_is_refused() -> None:
    """The manifest refuses it first; the recogniser would too."""
    with pytest.raises(ScriptError, match="control character"):
        parse_shell("echo \0")


# ---------------------------------------------------------------- what a refusal says


def test_refusal_names_package_kind_line_and_statement() -> None:
    text = "echo fine\n\nsysrc  quilld_enable=YES\t>/dev/null\n"
    assert refusal(text) == (
        "quill-1.0_1, post-install script, line 3: not understood:"
        " unknown command 'sysrc' in 'sysrc quilld_enable=YES >/dev/null'"
    )


def test_refusal_is_one_line_and_shows_no_control_characters() -> None:
    text = "echo 'a\x1b[31m'\n"
    with pytest.raises(ScriptError) as caught:
        recognise(package(("post-install", text)), skip={})
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert caught.value.hint is not None
    assert "\x1b" not in caught.value.hint


def test_refusal_names_the_root_directory_as_a_variable() -> None:
    assert "${PKG_ROOTDIR}/usr" in refusal("${PKG_ROOTDIR}/usr/sbin/pw groupshow a")


def test_hint_shows_the_text_and_the_three_choices() -> None:
    text = "echo fine\nsysrc quilld_enable=YES\n"
    with pytest.raises(ScriptError) as caught:
        recognise(package(("post-install", text)), skip={})
    hint = caught.value.hint or ""
    assert "  | sysrc quilld_enable=YES" in hint
    assert f'skip = [{{ digest = "{script_digest(text)}", reason = "…" }}]' in hint
    assert "declare" in hint
    assert "leave out package quill" in hint


def test_hint_of_a_long_script_is_cut() -> None:
    with pytest.raises(ScriptError) as caught:
        recognise(package(("post-install", "sysrc\n" + "# x\n" * 5000)), skip={})
    assert len(caught.value.hint or "") < 20_000


def test_too_long_a_script_is_refused() -> None:
    assert "want at most" in refusal("#" * (1 << 18) + "\n")


def test_growing_variable_is_refused() -> None:
    text = "x=aaaaaaaaaaaaaaaa\n" + "x=$x$x\n" * 30
    assert "want at most 1024" in refusal(text)


def test_too_many_variables_are_refused() -> None:
    text = "".join(f"v{number}=1\n" for number in range(300))
    assert "more than 256 variables" in refusal(text)


def test_deep_nesting_is_refused() -> None:
    assert "deep" in refusal("if true; then\n" * 40 + "echo\n" + "fi\n" * 40)
    assert "deep" in refusal("echo " + "${PKG_NAME:-" * 40 + "}" * 40)


# ---------------------------------------------------------------- skipped and recorded


def test_skipped_script_is_reported_with_its_reason() -> None:
    text = REFUSED["starts-a-service.post-install.sh"].text
    digest = str(script_digest(text))
    (script,) = recognise(package(("post-install", text)), skip={digest: "no service runs here"})
    assert script.treatment is Treatment.SKIPPED
    assert script.effects == ()
    assert script.describe() == "post-install: skipped (no service runs here)"
    assert script.to_dict() == {
        "kind": "post-install",
        "language": "sh",
        "digest": digest,
        "treatment": "skipped",
        "effects": [],
        "reason": "no service runs here",
    }


def test_skip_covers_just_its_digest() -> None:
    text = REFUSED["starts-a-service.post-install.sh"].text
    with pytest.raises(ScriptError):
        recognise(package(("post-install", text + "\n")), skip={str(script_digest(text)): "x"})


def test_lua_script_can_be_skipped() -> None:
    script = REFUSED["runs-a-program.post-install.lua"]
    (result,) = recognise(script.package(), skip={str(script_digest(script.text)): "no fonts"})
    assert result.language is Language.LUA
    assert result.describe() == "lua post-install: skipped (no fonts)"


@pytest.mark.parametrize("kind", ["pre-deinstall", "post-deinstall", "deinstall"])
def test_deinstall_script_is_recorded_and_not_read(kind: str) -> None:
    (script,) = recognise(package((kind, "rm -rf / $(")), skip={})
    assert script.treatment is Treatment.RECORDED
    assert script.effects == ()
    assert script.describe() == f"{kind}: recorded, never run"


def test_canonical_form_is_json() -> None:
    for name, script in KNOWN.items():
        (result,) = recognise(script.package(), skip={})
        document = result.to_dict()
        assert canonical_json.dumps(document)
        assert document["effects"] == [effect.to_dict() for effect in EXPECTED[name]]
        assert "\n" not in result.describe()


def test_description_names_every_effect() -> None:
    (script,) = recognise(KNOWN["ldconfig-and-info.post-install.sh"].package(), skip={})
    assert script.describe() == (
        "post-install: rebuild the hints of the run-time linker;"
        " index the info files of /usr/local/share/info; index the info files of /usr/local/info"
    )
    (script,) = recognise(KNOWN["talk.post-install.sh"].package(), skip={})
    assert script.describe() == "post-install: nothing to do"


# ---------------------------------------------------------------- nothing runs


MODULES = (
    "effect_fields",
    "effects",
    "lua_scripts",
    "patterns",
    "script_accounts",
    "script_arguments",
    "script_blocks",
    "script_commands",
    "script_expand",
    "script_walk",
    "scripts",
    "shell",
    "shell_tree",
    "shell_words",
    "triggers",
)
HARMLESS = {
    "__future__",
    "collections.abc",
    "dataclasses",
    "enum",
    "pipeline.errors",
    "re",
    "typing",
}


@pytest.mark.parametrize("module", MODULES)
def test_module_cannot_run_anything(module: str) -> None:
    """It imports nothing that could, and calls no eval, exec, open, compile or __import__."""
    source = Path(pipeline.pkg.__path__[0], f"{module}.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= HARMLESS
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            assert name in HARMLESS or name.startswith(("pipeline.pkg.", "pipeline.formats."))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {
                "eval",
                "exec",
                "open",
                "compile",
                "__import__",
                "getattr",
            } or (module == "effects" and node.func.id == "getattr")


def test_hostile_script_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script would create two files, one of them in the current directory."""
    planted = tmp_path / "planted"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PKG_ROOTDIR", str(tmp_path))
    text = f"echo first\ntouch {planted}\ntouch planted-too\necho x > {planted}\n"
    for kind in ("pre-install", "post-install", "install"):
        assert f"unknown command 'touch' in 'touch {planted}'" in refusal(text, kind)
    lua = f'io.open("{planted}", "w"):close()\nos.execute("touch {planted}")\n'
    with pytest.raises(ScriptError, match="unknown lua"):
        recognise(package(("post-install", lua), language="lua"), skip={})
    digest = str(script_digest(text))
    recognise(package(("post-install", text)), skip={digest: "not needed"})
    recognise(package(("deinstall", text)), skip={})
    assert list(tmp_path.iterdir()) == []
