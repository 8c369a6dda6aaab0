"""Exports: the exact lines of every format, provenance beside them, the same bytes each time, whole or not at all."""

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.contracts.canonical import canonical_json
from feedback_platform.errors import ExportError
from feedback_platform.publish.export import FORMATS, ExportResult, export_version
from feedback_platform.publish.jsonl import PROVENANCE
from feedback_platform_tests.publish.builders import Book, chat, classified, pair, sft, thumb

TOOL = [{"type": "function", "function": {"name": "refund"}}]


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path / "home")


def export(book: Book, name: str, out: Path, version: int | None = None) -> ExportResult:
    manifest = book.store.version(version)
    return export_version(book.lake, manifest, format=name, out=out, settings=book.settings)


def lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text[:-1].split("\n")


def test_sft_tells_texts_as_strings(book, tmp_path):
    book.publish([sft("b", target="Hello\n«you»"), sft("a", input="Bye?", split="validation")])
    export(book, "sft", tmp_path / "out")
    assert lines(tmp_path / "out/train.jsonl") == ['{"prompt":"Hi","completion":"Hello\\n«you»"}']
    assert lines(tmp_path / "out/validation.jsonl") == ['{"prompt":"Bye?","completion":"Hello"}']


def test_sft_tells_chats_as_messages_with_tools(book, tmp_path):
    talk = chat("Hi", "Yes?", "Refund me")
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    whole = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    book.publish(
        [
            sft("a", input=talk, input_kind="chat", target="Done"),
            sft("b", input=chat("Hi"), input_kind="chat", target=call, tools=canonical_json(TOOL)),
            sft("c", input=chat("Hi"), input_kind="chat", target=whole, tools="[]"),
            sft("d", input=chat("Hi"), input_kind="chat", target={"content": "no role"}),
            sft("e", input=chat("Hi"), input_kind="chat", target={"answer": 42}),
        ]
    )
    export(book, "sft", tmp_path / "out")
    hi = '[{"content":"Hi","role":"user"}]'
    assert lines(tmp_path / "out/train.jsonl") == [
        '{"prompt":[{"content":"Hi","role":"user"},{"content":"Yes?","role":"assistant"},'
        '{"content":"Refund me","role":"user"}],"completion":[{"content":"Done","role":"assistant"}]}',
        f'{{"prompt":{hi},"completion":[{{"content":null,"role":"assistant","tool_calls":[{{"id":"1"}}]}}],'
        '"tools":[{"function":{"name":"refund"},"type":"function"}]}',
        f'{{"prompt":{hi},"completion":[{{"content":"y","role":"assistant"}}]}}',
        f'{{"prompt":{hi},"completion":[{{"content":"no role","role":"assistant"}}]}}',
        f'{{"prompt":{hi},"completion":[{{"content":"{{\\"answer\\":42}}","role":"assistant"}}]}}',
    ]


def test_a_mixed_version_is_told_as_messages_throughout(book, tmp_path):
    book.publish([sft("a"), sft("b", input=chat("Hi"), input_kind="chat")])
    export(book, "sft", tmp_path / "out")
    told = '{"prompt":[{"content":"Hi","role":"user"}],"completion":[{"content":"Hello","role":"assistant"}]}'
    assert lines(tmp_path / "out/train.jsonl") == [told, told]
    assert json.loads((tmp_path / "out/manifest.json").read_bytes())["form"] == "messages"


def test_text_prompts_take_a_message_by_its_text(book, tmp_path):
    book.publish([sft("a", target={"role": "assistant", "content": "Hey"}), sft("b", target={"x": 1})])
    export(book, "sft", tmp_path / "out")
    assert lines(tmp_path / "out/train.jsonl") == [
        '{"prompt":"Hi","completion":"Hey"}',
        '{"prompt":"Hi","completion":"{\\"x\\":1}"}',
    ]


def test_dpo_leaves_out_pairs_that_say_the_same(book, tmp_path):
    same = {"content": "Hello", "role": "assistant"}
    talk = {"input": chat("Hi"), "input_kind": "chat"}
    book.publish([pair("a", **talk), pair("b", **talk, rejected=same)])
    result = export(book, "dpo", tmp_path / "out")
    assert lines(tmp_path / "out/train.jsonl") == [
        '{"prompt":[{"content":"Hi","role":"user"}],"chosen":[{"content":"Hello","role":"assistant"}],'
        '"rejected":[{"content":"Go away","role":"assistant"}]}'
    ]
    assert result.rows == 1
    assert json.loads((tmp_path / "out/manifest.json").read_bytes())["left_out"] == 1


def test_dpo_with_nothing_that_differs_says_so(book, tmp_path):
    book.publish([pair("a", rejected={"role": "assistant", "content": "Hello"})])
    with pytest.raises(ExportError, match="none of the 1 preference examples of version 1 of bot"):
        export(book, "dpo", tmp_path / "out")


