"""Tables by a mapping file: real predictions arrive typed, the mapping is checked before a row is read, rows stay apart.

`data/importers/tabular` holds 40 rows (Parquet, row groups of 16) and 12 rows (CSV) of NannyML's MA Employment data.
"""

import gzip
import json
from datetime import UTC, datetime

import polars as pl
import pytest
import yaml

from feedback_platform.errors import ConfigError, ImportFormatError
from feedback_platform.intake.importers import tabular, tabular_mapping
from feedback_platform.intake.importers.foreign import Options
from feedback_platform_tests.intake.importers.reading import DATA, read

TABLES = DATA / "tabular"
EXAMPLE = (tabular_mapping.__doc__ or "").split("```yaml\n")[1].split("```")[0]
INFERENCE = {
    "request_id": "id", "timestamp": {"column": "at", "unit": "s"}, "model": {"const": "m"}, "input": {"columns": ["x"]},
    "output": "y",
}  # fmt: skip
FEEDBACK = {"request_id": "id", "feedback_type": {"const": "outcome"}, "feedback_value.name": {"const": "sold"}}


def mapped(tmp_path, *events):
    path = tmp_path / "mapping.yaml"
    path.write_text(
        events[0] if isinstance(events[0], str) else yaml.safe_dump(list(events), sort_keys=False), encoding="utf-8"
    )
    return path


def table(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path, text, fields, kind="inference", **options):
    mapping = mapped(tmp_path, {"kind": kind, "fields": fields})
    return read(tabular.CSV, table(tmp_path, text), options=Options(mapping=mapping, **options))


def inference(tmp_path, cells="1,1741120731,2,3", heading="id,at,x,y", **fields):
    found = load(tmp_path, f"{heading}\n{cells}\n", {**INFERENCE, **fields})
    assert not found.misunderstood, found.misunderstood
    return found.inferences[0]


def test_the_example_of_the_documentation_maps_real_parquet_rows(tmp_path):
    options = Options(mapping=mapped(tmp_path, EXAMPLE))
    found = read(tabular.PARQUET, TABLES / "employment.parquet", options=options)
    assert found.counts == (40, 40, 0, 0)
    first = found.inferences[0]
    assert first == {
        "request_id": "ma-0", "timestamp": "2015-01-01T05:00:00Z", "model": "employment", "model_version": "1",
        "task": "employment", "input": {"AGEP": 62.0, "SCHL": "16", "MAR": "1", "RELP": "17"}, "output": "unemployed",
        "probabilities": {"employed": 0.12121149704607134}, "segments": {"sex": "female"}, "keys": {"person": "0"},
    }  # fmt: skip
    assert found.feedback[0]["feedback_value"] == {"label": "unemployed"}
    assert [e["request_id"] for e in found.feedback] == [e["request_id"] for e in found.inferences]


def test_csv_and_parquet_give_the_same_ids_labels_and_probabilities(tmp_path):
    text = EXAMPLE.replace("[AGEP, SCHL, MAR, RELP], prefix", "[AGEP, SCHL], prefix")
    options = Options(mapping=mapped(tmp_path, text))
    csv, parquet = (
        read(importer, TABLES / name, options=options)
        for importer, name in ((tabular.CSV, "employment.csv"), (tabular.PARQUET, "employment.parquet"))
    )
    assert csv.counts == (12, 12, 0, 0)
    for name in ("request_id", "output", "probabilities", "segments", "timestamp"):
        assert [e[name] for e in csv.inferences] == [e[name] for e in parquet.inferences[:12]]
    assert csv.feedback == parquet.feedback[:12]


def test_features_come_from_a_list_and_a_prefix(tmp_path):
    event = inference(
        tmp_path, "1,1741120731,7,3,0.5,", "id,at,x,y,f_a,f_b", input={"columns": ["x"], "prefix": "f_"}
    )  # fmt: skip
    assert event["input"] == {"x": 7, "f_a": 0.5}
    only = inference(tmp_path, "1,1741120731,3,0.5,2", "id,at,y,f_a,f_b", input={"prefix": "f_"})
    assert only["input"] == {"f_a": 0.5, "f_b": 2}


