# ruff: noqa: E501 - texts as others write them
"""More texts with secrets, written after the redactor was: `§` stands for a secret, `№` for one of digits only."""

KINDS = {
    "databases of others": r"""
django.db.utils.IntegrityError: (1062, "Duplicate entry 'bob-§' for key 'accounts_user.accounts_user_token_uniq'")
MySQLdb.IntegrityError: (1062, "Duplicate entry '§' for key 'PRIMARY'")
pymysql.err.DataError: (1406, "Data too long for column 'token' at row 1: '§'")
mysql.connector.errors.IntegrityError: 1062 (23000): Duplicate entry '§' for key 'email'
django.db.utils.OperationalError: (1045, "Access denied for user 'bob'@'h' (using password: YES)"), dsn='mysql://bob:§@h/d'
django.db.utils.DatabaseError: ORA-01400: cannot insert NULL into ("A"."T"."PASSWORD"), bind values: {'arg0': '§'}
oracledb.exceptions.IntegrityError: ORA-00001: unique constraint (A.U) violated on table A.T columns (EMAIL)␤ORA-03301: (ORA-00001 details) row with column values (EMAIL:'§') already exists
oracledb.exceptions.DatabaseError: ORA-01722: unable to convert string value containing '§' to a number: EMAIL
cx_Oracle.connect('scott/§@h:1521/x')
oracledb.connect(user='scott', password='§', dsn='h/x')
sqlite3.OperationalError: near "§": syntax error␤[SQL: SELECT * FROM t WHERE a = '§']
sqlite3.IntegrityError: UNIQUE constraint failed: t.token, params=('§',)
psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "u"␤DETAIL:  Key (token, kind)=(§, 3) already exists.
psycopg.errors.ForeignKeyViolation: update or delete on table "a" violates foreign key constraint "b" on table "c"␤DETAIL:  Key (api_key)=(§) is still referenced from table "c".
psycopg.errors.StringDataRightTruncation: value too long for type character varying(8)␤CONTEXT:  COPY t, line 1, column token: "§"
psycopg.OperationalError: connection failed: connection to server at "h", port 5432 failed: FATAL:  password authentication failed for user "bob"␤conninfo: host=h user=bob password=§
psycopg.ProgrammingError: missing "=" after "§" in connection info string
psycopg2.errors.InvalidTextRepresentation: invalid input syntax for type integer: "§"␤LINE 1: SELECT * FROM t WHERE id = '§'␤                                       ^
psycopg.errors.RaiseException: token § was revoked␤CONTEXT:  PL/pgSQL function f(text) line 3 at RAISE
asyncpg.exceptions.DataError: invalid input for query argument $1: '§' (an integer is required)
asyncpg.exceptions.UniqueViolationError: duplicate key value violates unique constraint "u"␤DETAIL:  Key (a)=(§) already exists.
pyodbc.IntegrityError: ('23000', "[23000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Violation of UNIQUE KEY constraint 'u'. Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (§). (2627) (SQLExecDirectW)")
pyodbc.InterfaceError: ('28000', "Login failed; Driver={ODBC Driver 18 for SQL Server};Server=h;Database=d;UID=sa;PWD={§};Encrypt=yes")
pymongo.errors.DuplicateKeyError: E11000 duplicate key error collection: d.t index: token_1 dup key: { token: "§" }, full error: {'index': 0, 'code': 11000, 'keyValue': {'token': '§'}}
redis.exceptions.ResponseError: unknown command 'FOO', with args beginning with: '§'
redis.exceptions.AuthenticationError: Error 111 connecting to redis://default:§@h:6379/1
cassandra.InvalidRequest: Error from server: code=2200 message="Invalid STRING constant (§) for password of type text"
clickhouse_driver.errors.ServerException: Code: 62. DB::Exception: Syntax error: failed at position 8 ('§')
elasticsearch.exceptions.AuthenticationException: AuthenticationException(401, 'http_auth=("elastic", "§")')
""",
    "URLs": r"""
requests.exceptions.ConnectionError: HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /v1/x?api_key=§&n=1 (Caused by NewConnectionError)
httpx.ConnectError: https://bob:§@h/x
urllib3.exceptions.LocationParseError: Failed to parse: 'http://bob:§@[h/x'
requests.exceptions.InvalidURL: Failed to parse: http://bob:p#§@h:80/
ValueError: Port could not be cast to integer value as '§@h'
urllib.error.HTTPError: HTTP Error 401 for url: https://h/login?user=bob&passwd=§
404 Client Error: Not Found for url: https://h/x?access_token=§
proxy http://bob:§@proxy:3128 refused CONNECT h:443
cloning ssh://git:§@h/x.git
wss://h/ws/?token=§
GET wss://h/ws?jwt=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.§ 101
imaps://bob%40x.org:§@mail.h:993/INBOX
nats://bob:§@h:4222
kafka sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="bob" password="§";
mqtt://bob:§@h:1883
clickhouse://default:§@h:9000/d
snowflake://bob:§@account/db
bolt+s://neo4j:§@h:7687
elasticsearch+https://elastic:§@h:9200
email_url=smtp+tls://bob@x.org:§@smtp.h:587
CACHE_URL=rediscache://:§@h/1
azure_blob https://a.blob.core.windows.net/c/b?sv=2022&sp=r&sig=§%3D
signed https://bucket.s3.amazonaws.com/k?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=§%3D&Expires=1
cloudinary://123456789012345:§@name
https://user:§@h/path?x=1#y, https://user2:§@h2/
""",
    "brokers": r"""
kombu.exceptions.OperationalError: amqp://shop:§@rabbit:5672/vhost: [Errno 111] Connection refused
consumer: Cannot connect to amqp://shop:§@rabbit:5672//: timed out.
broker_url='redis://:§@h:6379/0', result_backend='db+postgresql://u:§@h/d'
Connection(hostname='h', userid='shop', password='§', virtual_host='/')
<Connection: amqp://shop:§@rabbit:5672// at 0x7f>
sqs://AKIAIOSFODNN7EXAMPLE:§@
transport_options={'sentinel_kwargs': {'password': '§'}, 'master_name': 'x'}
sentinel://:§@h1:26379/0;sentinel://:§@h2:26379/0;sentinel://h3
failover: amqp://a:§@h1//;amqp://b:§@h2//
azureservicebus://RootManageSharedAccessKey:§@ns
Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=§=;EntityPath=q
Data Source=h;Initial Catalog=d;User ID=sa;Password="§;x";Encrypt=True
Server=tcp:h,1433;Database=d;User ID=bob;Password={§};Trusted_Connection=False
Provider=SQLOLEDB;Password='§';Persist Security Info=True
pwd=§;uid=sa
AccountEndpoint=https://h:443/;AccountKey=§==;
BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=sv=2020&sig=§
HostName=h.azure-devices.net;DeviceId=x;SharedAccessKey=§
InstrumentationKey=§;IngestionEndpoint=https://h/
""",
    "JSON and YAML": r"""
{"log":"{\"level\":\"info\",\"ctx\":{\"password\":\"§\"}}\n","stream":"stdout"}
{"Message":"{\\\"token\\\":\\\"§\\\"}"}
{"password":␤  "§"}
{"password" :␤␤"§"}
{"user":{"password":{"value":"§","algorithm":"x"}}}
{"password":["a",{"b":"§"}]}
{"headers":[{"name":"Authorization","value":"Bearer §"}]}
{"headers":{"authorization":["Bearer §"]}}
{"name":"client_secret","type":"string","value":"§"}
{"value":"§","name":"password"}
{"params":[["password","§"]]}
{\u0022password\u0022:\u0022§\u0022}
{"env":["DB_PASSWORD=§","HOME=/"]}
{"Env":[{"Name":"DB_PASSWORD","Value":"§"}]}
{'password': "§", "x": 'y'}
{password: '§', n: 1}
{ "password": '§' }
password: >-␤  §␤user: bob
password: |-␤  §␤user: bob
password: !vault |␤  $ANSIBLE_VAULT;1.1;AES256␤  §
password: &pw §
password: !!str §
- password: §
- name: DB_PASSWORD␤  value: §
- name: DB_PASSWORD␤  value: "§"
  stringData:␤    password: §
data:␤  token: §
users:␤- name: x␤  user:␤    client-key-data: §
    "password" : '§',
password = '''§'''
[credentials]␤aws_access_key_id = x␤aws_secret_access_key = §
<connectionStrings><add connectionString="Server=h;Password=§;" /></connectionStrings>
""",
    "dumps of the environment": r"""
environ({'DJANGO_SECRET_KEY': '§', 'PATH': '/bin'})
DJANGO_SECRET_KEY=§␤PATH=/bin
declare -x DB_PASSWORD="§"
set DB_PASSWORD=§
setenv DB_PASSWORD §
$env:DB_PASSWORD = "§"
ENV DB_PASSWORD §
ARG NPM_TOKEN=§
GITHUB_TOKEN: ***, NPM_TOKEN: §
DATABASE_URL=postgres://u:§@h/d
CELERY_BROKER_URL=amqp://u:§@h//
SENTRY_DSN=https://§@o1.ingest.sentry.io/1
EMAIL_HOST_PASSWORD = '§'
env: [('DB_PASSWORD', '§'), ('HOME', '/')]
os.environb[b'DB_PASSWORD'] = b'§'
settings.SECRET_KEY == '§'
""",
    "headers of all kinds": r"""
authorization: Basic Ym9iOmNBbmFyeTd4
Authorization: Basic Ym9iOmNBbmFyeTd4Ym9iOmNBbmFyeTd4
'Authorization': b'Basic Ym9iOmNBbmFyeTd4'
curl: (22) header "Authorization: Basic Ym9iOmNBbmFyeTd4"
AUTHORIZATION : bearer §
Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.§
Authorization: OAuth oauth_consumer_key="x", oauth_token="§", oauth_signature="§"
Authorization: GoogleLogin auth=§
Authorization: SharedKey account:§=
X-Goog-Api-Key: §
X-Gitlab-Token: §
X-Shopify-Access-Token: §
X-Plex-Token: §
X-Twilio-Signature: §
Set-Cookie: __Host-session=§; Path=/; Secure
Set-Cookie2: a=§
Cookie: "a=§"
cookie=sessionid=§
<SimpleCookie: sessionid='§'>
<Cookie sessionid=§ for h/>
<RequestsCookieJar[<Cookie sessionid=§ for h/>]>
{'Set-Cookie': ['a=§; Path=/', 'b=§']}
CaseInsensitiveDict({'X-Auth-Token': '§'})
Headers({'host': 'h', 'authorization': 'Bearer §'})
[('Cookie', 'a=1; b=§')]
req.headers = {b'x-api-key': b'§'}
""",
    "keys": r"""
key = '''-----BEGIN PRIVATE KEY-----␤MII§␤AAAA§␤-----END PRIVATE KEY-----'''
'-----BEGIN PRIVATE KEY-----\\nMII§\\n-----END PRIVATE KEY-----'
b'-----BEGIN EC PRIVATE KEY-----\nMII§\n-----END EC PRIVATE KEY-----\n'
  -----BEGIN PRIVATE KEY-----␤  MII§␤  -----END PRIVATE KEY-----
> -----BEGIN DSA PRIVATE KEY-----␤> MII§␤> -----END DSA PRIVATE KEY-----
-----BEGIN%20PRIVATE%20KEY-----%0AMII§%0A-----END%20PRIVATE%20KEY-----
---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----␤§␤---- END SSH2 ENCRYPTED PRIVATE KEY ----
jwt.exceptions.DecodeError: Invalid header padding: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.§
token eyJhbGciOiJub25lIn0.eyJzdWIiOiIx§.
eyJhbGciOiJSU0EtT0FFUCJ9.abc-def_ghi.jkl.mno.§
'jwt': b'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.§'
gho_abcdefghij0123456789§
ghs_abcdefghij0123456789§
glrt-abcdefghijklmnop§
xapp-1-A123-123-§
pk_live_abc, rk_test_abcdefghijklmnop§
sq0csp-abcdefghijklmnop§
EAAAEabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrst§
AC0123456789abcdef0123456789abcdef:§
key-0123456789abcdef0123456789abcdef§ mailgun api key
ATATT3xFfGF0abcdefghijklmnop§
lin_api_abcdefghijklmnopqrst§
sntrys_abcdefghijklmnopqrst§
dckr_pat_abcdefghijklmnop§
AQVN abcdef, yandex iam token t1.9euelZqabcdefghijkl.§
gsk_abcdefghijklmnopqrst§
xai-abcdefghijklmnopqrst§
PMAK-0123456789abcdef01234567-§
tfp_abcdefghijklmnop, atlasv1 abcdefghijklmn.atlasv1.§
NRAK-ABCDEFGHIJKLMNOP§
""",
    "reprs": r"""
Login(user='bob', password=Password('§'))
Login(user='bob', password=Password(raw=b'§', n=1))
Config(db=Database(host='h', password='§'), debug=True)
Config(db={'host': 'h', 'password': '§'}, debug=True)
Config(tokens=['§', '§'], debug=True)
Config(tokens=('§',), secrets={'a': '§'})
<Config password='§' host='h'>
<Config(password='§', host='h')>
<Config: password=§ host=h>
Secret('§')
Secret(_secret_value='§')
SecretStr('§')
SecretBytes(b'§')
OrderedDict([('password', '§'), ('n', 1)])
OrderedDict({'password': '§', 'n': 1})
<MultiValueDict: {'password': ['§'], 'n': ['1']}>
MultiDict([('password', '§')])
<QueryDict: {'user[password]': ['§'], 'n': ['1']}>
<QueryDict: {'login-password': ['§'], 'login-user': ['bob']}>
mappingproxy({'password': '§'})
ChainMap({'password': '§'}, {})
defaultdict(<function f at 0x7f>, {'password': '§'})
SimpleNamespace(password='§')
Namespace(password='§', verbose=True)
password=<Password: §>
password=Decimal('№')
partial(<function login at 0x7f>, 'bob', password='§')
functools.partial(<bound method C.f of C()>, token='§')
<Signature: shop.pay(token='§')>
shop.tasks.pay(user=3, card_number='4111111111111111')
Task shop.tasks.login[0a] with args=('bob',) kwargs={'password': '§'} raised
Request(url='x', headers={'Authorization': 'Bearer §'}, body=b'password=§')
bytearray(b'password=§')
memoryview of b'password=§&n=1'
array('u', 'x'), {'password': array('u', '§')}
('bob', SecretStr('§'), 3)
<_io.BytesIO> b'{"password": "§"}'
Point(x=1), Auth(login='bob', password="§")
attrs: Creds(user='bob', _password='§')
TypedDict: {'password': NotRequired['§']}
namedtuple Creds(user='bob', passwd='§', n=1)
Box({'password': '§'})
AttrDict({'api': {'key': {'secret': '§'}}})
password=b"§", n=1
password=None, token=b'\xff§'
ValidationError(password=['§ is not allowed'])
""",
    "shell": r"""
subprocess.CalledProcessError: Command 'mysql -u root --password=§ -e "select 1"' returned non-zero exit status 1.
Command '['mysql', '--password', '§', '-e', 'select 1']' returned non-zero exit status 1.
Command ('pg_dump', '-h', 'h', '--password=§') timed out after 3 seconds
sh -c "export PGPASSWORD='§'; psql -h h"
bash -c 'PGPASSWORD=§ pg_dump h'
echo § | docker login -u bob --password-stdin
echo '§' | sudo -S ls
openssl pkcs12 -passout pass:§ -in x
openssl pkcs12 -in x -password pass:§
keytool -storepass § -keystore x
jarsigner -keypass § x
java -Djavax.net.ssl.keyStorePassword=§ -jar x
java -jar x --spring.datasource.password=§
az login --service-principal -u x -p § --tenant y
az storage blob list --account-key §
aws --secret-key § s3 ls
gcloud auth activate --access-token=§
vault login §
vault kv put secret/x password=§
vault write auth/approle/login role_id=x secret_id=§
op signin --secret-key=§
restic -r s3:x --password-command 'echo §'
rclone obscure §
rclone lsd :sftp,host=h,user=bob,pass=§:
influx -username bob -password §
influx --token § write
cqlsh -u bob -p § h
sqlcmd -S h -U sa -P § -Q x
sqlplus scott/§@h/x
mongodump --uri="mongodb://u:§@h/d"
mongodump -u bob -p=§
rabbitmqctl add_user bob §
rabbitmqctl change_password bob §
rabbitmqadmin -u bob -p § list queues
redis-cli CONFIG SET requirepass §
redis-cli ACL SETUSER bob >§
nmap; hydra -l bob -p § h ssh
rdesktop -u bob -p § h
net use \\h\s /user:bob §
net user bob § /add
xfreerdp /u:bob /p:§ /v:h
chpasswd <<< 'bob:§'
echo 'bob:§' | chpasswd
useradd -p '§' bob
ssh-keygen -N '§' -f x
zip -P § x.zip y
7z x a.7z -p§
unrar x -p§ a.rar
qpdf --password=§ --decrypt a b
""",
}
