"""Inputs for the decoders by the hundred thousand: `python -m feedback_platform_tests.contracts.fuzzing FIRST COUNT SEED`.

Input number n of a seed is always the same one: `... fuzzing n 1 SEED` repeats it alone. It is a good event or export,
or token, changed a little: a value put in another's place, an extreme number, half a surrogate pair, a key named twice,
deep nesting; then perhaps bits flipped and pieces cut, doubled or moved. The targets stand in `fuzz_targets`.
"""

import base64
import faulthandler
import gzip
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from feedback_platform.intake.guards.tokens import issue
from feedback_platform_tests.contracts.fuzz_targets import ENDLESS, ENDLESS_LIFE, KEY, Targets
from feedback_platform_tests.contracts.test_events import FULL, INFERENCE
from feedback_platform_tests.intake.otlp.exports import CHAT, as_protobuf, evaluation, json_export, span

HANG_SECONDS = 60
MAX_SIZE = 200_000
RAW = ("1e400", "-1e400", "NaN", "Infinity", "-Infinity", "-0", "-0.0", "1E5", "5e-324", "1e-400", "9007199254740991",
       "9007199254740992", "-9007199254740993", "123456789012345678901234567890", "01", "1.", "+1", "0x10", "1_0",
       "0.1000000000000000055511151231257827", "1.7976931348623157e308", "2.5e-1", "true", "nul", '"\\ud83d"', '"\\u0000"',
       '"\\u0022"', '"a\\\\"', "[[[[[[[[1]]]]]]]]", '{"a":1,"a":2}', "18446744073709551615", "9223372036854775808")  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -0.0, 1e300, 1e-7, 2**53, -(2**63), 2**64, "", " ", "x" * 300, "\x00", "\ud800",
    "\udfff\ud800", "é", "e\u0301", "\u202e", "ﬁ", "𝒳", "\u2028", "İ", "ß", [], {}, [[]], {"": ""}, {"role": "user"},
    [None], ["a", 1, {}], {str(n): "x" for n in range(70)},
    {"messages": []}, {"messages": [{"role": "user", "content": None}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
    {"messages": "x"}, {"messages": [1, {"content": {}}]}, {"é": 1, "z": 2, "\U0001f600": 3}, {"a.b": {"[0]": 1}},
    "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "9999-12-31T23:59:60Z",
    "2026-02-30T00:00:00Z", "1969-12-31t23:59:59.9999999z", "2026-01-01T24:00:00Z", "2026-01-01 00:00:00+00:00",
    "r-1", "someone@example.org", "+49 170 1234567", "4111 1111 1111 1111", "human", "model", "thumbs", "retraction",
)  # fmt: skip
BYTES = (
    b"\x00", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b'"', b"\\", b"\\u0022",
    b"\\ud800", b"{", b"}", b"[" * 70, b'{"a":' * 70, b"]" * 70, b"\n", b"\r\n", b"\x85", b"\x0b", b",", b"\x1f\x8b\x08",
    b'"feedback_type":"thumbs",', b'"request_id":"r",', b'"inference_request_id":"q",', b"[" * 5_000, b"1" * 400,
)  # fmt: skip
SPAN_KEYS = (
    *CHAT, "session.id", "user.id", "metadata", "gen_ai.request.seed", "gen_ai.usage.input_tokens", "gen_ai.prompt.0.content",
    "openinference.span.kind", "llm.input_messages.0.message.content", "llm.tools.0.tool.json_schema", "input.value",
    "output.value",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.name", "gen_ai.completion.0.role", "llm.prompts.0", "tag.tags",
)  # fmt: skip

FEEDBACK: tuple[dict[str, Any], ...] = tuple(
    {"feedback_type": kind, "feedback_value": value, "request_id": "r-1", **more}
    for kind, value, more in (
        ("thumbs", {"up": False}, {"feedback_id": "f-1", "source": {"kind": "human", "id": "u@example.org", "client": "app 3"}}),
        ("rating", {"score": 71, "min": 0, "max": 100}, {"timestamp": "2026-01-01T05:30:00.123456+05:30", "name": "helpful"}),
        ("label", {"label": "cat"}, {"segments": {"region": "eu"}, "model_version": "2"}),
        ("explicit_correction", {"output": {"role": "assistant", "content": "x"}}, {"explanation": "call +49 170 1234567"}),
        ("preference_pair", {"chosen": {"request_id": "r-1"}, "rejected": {"output": "x"}, "tie": True}, {"user_id": "u"}),
        ("ranking", {"order": [{"item_id": "a"}, {"item_id": "b"}, {"request_id": "r-2"}]}, {"session_id": "s"}),
        ("implicit", {"signal": "dwell_seconds", "value": 3.5}, {"metadata": {"a": [1, {"b": None}]}}),
        ("outcome", {"name": "conversion", "value": True}, {"source": {"kind": "code"}}),
        ("comment", {"text": "nice"}, {"feedback_id": "2f1a6f5e-9d1c-4c3e-8f55-6c1a6a6cbb01"}),
        ("adjudication", {"verdict": "invalid", "feedback_id": "f", "label": "x", "output": 1}, {}),
        ("retraction", {"feedback_id": "f-1"}, {}),
    )
) + (
    {"feedback_type": "thumbs", "feedback_value": {"up": True}, "target": {"session_id": "s"}},
    {"feedback_type": "outcome", "feedback_value": {"name": "chargeback", "value": 12.5}, "target": {"keys": {"order": "7"}}},
    {"feedback_type": "label", "feedback_value": {"label": "x"}, "target": {"request_id": "r", "item_id": "i"}},
)  # fmt: skip
INFERENCES: tuple[dict[str, Any], ...] = (
    FULL,
    INFERENCE,
    INFERENCE | {"input": {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]}},
    INFERENCE | {"input": {"age": 39, "income": 1e4, "city": None}, "output": 0.25, "confidence": 1},
    INFERENCE | {"output": {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}},
)

