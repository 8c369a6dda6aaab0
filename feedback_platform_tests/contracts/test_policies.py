"""Policies: defaults spelled out, mistakes named with what is possible, nothing accepted that nothing reads."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import feedback_platform
from feedback_platform.compile.manifest import config_hash
from feedback_platform.contracts.policies import (
    OPERATIONAL,
    DatasetPolicy,
    Policy,
    content_mapping,
    micros,
    policy_mapping,
    resolve_policy,
)
from feedback_platform.contracts.policy_rules import NOT_YET, RANGES
from feedback_platform.errors import ConfigError

PACKAGE = Path(feedback_platform.__file__).parent
MISTAKES = yaml.safe_load("""
- [{nam: x}, "unknown field `nam`", "Known fields there: name, select, objectives"]
- [{sample: {budgett: all}}, "unknown field `budgett`", "Known fields there: strategy, by, budget"]
- [{sample: {budget: {share: 1}}}, "unknown field `share`", "Known fields there: rate, total, per_version"]
- [{objectives: [reward]}, "Invalid enum value 'reward'", "Possible now: sft, preference, unpaired, classification"]
- [{maturity: {absence: negative}}, "Invalid enum value 'negative'", "Possible now: ignore."]
- [{resolve: {implicit: positive}}, "Invalid enum value 'positive'", "Possible now: none."]
- [{resolve: {repeat: mean}}, "Invalid enum value 'mean'", "Possible now: latest_per_rater."]
- [{bias: {weights: rake}}, "Invalid enum value 'rake'", "Possible now: report."]
- [{dedup: {method: near}}, "Invalid enum value 'near'", "Possible now: exact, off."]
- [{seed: x}, "Expected `int`, got `str` - at `$.seed`", "See `feedback config`"]
- [{name: Big}, "name 'Big'", "lower-case letters, digits and _"]
- [{objectives: []}, "objectives []", "at least one objective"]
- [{objectives: [sft, sft]}, "objectives ['sft', 'sft']", "each named once"]
- [{data: {classes: [one]}}, "data.classes ['one']", "two or more classes"]
- [{attribution: {window: 30 days}}, "attribution.window '30 days'", "a duration such as 30d, 6h or 10m"]
- [{attribution: {clock_skew: -1m}}, "attribution.clock_skew '-1m'", "a duration"]
- [{maturity: {after: "1d\\n"}}, "maturity.after '1d\\\\n'", "a duration"]
- [{resolve: {review: {expire: soon}}}, "resolve.review.expire 'soon'", "a duration"]
- [{trigger: {cooldown: later}}, "trigger.cooldown 'later'", "a duration"]
- [{trigger: {cooldown: 6}}, "Expected `str`, got `int` - at `$.trigger.cooldown`", "See `feedback config`"]
- [{validation: {burst_p: 0.0}}, "validation.burst_p 0.0", "between 0 and 1"]
- [{validation: {burst_rate: 0}}, "validation.burst_rate 0", "at least 1 judgement per hour"]
- [{resolve: {precedence: [thumbs]}}, "resolve.precedence ['thumbs']", "adjudication, then any of"]
- [{resolve: {precedence: [adjudication, thumb]}}, "'thumb'", "explicit_correction, label, preference, rating, thumbs"]
- [{resolve: {precedence: [adjudication, rating, rating]}}, "'rating', 'rating'", "each named once"]
- [{resolve: {agreement: 0.5}}, "resolve.agreement 0.5", "above 0.5 and at most 1"]
- [{resolve: {rating_good: 0.4}}, "resolve.rating_bad 0.5 with resolve.rating_good 0.4", "0 <= bad < good <= 1"]
- [{pairs: {per_prompt: 0}}, "pairs.per_prompt 0", "at least 1"]
- [{pairs: {max_length_ratio: 0.5}}, "pairs.max_length_ratio 0.5", "at least 1, or null"]
- [{split: {parts: [90, 5]}}, "split.parts [90, 5]", "sum to 100"]
- [{split: {parts: [110, -10]}}, "split.parts [110, -10]", "sum to 100"]
- [{sample: {random_arm: 1.5}}, "sample.random_arm 1.5", "between 0 and 1"]
- [{sample: {max_weight: 0}}, "sample.max_weight 0", "at least 1"]
- [{sample: {by: []}}, "sample.by []", "at least one column"]
- [{sample: {budget: {}}}, "sample.budget {", "exactly one of rate (at most 1), total and per_version"]
- [{sample: {budget: {rate: 0.5, total: 9}}}, "sample.budget {", "exactly one of"]
- [{sample: {budget: {rate: 2.0}}}, "sample.budget {", "rate (at most 1)"]
- [{sample: {budget: {total: 0}}}, "sample.budget {", "above 0"]
- [{drift: {effect: 0.0}}, "drift.effect 0.0", "above 0"]
- [{drift: {false_alarms: often}}, "drift.false_alarms 'often'", "such as 1/30d"]
- [{trigger: {volume: 0}}, "trigger.volume 0", "at least 1, or null"]
- [{trigger: {min_changes: 0}}, "trigger.min_changes 0", "at least 1"]
- [{signals: {safe: {type: thumbs}}}, "signals.safe.type 'thumbs'", "Possible now: better and role"]
""")
UNREAD = yaml.safe_load("""
data.kind: [{data: {kind: chat}}, "'chat'", "auto"]
maturity.early_positives: [{maturity: {early_positives: keep}}, "'keep'", "wait"]
validation.influence_cap: [{validation: {influence_cap: 0.5}}, "0.5", "no cap is applied"]
enrich: [{enrich: [context]}, "['context']", "all three run"]
resolve.review.max_open: [{resolve: {review: {max_open: 5}}}, "5", "every doubtful case waits"]
pairs.from: [{pairs: {from: [regenerate]}}, "['regenerate']", "explicit, explicit_correction"]
pairs.rejected_versions: [{pairs: {rejected_versions: older}}, "'older'", "any"]
sample.rehearsal: [{sample: {rehearsal: 0.1}}, "0.1", "0.0"]
drift.watch: [{drift: {watch: [feedback_rate, score]}}, "['feedback_rate', 'score']", "[feedback_rate], or []"]
publish.gate: [{publish: {gate: block}}, "'block'", "bias.gate"]
publish.channel: [{publish: {channel: beta}}, "'beta'", "latest"]
privacy.pseudonymise: [{privacy: {pseudonymise: []}}, "[]", "replaced at the door"]
privacy.mask_text: [{privacy: {mask_text: mask}}, "'mask'", "masks at the door"]
privacy.keep_raw: [{privacy: {keep_raw: 30d}}, "'30d'", "raw events are kept"]
""")


def refused(given: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_policy({"name": "d", **given})
    return str(caught.value)


@pytest.mark.parametrize(("given", "found", "possible"), MISTAKES)
def test_a_mistake_is_named_with_what_is_possible(given, found, possible):
    message = refused(given)
    assert found in message
    assert possible in message
    assert message.startswith(f"dataset {given.get('name', 'd')!r}: ")


@pytest.mark.parametrize("path", UNREAD)
def test_a_setting_that_nothing_reads_is_refused_unless_it_holds_its_default(path):
    given, value, possible = UNREAD[path]
    message = refused(given)
    assert f"{path} {value} is not allowed" in message
    assert "is not there yet. Possible now: " in message
    assert possible in message


def test_every_unread_setting_and_every_range_has_its_mistake_here():
    assert list(UNREAD) == [path for path, *_ in NOT_YET]
    unshown = [path for path, *_ in RANGES if not any(found.startswith(f"{path} ") for _, found, _ in MISTAKES)]
    assert unshown == []


def leaves(kind: type[Policy], path: str = "") -> dict[str, str]:
    """Path -> attribute name of every setting."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        here = f"{path}{field.encode_name}"
        if isinstance(field.type, type) and issubclass(field.type, Policy):
            found |= leaves(field.type, f"{here}.")
        else:
            found[here] = field.name
    return found


