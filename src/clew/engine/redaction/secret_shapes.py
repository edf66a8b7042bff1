"""What is a secret by its look, whatever its name: known makers' keys, JSON web tokens, PEM blocks, URLs' userinfo."""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match

from clew.engine.redaction.text_scan import end_of_line, find, first, here, replaced_after

REDACTED = "[redacted]"

_JWT = re.compile(r"eyJ[\w\-]{10}[\w\-.]*")
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{12}|(?:sk|pk|rk)_(?:live|test)_|sk-[\w\-]{16}|gh[pousr]_\w{16}"
    r"|github_pat_|gl(?:pat|rt|ptt|dt|cbt|soat|imt)-|xox[abeprs]-|xapp-\d|AIza[\w\-]{20}|SG\.[\w\-]{16}|npm_\w{20}"
    r"|pypi-\w{16}|hvs\.\w{16}|whsec_\w{16}|do[opr]_v1_\w{16}|shp(?:at|ca|pa|ss)_\w{16}|hf_\w{16}|ya29\.\w{8}"
    r"|1//0[\w\-]{20}|EAA[AC]\w{16}|AGE-SECRET-KEY-1|AC[0-9a-f]{32}:|key-[0-9a-f]{32}|sq0(?:csp|atp|idp)-\w{16}"
    r"|AT[AC]TT3xFfGF0|lin_api_\w{16}|sntr[yu]s_\w{16}|dckr_[po]at_|gsk_\w{16}|xai-\w{16}|PMAK-[0-9a-f]{16}"
    r"|atlasv1\.|NRAK-[A-Z0-9]{16}|[0-9a-f]{32}-us\d{1,2}\b)[\w\-.]*"
)
# An identity of AWS, and its secret beside it.
_AWS = re.compile(r"""\b(?:AKIA|ASIA)[A-Z0-9]{12,20}[\s"':,;|/]{1,6}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])""")
_HASH = re.compile(
    r"(?:\b(?:pbkdf2_\w{1,12}|argon2|bcrypt\w{0,12}|scrypt|md5|sha1)\$|(?<![\w$])\$(?:2[abxy]|[156y]|argon2\w{0,2})\$)"
    r"[\w$./+=,\-]{16}[\w$./+=,\-]*"
)
_HOOK = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|office\.com/webhook\w{0,3}/|discord(?:app)?\.com/api/webhooks/"
    r"|api\.telegram\.org/bot)[\w/:@.\-]+"
)
_ORACLE = re.compile(r"""(jdbc:oracle:\w{1,10}:[\w.$]{1,60}/)[^\s"'@]{1,200}(?=@)""")
_ENCODED_USERINFO = re.compile(r"""(%(?:25){0,2}3[aA](?:%(?:25){0,2}2[fF]){2})[^\s&"'<>/]{1,300}?(?=%(?:25){0,2}40)""")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(
    r"(?<![\w.\-])(?:3[47]\d{2}[ -]?\d{6}[ -]?\d{5}|(?:4\d|5[1-5]|2[2-7]|6[045])\d{2}(?:[ -]?\d{4}){3})(?![\w\-]|\.\d)"
)
_PUTTY = re.compile(r"(Private-Lines: \d{1,4}\s{1,2})[A-Za-z0-9+/=\s]+")
# Also percent-encoded, quoted by a mail, as lines of source, and of SSH2.
_PEM = re.compile(r"-{4,5} ?BEGIN(?: |%20|\+)(?=[A-Z0-9 %+]{1,60} ?----)")
_PEM_BODY = re.compile(r"""[A-Z0-9 %+]{1,60}-{4,5}(?:[A-Za-z0-9+/=\s\\:,%>|]|["'][\s+]{1,40}["']|-(?!-))*""")
_PEM_END = re.compile(r"-{4,5} ?END[A-Z0-9 %+]{1,60}-{4,5}")
_SCHEME = re.compile(
    r"\b(bearer|basic|digest|token|negotiate|ntlm|apikey|hawk|dpop|aws4-hmac-sha256)(\\?['\"]?[ \t]{1,3}['\"]?)"
    r"(?=([A-Za-z0-9+/=_.~\-]{6,80}))",
    re.IGNORECASE,
)
_SCHEME_SIGNS = ("bearer", "basic", "digest", "token", "negotiate", "ntlm", "apikey", "hawk", "dpop", "aws4-")
_CREDENTIAL = re.compile(r"[A-Za-z0-9+/=_.~\-]*")
_LISTED = ("digest", "hawk", "aws4-hmac-sha256")
_MAX_USERINFO = 300
# Without a scheme it looks like `label:bob@example.com`: a port, a path or a second @ says that it is none.
_BARE_USERINFO = re.compile(
    r"""(?<![\w.\-/:@])[\w.\-]{1,64}:(?:[^\s"'<>/,;()@]{1,200}@(?=[\w.\-]{1,80}(?::\d|/))"""
    r"""|[^\s"'<>/,;()@]{1,100}@[^\s"'<>/,;()@]{1,100}@(?=[\w\[]))"""
)
_AUTHORITY = re.compile(r"""[^\s"'<>\\]{1,300}""")
_REST = re.compile(r"""[^\s"'<>\\]*""")