Draw = random.Random


# --- changing what is good --------------------------------------------------------------------------------------------


def changed(event: Any, draw: Draw) -> Any:
    """A copy of a JSON value with up to four changes somewhere in it."""
    event = deepcopy(event)
    for _ in range(draw.choice((0, 1, 1, 1, 1, 2, 4))):
        holder, key = place(event, draw)
        if holder is None:
            continue
        match draw.randrange(14):
            case 0:
                holder[key] = deepcopy(draw.choice(VALUES))
            case 1:
                holder[key] = f"@@{draw.choice(RAW)}@@"
            case 2:
                del holder[key]
            case 3:
                other, name = place(event, draw)
                with suppress(RecursionError):
                    holder[key] = deepcopy(other[name])
            case 4:
                holder[key] = nested(holder[key], draw)
            case 5 | 6:
                grow(holder, key, draw)
            case _:
                alike = [value for value in VALUES if type(value) is type(holder[key])]
                holder[key] = deepcopy(draw.choice(alike or VALUES))
    return event


def grow(holder: Any, key: Any, draw: Draw) -> None:
    """Name one thing twice, or something that has no place here."""
    if isinstance(holder, list):
        holder.append(deepcopy(holder[key]))
    elif draw.random() < 0.5:
        holder.setdefault("target", {"request_id": "r-1"})
    else:
        names = (f"{key}x", key.upper(), "metadata", "target", "source", "", "\ud800", "é")
        holder[draw.choice(names)] = holder.pop(key)


def place(value: Any, draw: Draw) -> tuple[Any, Any]:
    """Some dict or list inside a value, and one of its keys; (None, None) when there is none."""
    holder, key = None, None
    while isinstance(value, dict | list) and value:
        holder, key = value, draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
        if draw.random() < 0.4:
            break
        value = value[key]
    return holder, key


def nested(value: Any, draw: Draw) -> Any:
    """The value inside lists or objects, often at the limit of what is allowed."""
    for _ in range(draw.choice((1, 1, 2, 30, 60, 62, 63, 64, 65))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def text_of(value: Any, draw: Draw) -> bytes:
    """JSON, with the raw words that no encoder would write put in."""
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5, allow_nan=True)
    while (start := text.find('"@@')) >= 0 and (end := text.find('@@"', start + 3)) >= 0:
        text = text[:start] + json.loads(text[start : end + 3])[2:-2] + text[end + 3 :]
    return text.encode(errors="surrogatepass")


def damaged(data: bytes, draw: Draw) -> bytes:
    """Mostly as it is; else bits flipped, pieces cut, doubled, moved or put in."""
    for _ in range(draw.choice((0, 0, 0, 0, 0, 0, 0, 1, 1, 5))):
        at, to = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
        match draw.randrange(7):
            case 0 if data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[to:]
            case 2:
                data = data[:at] + data[at:to] * 2 + data[to:]
            case 3:
                data = data[:at]
            case 4:
                data = data[at:to] + data[:at] + data[to:]
            case _:
                data = data[:at] + draw.choice(BYTES) + data[at:]
    return data[:MAX_SIZE]