def test_parts_of_an_object_add_up(tmp_path):
    fields = {"input": {"columns": ["x"]}, "input.extra": "y", "segments.s": {"const": 1}, "segments.t": "x"}
    event = inference(tmp_path, **fields)
    assert event["input"] == {"x": 2, "extra": 3}
    assert event["segments"] == {"s": "1", "t": "2"}


@pytest.mark.parametrize(
    ("source", "cell", "value"),
    [
        ("x", "007", "007"),
        ("x", "-1.5e3", -1500.0),
        ("x", "12", 12),
        ("x", "true", "true"),
        ({"column": "x", "type": "string"}, "12", "12"),
        ({"column": "x", "type": "boolean"}, "1", True),
        ({"column": "x", "type": "number"}, "007", 7),
        ({"column": "x", "json": True}, '"{""a"": [1]}"', {"a": [1]}),
        ({"column": "x", "map": {1: "one", "true": "yes"}}, "true", "yes"),
        ({"const": {"a": 1}}, "", {"a": 1}),
    ],
)
def test_cells_are_read_as_the_mapping_says(tmp_path, source, cell, value):
    assert inference(tmp_path, f"1,1741120731,{cell},3", input={"const": {}}, output=source)["output"] == value


@pytest.mark.parametrize(
    ("source", "cell", "time"),
    [
        ({"column": "at", "unit": "ms"}, "1741120731250", "2025-03-04T20:38:51.250000Z"),
        ({"column": "at"}, "2025-03-04T20:38:51+01:00", "2025-03-04T19:38:51Z"),
        ({"column": "at", "timezone": "Europe/Berlin"}, "2025-07-04 12:00", "2025-07-04T10:00:00Z"),
        ({"column": "at", "format": "%d.%m.%Y %H:%M %z"}, "04.03.2025 20:38 +0000", "2025-03-04T20:38:00Z"),
        ({"const": "2025-03-04T20:38:51Z"}, "", "2025-03-04T20:38:51Z"),
    ],
)
def test_times_are_read_as_the_mapping_says(tmp_path, source, cell, time):
    assert inference(tmp_path, f"1,{cell},2,3", timestamp=source)["timestamp"] == time


def test_parquet_types_are_kept(tmp_path):
    path = tmp_path / "table.parquet"
    at = datetime(2025, 3, 4, 20, 38, 51, tzinfo=UTC)
    frame = pl.DataFrame({"id": [1.0], "at": [at], "x": [[{"a": None}]], "y": ["12"], "p": [float("nan")]})
    frame.with_columns(pl.col("at").dt.cast_time_unit("ns")).write_parquet(path)
    fields = {**INFERENCE, "timestamp": "at", "confidence": "p"}
    options = Options(mapping=mapped(tmp_path, {"kind": "inference", "fields": fields}))
    (event,) = read(tabular.PARQUET, path, options=options).inferences
    assert (event["request_id"], event["timestamp"], event["output"]) == ("1", "2025-03-04T20:38:51Z", "12")
    assert event["input"] == {"x": [{"a": None}]}
    assert "confidence" not in event


def test_scores_and_thumbs(tmp_path):
    fields = {"request_id": "id", "feedback_type": {"const": "rating"}, "feedback_value.score": "s",
              "feedback_value.min": {"const": 1}, "feedback_value.max": {"const": 5}}  # fmt: skip
    rating = load(tmp_path, "id,s\nr1,4\n", fields, "feedback").said("rating")
    assert rating["feedback_value"] == {"score": 4, "min": 1, "max": 5}
    fields = {"target.request_id": "id", "feedback_type": {"const": "thumbs"},
              "feedback_value.up": {"column": "s", "map": {"like": True, "dislike": False}}}  # fmt: skip
    found = load(tmp_path, "id,s\nr1,like\nr2,dislike\nr3,\nr4,meh\n", fields, "feedback")
    assert [e["feedback_value"]["up"] for e in found.feedback] == [True, False]
    assert found.skipped == {"value_absent": 1}
    assert (
        "`feedback_value.up` from column 's': 'meh' is not in `map` (like, dislike)." in found.misunderstood[0].message
    )


