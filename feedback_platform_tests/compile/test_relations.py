"""What belongs to a dataset: the selection as a condition, on rows with and without the columns it asks for."""

import duckdb
import pytest

from feedback_platform.compile.relations import selection_sql
from feedback_platform.contracts.policies import Select

ROWS = """
    SELECT * FROM (VALUES
      ('a', 'bot', '1', 'chat', 'production', 'canary', '{"re.gion":"eu","tier":"gold"}'),
      ('b', 'bot', '2', 'chat', 'staging', NULL, '{"re.gion":"us"}'),
      ('c', 'other', '1', 'search', 'production', NULL, NULL)
    ) AS t(id, model, model_version, task, environment, variant, segments)
"""


@pytest.mark.parametrize(
    ("select", "chosen"),
    [
        (Select(), "abc"),
        (Select(models=("bot",)), "ab"),
        (Select(models=("bot",), versions=("1",)), "a"),
        (Select(environments=("production",), tasks=("search", "chat")), "ac"),
        (Select(variants=("canary",)), "a"),
        (Select(segments={"re.gion": ("eu", "us")}), "ab"),
        (Select(segments={"re.gion": ("eu", "us"), "tier": ("gold",)}), "a"),
        (Select(segments={"tier": ("it's",)}), ""),
        (Select(where="variant IS NULL AND model_version = '1'"), "c"),
        (Select(where="variant <> 'canary'"), ""),
    ],
)
def test_a_selection_takes_what_it_names_and_unknown_is_not_chosen(select: Select, chosen: str) -> None:
    rows = duckdb.execute(f"SELECT id FROM ({ROWS}) WHERE {selection_sql(select)} ORDER BY id").fetchall()
    assert "".join(row[0] for row in rows) == chosen
