"""User tables: the ids replaced as the events' are, everything else as it was, whole or not at all."""

import stat

import polars as pl
import pytest

from feedback_platform.errors import ConfigError, ImportFormatError, NotFoundError
from feedback_platform.intake.privacy.pseudonym_table import map_table
from feedback_platform.intake.privacy.pseudonyms import Pseudonyms

PSEUDONYMS = Pseudonyms(bytes(range(32)))
CSV = 'id,age,when,note\n007,1.50,2026-01-01,"a, b"\nalice,,x,é\n,3,y,\n007,4,z,"say ""hi"""\n'


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def mapped(source, out, **more):
    return map_table(source, "id", "person", PSEUDONYMS, out, **more)


def test_only_the_ids_of_a_csv_change(users, tmp_path):
    out = tmp_path / "new" / "out.csv"
    assert mapped(users, out) == 4
    expected = CSV.replace("007", PSEUDONYMS.of("person", "007")).replace("alice", PSEUDONYMS.of("person", "alice"))
    assert out.read_text(encoding="utf-8") == expected
    assert users.read_text(encoding="utf-8") == CSV


def test_mapping_twice_is_mapping_once_and_in_place(users):
    mapped(users, users)
    once = users.read_bytes()
    mapped(users, users)
    assert users.read_bytes() == once


def test_parquet_keeps_types_and_takes_integers_as_they_are_sent(tmp_path):
    source, out = tmp_path / "u.parquet", tmp_path / "o.parquet"
    table = pl.DataFrame({"id": [*range(5_000), None], "x": [0.5] * 5_001, "t": [["a"]] * 5_001})
    table.write_parquet(source)
    assert mapped(source, out) == 5_001
    got = pl.read_parquet(out)
    assert got.drop("id").equals(table.drop("id"))
    assert got["id"].to_list() == [*PSEUDONYMS.many("person", [str(i) for i in range(5_000)]), None]


def test_a_new_column_says_who_is_who_to_the_owner_only(users, tmp_path):
    out = tmp_path / "out.parquet"
    mapped(users, out, into="pseudonym")
    got = pl.read_parquet(out)
    assert got.columns == ["id", "age", "when", "note", "pseudonym"]
    assert got["id"].to_list() == ["007", "alice", None, "007"]
    assert got["pseudonym"].to_list()[1] == PSEUDONYMS.of("person", "alice")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_sessions_have_a_purpose_of_their_own(users, tmp_path):
    map_table(users, "id", "session", PSEUDONYMS, tmp_path / "o.csv")
    assert PSEUDONYMS.of("session", "alice") in (tmp_path / "o.csv").read_text()


def refused(error, words, *args, **more):
    with pytest.raises(error) as caught:
        map_table(*args, **more)
    assert words in str(caught.value)


def test_what_cannot_be_mapped_is_refused_and_nothing_is_written(users, tmp_path):
    out = tmp_path / "o.csv"
    floats = tmp_path / "f.parquet"
    pl.DataFrame({"id": [1.0]}).write_parquet(floats)
    broken = tmp_path / "b.parquet"
    broken.write_bytes(b"PAR1 not really")
    before = sorted(tmp_path.iterdir())
    refused(
        ImportFormatError, "no column 'user'. It has: id, age, when, note.", users, "user", "person", PSEUDONYMS, out
    )
    refused(NotFoundError, "is not a file", tmp_path / "none.csv", "id", "person", PSEUDONYMS, out)
    refused(ImportFormatError, "neither .csv nor .parquet", users, "id", "person", PSEUDONYMS, tmp_path / "o.json")
    refused(ImportFormatError, "Float64, not text", floats, "id", "person", PSEUDONYMS, out)
    refused(ImportFormatError, "cannot be read", broken, "id", "person", PSEUDONYMS, out)
    refused(ConfigError, "'email' is not known", users, "id", "email", PSEUDONYMS, out)
    refused(ConfigError, "has a column 'age' already", users, "id", "person", PSEUDONYMS, out, into="age")
    assert sorted(tmp_path.iterdir()) == before


def test_a_table_that_breaks_midway_leaves_the_old_result(tmp_path):
    source, out = tmp_path / "u.csv", tmp_path / "o.csv"
    source.write_text("id,x\n" + "a,1\n" * 1_000 + "b,2,3,4\n")
    out.write_text("old")
    with pytest.raises(ImportFormatError, match="cannot be read"):
        mapped(source, out)
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.csv", "u.csv"]
