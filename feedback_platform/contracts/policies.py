"""Policies of a dataset: frozen objects that equal the YAML, one per stage, with every default in one place.

Values arrive as plain mappings (from `defs.yaml`) and leave as `DatasetPolicy`. No file is read here.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from feedback_platform.contracts.policy_rules import DURATION, broken_rule
from feedback_platform.errors import ConfigError

Objective = Literal["sft", "preference", "unpaired", "classification"]
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_MICROS = {"us": 1, "ms": 1_000, **{unit: n * 10**6 for unit, n in _SECONDS.items()}}


def micros(duration: str) -> int:
    """Microseconds of a duration such as `30d`, `10m`, `6h`, `0d`.

    Raises:
        ConfigError: the text is not a whole number followed by us, ms, s, m, h, d or w.
    """
    match = DURATION.fullmatch(duration)
    if match is None:
        raise ConfigError(
            f"duration {duration!r} is not understood. Write a whole number and a unit, such as 30d, 6h or 10m."
        )
    return int(match[1]) * _MICROS[match[2]]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all policies: frozen, named fields, unknown fields refused."""


class Select(Policy, frozen=True):
    """Which inferences belong to the dataset; every list given must match, an absent one matches all."""

    models: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    segments: dict[str, tuple[str, ...]] = {}
    where: str | None = None


class Data(Policy, frozen=True):
    """What the payloads are: `kind` is found out per row unless told; `classes` bounds the labels of a classifier."""

    kind: Literal["auto", "text", "chat", "features", "json"] = "auto"
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None


class Signal(Policy, frozen=True):
    """How one criterion (`name` on the wire) is read: its direction and whether it may become a label."""

    type: str | None = None
    better: Literal["higher", "lower"] = "higher"
    role: Literal["label", "evidence", "ignore"] = "label"


class Attribution(Policy, frozen=True):
    """How feedback finds what it judges. `window`: longest delay; `clock_skew`: tolerated disagreement of clocks."""

    window: str = "30d"
    clock_skew: str = "10m"
    version_mismatch: Literal["flag", "refuse"] = "flag"
    session: Literal["last_turn", "uniform", "discounted"] = "last_turn"


class Maturity(Policy, frozen=True):
    """When a unit may be labelled: its event time plus `after` is behind the watermark."""

    after: str = "0d"
    absence: Literal["ignore"] = "ignore"
    early_positives: Literal["wait", "keep"] = "wait"


class Validation(Policy, frozen=True):
    """What makes a pair doubtful and what is done about it.

    `burst_p`: tail probability below which the number of events that one rater gives in one clock hour of event time
    counts as a burst, against a Poisson law with mean `burst_rate` per hour (a declared prior until a fit replaces it).
    """

    action: Literal["flag", "review", "reject"] = "flag"
    burst_p: float = 1.0e-6
    burst_rate: int = 60
    burst_exempt: tuple[str, ...] = ("expert", "backfill")
    influence_cap: float = 0.05


class Review(Policy, frozen=True):
    """Doubtful cases wait for a person: at most `max_open` are shown at once, each for `expire`."""

    max_open: int = 200
    expire: str = "14d"


class Resolve(Policy, frozen=True):
    """How several signals on one unit become one label per criterion.

    `agreement`: smallest share of raters that must say the same, compared in whole per cent (0.67 = two in three).
    `rating_good`, `rating_bad`: on the 0-1 scale, at or above is a vote for, at or below a vote against, between none.
    """

    repeat: Literal["latest_per_rater"] = "latest_per_rater"
    precedence: tuple[str, ...] = ("adjudication", "explicit_correction", "label", "preference", "rating", "thumbs")
    implicit: Literal["none"] = "none"
    agreement: float = 0.67
    disagreement: Literal["exclude", "review"] = "exclude"
    rating_good: float = 0.7
    rating_bad: float = 0.5
    review: Review = Review()


class Pairs(Policy, frozen=True):
    """Where preference pairs come from and which are refused."""

    sources: tuple[Literal["explicit", "explicit_correction", "regenerate"], ...] = msgspec.field(
        default=("explicit", "explicit_correction"), name="from"
    )
    per_prompt: int = 4
    max_length_ratio: float | None = None
    rejected_versions: str = "any"


class Dedup(Policy, frozen=True):
    """What counts as the same content. `exact`: equal after NFKC, case folding and white-space folding."""

    fields: tuple[Literal["last_user", "input", "target"], ...] = ("last_user", "target")
    method: Literal["exact", "off"] = "exact"
    conflict: Literal["majority", "keep"] = "majority"


class Split(Policy, frozen=True):
    """Parts of 100 for train, validation and test, and what may never straddle two of them."""

    by: Literal["group", "user"] = "group"
    groups: tuple[Literal["cluster", "session"], ...] = ("cluster", "session")
    parts: tuple[int, ...] = (90, 5, 5)


class Budget(Policy, frozen=True):
    """How many examples per objective: a share of all, a total, or so many new ones per version; one is given."""

    rate: float | None = None
    total: int | None = None
    per_version: int | None = None


