# ruff: noqa: E501 - texts as others write them
"""Texts with secrets, by the kind of place: `§` stands for a secret, `№` for one of digits only."""

KINDS = {
    "containers": r"""
<QueryDict: {'csrfmiddlewaretoken': ['§'], 'password': ['§', '§']}>
<QueryDict: {'password1': ['§'], 'password2': ['§'], 'username': ['bob']}>
<MultiValueDict: {'token': ['§']}>
{'user': {'name': 'bob', 'credentials': {'login': 'bob', 'key': '§'}}}
{'password': {'current': '§'}, 'next': '/'}
{"passwords": ["§", "§"], "n": 1}
{'secret': ('§', b'§')}
{'secret': {'§', '§'}}
{'secret': frozenset({'§'})}
{'secret': bytearray(b'§')}
{'secret': OrderedDict([('a', '§')])}
{'secret': defaultdict(<class 'list'>, {'a': ['§']})}
{'secret': deque(['§'], maxlen=3)}
{'secret': memoryview(b'§')}
{'secret': UUID('§')}
{'secret': Decimal('№')}
{'secret': PosixPath('/run/§')}
{'secret': datetime.datetime(2024, 1, 2), 'token': '§'}
{'password': 'a\'b§'}
{'password': "a'b§"}
{"password": "a\"b§"}
{"password": "a\\\"b§", "n": 1}
{'password': '''§'''}
{'password': u'§'}
{u'password': u'§'}
{b'password': b'\x00§'}
{'password': r'\d§'}
{'password': f'§'}
User(id=3, password='§', email='bob')
User(id=3, api_key=ApiKey('§'))
Login(username='bob', password=SecretStr('§'), remember=True)
Login(username='bob', token=Token(value='§', kind='x'))
Settings(DATABASE_PASSWORD='§', DEBUG=True)
namespace(password='§', user='bob')
Credentials(access_token='§', refresh_token='§')
Row(id=1, password='§')
<Token: §>
<Token(key='§')>
<Session session_key='§'>
ApiKey(key='§')
[('username', 'bob'), ('password', '§')]
(('password', '§'), ('n', 1))
dict_items([('password', '§'), ('n', 1)])
Counter({'n': 1}), password=['§']
kwargs={'user': 'bob', 'password': '§'}
args=() kwargs={'token': '§'}
ImmutableMultiDict([('password', '§'), ('user', 'bob')])
Headers([('Authorization', 'Bearer §'), ('Host', 'x')])
{'password': None, 'token': '§'}
{'password': '', 'token': '§'}
password=['§',
""",
    "JSON": r"""
{"password":"§"}
{"password" : "§" , "n" : 1}
{"data":{"attributes":{"clientSecret":"§"}}}
{"a":"{\"password\":\"§\"}"}
{"a":"{\"b\":\"{\\\"password\\\":\\\"§\\\"}\"}"}
"{\"password\": \"§\"}"
'{"password": "§"}'
b'{"password": "§"}'
{"password":№}
{"pin":№,"n":1}
{"access_token":"§","token_type":"bearer","expires_in":3600}
{"key":"x","private_key":"-----BEGIN PRIVATE KEY-----\nMII§\n-----END PRIVATE KEY-----\n"}
{"kty":"RSA","n":"abc","e":"AQAB","d":"§"}
{"kty":"oct","k":"§","alg":"HS256"}
{"kty":"EC","crv":"P-256","x":"aa","y":"bb","d":"§"}
{"type":"service_account","private_key_id":"§","client_email":"x"}
{"auths":{"registry":{"auth":"§cAnary7xabcdefgh="}}}
{"card":{"number":"4111111111111111","cvc":"№"}}
{"name":"password","value":"§"}
{"key": "password", "value": "§"}
[{"name": "API_TOKEN", "value": "§"}]
{"otp":"№"}
{"user":{"ssn":"§"}}
{"jwt":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.§"}
{"SecretString":"{\"username\":\"bob\",\"password\":\"§\"}"}
{"password":["§"]}
{"passwords":{"a":"§"}}
{"apiKey":"§"}
{"api-key":"§"}
{"x-api-key":"§"}
{"aws_secret_access_key":"§"}
{"Authorization":"Basic dTpw§"}
""",
    "encoded": r"""
password=§&user=bob
user=bob&password=§
user=bob&pass%77ord=§
next=%2Fa%3Ftoken%3D§%26b%3D1
next=https%3A%2F%2Fu%3A§%40h%2F
redirect_uri=https://a/b?code=§
a%5Bpassword%5D=§&b=1
user%5Bpassword%5D=§
user[password]=§
user.password=§
payload=%7B%22password%22%3A%20%22§%22%7D
payload=%257B%2522password%2522%253A%2522§%2522%257D
GET /reset/?token=§ HTTP/1.1
GET /cb?code=§&state=§cAnary7x1 HTTP/1.1
GET /cas/login?ticket=ST-1-§
https://h/cb?state=x&code=§#top
https://h/#access_token=§&token_type=bearer
https://h/cb#id_token=§
https://h/verify?otp=№
https://h/x?X-Amz-Signature=§&X-Amz-Date=1
https://h/x?sv=2020&sig=§&se=1
https://h/x?Signature=§&Expires=1
https://h/x?GoogleAccessId=a&Signature=§
https://h/x?api_key=§
https://h/x?key=AIzaSyA§cAnary7xabcdefghij
https://h/saml?SAMLResponse=§&RelayState=x
SAMLRequest=§
RelayState=/x&SAMLResponse=§
assertion=§&grant_type=x
client_assertion=§
refresh_token=§&grant_type=refresh_token
code_verifier=§
id_token_hint=§
logout_token=§
jsessionid=§
/app;jsessionid=§?a=1
PHPSESSID=§
connect.sid=s%3A§
password%3D§%26user%3Dbob
password=%C2§
password=+§+
password=§;user=bob
--boundary\r\nContent-Disposition: form-data; name="password"\r\n\r\n§\r\n--boundary--
Content-Disposition: form-data; name="password"␤␤§␤--x
""",
    "headers": r"""
Authorization: Bearer §
Authorization: Basic dTpw§
Authorization: Token §
authorization: ApiKey §
Authorization: Digest username="bob", realm="x", response="§"
Authorization: AWS4-HMAC-SHA256 Credential=§/20240101/x, SignedHeaders=host, Signature=§
Authorization: Negotiate §
Authorization: Hawk id="a", mac="§"
Authorization: §
Proxy-Authorization: Basic §
WWW-Authenticate: Bearer error="x", token="§"
X-Api-Key: §
X-Auth-Token: §
X-CSRFToken: §
X-Vault-Token: §
X-Amz-Security-Token: §
Ocp-Apim-Subscription-Key: §
X-Hub-Signature-256: sha256=§
Stripe-Signature: t=1,v1=§
Cookie: a=1; sessionid=§
Cookie: sessionid=§; csrftoken=§
Cookie: theme=dark; unknown_name=§
Set-Cookie: sessionid=§; HttpOnly; Path=/
set-cookie: a=§, b=§
'Cookie': 'a=1; b=§'
{'Cookie': 'a=1; b=§', 'Host': 'x'}
{'headers': {'Authorization': 'Bearer §'}}
[(b'authorization', b'Bearer §'), (b'host', b'x')]
HTTP_AUTHORIZATION='Bearer §'
'HTTP_COOKIE': 'a=1; b=§'
META['HTTP_AUTHORIZATION'] = 'Token §'
> Authorization: Bearer §
< Set-Cookie: a=§; Secure
header: Authorization: Bearer §
send: b'GET / HTTP/1.1\r\nAuthorization: Bearer §\r\nHost: x\r\n\r\n'
Host: x\r\nCookie: a=1; b=§\r\n\r\n
Authorization=Bearer+§
grpc-metadata: authorization: bearer §
("authorization", "Bearer §")
_Metadatum(key='authorization', value='Bearer §')
X-Forwarded-Access-Token: §
""",
    "command lines": r"""
curl -u bob:§ https://h/
curl --user bob:§ https://h/
curl -ubob:§ https://h/
curl -H 'Authorization: Bearer §' https://h/
curl -H "X-Api-Key: §" https://h/
curl -b 'sessionid=§' https://h/
curl --cookie "a=§" https://h/
curl -d 'user=bob&password=§' https://h/
curl --data '{"password":"§"}' https://h/
curl https://bob:§@h/
curl -x http://bob:§@proxy:3128 https://h/
http POST h/login password=§
http --auth bob:§ h/
http -a bob:§ h/
https h/ Authorization:'Bearer §'
wget --password=§ https://h/
wget --user=bob --password § https://h/
wget --header='Authorization: Bearer §' https://h/
PGPASSWORD=§ psql -h db -U bob
psql 'host=db password=§ user=bob'
psql postgresql://bob:§@db/shop
psql "postgresql://db/shop?user=bob&password=§"
mysql -u root -p§ shop
mysql -uroot -p§
mysql --password=§ shop
mysql --password § shop
mysqldump -h db -p'§' shop
MYSQL_PWD=§ mysql shop
redis-cli -a § ping
redis-cli -h db -a '§' ping
redis-cli --pass § ping
redis-cli -u redis://:§@db:6379
REDISCLI_AUTH=§ redis-cli
AUTH §
AUTH default §
mongosh -u bob -p § db
mongo --password § db
sshpass -p § ssh h
sshpass -p'§' ssh h
docker login -u bob -p § registry
docker run -e API_TOKEN=§ image
docker run --env DB_PASSWORD=§ image
git clone https://oauth2:§@gitlab.com/x.git
git clone https://§@github.com/x.git
git -c http.extraHeader="Authorization: Bearer §" fetch
openssl rsa -passin pass:§
openssl enc -k § -in x
aws configure set aws_secret_access_key §
gpg --passphrase § -d x
gpg --passphrase=§ -d x
ansible-vault --vault-password § x
kubectl create secret generic x --from-literal=password=§
helm upgrade x --set db.password=§
htpasswd -b file bob §
['mysql', '-p§', 'shop']
['curl', '-u', 'bob:§', 'https://h/']
['psql', '--password', '§']
['redis-cli', '-a', '§', 'ping']
Command '['sshpass', '-p', '§', 'ssh']' returned non-zero exit status 5.
Command '['pg_dump', '--dbname=postgresql://bob:§@db/x']' timed out
python manage.py createsuperuser --password §
celery -A x -b redis://:§@h:6379/0 worker
ftp://bob:§@h/
lftp -u bob,§ h
smbclient //h/s -U bob%§
ldapsearch -D cn=bob -w § -H ldap://h
twine upload -u bob -p § dist/*
npm config set //registry/:_authToken=§
//registry.npmjs.org/:_authToken=§
""",
    "DSNs": r"""
postgres://u:§@h/d
postgres://u:p@§@h/d
postgres://u:a/§@h:5432/d
postgres://u:a#§@h:5432/d
postgres://u:a?§@h:5432/d
postgres://u:a:§@h:5432/d
postgresql+psycopg://u:§@h/d
redis://:§@h:6379/0
rediss://default:§@h:6379/0
amqp://guest:§@h:5672//
amqps://u:§@h/vhost
mongodb+srv://u:§@cluster/x
mysql://u:§@h:3306/d
sentinel://:§@h1:26379;sentinel://:§@h2:26379
https://§@sentry.io/1
https://public:§@sentry.io/1
smtp://u%40x:§@h:587
ldap://cn=x:§@h
sqlserver://h:1433;user=sa;password=§
jdbc:postgresql://h/d?user=u&password=§
jdbc:oracle:thin:scott/§@h:1521:x
Server=h;Database=d;User Id=u;Password=§;
Server=h;Uid=u;Pwd=§;
DRIVER={x};SERVER=h;UID=u;PWD=§
host=h user=u password='§ x' dbname=d
host=h password = § dbname=d
Endpoint=sb://h/;SharedAccessKeyName=x;SharedAccessKey=§
DefaultEndpointsProtocol=https;AccountName=x;AccountKey=§==;EndpointSuffix=y
s3://AKIAIOSFODNN7EXAMPLE:§@bucket/x
u:§@h:5432/d refused
could not connect to u:p@§@h
connection to redis://:§@h:6379/0 lost: [Errno 111]
Error 111 connecting to redis://u:§@h:6379. Connection refused.
""",
    "keys by their look": r"""
-----BEGIN RSA PRIVATE KEY-----␤MII§␤-----END RSA PRIVATE KEY-----
-----BEGIN OPENSSH PRIVATE KEY-----␤b3Bl§␤-----END OPENSSH PRIVATE KEY-----
-----BEGIN EC PRIVATE KEY-----\nMII§\n-----END EC PRIVATE KEY-----
-----BEGIN ENCRYPTED PRIVATE KEY-----␤MII§
-----BEGIN PGP PRIVATE KEY BLOCK-----␤Version: 1␤␤lQ§␤-----END PGP PRIVATE KEY BLOCK-----
-----BEGIN RSA PRIVATE KEY-----␤Proc-Type: 4,ENCRYPTED␤DEK-Info: AES-128-CBC,AB␤␤MII§␤-----END RSA PRIVATE KEY-----
PuTTY-User-Key-File-2: ssh-rsa␤Private-Lines: 1␤§
got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.§
AKIAIOSFODNN7EXAMPLE§
ghp_abcdefghij0123456789§
github_pat_11ABC§
glpat-abcdefghij§
xoxb-123-456-§
sk_live_§
sk-proj-abcdefghijklmnop§
sk-ant-api03-abcdefghij§
rk_live_§
whsec_abcdefghijklmnop§
AIzaSyA1234567890abcdefghijk§
ya29.a0AfH6SMabcdefgh§
1//0gabcdefghijklmnopqrstuvwxyz§
SG.abcdefghijklmnopqrst.§
npm_abcdefghijklmnopqrst§
pypi-AgEIcHlwaS5vcmcCabcdef§
hvs.abcdefghijklmnop§
dop_v1_abcdefghijklmnopqrst§
shpat_abcdefghijklmnopqrst§
hf_abcdefghijklmnopqrst§
https://hooks.slack.com/services/T000/B000/§
https://discord.com/api/webhooks/123456/§
https://api.telegram.org/bot123456:AAabcdefghijklmnopqrstuvwxyz§/sendMessage
EAACEdEose0cBAabcdefghij§
AGE-SECRET-KEY-1§ABCDEF
otpauth://totp/x:bob?secret=§&issuer=x
pbkdf2_sha256$720000$salt$§
argon2$argon2id$v=19$m=1,t=2,p=8$abcd$§
bcrypt_sha256$$2b$12$abcdefgh§
$2b$12$abcdefghijklmnopqrstuv§
$6$salt$§abcdefgh
""",
    "sentences": r"""
the password is §
password was §, now what
Your verification code is №
Your OTP is №.
PIN № is wrong
token § is invalid
Invalid token: §
Invalid token '§'
invalid api key: §
Incorrect API key provided: §. You can find it at https://x
API key §1 not valid
Wrong password "§" for user bob
could not log in with password '§'
login failed for bob with password §
authentication failed: bad password `§`
using password §1
session §cAnary7xabcdefghijklmnop has expired
unknown access token §cAnary7xabcdef
passphrase: §
Passwort: §
Passwort ist §1
mot de passe: §
mot de passe : §
mot_de_passe=§
contraseña: §
contraseña=§
contrasena=§
senha=§
senha: §
пароль: §
пароль=§
密码: §
密码=§
パスワード: §
wachtwoord=§
hasło: §
heslo=§
salasana=§
parola=§
lösenord=§
geheimnis=§
clave=§ secreta
IBAN DE89370400440532013000
IBAN: DE89 3704 0044 0532 0130 00
card 4111 1111 1111 1111
card number: 4111-1111-1111-1111
paid with 5500005555555559
SSN 078-05-1120
cvv: №
Kreditkarte: 4111111111111111
""",
    "databases": r"""
duplicate key value violates unique constraint "u"␤DETAIL:  Key (email)=(§) already exists.
duplicate key value violates unique constraint "u"␤DETAIL:  Key (a, b)=(1, §) already exists.
insert violates foreign key constraint "f"␤DETAIL:  Key (a)=(§) is not present in table "t".
null value in column "n" violates not-null constraint␤DETAIL:  Failing row contains (1, §, null).
new row for relation "t" violates check constraint "c"␤DETAIL:  Failing row contains (§, §).
DETAIL:  Key (lower(email))=(§) conflicts with existing key (lower(email))=(§).
DETAIL:  Key (r)=([1,§)) conflicts with existing key
invalid input syntax for type integer: "§"
invalid input syntax for type uuid: "§"␤LINE 1: SELECT '§'
invalid input value for enum e: "§"
date/time field value out of range: "§"
malformed array literal: "§"␤DETAIL:  Array value must start with "{"
syntax error at or near "§"␤LINE 1: ... WHERE x = §
unterminated quoted string at or near "'§"␤LINE 1: SELECT '§
DataError: value "§" is out of range for type integer
UniqueViolation: Key (x)=(§)
psycopg.errors.InvalidTextRepresentation: invalid input syntax for type json␤DETAIL:  Token "§" is invalid.␤CONTEXT:  JSON data, line 1: §...
ERROR:  COPY failed␤CONTEXT:  COPY t, line 1, column a: "§"
QUERY:  SELECT '§'
STATEMENT:  INSERT INTO t VALUES ('§')
ProgrammingError: column "x" does not exist␤LINE 2:   WHERE x = '§'
(1062, "Duplicate entry '§' for key 'u'")
(1062, "Duplicate entry '§-1' for key 't.u'")
IntegrityError: (1062, "Duplicate entry 'it's §' for key 'u'")
(1366, "Incorrect string value: '\\xF0§' for column 'a' at row 1")
(1292, "Incorrect datetime value: '§' for column 'a' at row 1")
DataError: (1292, "Truncated incorrect DOUBLE value: '§'")
(1064, "You have an error in your SQL syntax; check the manual near '§' at line 1")
(1452, 'Cannot add or update a child row: a foreign key constraint fails (`d`.`t`, CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `b` (`id`))'), [parameters: ('§',)]
OperationalError: near "§": syntax error
OperationalError: unrecognized token: "'§"
sqlite3.IntegrityError: datatype mismatch, [parameters: ('§',)]
[SQL: INSERT INTO t (a) VALUES (%(a)s)]␤[parameters: {'a': '§'}]
[SQL: SELECT 1 WHERE a = '§']
ORA-00001: unique constraint (X.Y) violated on table T columns (A) ORA-03301: (ORA-00001 details) row with column values (A:'§') already exists
The duplicate key value is (§).
Violation of UNIQUE KEY constraint 'u'. Cannot insert duplicate key in object 't'. The duplicate key value is (§, 1).
Conversion failed when converting the varchar value '§' to data type int. DataError
QUERY = 'INSERT INTO "t" VALUES (%s)' - PARAMS = ('§',)
INSERT INTO auth_user (username, password) VALUES ('bob', '§')
UPDATE auth_user SET password = '§' WHERE id = 3
ALTER USER bob WITH PASSWORD '§'
CREATE ROLE bob LOGIN PASSWORD '§'
CREATE USER 'bob'@'%' IDENTIFIED BY '§'
SET PASSWORD FOR bob = PASSWORD('§')
SELECT * FROM t WHERE token = '§'
SELECT * FROM t WHERE "t"."token" = '§' LIMIT 21; args=('§',); alias=default
(0.001) UPDATE t SET password = '§'; args=('§', 3); alias=default
E11000 duplicate key error collection: d.t index: email_1 dup key: { email: "§" }
""",
    "logs and files": r"""
2024-01-02 INFO login user=bob password=§ ip=1.2.3.4
ts=1 level=info msg="login" token=§
level=info msg="login password=§"
127.0.0.1 - - [x] "GET /x?token=§ HTTP/1.1" 200
password: §
password: "§"
password: '§'
  db_password: § # comment
password: |␤  §
api:␤  key: x␤  secret: §
password = §
password = "§"
[db]␤password=§
export API_TOKEN=§
export API_TOKEN="§"
API_TOKEN='§'
SECRET_KEY = '§'
DATABASES = {'default': {'PASSWORD': '§'}}
environ({'HOME': '/', 'DB_PASSWORD': '§'})
os.environ['TOKEN'] = '§'
DB_PASS=§
POSTGRES_PASSWORD=§
AWS_SECRET_ACCESS_KEY=§
<password>§</password>
<Password xsi:type="xsd:string">§</Password>
<wsse:Password Type="x">§</wsse:Password>
<add key="ApiKey" value="§" />
<input type="password" name="password" value="§">
<property name="password" value="§"/>
<apiKey><![CDATA[§]]></apiKey>
machine h login bob password §
  File "x.py", line 3, in f␤    login(password='§')
    client = Client(api_key="§")
    requests.get(url, auth=('bob', '§'))
    requests.get(url, headers={'Authorization': 'Bearer §'})
    connect(dsn='postgres://u:§@h/d')
    assert check_password('§', user.password)
    user.set_password('§')
    authenticate(username='bob', password='§')
    token = "§"
    PASSWORD: str = "§"
    def f(password="§"):
    password := "§"
E       AssertionError: assert {'password': '§'} == {}
ValueError: unsupported value '§' for field password
TypeError: f() got an unexpected keyword: password='§'
KeyError: 'password=§'
pydantic: password␤  String should have at least 8 characters [type=string_too_short, input_value='§', input_type=str]
1 validation error for Login␤token␤  Input should be valid [type=x, input_value='§', input_type=str]
ValidationError: {'password': ['§ is too common']}
password -> §
password => '§'
:password => "§"
password=>"§"
"password"=>"§"
["password"]=> string(8) "§"
[password] => §
password="§ with space"
password=§,user=bob
password=§)
(password=§)
[password=§]
'password=§'
`password=§`
**password**: §
password:§
password=§␤
Param password = §
set password to "§"
password changed from '§' to '§'
new_password='§', old_password='§'
retry with token §1?
SMTP AUTH LOGIN: 334 UGFzc3dvcmQ6, password §1
""",
}


def texts(kinds=KINDS):
    """Each text with its secrets put in, and these."""
    for kind, lines in kinds.items():
        for line in lines.strip("\n").split("\n"):
            text = line.replace("␤", "\n")
            secrets = ("cAnary7x", "407193", "41111", "4111-", "4111 ", "4013000", "Ym9iOmNBbmFyeTd4")
            yield kind, text.replace("§", "cAnary7x").replace("№", "407193"), secrets
