"""The linter of the portable subset: each rule refuses its example and accepts the way it recommends."""

from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.engines.sqllint import RULES, UNIQUE_COLUMNS, lint_sql
from feedback_platform.engines.sqltokens import tokenise

STAGES = Path(str(files("feedback_platform"))) / "stages"

# rule, refused, accepted
EXAMPLES = [
    ("order_by_nulls", "SELECT a FROM t ORDER BY a, log_seq NULLS LAST",
     "SELECT a FROM t ORDER BY a DESC NULLS FIRST, log_seq ASC NULLS LAST LIMIT 3"),
    ("order_by_nulls", "SELECT row_number() OVER (PARTITION BY b ORDER BY pair_id) FROM t",
     "SELECT row_number() OVER (PARTITION BY b ORDER BY t.pair_id NULLS LAST) FROM t"),
    ("order_by_nulls", "SELECT list(a ORDER BY a) FROM t", "SELECT list(a ORDER BY a NULLS LAST) FROM t"),
    ("order_by_tie", "SELECT a FROM t ORDER BY pair_id NULLS LAST, a NULLS LAST",
     "SELECT a FROM t ORDER BY a NULLS LAST, pair_id NULLS LAST"),
    ("order_by_tie", "SELECT a FROM t ORDER BY lower(pair_id) NULLS LAST",
     "SELECT a FROM t ORDER BY lower(a) NULLS LAST, t.unit_key NULLS LAST"),
    ("order_by_tie", "-- unique: b, c\nSELECT a FROM t ORDER BY c NULLS LAST",
     "SELECT a FROM t\n-- unique: b, c\nORDER BY c NULLS LAST, b NULLS LAST, a NULLS LAST"),
    ("order_by_tie", "SELECT list(a ORDER BY b NULLS LAST) FROM t",
     "SELECT list(DISTINCT t.a ORDER BY t.a DESC NULLS LAST) FROM t"),
    ("order_by_tie", "SELECT sum(n) OVER (ORDER BY n NULLS LAST ROWS UNBOUNDED PRECEDING) FROM t",
     "SELECT sum(n) OVER (ORDER BY n NULLS LAST, log_seq NULLS LAST ROWS UNBOUNDED PRECEDING) FROM t"),
    ("order_by_all", "SELECT a FROM t ORDER BY ALL", "SELECT pair_id FROM t ORDER BY pair_id NULLS LAST"),
    ("group_by_all", "SELECT a, count(*) FROM t GROUP BY ALL", "SELECT a, count(*) FROM t GROUP BY a"),
    ("subscript", "SELECT a[1] FROM t", "SELECT @element(a, 1) FROM t"),
    ("subscript", "SELECT f(a)[1] FROM t", "SELECT s.field.inner_field FROM t AS s"),
    ("list_literal", "SELECT [1, 2]", "SELECT @list(1, 2)"),
    ("division", "SELECT a / b FROM t", "SELECT @ratio(a, b) FROM t"),
    ("division", "SELECT a // b FROM t", "SELECT a * b -- not a / b\nFROM t"),
    ("power", "SELECT a ^ 2 FROM t", "SELECT a * a FROM t"),
    ("float_aggregate", "SELECT AVG(a) FROM t", "SELECT sum(a), count(a) FROM t"),
    ("float_aggregate", "SELECT sum(@to_double(a)) FROM t", "SELECT sum(@to_micros(a)) FROM t"),
    ("float_aggregate", "SELECT sum(a * 1e-3) FROM t", "SELECT sum(a * 0.001) FROM t"),
    ("float_aggregate", "SELECT quantile_cont(a, 0.5) FROM t", "SELECT t.median FROM t"),
    ("approximate", "SELECT approx_count_distinct(a) FROM t", "SELECT count(DISTINCT a) FROM t"),
    ("arbitrary_pick", "SELECT any_value(a) FROM t", "SELECT min(a) FROM t"),
    ("arbitrary_pick", "SELECT arg_max(a, b) FROM t", "SELECT max(b) AS first FROM t"),
    ("unordered_list", "SELECT string_agg(a, ',') FROM t",
     "SELECT string_agg(a, ',' ORDER BY log_seq NULLS LAST) FROM t"),
    ("unordered_list", "SELECT array_agg(DISTINCT a) FROM t", "SELECT list FROM t"),
    ("unordered_list", "SELECT size(collect_set(a)) FROM t", "SELECT sort_array(collect_set(a)) FROM t"),
    ("cast", "SELECT CAST(a AS BIGINT) FROM t", "SELECT @to_int(a) FROM t"),
    ("cast", "SELECT a::BIGINT FROM t", "SELECT ':: CAST(' AS cast FROM t"),
    ("cast", "SELECT try_cast(a AS INT) FROM t", "SELECT TIMESTAMP '2026-01-01 00:00:00' FROM t"),
    ("star_modifier", "SELECT * EXCLUDE (a) FROM t", "SELECT a.exclude, b FROM a"),
    ("star_modifier", "SELECT t.* REPLACE (1 AS a) FROM t", "SELECT replace(a, 'x', 'y') FROM t"),
    ("star_modifier", "SELECT COLUMNS('a') FROM t", "SELECT count(*) FROM t EXCEPT (SELECT 1)"),
    ("qualify", "SELECT a FROM t QUALIFY n = 1", "SELECT a FROM t WHERE n = 1"),
    ("from_first", "FROM t", "SELECT a FROM t"),
    ("from_first", "WITH c AS (FROM t) SELECT a FROM c", "WITH c AS (SELECT a FROM t) SELECT a FROM c"),
    ("from_first", "WITH c AS (SELECT 1) FROM c", "SELECT a FROM t WHERE a IN (SELECT b FROM u)"),
    ("from_first", "SELECT a FROM t UNION ALL FROM u", "SELECT a FROM t UNION ALL SELECT a FROM u"),
    ("from_first", "SELECT (FROM t)",
     "SELECT extract(year FROM a) FROM t WHERE (a IS DISTINCT FROM b)"),
    ("engine_hash", "SELECT hash(a) FROM t", "SELECT sha256(a), t.hash FROM t"),
    ("volatile", "SELECT random()", "SELECT t.random FROM t"),
    ("volatile", "SELECT a < current_timestamp FROM t", "SELECT a < @watermark() AS today FROM t"),
    ("lambda", "SELECT list_filter(a, x -> x > 1) FROM t", "SELECT @positive(a) FROM t WHERE b - 1 > 0"),
    ("lambda", "SELECT list_filter(a, lambda x: x > 1) FROM t", "SELECT lambda FROM t"),
    ("join_kind", "SELECT a FROM t ASOF JOIN u ON t.a >= u.a", "SELECT t.a FROM t JOIN u ON t.a >= u.a"),
    ("join_kind", "SELECT a FROM t SEMI JOIN u USING (a)", "SELECT a FROM t WHERE a IN (SELECT a FROM u)"),
    ("join_kind", "SELECT a FROM t LEFT ANTI JOIN u ON t.a = u.a",
     "SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.a = t.a)"),
    ("distinct_on", "SELECT DISTINCT ON (a) a, b FROM t", "SELECT DISTINCT a, b FROM t"),
    ("ilike", "SELECT a FROM t WHERE a ILIKE 'x%'", "SELECT a FROM t WHERE lower(a) LIKE 'x%'"),
    ("double_quote", 'SELECT "a" FROM t', "SELECT 'it''s \"a\"' FROM t"),
    ("backslash", r"SELECT replace(a, '\n', '') FROM t", "SELECT replace(a, chr(10), '') FROM t"),
    ("unterminated", "SELECT 'a FROM t", "SELECT 'a' FROM t -- don't"),
    ("bad_allow", "-- lint: allow cast\nSELECT a::INT FROM t",
     "-- lint: allow cast: both engines agree on booleans\nSELECT a::BOOLEAN FROM t"),
    ("bad_allow", "-- lint: allow cast: nothing is cast below\nSELECT a FROM t",
     "-- lint: allow cast: why\n-- lint: allow ilike: why\nSELECT a::INT FROM t WHERE a ILIKE 'x'"),
]  # fmt: skip


