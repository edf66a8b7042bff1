"""Secrets behind the options of tools that are called in processes, as a line or as the list of its words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clew.engine.redaction.secret_shapes import REDACTED

_MAX_BEFORE = 3
# Between two words: a space, or what a list has there.
_GAP = r"""(?:[ ]{1,3}|["'], ["'])"""
_ANY = r"""[^\n|;]{0,200}?"""
_OPTION = re.compile(
    rf"""\b((?:mysql(?:dump|admin|import)?|mariadb(?:-dump)?)\b{_ANY}{_GAP}-p(?![ "'])"""
    rf"""|(?:mysql\w{{0,6}})\b{_ANY} -p(?=["'])"""
    rf"""|(?:sshpass|mongo(?:sh|dump|restore)?|(?:docker|podman|helm registry) login|twine)\b{_ANY}"""
    rf"""{_GAP}-p(?:{_GAP}|(?=["']\w))"""
    rf"""|redis-cli\b{_ANY}{_GAP}-a{_GAP}|sqlcmd\b{_ANY}{_GAP}-P{_GAP}|ldap\w{{1,12}}\b{_ANY}{_GAP}-w{_GAP}"""
    rf"""|openssl\b{_ANY}{_GAP}-[kK]{_GAP}"""
    rf"""|htpasswd{_GAP}-\w{{0,4}}b\w{{0,4}}{_GAP}[\w./\-]{{1,100}}{_GAP}[\w.@\-]{{1,64}}{_GAP}"""
    rf"""|(?:curl|wget|lftp)\b{_ANY}{_GAP}(?:-u|-E|--user|--proxy-user|--cert)(?:{_GAP}|(?=\w))["']?[\w.@/\-]{{1,64}}[:,]"""
    rf"""|https?{_GAP}{_ANY}(?:-a|--auth){_GAP}["']?[\w.@\-]{{1,64}}:|smbclient\b{_ANY}{_GAP}-U{_GAP}[\w.@\-]{{1,64}}%"""
    rf"""|{_GAP}(?:-[ulU]|--user(?:name)?)(?:=|{_GAP})["']?[\w.@\-]{{1,64}}{_ANY}{_GAP}-p(?:=|{_GAP})"""
    rf"""(?!["']?[/.]|\d{{1,5}}(?:\W|\Z))"""
    rf"""|zip\b{_ANY}{_GAP}-P{_GAP}|(?:7z\w?|(?:un)?rar)\b{_ANY}{_GAP}-p(?=["']?\w)|ssh-keygen\b{_ANY}{_GAP}-[NP]{_GAP}"""
    rf"""|useradd\b{_ANY}{_GAP}-p{_GAP}|(?:keytool|jarsigner)\b{_ANY}{_GAP}-\w{{0,4}}(?:store|key)pass{_GAP}"""
    rf"""|{_GAP}-(?:password|passwd|pass|token|secret|apikey){_GAP}(?!-)"""
    rf"""|\blogin {{1,3}}[\w.@\-]{{1,64}}\s{{1,8}}password {{1,3}}"""
    rf"""|aws configure set \w{{0,30}}(?:secret|token)\w{{0,30}} )(?!["']?\[redacted)["']?[^\s"'|;,\]]{{3,200}}"""
)
_WORD = r"""["']?[\w.@\-]{1,64}"""
# The command, not a sentence about it.
_NET_USER = r"\bnet user (?!(?:is|was|has|does|can|and|or|not)\b)\w{1,64}"
# Those that take it as a word of its own.
_ARGUMENT = re.compile(
    rf"""((?:\bvault login(?! -)|\brclone obscure|\brabbitmqctl{_GAP}\w{{1,20}}_(?:user|password){_GAP}{_WORD}"""
    rf"""|\brequirepass|\bmasterauth|\bbindpw|\s/user:[\w\\.@\-]{{1,64}}|{_NET_USER}){_GAP}|\bxfreerdp\b{_ANY}/p:"""
    rf"""|\bACL SETUSER {_WORD} {_ANY}>|\bchpasswd <<< {_WORD}:|\b(?:sqlplus|sqlldr|expdp|impdp) [\w$]{{1,30}}/"""
    rf"""|\b(?:cx_Oracle|oracledb)\.connect\(["'][\w$]{{1,30}}/)(?!["']?\[redacted)["']?[^\s"'|;,\]]{{3,200}}"""
)
_SIGNS: tuple[str, ...] = (
    "vault l",
    "obscure ",
    "rabbitmqctl",
    "requirepass",
    "masterauth",
    "bindpw",
    "/user:",
    "net user",
    "/p:",
    "SETUSER",
    "<<<",
)
_SIGNS += ("sqlplus", "sqlldr", "expdp", "impdp", ".connect(")
# `isql DSN USER PASSWORD`, as a list, behind an option, or with a password that looks like one.
_ISQL = re.compile(
    r"""(\biu?sql(?:(['"], ['"])(?:-\w{1,8}\2){0,3}[\w.\-]{1,64}\2[\w.@\-]{1,64}\2"""
    r"""|(?: -\w{1,8}){1,3} [\w.\-]{1,64} [\w.@\-]{1,64} """
    r"""| [\w.\-]{1,64} [\w.@\-]{1,64} (?=[^\s\d]{0,60}\d)(?=[^\sA-Za-z]{0,60}[A-Za-z])))"""
    r"""(?!\[redacted)[^\s"'|;]{1,200}"""
)
_PIPED = re.compile(
    r"""(\becho (?:-n )?)(?!\[redacted)[^\n|]{1,200}"""
    r"""(?=\| ?(?:sudo -\w{0,5}S|(?:docker|podman) login|helm registry|chpasswd|passwd|cryptsetup|kinit"""
    r"""|gpg2? [^\n|]{0,80}-fd)\b)"""
)
# Redis' own command, which its instrumentations and its logs tell.
_AUTH = re.compile(r"((?:\A|\n)AUTH (?:[\w.\-]{1,40} )?)(?!\[redacted)[^\s?\[]{3,200}(?=[ \t]{0,3}(?:\n|\Z))")


def without_options(text: str) -> str:
    """The text without such secrets."""
    if " -" in text or "'-" in text or '"-' in text or "aws conf" in text or "login " in text:
        text = _OPTION.sub(rf"\g<1>{REDACTED}", text)
    if any(sign in text for sign in _SIGNS):
        text = _ARGUMENT.sub(rf"\g<1>{REDACTED}", text)
    if "sql" in text:
        text = _ISQL.sub(rf"\g<1>{REDACTED}", text)
    if "echo " in text and "|" in text:
        text = _PIPED.sub(rf"\g<1>{REDACTED} ", text)
    return _AUTH.sub(rf"\g<1>{REDACTED}", text) if "AUTH " in text else text


def without_secret(words: Sequence[str], at: int) -> str:
    """A word of a command's list without what is secret by the tool and the words before it: `mysql -pSECRET`."""
    before = " ".join([words[0], *words[max(1, at - _MAX_BEFORE) : at]]) + " "
    said = without_options(before + words[at])
    return said[len(before) :] if said.startswith(before) and said != before + words[at] else words[at]