# --- what each target is fed ------------------------------------------------------------------------------------------


def inference_text(draw: Draw) -> bytes:
    return damaged(text_of(changed(draw.choice(INFERENCES), draw), draw), draw)


def feedback_text(draw: Draw) -> bytes:
    return damaged(text_of(changed(draw.choice(FEEDBACK), draw), draw), draw)


def batch(draw: Draw) -> bytes:
    texts = [draw.choice((inference_text, feedback_text))(draw) for _ in range(draw.randrange(4))]
    joined = b"[" + b",".join(texts) + b"]" if draw.random() < 0.5 else draw.choice((b"\n", b"\r\n", b"\r")).join(texts)
    return damaged(joined, draw)


def attributes(draw: Draw) -> dict[str, Any]:
    """Attributes of a span; integers fit, because protobuf has no others."""
    found: dict[str, Any] = changed(CHAT, draw)
    for _ in range(draw.randrange(3)):
        found[draw.choice(SPAN_KEYS)] = deepcopy(draw.choice(VALUES))
    if draw.random() < 0.3:
        found[draw.choice(tuple(CHAT))] = text_of(
            changed([{"role": "user", "parts": [{"type": "text", "content": "x"}]}], draw), draw
        ).decode(errors="replace")
    return found


def export_json(draw: Draw) -> bytes:
    judged = [evaluation(name="helpful", score__value=0.5)] if draw.random() < 0.3 else []
    return damaged(text_of(changed(json_export(span(attributes(draw), events=judged)), draw), draw), draw)


def export_protobuf(draw: Draw) -> bytes:
    judged = [evaluation(name="helpful", score__label="good")] if draw.random() < 0.3 else []
    try:
        made = as_protobuf(span(attributes(draw), events=judged))
    except (ValueError, TypeError, AttributeError, DecodeError):  # protobuf itself has no such value
        made = as_protobuf(span(events=judged))
    return damaged(made, draw)


def compressed(draw: Draw) -> bytes:
    plain = draw.choice((inference_text, feedback_text, lambda _: bytes(ENDLESS)))(draw)
    data = gzip.compress(plain, draw.choice((0, 1)), mtime=0)
    return damaged(data * draw.choice((1, 1, 2)), draw)


def token_text(draw: Draw) -> bytes:
    """A token; half of them with a changed payload that is signed all the same."""
    good = issue(KEY, "default", "r-1", ENDLESS_LIFE, user_id="u", types=["thumbs"] if draw.random() < 0.5 else None)
    if draw.random() < 0.5:
        head, payload, _ = good.split(".")
        body = json.loads(base64.urlsafe_b64decode(payload + "=="))
        text = text_of(changed(body, draw), draw)
        return Targets.signed(head, text).encode()
    return damaged(good.encode(), draw)


KINDS: tuple[tuple[str, Callable[[Draw], bytes], int], ...] = (
    ("inference", inference_text, 24), ("feedback", feedback_text, 24), ("batch", batch, 8), ("export_json", export_json, 10),
    ("export_protobuf", export_protobuf, 10), ("gzip", compressed, 6), ("token", token_text, 8), ("scrub", feedback_text, 10),
)  # fmt: skip
NAMES = [name for name, _, weight in KINDS for _ in range(weight)]
MAKERS = {name: maker for name, maker, _ in KINDS}


def made(number: int, seed: int) -> tuple[str, bytes]:
    """Input `number` of a seed: its target and its bytes."""
    draw = Draw(seed * 2**40 + number)
    name = draw.choice(NAMES)
    try:
        return name, MAKERS[name](draw)
    except RecursionError:  # nested deeper than Python can write
        return name, b"[" * 2_000


def main(first: int, count: int, seed: int) -> None:
    """Feed inputs; ends with the first that raises or hangs, and says which it was."""
    counts: Counter[str] = Counter()
    slowest = (0.0, -1)
    with TemporaryDirectory() as folder:
        targets = Targets(Path(folder))
        for number in range(first, first + count):
            if number % 200 == 0 or count == 1:
                faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            name, data = made(number, seed)
            began = time.perf_counter()
            try:
                counts[f"{name} {targets.feed(name, data, number)}"] += 1
            except Exception as error:
                error.add_note(f"input {number} of seed {seed}, target {name}: {data[:2000]!r}")
                raise
            slowest = max(slowest, (time.perf_counter() - began, number))
        targets.land()
    faulthandler.cancel_dump_traceback_later()
    sys.stdout.write(json.dumps({"counts": counts, "slowest": slowest, "landed": targets.landed}) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
