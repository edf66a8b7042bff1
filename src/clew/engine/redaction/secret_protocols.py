"""Credentials where a protocol, a library's call or a tool's file has its place for them, whatever they look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match

from clew.engine.redaction.secret_names import WORD
from clew.engine.redaction.secret_shapes import REDACTED

_SECRET = r"""(?!\[redacted)[^"'\n]{1,4000}"""
_WORD_OF = r"""(?!\[redacted)[^\s"'\\]{1,400}"""
_SIGN_IN = r"(\b(?:\w{0,20}[Ll]ogin|\w{0,20}bind_s|\w{0,20}Auth|\w{0,20}Credentials|\w{0,20}pw_set)\("
_TAG = r"""(<(?:entry|field|item|param|prop|setting|string|value|variable)"""
# What must stand in the text, and a pattern: what follows its first group is secret.
_PLACES: tuple[tuple[str, str], ...] = (
    ("AUTH", r"(\bAUTH(?:ENTICATE)? (?:PLAIN|LOGIN|XOAUTH2) )(?=[A-Z0-9+/]{0,80}[a-z=])[A-Za-z0-9+/=]{8,4000}"),
    ("AUTH", rf"(\bHELLO \d AUTH [\w.\-]{{1,64}} ){_WORD_OF}"),
    ("AUTH", r"""("AUTH" (?:"[\w.\-]{1,64}" )?")(?!\[redacted)[^"\n]{1,400}(?="\s{0,3}(?:\n|\Z))"""),
    ("LOGIN ", rf"""(\b[A-Za-z]{{1,5}}\d{{1,6}} LOGIN ["']?[\w.@\-]{{1,64}}["']? ["']?){_WORD_OF}"""),
    ("PASS ", rf"(\bUSER [^\s\\]{{1,64}}(?:\s|\\[rn]|>){{1,6}}PASS ){_WORD_OF}"),
    ("sasl", rf"""(['"]payload['"]: (?:Binary\()?b?["']){_SECRET}"""),
    ("PRAGMA ", rf"""(\bPRAGMA (?:\w{{1,30}}\.)?(?:hex)?(?:re)?key ?= ?["']){_SECRET}"""),
    ("Cookie(", rf"""(\bCookie\([^\n()]{{0,200}}\bvalue=["']){_SECRET}"""),
    (
        "jwt.",
        rf"""(\bjwt\.\w{{2}}code\((?:\{{[^{{}}\n]{{0,400}}\}}|[\w.]{{1,80}}), (?:key=)?b?["']){_SECRET}""",
    ),
    ("(", rf"""(\b(?:hmac\.(?:new|digest)|Fernet|AESGCM)\(\[?b?["']){_SECRET}"""),
    ("FTP", rf"""(\bFTP(?:_TLS)?\('[^'\n]{{1,200}}', '[^'\n]{{1,200}}', '){_SECRET}"""),
    ("IDENTIFIED BY ", rf"(\bIDENTIFIED BY )(?!['\"%?:$]|EXTERNALLY|GLOBALLY|PASSWORD|RANDOM|VALUES){_WORD_OF}"),
    ("', '", rf"""{_SIGN_IN}'[^'\n]{{1,200}}', b?'){_SECRET}"""),
    ('", "', rf"""{_SIGN_IN}"[^"\n]{{1,200}}", b?"){_SECRET}"""),
    ("ignature ", rf"""(\b[Ss]ignature b?(["'])){_SECRET}(?=\2 does not match)"""),
    ("” is not a valid ", r"(“)(?!\[redacted)[^”\n]{1,400}(?=” is not a valid (?:password|token|pin|code)\b)"),
    ("“", r"(\b(?:[Pp]assword|[Tt]oken|[Ss]ecret|PIN|[Cc]ode)(?: value)? “)(?!\[redacted)[^”\n]{1,400}"),
)
# Those whose second group names what follows, as Terraform, argparse and XML do.
_NAMED: tuple[tuple[str, str], ...] = (
    ("variable ", rf"""(\bvariable "([\w\-]{{1,80}})" ?\{{[^{{}}"]{{0,400}}\bdefault {{1,20}}= ?"){_SECRET}"""),
    ("argument -", rf"""(\bargument (-{{1,2}}[\w\-/, ]{{1,80}}): [^"'\n]{{0,200}}["']){_SECRET}"""),
    (
        "Variable ",
        rf"""(\bVariable ["']\$([\w.]{{1,80}})["'][^\n]{{0,60}}?(?:got invalid value|was given:?) ["']){_SECRET}""",
    ),
    ("<meta ", r"""(<meta name="([\w.\-]{1,80})" content=")(?!\[redacted)[^"]{1,4000}"""),
    ("name=", rf"""{_TAG} name="([\w.\-]{{1,80}})">(?:<!\[CDATA\[)?)(?!\[redacted)[^<]{{1,4000}}"""),
    ("key=", rf"""{_TAG} key="([\w.\-]{{1,80}})">)(?!\[redacted)[^<]{{1,4000}}"""),
    ("</key>", r"(<key>([\w.\-]{1,80})</key>\s{0,20}<\w{1,20}>)(?!\[redacted)[^<]{1,4000}"),
)
_AT_PLACES = tuple((sign, re.compile(pattern)) for sign, pattern in _PLACES)
_BEHIND_NAMES = tuple((sign, re.compile(pattern)) for sign, pattern in _NAMED)
# A browser that may set no header puts its token among the protocols.
_SUBPROTOCOLS = re.compile(
    r"""(\bsec[_\-]websocket[_\-]protocol["']?\)?(?:: ?|=|, )b?["'\[(]{0,3})(?!\[redacted)"""
    r"""(?=[^\n"']{0,200}?(?:bearer|token|auth|jwt|[\w.\-+/=]{24}))[^\n"']{1,4000}""",
    re.IGNORECASE,
)
_COMPARED = re.compile(r"""(["'])(?!\[redacted)[^"'\n]{1,400}(\1 [!=]= ([\w.]{1,80}))""")
_REPLACED = re.compile(r"""(\[redacted\] [=\-]> )(?:"[^"\n]{1,4000}"|'[^'\n]{1,4000}')""")


def without_credentials(text: str, lowered: str, degree_of: Callable[[str], int]) -> str:
    """The text without such secrets.

    Args:
        text: any text.
        lowered: the same in lower case.
        degree_of: how secret a name is (`secret_names`).
    """

    def named(match: Match[str]) -> str:
        return f"{match[1]}{REDACTED}" if degree_of(match[2]) >= WORD else match[0]

    def compared(match: Match[str]) -> str:
        return f"{match[1]}{REDACTED}{match[2]}" if degree_of(match[3]) >= WORD else match[0]

    for sign, pattern in _AT_PLACES:
        if sign in text:
            text = pattern.sub(rf"\g<1>{REDACTED}", text)
    for sign, pattern in _BEHIND_NAMES:
        if sign in text:
            text = pattern.sub(named, text)
    if "websocket" in lowered:
        text = _SUBPROTOCOLS.sub(rf"\g<1>{REDACTED}", text)
    if "= " in text and ("' " in text or '" ' in text):
        text = _COMPARED.sub(compared, text)
    return _REPLACED.sub(rf"\g<1>{REDACTED}", text) if "[redacted] " in text else text
