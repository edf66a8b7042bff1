"""What the redactor takes out and what it leaves: one line for each kind of place a secret is found in."""

from __future__ import annotations

import pytest

from clew.engine.redaction import REDACTED, Redactor, database_messages, redactor
from tests.engine.redaction import nasty, nasty_libraries, nasty_more, ordinary, ordinary_more

C = "cAnary7x"

# (message, what of it must still be readable)
NASTY = [
    # containers
    ("<QueryDict: {'password': ['@'], 'user': ['bob']}>", ["'user': ['bob']"]),
    ("<QueryDict: {'code': ['@'], 'user': ['bob']}>", ["bob"]),
    ("{'login': {'password': '@', 'user': 'bob'}}", ["'user': 'bob'"]),
    ("{'password': {'old': '@', 'new': ('x', '@')}, 'n': 3}", ["'n': 3"]),
    ("{'tokens': ['a', '@'], 'n': 3}", ["'n': 3"]),
    ("failed with password=('@', '@') n=3", ["n=3"]),
    ("{'password': b'@', 'n': 3}", ["'n': 3"]),
    ("{b'password': b'@', b'n': 3}", ["3"]),
    ("{'password': 'it\\'s @', 'n': 3}", ["'n': 3"]),
    ('{"password": "say \\"@\\"", \'n\': 3}', ["'n': 3"]),
    ('{"body": "{\\"password\\": \\"@\\", \\"n\\": 3}"}', ["n"]),
    ("User(password=SecretStr('@'), n=3)", ["n=3"]),
    ("Login(user='bob', password=Secret(value='@'), n=3)", ["user='bob'", "n=3"]),
    ("password=<Secret @>, n=3", ["n=3"]),
    ("[('user', 'bob'), ('password', '@')]", ["('user', 'bob')"]),
    ("[(b'host', b'x'), (b'cookie', b'a=1; b=@')]", ["host"]),
    ('{"passwords": [\n  "@",\n  "@"\n], "n": 3}', ['"n": 3']),
    ("password='unterminated @", ["password"]),
    ("{'password': ['unterminated', '@'", ["password"]),
    # command lines, HTML, escapes, sentences
    ("mysqldump -h db -u root -p@ shop failed", ["mysqldump -h db -u root -p", "shop failed"]),
    ("sshpass -p @ ssh host", ["ssh host"]),
    ("redis-cli -h db -a @ ping", ["redis-cli -h db", "ping"]),
    ("curl -s -u bob:@ http//db/", ["curl -s -u bob:", "http//db/"]),
    ('<input type="text" name="password" value="@" required> <b>x</b>', ['name="password"', "required", "<b>x</b>"]),
    ("<input value='@' name='csrfmiddlewaretoken'>", ["csrfmiddlewaretoken"]),
    ("{&quot;password&quot;: &quot;@&quot;, &quot;n&quot;: 3}", ["&quot;n&quot;: 3"]),
    ("&#x27;password&#x27;: &#x27;@&#x27;, n", [", n"]),
    ("n\\u003d3, password\\u003d@, x", ["n\\u003d3", ", x"]),
    ("[SecretStr('@'), 3]", ["3]"]),
    ("the password is @1, said bob", ["said bob"]),
    ("your one-time code is 9@", ["your one-time code is"]),
    # names
    *(
        (f"{name}=@ n=3", ["n=3", name])
        for name in (
            "password",
            "PASSWORD",
            "user_password",
            "passwd",
            "pwd",
            "pass",
            "passphrase",
            "passcode",
            "db_pass",
            "secret",
            "client_secret",
            "clientSecret",
            "token",
            "accessToken",
            "refresh-token",
            "api_key",
            "apiKey",
            "X-API-Key",
            "AWSAccessKeyId",
            "private_key",
            "credential",
            "sessionid",
            "sessionKey",
            "session_key",
            "JSESSIONID",
            "PHPSESSID",
            "sid",
            "connect.sid",
            "SAMLResponse",
            "csrfmiddlewaretoken",
            "hmac",
            "sig",
            "X-Amz-Signature",
            "otp",
            "pin",
            "user_pin",
            "iban",
            "card",
            "card_number",
            "cardNumber",
            "cvv",
            "ssn",
            "jwt",
            "bearer",
        )
    ),
    ("password: @", ["password"]),
    ("password => @, n => 3", ["n => 3"]),
    ("password == '@' failed", ["failed"]),
    ("<soap:password>@ and @</soap:password><n>3</n>", ["<n>3</n>"]),
    ("Invalid API key provided: @", ["API key"]),
    ("wrong secret key: @", ["wrong"]),
    ("Incorrect PIN: 4cAnary7x", ["Incorrect PIN"]),
    ("The password '@' is too short", ["is too short"]),
    ("Command '['mysql', '--password', '@', 'shop']' returned 1", ["mysql", "shop", "returned 1"]),
    ("mysql --password @ shop", ["shop"]),
    ("password=ab;@;user=bob", ["user=bob"]),
    ("password=ab'@", ["password"]),
    ("password=ab)@", ["password"]),
    ("host=db user=bob password=@ dbname=shop", ["host=db user=bob", "dbname=shop"]),
    # query strings and URLs
    ("GET /reset?pass%77ord=@&n=3", ["GET /reset", "&n=3"]),
    ("GET /cb?code=@&n=3", ["&n=3"]),
    ("GET /cas?ticket=@", ["/cas"]),
    ("next=https%3A%2F%2Fx%2F%3Ftoken%3D@ n=3", ["next=https", "n=3"]),
    ("q=%7B%22password%22%3A%22@%22%7D n=3", ["n=3"]),
    ("u=https%253A%252F%252Fx%253Ftoken%253D@ n=3", ["n=3"]),
    ("redis://u:p@@@h:6379/0", ["@h:6379/0"]),
    ("postgres://bob:a/@@db:5432/shop", ["@db:5432/shop"]),
    ("cannot reach bob:@@db:5432", ["cannot reach", "@db:5432"]),
    ("requests.get(u, auth=('bob', '@'), n=3)", ["n=3"]),
    ("AccountKey=@;EndpointSuffix=x", ["EndpointSuffix=x"]),
    ('value too long\nCONTEXT:  COPY t, line 1, column a: "@"', ["value too long"]),
    ("password -> @, n -> 3", ["n -> 3"]),
    ("https://@@github.com/x.git", ["github.com/x.git"]),
    # headers
    ("Cookie: a=1; b=@; c=@", ["Cookie"]),
    ("Set-Cookie: a=@; Path=/; HttpOnly", ["Set-Cookie"]),
    ("HTTP_COOKIE=a=1; b=@ ", ["HTTP_COOKIE"]),
    ("{'HTTP_COOKIE': 'a=1; b=@', 'n': 3}", ["'n': 3"]),
    ('Authorization: Digest username="bob", response="@", n=1\nnext line', ["next line"]),
    ('sent Digest username="bob", response="@"', ["sent"]),
    ("Authorization: Bearer @", ["Authorization"]),
    ("Proxy-Authorization: Custom a @", ["Proxy-Authorization"]),
    ("curl -H 'Authorization: Bearer @' https://api.example.com/x", ["https://api.example.com/x"]),
    ("sent Bearer @ to the API", ["to the API"]),
    ("sent Basic dTpwYXNz@ to the API", ["to the API"]),
    # databases
    ('duplicate key violates "u"\nDETAIL:  Key (password)=(@) already exists.', ["already exists"]),
    ('duplicate key value violates "u"\nDETAIL:  Key (lower(email::text), n)=(@, 3) already exists.', ["lower(email"]),
    ("DETAIL:  Failing row contains (1, @, null).", ["Failing row contains"]),
    ("syntax error at or near \"@\"\nLINE 1: SELECT * FROM t WHERE a = '@'\n    ^", ["syntax error", "LINE 1"]),
    ('DataError: invalid input syntax for type integer: "@"', ["type integer"]),
    ("(1062, \"Duplicate entry '@' for key 'users.email'\")", ["1062", "for key 'users.email'"]),
    ("(1062, \"Duplicate entry 'O'@' for key 'users.email'\")", ["users.email"]),
    ("DataError: (1366, \"Incorrect integer value: '@' for column 'age' at row 1\")", ["column 'age'"]),
    ("ProgrammingError: (1064, \"error in your SQL syntax; near 'VALUES ('@')' at line 1\")", ["at line 1"]),
    ('OperationalError: unrecognized token: "@"', ["unrecognized token"]),
    ("IntegrityError('DETAIL:  Key (email)=(@) already exists.\\n')", ["already exists"]),
    ("[SQL: INSERT INTO t VALUES ('@')]\n[parameters: ('@',)]", ["[SQL"]),
    ("The duplicate key value is (@).", ["duplicate key value"]),
    # shapes
    ("key -----BEGIN RSA PRIVATE KEY-----\nMII@\n-----END RSA PRIVATE KEY-----\nnext", ["next"]),
    ("key -----BEGIN PRIVATE KEY-----\\nMII@", ["key"]),
    ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.@ from bob", ["from bob"]),
    ("got AKIAIOSFODNN7EXAMPLE@ from bob", ["from bob"]),
    ("got sk_live_51H@ from bob", ["from bob"]),
    ("got ghp_abcdefghij0123456789@ from bob", ["from bob"]),
    ("Can't retry shop.pay[1-2] args:('@',) kwargs:{'a': '@'}", ["shop.pay[1-2]"]),
]