def test_kto_has_boolean_labels(book, tmp_path):
    book.publish([thumb("a", True), thumb("b", False)])
    export(book, "kto", tmp_path / "out")
    assert lines(tmp_path / "out/train.jsonl") == [
        '{"prompt":"Hi","completion":"Hello","label":true}',
        '{"prompt":"Hi","completion":"Hello","label":false}',
    ]


def test_kto_refuses_a_train_split_with_one_label(book, tmp_path):
    book.publish([thumb("a", True), thumb("b", True), thumb("c", False, split="test")])
    with pytest.raises(ExportError, match=r"test: 0 good, 1 bad; train: 2 good, 0 bad"):
        export(book, "kto", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_openai_sft_trains_only_the_judged_turn(book, tmp_path):
    weighted = {"messages": [{"role": "assistant", "content": "Yo", "weight": 1}, {"role": "user", "content": "Hi"}]}
    book.publish(
        [
            sft("a", input=chat("Hi", "Yes?", "Refund"), input_kind="chat", tools=canonical_json(TOOL)),
            sft("b", input=weighted, input_kind="chat"),
            sft("c"),
        ]
    )
    export(book, "openai-sft", tmp_path / "out")
    answer = {"role": "assistant", "content": "Hello"}
    assert [json.loads(line) for line in lines(tmp_path / "out/train.jsonl")] == [
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Yes?", "weight": 0},
                {"role": "user", "content": "Refund"},
                answer,
            ],
            "tools": TOOL,
        },
        {
            "messages": [
                {"role": "assistant", "content": "Yo", "weight": 0},
                {"role": "user", "content": "Hi"},
                answer,
            ]
        },
        {"messages": [{"role": "user", "content": "Hi"}, answer]},
    ]


def test_openai_preference_has_its_three_keys(book, tmp_path):
    book.publish([pair("a"), pair("b", input=chat("Hi"), input_kind="chat", tools=canonical_json(TOOL))])
    export(book, "openai-preference", tmp_path / "out")
    sides = {
        "preferred_output": [{"role": "assistant", "content": "Hello"}],
        "non_preferred_output": [{"role": "assistant", "content": "Go away"}],
    }
    messages = [{"role": "user", "content": "Hi"}]
    assert [json.loads(line) for line in lines(tmp_path / "out/train.jsonl")] == [
        {"input": {"messages": messages}, **sides},
        {"input": {"messages": messages, "tools": TOOL}, **sides},
    ]


def test_provenance_stands_beside_in_the_same_order(book, tmp_path):
    rows = [sft("b", target="2"), sft("a", target="1"), sft("c", target="3", split="test")]
    book.publish(rows, threshold=(1 << 38) - 1)
    export(book, "sft", tmp_path / "out")
    notes = [json.loads(line) for line in lines(tmp_path / "out/train.provenance.jsonl")]
    answers = [json.loads(line)["completion"] for line in lines(tmp_path / "out/train.jsonl")]
    assert [(n["example_id"], a) for n, a in zip(notes, answers, strict=True)] == [("a", "1"), ("b", "2")]
    assert tuple(notes[0]) == PROVENANCE
    assert notes[0] == {
        "example_id": "a",
        "request_id": "r-a",
        "model_version": "1",
        "evidence": ["f-a"],
        "label_confidence": 0.9,
        "selection_prob": 0.25,
        "sample_weight": 4.0,
        "split": "train",
        "version": 1,
        "row_hash": rows[1]["row_hash"],
    }


def test_parquet_holds_every_column_by_objective_and_split(book, tmp_path):
    book.publish(
        [
            sft("b"),
            sft("a"),
            sft("c", split="test"),
            classified("d", {"age": 41, "Rate/x": 0.5, "vip": True, "city": "Bern"}, "yes"),
            classified("e", {"age": None, "Rate/x": 1, "vip": False, "city": 3}, "no"),
        ]
    )
    result = export(book, "parquet", tmp_path / "out")
    assert result.rows == 5
    frame = pl.read_parquet(tmp_path / "out/data/sft/train-00000.parquet", hive_partitioning=False)
    assert frame["example_id"].to_list() == ["a", "b"]
    assert frame["selection_prob"].to_list() == [1.0, 1.0]
    assert (tmp_path / "out/data/sft/test-00000.parquet").is_file()
    typed = pl.read_parquet(tmp_path / "out/data/classification/train-00000.parquet", hive_partitioning=False)
    assert typed.select(r"^f_.*$").to_dicts() == [
        {"f_Rate/x": 0.5, "f_age": 41, "f_city": "Bern", "f_vip": True},
        {"f_Rate/x": 1.0, "f_age": None, "f_city": "3", "f_vip": False},
    ]
    card = (tmp_path / "out/README.md").read_text()
    assert "- config_name: sft\n  data_files:\n  - split: test\n    path: data/sft/test-*" in card
    assert "| classification | train | 2 |" in card


