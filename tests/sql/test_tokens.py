"""No literal is told, whichever database reads the text; and texts of one shape have one fingerprint."""

from __future__ import annotations

import random

import pytest

from clew.sql.statement import MAX_TEXT, Statement, statement


def raw(sql: str) -> Statement:
    return statement(sql, has_parameters=False, is_from_orm=False)


def bound(sql: str) -> Statement:
    return statement(sql, has_parameters=True, is_from_orm=False)


def orm(sql: str) -> Statement:
    return statement(sql, has_parameters=True, is_from_orm=True)


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ('SELECT * FROM t WHERE a = "x" AND b<>"y"', "SELECT * FROM t WHERE a = ? AND b<>?"),
        ('SELECT * FROM t WHERE a IN ("x", "y") OR b LIKE "z%%"', "SELECT * FROM t WHERE a IN (?, ?) OR b LIKE ?"),
        ('SELECT * FROM t WHERE a BETWEEN "x" AND "y"', "SELECT * FROM t WHERE a BETWEEN ? AND ?"),
        ('INSERT INTO t (a, b) VALUES ("x", MD5("y")), ("z", "z")', "INSERT INTO t (a, b) VALUES (?, MD5(?)), (?, ?)"),
        ('UPDATE t SET a = "x", b = ("y")', "UPDATE t SET a = ?, b = (?)"),
        ('CREATE USER bob IDENTIFIED BY "x"', "CREATE USER bob IDENTIFIED BY ?"),
        ('SELECT CASE WHEN a = %s THEN "x" ELSE "y" END', "SELECT CASE WHEN a = %s THEN ? ELSE ? END"),
    ],
)
def test_what_mysql_takes_for_a_string_is_none_of_the_text(sql, text):
    assert bound(sql).text == text


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT COUNT("id") AS "n" FROM "t" GROUP BY "x" ORDER BY "n"',
        'SELECT "a" FROM "t" JOIN "u" ON ("t"."x" = "u"."y") WHERE "u"."z" IN (SELECT "id" FROM "v")',
        'INSERT INTO "t" ("a", "b") VALUES (%s, %s) RETURNING "t"."id"',
    ],
)
def test_names_in_double_quotes_stay(sql):
    assert bound(sql).text == sql


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("a = 'it''s' AND b = ''", "a = ? AND b = ?"),
        ("a = E'x' OR N'x' OR X'1F' OR B'01' OR U&'x' OR _utf8'x'", "a = ? OR ? OR ? OR ? OR ? OR _utf8?"),
        ("f(1, -2.5, 1e5, .5e-10, 0x1F, 1_000, -1E+3)", "f(?, ?, ?, ?, ?, ?, ?)"),
        ("a BETWEEN -1 AND +3 OR a - 5 = 1", "a BETWEEN ? AND ? OR a - ? = ?"),
        ('t1.a2 = 3 AND "2fa" = 4 AND `5 b` = 6 AND [c 7] = 8', 't1.a2 = ? AND "2fa" = ? AND `5 b` = ? AND [c 7] = ?'),
        ("a[1:2] = ARRAY[1, 'x']", "a[?:?] = ARRAY[?, ?]"),
        ("a = $$it's$$ AND b = $x$ $$ ' $x$ AND c = $1", "a = ? AND b = ? AND c = $1"),
        ("a IS NULL AND b = TRUE AND c = false", "a IS NULL AND b = TRUE AND c = false"),
        ("a = q'[x]' AND b = nq'!x!'", "a = ? AND b = ?"),
        ("a::int = 5 AND b = INTERVAL '1 day' AND c #>> '{x}' = 'y'", "a::int = ? AND b = INTERVAL ? AND c #>> ? = ?"),
        ("a LIKE 'x' ESCAPE '\\' AND b = 'y'", "a LIKE ? ESCAPE ? AND b = ?"),
        ("a = 1 -- it's\n AND b = 2 /* 'c */ AND d = 3 # e\nAND f = 4", "a = ?  \n AND b = ?   AND d = ?  \nAND f = ?"),
        ("a = 'unterminated b = 1", "a = ?"),
        ('a = "unterminated b = 1', "a = ?"),
        ("a = 1 /* unterminated 'b'", "a = ?"),
        ("a = $$ unterminated", "a = ?"),
        ("a = %(b)s AND c = %s AND d = :e AND f = 5 % 3", "a = %(b)s AND c = %s AND d = :e AND f = ? % ?"),
    ],
)
def test_text_without_parameters(sql, text):
    found = raw(sql)
    assert found.text == text
    assert raw(found.text).text == text


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT * FROM a WHERE b = %s AND c = 5 LIMIT 10", None),
        ("SELECT * FROM a WHERE b = %(x)s AND c = ? AND d = :e AND f = $1 AND g = %%", None),
        ("SELECT 'x', \"y\" FROM a /* z */ WHERE b = %s", 'SELECT ?, "y" FROM a   WHERE b = %s'),
    ],
)
def test_text_with_parameters(sql, text):
    assert bound(sql).text == (text or sql)