ORDINARY = """
the password is too short; the token is invalid, the code is wrong
docker run -p 8080:80 mysql -P 3306 --port 80
curl -u bob http://db/ -o x -p
<input name="email" value="bob@example.com"> <input type="submit" value="Save">
{&quot;name&quot;: &quot;bob&quot;} &amp; a\\u003d3
Secretary('bob') of SecretService('x')
HTTP code 404, exit code 137, error code 1062
error code: 23505
code=200
GET /x?q=1&page=2 returned code=404
exit code=1
{'code': 'invalid', 'detail': 'x'}
ErrorDetail(string='Not found.', code='not_found')
status_code=500, reason=Internal Server Error
'NoneType' object has no attribute 'name'
[Errno 111] Connection refused
list index out of range
could not convert string to float: 'abc'
invalid literal for int() with base 10: 'abc'
division by zero
KeyError: 'user'
No module named 'shop.pins'
Field 'id' expected a number but got 'abc'.
Cannot resolve keyword 'nam' into field. Choices are: email, id, name, password, username
column "password" of relation "users" does not exist
relation "auth_token" does not exist
UNIQUE constraint failed: users.email
NOT NULL constraint failed: shop_order.customer_id
null value in column "name" violates not-null constraint
IntegrityError: FOREIGN KEY constraint failed
OperationalError: no such table: shop_item
ProgrammingError: relation "shop_item" does not exist
OperationalError: (2003, "Can't connect to MySQL server on 'db' (111)")
OperationalError: (1054, "Unknown column 'x' in 'field list'")
Access denied for user 'bob'@'localhost' (using password: YES)
password=None
{'token': None, 'n': 3}
password: This field is required.
Token: expected 'end of block', got 'x'
The password is too similar to the username.
This password is too common.
Unexpected token '<', "<!DOCTYPE" is not valid JSON
Unexpected token 'endblock' in template
CSRF token missing.
CSRF verification failed. Request aborted.
Signature has expired
Basic authentication required
Bearer authentication is off
Token is invalid or expired
Invalid token.
max_tokens=4096 total_tokens=12
{'prompt_tokens': 12, 'completion_tokens': 33}
token_type=bearer
PASSWORD_RESET_TIMEOUT=259200
SESSION_COOKIE_AGE=1209600
csrf_cookie_name=csrftoken
password_length=8
at /srv/app/tokens.py:12
File "/srv/app/password.py", line 12, in check
POST /api/token: 404
GPIO pin: 17
First pass: 3 rows
pin_memory=True
spin=3 topic=orders
compass=north passenger=2 secretary=Bob
tokenizer=bert-base
opinion: yes
https://example.com/path?email=bob@example.com&q=1
https://example.com:8443/a/b?x=1#top
mailto:bob@example.com
user:bob@example.com is unknown
def f(token: str) -> Order
2024-01-02T03:04:05.678Z INFO started
ratio 3:4, scores a=1 b=2
primary key: 5
cache key: user_1
for key 'users.email'
SELECT id, name FROM users WHERE id = 3
wrong call signature: (self, name)
Traceback (most recent call last):
<Order: Order object (3)>
{'id': 3, 'name': 'bob', 'tags': ['a', 'b']}
0af7651916cd43dd8448eb211c80319c
550e8400-e29b-41d4-a716-446655440000
C:\\\\Users\\\\bob: file not found
a => b, x -> y
100%3 = 1
""".strip().splitlines()


