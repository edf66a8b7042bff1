"""What SQL texts say: never a literal, one fingerprint for one shape, the operation and the tables."""

from __future__ import annotations

import random
import threading

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection, models
from django.db.models import Count, Exists, F, OuterRef, Subquery, Sum, Window
from django.db.models.functions import Coalesce, ExtractYear, Now, TruncDay
from django.db.models.sql import DeleteQuery, InsertQuery

from clew.sql import facts as sql_facts
from clew.sql import statement as module
from clew.sql.statement import Statement, statement

FLAGS = ("is_select", "is_write", "is_control", "locks_rows", "is_limited", "is_aggregate")


@pytest.fixture(autouse=True)
def empty_cache():
    caches = (*module._KNOWN, module._known_facts)
    for known in caches:
        known.clear()
    yield
    for known in caches:
        known.clear()


def raw(sql: str) -> Statement:
    return statement(sql, has_parameters=False, is_from_orm=False)


def bound(sql: str) -> Statement:
    return statement(sql, has_parameters=True, is_from_orm=False)


def orm(sql: str) -> Statement:
    return statement(sql, has_parameters=True, is_from_orm=True)


def flags(found: Statement) -> set[str]:
    return {flag for flag in FLAGS if getattr(found, flag)}


def without_words(sql: str) -> str:
    """What is recorded of the ORM's text: strings with words in them could be a site's."""
    for string in ("'%%Y-%%m-%%d %%H:%%M:%%f'", "'NOW'", "'k'"):
        sql = sql.replace(string, "?")
    return sql


def test_a_string_a_site_put_into_the_orms_text_is_not_recorded():
    found = orm("""SELECT "a"."id" FROM "a" WHERE (name = 'hunter2') AND "a"."b" LIKE %s ESCAPE '\\'""")
    assert found.text == """SELECT "a"."id" FROM "a" WHERE (name = ?) AND "a"."b" LIKE %s ESCAPE '\\'"""


def facts_of(found: Statement) -> str:
    return " ".join([f"{found.summary!r}:", *sorted(flags(found))])