def test_every_other_setting_is_read_by_some_code():
    """A setting is read as an attribute of its policy; single-valued ones are refused by their type."""
    files = [p for p in PACKAGE.rglob("*.py") if p.name not in ("policies.py", "policy_rules.py")]
    code = "\n".join(p.read_text(encoding="utf-8") for p in files)
    single = {"maturity.absence", "resolve.repeat", "resolve.implicit", "bias.weights"}
    assert all(len(_possible(path)) == 1 for path in single)
    half_read = {"pairs.from", "drift.watch"}  # some of their values are acted on
    settings = leaves(DatasetPolicy)
    unread = {path for path, name in settings.items() if not re.search(rf"\.{name}\b", code)}
    assert unread <= {path for path, *_ in NOT_YET} | single
    assert {path for path, *_ in NOT_YET} - half_read <= settings.keys()
    assert "sample.budget" in settings.keys() - unread


def _possible(path: str) -> list[str]:
    key, name = path.split(".")
    hint = refused({key: {name: "?"}}).split("Possible now: ")[1]
    return hint.rstrip(".").split(", ")


def test_the_smallest_dataset_has_every_default_and_resolves_to_itself():
    policy = resolve_policy({"name": "d"})
    mapping = policy_mapping(policy)
    assert mapping.keys() == {f.encode_name for f in msgspec.structs.fields(DatasetPolicy)}
    assert resolve_policy(mapping) == policy
    assert mapping["pairs"]["from"] == ["explicit", "explicit_correction"]
    assert mapping["resolve"]["agreement"] == 0.67
    assert policy == resolve_policy(msgspec.json.decode(msgspec.json.encode(mapping)))


