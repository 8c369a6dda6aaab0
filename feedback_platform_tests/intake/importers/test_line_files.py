"""Files of foreign records: every record comes once, whatever the chunks; damage costs the damaged record and is told."""

import gzip
import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.errors import ImportFormatError, NotFoundError
from feedback_platform.intake.importers import line_files
from feedback_platform.intake.importers.line_files import Broken, Raw

TEXTS = st.text(string.ascii_letters + '\\"{}[],: \n\té')
RECORDS = st.lists(st.dictionaries(TEXTS, TEXTS | st.lists(st.dictionaries(TEXTS, st.integers()))), max_size=5)


def bodies(path):
    return [json.loads(item.body) for item in line_files.listed(path) if isinstance(item, Raw)]


@settings(max_examples=40)
@given(records=RECORDS, chunk=st.integers(1, 40), indent=st.sampled_from([None, 1]), in_a_row=st.booleans())
def test_records_of_a_list_are_found_whatever_the_chunks(tmp_path_factory, records, chunk, indent, in_a_row):
    path = tmp_path_factory.mktemp("listed") / "file.json"
    texts = [json.dumps(record, indent=indent) for record in records]
    path.write_text("\n".join(texts) if in_a_row and texts else json.dumps(records, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_files, "_READ", chunk)
        assert bodies(path) == records


def test_a_byte_order_mark_is_no_record(tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(b'\xef\xbb\xbf[{"a": 1}]')
    assert bodies(path) == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "whole", "words"),
    [
        ('[{"a":1}, oops, {"b":2}]', [{"a": 1}, {"b": 2}], "text between two records"),
        ('[{"a":1}, {"b":2', [{"a": 1}], "beyond record 1: it ends in the middle"),
        ('[{"a":1}', [{"a": 1}], "beyond record 1: it ends in the middle"),
        ('[{"a":1}] and more', [{"a": 1}], "beyond record 1: it ends in the middle"),
        ('{"a":1}}{"b":2}', [{"a": 1}], "never opened"),
    ],
)
def test_text_that_is_no_record_is_told(tmp_path, text, whole, words):
    path = tmp_path / "file.json"
    path.write_text(text)
    broken = [item.message for item in line_files.listed(path) if isinstance(item, Broken)]
    assert bodies(path) == whole
    assert any(words in message for message in broken), broken


def test_a_list_of_bare_values_is_not_silently_empty(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("[1, 2]")
    (item,) = line_files.listed(path)
    assert isinstance(item, Broken)


def test_a_truncated_gzip_gives_what_came_before(tmp_path):
    path = tmp_path / "file.jsonl"
    whole = gzip.compress("\n".join(json.dumps({"n": n, "text": str(n) * 50}) for n in range(9_999)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    *before, last = line_files.lines(path)
    assert len(before) > 100
    assert isinstance(last, Broken)
    assert last.ends_file
    damage: list[str] = []
    assert len(list(line_files.decoded(line_files.lines(path), path, damage))) == len(before)
    assert damage == [last.message]


def test_an_endless_line_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(line_files, "MAX_RECORD_BYTES", 100)
    path = tmp_path / "file.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * 5_000 + b'"}\n{"b": 2}\n')
    broken, after = line_files.lines(path)
    assert isinstance(broken, Broken)
    assert "longer than 100 bytes" in broken.message
    assert json.loads(after.body) == {"b": 2}


def test_folders_are_searched_and_gaps_named(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "b.json.gz").touch()
    (tmp_path / "in" / "a.json").touch()
    (tmp_path / "in" / "c.txt").touch()
    assert [p.name for p in line_files.files([tmp_path / "in"], (".json",))] == ["a.json", "b.json.gz"]
    with pytest.raises(ImportFormatError, match=r"holds no file that ends in \.csv"):
        line_files.files([tmp_path / "in"], (".csv",))
    with pytest.raises(NotFoundError, match="nothing was imported"):
        line_files.files([tmp_path / "absent"], (".json",))