def without_shapes(text: str, lowered: str) -> str:
    """The text without secrets that are known by their look."""
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    if "BEGIN" in text and "---" in text:
        text = _without_pem(text)
    if "AKIA" in text or "ASIA" in text:
        text = _AWS.sub(REDACTED, text)
    if "_" in text or "-" in text or "A" in text or "SG." in text or "hvs." in text or "//0" in text:
        text = _KEY.sub(REDACTED, text)
    if "$" in text:
        text = _HASH.sub(REDACTED, text)
    if "%" in text and "40" in text:
        text = _ENCODED_USERINFO.sub(rf"\g<1>{REDACTED}", text)
    if ".com/" in text or "/bot" in text:
        text = _HOOK.sub(rf"\g<1>{REDACTED}", text)
    if _FOUR_DIGITS.search(text):
        text = _CARD.sub(_if(_is_card), _IBAN.sub(_if(_is_iban), text))
    if "Private-Lines" in text:
        text = _PUTTY.sub(rf"\g<1>{REDACTED}", text)
    if "@" in text:
        if "jdbc:" in text:
            text = _ORACLE.sub(rf"\g<1>{REDACTED}", text)
        if "://" in text:
            text = _without_userinfo(text)
        text = _BARE_USERINFO.sub(f"{REDACTED}@", text)
    elif len(text) > _MAX_USERINFO and "://" in text:
        text = _without_userinfo(text)
    for sign in _SCHEME_SIGNS:
        if sign in lowered:
            return _without_schemes(text)
    return text


_FOUR_DIGITS = re.compile(r"\d{4}[ -]?\d{4}")


def _if(is_secret: Callable[[str], bool]) -> Callable[[Match[str]], str]:
    return lambda match: REDACTED if is_secret(match[0]) else match[0]


def _is_iban(text: str) -> bool:
    """By its check digits (ISO 7064)."""
    plain = text.replace(" ", "")
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    """By its check digit (Luhn)."""
    digits = [int(char) for char in reversed(text) if char.isdigit()]
    return sum(digits[::2] + [sum(divmod(2 * each, 10)) for each in digits[1::2]]) % 10 == 0


def _without_pem(text: str) -> str:
    parts, last = [], 0
    begin = first(_PEM, text, 0)
    while begin is not None:
        body = here(_PEM_BODY, text, begin.end())
        end = begin.end() if body is None else body.end()
        if body is not None:
            closing = here(_PEM_END, text, end)
            end = end if closing is None else closing.end()
            parts += [text[last : begin.start()], REDACTED]
            last = end
        begin = first(_PEM, text, end)
    return "".join([*parts, text[last:]])


def _without_userinfo(text: str) -> str:
    """`scheme://user:p@ss@host`: all before the last @ of what can be the authority."""
    parts, last = [], 0
    at = find(text, "://", 0)
    while at >= 0:
        at += 3
        run = here(_AUTHORITY, text, at)
        end = at if run is None else at + _userinfo_length(run[0])
        if end - at == _MAX_USERINFO and (rest := here(_REST, text, end)):
            end = rest.end()
        if end > at:
            parts += [text[last:at], REDACTED]
            last = end
        at = find(text, "://", end)
    return "".join([*parts, text[last:]])


def _userinfo_length(run: str) -> int:
    inner = find(run, "://", 0)
    run = run if inner < 0 else run[:inner]
    authority = re.split(r"[/?#]", run, maxsplit=1)[0]
    port = authority.rpartition(":")[2] if ":" in authority else ""
    # A password may hold a slash; then what stands behind the colon is no port.
    place = run if port and not port.isdigit() and not authority.startswith("[") else authority
    at = place.rfind("@")
    if at < 0 and len(place) == _MAX_USERINFO:
        return len(place)
    return max(at, 0)


def _without_schemes(text: str) -> str:
    return replaced_after(_SCHEME, text, _credential_end, REDACTED)


def _credential_end(text: str, match: Match[str]) -> int:
    scheme, start = match[1].lower(), match.end()
    value = match[3].rstrip(".,")
    if scheme in _LISTED:
        return end_of_line(text, start) if "=" in text[start : start + 40] else start
    # `Basic authentication` names the scheme only.
    is_plain = value[1:].replace("-", "").islower() and value.replace("-", "").isalpha()
    if scheme == "bearer":
        is_plain = value.lower() in _BEARER_OF
    elif scheme in ("token", "apikey"):
        is_plain = len(value) < 12 or not any(char.isdigit() for char in value)
    end = here(_CREDENTIAL, text, start)
    return start if is_plain or end is None else end.end()


_BEARER_OF = {
    "authentication", "authorization", "authorisation", "challenge", "credential", "credentials", "format", "header",
    "method", "realm", "scheme", "schema", "security", "string", "tokens", "was", "without",
}  # fmt: skip