def test_an_outcome_that_is_not_known_yet_is_no_feedback(tmp_path):
    events = [
        {"kind": "inference", "fields": INFERENCE},
        {"kind": "feedback", "fields": {**FEEDBACK, "feedback_value.value": "z"}},
    ]
    path = table(tmp_path, "id,at,x,y,z\n1,1741120731,2,3,1\n2,1741120731,2,3,\n")
    found = read(tabular.CSV, path, options=Options(mapping=mapped(tmp_path, *events)))
    assert found.counts == (2, 1, 1, 0)


def test_rows_without_ids_stay_apart_and_their_feedback_finds_them(tmp_path):
    fields = {name: source for name, source in INFERENCE.items() if name != "request_id"}
    judged = {name: source for name, source in FEEDBACK.items() if name != "request_id"} | {"feedback_value.value": "y"}
    mapping = mapped(tmp_path, {"kind": "inference", "fields": fields}, {"kind": "feedback", "fields": judged})
    path = table(tmp_path, "at,x,y\n1741120731,2,3\n1741120731,2,3\n")
    found = read(tabular.CSV, path, options=Options(mapping=mapping))
    one, two = (event["request_id"] for event in found.inferences)
    assert one != two
    assert [event["request_id"] for event in found.feedback] == [one, two]


def test_ids_that_the_wire_does_not_take_are_hashed_alike_on_both_sides(tmp_path):
    given = inference(tmp_path, "order 1/a,1741120731,2,3")["request_id"]
    fields = {**FEEDBACK, "feedback_value.value": "y"}
    assert load(tmp_path, "id,y\norder 1/a,3\n", fields, "feedback").feedback[0]["request_id"] == given


def test_options_give_what_the_mapping_leaves_open(tmp_path):
    fields = {name: source for name, source in INFERENCE.items() if name != "model"}
    options = {"model": "m", "model_version": "3", "task": "t", "environment": "lab"}
    (event,) = load(tmp_path, "id,at,x,y\n1,1741120731,2,3\n", fields, **options).inferences
    assert {name: event[name] for name in options} == options
    with pytest.raises(ConfigError, match="needs `model`"):
        load(tmp_path, "id,at,x,y\n", fields)


def test_dialects_and_gzip(tmp_path):
    mapping = mapped(tmp_path, {"kind": "inference", "fields": INFERENCE, "csv": {"delimiter": ";", "quoting": False}})
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbfid;at;x;y\n1;1741120731;"a;3\n'))
    (event,) = read(tabular.CSV, path, options=Options(mapping=mapping)).inferences
    assert event["input"] == {"x": '"a'}


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({**INFERENCE, "sesion_id": "id"}, "inference", r"sesion_id is no field .*Fields of inference: .*session_id"),
        ({**INFERENCE, "template.body": "id"}, "inference", "Fields of template: id, variables, version"),
        ({**INFERENCE, "model.name": "id"}, "inference", "Fields of model: none"),
        ({**FEEDBACK, "feedback_value.score": "y"}, "feedback", "Fields of feedback_value: name, value"),
        ({**FEEDBACK, "feedback_type": {"const": "star"}}, "feedback", "feedback_type 'star' is not known. Types: thumbs"),
        ({**INFERENCE, "session_id": "who"}, "inference", r"names 'who', which .*csv does not have. Its columns: id, at"),
        ({**INFERENCE, "input": {"columns": ["x", "z"]}}, "inference", "names 'z'"),
        ({**INFERENCE, "session_id": {"colum": "id"}}, "inference", "takes a column's name or"),
        ({**INFERENCE, "session_id": {"column": "id", "const": 1}}, "inference", "exactly one of"),
        ({**INFERENCE, "timestamp": {"column": "at", "timezone": "Mars/Base"}}, "inference", "'Mars/Base' is not known"),
        ({**INFERENCE, "timestamp": {"column": "at", "unit": "h"}}, "inference", "unit 'h'"),
        ({**INFERENCE, "output": {"column": "y", "type": "int"}}, "inference", "type 'int'"),
        ({"request_id": "id"}, "inference", "inference needs timestamp, input, output"),
        ({name: FEEDBACK[name] for name in ("feedback_type", "feedback_value.name")}, "feedback", "`request_id` or `target`"),
        (INFERENCE, "prediction", "`kind` is 'prediction'"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_refused_with_the_names_that_exist(tmp_path, fields, kind, words):
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, "id,at,x,y\n", fields, kind)


