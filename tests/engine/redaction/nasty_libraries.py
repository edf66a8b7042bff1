# ruff: noqa: E501, RUF001 - texts as others write them
"""Texts with secrets as real libraries write them: `§` stands for a secret, `№` for one of digits only."""

KINDS = {
    "names that hide": r"""
{"pass\u0077ord": "§"}
{"p\u0061ssword":"§","user":"bob"}
{"\u0061pi_key": "§"}
secrets:␤  - §␤  - §
secrets:␤- §␤- "§"␤user: bob
tokens:␤    - name: a␤      value: §␤    - §
passwords:␤  bob: §␤  eve: '§'
credentials:␤  login: bob␤  key: §
Authorization: Bearer␤ §
Cookie: a=1;␤  sessionid=§;␤  b=§
X-Auth-Token:␤	§
STRIPE_KEY='§'
STRIPE_KEY=§
MAILGUN_KEY: §
export SENDGRID_KEY="§"
{'STRIPE_KEY': '§'}
FERNET_KEY = b'§'
HASHIDS_SALT='§'
X-Amzn-Oidc-Data: §
X-Amzn-Oidc-Accesstoken: §
X-Forwarded-Client-Cert: Hash=ab;Cert="§"
X-SSL-Client-Cert: §
HTTP_X_SSL_CLIENT_CERT=§
X-Client-Cert: -----BEGIN%20CERTIFICATE-----%0AMII§%0A-----END%20CERTIFICATE-----
Sec-WebSocket-Protocol: bearer, §
sec-websocket-protocol: access_token, §
Sec-WebSocket-Protocol: graphql-ws, authorization.bearer.§
{'sec-websocket-protocol': 'bearer, §'}
AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/cAnary7xEXAMPLEKEY
aws key AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/cAnary7xEXAMPLEKEY
('AKIAIOSFODNN7EXAMPLE', 'wJalrXUtnFEMI/K7MDENG/cAnary7xEXAMPLEKEY')
isql -v shop bob §
isql shop bob § -b
['isql', 'shop', 'bob', '§']
""",
    "HTTP clients": r"""
requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://api.h/v2/x?apikey=§&format=json
requests.exceptions.ProxyError: HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: / (Caused by ProxyError('Cannot connect to proxy http://bob:§@p:8080'))
requests.exceptions.TooManyRedirects: Exceeded 30 redirects: https://h/sso?SAMLRequest=§
<PreparedRequest [POST]> headers={'User-Agent': 'x', 'Authorization': 'Basic §cAnary7x=='} body='grant_type=password&username=bob&password=§'
HTTPBasicAuth(username='bob', password='§')
requests.auth.HTTPBasicAuth('bob', '§'), auth=('bob', '§')
httpx.HTTPStatusError: Client error '403 Forbidden' for url 'https://h/api?sig=§'
httpx.Request('GET', 'https://bob:§@h/x')
Headers([('accept', '*/*'), ('authorization', 'Bearer §')])
aiohttp.client_exceptions.ClientResponseError: 401, message='Unauthorized', url='https://h/x?token=§'
aiohttp.BasicAuth(login='bob', password='§', encoding='latin1')
urllib3.util.retry Retry: (total=2) /v1/charges?client_secret=§ broke
DEBUG:urllib3.connectionpool:https://h:443 "GET /x?access_key=§ HTTP/1.1" 401 None
send: b'POST /login HTTP/1.1\r\nHost: h\r\nX-Api-Key: §\r\nContent-Length: 3\r\n\r\n'
send: b'{"username": "bob", "password": "§"}'
reply: 'HTTP/1.1 200 OK\r\n' header: Set-Cookie: session=§; Path=/
<RequestsCookieJar[Cookie(version=0, name='sessionid', value='§', port=None, domain='h')]>
Cookie(version=0, name='tracking', value='§', port=None, port_specified=False, domain='h')
curl: (22) The requested URL returned error: 401 for 'https://h/?auth_token=§'
curl -X POST https://h/oauth/token -d client_id=x -d client_secret=§
curl -sS -H "PRIVATE-TOKEN: §" https://gitlab.h/api/v4/projects
curl --oauth2-bearer § https://h/
curl --proxy-user bob:§ -x p:3128 https://h/
curl --form-string "pin=§" https://h/
curl 'https://h/' --data-raw $'{"query":"mutation { login(password: \"§\") { id } }"}'
curl --cert client.pem:§ https://h/
wget --http-password=§ https://h/
""",
    "clouds": r"""
botocore.exceptions.ClientError: An error occurred (InvalidClientTokenId): Credentials(access_key='x', secret_key='§', token='§')
boto3.client('s3', aws_access_key_id='x', aws_secret_access_key='§', aws_session_token='§')
{'Credentials': {'AccessKeyId': 'ASIAX', 'SecretAccessKey': '§', 'SessionToken': '§', 'Expiration': datetime.datetime(2024, 1, 1)}}
{"AuthorizationToken":{"Token":"§","ProxyEndpoint":"https://h"}}
{"authorizationData":[{"authorizationToken":"§","expiresAt":1}]}
SECRET_ACCESS_KEY: §
[default]␤aws_access_key_id = AKIAIOSFODNN7EXAMPLE␤aws_secret_access_key = §␤aws_session_token = §
x-amz-security-token:§
azure.core.exceptions.ClientAuthenticationError: AADSTS7000215: Invalid client secret provided: '§'
ClientSecretCredential(tenant_id='x', client_id='y', client_secret='§')
google.auth.exceptions.RefreshError: ('invalid_grant', {'refresh_token': '§'})
{"type": "authorized_user", "client_id": "x", "client_secret": "§", "refresh_token": "§"}
stripe.error.AuthenticationError: Invalid API Key provided: sk_test_****§
stripe.error.CardError: Request req_1: Your card was declined. {'card': {'number': '§', 'cvc': '№'}}
StripeClient(api_key='§', stripe_version='x')
client_secret=pi_3Mt_secret_§
twilio.base.exceptions.TwilioRestException: HTTP 401 error: Unable to create record: authenticate {'sid': 'AC1', 'auth_token': '§'}
twilio Client(username=AC0123456789abcdef0123456789abcdef, password=§)
sendgrid: python_http_client.exceptions.UnauthorizedError: headers={'Authorization': 'Bearer §', 'X': 1}
SENDGRID_API_KEY=§ is not valid
mailchimp said no to 0123456789abcdef0123456789№-us19
slack_sdk.errors.SlackApiError: invalid_auth {'ok': False}, WebClient(token='§')
https://hooks.slack.com/workflows/T0/A0/1/§
https://outlook.office.com/webhook/a@b/IncomingWebhook/§/x
https://api.telegram.org/bot123456789:§/getMe
algolia: appId=X, adminApiKey=§
firebase: FIREBASE_AUTH_KEY=§
newrelic license_key = §
DD_API_KEY=§ DD_APP_KEY=§
""",
    "databases and brokers": r"""
psycopg.OperationalError: connection failed: :1), port 5432 failed: FATAL: password authentication failed; dsn: user=bob password=§ host=h
psycopg2.connect("dbname=shop user=bob password='§' host=h")
psycopg.conninfo {'user': 'bob', 'password': '§', 'dbname': 'd'}
psycopg_pool.PoolTimeout: couldn't get a connection; conninfo='postgresql://bob:§@h/d?sslmode=require'
asyncpg.connect(dsn='postgres://bob:§@h/d', passfile=None)
<connection object at 0x7f; dsn: 'user=bob password=§ dbname=d', closed: 0>
MySQLdb.connect(user='bob', passwd='§', host='h')
MySQLdb.OperationalError: (1045, "Access denied for user 'bob'@'h' (using password: YES)") while connecting with {'passwd': '§', 'db': 'x'}
mysql.connector.errors.ProgrammingError: 1045: {'user': 'bob', 'password': '§', 'raise_on_warnings': True}
(2003, "Can't connect") mysql+mysqldb://bob:§@h/d
engine=create_engine('mysql://bob:§@h/d')
SQLALCHEMY_DATABASE_URI = 'postgresql://bob:§@h/d'
ConnectionPool<Connection<host=h,port=6379,db=0,username=bob,password=§>>
<redis.connection.ConnectionPool(<redis.connection.Connection(host=h,password=§,db=0)>)>
redis.from_url(redis://h:6379/0?password=§)
{'host': 'h', 'port': 6379, 'db': 0, 'password': '§', 'retry': None}
"HELLO" "3" "AUTH" "default" "§"
1700000000.1 [0 127.0.0.1:1] "AUTH" "§"
HELLO 3 AUTH default §
CONFIG SET masterauth §
CONFIG SET requirepass "§"
kombu.exceptions.OperationalError: [Errno 111] Connection(userid='bob', password='§')
amqp.exceptions.AccessRefused: (0, 0): (403) ACCESS_REFUSED - Login refused; transport amqps://bob:§@h:5671/%2Fshop
pika.URLParameters amqp://bob:§@h:5672/%2F?heartbeat=30
PlainCredentials('bob', '§')
pika.PlainCredentials(username='bob', password='§')
kafka: sasl_plain_username='bob', sasl_plain_password='§'
confluent_kafka conf {'sasl.username': 'bob', 'sasl.password': '§'}
pymongo.errors.OperationFailure: Authentication failed., full error: {'ok': 0.0}; client MongoClient('mongodb://bob:§@h:27017/?authSource=admin')
MongoClient(host=['h:27017'], username='bob', password='§', authsource='admin')
{'saslStart': 1, 'mechanism': 'PLAIN', 'payload': Binary(b'\x00bob\x00§', 0)}
elasticsearch.AuthenticationException: Elasticsearch(hosts=['https://h'], api_key=('id', '§'))
ldap.INVALID_CREDENTIALS: {'result': 49, 'desc': 'Invalid credentials'} simple_bind_s('cn=bob,dc=x', '§')
ldap3.Connection(server='h', user='cn=bob', password='§', auto_bind=True)
Connection(Server(host='h', port=389), user='cn=bob', password='§', client_strategy='SYNC')
userPassword: {SSHA}§
userPassword:: §=
bindpw §
CREATE USER bob WITH ENCRYPTED PASSWORD '§' VALID UNTIL 'x'
ALTER ROLE bob PASSWORD '§'
GRANT ALL ON d.* TO 'bob'@'%' IDENTIFIED BY '§'
CREATE SUBSCRIPTION s CONNECTION 'host=h user=bob password=§' PUBLICATION p
CREATE DATABASE LINK l CONNECT TO bob IDENTIFIED BY "§" USING 'x'
COPY t FROM 's3://b/k' CREDENTIALS 'aws_access_key_id=x;aws_secret_access_key=§'
SELECT pgp_sym_decrypt(c, '§') FROM t
SELECT dblink_connect('host=h user=bob password=§')
SET SESSION AUTHORIZATION; SET app.token = '§'
PRAGMA key = '§'
""",
    "settings and files": r"""
SECRET_KEY='§' is insecure
ImproperlyConfigured: SECRET_KEY = 'django-insecure-§'
SECRET_KEY_FALLBACKS = ['§', '§']
DATABASES = {'default': {'ENGINE': 'x', 'PASSWORD': '§', 'TEST': {}}}
CACHES={'default': {'LOCATION': 'redis://:§@h:6379/1', 'OPTIONS': {'PASSWORD': '§'}}}
EMAIL_HOST_USER='bob'; EMAIL_HOST_PASSWORD='§'
<Settings "shop.settings"> AWS_S3_SECRET_ACCESS_KEY='§'
SOCIAL_AUTH_GOOGLE_OAUTH2_SECRET = '§'
SIMPLE_JWT = {'SIGNING_KEY': '§', 'ALGORITHM': 'HS256'}
AUTH0_CLIENT_SECRET=§
RECAPTCHA_PRIVATE_KEY="§"
ENCRYPTION_KEY: §
Python-dotenv could not parse statement starting at line 3: DB_PASSWORD="§
environ.ImproperlyConfigured: DATABASE_URL='postgres://u:§@h/d'
decouple.UndefinedValueError: API_TOKEN=§ not found
[mail]␤user = bob␤pass = §
[client]␤user=bob␤password="§"
[distutils]␤[pypi]␤username = __token__␤password = §
[database]␤password = "§" # toml
api = { url = "https://h", token = "§" }
tokens = ["§", "§"]
{:password "§" :user "bob"}
password = <<EOF␤§␤EOF
apiVersion: v1␤kind: Secret␤data:␤  api: §␤  other: §
apiVersion: v1␤kind: Secret␤metadata:␤  name: x␤stringData:␤  api: "§"
        env:␤        - name: DB_PASSWORD␤          value: "§"
{"apiVersion":"v1","kind":"Secret","data":{"api":"§"}}
{"spec":{"containers":[{"env":[{"name":"API_TOKEN","value":"§"}]}]}}
environment:␤  - DB_PASSWORD=§␤  - DEBUG=1
environment:␤  DB_PASSWORD: §
variable "db_password" {␤  default = "§"␤}
resource "aws_db_instance" "x" {␤  username = "bob"␤  password = "§"␤}
terraform apply -var="db_password=§"
terraform apply -var db_password=§
  ~ master_password = "§" -> "§"
+ client_secret = (sensitive) -> "§"
admin_password: "{{ '§' }}"
ansible_become_pass=§ ansible_user=bob
machine api.h login bob password §
default login bob password §
<server><id>x</id><username>bob</username><password>§</password></server>
<string name="api_key">§</string>
<key>apiToken</key><string>§</string>
<entry key="password">§</entry>
<Secret>§</Secret>
passwordHash: §
password.hash=§
ssh_pass: §
wifi psk="§"
wpa_passphrase=§
""",
    "Python": r"""
subprocess.CalledProcessError: Command '['mysql', '-ubob', '-p§', 'd']' returned non-zero exit status 1.
subprocess.CalledProcessError: Command '['rclone', 'copy', '--s3-secret-access-key', '§']' returned non-zero exit status 1.
subprocess.TimeoutExpired: Command '['docker', 'run', '-e', 'API_TOKEN=§', 'x']' timed out after 3 seconds
subprocess.CalledProcessError: Command 'echo § | gpg --passphrase-fd 0 -d x' returned non-zero exit status 2.
FileNotFoundError: [Errno 2] No such file or directory: 'psql postgres://bob:§@h/d'
manage.py: error: argument --password: invalid int value: '§'
manage.py: error: unrecognized arguments: --token=§
error: argument --api-key: expected one argument, got '§'
Namespace(host='h', api_key='§', verbose=False)
click.exceptions.BadParameter: Invalid value for '--password': '§' is not good
1 validation error for Settings␤db.password␤  String should match pattern '^a' [type=string_pattern_mismatch, input_value='§', input_type=str]
1 validation error for Login␤  Value error, bad [type=value_error, input_value={'user': 'bob', 'password': '§'}, input_type=dict]
[{'type': 'string_too_short', 'loc': ('password',), 'msg': 'String should have at least 8 characters', 'input': '§', 'ctx': {'min_length': 8}}]
{"detail":[{"type":"missing","loc":["body","email"],"msg":"Field required","input":{"password":"§"}}]}
pydantic_core._pydantic_core.ValidationError: api_token␤  Input should be a valid string [type=string_type, input_value=b'§', input_type=bytes]
marshmallow.exceptions.ValidationError: {'password': ['Invalid value: §']}
attr.exceptions: Credentials(user='bob', secret=b'§')
@dataclass Login(user='bob', pin=№, otp='№')
Login(user='bob', password="it's §", n=1)
KeyError: "password='§'"
AssertionError: Expected call: login('bob', password='§')␤Actual: login('bob', password='§')
assert '§' == user.password
UnicodeEncodeError: 'ascii' codec can't encode character '\xe9' in position 3: password='§é'
UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 9: invalid start byte: b'password=§\xff'
ValueError: Invalid isoformat string: token=§
ValueError: dictionary update sequence element #0 has length 3; 2 is required: [('password', '§', 1)]
ValueError: password: '§' has no digits
django.core.exceptions.ValidationError: ['“§” is not a valid password.']
django.core.exceptions.SuspiciousOperation: Invalid token value “§”
django.core.signing.BadSignature: Signature "§" does not match
itsdangerous.exc.BadSignature: Signature b'§' does not match
jwt.exceptions.InvalidKeyError: too short for HS256, secret='§'
jwt.encode({'sub': 1}, '§', algorithm='HS256')
jwt.decode(token, key='§')
jose.exceptions.JWKError: Unable to parse RSA JWK {'kty': 'RSA', 'n': 'x', 'd': '§', 'p': '§'}
{'kty': 'oct', 'k': '§'}
{"keys": [{"kty": "EC", "crv": "P-256", "d": "§"}]}
cryptography.fernet.Fernet(b'§cAnary7xabcdefghijklmnopqrstuvwxyzabc=')
hmac.new(b'§', msg, 'sha256')
paramiko.ssh_exception.AuthenticationException: connect(hostname='h', username='bob', password='§', pkey=None)
smtplib.SMTPAuthenticationError: (535, b'5.7.8 Username and Password not accepted'), login('bob', '§')
server.login("bob", "§")
imaplib: > GBLM1 LOGIN bob §
a1 LOGIN bob "§"
send: 'AUTH PLAIN AGJvYgBj§cAnary7xabc=\r\n'
> USER bob\r\n> PASS §\r\n
USER bob␤PASS §
RuntimeError: login failed (user='bob', pwd='§')
RuntimeError('login', {'otp': '№'})
warnings.warn("token cAnary7x is deprecated")
""",
    "protocols": r"""
<samlp:Response><ds:SignatureValue>§</ds:SignatureValue></samlp:Response>
<wsse:BinarySecurityToken EncodingType="x">§</wsse:BinarySecurityToken>
SAMLResponse=PHNhbWxwOl§%3D&RelayState=x
POST /saml/acs SAMLResponse: §
oauthlib.oauth2.rfc6749.errors.InvalidGrantError: (invalid_grant) code=§cAnary7xabcd1234
{'grant_type': 'authorization_code', 'code': '§cAnary7xabcd1234', 'redirect_uri': 'https://h'}
{"id_token": "§", "at_hash": "x"}
{"device_code":"§","verification_uri":"https://h"}
client_assertion_type=x&client_assertion=§
authlib: token={'access_token': '§', 'refresh_token': '§', 'expires_at': 1}
DPoP: §
Authorization: DPoP §
Authorization: PrivateToken token=§
Authorization: Signature keyId="x",signature="§"
Authorization: Bot §
Authorization: Key §
{"query":"mutation($p:String!){login(password:$p){id}}","variables":{"p":"x","password":"§"}}
variables: {'input': {'email': 'b@h', 'newPassword': '§'}}
mutation { login(email: "b@h", password: "§") { token } }
mutation {␤  resetPassword(token: "§", newPassword: "§") { ok }␤}
------x␤Content-Disposition: form-data; name="password"␤Content-Type: text/plain␤␤§␤------x--
Content-Disposition: form-data; name=password\r\n\r\n§\r\n
b'--x\r\nContent-Disposition: form-data; name="pin"\r\n\r\n§\r\n--x--'
grpc: metadata=(('authorization', 'Bearer §'), ('x', 'y'))
grpc._channel._InactiveRpcError: debug_error_string = "metadata x-api-key:§"
STUN password: §; ice-pwd:§
a=ice-pwd:§
PROXY_AUTHORIZATION=Basic §
X-Hasura-Admin-Secret: §
x-goog-iap-jwt-assertion: §
CF-Access-Client-Secret: §
CF_Authorization=§
X-Consumer-Key: §
X-Access-Key: §
X-Session-Id: §
X-Datadog-API-Key: §
Api-Key: §
Set-Cookie: remember_me=§; Max-Age=3
document.cookie = "a=§"
{"event":"login","fields":{"password":"§"}}
{"time":"2024","msg":"retrying with token=§","level":"warn"}
{"level":"error","error":"pq: password authentication failed","dsn":"postgres://bob:§@h/d"}
time="2024" level=error msg="bad token" token="§"
ts=2024 caller=x.go:1 api_key=§ err="x"
<14>1 2024-01-01T00:00:00Z h app - - [auth@1 password="§"] login
h - bob [01/Jan/2024] "POST /login?pwd=§ HTTP/1.1" 401 0
type=USER_AUTH msg='op=login acct="bob" password="§"'
event=login|password=§|user=bob
passwd:=§
password：§
PASSWORD␟=x; Password =  §
""",
    "tools and pages": r"""
{"apikey" : '§'}
{"user":{"secretAnswer":"§"}}
{"data":{"login":{"accessToken":"§"}}}
{"mfa":{"backup_codes":["§","§"]}}
{"recoveryCodes":["§"]}
{'HTTP_X_CSRFTOKEN': '§'}
{'wsgi.input': b'password=§'}
POST data: b'username=bob&password=§&next=%2F'
request.body = b'{"pin": "§"}'
<WSGIRequest: POST '/reset/?token=§'>
<HttpResponseRedirect status_code=302, "text/html; charset=utf-8", url="/x?access_token=§">
Unauthorized: /api/?api_key=§
[27/Nov/2026 10:00:00] "GET /?token=§ HTTP/1.1" 200 12
django.security.csrf Forbidden (CSRF token from POST incorrect.): csrfmiddlewaretoken=§
session data: {'_auth_user_id': '1', '_auth_user_hash': '§'}
_auth_user_hash=§
Celery: Task login(user='bob', password='§') received
[tasks] kwargs: {"credentials": {"user": "bob", "key": "§"}}
kombu.exceptions.EncodeError: Object of type X is not JSON serializable: {'password': '§'}
celery.exceptions.Retry: Retry in 3s: HTTPError('https://h/?sig=§')
broker_transport_options={'region': 'x', 'predefined_queues': {'q': {'url': 'https://h', 'access_key_id': 'x', 'secret_access_key': '§'}}}
ValueError: The view returned token='§' instead
AttributeError: 'str' object has no attribute 'token': '§'.token
RuntimeError: ('bad credentials', {'user': 'bob', 'pw': '§'})
Exception('password', '§')
KeyError: {'password': '§'}
LookupError: no user for api key '§'
ConnectionError: could not connect with user=bob;password=§;timeout=3
TimeoutError: [Errno 110] rediss://default:§@h:6380?ssl_cert_reqs=none
RedisClusterException: ERROR sending "cluster slots" to redis://:§@h:7000
pymongo.errors.ConfigurationError: mongodb+srv://bob:§@c.mongodb.net/?authMechanism=SCRAM-SHA-1
sqlalchemy.exc.ArgumentError: Could not parse SQLAlchemy URL from string 'postgresql//bob:§@h/d'
psycopg.OperationalError: connection is bad: invalid URI: "postgresql://bob:§@h:port/d"
psycopg.ProgrammingError: invalid connection option "passwrd": user=bob passwrd=§
ldap3.core.exceptions.LDAPBindError: automatic bind not successful - invalidCredentials, password='§'
requests_oauthlib: token_updater={'access_token': '§'}
msal: AADSTS50126: Error validating credentials: username=bob@h password=§
openai.AuthenticationError: Error code: 401 - {'error': {'message': 'Incorrect API key provided: sk-proj-§cAnary7xabcdefgh. You can find'}}
anthropic.AuthenticationError: x-api-key: sk-ant-api03-§cAnary7x
stripe.InvalidRequestError: No such token: 'tok_§'
braintree: merchant_id=x public_key=y private_key=§
paypal: {"client_id":"x","secret":"§"}
plaid: {'secret': '§', 'access_token': 'access-sandbox-§'}
docker.errors.APIError: 500 X-Registry-Auth: §
kubernetes.client.exceptions.ApiException: HTTP request headers: HTTPHeaderDict({'Authorization': 'Bearer §'})
hvac.exceptions.Forbidden: permission denied, X-Vault-Token=§
consul: X-Consul-Token: §
paramiko: key passphrase='§' wrong
asyncssh.connect('h', username='bob', password='§')
fabric Config: connect_kwargs={'password': '§'}
winrm.Session('h', auth=('bob', '§'))
ftplib.FTP('h', 'bob', '§')
imapclient.login('bob', '§')
telnetlib: Password: §
paho.mqtt username_pw_set('bob', '§')
serial: PIN=№
GITHUB_TOKEN=§ git push
env: DJANGO_SUPERUSER_PASSWORD=§
export DATABASE_PASSWORD='§'; ./run
docker: -e POSTGRES_PASSWORD=§ postgres
ARG SECRET=§
--build-arg NPM_TOKEN=§
ansible: {"ansible_ssh_pass": "§"}
terraform.tfvars: db_pass = "§"
secrets.yaml: api_key: §
helm: --set-string auth.rootPassword=§
systemd: Environment="API_SECRET=§"
nginx: proxy_set_header Authorization "Basic §cAnary7x";
apache: SetEnv DB_PASSWORD §
crontab: 0 * * * * TOKEN=§ /run
postgres log: statement: ALTER USER bob PASSWORD '§';
mysql log: Connect bob@h; Query SET PASSWORD = '§'
mysql log: Query SELECT * FROM t WHERE token = "§"
oracle: CREATE USER bob IDENTIFIED BY §
mssql: CREATE LOGIN bob WITH PASSWORD = '§'
snowflake: CREATE USER bob PASSWORD='§'
redshift: CREDENTIALS 'aws_access_key_id=x;aws_secret_access_key=§'
graphql: Variable "$password" got invalid value "§"; String cannot represent
Variable '$token' of type 'String!' was given: '§'
soap: <ns1:token>§</ns1:token>
<field name="password"><![CDATA[§]]></field>
<param name="apiKey" value="§"/>
<meta name="csrf-token" content="§">
<input type="hidden" name="csrfmiddlewaretoken" value="§">
data-token="§"
href="/reset/?token=§"
window.TOKEN = "§";
localStorage.setItem('token', '§')
var apiKey='§';
const { token } = { token: `§` }
headers.set("X-Api-Key", "§")
setHeader('Authorization', 'Bearer §')
addHeader("X-Auth-Token", "§")
-H X-Token:§
Proxy-Authenticate: x; Proxy-Authorization: Basic §cAnary7x
:authorization: Bearer §
authorization=Bearer%20§
Authorization%3A%20Bearer%20§
password is: §
password："§"
PASSWORT="§"
Kennwort: §
mdp=§
mot_de_passe: '§'
senha incorreta: §
пароль «§» неверен
密码是：§
""",
}
