"""Ids and times of foreign records in the form that the wire contract takes; the same record gives the same, always."""

import hashlib
import re
from datetime import UTC, datetime, timedelta

import msgspec

from feedback_platform.contracts.canonical import NotCanonical, canonical_json

UNVERSIONED = "unversioned"
"""`model_version` of models whose source knows no versions and whose importer was told none."""

_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
_UUID7 = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = 1e11  # as seconds this is the year 5138, as milliseconds 1973


def safe_id(*parts: object) -> str:
    """The source's own id, its parts joined by `:`; hashed where the wire takes no such characters or length."""
    text = ":".join(str(part) for part in parts)
    return text if _ID.fullmatch(text) else f"h-{_digest(text.encode())}"


def content_id(prefix: str, *content: object) -> str:
    """An id for a record without one: a hash of what it says, so that equal content is one record."""
    return f"{prefix}-{_digest(_told(list(content)))}"


def short(text: object, limit: int = 256) -> str:
    """A value as text that fits a name on the wire; longer text keeps its beginning and a hash of the whole."""
    said = str(text)
    return said if len(said) <= limit else f"{said[: limit - 17]}~{_digest(said.encode())[:16]}"


def uuid7_time(text: str) -> datetime | None:
    """The instant in a time-ordered UUID (version 7), to the millisecond; nothing for other ids."""
    if not _UUID7.fullmatch(text):
        return None
    return _EPOCH + timedelta(milliseconds=int(text.replace("-", "")[:12], 16))


def instant(value: object) -> datetime | None:
    """A time as logs write it, in UTC: epoch seconds or milliseconds (number or digits), ISO 8601 (UTC without offset).

    Nothing for what is no time or lies outside the years 1 to 9999.
    """
    try:
        if isinstance(value, str):
            text = value.strip()
            if re.fullmatch(r"\d{9,17}(\.\d+)?", text):
                return instant(float(text))
            parsed = datetime.fromisoformat(text)
            return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            unit = 1e3 if value >= _MILLISECONDS else 1
            unit = 1e6 if value >= _MILLISECONDS * 1e3 else unit
            unit = 1e9 if value >= _MILLISECONDS * 1e6 else unit
            return _EPOCH + timedelta(microseconds=round(value / unit * 1e6))
    except (ValueError, OverflowError):
        pass
    return None


def wire_time(at: datetime) -> str:
    """RFC 3339 in UTC with Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _told(content: object) -> bytes:
    try:
        return canonical_json(content).encode()
    except NotCanonical:  # an integer beyond 2^53; the door refuses it, but the record still needs an id
        return msgspec.json.encode(content, order="deterministic")
