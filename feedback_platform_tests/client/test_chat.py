"""Chat completions: messages and tools whole, streams put together again, the caller's value untouched."""

import asyncio
import functools
import inspect
import random
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.client import last_request_id, wrap_chat
from feedback_platform.client.chat_stream import Assembler

TOOLS = [
    {
        "type": "function",
        "function": {"name": "track", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}},
    }
]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Where is A-1?"}]},
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "track", "arguments": '{"id": "A-1"}'}}
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1", "model": "gpt-x-2026-01-01", "usage": {"prompt_tokens": 9, "completion_tokens": 3},
    "choices": [{"index": 0, "finish_reason": "tool_calls",
                 "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}],
}  # fmt: skip


def as_object(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(inner) for name, inner in value.items()})
    return [as_object(inner) for inner in value] if isinstance(value, list) else value


def logged(client, peer):
    assert client.flush(5)
    assert len(peer.events) == 1
    return peer.events[0]


@pytest.mark.parametrize("answer", [ANSWER, as_object(ANSWER)], ids=["dict", "object"])
def test_messages_tools_parameters_and_answer_are_whole(make, peer, answer):
    client = make()
    ids: list[str] = []

    def create(*, model, messages, tools=None, **parameters):
        assert parameters["extra_headers"]
        return answer

    chat = wrap_chat(client, create, on_logged=ids.append, task="support", session_id="s")
    got = chat(model="gpt-x", messages=MESSAGES, tools=TOOLS, temperature=0.2, tool_choice="auto", user="u-1",
               extra_headers={"Authorization": "Bearer secret"}, timeout=object())  # fmt: skip
    assert got is answer
    event = logged(client, peer)
    assert event["input"] == {"messages": MESSAGES}
    assert event["tools"] == TOOLS
    assert event["parameters"] == {"temperature": 0.2, "tool_choice": "auto"}
    assert event["output"] == ANSWER["choices"][0]["message"]
    assert (event["model"], event["model_version"], event["user_id"]) == ("gpt-x", "gpt-x-2026-01-01", "u-1")
    assert event["system"]["usage"] == ANSWER["usage"]
    assert (event["system"]["finish_reason"], event["system"]["response_id"]) == ("tool_calls", "chatcmpl-1")
    assert event["system"]["latency_ms"] >= 0
    assert (event["task"], event["session_id"]) == ("support", "s")
    assert [event["request_id"]] == ids == [last_request_id()]


def test_several_choices_are_kept_as_items(make, peer):
    client = make()
    choices = [{"index": n, "message": {"role": "assistant", "content": f"c{n}"}} for n in range(3)]
    wrap_chat(client, lambda **_: {"choices": choices}, model="bot", model_version="7")(messages=MESSAGES)
    event = logged(client, peer)
    assert (event["model"], event["model_version"], event["output"]["content"]) == ("bot", "7", "c0")
    assert [(item["item_id"], item["output"]["content"]) for item in event["items"]] == [
        ("0", "c0"),
        ("1", "c1"),
        ("2", "c2"),
    ]


def test_errors_are_logged_and_go_on(make, peer):
    client = make()

    def create(**_):
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        wrap_chat(client, create)(model="m", messages=MESSAGES)
    event = logged(client, peer)
    assert (event["output"], event["system"]["error"], event["model_version"]) == (
        None,
        "ConnectionError: refused",
        "m",
    )


@pytest.mark.parametrize("value", [None, 7, "text", {"error": "quota"}, {"choices": []}, {"choices": [None]}, object()])
def test_another_shape_is_returned_and_logged_without_output(make, peer, value):
    client = make()

    def fail(request_id):
        raise RuntimeError

    assert wrap_chat(client, lambda **_: value, on_logged=fail)(model="m", messages=MESSAGES) is value
    assert logged(client, peer)["output"] is None


def test_async_calls_keep_their_ids_apart(make, peer):
    client = make()

    async def create(*, model, messages):
        await asyncio.sleep(random.random() / 50)
        return {"choices": [{"message": {"role": "assistant", "content": messages[0]["content"]}}]}

    chat = wrap_chat(client, create)
    late = wrap_chat(client, functools.partial(create))  # what a plain callable returns may be awaited, too

    async def one(number):
        text = f"n{number}"
        answer = await (chat if number % 2 else late)(model="m", messages=[{"role": "user", "content": text}])
        assert answer["choices"][0]["message"]["content"] == text
        return last_request_id(), text

    async def app():
        return await asyncio.gather(*(one(number) for number in range(20)))

    assert inspect.iscoroutinefunction(chat)
    told = dict(asyncio.run(app()))
    assert client.flush(5)
    assert {event["request_id"]: event["output"]["content"] for event in peer.events} == told


def chunk(delta, **more):
    return as_object(
        {"id": "c-1", "model": "gpt-x-1", "choices": [{"index": 0, "delta": delta, "finish_reason": None, **more}]}
    )