SUMMARIES = [
    ("SELECT * FROM a", "SELECT a", "is_select"),
    ("select a.b from a where a.c = 1 limit 5", "SELECT a", "is_select is_limited"),
    ("SELECT 1", "SELECT", "is_select"),
    ('SELECT "a"."b" FROM "a" , "c" WHERE d = 1', "SELECT a c", "is_select"),
    ("SELECT * FROM a x, b AS y LEFT OUTER JOIN c ON x.i = y.i, d ORDER BY e, f", "SELECT a b c d", "is_select"),
    ("SELECT * FROM a JOIN b USING (id) JOIN a a2 ON 1 = 1", "SELECT a b", "is_select"),
    ("SELECT * FROM (a JOIN b ON a.i = b.i) WHERE c = 1", "SELECT a b", "is_select"),
    ("SELECT * FROM (SELECT * FROM a) x, LATERAL (SELECT * FROM b) y, c", "SELECT a b c", "is_select"),
    (
        "SELECT * FROM generate_series(1, 10) g, unnest(ARRAY[1, 2]) WITH ORDINALITY AS u(a, b), t",
        "SELECT t",
        "is_select",
    ),
    ("SELECT * FROM a TABLESAMPLE BERNOULLI (10), b", "SELECT a b", "is_select"),
    ("SELECT EXTRACT(YEAR FROM c), SUBSTRING(x FROM 1), TRIM(BOTH FROM y) FROM t", "SELECT t", "is_select"),
    ("SELECT * FROM a WHERE b IS NOT DISTINCT FROM c", "SELECT a", "is_select"),
    ("SELECT CAST(x AS TIMESTAMP WITH TIME ZONE) FROM a", "SELECT a", "is_select"),
    ("(SELECT a FROM b LIMIT 5) UNION ALL (SELECT a FROM c) ORDER BY 1", "SELECT b c", "is_select"),
    ("((SELECT a FROM b)) LIMIT 1", "SELECT b", "is_select is_limited"),
    ("SELECT a FROM b WHERE c IN (SELECT d FROM e LIMIT 5)", "SELECT b e", "is_select"),
    ("SELECT * FROM only_this WHERE a = ALL(ARRAY(SELECT b FROM c))", "SELECT only_this c", "is_select"),
    ('SELECT * FROM s.a, "S"."B c", `d`.`e`, [f].[g h]', "SELECT s.a S.B c d.e f.g h", "is_select"),
    ("SELECT * FROM events_2024_01 WHERE a = 1", "SELECT events_2024_01", "is_select"),
    ("SELECT DISTINCT TOP (5) a FROM b", "SELECT b", "is_select is_limited"),
    ("SELECT top FROM b", "SELECT b", "is_select"),
    ("SELECT a FROM b OFFSET 5 ROWS FETCH FIRST 5 ROWS ONLY", "SELECT b", "is_select is_limited"),
    ("SELECT a FROM b WHERE ROWNUM <= 5", "SELECT b", "is_select is_limited"),
    ("SELECT a FROM b FOR UPDATE OF b SKIP LOCKED", "SELECT b", "is_select locks_rows"),
    ("SELECT a FROM b FOR NO KEY UPDATE", "SELECT b", "is_select locks_rows"),
    ("SELECT a FROM b FOR SHARE", "SELECT b", "is_select locks_rows"),
    ("SELECT a FROM b FOR KEY SHARE NOWAIT", "SELECT b", "is_select locks_rows"),
    ("SELECT a FROM b LOCK IN SHARE MODE", "SELECT b", "is_select locks_rows"),
    ("SELECT SUBSTRING(a FROM 1 FOR 2) FROM b", "SELECT b", "is_select"),
    ("SELECT a FROM b STRAIGHT_JOIN c FORCE INDEX (i)", "SELECT b c", "is_select"),
    ("SELECT REPLACE(a, 'b', 'c') FROM t WHERE UPPER(REPLACE(a, 'x', 'y')) = 'z'", "SELECT t", "is_select"),
    ("SELECT COUNT(*) FROM a", "SELECT a", "is_select is_aggregate"),
    ("SELECT COALESCE(SUM(a), 0) AS s, max(b) FROM c WHERE d = 1", "SELECT c", "is_select is_aggregate"),
    ("SELECT COUNT(*) FROM (SELECT DISTINCT a FROM b) x", "SELECT b", "is_select is_aggregate"),
    ("SELECT a, COUNT(*) FROM b", "SELECT b", "is_select"),
    ("SELECT COUNT(*), a FROM b", "SELECT b", "is_select"),
    ("SELECT COUNT(*) FROM b GROUP BY a", "SELECT b", "is_select"),
    ("SELECT COUNT(*) FROM a UNION ALL SELECT COUNT(*) FROM b", "SELECT a b", "is_select"),
    ("SELECT SUM(a) OVER (PARTITION BY b) FROM c", "SELECT c", "is_select"),
    ("SELECT (SELECT COUNT(*) FROM b) AS n FROM a", "SELECT b a", "is_select"),
    ("SELECT EXISTS(SELECT 1 FROM a)", "SELECT a", "is_select is_aggregate"),
    ("SELECT EXISTS(SELECT 1 FROM a) FROM b", "SELECT a b", "is_select"),
    ('SELECT 1 AS "a" FROM "b" WHERE "b"."c" = 5 LIMIT 1', "SELECT b", "is_select is_limited is_aggregate"),
    ("SELECT 1 AS `a` FROM `b` LIMIT 1", "SELECT b", "is_select is_limited is_aggregate"),
    # WITH
    (
        "WITH x AS (SELECT * FROM a), y (b, c) AS NOT MATERIALIZED (SELECT * FROM x) SELECT * FROM x, y, d",
        "SELECT a d",
        "is_select",
    ),
    (
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT COUNT(n) FROM t JOIN b ON TRUE",
        "SELECT b",
        "is_select is_aggregate",
    ),
    ("WITH a AS (SELECT * FROM a WHERE b) SELECT * FROM a", "SELECT a", "is_select"),
    ("WITH a AS (SELECT 1 FROM b LIMIT 1) (SELECT * FROM a, c)", "SELECT b c", "is_select"),
    ("WITH x AS (SELECT * FROM a) UPDATE b SET c = 1 FROM x", "UPDATE b SELECT a", "is_write"),
    ("WITH x AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM x", "INSERT b DELETE a", "is_write"),
    ("WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x", "SELECT DELETE a", "is_write"),
    ("INSERT INTO a WITH x AS (SELECT 1 FROM b) SELECT * FROM x", "INSERT a SELECT b", "is_write"),
    # writes
    ("INSERT INTO a (b, c) VALUES (1, 2), (3, 4) RETURNING d INTO e", "INSERT a", "is_write"),
    ("INSERT OR IGNORE INTO a (b) SELECT c FROM d", "INSERT a SELECT d", "is_write"),
    ("INSERT IGNORE a SET b = 1", "INSERT a", "is_write"),
    ("INSERT INTO a SELECT * FROM a", "INSERT a", "is_write"),
    ("INSERT INTO a (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET b = EXCLUDED.b", "INSERT a", "is_write"),
    ("INSERT INTO a (b) VALUES (1) ON DUPLICATE KEY UPDATE b = VALUES(b), c = 1", "INSERT a", "is_write"),
    ("REPLACE INTO a VALUES (1)", "REPLACE a", "is_write"),
    ("UPDATE ONLY a SET b = 1, c = 2 FROM d, e WHERE f IN (SELECT g FROM h)", "UPDATE a d e SELECT h", "is_write"),
    ("UPDATE a, b SET a.c = b.c", "UPDATE a b", "is_write"),
    ("DELETE FROM ONLY a USING b JOIN c USING (id) WHERE d", "DELETE a b c", "is_write"),
    ("DELETE a FROM b AS a JOIN c ON 1 = 1", "DELETE b c", "is_write"),
    ("DELETE FROM a WHERE b IN (SELECT c FROM a) LIMIT 5", "DELETE a", "is_write is_limited"),
    (
        "MERGE INTO a USING b ON (c) WHEN MATCHED THEN UPDATE SET d = 1 WHEN NOT MATCHED THEN INSERT (e) VALUES (1)",
        "MERGE a b",
        "is_write",
    ),
    ("MERGE INTO a USING (SELECT * FROM b) c ON d WHEN MATCHED THEN DELETE", "MERGE a SELECT b", "is_write"),
    ('TRUNCATE TABLE "a", "b" CASCADE', "TRUNCATE a b", "is_write"),
    # transactions
    ("BEGIN", "BEGIN", "is_control"),
    ("begin immediate;", "BEGIN", "is_control"),
    ("BEGIN; DELETE FROM a", "BEGIN", "is_control"),
    ("BEGIN proc(1); END;", "BEGIN", ""),
    ("START TRANSACTION READ ONLY", "START TRANSACTION", "is_control"),
    ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET TRANSACTION", "is_control"),
    ("COMMIT", "COMMIT", "is_control"),
    ("ROLLBACK", "ROLLBACK", "is_control"),
    ('SAVEPOINT "s140_x1"', "SAVEPOINT", "is_control"),
    ("ROLLBACK TO SAVEPOINT `s140_x1`", "ROLLBACK TO SAVEPOINT", "is_control"),
    ("rollback to s1", "ROLLBACK TO SAVEPOINT", "is_control"),
    ('RELEASE SAVEPOINT "s140_x1";', "RELEASE SAVEPOINT", "is_control"),
    # definitions and administration
    ('CREATE TABLE IF NOT EXISTS "a" ("b" int REFERENCES "c" ("d") ON DELETE CASCADE)', "CREATE TABLE a", ""),
    ("CREATE TEMPORARY TABLE a AS SELECT * FROM b", "CREATE TABLE a SELECT b", ""),
    ("CREATE OR REPLACE VIEW a AS SELECT * FROM b", "CREATE VIEW a SELECT b", ""),
    ("REFRESH MATERIALIZED VIEW CONCURRENTLY a", "REFRESH MATERIALIZED VIEW a", ""),
    ('CREATE UNIQUE INDEX CONCURRENTLY "i" ON "a" ("b", "c")', "CREATE INDEX a", ""),
    ("DROP INDEX CONCURRENTLY IF EXISTS i", "DROP INDEX i", ""),
    ('ALTER TABLE ONLY "s"."a" ADD COLUMN "b" int DEFAULT 5, ADD c int', "ALTER TABLE s.a", ""),
    ("DROP TABLE IF EXISTS a, b CASCADE", "DROP TABLE a b", ""),
    ("CREATE SEQUENCE a", "CREATE SEQUENCE a", ""),
    ("CREATE USER a IDENTIFIED BY 'secret'", "CREATE", ""),
    ("CALL a(1)", "CALL a", ""),
    ("EXEC s.a @b = 1", "EXEC s.a", ""),
    ('PRAGMA table_info("a")', "PRAGMA table_info", ""),
    ("EXPLAIN ANALYZE SELECT * FROM a JOIN b ON 1 = 1", "EXPLAIN SELECT a b", ""),
    ("EXPLAIN (ANALYZE, FORMAT JSON) DELETE FROM a", "EXPLAIN DELETE a", ""),
    ("SHOW TABLES FROM a", "SHOW", ""),
    ("SET search_path TO a", "SET", ""),
    ("COPY a (b, c) FROM STDIN", "COPY a", ""),
    ("COPY (SELECT * FROM a) TO STDOUT", "COPY SELECT a", ""),
    ("LOCK TABLE a IN SHARE ROW EXCLUSIVE MODE", "LOCK a", ""),
    ("GRANT SELECT ON a TO b", "GRANT", ""),
    ("REVOKE SELECT ON a FROM b", "REVOKE", ""),
    ("DO $$ BEGIN DELETE FROM a; END $$", "DO", ""),
    # nothing to tell
    ("", "", ""),
    ("  \n ", "", ""),
    (";", "", ""),
    ("-- only a comment", "", ""),
    ("/* only a comment */", "", ""),
    ("hello 'secret' world", "", ""),
    ("FROM a WHERE b", "", ""),
    ("SELECT * FROM", "SELECT", "is_select"),
    ("SELECT * FROM ? WHERE a = 1", "SELECT", "is_select"),
    (") ) SELECT", "", ""),
]


