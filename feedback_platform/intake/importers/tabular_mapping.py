"""The mapping file of the tabular importers: which column becomes which wire field, checked before a row is read.

```yaml
# Employment predictions of NannyML's MA sample: each row is a prediction whose outcome came later.
- kind: inference
  fields:
    request_id: {column: id, prefix: "ma-"}
    timestamp: {column: year, format: "%Y", timezone: America/New_York}
    model: {const: employment}
    model_version: {const: "1"}
    task: {const: employment}
    input: {columns: [AGEP, SCHL, MAR, RELP], prefix: "f_"}   # features: a list of columns, and all that begin so
    output: {column: prediction, map: {0: unemployed, 1: employed}}
    probabilities.employed: predicted_probability
    segments.sex: {column: SEX, map: {1: male, 2: female}}
    keys.person: id
- kind: feedback
  fields:
    request_id: {column: id, prefix: "ma-"}
    timestamp: {column: year, format: "%Y", timezone: America/New_York}
    feedback_type: {const: label}
    feedback_value.label: {column: employed, map: {0: unemployed, 1: employed}}
```

One event per list entry and row (a file with a single event needs no list). A field's value is a column's name, or
`{column: c}` with any of `map` (values by text; others are misunderstood), `json: true` (the text is JSON), `format`
(strptime), `unit` (`s`, `ms`, `us` since 1970) and `timezone` for times, `type` (`string`, `number`, `boolean`: a CSV
cell reads as a number when it is written as JSON writes one, so `007` stays text), `prefix` (put before an id); or
`{const: v}`; or, for objects, `{columns: [...], prefix: p}`. A CSV may say `csv: {delimiter: ";", quoting: false}`.
Nulls, empty CSV cells and NaN are absent. Ratings: `feedback_value.score: stars` with `feedback_value.min: {const: 1}`.
"""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec.inspect as inspect
import yaml

from feedback_platform.contracts.wire import Inference
from feedback_platform.contracts.wire_feedback import AnyFeedback
from feedback_platform.errors import ConfigError
from feedback_platform.intake.importers.foreign import Kind

Wanted = Literal["string", "number", "boolean", "time", "object", "any"]
_OPTIONS = {"column", "columns", "const", "map", "json", "format", "unit", "timezone", "type", "prefix"}
_CSV = {"delimiter", "quoting"}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a field's value comes from and how it is read."""

    path: tuple[str, ...]
    wanted: Wanted
    column: str | None = None
    columns: tuple[str, ...] | None = None
    const: object = None
    map: Mapping[str, object] | None = None
    json: bool = False
    format: str | None = None
    unit: str | None = None
    timezone: ZoneInfo | None = None
    type: str | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event that each row becomes."""

    kind: Kind
    fields: tuple[Source, ...]

    def sets(self, name: str) -> bool:
        """Whether the mapping gives a top-level field or part of it."""
        return any(source.path[0] == name for source in self.fields)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping file, checked: known wire fields and options."""

    path: Path
    events: tuple[Event, ...]
    csv: Mapping[str, Any] = field(default_factory=dict)

    def against(self, columns: Sequence[str], file: Path) -> "Mapped":
        """The same with prefixes of columns resolved.

        Raises:
            ConfigError: a column is not in the file; names those that are.
        """
        return Mapped(self.path, tuple(self._event(event, columns, file) for event in self.events), self.csv)

    def _event(self, event: Event, columns: Sequence[str], file: Path) -> Event:
        fields: list[Source] = []
        for source in event.fields:
            named = [source.column] if source.column is not None else list(source.columns or ())
            absent = [name for name in named if name not in columns]
            if absent:
                where = f"{self.path}: {'.'.join(source.path)} names {', '.join(map(repr, absent))}"
                raise ConfigError(f"{where}, which {file} does not have. Its columns: {', '.join(columns)}.")
            if source.columns is not None and source.prefix is not None:
                more = [c for c in columns if c.startswith(source.prefix) and c not in source.columns]
                source = replace(source, columns=(*source.columns, *more))
            fields.append(source)
        return Event(event.kind, tuple(fields))


def read_mapping(path: Path | None) -> Mapped:
    """The mapping file.

    Raises:
        ConfigError: there is none, it is not YAML, or it names what the wire contract does not have.
    """
    if path is None:
        raise ConfigError("Columns need a mapping to wire fields: give a YAML file with --mapping.")
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
    listed = told if isinstance(told, list) else [told]
    events = tuple(_event(path, entry) for entry in listed)
    if not events:
        raise ConfigError(f"{path} maps nothing. Write `kind` and `fields`.")
    dialect: object = next((entry["csv"] for entry in listed if "csv" in entry), {})
    if not isinstance(dialect, dict) or set(dialect) - _CSV:
        raise ConfigError(f"{path}: `csv` takes {', '.join(sorted(_CSV))}.")
    return Mapped(path, events, dialect)


