"""The splitter of shell text: which tree it makes, and where it stops."""

from __future__ import annotations

import pytest

from pipeline.errors import ScriptError
from pipeline.pkg.shell import parse_shell
from pipeline.pkg.shell_tree import AndOr, Case, Command, If, Pipeline, Statement, Subshell
from pipeline.pkg.shell_words import (
    MAX_TEXT,
    Literal,
    Operator,
    Parameter,
    Word,
    line_at,
    scan,
    shown,
)


def words(text: str) -> list[Word]:
    return [token for token in scan(text) if isinstance(token, Word)]


def outline(statement: Statement) -> object:
    """Say what a statement is, in few characters."""
    match statement:
        case Command():
            return statement.source
        case Subshell():
            return ["subshell", *map(outline, statement.body)]
        case Pipeline():
            return ["!" if statement.negated else "|", *map(outline, statement.commands)]
        case AndOr():
            rest = [item for op, right in statement.rest for item in (op, outline(right))]
            return [outline(statement.first), *rest]
        case If():
            branches = (statement.condition, statement.body, statement.otherwise)
            return ["if", *(list(map(outline, branch)) for branch in branches)]
        case Case():
            return ["case", *(list(map(outline, body)) for _, body in statement.clauses)]


def outlines(text: str) -> list[object]:
    return [outline(statement) for statement in parse_shell(text)]


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("abc", (Literal("abc", quoted=False),)),
        ("'a $b'", (Literal("a $b", quoted=True),)),
        ('""', (Literal("", quoted=True),)),
        ('"a\\"b\\x"', (Literal('a"b\\x', quoted=True),)),
        ("a\\ b", (Literal("a", quoted=False), Literal(" ", quoted=True), Literal("b", quoted=False))),
        ("a\\\nb", (Literal("ab", quoted=False),)),
        ('"a\\\nb"', (Literal("ab", quoted=True),)),
        ("'a\\\nb'", (Literal("a\\\nb", quoted=True),)),
        ("$", (Literal("$", quoted=False),)),
        ('"^x$"', (Literal("^x$", quoted=True),)),
        ("$a", (Parameter(name="a", operator="", argument=(), quoted=False),)),
        (
            '"$1"',
            (
                Literal("", quoted=True),
                Parameter(name="1", operator="", argument=(), quoted=True),
            ),
        ),
        ("${a}", (Parameter(name="a", operator="", argument=(), quoted=False),)),
        (
            "${a%/*}",
            (
                Parameter(
                    name="a", operator="%", argument=(Literal("/*", quoted=False),), quoted=False
                ),
            ),
        ),
        (
            "${a:+-U -M $b}",
            (
                Parameter(
                    name="a",
                    operator=":+",
                    argument=(
                        Literal("-U -M ", quoted=False),
                        Parameter(name="b", operator="", argument=(), quoted=False),
                    ),
                    quoted=False,
                ),
            ),
        ),
        ("a#b", (Literal("a#b", quoted=False),)),
        ("'~'", (Literal("~", quoted=True),)),
        ("\\~", (Literal("~", quoted=True),)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_word_is_read(text: str, parts: tuple[object, ...]) -> None:
    (word,) = words(text)
    assert word.parts == parts


def test_comment_begins_only_where_a_word_may() -> None:
    assert [w.bare for w in words("a #b c\n#d\nx#y;#z")] == ["a", "x#y"]


def test_continued_lines_count() -> None:
    assert [(w.bare, w.line) for w in words("a \\\n b\n'c\nd' e")] == [
        ("a", 1),
        ("b", 2),
        (None, 3),
        ("e", 4),
    ]


def test_descriptor_belongs_to_the_redirection_only_without_blank() -> None:
    operators = [token for token in scan("a 2>b 2 >c") if isinstance(token, Operator)]
    assert [(o.text, o.descriptor) for o in operators] == [(">", "2"), (">", "")]


def test_operators_take_the_longest() -> None:
    tokens = scan("a&&b||c;;d>>e>&1")
    assert [t.text for t in tokens if isinstance(t, Operator)] == ["&&", "||", ";;", ">>", ">&"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo $(x)", "command substitution"),
        ("echo `x`", "command substitution"),
        ('echo "`x`"', "command substitution"),
        ("echo ${a:-`x`}", "command substitution"),
        ("echo ${a#b}", "expansion ${a#b"),
        ("echo ${a%%b}", "expansion ${a%%"),
        ("echo ${a:=b}", "expansion ${a:="),
        ("echo ${a", "expansion ${a"),
        ("echo ${a:-b", "an expansion without an end"),
        ("echo ${a:-b\n}", "an expansion without an end"),
        ('echo "${a:-"b"}"', "quotes within a quoted expansion"),
        ("echo ${}", "expansion ${}"),
        ("echo ${#a}", "expansion ${#a"),
        ("echo $@", "expansion $@"),
        ("echo $!", "expansion $!"),
        ("echo $'a'", "expansion $'"),
        ('echo $"a"', 'expansion $"'),
        ("echo $a\\\nb", "a name over two lines"),
        ("echo ~root", "a tilde"),
        ("a=~", "a tilde"),
        ("a=b:~", "a tilde"),
        ("echo ${a:-~}", "a tilde"),
        ("echo 'a", "a quote without an end"),
        ('echo "a', "a quote without an end"),
        ('echo "a\\', "a backslash at the end"),
        ("echo \\", "a backslash at the end"),
        ("echo &", "a command in the background"),
        ("echo &> /dev/null", "a command in the background"),
        ("echo |& cat", "a command in the background"),
        ("cat <<E", "a here-document"),
        ("echo <&1", "redirection <&"),
        ("echo >|x", "redirection >|"),
        ("echo <>x", "redirection <>"),
        ("echo 12>x", "redirection of descriptor 12"),
        ("echo 2\\\n>x", "redirection of descriptor 2"),
        ("\u00e9cho", "character '\\xe9' outside quotes"),
        ("\\\u00e9cho", "character '\\xe9' outside quotes"),
        ("echo\r", "control character '\\r'"),
        ("echo '\x7f'", "control character '\\x7f'"),
        ("#" * (MAX_TEXT + 1), f"script of {MAX_TEXT + 1} characters"),
    ],
)
def test_word_is_refused(text: str, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        scan(text)
    assert message in str(caught.value)


def test_quoted_and_commented_text_may_be_anything_printable() -> None:
    assert len(words("echo '\u00e9 & `x` $(y)' \"\u00e9 ; | &\" # \u00e9 `x` $(y) & ;")) == 3


def test_error_has_the_line_and_its_text() -> None:
    with pytest.raises(ScriptError) as caught:
        scan("echo\n\n  echo   `x`  \necho")
    assert str(caught.value) == "line 3: command substitution in 'echo `x`'"


def test_text_for_people_is_one_short_line() -> None:
    assert shown("  a\n\tb ") == "a b"
    assert len(shown("a" * 500)) == 160
    assert line_at("a\nb", 2) == "b"


# ---------------------------------------------------------------- statements


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n# only words\n", []),
        ("a b", ["a b"]),
        ("a; b\nc;", ["a", "b", "c"]),
        ("a && b || c", [["a", "&&", "b", "||", "c"]]),
        ("a &&\n\n b", [["a", "&&", "b"]]),
        ("! a", [["!", "a"]]),
        ("a | b", [["|", "a", "b"]]),
        ("a |\n b", [["|", "a", "b"]]),
        ("! a | b && c", [[["!", "a", "b"], "&&", "c"]]),
        ("(a; b)", [["subshell", "a", "b"]]),
        ("if a; then b; fi", [["if", ["a"], ["b"], []]]),
        ("if a\nthen\nb\nelse\nc\nfi", [["if", ["a"], ["b"], ["c"]]]),
        (
            "if a; then b; elif c; then d; else e; fi",
            [["if", ["a"], ["b"], [["if", ["c"], ["d"], ["e"]]]]],
        ),
        ("case x in a) b;; (c|d) e; f;; esac", [["case", ["b"], ["e", "f"]]]),
        ("case x in\n\na)\nb\n;;\n*) esac", [["case", ["b"], []]]),
        ("case x in esac", [["case"]]),
        ("echo if then fi", ["echo if then fi"]),
        ("'if' a", ["'if' a"]),
        ("a=1 b=2 c d=3", ["a=1 b=2 c d=3"]),
        (">/dev/null a 2>&1 b", [">/dev/null a 2>&1 b"]),
    ],
)
def test_statements_are_split(text: str, expected: list[object]) -> None:
    assert outlines(text) == expected


