"""What a hostile input must do to a decoder: be taken, or be refused with a documented error. Anything else raises.

What was taken is held to more: its canonical body reads back as the same body, its row can be landed, and a refusal can
be told and kept.
"""

import json
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from feedback_platform.api.call import _decompressed
from feedback_platform.api.ingest import _elements, _kind, _lines, _restricted
from feedback_platform.api.problems import Problem, of_refusal
from feedback_platform.contracts.canonical import canonical_json
from feedback_platform.contracts.events import Event, Inference, Kind, parse_event
from feedback_platform.contracts.raw_tables import RAW_FEEDBACK, RAW_INFERENCE_LOGS
from feedback_platform.contracts.refusals import REASONS
from feedback_platform.errors import AccessError, EventRejected
from feedback_platform.intake.door import Arrival, Door
from feedback_platform.intake.guards.tokens import FeedbackToken, _b64, _mac, check
from feedback_platform.intake.landing import _write_part
from feedback_platform.intake.log import Record
from feedback_platform.intake.otlp.answer import error_status
from feedback_platform.intake.otlp.decode import JSON, PROTOBUF, unpacked
from feedback_platform.intake.otlp.mapping import read_export
from feedback_platform.intake.otlp.spans import Limits
from feedback_platform.intake.privacy.policy import PrivacyPolicy, parse_privacy
from feedback_platform.intake.privacy.protect import Privacy
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake.parts import check_rows, inspect

KEY = b"k" * 32
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ENDLESS_LIFE = datetime(2100, 1, 1, tzinfo=UTC)
ENDLESS = 2**20 + 1  # bytes of an input that grows when it is unpacked
LIMIT = 2**20
TOGETHER = 5_000  # rows that are landed together
RARELY = 64
CONTRACTS = {"inference": RAW_INFERENCE_LOGS, "feedback": RAW_FEEDBACK}
TOKEN = FeedbackToken("default", "r-1", "u")