CHUNKS = [
    chunk({"role": "assistant", "content": "Let "}),
    chunk({"content": "me look."}),
    chunk(
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "track", "arguments": ""}}
            ]
        }
    ),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"id": '}}]}),
    chunk(
        {
            "tool_calls": [
                {"index": 1, "id": "call_2", "type": "function", "function": {"name": "eta", "arguments": "{}"}}
            ]
        }
    ),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"A-1"}'}}]}),
    chunk({}, finish_reason="tool_calls"),
    as_object({"id": "c-1", "model": "gpt-x-1", "choices": [], "usage": {"total_tokens": 12}}),
]
WHOLE = {
    "role": "assistant", "content": "Let me look.",
    "tool_calls": [CALL, {"id": "call_2", "type": "function", "function": {"name": "eta", "arguments": "{}"}}],
}  # fmt: skip


class Stream:
    """As vendors have it: iterable both ways, closable, with attributes of its own."""

    response = "the raw response"

    def __init__(self, chunks, error=None):
        self.chunks, self.error, self.closed = iter(chunks), error, False

    def __iter__(self):
        yield from self.chunks
        if self.error:
            raise self.error

    def close(self):
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class AsyncStream:
    def __init__(self, chunks):
        self.chunks, self.closed = iter(chunks), False

    async def __aiter__(self):
        for piece in self.chunks:
            await asyncio.sleep(0)
            yield piece

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.closed = True


def test_a_stream_passes_untouched_and_is_logged_whole(make, peer):
    client = make()
    stream = wrap_chat(client, lambda **_: Stream(CHUNKS))(model="gpt-x", messages=MESSAGES, tools=TOOLS, stream=True)
    assert stream.response == "the raw response"
    assert all(got is sent for got, sent in zip(stream, CHUNKS, strict=True))
    event = logged(client, peer)
    assert event["output"] == WHOLE
    assert (event["model_version"], event["tools"], event["parameters"]) == ("gpt-x-1", TOOLS, {"stream": True})
    assert (event["system"]["usage"], event["system"]["finish_reason"]) == ({"total_tokens": 12}, "tool_calls")
    assert event["system"]["first_chunk_ms"] <= event["system"]["latency_ms"]


def test_a_stream_left_early_is_logged_with_what_came(make, peer):
    client = make()
    inner = Stream(CHUNKS)
    create: Any = wrap_chat(client, lambda **_: inner)
    with create(model="m", messages=MESSAGES) as stream:
        next(stream)
    assert inner.closed
    event = logged(client, peer)
    assert (event["output"], event["system"]["stream"]) == ({"role": "assistant", "content": "Let "}, "closed_early")


def test_a_stream_that_is_forgotten_is_logged(make, peer):
    client = make()
    create: Any = wrap_chat(client, lambda **_: Stream(CHUNKS))
    stream = create(model="m", messages=MESSAGES)
    next(stream)
    del stream
    assert logged(client, peer)["output"]["content"] == "Let "


def test_a_stream_that_breaks_is_logged_with_its_error(make, peer):
    client = make()
    stream = wrap_chat(client, lambda **_: Stream(CHUNKS[:2], ConnectionError("cut")))(model="m", messages=MESSAGES)
    with pytest.raises(ConnectionError, match="cut"):
        list(stream)
    event = logged(client, peer)
    assert (event["output"]["content"], event["system"]["error"]) == ("Let me look.", "ConnectionError: cut")


def test_an_async_stream_is_logged_whole(make, peer):
    client = make()

    async def create(**_):
        return AsyncStream(CHUNKS)

    async def app():
        stream = await wrap_chat(client, create)(model="gpt-x", messages=MESSAGES, stream=True)
        async with stream:
            return [piece async for piece in stream]

    got = asyncio.run(app())
    assert all(piece is sent for piece, sent in zip(got, CHUNKS, strict=True))
    event = logged(client, peer)
    assert event["output"] == WHOLE
    assert "stream" not in event["system"]


@given(st.text(max_size=40), st.lists(st.tuples(st.text(min_size=1), st.text(max_size=30)), max_size=3), st.randoms())
def test_however_a_message_is_cut_into_chunks_it_is_put_together_again(content, calls, dice):
    def cut(text):
        places = sorted(dice.randrange(len(text) + 1) for _ in range(dice.randrange(4)))
        return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]

    deltas = [{"role": "assistant", "content": ""}] + [{"content": piece} for piece in cut(content)]
    for index, (name, arguments) in enumerate(calls):
        deltas.append(
            {"tool_calls": [{"index": index, "id": f"c{index}", "type": "function", "function": {"name": name}}]}
        )
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in cut(arguments)]
    parts = Assembler()
    for delta in deltas:
        parts.take({"choices": [{"index": 0, "delta": delta}]})
    message = parts.response()["choices"][0]["message"]
    assert message["content"] == content
    made = [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", [])
    ]
    assert made == [(f"c{index}", name, arguments) for index, (name, arguments) in enumerate(calls)]


def test_threads_keep_their_ids_apart(make, peer):
    client = make()
    chat = wrap_chat(client, lambda **asked: {"choices": [{"message": {"content": asked["messages"]}}]})
    told = {}

    def work(number):
        chat(model="m", messages=[f"n{number}"])
        told[last_request_id()] = [f"n{number}"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(5)
    assert {event["request_id"]: event["output"]["content"] for event in peer.events} == told
