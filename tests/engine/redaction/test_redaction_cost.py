"""The redactor is linear: steps are counted, not time.

Two halves make the proof. No pattern repeats anything without a bound except as its very last element, so a search
costs a bounded number of steps for each character it passes; and what all searches pass together is counted here.
"""

from __future__ import annotations

import functools
import gc
import re
import sys

import pytest

from clew.engine import redaction
from clew.engine.redaction import (
    command_lines,
    database_messages,
    secret_names,
    secret_pairs,
    secret_phrases,
    secret_protocols,
    secret_shapes,
    secret_values,
    text_scan,
)
from clew.engine.redaction.exception_event import described

if sys.version_info >= (3, 11):
    from re import _constants as constants
    from re import _parser as parser
else:
    import sre_constants as constants
    import sre_parse as parser

MODULES = (
    command_lines,
    database_messages,
    redaction,
    secret_names,
    secret_pairs,
    secret_phrases,
    secret_protocols,
    secret_shapes,
    secret_values,
)


def held(value):
    """The patterns in it, also in tuples of tuples."""
    if isinstance(value, re.Pattern):
        return [value]
    return [pattern for each in value for pattern in held(each)] if isinstance(value, tuple) else []


PATTERNS = [
    (f"{module.__name__}.{name}", pattern)
    for module in MODULES
    for name, value in vars(module).items()
    for pattern in held(value)
]
_REPEATS = (constants.MAX_REPEAT, constants.MIN_REPEAT)
# Used on names only, which are 300 characters at most.
_OF_NAMES = {"clew.engine.redaction.secret_names._NO_SECRETS", "clew.engine.redaction.secret_names._NO_WORD"}

HOSTILE = [
    "=",
    ":",
    ">",
    "a=",
    "a:",
    "%3D",
    "%253D",
    "password",
    "password=",
    "password='",
    'password="\n',
    "password=[",
    "password=(a",
    "password=<",
    "password=<\n",
    "password=<>",
    "token=\\'",
    "token=\\",
    "'",
    "\\'",
    "\\\\'",
    "['",
    "{'token': ['",
    "token='a''",
    "token=a,",
    "token=a'b",
    "A1b2",
    "eyJ",
    "eyJabcdefghijk",
    "://",
    "a://b",
    "a:b@c ",
    "a:b@",
    "a.b-",
    "a://u:p@",
    "redis://u:" + "p" * 290 + "/",
    "-----BEGIN ",
    "-----BEGIN A-----",
    "-----BEGIN A-----\n-----END ",
    "Bearer ",
    "Bearer abcdefgh ",
    "basic abcdef",
    "Digest a=1 ",
    "DETAIL: Key (",
    "DETAIL: Key (a)=(",
    "LINE 1: ",
    "LINE 1: a\n",
    "Duplicate entry '",
    "Duplicate entry 'a' ",
    "value 'a' ",
    "near 'a'b",
    "DataError x 'a ",
    "Can't retry ",
    "Can't retry a[",
    "--",
    "--password ",
    "--a-b-",
    "password '",
    "mysql -p",
    "curl -u a:",
    "curl ",
    "curl -u ",
    "['curl', '-u', 'a:",
    "https -a ",
    "docker login -p ",
    "htpasswd -b a b ",
    "SELECT a FROM ",
    "SELECT ",
    "UPDATE a SET '",
    "VALUES ('",
    "; args=(",
    "'name': 'password', 'value': '",
    "<password a='b'>",
    "<a b",
    'form-data; name="password"\n\n',
    "input_value=",
    "input_value=1, input_type=",
    "value 'a' for field token ",
    "check_password('",
    "token: str = '",
    "Token(key='",
    "token a1b2c3d4 ",
    "session ",
    "password to 'a' to 'b'",
    "%3A%2F%2F",
    "%3A%2F%2Fa%40",
    "DE89 3704 ",
    "DE89",
    "4111 ",
    "4111111111111111 ",
    "argon2$",
    "$2b$12$",
    "hooks.slack.com/services/",
    "jdbc:oracle:thin:a/",
    "Private-Lines: 1\n",
    "password: |\n  a\n",
    "AUTH ",
    "\nAUTH a",
    "mysql ",
    "<input",
    "<input name=password ",
    "&quot;",
    "&quot;password&quot;:&quot;",
    "password\\u003d",
    "otp code ",
    "password is 1",
    "SecretStr('",
    "password 'a' ",
    "Cookie: ",
    "'Cookie: ",
    '"Cookie: a\n',
    "cookie=a; b",
    "('password', '",
    "<password>",
    "<password>a</password>",
    "AKIA",
    "sk-",
    "ghp_",
    "API key ",
    " provided:",
    "a b c:",
    "\n",
    " ",
    "%",
    "&",
    "QueryDict: {'code': ['",
    "?code=",
    "code=",
    "pin: 1 ",
    "tokens=1 ",
    "secrets:\n  - a\n",
    "secrets:\n",
    "- a: b\n",
    "Cookie: a;\n b;\n",
    "Cookie:\n " + "a" * 390 + " b\n",
    "password=<<EOF\n",
    "token\\u0061",
    '"a\\u0061',
    "\\x61",
    "AUTH PLAIN A",
    "HELLO 3 AUTH a ",
    '"AUTH" "',
    "a1 LOGIN b ",
    "USER a\nPASS ",
    "PRAGMA key='",
    "Cookie(",
    "jwt.encode({",
    "jwt.decode(a, '",
    "hmac.new('",
    "login('a', '",
    'Auth("a", "',
    "Signature 'a",
    "Signature ",
    "password “",
    "“a” is not a valid ",
    'variable "token" { default = "',
    "argument --token: ",
    '<string name="token">',
    "<key>token</key><string>",
    "sec-websocket-protocol: ",
    "sec-websocket-protocol: a\n",
    "'a' == b.token ",
    "'a' == ",
    "[redacted] -> 'a",
    "AKIAIOSFODNN7EXAMPLE ",
    "-password ",
    "login a password ",
    "isql a b c1 ",
    "isql ",
    "echo a | gpg ",
    "kind: Secret\ndata:\n  a: b\n",
    "{'loc': ('a',), 'input': 'b'}",
    "a1B2-" * 13 + " token ",
    "BadToken: a ",
    "os.environ.get(",
    "FTP('a', 'b', '",
    "IDENTIFIED BY ",
    "Variable '$token' ",
    "<meta name='a' ",
    "пароль «",
    "token=a.b.",
]


