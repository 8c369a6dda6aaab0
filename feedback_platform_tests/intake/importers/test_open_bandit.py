"""The Open Bandit Dataset: real rows become impressions with propensities, and only clicks become feedback.

`data/importers/open_bandit` holds 25 rows of two logs, each around its first click, with their item contexts.
"""

import gzip
import shutil

import pytest

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers import open_bandit
from feedback_platform.intake.importers.foreign import Options
from feedback_platform_tests.intake.importers.reading import DATA, read

LOGS = DATA / "open_bandit"
HEADING = "timestamp,item_id,position,click,propensity_score,user_feature_0"
ROW = "2019-11-24 00:00:00+00:00,7,1,1,0.5,abc"


def log(tmp_path, *rows, heading=HEADING, folder="bts"):
    path = tmp_path / folder / "all" / "all.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([heading, *rows, ""]))
    return path


def test_every_real_row_is_an_impression_and_only_clicks_are_feedback():
    found = read(open_bandit, LOGS)
    assert found.counts == (50, 2, 0, 0)
    assert {(e["model"], e["segments"]["campaign"]) for e in found.inferences} == {("random", "men"), ("bts", "women")}
    assert {e["feedback_value"]["signal"]: e["feedback_value"]["value"] for e in found.feedback} == {"click": True}
    shown = {e["request_id"]: e for e in found.inferences}
    for click in found.feedback:
        impression = shown[click["target"]["request_id"]]
        assert click["target"]["item_id"] == impression["items"][0]["item_id"]
        assert click["timestamp"] == impression["timestamp"]


def test_an_impression_keeps_slate_propensity_and_both_kinds_of_features():
    event = read(open_bandit, LOGS / "random" / "men").inferences[0]
    (item,) = event["items"]
    assert item["position"] in (1, 2, 3)
    assert item["propensity"] == event["propensity"] == 1 / 34
    assert event["decision"] == item["item_id"] == event["output"]
    assert set(item["features"]) == {f"item_feature_{n}" for n in range(4)}
    assert isinstance(item["features"]["item_feature_0"], float)
    assert len(event["input"]) == 4 + 34
    assert event["input"]["user-item_affinity_0"] == 0.0
    assert event["timestamp"].startswith("2019-11-2")


def test_equal_rows_are_different_impressions_and_keep_their_ids(tmp_path):
    one, two = read(open_bandit, log(tmp_path, ROW, ROW)).inferences
    assert one["request_id"] != two["request_id"]
    assert {**one, "request_id": ""} == {**two, "request_id": ""}


def test_a_part_of_an_indexed_log_gives_the_same_ids(tmp_path):
    text = gzip.decompress((LOGS / "random" / "men" / "men.csv.gz").read_bytes()).decode().splitlines(keepends=True)
    part = tmp_path / "random" / "men" / "men.csv"
    part.parent.mkdir(parents=True)
    part.write_text("".join([text[0], *text[11:]]))
    whole = {e["request_id"] for e in read(open_bandit, LOGS / "random").inferences}
    ids = {e["request_id"] for e in read(open_bandit, part).inferences}
    assert len(ids) == 15
    assert ids < whole


def test_without_an_item_context_the_items_have_no_features(tmp_path):
    (event,) = read(open_bandit, log(tmp_path, ROW)).inferences
    assert event["items"] == [{"item_id": "7", "position": 1, "propensity": 0.5}]


def test_the_other_name_of_the_propensity_and_none_at_all(tmp_path):
    (named,) = read(
        open_bandit, log(tmp_path, ROW, heading=HEADING.replace("propensity_score", "action_prob"))
    ).inferences
    assert named["propensity"] == 0.5
    (without,) = read(open_bandit, log(tmp_path, ROW.replace("0.5", ""))).inferences
    assert "propensity" not in without


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        ("soon,7,1,1,0.5,abc", "`timestamp` 'soon' is no time"),
        ("2019-11-24,7,first,1,0.5,abc", "`position` 'first'"),
        ("2019-11-24,,1,1,0.5,abc", "no `item_id`"),
        ("2019-11-24,7,1,2,0.5,abc", "`click` '2' is neither"),
        ("2019-11-24,7,1,1,1.5,abc", "'1.5' is no probability"),
        ("2019-11-24,7,1", "3 cells, the heading 6"),
    ],
)
def test_a_damaged_row_is_kept_with_its_reason_and_the_rest_is_read(tmp_path, damaged, words):
    found = read(open_bandit, log(tmp_path, damaged, ROW))
    assert found.counts == (1, 1, 0, 1)
    (letter,) = found.misunderstood
    assert words in letter.message
    assert (letter.line, letter.body) == (2, damaged.encode())


def test_a_policy_that_no_folder_tells_is_asked_for(tmp_path):
    path = log(tmp_path, ROW, folder="mine")
    with pytest.raises(ImportFormatError, match="--model"):
        read(open_bandit, path)
    (event,) = read(open_bandit, path, options=Options(model="egreedy", task="shop", environment="lab")).inferences
    assert (event["model"], event["task"], event["environment"]) == ("egreedy", "shop", "lab")


def test_another_csv_is_refused_with_what_it_lacks(tmp_path):
    path = log(tmp_path, "1,2", heading="item_id,a")
    with pytest.raises(ImportFormatError, match="no column timestamp, position, click; it has item_id, a") as refusal:
        read(open_bandit, path)
    assert str(path) in str(refusal.value)
    shutil.copy(LOGS / "random" / "men" / "item_context.csv", tmp_path)
    with pytest.raises(ImportFormatError, match="no log beside item_context"):
        read(open_bandit, tmp_path / "item_context.csv")


def test_a_cut_log_gives_its_beginning_and_says_so(tmp_path):
    path = tmp_path / "random" / "men" / "men.csv.gz"
    path.parent.mkdir(parents=True)
    text = gzip.decompress((LOGS / "random" / "men" / "men.csv.gz").read_bytes())
    cut = gzip.compress(text, compresslevel=0)
    path.write_bytes(cut[: len(cut) // 2])
    found = read(open_bandit, path)
    assert 5 < len(found.inferences) < 20
    assert f"{path} cannot be read beyond row {len(found.inferences)}" in found.damage