def test_features_that_differ_only_in_case_are_refused(book, tmp_path):
    book.publish([classified("a", {"Age": 1, "age": 2}, "yes")])
    with pytest.raises(ExportError, match="'Age' and 'age' differ only in case"):
        export(book, "parquet", tmp_path / "out")


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_same_version_gives_the_same_bytes(book, tmp_path, name):
    state = [sft(f"s{i:04}", input=f"Question {i * 7919 % 1000}") for i in range(1000)]
    state += [pair(f"p{i}") for i in range(20)] + [thumb(f"t{i}", i % 2 == 0) for i in range(20)]
    first = book.publish(state)
    one = export(book, name, tmp_path / "one")
    book.publish([sft("later")])
    book.store.save(first)
    two = export(book, name, tmp_path / "two", version=1)
    assert one.files == two.files
    assert one.rows > 0
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()


def test_the_manifest_has_the_checksum_of_every_other_file(book, tmp_path):
    book.publish([sft("a"), sft("b", split="test")])
    export(book, "sft", tmp_path / "out")
    told = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert (told["dataset"], told["version"], told["state_hash"]) == ("bot", 1, "5" * 64)
    assert told["rows"] == {"train.jsonl": 1, "test.jsonl": 1}
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "out").glob("*.jsonl")}
    assert {f["path"]: f["sha256"] for f in told["files"]} == found
    assert len(found) == 4


def test_a_new_export_replaces_an_old_one_whole(book, tmp_path):
    book.publish([sft("a", split="test"), sft("b")])
    export(book, "sft", tmp_path / "out")
    book.publish([sft("b")])
    export(book, "sft", tmp_path / "out")
    assert not (tmp_path / "out/test.jsonl").exists()
    with pytest.raises(ExportError):
        export(book, "kto", tmp_path / "out")
    assert (tmp_path / "out/train.jsonl").exists()  # what stood there still does
    assert sorted(os.listdir(tmp_path)) == ["home", "out"]


def test_what_a_killed_export_left_behind_goes(book, tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in (f".out.{dead.pid}.tmp", ".out.1.tmp", ".outer.5.tmp"):
        (tmp_path / name).mkdir()
    book.publish([sft("a")])
    export(book, "sft", tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [".out.1.tmp", ".outer.5.tmp", "home", "out"]


def test_a_folder_that_is_no_export_is_left_alone(book, tmp_path):
    book.publish([sft("a")])
    (tmp_path / "home-work").mkdir()
    (tmp_path / "home-work/thesis.txt").write_text("mine")
    with pytest.raises(ExportError, match="not an export"):
        export(book, "sft", tmp_path / "home-work")
    assert (tmp_path / "home-work/thesis.txt").read_text() == "mine"


def test_unknown_formats_and_empty_objectives_are_explained(book, tmp_path):
    book.publish([sft("a")])
    with pytest.raises(
        ExportError, match=r"'csv' is not known\. Formats: parquet, sft, dpo, kto, openai-sft, openai-pref"
    ):
        export(book, "csv", tmp_path / "out")
    with pytest.raises(ExportError, match=r"no examples for the objective 'preference'.*It has: sft \(1\)"):
        export(book, "dpo", tmp_path / "out")
    unpublished = book.publish([sft("b")], status="blocked")
    with pytest.raises(ExportError, match="window 2 of bot is not published"):
        export_version(book.lake, unpublished, format="sft", out=tmp_path / "out", settings=book.settings)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
odd = st.sampled_from(["\u2028", "\x00", "\x85", "\r\n", "😀", '"\\', "\u0301", "\x7f", "e\ufeff"])


@settings(max_examples=10)
@given(rows=st.lists(st.tuples(texts | odd, texts | odd, values), min_size=1, max_size=8))
def test_every_line_reads_back_as_what_was_said(rows):
    with tempfile.TemporaryDirectory() as folder:
        book = Book(Path(folder) / "home")
        state = [
            sft(f"{i:03}", input={"messages": [{"role": "user", "content": asked, "note": value}]}, input_kind="chat",
                target=answer)
            for i, (asked, answer, value) in enumerate(rows)
        ]  # fmt: skip
        book.publish(state)
        export(book, "openai-sft", Path(folder) / "out")
        found = [json.loads(line) for line in lines(Path(folder) / "out/train.jsonl")]
    assert len(found) == len(rows)
    for (asked, answer, value), line in zip(rows, found, strict=True):
        assert list(line) == ["messages"]
        user, assistant = line["messages"]
        assert user == {"role": "user", "content": asked, "note": json.loads(canonical_json(value))}
        assert assistant == {"role": "assistant", "content": answer}
