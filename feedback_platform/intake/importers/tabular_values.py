"""One row of a table as one event, as the mapping says: values read, typed for the wire and put in their places. Pure."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec

from feedback_platform.intake.importers.ids import safe_id, wire_time
from feedback_platform.intake.importers.tabular_mapping import Event, Source
from feedback_platform.intake.importers.values import JsonObject, Nothing, NotMapped

Row = Mapping[str, object]

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_IDS = {"request_id", "feedback_id", "regenerates", "parent_request_id"}
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def event_of(event: Event, row: Row, *, untyped: bool) -> JsonObject:
    """The event that a row becomes, without defaults.

    Args:
        event: what the mapping says.
        row: cells by column.
        untyped: whether all cells are text (CSV), so that text written as JSON writes a number is one.

    Raises:
        Nothing: feedback whose value is absent in this row.
        NotMapped: a value is not what its field takes; names field, column and value.
    """
    told: JsonObject = {}
    silent = spoken = False
    for source in event.fields:
        value = _value(source, row, untyped)
        if source.path[0] == "feedback_value" and source.const is None:
            silent, spoken = silent or value is None, spoken or value is not None
        if value is not None:
            _put(told, source.path, value)
    if silent and not spoken:
        raise Nothing("value_absent")
    return told


def plain(value: object) -> object:
    """A cell as JSON has it; nothing for null and NaN.

    Raises:
        NotMapped: bytes, infinity or another value that JSON does not have.
    """
    if isinstance(value, float):
        if math.isinf(value):
            raise NotMapped("infinity is no number of the wire contract.")
        return None if math.isnan(value) else value
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    raise NotMapped(f"a {type(value).__name__} has no place in JSON.")


def _value(source: Source, row: Row, untyped: bool) -> object | None:
    where = f"`{'.'.join(source.path)}`"
    try:
        if source.columns is not None:
            return _object(source, row, untyped)
        found = source.const if source.column is None else row.get(source.column)
        if found is None or (isinstance(found, float) and math.isnan(found)):
            return None
        if source.map is not None:
            key = _text(found)
            if key not in source.map:
                raise NotMapped(f"{key!r} is not in `map` ({', '.join(source.map)}).")
            found = source.map[key]
        return None if found is None else _typed(source, found, untyped)
    except NotMapped as problem:
        column = f" from column {source.column!r}" if source.column is not None else ""
        raise NotMapped(f"{where}{column}: {problem}") from None


def _object(source: Source, row: Row, untyped: bool) -> JsonObject | None:
    texts = source.path[0] in ("segments", "keys")
    told = {
        name: _text(row[name]) if texts and row[name] is not None else _any(row[name], untyped)
        for name in source.columns or ()
    }
    return {name: value for name, value in told.items() if value is not None} or None


def _typed(source: Source, value: object, untyped: bool) -> object:
    if source.json:
        value = _json(value)
    if source.type is not None:
        value = {"string": _text, "number": _number, "boolean": _boolean}[source.type](value)
    match source.wanted:
        case "string":
            said = f"{source.prefix or ''}{_text(value)}"
            return safe_id(said) if source.path[-1] in _IDS else said
        case "number":
            return _number(value)
        case "boolean":
            return _boolean(value)
        case "time":
            return wire_time(_time(source, value))
        case _:
            decided = source.type is not None or source.column is None or source.map is not None or source.json
            return _any(value, untyped and not decided)


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotMapped(f"{value[:80]!r} is not JSON: {error}") from None


def _any(value: object, untyped: bool) -> object:
    if untyped and isinstance(value, str) and _NUMBER.fullmatch(value):
        return _number(value)
    return plain(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    value = plain(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _number(value: object) -> float:
    if isinstance(value, str):
        try:
            return int(value) if re.fullmatch(r"-?\d{1,15}", value) else float(value)
        except ValueError:
            raise NotMapped(f"{value[:80]!r} is no number.") from None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise NotMapped(f"{value!r} is no number.")


def _boolean(value: object) -> bool:
    found = _BOOLEANS.get(_text(value).lower())
    if found is None:
        raise NotMapped(f"{value!r} is neither true nor false. Say which in `map`.")
    return found


def _time(source: Source, value: object) -> datetime:
    try:
        at = _stated(source, value)
        if at.tzinfo is None:
            if source.timezone is None:
                raise NotMapped(f"{value!r} has no offset from UTC. Say its `timezone`.")
            at = at.replace(tzinfo=source.timezone)
        return at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotMapped(f"{value!r} is no time: {error}. Say its `format` or `unit`.") from None


def _stated(source: Source, value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  its zone is the mapping's
    if source.format is not None:
        return datetime.strptime(_text(value), source.format)  # noqa: DTZ007  as above
    if source.unit is not None:
        return _EPOCH + timedelta(microseconds=round(_number(value) * _UNITS[source.unit]))
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    raise NotMapped(f"{value!r} may be seconds or milliseconds. Say its `unit` (s, ms or us) or `format`.")


def _put(told: JsonObject, path: tuple[str, ...], value: object) -> None:
    for step in path[:-1]:
        inner = told.setdefault(step, {})
        if not isinstance(inner, dict):
            raise NotMapped(f"`{'.'.join(path)}` lies inside a value that is no object.")
        told = inner
    there = told.get(path[-1])
    told[path[-1]] = {**there, **value} if isinstance(there, dict) and isinstance(value, dict) else value