def _event(path: Path, entry: object) -> Event:
    if (
        not isinstance(entry, dict)
        or set(entry) - {"kind", "fields", "csv"}
        or not isinstance(entry.get("fields"), dict)
    ):
        raise ConfigError(f"{path}: an event has `kind`, `fields` and, at most, `csv`.")
    kind = entry.get("kind")
    if kind not in ("inference", "feedback"):
        raise ConfigError(f"{path}: `kind` is {kind!r}. Write inference or feedback.")
    fields: dict[str, object] = entry["fields"]
    stated = fields.get("feedback_type")
    tag = stated.get("const") if isinstance(stated, dict) else None
    sources = tuple(_source(path, str(name), value, kind, tag) for name, value in fields.items())
    missing = [name for name in _REQUIRED[kind] if not any(source.path[0] == name for source in sources)]
    if missing:
        raise ConfigError(f"{path}: {kind} needs {', '.join(missing)}.")
    return Event(kind, sources)


_REQUIRED: Mapping[str, Sequence[str]] = {
    "inference": ("timestamp", "input", "output"),
    "feedback": ("feedback_type", "feedback_value"),
}


def _source(path: Path, name: str, value: object, kind: Kind, tag: object) -> Source:
    told = {"column": value} if isinstance(value, str) else value
    if not isinstance(told, dict) or not told or set(told) - _OPTIONS:
        raise ConfigError(f"{path}: {name} takes a column's name or {', '.join(sorted(_OPTIONS))}.")
    if sum(way in told for way in ("column", "columns", "const")) != (0 if set(told) == {"prefix"} else 1):
        raise ConfigError(f"{path}: {name} needs exactly one of `column`, `columns` and `const`.")
    steps = tuple(name.split("."))
    wanted = _wanted(path, name, steps, kind, tag)
    columns = told.get("columns", [] if set(told) == {"prefix"} else None)
    zone = told.get("timezone")
    try:
        timezone = None if zone is None else ZoneInfo(str(zone))
    except (ValueError, OSError, KeyError):
        raise ConfigError(f"{path}: {name}: timezone {zone!r} is not known. Write one such as Europe/Berlin.") from None
    if told.get("unit") not in (None, "s", "ms", "us"):
        raise ConfigError(f"{path}: {name}: unit {told['unit']!r} is not known. Write s, ms or us.")
    if told.get("type") not in (None, "string", "number", "boolean"):
        raise ConfigError(f"{path}: {name}: type {told['type']!r} is not known. Write string, number or boolean.")
    by_text = told.get("map")
    return Source(
        path=steps,
        wanted=wanted,
        column=told.get("column"),
        columns=None if columns is None else tuple(map(str, columns)),
        const=told.get("const"),
        map=None if by_text is None else {_key(key): inner for key, inner in by_text.items()},
        json=told.get("json") is True,
        format=told.get("format"),
        unit=told.get("unit"),
        timezone=timezone,
        type=told.get("type"),
        prefix=told.get("prefix"),
    )


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _wanted(path: Path, name: str, steps: tuple[str, ...], kind: Kind, tag: object) -> Wanted:
    """What kind of value a wire field takes.

    Raises:
        ConfigError: there is no such field; names those that are.
    """
    kinds: Sequence[Any] = [Inference]
    if kind == "feedback":
        classes = typing.get_args(AnyFeedback)
        kinds = [c for c in classes if c.__struct_config__.tag == tag] or classes
        if tag is not None and len(kinds) > 1:
            tags = ", ".join(str(c.__struct_config__.tag) for c in classes)
            raise ConfigError(f"{path}: feedback_type {tag!r} is not known. Types: {tags}.")
        if steps == ("feedback_type",):
            return "string"
    found = [inspect.type_info(c) for c in kinds]
    for place, step in enumerate(steps):
        known: dict[str, list[inspect.Type]] = {}
        for info in found:
            for inner, types in _inside(info).items():
                known.setdefault(inner, []).extend(types)
        if "*" not in known and step not in known:
            above = ".".join(steps[:place]) or kind
            there = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"{path}: {name} is no field of the wire contract. Fields of {above}: {there}.")
        found = known.get(step) or known["*"]
    return _kind_of(found)


def _inside(info: inspect.Type) -> dict[str, list[inspect.Type]]:
    """The fields below a type; `*` stands for any name."""
    info = info.type if isinstance(info, inspect.Metadata) else info
    if isinstance(info, inspect.StructType):
        return {f.encode_name: [f.type] for f in info.fields}
    if isinstance(info, inspect.DictType):
        return {"*": [info.value_type]}
    if isinstance(info, inspect.AnyType):
        return {"*": [info]}
    if isinstance(info, inspect.UnionType):
        return {name: types for inner in info.types for name, types in _inside(inner).items()}
    return {}


def _kind_of(found: Sequence[inspect.Type]) -> Wanted:
    plain: list[inspect.Type] = []
    for info in found:
        info = info.type if isinstance(info, inspect.Metadata) else info
        plain += info.types if isinstance(info, inspect.UnionType) else [info]
    plain = [i.type if isinstance(i, inspect.Metadata) else i for i in plain if not isinstance(i, inspect.NoneType)]
    kinds: Sequence[tuple[tuple[type, ...], Wanted]] = (
        ((inspect.StrType, inspect.LiteralType), "string"),
        ((inspect.DateTimeType,), "time"),
        ((inspect.DictType, inspect.StructType), "object"),
    )
    for types, wanted in kinds:
        if plain and all(isinstance(info, types) for info in plain):
            return wanted
    if plain and all(isinstance(info, inspect.IntType | inspect.FloatType) for info in plain):
        return "number"
    if plain and all(isinstance(info, inspect.BoolType) for info in plain):
        return "boolean"
    return "any"
