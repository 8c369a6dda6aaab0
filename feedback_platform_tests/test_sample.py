"""The bundled sample: its files are the recorded ones, its events agree, the script makes it again."""

import gzip
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "sample"
SCRIPT = SAMPLE / "build_sample.py"
SOURCE = Path(os.environ.get("MLQE_PE_SOURCE", ROOT.parent / "shared" / "data" / "mlqe-pe"))
STEMS = ["feedback-1", "feedback-2", "inferences-1", "inferences-2"]
CUT = "2026-03-30T00:00:00Z"

Event = dict[str, Any]


def lines(folder: Path, stem: str) -> bytes:
    return gzip.decompress((folder / f"{stem}.jsonl.gz").read_bytes())


@pytest.fixture(scope="module")
def files() -> dict[str, list[Event]]:
    return {stem: [json.loads(line) for line in lines(SAMPLE, stem).splitlines()] for stem in STEMS}


@pytest.fixture(scope="module")
def requests(files: dict[str, list[Event]]) -> dict[str, Event]:
    return {e["request_id"]: e for e in files["inferences-1"] + files["inferences-2"]}


@pytest.fixture(scope="module")
def judgements(files: dict[str, list[Event]]) -> list[Event]:
    return files["feedback-1"] + files["feedback-2"]


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_sample", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_files_match_the_recorded_sums() -> None:
    recorded = dict(line.split()[::-1] for line in (SAMPLE / "SHA256SUMS").read_text().splitlines())
    names = [f"{stem}.jsonl.gz" for stem in STEMS]
    assert recorded == {name: hashlib.sha256((SAMPLE / name).read_bytes()).hexdigest() for name in names}


def test_gzip_headers_hold_neither_time_nor_name() -> None:
    for stem in STEMS:
        header = (SAMPLE / f"{stem}.jsonl.gz").read_bytes()[:10]
        assert header[3] == 0, f"{stem}: flags say that a file name or comment follows"
        assert header[4:8] == bytes(4), f"{stem}: modification time is set"


def test_counts(files: dict[str, list[Event]], requests: dict[str, Event], judgements: list[Event]) -> None:
    assert {stem: len(events) for stem, events in files.items()} == {
        "inferences-1": 4651,
        "inferences-2": 2349,
        "feedback-1": 19051,
        "feedback-2": 10728,
    }
    assert len(requests) == 7000
    assert Counter(e["feedback_type"] for e in judgements) == {"rating": 22779, "explicit_correction": 7000}
    late = [e["feedback_type"] for e in files["feedback-2"] if requests[e["request_id"]]["timestamp"] < CUT]
    assert Counter(late) == {"rating": 307, "explicit_correction": 455}


def test_ids_are_unique(files: dict[str, list[Event]], judgements: list[Event]) -> None:
    request_ids = [e["request_id"] for e in files["inferences-1"] + files["inferences-2"]]
    feedback_ids = [e["feedback_id"] for e in judgements]
    assert len(set(request_ids)) == len(request_ids)
    assert len(set(feedback_ids)) == len(feedback_ids)


def test_every_translation_has_one_correction_and_acceptances_equal_the_output(
    requests: dict[str, Event], judgements: list[Event]
) -> None:
    edits = [e for e in judgements if e["feedback_type"] == "explicit_correction"]
    assert sorted(e["request_id"] for e in edits) == sorted(requests)
    pairs = [(requests[e["request_id"]]["output"], e["feedback_value"]["output"]) for e in edits]
    assert sum(output == edited for output, edited in pairs) == 2268
    # Of the rest, six are edits of spacing alone that the source itself made ("so genannte" -> "sogenannte").
    squeezed = ["".join(output.split()) == "".join(edited.split()) for output, edited in pairs]
    assert sum(squeezed) == 2268 + 6


def test_feedback_follows_its_inference_within_the_attribution_window(
    requests: dict[str, Event], judgements: list[Event]
) -> None:
    for event in judgements:
        assert event["request_id"] in requests, f"{event['feedback_id']} judges an unknown request"
        delay = moment(event) - moment(requests[event["request_id"]])
        assert timedelta(0) < delay < timedelta(days=30), event["feedback_id"]