class Targets:
    """The decoders as the door and the API use them, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = open_log(folder / "log" / "events.sqlite")
        modes = (PrivacyPolicy(), parse_privacy({"mask_text": "mask"}), parse_privacy({"mask_text": "reject"}))
        self.doors = [Door(self.log, "default", lambda: NOW, Privacy(policy, KEY)) for policy in modes]
        self.rows: dict[str, list[tuple[int, bytes]]] = {"inference": [], "feedback": []}
        self.landed = 0

    def feed(self, name: str, data: bytes, number: int) -> str:
        """Give one input to its target; in a word what came of it."""
        way = number % RARELY  # a search for personal data costs more than all the rest
        door = self.doors[way if way < len(self.doors) else 0]
        match name:
            case "inference" | "feedback":
                return self.event(door, name, data, number)
            case "batch":
                return self.batch(door, data, number)
            case "export_json" | "export_protobuf":
                return self.export(door, data, JSON if name == "export_json" else PROTOBUF, number)
            case "gzip":
                return self.unpack(data)
            case "token":
                return self.token(data)
            case _:
                return self.scrub(door, data)

    def event(self, door: Door, kind: Kind, body: bytes | Mapping[str, object], number: int) -> str:
        """One event through the door, up to the disk."""
        batch = door.prepare([Arrival(kind, body, "fuzz", restrict=_touch)])
        if number % RARELY == RARELY - 1:
            door.observe(batch)
        [outcome] = batch.outcomes
        if isinstance(outcome, EventRejected):
            self.refusal(door, outcome, body if isinstance(body, bytes) else b"")
            letters = door._letters(batch)
            assert len(letters) == 1
            return outcome.reason
        [(_, record)] = batch.records[kind]
        self.keep(kind, record, number)
        event, canonical = parse_event(kind, body)
        assert parse_event(kind, canonical)[1] == canonical, "the canonical body reads back as another"
        text = canonical_json(event)
        try:
            again = parse_event(kind, text.encode())[0]
        except EventRejected as refusal:  # RFC 8785 writes the float 1e16 as an integer, and we take no such integers
            _documented(refusal.reason, {"number_out_of_range"})
        else:
            assert canonical_json(again) == text, "canonical JSON reads back as another event"
        return "accepted"

    def refusal(self, door: Door, refusal: EventRejected, body: bytes) -> None:
        """It has a documented reason, can be answered and can be kept."""
        _documented(refusal.reason, REASONS)
        msgspec.json.encode(of_refusal(refusal).details())
        error_status(JSON, str(refusal), field=refusal.field)
        error_status(PROTOBUF, str(refusal), field=refusal.field)
        assert door.privacy is not None
        msgspec.json.encode(str(door.privacy.scrub_refusal(refusal)))
        self.scrub(door, body)

    def keep(self, kind: Kind, record: Record, number: int) -> None:
        """Remember a row for the landing."""
        row = json.loads(record.row)
        assert row["schema_version"] == 1
        assert b"\n" not in record.row
        self.rows[kind].append((number, record.row))
        if len(self.rows[kind]) >= TOGETHER:
            self.land()

    def land(self) -> None:
        """Write what was accepted as a part of its raw table and hold it against the table's contract."""
        for kind, rows in self.rows.items():
            if rows:
                self._land(kind, rows)
                self.landed += len(rows)
                rows.clear()

    def _land(self, kind: str, rows: list[tuple[int, bytes]]) -> None:
        part = self.folder / f"{kind}.parquet"
        numbered = [(place, row) for place, (_, row) in enumerate(rows, 1)]
        try:
            _write_part(numbered, CONTRACTS[kind], part)
            found = inspect(part, CONTRACTS[kind])
            check_rows([found], CONTRACTS[kind])
            assert found.rows == len(rows)
        except Exception as error:
            if len(rows) == 1:
                error.add_note(f"input {rows[0][0]} was accepted and cannot be landed: {rows[0][1][:2000]!r}")
                raise
            self._land(kind, rows[: len(rows) // 2])
            self._land(kind, rows[len(rows) // 2 :])
            raise

    def batch(self, door: Door, body: bytes, number: int) -> str:
        """A batch taken apart as both media types, then each event."""
        try:
            texts = _elements(body)
        except Problem as problem:
            msgspec.json.encode(problem.details())
            _documented(problem.reason, {"body_not_ours"})
            texts = _lines(body)
        for _, text in texts[:8]:
            self.event(door, _kind(text), text, number)
        return f"of {min(len(texts), 4)}"

    def export(self, door: Door, body: bytes, media_type: str, number: int) -> str:
        """A trace export and the events that it holds."""
        try:
            export = read_export(body, media_type, limits=Limits())
        except EventRejected as refusal:
            self.refusal(door, refusal, body)
            return refusal.reason
        for mapped in export.mapped[:8]:
            self.event(door, mapped.kind, mapped.event, number)
        for misfit in export.misfits:
            misfit.message.encode()
            self.scrub(door, misfit.body)
        return "mapped" if export.mapped else "read"

    def unpack(self, data: bytes) -> str:
        """Both readers of compressed bodies; neither gives more than it may."""
        for coding in ("gzip", "deflate"):
            try:
                assert len(unpacked(data, coding, Limits(body_bytes=LIMIT))) <= LIMIT
            except EventRejected as refusal:
                _documented(refusal.reason, REASONS)
        try:
            assert len(_decompressed(data, LIMIT)) <= LIMIT
        except Problem as problem:
            return _documented(problem.reason, {"gzip_invalid", "body_too_large"})
        return "accepted"

    def token(self, data: bytes) -> str:
        """A feedback token; one that counts says only what a token may say."""
        try:
            found = check({"default": KEY}.get, data.decode("latin-1"), NOW)
        except AccessError as error:
            return _documented(error.reason, {"token_malformed", "token_invalid", "token_expired"})
        assert isinstance(found.request_id, str)
        assert found.user_id is None or 0 < len(found.user_id.encode()) <= 1024
        assert found.types is None or all(isinstance(name, str) for name in found.types)
        return "accepted"

    def scrub(self, door: Door, body: bytes) -> str:
        """A refused body as it would be kept: the same each time."""
        assert door.privacy is not None
        kept = door.privacy.scrub_dead_letter(body)
        assert kept == door.privacy.scrub_dead_letter(body)
        return "kept" if kept == body else "changed"

    @staticmethod
    def signed(head: str, payload: bytes) -> str:
        """A token with any payload, signed with the key."""
        text = f"{head}.{_b64(payload)}"
        return f"{text}.{_mac(KEY, text)}"


def _documented(reason: str, known: Container[str]) -> str:
    assert reason in known, reason
    return reason


def _touch(event: Event) -> Event:
    """Feedback passes the rules of a token too, whatever they say of it."""
    if not isinstance(event, Inference):
        try:
            _restricted(event, TOKEN)
        except EventRejected:
            return event
    return event