@pytest.mark.parametrize(("message", "readable"), NASTY, ids=range(len(NASTY)))
def test_secret_is_taken_out_and_the_rest_stays(message, readable):
    text = (
        message.replace("@@@", f"{C}\0\0").replace("@@", f"{C}\0")
        if "://" in message or "db:5432" in message
        else message
    )
    text = text.replace("p" + C + "\0\0", "p\0" + C + "\0").replace("@", C).replace("\0", "@")
    assert C in text
    cleaned = redactor.text(text)
    assert C not in cleaned
    assert REDACTED in cleaned
    assert [part for part in readable if part not in cleaned] == []
    assert redactor.text(cleaned) == cleaned


@pytest.mark.parametrize(("kind", "text", "secrets"), list(nasty.texts()))
def test_no_secret_of_the_corpus_is_left(kind, text, secrets):
    cleaned = redactor.text(text)
    assert [secret for secret in secrets if secret in cleaned] == []
    assert redactor.text(cleaned) == cleaned


@pytest.mark.parametrize("kind", nasty_more.KINDS)
def test_nor_of_the_texts_that_came_later(kind):
    leaked = []
    for _, text, secrets in nasty.texts({kind: nasty_more.KINDS[kind]}):
        is_database = kind.startswith("databases")
        said = redactor.text(database_messages.without_values(text) if is_database else text)
        leaked += [(text, said) for secret in secrets if secret in said]
        assert redactor.text(said) == said
    assert leaked == []