@pytest.mark.parametrize(
    "sql",
    [
        # PostgreSQL reads 'it\' and then code, MySQL reads on.
        r"a = 'it\'s secret' AND b = 'secret' AND c",
        r"a = 'x\' AND b = 'secret'",
        r"a = 'x\\\' AND b = 'secret'",
        r"a = E'x\'secret' AND b = 'secret'",
        r"""a = "x\" AND b = 'secret'""",
        # Comments for the one, code for the other.
        "a = 5--1 AND b = 'x\nsecret'",
        "a = 1 # it's\nAND b = 'secret'",
        "a #x '\nsecret' b",
        "a = 1 /* b /* c */ 'secret' */",
        "a = 1 /*! b = 'c*/ secret' */",
        "a = 1 -- b\r AND c = 'd\nsecret'",
        # Oracle's, SQL Server's.
        "a = q'[it's secret]'",
        "a = q'!it's secret!' AND b = 'secret'",
        "[it's] = 'secret'",
    ],
)
def test_where_databases_disagree_nothing_is_told(sql):
    found = raw(f"SELECT * FROM t WHERE {sql}")
    assert "secret" not in found.text + found.fingerprint + found.summary
    assert found.summary == "SELECT t"
    assert found.text.startswith("SELECT * FROM t WHERE")


SAME = [
    [
        "SELECT * FROM a WHERE b = 1",
        "SELECT  *\nFROM a WHERE b = 'x'",
        "SELECT * FROM a WHERE b = %s;",
        "SELECT * FROM a WHERE b = -1.5",
    ],
    [
        "SELECT * FROM a WHERE b = $1",
        "SELECT * FROM a WHERE b = :b",
        "SELECT * FROM a -- c\nWHERE b = %(b)s",
        "SELECT * FROM a WHERE b = ?",
    ],
    ["a IN (1)", "a IN (%s, %s)", "a IN ( ?,? , 'x' )", "a IN(NULL, 2)"],
    ["a IN ((1, 2))", "a IN ((%s, %s), (%s, %s))"],
    [
        "INSERT INTO a VALUES (1, 'x')",
        "INSERT INTO a VALUES (%s, %s), (%s, f(g(2)))",
        "INSERT INTO a VALUES (1),(2),(3)",
    ],
    ['SAVEPOINT "s1_x1"', 'SAVEPOINT "s2_x7"'],
    [
        'SELECT "a" FROM "b" WHERE "c" = %s',
        'DECLARE "_django_curs_1_sync_1" NO SCROLL CURSOR WITH HOLD FOR SELECT "a" FROM "b" WHERE "c" = %s',
        'DECLARE "_django_curs_2_3" CURSOR WITHOUT HOLD FOR SELECT "a" FROM "b" WHERE "c" = \'d\'',
        'SELECT "a" FROM "b" WHERE "c" = %s /*traceparent=\'00-0af7-01\'*/',
    ],
]


@pytest.mark.parametrize("texts", SAME, ids=[texts[0] for texts in SAME])
@pytest.mark.parametrize("read", [raw, bound, orm])
def test_one_fingerprint(texts, read):
    first, *others = [read(text).fingerprint for text in texts]
    assert all(other is first for other in others)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT * FROM events_2024_01", "SELECT * FROM events_2024_02"),
        ('SELECT "a 1" FROM "b"', 'SELECT "a_2" FROM "b"'),
        ("SELECT a FROM b", "SELECT a FROM b LIMIT 1"),
        ("a IN (SELECT 1)", "a IN (1)"),
        ("a = b - 1", "a = b + 1"),
    ],
)
def test_two_fingerprints(one, other):
    assert raw(one).fingerprint != raw(other).fingerprint