def test_slices_are_parted_and_ordered_by_time(files: dict[str, list[Event]]) -> None:
    for stem, events in files.items():
        times = [e["timestamp"] for e in events]
        assert times == sorted(times), stem
        assert times[-1] < CUT if stem.endswith("1") else times[0] >= CUT, stem


def test_articles_are_translated_in_source_order_on_one_day(requests: dict[str, Event]) -> None:
    sessions: dict[str, list[Event]] = defaultdict(list)
    for request_id in sorted(requests):
        sessions[requests[request_id]["session_id"]].append(requests[request_id])
    assert len(sessions) == 3882
    for session, events in sessions.items():
        times = [e["timestamp"] for e in events]
        assert times == sorted(set(times)), f"{session} goes back in time"
        assert times[0][:10] == times[-1][:10], f"{session} spreads over days"
        assert len({e["metadata"]["article"] for e in events}) == 1, f"{session} mixes articles"


def test_raters_stay_human_and_judge_a_translation_once(judgements: list[Event]) -> None:
    judged = Counter((e["source"]["id"], e["request_id"]) for e in judgements)
    assert set(judged.values()) == {1}
    times: dict[str, list[datetime]] = defaultdict(list)
    for event in judgements:
        times[event["source"]["id"]].append(moment(event))
    for rater, moments in times.items():
        moments.sort()
        for first, sixty_first in zip(moments, moments[60:], strict=False):
            assert sixty_first - first >= timedelta(hours=1), f"{rater} gives 61 judgements in the hour at {first}"


def test_rebuilding_gives_the_same_lines_and_the_counts_of_the_readme(tmp_path: Path) -> None:
    if not SOURCE.is_dir():
        pytest.skip("no MLQE-PE source: set MLQE_PE_SOURCE to its folder")
    command = [sys.executable, str(SCRIPT), str(SOURCE), "--out", str(tmp_path)]
    printed = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    for stem in STEMS:  # lines, not archives: another zlib may pack the same lines in other bytes
        assert lines(tmp_path, stem) == lines(SAMPLE, stem), stem
    assert printed.strip() in (SAMPLE / "README.md").read_text(encoding="utf-8")


def test_a_wrong_source_folder_is_named(builder: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(builder.SourceError, match="give the folder of the MLQE-PE release"):
        builder.read_segments(tmp_path)


words = st.lists(st.sampled_from(["Haus", "1", ".", ",", '"', "'", "/", "„", "“", "(", ")"]), min_size=1)


@given(words, st.data())
def test_untouched_tokens_give_the_translation_back_whatever_its_spacing(
    builder: ModuleType, tokens: list[str], data: st.DataObject
) -> None:
    gaps = ["", *(data.draw(st.sampled_from(["", " "])) for _ in tokens[1:])]
    translation = "".join(gap + token for gap, token in zip(gaps, tokens, strict=True))
    assert builder.post_edit(segment(builder, translation, tokens, tokens)) == translation


def test_an_edit_changes_only_what_the_editor_changed(builder: ModuleType) -> None:
    edited = segment(
        builder,
        "Er nahm 6 / 65 , dann ging er.",
        "Er nahm 6 / 65 , dann ging er .",
        "Er nahm 6 / 65 , und ging .",
    )
    assert builder.post_edit(edited) == "Er nahm 6 / 65 , und ging."


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ('Er sagte : " Nein ! "', 'Er sagte: "Nein!"'),
        ("Das „ alte “ Haus ( 1900 ) .", "Das „alte“ Haus (1900)."),
        ("“ Nein ” , sagte er ; $ 5 .", "“Nein”, sagte er; $5."),
    ],
)
def test_rules_space_german_punctuation(builder: ModuleType, tokens: str, text: str) -> None:
    assert builder.join(builder.rule_gaps(tuple(tokens.split())), tokens.split()) == text


def segment(builder: ModuleType, translation: str, mt: str | list[str], pe: str | list[str]) -> Any:
    tokens = [tuple(part.split() if isinstance(part, str) else part) for part in (mt, pe)]
    return builder.Segment(0, "Article", "Original.", translation, *tokens, (50,), -0.5, (-0.5,))


def moment(event: Event) -> datetime:
    return datetime.fromisoformat(event["timestamp"])