@pytest.mark.parametrize("secret", [C, "8f3a9c0d1e2b4f5a6b7c8d9e0f1a2b3c", "Kq7/yZ+0vB"])
@pytest.mark.parametrize("kind", nasty_libraries.KINDS)
def test_nor_of_what_libraries_say_whatever_the_secret_looks_like(kind, secret):
    leaked = []
    for line in nasty_libraries.KINDS[kind].strip("\n").split("\n"):
        text = line.replace("␤", "\n").replace("§", secret).replace("№", "407193")
        said = redactor.text(database_messages.without_values(text) if kind.startswith("databases") else text)
        leaked += [(line, said) for each in (secret, "407193", C) if each in said]
        assert redactor.text(said) == said
    assert leaked == []


@pytest.mark.parametrize("text", [*ordinary.TEXTS, *(text.replace("␤", "\n") for text in ordinary_more.TEXTS)])
def test_texts_that_speak_of_secrets_stay_as_they_are(text):
    assert redactor.text(text) == text


@pytest.mark.parametrize(
    "words",
    [
        ["curl", "-u", "bob:@", "https://h"],
        ["/usr/bin/mysql", "-uroot", "-p@"],
        ["rabbitmqctl", "add_user", "bob", "@"],
        ["isql", "-v", "shop", "bob", "@"],
        ["redis-cli", "-a", "@"],
        ["sshpass", "-p", "@", "ssh"],
        ["htpasswd", "-b", "f", "bob", "@"],
        ["celery", "-b", "redis://:@@h", "worker"],
        ["sh", "-c", "PGPASSWORD=@ psql"],
        ["manage.py", "login", "--password", "@"],
    ],
)
def test_words_of_a_command(words):
    cleaned = redactor.attribute("process.command_args", [word.replace("@", C, 1) for word in words])
    assert C not in str(cleaned)
    assert [word for word in words if "@" not in word] == [word for word in cleaned if REDACTED not in word]


