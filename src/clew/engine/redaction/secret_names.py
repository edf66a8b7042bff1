"""Which names have secret values, and how sure that is: `password` always, `pin` as a word, `code` only in a query."""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote

NONE = 0
# Secret where a form or a query string gives it; `code: 23505` is an error's.
IN_QUERY = 1
# Secret as a word of a name: `user_pin`, not `spin`.
WORD = 2
# Secret wherever it stands in a name.
ALWAYS = 3

_ALWAYS = (
    "password", "passwd", "passphrase", "passcode", "secret", "token", "credential", "authorization", "cookie",
    "apikey", "accesskey", "privatekey", "signingkey", "encryptionkey", "authkey", "sharedkey", "sshkey", "passkey",
    "sessionid", "sessionkey", "jsessionid", "phpsessid", "samlresponse", "samlrequest", "samlart", "csrf",
    "cardnumber", "creditcard", "pincode", "securitycode", "accountkey", "connectionstring", "subscriptionkey",
    "codeverifier", "rediscliauth", "instrumentationkey", "storepass", "keypass", "clientkeydata", "stringdata",
    "licensekey", "licencekey", "consumerkey", "appkey", "masterkey", "masterauth", "bindpw", "oidcdata", "clientcert",
    "authhash", "authuserhash", "registryauth", "passwrd", "pasword", "kennwort", "devicecode", "authcode",
    "authorizationcode", "verificationcode", "recoverycode", "backupcode", "dpop", "passwort", "motdepasse",
    "contraseña", "contrasena", "senha", "wachtwoord", "hasło", "haslo", "heslo", "salasana", "lösenord", "losenord",
    "geheimnis", "пароль", "密码", "密碼", "パスワード", "비밀번호",
)  # fmt: skip
_WORDS = {
    "pass", "pw", "pwd", "pin", "otp", "totp", "ssn", "cvv", "cvv2", "cvc", "iban", "card", "sid", "sessid", "hmac",
    "sig", "signature", "jwt", "bearer", "psk", "assertion", "mdp", "parola", "clave",
}  # fmt: skip
_IN_QUERY = {"code", "ticket", "auth", "session", "state", "nonce"}
# Of these only what looks like chance: `state=open` is a filter.
ONLY_RANDOM = {"state", "nonce"}
# A name that ends so tells something about a secret, not the secret.
_ABOUT = {
    "age", "algorithm", "arn", "at", "attempts", "brand", "cfg", "conf", "count", "counts", "domain", "enabled",
    "error", "errors", "exception", "exist", "expired", "expires", "expiry", "failed", "failure", "fd", "field",
    "file", "hasher", "hashers", "html", "httponly", "ini", "invalid", "js", "json", "len", "length", "limit", "lock",
    "log", "max", "min", "missing", "name", "path", "policy", "py", "required", "samesite", "secure", "size", "stdin",
    "timeout", "toml", "ttl", "txt", "type", "usage", "valid", "validator", "validators", "version", "warning", "yaml",
    "yml",
}  # fmt: skip
# A variable of the environment: `STRIPE_KEY`. Those of a database, a cache or a table are none.
_VARIABLE = re.compile(
    r"(?!(?:CACHE|DICT|DUPLICATE|FOREIGN|GROUP|HASH|INDEX|LOOKUP|OBJECT|ORDER|PARTITION|PRIMARY|PUBLIC|ROUTING|SORT"
    r"|UNIQUE)_)[A-Z][A-Z0-9_]{1,60}_(?:KEY|SALT)\Z"
)
_NO_SECRETS = re.compile(r"secretar(?:y|ies|iat)|secrets?[_\-]?manager|tokeni[sz]\w*")
# What stands before a parameter in an encoded URL.
_OF_URL = re.compile(r"[?&#]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d[\d.]{0,20}(?:[\s,;&)}\]]|\Z)")
_MAX_LENGTH = 300


def decoded(text: str) -> str:
    """Percent-encoding undone, also what was encoded several times."""
    for _ in range(3):
        if "%" not in text:
            break
        text = unquote(text)
    return text


class SecretNames:
    """Tells how secret a value under a name is.

    Args:
        more_names: further names that are secret wherever they stand.
    """

    def __init__(self, more_names: tuple[str, ...] = ()) -> None:
        self._always = (*_ALWAYS, *(_NO_WORD.sub("", name.lower()) or name.lower() for name in more_names))
        self.degree = functools.lru_cache(maxsize=4096)(self._degree)

    def _degree(self, name: str) -> int:
        """NONE, IN_QUERY, WORD or ALWAYS."""
        plain = _OF_URL.split(decoded(name[-_MAX_LENGTH:]))[-1]
        split = _NO_SECRETS.sub("", _CAMEL.sub("_", plain).lower())
        words = [word for word in _NO_WORD.split(split) if word]
        if not words or (len(words) > 1 and words[-1] in _ABOUT):
            return NONE
        # A dot separates more than an underscore: `session.id` is a visit's, `session_id` opens it.
        if any(stem in part for part in _joined(split, plain) for stem in self._always):
            return ALWAYS
        if not _WORDS.isdisjoint(words) or _VARIABLE.match(plain.rpartition(".")[2]):
            return WORD
        return IN_QUERY if len(words) == 1 and words[0] in _IN_QUERY else NONE


def is_count(name: str, value: str) -> bool:
    """Whether it is a number of a language model's tokens."""
    return name.lower().endswith("tokens") and _NUMBER.match(value) is not None


def _joined(split: str, plain: str) -> list[str]:
    whole = _NO_SECRETS.sub("", plain.lower())
    return [_NO_WORD.sub("", part) for text in (split, whole) for part in text.split(".")]
