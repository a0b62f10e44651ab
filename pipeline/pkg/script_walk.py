"""A walk through the statements of a package script, collecting what they do.

Nothing runs: conditions are decided from the text, commands are looked up in `script_commands`.

1. Every statement must be understood, also in branches that are never taken and behind `exit`.
2. A condition is true, false, or a question to the image. A branch that hangs on a question may do
   only what that very question guards: add a group that is missing, copy a sample whose target is
   missing, and so on (`_wanted`). Effects that want a guard are refused without it.
3. A branch that hangs on a question changes no variable and does not exit.
4. A test whose answer goes nowhere is refused, and so is a script that fails. After `set -e` every
   list of statements wants to be true.
5. Redirections go to /dev/null, or from one of stdout and stderr to the other.
6. Variables that other programs read from the environment are not assigned.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.pkg.effects import (
    AddGroup,
    AddMember,
    AddShell,
    AddUser,
    CertctlRehash,
    CopySample,
)
from pipeline.pkg.script_accounts import is_member
from pipeline.pkg.script_arguments import Query, Question, negated, read_number
from pipeline.pkg.script_blocks import added_shell
from pipeline.pkg.script_commands import program_name, run_command
from pipeline.pkg.script_compare import matches
from pipeline.pkg.script_expand import expand_command, expand_pattern, expand_text
from pipeline.pkg.shell_tree import AndOr, Case, Command, If, Pipeline
from pipeline.pkg.shell_words import not_understood, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.pkg.effects import Effect
    from pipeline.pkg.script_arguments import Status
    from pipeline.pkg.script_expand import Environment
    from pipeline.pkg.shell_tree import Redirection, Statement

_ENVIRONMENT_RE: Final = re.compile(
    r"(?:BASH|LC|LD|MALLOC|PKG)_.*|CDPATH|DESTDIR|ENV|HOME|IFS|INSTALL_AS_USER|LANG|LOCALBASE"
    r"|LOGNAME|OLDPWD|OPTARG|OPTIND|PATH|PS[124]|PWD|SHELL|TERM|TMPDIR|TZ|USER"
)
_ASSIGNED_RE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
MAX_VARIABLES: Final = 256
"""Variables of a script; the templates have five."""

_CERTCTL: Final = Question(Query.PROGRAM, ("/usr/sbin/certctl",), holds=True)
_UNDECIDED: Final = Question(None, (), holds=True)


def walk(statements: Sequence[Statement], environment: Environment) -> tuple[Effect, ...]:
    """Return what the statements do, in order.

    Raises:
        ScriptError: if any of them is not understood; the context is the line.
    """
    walker = _Walker(environment)
    if walker.run(statements) is False:
        raise not_understood("the script fails", line=statements[-1].line)
    return tuple(walker.effects)


def _wanted(effect: Effect) -> Question | None:
    """Return the question that must guard an effect; None for one that needs no guard."""
    match effect:
        case AddGroup(name=name):
            return Question(Query.GROUP, (name,), holds=False)
        case AddUser(name=name):
            return Question(Query.USER, (name,), holds=False)
        case AddMember(group=group, user=user):
            return Question(Query.MEMBER, (group, user), holds=False)
        case CopySample(target=target):
            return Question(Query.FILE, (target,), holds=False)
        case _:
            return None


class _Walker:
    """The state of one walk: variables, effects, the questions that hang above."""

    def __init__(
        self,
        environment: Environment,
        *,
        guards: tuple[Question, ...] = (),
        is_dead: bool = False,
    ) -> None:
        self.environment = environment
        self.effects: list[Effect] = []
        self.has_exited = False
        self._guards = guards
        self._is_dead = is_dead

    # ---------------------------------------------------------------- lists

    def run(self, statements: Sequence[Statement], *, is_condition: bool = False) -> Status:
        """Walk through a list; return its status."""
        status: Status = True
        at = 0
        while at < len(statements):
            if self.has_exited:
                self._pass_over(statements[at:])
                break
            shell = added_shell(statements[at : at + 3], self.environment)
            if shell is not None:
                self._emit(AddShell(path=shell))
                at += 3
                continue
            statement = statements[at]
            at += 1
            status = self._statement(statement)
            self._remember(status)
            is_answer = is_condition and at == len(statements)
            if status is True or is_answer or self._is_dead:
                continue
            if self.environment.stops or isinstance(statement, (Command, Pipeline)):
                raise self._error("a test whose answer goes nowhere", statement)
        return status

    def _pass_over(self, statements: Sequence[Statement]) -> None:
        """Walk through what never happens: it must be understood, and does nothing."""
        environment = self.environment.copy()
        environment.status = "1"
        _Walker(environment, guards=self._guards, is_dead=True).run(statements)

    def _run_guarded(
        self, statements: Sequence[Statement], guard: Question, *, is_condition: bool = False
    ) -> Status:
        """Walk through what hangs on a question (rules 2 and 3)."""
        environment = self.environment.copy()
        self._remember(guard, environment)
        child = _Walker(environment, guards=(*self._guards, guard), is_dead=self._is_dead)
        status = child.run(statements, is_condition=is_condition)
        if child.has_exited:
            raise self._error("an exit that depends on the image", statements[0])
        if environment.state() != self.environment.state():
            raise self._error("a variable that depends on the image", statements[0])
        self.effects += child.effects
        return status

    def _remember(self, status: Status, environment: Environment | None = None) -> None:
        """Set `$?`."""
        value = None if isinstance(status, Question) else "0" if status else "1"
        (environment or self.environment).status = value

    # ---------------------------------------------------------------- statements

    def _error(self, what: str, statement: Statement) -> ScriptError:
        return not_understood(f"{what} in {shown(statement.source)!a}", line=statement.line)

    def _statement(self, statement: Statement) -> Status:
        try:
            return self._dispatch(statement)
        except ScriptError as e:
            if e.context:
                raise
            raise self._error(e.message, statement) from None

    def _dispatch(self, statement: Statement) -> Status:
        match statement:
            case Command():
                return self._command(statement)
            case Pipeline():
                return self._pipeline(statement)
            case AndOr():
                return self._and_or(statement)
            case If():
                return self._if(statement)
            case Case():
                return self._case(statement)
            case _:
                raise ScriptError("a subshell")

    def _and_or(self, statement: AndOr) -> Status:
        status = self._statement(statement.first)
        for operator, right in statement.rest:
            wanted = operator == "&&"
            self._remember(status)
            if isinstance(status, Question) and not self.has_exited:
                guard = status if wanted else _negated_question(status)
                answer = self._run_guarded((right,), guard, is_condition=True)
                decided = answer is not wanted if isinstance(answer, bool) else False
                status = (not wanted) if decided else _UNDECIDED
            elif status is wanted and not self.has_exited:
                status = self._statement(right)
            else:
                self._pass_over((right,))
        return status

    def _if(self, statement: If) -> Status:
        status = self.run(statement.condition, is_condition=True)
        body, otherwise = statement.body, statement.otherwise
        if self.has_exited:
            self._pass_over((*body, *otherwise))
            return True
        if isinstance(status, Question):
            answers = [self._run_guarded(body, status)]
            if otherwise:
                answers.append(self._run_guarded(otherwise, _negated_question(status)))
            return True if all(answer is True for answer in answers) else _UNDECIDED
        taken, passed = (body, otherwise) if status else (otherwise, body)
        self._pass_over(passed)
        self._remember(status)
        return self.run(taken)

    def _case(self, statement: Case) -> Status:
        text = expand_text(statement.word.parts, self.environment)
        taken: tuple[Statement, ...] | None = None
        for patterns, body in statement.clauses:
            globs = [expand_pattern(pattern.parts, self.environment) for pattern in patterns]
            if taken is None and any(matches(glob, text) for glob in globs):
                taken = body
            else:
                self._pass_over(body)
        return self.run(taken or ())

    def _pipeline(self, statement: Pipeline) -> Status:
        """`! command`, or the one pipeline that is known: a group and its members."""
        if len(statement.commands) == 1:
            status = self._statement(statement.commands[0])
        else:
            show, grep = (*statement.commands, None)[:2]
            if len(statement.commands) != 2:  # noqa: PLR2004
                raise ScriptError("unknown pipeline")
            if not isinstance(show, Command) or not isinstance(grep, Command):
                raise ScriptError("unknown pipeline")
            status = self._membership(show, grep)
        return negated(status) if statement.negated else status

    def _membership(self, show: Command, grep: Command) -> Status:
        if show.assignments or grep.assignments or self._goes_nowhere(show.redirections):
            raise ScriptError("unknown pipeline")
        status = self._command(show)
        name, *arguments = expand_command(grep.words, self.environment)
        if program_name(name) != "grep":
            raise ScriptError("unknown pipeline")
        return is_member(status, arguments, is_quiet=self._goes_nowhere(grep.redirections))

    # ---------------------------------------------------------------- commands

    def _command(self, command: Command) -> Status:
        self._goes_nowhere(command.redirections)
        if not command.words:
            return self._assign(command)
        destination = None
        for assignment in command.assignments:
            if assignment.name != "DESTDIR":
                raise ScriptError(f"variable {assignment.name!a} in front of a command")
            destination = expand_text(assignment.value, self.environment)
        name, *arguments = expand_command(command.words, self.environment)
        program = program_name(name)
        if program == "env" and destination is None:
            program, arguments, destination = _env(arguments)
        if destination is not None and program != "certctl":
            raise ScriptError(f"DESTDIR in front of {program!a}")
        if program == "exit":
            return self._exit(arguments)
        if program == "set":
            return self._set(arguments)
        outcome = run_command(program, arguments, destination)
        for effect in outcome.effects:
            self._emit(effect)
        return outcome.status

    def _assign(self, command: Command) -> Status:
        for assignment in command.assignments:
            if _ENVIRONMENT_RE.fullmatch(assignment.name):
                raise ScriptError(f"assignment to {assignment.name}")
            value = expand_text(assignment.value, self.environment)
            self.environment.variables[assignment.name] = value
            if len(self.environment.variables) > MAX_VARIABLES:
                raise ScriptError(f"more than {MAX_VARIABLES} variables")
        return True

    def _exit(self, arguments: Sequence[str]) -> Status:
        if len(arguments) > 1:
            raise ScriptError("exit with more than one argument")
        text = arguments[0] if arguments else self.environment.value("?")
        if read_number(text) != 0 and not self._is_dead:
            raise ScriptError("the script fails")
        self.has_exited = not self._is_dead
        return True

    def _set(self, arguments: Sequence[str]) -> Status:
        """`set -e` makes tests count; `set -u` changes nothing here; `set --` sets `$1` …."""
        if arguments[:1] == ["--"]:
            self.environment.arguments = tuple(arguments[1:])
        elif len(arguments) != 1 or arguments[0] not in ("-e", "-u", "-eu", "-ue"):
            raise ScriptError("unknown options of set")
        else:
            self.environment.stops = self.environment.stops or "e" in arguments[0]
        return True

    def _goes_nowhere(self, redirections: Sequence[Redirection]) -> bool:
        """Check redirections (rule 5); say whether stdout goes to /dev/null."""
        result = False
        for redirection in redirections:
            target = expand_text(redirection.target.parts, self.environment)
            operator, descriptor = redirection.operator, redirection.descriptor
            to_null = target == "/dev/null"
            match operator:
                case ">" | ">>" if to_null and descriptor in ("", "1", "2"):
                    result = result or descriptor != "2"
                case ">&" if target in ("1", "2") and descriptor in ("", "1", "2"):
                    pass
                case "<" if to_null and descriptor in ("", "0"):
                    pass
                case _:
                    raise ScriptError(f"redirection {descriptor}{operator}")
        return result

    def _emit(self, effect: Effect) -> None:
        if self._is_dead:
            return
        wanted = _wanted(effect)
        if isinstance(effect, CertctlRehash) and self._guards == (_CERTCTL,):
            wanted = _CERTCTL
        if wanted is None and self._guards:
            raise ScriptError("an effect that depends on the image")
        if wanted is not None and self._guards != (wanted,):
            raise ScriptError("an effect without the question whether it is needed")
        self.effects.append(effect)


def _negated_question(question: Question) -> Question:
    return Question(question.query, question.subject, holds=not question.holds)


def _env(arguments: Sequence[str]) -> tuple[str, list[str], str | None]:
    """Read `env DESTDIR=… program …`."""
    rest = list(arguments)
    destination = None
    while rest and (match := _ASSIGNED_RE.fullmatch(rest[0])):
        if match[1] != "DESTDIR" or destination is not None:
            raise ScriptError(f"variable {match[1]!a} in front of a command")
        destination = match[2]
        del rest[0]
    if not rest or program_name(rest[0]) != "certctl":
        raise ScriptError("env in front of anything but certctl")
    return "certctl", rest[1:], destination