@pytest.mark.parametrize(("sql", "summary", "said"), SUMMARIES, ids=[row[0][:60] for row in SUMMARIES])
def test_facts(sql, summary, said):
    found = raw(sql)
    assert found.summary == summary
    assert flags(found) == set(said.split())
    # Case, comments and line breaks say nothing.
    again = raw(f"/* c */\n{sql.lower()} -- d").fingerprint
    assert sql_facts.facts(again).summary.lower() == summary.lower()


@pytest.mark.parametrize(
    ("sql", "operation", "tables"),
    [
        ("select * from A", "SELECT", ("A",)),
        ("WITH x AS (SELECT * FROM a) UPDATE b SET c = 1 FROM x", "UPDATE", ("b", "a")),
        ('SELECT * FROM "s" . "t"', "SELECT", ("s.t",)),
        ("create  unique\tindex i on t (c)", "CREATE INDEX", ("t",)),
        ("CALL p()", "CALL", ()),
        ("SELECT * FROM a, b, a", "SELECT", ("a", "b")),
    ],
)
def test_operation_and_tables(sql, operation, tables):
    found = raw(sql)
    assert (found.operation, found.tables) == (operation, tables)
    assert found.collection == (tables[0] if len(tables) == 1 else None)


def test_a_long_summary_ends_between_names():
    names = [f"table_{number:03}" for number in range(100)]
    found = raw(f"SELECT * FROM {', '.join(names)}")
    assert found.summary == "SELECT " + " ".join(names[:24])
    assert len(found.tables) == 100
    assert raw(f"SELECT * FROM {'a' * 300}").summary == "SELECT"