@pytest.fixture
def steps(monkeypatch):
    """Counts the characters that all searches pass, and every Python or C call."""
    counted = {"characters": 0, "calls": 0}

    def counting_find(text, what, at, end=None):
        end = len(text) if end is None else min(end, len(text))
        found = text.find(what, at, end)
        counted["characters"] += (end if found < 0 else found) - at + 1
        return found

    def counting_first(pattern, text, at):
        found = pattern.search(text, at)
        counted["characters"] += (len(text) if found is None else found.end()) - at + 1
        return found

    def counting_here(pattern, text, at):
        found = pattern.match(text, at)
        counted["characters"] += 1 if found is None else found.end() - at + 1
        return found

    counters = {"find": counting_find, "first": counting_first, "here": counting_here}
    for module in (*MODULES, text_scan):
        for name, counter in counters.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, counter)

    def count(work):
        counted.update(characters=0, calls=0)

        def profile(frame, event, arg):
            counted["calls"] += event in ("call", "c_call")

        # A collection would run the finalizers of whatever tests came before, and count their calls.
        gc.collect()
        gc.disable()
        sys.setprofile(profile)
        try:
            work()
        finally:
            sys.setprofile(None)
            gc.enable()
        return dict(counted)

    return count


@pytest.mark.parametrize(("name", "pattern"), PATTERNS, ids=[name for name, _ in PATTERNS])
def test_no_pattern_repeats_without_a_bound_before_its_end(name, pattern):
    assert list(unbounded_before_the_end(parser.parse(pattern.pattern, pattern.flags))) == [] or name in _OF_NAMES


def test_the_check_of_patterns_can_fail():
    assert list(unbounded_before_the_end(parser.parse(r"[a-z]*=")))
    assert list(unbounded_before_the_end(parser.parse(r"(?:a{1,9}b*c)d")))
    assert not list(unbounded_before_the_end(parser.parse(r"ab{1,9}c*")))


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_costs_a_bounded_number_of_steps_for_each_character(steps, piece):
    redactor = redaction.Redactor()
    short, long = (("x " + piece * 65_536)[:size] for size in (16_384, 65_536))
    small, large = steps(lambda: redactor.text(short)), steps(lambda: redactor.text(long))
    assert large["calls"] <= 40 * len(long)
    assert large["characters"] <= 300 * len(long)
    for kind in ("calls", "characters"):
        assert large[kind] <= 4.6 * small[kind] + 2_000, f"{kind} grow faster than the text"


@pytest.mark.parametrize("piece", HOSTILE)
def test_an_exception_costs_the_same_whatever_the_length_of_its_message(steps, piece):
    errors = [ValueError((piece * size)[:size]) for size in (65_536, 1_000_000)]
    costs = [steps(functools.partial(described, error)) for error in errors]
    assert costs[1]["calls"] <= costs[0]["calls"] + 50
    assert costs[1]["characters"] <= costs[0]["characters"] + 50


def unbounded_before_the_end(parsed, *, is_last=True):
    """Repetitions without a bound that something follows."""
    items = list(parsed)
    for at, (kind, value) in enumerate(items):
        last = is_last and at == len(items) - 1
        if kind in _REPEATS:
            low, high, inner = value
            if high is constants.MAXREPEAT and (not last or len(inner) != 1):
                yield kind, low
            yield from unbounded_before_the_end(inner, is_last=False)
        elif kind is constants.SUBPATTERN:
            yield from unbounded_before_the_end(value[-1], is_last=last)
        elif kind is constants.BRANCH:
            for branch in value[1]:
                yield from unbounded_before_the_end(branch, is_last=last)
        elif kind in (constants.ASSERT, constants.ASSERT_NOT):
            yield from unbounded_before_the_end(value[1], is_last=False)