def rules(text: str) -> set[str]:
    return {finding.rule for finding in lint_sql(text, "body.sql")}


@pytest.mark.parametrize(("rule", "refused", "accepted"), EXAMPLES)
def test_a_rule_refuses_its_example_and_accepts_the_portable_way(rule, refused, accepted):
    assert rule in rules(refused)
    assert rules(accepted) == set()


def test_every_rule_has_an_example_and_says_what_to_write_instead():
    assert {rule for rule, _, _ in EXAMPLES} == set(RULES)
    for rule, refused, _ in EXAMPLES:
        message = next(str(f) for f in lint_sql(refused, "body.sql") if f.rule == rule)
        assert message.startswith("body.sql:")
        assert message.endswith(RULES[rule])


@pytest.mark.parametrize("column", sorted(UNIQUE_COLUMNS))
def test_each_declared_unique_column_settles_ties(column):
    assert rules(f"SELECT a FROM t ORDER BY a NULLS LAST, {column.upper()} DESC NULLS LAST") == set()


def test_a_finding_names_the_line_at_fault():
    body = "SELECT\n  a,\n  -- b / c\n  /* two\n  lines */ avg(d)\nFROM t\nORDER BY\n  a,\n  log_seq NULLS LAST"
    assert [(f.line, f.rule, f.found) for f in lint_sql(body, "body.sql")] == [
        (5, "float_aggregate", "avg"),
        (8, "order_by_nulls", "a"),
    ]