USERS = User.objects.all()


def compiled(queryset) -> str:
    return queryset.query.sql_with_params()[0]


def deleted(model) -> str:
    query = DeleteQuery(model)
    query.add_filter("id__in", [1, 2])
    return query.get_compiler(connection=connection).as_sql()[0]


def inserted(count: int) -> str:
    query = InsertQuery(Group)
    query.insert_values([Group._meta.get_field("name")], [Group(name=str(number)) for number in range(count)])
    return query.get_compiler(connection=connection).as_sql()[0][0]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: USERS, "'SELECT auth_user': is_select"),
        (lambda: USERS[:21], "'SELECT auth_user': is_limited is_select"),
        (lambda: USERS.filter(username__contains="a%", id__in=[1, 2])[:1], "'SELECT auth_user': is_limited is_select"),
        (lambda: USERS.filter(username__contains=F("email")).order_by("id"), "'SELECT auth_user': is_select"),
        (lambda: USERS.filter(groups__name="a"), "'SELECT auth_user auth_user_groups auth_group': is_select"),
        (lambda: USERS.annotate(n=Count("groups")).filter(n__gt=1), "'SELECT auth_user auth_user_groups': is_select"),
        (
            lambda: USERS.annotate(y=ExtractYear("date_joined"), d=TruncDay("last_login")),
            "'SELECT auth_user': is_select",
        ),
        (lambda: USERS.annotate(w=Window(Sum("id"), partition_by="is_staff")), "'SELECT auth_user': is_select"),
        (lambda: USERS.values("id").union(Group.objects.values("id")), "'SELECT auth_user auth_group': is_select"),
        (lambda: USERS.annotate(n=Count("*")).values("n").order_by(), "'SELECT auth_user': is_select"),
        (
            lambda: USERS.filter(Exists(Group.objects.filter(user=OuterRef("pk"), name__startswith="a"))),
            "'SELECT auth_user auth_group auth_user_groups': is_select",
        ),
        (
            lambda: ContentType.objects.annotate(s=Subquery(Session.objects.values("pk")[:1])),
            "'SELECT django_session django_content_type': is_select",
        ),
        (
            lambda: Session.objects.filter(expire_date__lt=Now()).dates("expire_date", "day"),
            "'SELECT django_session': is_select",
        ),
        (lambda: USERS.values(s=Coalesce(Sum("id"), 0)), "'SELECT auth_user': is_select"),
    ],
)
def test_what_the_orm_reads(make, expected):
    sql = compiled(make())
    found = orm(sql)
    assert facts_of(found) == expected
    assert found.text == without_words(sql)
    assert "%s" not in found.fingerprint
    assert "'" not in found.fingerprint


