"""Running programs: the one place that starts processes.

1. A program gets the environment that it is given, nothing else; its standard input is what it is
   given, or empty.
2. It has a session of its own, so that all of it can be ended, and it is: when its time is over,
   when it says too much, and when we are interrupted.
3. Secrets go through standard input or the environment, never into the arguments, which are shown
   to every user of the machine and stand in our errors.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

from pipeline.errors import CommandError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PIECE: Final = 1 << 16
_KEPT_STDERR: Final = 8192
"""Bytes at the end of a program's complaints that an error keeps."""
_GRACE: Final = 2.0
"""Seconds between asking a program to end and ending it."""
_GLANCE: Final = 0.2
"""Seconds of silence after which to look whether a program is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How a program has ended and what it wrote; that may be secret, so `repr` does not show it."""

    status: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


def inherited(*names: str) -> dict[str, str]:
    """Return some variables of our own environment, of those that are set; all without names."""
    return {name: os.environ[name] for name in names or tuple(os.environ) if name in os.environ}


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    timeout: float = 60.0,
    limit: int = 1 << 20,
    check: bool = True,
) -> Output:
    """Run a program to its end.

    Args:
        argv: the program, looked up in the PATH of its environment, and its arguments (3).
        environment: all of its environment.
        stdin: what it reads.
        timeout: seconds it may take.
        limit: bytes that it may write, to standard output and to standard error each.
        check: whether an exit status other than 0 is an error.

    Raises:
        ConfigurationError: there is no such program.
        CommandError: it failed, took too long or wrote too much.
    """
    process = _start(argv, environment, stderr=subprocess.PIPE)
    try:
        output = _Dialogue(process, argv, stdin=stdin, timeout=timeout, limit=limit).finish()
    finally:
        _end(process)
    if check and output.status:
        text = output.stderr[-_KEPT_STDERR:].decode("utf-8", "replace")
        raise CommandError(argv, output.status, text)
    return output


def run_in_view(
    argv: Sequence[str], *, environment: Mapping[str, str], timeout: float, limit: int
) -> Output:
    """Run a program to its end, as `run` does; what it complains of goes to our standard error.

    At once: that is where it says what it is doing. The exit status is no error.
    """
    process = _start(argv, environment, stderr=None)
    try:
        return _Dialogue(process, argv, stdin=b"", timeout=timeout, limit=limit).finish()
    finally:
        _end(process)


def _start(
    argv: Sequence[str], environment: Mapping[str, str], *, stderr: int | None
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  - a program and its arguments, no shell
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=dict(environment),
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"{argv[0]}: there is no such program") from None
    except OSError as e:
        reason = (e.strerror or "cannot be run").lower()
        raise ConfigurationError(f"{argv[0]}: {reason}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of a program (2), and close our side of its pipes."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, end)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


class _Dialogue:
    """Feed a program and hear it, without ever waiting for only one of the two."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        argv: Sequence[str],
        *,
        stdin: bytes,
        timeout: float,
        limit: int,
    ) -> None:
        assert process.stdin is not None, "these two are pipes"
        assert process.stdout is not None
        self._process = process
        self._argv = argv
        self._input: IO[bytes] = process.stdin
        self._left = memoryview(stdin)
        self._limit = limit
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._output: IO[bytes] = process.stdout
        self._errors: IO[bytes] | None = process.stderr
        pipes = [self._output] if self._errors is None else [self._output, self._errors]
        self._heard: dict[IO[bytes], bytearray] = {pipe: bytearray() for pipe in pipes}

    def finish(self) -> Output:
        with selectors.DefaultSelector() as selector:
            for pipe in self._heard:
                selector.register(pipe.fileno(), selectors.EVENT_READ, pipe)
            os.set_blocking(self._input.fileno(), False)
            selector.register(self._input.fileno(), selectors.EVENT_WRITE, self._input)
            while selector.get_map():
                ready = selector.select(min(self._remaining(), _GLANCE))
                if not ready and self._process.poll() is not None:
                    break  # it has left something behind that keeps its pipes open
                for key, _ in ready:
                    if not self._serve(key.data):
                        selector.unregister(key.fileobj)
                        key.data.close()
        return self._verdict()

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._error(f"not ready after {self._timeout:g} s")
        return left

    def _serve(self, pipe: IO[bytes]) -> bool:
        """Move what can be moved; say whether more may follow."""
        return self._feed() if pipe is self._input else self._hear(pipe)

    def _feed(self) -> bool:
        try:
            sent = os.write(self._input.fileno(), self._left[:_PIECE]) if self._left else 0
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it does not want to hear more
            return False
        self._left = self._left[sent:]
        return bool(self._left)

    def _hear(self, pipe: IO[bytes]) -> bool:
        data = os.read(pipe.fileno(), _PIECE)
        heard = self._heard[pipe]
        heard += data
        if len(heard) > self._limit:
            raise self._error(f"wrote more than {self._limit} bytes")
        return bool(data)

    def _verdict(self) -> Output:
        try:
            status = self._process.wait(self._remaining())
        except subprocess.TimeoutExpired:
            raise self._error(f"not ready after {self._timeout:g} s") from None
        stderr = b"" if self._errors is None else bytes(self._heard[self._errors])
        return Output(status=status, stdout=bytes(self._heard[self._output]), stderr=stderr)

    def _error(self, text: str) -> CommandError:
        return CommandError(self._argv, -signal.SIGKILL, text)