ALLOW = "-- lint: allow division: both are decimals\n"


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (f"{ALLOW}SELECT a / b\n  , c / d\nFROM t", [3]),  # above its line
        (f"SELECT a / b {ALLOW}  , c / d\nFROM t", [2]),  # at the end of its line
        (f"{ALLOW}-- and a remark\n\nSELECT a / b\nFROM t", []),  # remarks between are no lines of code
    ],
)
def test_an_allowance_covers_one_line(body, left):
    assert [(f.line, f.rule) for f in lint_sql(body, "body.sql")] == [(line, "division") for line in left]


def test_an_unknown_rule_cannot_be_allowed():
    assert rules("-- lint: allow everything: because\nSELECT 1") == {"bad_allow"}


def test_a_declaration_elsewhere_in_the_body_does_not_settle_ties():
    assert rules("-- unique: a\nSELECT a\nFROM t\nORDER BY a NULLS LAST") == {"order_by_tie"}


@given(st.text(alphabet="ab'\"`-/*\n .,()[]:@1e;\\", max_size=60))
def test_tokens_and_white_space_make_up_the_whole_text(text):
    rebuilt = "".join(token.text for token in tokenise(text))
    assert "".join(rebuilt.split()) == "".join(text.split())


WORDS = "SELECT FROM ORDER BY a NULLS LAST ( ) , [ ] ; DISTINCT list sum UNION".split()


@given(st.lists(st.sampled_from(WORDS)))
def test_nonsense_is_judged_without_failing(words):
    findings = lint_sql(" ".join(words), "body.sql")
    assert findings == sorted(findings)
    assert all(f.line == 1 and f.rule in RULES for f in findings)


@pytest.mark.parametrize("path", sorted(STAGES.rglob("*.sql")), ids=lambda p: p.name)
def test_every_stage_body_is_portable(path):
    findings = lint_sql(path.read_text(encoding="utf-8"), path.name)
    assert not findings, "\n".join(map(str, findings))