@pytest.mark.parametrize("text", ["a: [", "- 1", "[]", "kind: inference", "{kind: inference, fields: {}, more: 1}"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"mapping\.yaml"):
        read(tabular.CSV, table(tmp_path, "a\n"), options=Options(mapping=mapped(tmp_path, text)))


def test_without_a_mapping_there_is_no_import(tmp_path):
    with pytest.raises(ConfigError, match="--mapping"):
        read(tabular.CSV, table(tmp_path, "a\n"))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("1,soon,2,3", "`timestamp` from column 'at': 'soon' is no number"),
        ("1,1741120731,2", "3 cells, the heading 4"),
        ("1,1741120731,2,3,4", "5 cells, the heading 4"),
    ],
)
def test_a_damaged_row_says_why_and_the_rest_is_read(tmp_path, cells, words):
    found = load(tmp_path, f"id,at,x,y\n{cells}\n2,1741120731,2,3\n", INFERENCE)
    assert found.counts == (1, 0, 0, 1)
    (letter,) = found.misunderstood
    assert words in letter.message
    assert letter.line == 2
    body = json.loads(letter.body) if letter.body.startswith(b"{") else dict.fromkeys(letter.body.decode().split(","))
    assert body


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"timestamp": "at"}, "may be seconds or milliseconds. Say its `unit`|has no offset|is no time"),
        ({"timestamp": {"column": "at", "format": "%Y"}}, "is no time"),
        ({"confidence": "x"}, "`confidence` from column 'x': 'two' is no number"),
        ({"training_allowed": "x"}, "'two' is neither true nor false"),
        ({"output": {"column": "x", "json": True}}, "'two' is not JSON"),
    ],
)
def test_values_of_another_type_are_named(tmp_path, fields, words):
    found = load(tmp_path, "id,at,x,y\n1,17411207319,two,3\n", {**INFERENCE, **fields})
    (letter,) = found.misunderstood
    assert any(word in letter.message for word in words.split("|")), letter.message


def test_another_format_is_refused_by_name(tmp_path):
    mapping = Options(mapping=mapped(tmp_path, {"kind": "inference", "fields": INFERENCE}))
    with pytest.raises(ImportFormatError, match=r"table\.parquet is no Parquet file"):
        read(tabular.PARQUET, table(tmp_path, "id,at\n", "table.parquet"), options=mapping)
    with pytest.raises(ImportFormatError, match=r"employment\.parquet is no CSV"):
        read(tabular.CSV, TABLES / "employment.parquet", options=mapping)


def test_a_cut_file_gives_its_beginning_and_says_so(tmp_path):
    rows = "".join(f"{n},1741120731,{n},3\n" for n in range(500))
    cut = gzip.compress(f"id,at,x,y\n{rows}".encode(), compresslevel=0)
    path = tmp_path / "table.csv.gz"
    path.write_bytes(cut[: len(cut) // 2])
    mapping = mapped(tmp_path, {"kind": "inference", "fields": INFERENCE})
    found = read(tabular.CSV, path, options=Options(mapping=mapping))
    assert len(found.inferences) > 50
    assert f"{path} cannot be read beyond row {len(found.inferences)}" in found.damage