class Sample(Policy, frozen=True):
    """Which examples enter: a bottom-k of hash ranks scaled by a weight; `random_arm` is drawn without the weight."""

    strategy: Literal["uniform", "stratified", "uncertainty"] = "uniform"
    by: tuple[Literal["label", "model", "model_version", "task", "input_kind"], ...] = ("label",)
    budget: Budget | Literal["all"] = "all"
    random_arm: float = 0.1
    max_weight: int = 10
    rehearsal: float = 0.0


class Bias(Policy, frozen=True):
    """Which segments the bias report compares and what a finding does to publication."""

    segments: Literal["all"] | tuple[str, ...] = "all"
    weights: Literal["report"] = "report"
    gate: Literal["off", "warn", "block"] = "warn"


class Drift(Policy, frozen=True):
    """What the drift sensor watches; it asks for a run only when the shift is significant and at least `effect`."""

    watch: tuple[Literal["feedback_rate", "score", "segments"], ...] = ("feedback_rate",)
    false_alarms: str = "1/30d"
    effect: float = 0.2
    action: Literal["notify", "compile"] = "notify"


class Trigger(Policy, frozen=True):
    """When a compilation starts by itself: cron `schedule`, `volume` of new feedback; not within `cooldown`."""

    schedule: str | None = "0 6 * * 1"
    volume: int | None = None
    min_changes: int = 1
    cooldown: str = "6h"


class Publish(Policy, frozen=True):
    """What is written when a version is published."""

    formats: tuple[str, ...] = ("parquet",)
    to: str = "exports"
    gate: Literal["off", "warn", "block"] = "warn"
    channel: str = "latest"


class Privacy(Policy, frozen=True):
    """What is masked beyond what the tenant's door does (`tenant.yaml`); nothing yet."""

    pseudonymise: tuple[str, ...] = ("user_id", "session_id", "source.id")
    mask_text: Literal["off", "report", "mask", "reject"] = "report"
    keep_raw: str | None = None


class DatasetPolicy(Policy, frozen=True):
    """Everything that decides what a dataset's versions hold; its hash is in each manifest."""

    name: str
    select: Select = Select()
    objectives: tuple[Objective, ...] = ("sft",)
    data: Data = Data()
    signals: dict[str, Signal] = {}
    attribution: Attribution = Attribution()
    maturity: Maturity = Maturity()
    validation: Validation = Validation()
    enrich: tuple[Literal["context", "uncertainty", "history"], ...] = ("context", "uncertainty", "history")
    resolve: Resolve = Resolve()
    pairs: Pairs = Pairs()
    dedup: Dedup = Dedup()
    split: Split = Split()
    sample: Sample = Sample()
    bias: Bias = Bias()
    drift: Drift = Drift()
    trigger: Trigger = Trigger()
    publish: Publish = Publish()
    privacy: Privacy = Privacy()
    seed: int = 0


# Fields that decide when and where things happen, not what a version holds; a change of them is no policy change.
OPERATIONAL = ("bias", "drift", "trigger", "publish", "privacy")


def resolve_policy(given: Mapping[str, Any]) -> DatasetPolicy:
    """The full policy of a dataset from what its YAML says.

    Raises:
        ConfigError: an unknown field, a wrong type or a value out of range; names the path and what is allowed.
    """
    try:
        policy = msgspec.convert(dict(given), DatasetPolicy)
    except msgspec.ValidationError as error:
        raise ConfigError(f"dataset {given.get('name', '?')!r}: {error}. {_hint(str(error))}") from None
    if (broken := broken_rule(policy_mapping(policy))) is not None:
        raise ConfigError(f"dataset {policy.name!r}: {broken}")
    return policy


def policy_mapping(policy: DatasetPolicy) -> dict[str, Any]:
    """The policy as plain values, every default spelled out, fit for JSON and YAML."""
    mapping: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(policy))  # lists, where tuples stand in policies
    return mapping


def content_mapping(policy: DatasetPolicy) -> dict[str, Any]:
    """The part of the policy that decides what a version holds: what the config hash covers."""
    return {key: value for key, value in policy_mapping(policy).items() if key not in OPERATIONAL}


def _hint(message: str) -> str:
    """What is known or possible where msgspec points to, as in `$.sample.by[...]`."""
    path = message.rsplit("`$", 1)[-1].rstrip("`").strip(".") if "`$" in message else ""
    place: Any = DatasetPolicy
    for key in filter(None, re.sub(r"\[[^]]*\]", "", path).split(".")):
        holder = next(_structs(place), None)
        fields = {} if holder is None else {f.encode_name: f.type for f in msgspec.structs.fields(holder)}
        place = fields.get(key, place)
    holder = next(_structs(place), None)
    values = list(_literals(place))
    if holder is not None and ("unknown field" in message or not values):
        return f"Known fields there: {', '.join(holder.__struct_encode_fields__)}."
    return f"Possible now: {', '.join(values)}." if values else "See `feedback config` for the full policy."


def _structs(place: Any) -> Iterator[type[Policy]]:
    if isinstance(place, type) and issubclass(place, Policy):
        yield place
    for inner in get_args(place):
        yield from _structs(inner)


def _literals(place: Any) -> Iterator[str]:
    if get_origin(place) is Literal:
        yield from map(str, get_args(place))
        return
    for inner in get_args(place):
        yield from _literals(inner)