@pytest.mark.django_db
def test_what_the_orm_runs():
    seen = []

    def note(execute, sql, params, many, context):
        seen.append(facts_of(statement(sql, has_parameters=bool(params), is_from_orm=True)))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        group = Group.objects.create(name="a")
        Group.objects.bulk_create([Group(name="b"), Group(name="c")], ignore_conflicts=True)
        Group.objects.filter(user__isnull=True).update(name=models.F("name"))
        Group.objects.exists()
        Group.objects.count()
        USERS.aggregate(Sum("id", default=0))
        Group.objects.contains(group)
        Group.objects.filter(name="x")._raw_delete("default")
        list(Group.objects.raw("select * from auth_group where id = %s", [1]))
        Group.objects.all().explain()
    assert seen == [
        "'INSERT auth_group': is_write",
        "'INSERT auth_group': is_write",
        "'UPDATE auth_group SELECT auth_user_groups': is_write",
        "'SELECT auth_group': is_aggregate is_limited is_select",
        "'SELECT auth_group': is_aggregate is_select",
        "'SELECT auth_user': is_aggregate is_select",
        "'SELECT auth_group': is_aggregate is_limited is_select",
        "'DELETE auth_group': is_write",
        "'SELECT auth_group': is_select",
        "'EXPLAIN SELECT auth_group':",
    ]


def test_batches_of_the_orm_are_one():
    assert orm(inserted(1)).fingerprint is orm(inserted(7)).fingerprint
    many = [orm(compiled(USERS.filter(id__in=range(count))[:count])).fingerprint for count in (2, 5, 900)]
    assert many[0] is many[1] is many[2]
    assert facts_of(orm(deleted(Group))) == "'DELETE auth_group': is_write"