@pytest.mark.parametrize("budget", ["all", {"rate": 1.0}, {"total": 5}, {"per_version": 1}])
def test_every_form_of_budget_is_taken(budget):
    assert policy_mapping(resolve_policy({"name": "d", "sample": {"budget": budget}}))["sample"]["budget"] == (
        budget if budget == "all" else {"rate": None, "total": None, "per_version": None, **budget}
    )


@pytest.mark.parametrize(
    "given",
    [
        {"bias": {"gate": "block"}}, {"bias": {"segments": ["region"]}}, {"trigger": {"min_changes": 9}},
        {"publish": {"formats": ["dpo"]}}, {"drift": {"action": "compile"}},
    ],
)  # fmt: skip
def test_operational_settings_leave_the_config_hash_alone(given):
    assert config_hash(resolve_policy({"name": "d", **given})) == config_hash(resolve_policy({"name": "d"}))


@pytest.mark.parametrize(
    "given",
    [
        {"seed": 1}, {"objectives": ["unpaired"]}, {"select": {"models": ["x"]}}, {"resolve": {"agreement": 0.8}},
        {"split": {"parts": [80, 10, 10]}}, {"signals": {"safe": {"role": "evidence"}}}, {"dedup": {"method": "off"}},
    ],
)  # fmt: skip
def test_settings_that_decide_content_move_the_config_hash(given):
    assert config_hash(resolve_policy({"name": "d", **given})) != config_hash(resolve_policy({"name": "d"}))
    assert not content_mapping(resolve_policy({"name": "d"})).keys() & set(OPERATIONAL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0d", 0), ("250us", 250), ("3ms", 3_000), ("2s", 2 * 10**6), ("10m", 600 * 10**6), ("1w", 7 * 86_400 * 10**6)],
)
def test_durations_are_whole_microseconds(text, expected):
    assert micros(text) == expected


@pytest.mark.parametrize("text", ["", "30", "d", "1.5d", "-1d", "1 d", "1d\n"])
def test_other_durations_are_refused(text):
    with pytest.raises(ConfigError, match="Write a whole number and a unit, such as 30d"):
        micros(text)
