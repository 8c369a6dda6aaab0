"""What a policy's values may be beyond their types, as tables: values that nothing acts on yet, and ranges.

Works on the plain mapping of a policy (see `policies.policy_mapping`). A setting that does nothing must not look as if
it did, so each field that no code reads is refused unless it holds its default.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DURATION = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FALSE_ALARMS = re.compile(r"[1-9]\d*/[1-9]\d*(us|ms|s|m|h|d|w)")
_PAIR_SOURCES = ("explicit", "explicit_correction")
_SIGNAL_KINDS = ("adjudication", "explicit_correction", "label", "preference", "rating", "thumbs")
_DURATIONS = (
    "attribution.window", "attribution.clock_skew", "maturity.after", "resolve.review.expire", "trigger.cooldown",
)  # fmt: skip

Rule = Callable[[Any], bool]


def broken_rule(policy: Mapping[str, Any]) -> str | None:
    """The first rule that a policy breaks, in words: field, value and what is possible; None when it is fine."""
    for path, purpose, rule, possible in NOT_YET:
        if not rule(value := _at(policy, path)):
            return f"{path} {value!r} is not allowed: {purpose} is not there yet. Possible now: {possible}."
    for path, rule, wanted in RANGES:
        if not rule(value := _at(policy, path)):
            return f"{path} {value!r} is not allowed. It must be {wanted}."
    good, bad = policy["resolve"]["rating_good"], policy["resolve"]["rating_bad"]
    if not 0 <= bad < good <= 1:
        found = f"resolve.rating_bad {bad} with resolve.rating_good {good}"
        return f"{found} is not allowed. It must be 0 <= bad < good <= 1."
    typed = next((name for name, signal in policy["signals"].items() if signal["type"] is not None), None)
    if typed is not None:
        found = f"signals.{typed}.type {policy['signals'][typed]['type']!r}"
        return f"{found} is not allowed: it is not read yet. Possible now: better and role, whatever the type."
    return None


def _at(mapping: Mapping[str, Any], path: str) -> Any:
    value: Any = mapping
    for key in path.split("."):
        value = value[key]
    return value


def _only(*values: object) -> Rule:
    return lambda found: found in values


def _unique(found: Sequence[object], allowed: Sequence[object]) -> bool:
    return len(set(found)) == len(found) and set(found) <= set(allowed)


def _one_budget(budget: object) -> bool:
    if not isinstance(budget, Mapping):
        return budget == "all"
    given = [value for value in budget.values() if value is not None]
    return len(given) == 1 and given[0] > 0 and (budget["rate"] is None or budget["rate"] <= 1)


NOT_YET: tuple[tuple[str, str, Rule, str], ...] = (
    ("data.kind", "a declared form of payloads", _only("auto"), "auto, the form is found out per row"),
    ("maturity.early_positives", "labelling before maturity", _only("wait"), "wait"),
    ("validation.influence_cap", "a cap on one rater's share", _only(0.05), "leave it out, no cap is applied"),
    ("enrich", "a choice of enrichments", _only(["context", "uncertainty", "history"]), "leave it out, all three run"),
    ("resolve.review.max_open", "a cap on open reviews", _only(200), "leave it out, every doubtful case waits"),
    ("pairs.from", "this source of pairs", lambda v: _unique(v, _PAIR_SOURCES), "explicit, explicit_correction"),
    ("pairs.rejected_versions", "a choice of versions that may lose", _only("any"), "any"),
    ("sample.rehearsal", "a share of older examples", _only(0.0), "0.0"),
    ("drift.watch", "watching this", _only([], ["feedback_rate"]), "[feedback_rate], or [] for none"),
    ("publish.gate", "another gate at publication", _only("warn"), "warn here, and bias.gate to block versions"),
    ("publish.channel", "a choice of channels", _only("latest"), "latest"),
    (
        "privacy.pseudonymise", "a choice of ids to replace", _only(["user_id", "session_id", "source.id"]),
        "leave it out; ids are replaced at the door, as `privacy` in the tenant's tenant.yaml says",
    ),
    ("privacy.mask_text", "masking per dataset", _only("report"), "leave it out; tenant.yaml masks at the door"),
    ("privacy.keep_raw", "an end to keeping raw events", _only(None), "leave it out, raw events are kept"),
)  # fmt: skip
RANGES: tuple[tuple[str, Rule, str], ...] = (
    ("name", lambda v: _NAME.fullmatch(v) is not None, "lower-case letters, digits and _, a letter first"),
    ("objectives", lambda v: len(v) > 0 and _unique(v, v), "at least one objective, each named once"),
    ("data.classes", lambda v: v is None or (len(v) > 1 and _unique(v, v)), "two or more classes, each named once"),
    *((path, lambda v: DURATION.fullmatch(v) is not None, "a duration such as 30d, 6h or 10m") for path in _DURATIONS),
    ("validation.burst_p", lambda v: 0 < v < 1, "between 0 and 1"),
    ("validation.burst_rate", lambda v: v >= 1, "at least 1 judgement per hour"),
    (
        "resolve.precedence", lambda v: v[:1] == ["adjudication"] and _unique(v, _SIGNAL_KINDS),
        f"adjudication, then any of {', '.join(_SIGNAL_KINDS[1:])}, each named once",
    ),
    ("resolve.agreement", lambda v: 0.5 < v <= 1, "above 0.5 and at most 1"),
    ("pairs.per_prompt", lambda v: v >= 1, "at least 1"),
    ("pairs.max_length_ratio", lambda v: v is None or v >= 1, "at least 1, or null"),
    (
        "split.parts", lambda v: 1 <= len(v) <= 3 and sum(v) == 100 and min(v) >= 0,
        "one to three whole numbers that sum to 100",
    ),
    ("sample.random_arm", lambda v: 0 <= v <= 1, "between 0 and 1"),
    ("sample.max_weight", lambda v: v >= 1, "at least 1"),
    ("sample.by", lambda v: len(v) > 0, "at least one column"),
    ("sample.budget", _one_budget, "all, or exactly one of rate (at most 1), total and per_version, above 0"),
    ("drift.effect", lambda v: v > 0, "above 0"),
    ("drift.false_alarms", lambda v: _FALSE_ALARMS.fullmatch(v) is not None, "alarms per duration, such as 1/30d"),
    ("trigger.volume", lambda v: v is None or v >= 1, "at least 1, or null"),
    ("trigger.min_changes", lambda v: v >= 1, "at least 1"),
)  # fmt: skip
