# ruff: noqa: E501 - texts as others write them
"""More texts without a secret, as libraries, servers and tools write them; `␤` is a line feed."""

TEXTS = r"""
jinja2.exceptions.TemplateSyntaxError: expected token ';', got 'end of statement block'
jinja2.exceptions.TemplateSyntaxError: expected token 'end of print statement', got 'name'
token expected ';'
SyntaxError: expected token ')' on line 3
ParseError: unexpected token: identifier (line 3, column 7)
sqlglot.errors.ParseError: Invalid expression / Unexpected token. Line 1, Col: 12.
yaml.scanner.ScannerError: while scanning for the next token␤found character '%' that cannot start any token
graphql.error.syntax_error.GraphQLSyntaxError: Syntax Error: Expected Name, found '}'.
json.decoder.JSONDecodeError: Expecting ',' delimiter: line 1 column 9 (char 8)
key error
KeyError: 'key'
key error: 'orders'
KeyError: ('orders', 3)
cache key error: key too long (300 > 250)
django.core.cache.backends.base.InvalidCacheKey: Cache key contains characters that will cause errors if used with memcached: ':1:a b'
django.core.cache.backends.base.InvalidCacheBackendError: Could not find backend 'x'
CACHE_KEY=orders_1
PRIMARY_KEY=id
PARTITION_KEY=tenant, SORT_KEY=created
SORT_KEY: created
primary_key=True unique_key=order_id
lookup_key='slug' object_key=uploads/2024/01/photo.jpg
routing_key='orders.created' queue=orders
foreign key constraint "shop_order_customer_id_fk" cannot be implemented
keys: id, name, price
Key ordering: id, name
private key file not found: /etc/ssl/private/server.key
SSL_CERT_FILE=/etc/ssl/certs/ca.pem
password_file=/run/secrets/db
token_path=/var/run/secrets/kubernetes.io/serviceaccount/token
/run/secrets/db_password: permission denied
open /etc/kubernetes/pki/sa.key: no such file or directory
FileNotFoundError: [Errno 2] No such file or directory: '/run/secrets/api_token'
PermissionError: [Errno 13] Permission denied: '/home/bob/.pgpass'
C:\Users\bob\AppData\Local\Temp\x\u0041.txt is gone
django.core.signing.BadSignature: Signature age 3601 > 3600 seconds
django.core.signing.SignatureExpired: Signature age 3601 > 3600 seconds
jwt.exceptions.InvalidTokenError: Token must be a string
jwt.exceptions.InvalidAudienceError: Audience doesn't match
jwt.exceptions.InvalidKeyError: Expecting a PEM-formatted key.
rest_framework_simplejwt.exceptions.InvalidToken: {'detail': 'Given token not valid for any token type', 'code': 'token_not_valid'}
oauthlib.oauth2.rfc6749.errors.MissingTokenError: (missing_token) Missing access token parameter.
oauthlib.oauth2.rfc6749.errors.InvalidGrantError: (invalid_grant) Bad Request
ldap.INVALID_CREDENTIALS: {'result': 49, 'desc': 'Invalid credentials', 'ctrls': []}
smtplib.SMTPAuthenticationError: (535, b'5.7.8 Username and Password not accepted. For more information, go to help')
smtp: 250-AUTH PLAIN LOGIN CRAM-MD5 OAUTHBEARER
smtplib.SMTPNotSupportedError: SMTP AUTH extension not supported by server.
imaplib.error: LOGIN command error: BAD
redis.exceptions.ResponseError: NOAUTH Authentication required.
redis.exceptions.ResponseError: WRONGTYPE Operation against a key holding the wrong kind of value
redis.exceptions.AuthenticationError: AUTH failed for user
kombu.exceptions.OperationalError: [Errno 111] Connection refused
amqp.exceptions.NotFound: Queue.declare: (404) NOT_FOUND - no queue 'orders' in vhost '/'
celery.exceptions.NotRegistered: 'shop.tasks.rotate_token'
celery.exceptions.SoftTimeLimitExceeded: SoftTimeLimitExceeded()
psycopg.errors.UndefinedColumn: column "passwd" does not exist
psycopg.errors.UndefinedTable: relation "secrets" does not exist
psycopg.OperationalError: connection failed: FATAL:  password authentication failed for user "bob"
psycopg.OperationalError: fe_sendauth: no password supplied
MySQLdb.OperationalError: (1045, "Access denied for user 'bob'@'10.0.0.1' (using password: NO)")
MySQLdb.OperationalError: (1071, 'Specified key was too long; max key length is 3072 bytes')
django.db.utils.ProgrammingError: column shop_token.key does not exist
django.core.exceptions.FieldError: Cannot resolve keyword 'token' into field. Choices are: created, id, key, user, user_id
django.core.exceptions.FieldDoesNotExist: User has no field named 'pin'
django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty.
django.core.exceptions.ValidationError: ['“abc” is not a valid UUID.']
django.core.exceptions.ValidationError: ['“2024-13-01” value has an invalid date format.']
django.urls.exceptions.NoReverseMatch: Reverse for 'reset' with keyword arguments '{}' not found. 1 pattern(s) tried: ['reset/(?P<token>[^/]+)/\\Z']
django.template.exceptions.TemplateDoesNotExist: registration/password_change_form.html
AssertionError: assert 'total' == order.total
assert 'blue' == car.color
argument --port: invalid int value: 'abc'
argument --token-type: invalid choice: 'x' (choose from 'a', 'b')
manage.py: error: argument --password-stdin: expected one argument
usage: login [-h] [--password PASSWORD] [--token TOKEN]
usage: isql DSN UID PWD [options]
isql is not installed
isql failed with code 3
echo done | gpg --version
curl -E client.pem https://h/
curl --cert /etc/ssl/client.pem https://h/
PASS tests/test_orders.py
PASS src/app.test.js (5.2 s)
USER bob logged in
login('bob') failed
login(user, request) failed: no backend
Variable "color" is not defined
variable "region" { default = "eu-central-1" }
password␤  Field required
Passwords:␤they must match
The following tokens:␤  are listed below
Token:␤    see the documentation
steps:␤  - name: build␤    run: make
services:␤  db:␤    image: postgres
apiVersion: v1␤kind: ConfigMap␤data:␤  color: blue
{"kind": "Deployment", "data": {"color": "blue"}}
{'type': 'missing', 'msg': 'Field required', 'input': 'x'}
Sec-WebSocket-Protocol: graphql-ws
Sec-WebSocket-Protocol: mqtt, v1.stomp
websocket closed: code=1006 reason=abnormal
AKIA is how they begin
Secret types: Opaque, kubernetes.io/tls
<string name="color">blue</string>
<key>color</key><string>blue</string>
<button name="reset_password">Reset</button>
<a href="/password/reset/">Forgotten?</a>
<label name="password">Password</label>
Content-Disposition: form-data; name="color"␤␤blue
Cookie(version=0, name='theme')
jwt.decode() takes 2 positional arguments
hmac.new() missing required argument 'digestmod' (pos 3)
hmac.compare_digest is used
Traceback (most recent call last):␤  File "/srv/shop/views.py", line 12, in login␤    user = authenticate(request, username=username, password=password)␤  File "/srv/shop/tokens.py", line 3, in check␤    return self.token == token
  File "/usr/lib/python3.12/site-packages/jwt/api_jws.py", line 255, in _load␤    raise DecodeError("Not enough segments")
    raise InvalidToken from None
    token = request.headers.get("X-Token")
    if key not in self.keys: raise KeyError(key)
    headers = {"Authorization": f"Bearer {token}"}
Namespace(verbose=True, port=8000)
User(id=3, name='bob', is_staff=False)
Order(id=3, status=<Status.PAID: 'paid'>, total=Decimal('12.50'))
subprocess.CalledProcessError: Command '['git', 'push', '-u', 'origin', 'main']' returned non-zero exit status 1.
subprocess.CalledProcessError: Command 'make -k test' returned non-zero exit status 2.
requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.h', port=443): Max retries exceeded with url: /v1/orders?page=2&sort=-created (Caused by NewConnectionError('x: Failed to establish a new connection: [Errno 111] Connection refused'))
requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://api.h/v1/tokens/3
urllib3.exceptions.MaxRetryError: too many 500 error responses
ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self signed certificate (_ssl.c:1007)
socket.gaierror: [Errno -2] Name or service not known
OSError: [Errno 28] No space left on device: '/var/tmp/upload'
UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte
b'\xff\xfe\x00 is no text'
openai.RateLimitError: Rate limit reached for model: Limit 10000 tokens, used 9000, requested 2000
openai.BadRequestError: This model's maximum context length is 8192 tokens, you requested 9000 tokens
2024-01-02 03:04:05 level=info msg="token refreshed" user=bob took=3ms
{"level": "info", "msg": "session expired", "user": 3}
step a -> step b => step c
h:5432 is up, h:6379 is down
arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-x
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
git commit 9fceb02d0ae598e95dc970b74767f19372d61af8
image registry.h:5000/shop/web:1.2.3
std::string token::name
SELECT token::text FROM t
Can't retry shop.pay: too many
""".strip("\n").split("\n")