SECRET = "zq9secretzq9"
PLAIN = (
    " = ",
    ", ",
    "(",
    ")",
    " AND a ",
    " FROM t ",
    " - ",
    "\n",
    " IN (1, 2)",
    '"c"',
    "`d`",
    "[e]",
    " %s ",
    "$1",
    " x#>> ",
    ";",
)
NASTY = (
    "'",
    "''",
    "\\",
    "\\\\",
    '"',
    "`",
    "--",
    "/*",
    "*/",
    "#",
    "$$",
    "$a$",
    "\n",
    "\r",
    "(",
    ")",
    "[",
    "]",
    ";",
    "%s",
    "?",
    " ",
)


def literal(pieces: list[str], is_mysql: bool, chance: random.Random) -> str:
    """A literal with the secret and these pieces inside, as one database or the other would have it written."""
    kind = chance.choice(("number", "dollar", "string", "string", "string"))
    if kind == "number":
        return chance.choice(("{}", "-{}", "{}.5", "{}e5", "0x{}")).format("990099")
    inside = "".join(pieces)
    if kind == "dollar" and not is_mysql and "$" not in inside:
        return f"$zq${inside}$zq$"
    if is_mysql:
        return "'" + inside.replace("\\", "\\\\").replace("'", chance.choice(("\\'", "''"))) + "'"
    return "'" + inside.replace("'", "''") + "'"


@pytest.mark.parametrize("is_mysql", [True, False], ids=["MySQL", "PostgreSQL"])
def test_no_literal_leaks(is_mysql):
    chance = random.Random(20_240_101 + is_mysql)
    for _ in range(3000):
        parts = ["SELECT a"]
        for _ in range(chance.randint(1, 6)):
            pieces = [
                *chance.choices(NASTY, k=chance.randint(0, 5)),
                SECRET,
                *chance.choices(NASTY, k=chance.randint(0, 3)),
            ]
            chance.shuffle(pieces)
            parts += [*chance.choices(PLAIN, k=chance.randint(0, 4)), " = ", literal(pieces, is_mysql, chance), " "]
        sql = "".join(parts)
        for found in (raw(sql), raw(sql[: chance.randint(1, len(sql))])):
            told = found.text + found.fingerprint + found.summary
            assert SECRET not in told, sql
            assert "990099" not in told, sql
        assert SECRET not in (told := bound(sql).text + bound(sql).summary), sql


SYNTAX = ("SELECT", "WITH x AS (", "VALUES (", "IN (?", "UPDATE ", "DECLARE ", "é", "\0", "0", "FROM ", "JOIN ")


def test_random_text_is_survived():
    chance = random.Random(5)
    pieces = (*PLAIN, *NASTY, *SYNTAX)
    for _ in range(3000):
        sql = "".join(chance.choices(pieces, k=chance.randint(0, 40)))
        for read in (raw, bound, orm):
            found = read(sql)
            assert found is read(sql)
            assert len(found.text) <= MAX_TEXT


HOSTILE = [
    "'",
    '"',
    "`",
    "\\'",
    "''",
    "(",
    ")",
    "[",
    "[a",
    "/*",
    "*/",
    "--",
    "#",
    "#>'",
    "$a",
    "$$",
    "/**/",
    "e'",
    "q'[",
]
HOSTILE += ["IN (?, ", "VALUES (", "WITH a AS (", "= - ", "1", "a.", "FROM a,", "LIMIT -"]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("begin", ["", "SELECT ", "DECLARE "])
def test_a_megabyte_of_anything(piece, begin):
    sql = begin + piece * (1_000_000 // len(piece))
    for read in (raw, bound, orm):
        found = read(sql)
        assert len(found.text) <= MAX_TEXT
        assert len(found.summary) <= 255
        assert read(sql) is not found


def test_long_texts_are_cut():
    sql = f"SELECT {', '.join(['column'] * 2000)} FROM a"
    for found in (raw(sql), bound(sql), orm(sql)):
        assert len(found.text) == MAX_TEXT
        assert found.text == sql[: MAX_TEXT - 3] + "..."
        assert found.summary == "SELECT a"
    longer = f"SELECT '{'x' * 30_000}' FROM a"
    assert raw(longer).text == "SELECT ?..."
    assert raw(longer) is not raw(longer)