OTHER_DATABASES = [
    # PostgreSQL
    (
        """SELECT "a"."b" FROM "a" WHERE UPPER("a"."b"::text) LIKE UPPER(%s) AND "a"."c" IN (%s, %s) LIMIT 21""",
        """SELECT "a"."b" FROM "a" WHERE UPPER("a"."b"::text) LIKE UPPER(?) AND "a"."c" IN (...) LIMIT ?""",
    ),
    (
        r"""SELECT 1 FROM "a" WHERE "b" LIKE REPLACE(REPLACE(("c"), E'\\', E'\\\\'), E'%%', E'\\%%') || '%%' LIMIT 1""",
        """SELECT ? FROM "a" WHERE "b" LIKE REPLACE(REPLACE(("c"), ?, ?), ?, ?) || ? LIMIT ?""",
    ),
    (
        """SELECT ("a"."d" #> %s), "a"."b" # %s, ("a"."d" ->> 'k') FROM "a" WHERE ("a"."d" #>> %s) = %s FOR UPDATE""",
        """SELECT ("a"."d" #> ?), "a"."b" # ?, ("a"."d" ->> ?) FROM "a" WHERE ("a"."d" #>> ?) = ? FOR UPDATE""",
    ),
    # MySQL
    (
        r"""SELECT `a`.`b` FROM `a` WHERE `a`.`b` LIKE BINARY REPLACE(`a`.`c`, '\\', '\\\\') AND `d` = -1 LIMIT 21""",
        """SELECT `a`.`b` FROM `a` WHERE `a`.`b` LIKE BINARY REPLACE(`a`.`c`, ?, ?) AND `d` = ? LIMIT ?""",
    ),
    (
        "INSERT INTO `a` (`b`) VALUES (%s), (%s) AS new ON DUPLICATE KEY UPDATE `b` = new.`b`",
        "INSERT INTO `a` (`b`) VALUES (...) AS new ON DUPLICATE KEY UPDATE `b` = new.`b`",
    ),
    # SQLite, Oracle
    (
        r"""SELECT 1 FROM "a" WHERE "b" LIKE '%%' || REPLACE("c", '\', '\\') ESCAPE '\' AND "d" = %s LIMIT 5""",
        """SELECT ? FROM "a" WHERE "b" LIKE ? || REPLACE("c", ?, ?) ESCAPE ? AND "d" = ? LIMIT ?""",
    ),
    (
        r"""SELECT "A" FROM "B" WHERE "A" LIKE TRANSLATE(:arg0 USING NCHAR_CS) ESCAPE TRANSLATE('\' USING NCHAR_CS)""",
        """SELECT "A" FROM "B" WHERE "A" LIKE TRANSLATE(? USING NCHAR_CS) ESCAPE TRANSLATE(? USING NCHAR_CS)""",
    ),
]


@pytest.mark.parametrize(("sql", "fingerprint"), OTHER_DATABASES)
def test_what_the_orm_writes_for_other_databases(sql, fingerprint):
    found = orm(sql)
    assert found.text == without_words(sql)
    assert found.fingerprint == fingerprint


def test_names_that_change_each_time_are_told_nowhere():
    for sql in (
        'SAVEPOINT "s140_x1"',
        'DECLARE "_django_curs_1_s140_x1" NO SCROLL CURSOR WITH HOLD FOR SELECT 1 FROM a',
    ):
        for found in (raw(sql), bound(sql), orm(sql)):
            assert "s140_x1" not in found.text + found.fingerprint + found.summary
    assert facts_of(raw("DECLARE c CURSOR FOR SELECT 1 FROM a")) == "'SELECT a': is_select"
    for number in range(100):
        orm(f'SAVEPOINT "s1_x{number}"')
        orm(f"SELECT 1 FROM a /*traceparent='{number}'*/")
    assert set(module.KNOWN_FROM_ORM) == {"SAVEPOINT ?", "SELECT 1 FROM a"}


def test_the_same_text_is_the_same_object():
    sql = "SELECT * FROM a WHERE b = 5"
    assert raw(sql) is raw(str(sql.encode(), "utf-8")) is module.KNOWN_RAW[sql]
    assert bound(sql) is module.KNOWN_WITH_PARAMETERS[sql]
    assert orm(sql) is statement(sql, has_parameters=False, is_from_orm=True) is module.KNOWN_FROM_ORM[sql]
    assert (raw(sql).text, bound(sql).text, orm(sql).text) == ("SELECT * FROM a WHERE b = ?", sql, sql)


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_KNOWN", 20)
    for number in range(100):
        orm(f"SELECT * FROM t{number}")
        raw(f"SELECT * FROM t{number}")
    assert sum(map(len, module._KNOWN)) == 20
    assert len(module._known_facts) == 20
    assert "SELECT * FROM t99" in module.KNOWN_FROM_ORM
    bound("SELECT * FROM t1")
    bound("SELECT * FROM t2")
    assert len(module.KNOWN_WITH_PARAMETERS) == 2


def test_many_threads(monkeypatch):
    monkeypatch.setattr(module, "MAX_KNOWN", 50)
    wrong = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(500):
            number = chance.randint(0, 200)
            if raw(f"SELECT * FROM t{number}").collection != f"t{number}":
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("count", [1, 14])
def test_a_span_is_named_by_its_first_table_and_in_full_by_as_many_as_have_room(count):
    tables = [f"shop_customer_{number}" for number in range(count)]
    found = orm(f"SELECT 1 FROM {' JOIN '.join(tables)}")
    assert found.summary == " ".join(["SELECT", *tables])
    assert found.span_name == f"SELECT {tables[0]}"
    assert found.full_name == (found.summary if count == 1 else " ".join(["SELECT", *tables[:4], "..."]))
    assert len(found.full_name) <= 84
