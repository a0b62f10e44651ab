"""Programs: what they get, what is heard of them, and that they end."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import CommandError, ConfigurationError
from pipeline.host.command import Output, inherited, run, run_in_view

if TYPE_CHECKING:
    from pathlib import Path

PATH = {"PATH": os.environ["PATH"]}


def python(code: str, **arguments: object) -> Output:
    return run([sys.executable, "-Sc", code], environment=PATH, **arguments)  # type: ignore[arg-type]


def test_what_it_writes_is_returned() -> None:
    output = python("import sys; print('out'); print('err', file=sys.stderr)")
    assert (output.status, output.stdout, output.stderr) == (0, b"out\n", b"err\n")


def test_complaints_can_be_seen_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """They are progress; what it writes to standard output is still returned."""
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(2)"
    argv = [sys.executable, "-Sc", code]
    output = run_in_view(argv, environment=PATH, timeout=20, limit=100)
    assert (output.status, output.stdout, output.stderr) == (2, b"out\n", b"")
    assert capfd.readouterr() == ("", "err\n")
    with pytest.raises(CommandError, match="more than 2 bytes"):
        run_in_view(argv, environment=PATH, timeout=20, limit=2)


def test_it_reads_what_it_is_given_however_long() -> None:
    data = os.urandom(1 << 20)
    output = python("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", stdin=data)
    assert output.stdout == data


def test_it_need_not_read() -> None:
    assert python("print('done')", stdin=bytes(1 << 20)).stdout == b"done\n"


def test_it_has_no_other_environment() -> None:
    code = "import os; print(sorted(k for k in os.environ if k != 'LC_CTYPE'))"
    output = run([sys.executable, "-Sc", code], environment={"PATH": "/bin", "A": "1"})
    assert output.stdout == b"['A', 'PATH']\n"


def test_inherited_are_only_those_that_are_named_and_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_HERE", "1")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert inherited("SET_HERE", "NOT_SET") == {"SET_HERE": "1"}
    assert inherited() == dict(os.environ)


def test_failure_is_an_error_with_the_last_line() -> None:
    with pytest.raises(CommandError, match="exit status 3: last") as caught:
        python("import sys; print('first\\nlast', file=sys.stderr); sys.exit(3)")
    assert caught.value.status == 3
    assert caught.value.argv[0] == sys.executable


def test_failure_can_be_an_answer() -> None:
    output = python("import sys; print('no'); sys.exit(1)", check=False)
    assert (output.status, output.stdout) == (1, b"no\n")


def test_no_program_is_an_error_of_the_machine() -> None:
    with pytest.raises(ConfigurationError, match="no-such-program: there is no such program"):
        run(["no-such-program"], environment=PATH)


def test_what_is_no_program_is_an_error_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("hello")
    with pytest.raises(ConfigurationError, match="permission denied"):
        run([str(path)], environment=PATH)


def test_one_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = "import sys, time; time.sleep(0.5); open(sys.argv[1], 'w')"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-Sc', {child!r}, {str(mark)!r}])\n"
        "time.sleep(60)\n"
    )
    started = time.monotonic()
    with pytest.raises(CommandError, match=r"not ready after 0\.2 s"):
        python(code, timeout=0.2)
    assert time.monotonic() - started < 3
    time.sleep(0.45)
    assert not mark.exists()


def test_one_that_writes_too_much_is_ended() -> None:
    with pytest.raises(CommandError, match="wrote more than 1000 bytes"):
        python("while True: print('x' * 100)", limit=1000)


def test_one_that_leaves_a_daemon_behind_has_ended() -> None:
    """The agent that GnuPG starts its agent, which may keep our pipes open."""
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-Sc', 'import time; time.sleep(4)'])\n"
        "print('done')\n"
    )
    started = time.monotonic()
    assert python(code).stdout == b"done\n"
    assert time.monotonic() - started < 3.5


def test_output_is_not_shown() -> None:
    assert "secret" not in repr(python("print('secret')"))


def test_input_that_nobody_reads_is_given_up_with_it() -> None:
    code = "import os, time; os.close(0); time.sleep(0.1); print('done')"
    assert python(code, stdin=bytes(1 << 20)).stdout == b"done\n"


def test_one_that_closes_its_output_and_stays_is_ended() -> None:
    with pytest.raises(CommandError, match=r"not ready after 0\.3 s"):
        python("import os, time; os.close(1); os.close(2); time.sleep(60)", timeout=0.3)
