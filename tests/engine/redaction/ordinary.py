"""Texts that hold no secret and must stay as they are, although they speak of some."""

TEXTS = r"""
token expired
token has expired, log in again
the token is missing
pin code field is required
PIN is required
secret santa list
Secret Santa 2024 has begun
secret db-creds-v2 not found in namespace shop
the session has expired
session 12 of 30
session started at 12:30
password reset e-mail sent to 3 users
password must have at least 8 characters
password changed
passwords do not match
password field cannot be blank
passenger list of flight LH454
passed 12 tests, 3 failed
bypass=off compass=n
first pass: 3 rows, second pass: 5 rows
api key rotation is due in 30 days
api key missing
card declined
card type: visa
credit card form is not valid
ticket 1234 was closed
ticket: 1234
code=23505
error code: 404
code path not covered
status_code=200 reason=OK
exit code 137
country_code=de zip_code=12345 postcode=10115
state=open sort=-created
/orders/?state=open&page=2&sort=-created
/search?q=token&page=2
/search?q=password+reset
https://example.com/password/reset/
https://example.com/docs/tokens#usage
https://example.com/a/b/c?x=1&y=2#frag
https://example.com:8080/health
http://localhost:4318/v1/traces
redis://localhost:6379/0
postgres://db.internal:5432/shop
amqp://rabbit:5672//
SELECT "auth_user"."password" FROM "auth_user" WHERE "auth_user"."id" = %s LIMIT 21
SELECT id, token FROM t WHERE token = %s
SELECT * FROM t WHERE token = ? AND n = ?
SELECT * FROM t WHERE token = $1
SELECT * FROM t WHERE token = :token
UPDATE t SET password = %(password)s WHERE id = %(id)s
INSERT INTO t (token, name) VALUES (%s, %s)
DELETE FROM django_session WHERE session_key IN (%s, %s)
SELECT token_id FROM t ORDER BY token DESC
CREATE INDEX t_token_idx ON t (token)
ALTER TABLE t ADD COLUMN password varchar(128) NOT NULL
relation "auth_token" does not exist
ssh -l bob -p 2222 host
psql -h db -U bob -p 5432 shop
docker run -u 1000 -p 8080:80 image
gunicorn -u www -p /run/gunicorn.pid shop.wsgi
vault login -method=oidc
echo done | sudo tee /etc/motd
echo done | docker build -
ENV PATH /usr/local/bin
setenv EDITOR vim
{"fields":["password","email"]}
fields = ["password", "username"]
ValueError: invalid port in URL
zip -r x.zip folder
7z x archive.7z
net user is not a command here
chpasswd failed
sqlplus is not installed
oracledb.connect() takes keyword arguments
CONFIG SET maxmemory 100mb
key-value store is up
key-frames, key-press
BEGIN; SELECT 1; --- END
{"name": "color", "value": "blue"}
{"value": "blue", "name": "color"}
name: color
column t.password does not exist
UNIQUE constraint failed: auth_user.username
NOT NULL constraint failed: shop_order.token
null value in column "token" of relation "t" violates not-null constraint
duplicate key value violates unique constraint "auth_user_username_key"
FOREIGN KEY constraint failed
deadlock detected
could not serialize access due to concurrent update
canceling statement due to statement timeout
server closed the connection unexpectedly
(2006, 'Server has gone away')
(1213, 'Deadlock found when trying to get lock; try restarting transaction')
(1146, "Table 'shop.t' doesn't exist")
(1054, "Unknown column 'token' in 'where clause'")
(1045, "Access denied for user 'bob'@'10.0.0.1' (using password: YES)")
password authentication failed for user "bob"
no password supplied
django.contrib.auth.password_validation.MinimumLengthValidator
django.middleware.csrf.CsrfViewMiddleware
shop.tokens.models.Token
accounts.views.reset_password
accounts/password_reset_form.html
rest_framework.authtoken.models.Token.DoesNotExist: Token matching query does not exist.
Token matching query does not exist.
KeyError: 'password'
KeyError: 'token'
AttributeError: 'User' object has no attribute 'token'
TypeError: login() missing 1 required positional argument: 'password'
TypeError: login() got an unexpected keyword argument 'token'
NameError: name 'secret' is not defined
ImportError: cannot import name 'tokens' from 'shop'
ModuleNotFoundError: No module named 'secrets_manager'
ValueError: invalid literal for int() with base 10: 'abc'
jwt.exceptions.ExpiredSignatureError: Signature has expired
jwt.exceptions.DecodeError: Not enough segments
cryptography.fernet.InvalidToken
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)
Unexpected token } in JSON at position 12
SyntaxError: Unexpected token ':'
template: {% csrf_token %} is missing
Invalid block tag on line 3: 'csrftoken'
Could not parse the remainder: '(token)' from 'get(token)'
Reverse for 'password_reset' not found.
  File "/srv/shop/tokens.py", line 12, in make_token
    return check_token(request)
    user = authenticate(request, username=username, password=password)
    if not user.check_password(password):
    def reset(self, token: str | None = None) -> HttpResponse:
def login(request, username, password):
fields = ['username', 'password', 'email']
fields: username, password, email
missing columns: token, secret
unique together: ('user', 'token')
{'token': None}
{'password': None, 'user': 'bob'}
{'fields': ['password', 'token']}
{'csrf_cookie_secure': True}
{'token_count': 12, 'max_tokens': 100}
{"error": "invalid_grant", "error_description": "code expired"}
{"detail": "Authentication credentials were not provided."}
{"detail": "Invalid token."}
{"code": "token_not_valid", "detail": "Given token not valid for any token type"}
{'non_field_errors': ['Unable to log in with provided credentials.']}
{'password': ['This field is required.']}
{'password': ['This password is too common.']}
run/shop.tasks.rotate_tokens
apply_async/shop.tasks.send_password_mail
GET reset/<uidb64>/<token>/
GET ^reset/(?P<token>[^/]+)/$
middleware CsrfViewMiddleware view
template registration/password_reset_form.html
cache get default session_{}
celery@worker-1 ready.
Task shop.tasks.pay[0af76519-16cd-43dd-8448-eb211c80319c] succeeded in 0.012s: None
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
request id 0af76519-16cd-43dd-8448-eb211c80319c
order 4000-1234
order number 1234567890123456
timestamp 1700000000000000000
phone 0301234567890
2024-01-02 03:04:05,678 INFO worker: started
user bob logged in from 10.0.0.1
bob@example.com ordered 3 items
user: bob@example.com
pip install -p x
cp -p a b
ls -a /tmp
ssh -p 2222 host
docker run -p 8080:80 image
docker run -p 127.0.0.1:8080:80 image
git commit -a
mkdir -p /tmp/x
curl -s https://h/
tar -k x
python -u manage.py migrate
<div class="token">x</div>
<label for="password">Password</label>
<input type="text" name="q" value="shoes">
a < b and c > d
{"name": "Bob", "value": "x"}
{"name": "color", "value": "red"}
Genesis 1:3
12:30:45
ratio=3:4
C:\Users\bob\secret_plans.txt
1 + 1 = 2
""".strip("\n").split("\n")
