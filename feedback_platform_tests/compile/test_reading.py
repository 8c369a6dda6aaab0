"""Reading versions: each as it was published, and `since=` as the difference of two."""

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feedback_platform
from feedback_platform.contracts.stage_tables import SAMPLED_DATASET
from feedback_platform.errors import ConfigError, NotFoundError
from feedback_platform.lake.upkeep import compact
from feedback_platform_tests.publish.builders import Book, Row, chat, classified, pair, sft, thumb


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path / "home")


def load(book: Book, version: int | None = None, **asked: object) -> pl.DataFrame:
    return feedback_platform.load_dataset("bot", version, settings=book.settings, **asked).collect()  # type: ignore[arg-type]


def hashes(rows: pl.DataFrame) -> dict[str, str]:
    return dict(rows.select("example_id", "row_hash").iter_rows())


def test_a_version_stays_as_it_was_published(book):
    first = [sft("a"), sft("b")]
    book.publish(first)
    book.publish([sft("a", target="Better"), sft("c")])
    old, new = load(book, 1), load(book)
    assert old.to_dicts() == [{c: r[c] for c in SAMPLED_DATASET.names()} for r in first]
    assert new.select("example_id", "target").rows() == [("a", '"Better"'), ("c", '"Hello"')]
    types = SAMPLED_DATASET.polars_schema()
    assert old.schema == pl.Schema({c: types[c] for c in SAMPLED_DATASET.names()})


def test_open_windows_and_yanked_versions_are_not_the_latest(book):
    book.publish([sft("a")])
    book.yank(book.publish([sft("bad")]))
    book.publish([sft("open")], status="open")
    assert load(book)["example_id"].to_list() == ["a"]
    assert load(book, 2)["example_id"].to_list() == ["bad"]


def test_merged_files_give_the_same_versions(book):
    for text in ("one", "two", "three"):
        book.publish([sft("a", target=text), sft(text)])
    before = [load(book, v) for v in (1, 2, 3)]
    table = book.lake.table("sampled_dataset", "bot")
    compact(table, upto=lambda prefix: True)
    assert len(table.snapshot().files) == 1
    assert [load(book, v).equals(frame) for v, frame in zip((1, 2, 3), before, strict=True)] == [True] * 3
    assert load(book, 3, since=1).select("example_id", "change").rows() == [
        ("a", "update"),
        ("one", "remove"),
        ("three", "add"),
    ]


def test_since_tells_what_changed_and_why(book):
    book.publish([sft("a"), sft("b"), sft("c"), sft("same")])
    book.publish([sft("a", target="2"), sft("b", target="2"), sft("same"), sft("brief")])
    book.publish([sft("a", target="3"), sft("b"), sft("same"), sft("new")])
    told = load(book, since=1).select("example_id", "change", "change_reason", "target").rows()
    assert told == [
        ("a", "update", "target; target", '"3"'),
        ("c", "remove", "retracted", '"Hello"'),
        ("new", "add", "new", '"Hello"'),
    ]
    assert load(book, 3, since=3).is_empty()
    with pytest.raises(NotFoundError, match="since=3 is later than version 1"):
        load(book, 1, since=3)


ids = st.sampled_from("abcd")
states = st.lists(st.dictionaries(ids, st.sampled_from(["x", "y"]), max_size=4), min_size=2, max_size=5)


@settings(max_examples=8)
@given(states=states, older=st.integers(1, 5))
def test_since_is_the_difference_of_two_states(states, older):
    with tempfile.TemporaryDirectory() as folder:
        book = Book(Path(folder) / "home")
        for state in states:
            book.publish([sft(i, target=text) for i, text in state.items()])
        older = min(older, len(states))
        before, after = load(book, older), load(book)
        changes = load(book, since=older)
    old, new = hashes(before), hashes(after)
    assert new == {i: str(sft(i, target=text)["row_hash"]) for i, text in states[-1].items()}
    split = {c: hashes(changes.filter(pl.col("change") == c)) for c in ("add", "update", "remove")}
    assert split["add"] == {i: h for i, h in new.items() if i not in old}
    assert split["update"] == {i: h for i, h in new.items() if i in old and old[i] != h}
    assert set(split["remove"]) == old.keys() - new.keys()
    assert changes.height == sum(len(part) for part in split.values())


COLUMNS = ("split", "selection_prob", "response_prob", "sample_weight")


@pytest.mark.parametrize(
    ("example", "objective", "columns"),
    [
        (sft("a"), "sft", ("prompt", "completion", "tools")),
        (pair("a"), "preference", ("prompt", "chosen", "rejected")),
        (thumb("a", True), "unpaired", ("prompt", "completion", "label")),
        (classified("a", {"x": 1}, "yes"), "classification", ("input", "label", "event_at")),
    ],
)
def test_each_objective_has_its_trainers_columns(book, example: Row, objective, columns):
    book.publish([example])
    rows = load(book, objective=objective)
    features = ["f_x"] if objective == "classification" else []
    assert rows.columns == ["example_id", *columns, *COLUMNS, *features]
    assert rows.height == 1
    assert rows.select("selection_prob", "response_prob", "sample_weight").rows() == [(1.0, None, 1.0)]


def test_objectives_show_changes_too(book):
    book.publish([thumb("a", True), sft("x")])
    book.publish([thumb("a", False), thumb("b", True)])
    rows = load(book, since=1, objective="unpaired").select("example_id", "label", "change")
    assert rows.rows() == [("a", False, "update"), ("b", True, "add")]


def test_weights_are_the_inverse_of_the_share_of_ranks_drawn(book):
    book.publish([sft("a"), sft("b", weight_ppm=2_000_000), sft("c", weight_ppm=9_000_000)], threshold=(1 << 38) - 1)
    rows = load(book, objective="sft").select("selection_prob", "sample_weight")
    assert rows.rows() == [(0.25, 4.0), (0.5, 2.0), (1.0, 1.0)]


def test_a_chat_prompt_is_its_messages(book):
    book.publish([sft("a", input=chat("Hi", "Yes?", "Bye"), input_kind="chat")])
    [[prompt, completion]] = load(book, objective="sft").select("prompt", "completion").rows()
    assert prompt.startswith('[{"content":"Hi","role":"user"},')
    assert completion == '[{"content":"Hello","role":"assistant"}]'


def test_the_frame_is_lazy_and_reads_only_what_is_asked(book):
    book.publish([sft(f"{i:02}", split="test" if i % 2 else "train") for i in range(10)])
    frame = feedback_platform.load_dataset("bot", settings=book.settings)
    assert isinstance(frame, pl.LazyFrame)
    assert frame.select("split").head(1).collect().rows() == [("train",)]
    assert frame.filter(pl.col("split") == "test").select("example_id").collect().height == 5
    assert frame.filter(pl.col("split") == "test").head(2).collect()["example_id"].to_list() == ["01", "03"]
    assert frame.head(3).filter(pl.col("split") == "test").collect()["example_id"].to_list() == ["01"]
    assert frame.select(pl.len()).collect().item() == 10


def test_what_does_not_exist_is_named(book):
    with pytest.raises(NotFoundError, match=r"'bot' has not been compiled\. Compiled datasets: none yet"):
        load(book)
    book.publish([sft("a")])
    with pytest.raises(NotFoundError, match="version 7 is not published"):
        load(book, 7)
    with pytest.raises(ConfigError, match=r"objective 'dpo' is not known\. Objectives: sft, preference"):
        load(book, objective="dpo")
    assert not (book.settings.lake / "other").exists()