def test_words_of_a_harmless_command_are_the_same_list():
    words = ["gunicorn", "-w", "4", "-b", "0.0.0.0:8000", "-p", "/run/x.pid", "shop.wsgi"]
    assert redactor.attribute("process.command_args", words) is words


def test_a_token_among_the_protocols_of_a_websocket():
    header = "http.request.header.sec_websocket_protocol"
    assert redactor.attribute(header, ("bearer", C)) == REDACTED
    assert redactor.attribute(header, [f"graphql-ws, access_token, {C}"]) == REDACTED
    assert redactor.attribute(header, ["graphql-ws"]) == ["graphql-ws"]
    assert redactor.attribute(header, None) is None


def test_userinfo_without_a_scheme():
    assert redactor.text("u:p@cAnary7x@h is down") == "[redacted]@h is down"


@pytest.mark.parametrize("message", ORDINARY)
def test_ordinary_text_stays_as_it_is(message):
    assert redactor.text(message) == message


@pytest.mark.parametrize(
    ("query", "cleaned"),
    [
        ("q=1&token=abc", "q=1&token=[redacted]"),
        ("pass%77ord=abc&q=1", "pass%77ord=[redacted]&q=1"),
        ("pass%2577ord=abc&q=1", "pass%2577ord=[redacted]&q=1"),
        ("user[pin]=1234&user[name]=bob", "user[pin]=[redacted]&user[name]=bob"),
        ("code=abc&ticket=abc&SAMLResponse=abc", "code=[redacted]&ticket=[redacted]&SAMLResponse=[redacted]"),
        ("next=/x?token=abc&q=1", "next=/x?token=[redacted]&q=1"),
        ("next=/x%3Fcode%3D8fcAnary7xabcdef0123&q=1", "next=/x%3Fcode%3D[redacted]&q=1"),
        ("code=8f3a9c0d&q=1", "code=[redacted]&q=1"),
        ("next=%2Fx%3Ftoken%3Dabc&q=1", "next=%2Fx%3Ftoken%3D[redacted]&q=1"),
        ('j={"password":"abc","n":3}&q=1', 'j={"password":[redacted],"n":3}&q=1'),
        ("page=2&sort=-name&q=a%20b&flag&empty=&token=", "page=2&sort=-name&q=a%20b&flag&empty=&token="),
        ("postcode=12345&country_code=de", "postcode=12345&country_code=de"),
        ("", ""),
    ],
)
def test_query_string(query, cleaned):
    assert redactor.query(query) == cleaned


def test_names_of_secrets_and_their_neighbours():
    secret = "http.request.header.cookie user.password x-api-key app.user_pin django.session.session_key jwt"
    others = (
        "session.id http.response.status_code code code.function.name gen_ai.token.type db.system.name k8s.secret.name"
    )
    assert [name for name in secret.split() if not redactor.is_secret_name(name)] == []
    assert [name for name in others.split() if redactor.is_secret_name(name)] == []


def test_names_of_the_settings_are_secret_too():
    more = Redactor(("tax_id",))
    assert more.text("tax_id=12, TaxId: 34, tax=5") == "tax_id=[redacted], TaxId: [redacted], tax=5"
    assert more.is_secret_name("customer.tax_id")
    assert redactor.text("tax_id=12") == "tax_id=12"