def test_command_has_its_parts() -> None:
    (command,) = parse_shell("\n A=1 B= 'C=3' D=4 2>/dev/null x >&2")
    assert isinstance(command, Command)
    assert [a.name for a in command.assignments] == ["A", "B"]
    assert command.assignments[1].value == ()
    assert len(command.words) == 3
    assert [(r.descriptor, r.operator) for r in command.redirections] == [("2", ">"), ("", ">&")]
    assert command.line == 2


def test_assignment_wants_a_plain_name() -> None:
    (command,) = parse_shell("1A=2 x")
    assert isinstance(command, Command)
    assert command.assignments == ()
    (command,) = parse_shell('"A"=2')
    assert isinstance(command, Command)
    assert command.assignments == ()


def test_redirections_of_a_subshell_are_kept() -> None:
    (subshell,) = parse_shell("(a) > b")
    assert isinstance(subshell, Subshell)
    assert len(subshell.redirections) == 1
    assert subshell.source == "(a) > b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("if a; then b", "line 1: the script ends too early"),
        ("if a; then; fi", "unexpected ';'"),
        ("if a\nfi", "line 2: unexpected 'fi'"),
        ("if; then b; fi", "unexpected ';'"),
        ("if a; then b; fi c", "unexpected 'c'"),
        ("if a; then b; fi > c", "redirection of a compound command"),
        ("case x in a) b;; esac > c", "redirection of a compound command"),
        ("case x a) b;; esac", "unexpected 'a'"),
        ("case ; in a) b;; esac", "unexpected ';'"),
        ("case x in a b) c;; esac", "unexpected 'b'"),
        ("case x in a|) c;; esac", "unexpected ')'"),
        ("case x in a) b", "the script ends too early"),
        ("a && ", "the script ends too early"),
        ("a && || b", "unexpected '||'"),
        ("a &&\n&& b", "unexpected '&&'"),
        ("a | | b", "unexpected '|'"),
        ("! ! a", "'!' is not understood"),
        ("a | ! b", "'!' is not understood"),
        ("!", "the script ends too early"),
        ("a >", "the script ends too early"),
        ("a > ; b", "unexpected ';'"),
        ("a >\nb", "unexpected 'end of line'"),
        ("; a", "unexpected ';'"),
        ("a ;; b", "unexpected ';;'"),
        (")", "unexpected ')'"),
        ("(a", "the script ends too early"),
        ("()", "unexpected ')'"),
        ("a)", "unexpected ')'"),
        ("a() { b; }", "a function is not understood"),
        ("a () (b)", "a function is not understood"),
        ("{ a; }", "'{' is not understood"),
        ("for a in b; do c; done", "'for' is not understood"),
        ("while a; do b; done", "'while' is not understood"),
        ("until a; do b; done", "'until' is not understood"),
        ("[[ a ]]", "'[[' is not understood"),
        ("a | then", "'then' is not understood"),
        ("fi", "unexpected 'fi'"),
        ("then a", "unexpected 'then'"),
        ("esac", "unexpected 'esac'"),
        ("if a; then b; else c; else d; fi", "unexpected 'else'"),
        ("(a) b", "unexpected 'b'"),
        ("(((((((((((((((((a)))))))))))))))))", "nested more than 16 deep"),
        ("if a; then b\n" + "elif a; then b\n" * 20 + "fi", "nested more than 16 deep"),
    ],
)
def test_statement_is_refused(text: str, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_shell(text)
    assert message in str(caught.value)


def test_sixteen_levels_are_enough_and_allowed() -> None:
    text = "if a; then\n" * 15 + "b\n" + "fi\n" * 15
    assert len(parse_shell(text)) == 1


def test_many_statements_do_not_recurse() -> None:
    assert len(parse_shell("a\n" * 10_000)) == 10_000
    (list_,) = parse_shell(" && ".join(["a"] * 5000))
    assert isinstance(list_, AndOr)
