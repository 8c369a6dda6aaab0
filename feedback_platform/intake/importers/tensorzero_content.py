"""TensorZero's content blocks in the shapes of the wire contract: chat messages, plain answers, JSON outputs. Pure.

Blocks are those of `tensorzero/tensorzero: docs/gateway/api-reference/inference` and, as stored, of
`StoredInputMessageContent`: `text` (with `text`, or `value`/`arguments` of a template), `template`, `tool_call`,
`tool_result`, `raw_text`, `thought`, `file`, `unknown`. Blocks without a place in a chat message stay as they are.
"""

from feedback_platform.contracts.canonical import NotCanonical, canonical_json
from feedback_platform.intake.importers.values import JsonObject, NotMapped, items, json_in, mapping, present, text


def chat(system: object, messages: object) -> tuple[JsonObject, JsonObject]:
    """An input as a chat whose first message is the system's, and the template variables that stood in it.

    A template's variables are told as their JSON text, since the template itself is in no table.

    Raises:
        NotMapped: there are no messages.
    """
    said: list[JsonObject] = []
    variables: JsonObject = {}
    if system not in (None, "", {}, []):
        said.append({"role": "system", "content": _told(system)})
        if not isinstance(system, str):
            variables["system"] = system
    for turn in items(json_in(messages)):
        role = text(mapping(turn).get("role"))
        if role is None:
            raise NotMapped("a message has no `role`.")
        blocks = mapping(turn).get("content")
        said += _turn(role, blocks)
        for block in items(blocks):
            if (found := _arguments(mapping(block))) is not None:
                variables[role] = found
    if not any(message["role"] != "system" for message in said):
        raise NotMapped("`input` has no messages. Export the column whole.")
    return {"messages": said}, variables


def output(value: object) -> object:
    """An output or demonstration: a chat function's blocks, a JSON function's `{raw, parsed}`, or a bare value.

    Raises:
        NotMapped: it is empty.
    """
    value = json_in(value)
    if isinstance(value, list):
        turn = _turn("assistant", value)
        if not turn:
            raise NotMapped("`output` is empty. Was the answer still streaming when it was exported?")
        if len(turn) > 1:
            return {"messages": turn}
        alone = set(turn[0]) == {"role", "content"} and isinstance(turn[0]["content"], str)
        return turn[0]["content"] if alone else turn[0]
    if isinstance(value, dict) and "raw" in value and set(value) <= {"raw", "parsed"}:
        value = value["raw"] if value.get("parsed") is None else value["parsed"]
    if value is None or value == "":
        raise NotMapped("`output` is empty. Was the answer still streaming when it was exported?")
    return value


def tools(row: JsonObject) -> tuple[list[JsonObject], JsonObject]:
    """Tool definitions of a row, in the columns of today or the legacy `tool_params`, and the parameters beside them."""
    legacy = mapping(json_in(row.get("tool_params")))
    stated = [*items(json_in(row.get("dynamic_tools"))), *items(json_in(row.get("dynamic_provider_tools")))]
    stated = stated or items(legacy.get("tools_available"))
    defined = [tool for tool in map(json_in, stated) if isinstance(tool, dict)]
    names = ("allowed_tools", "tool_choice", "parallel_tool_calls")
    beside = {name: json_in(row.get(name)) for name in names} | {n: legacy[n] for n in names[1:] if n in legacy}
    return defined, {name: value for name, value in beside.items() if value not in (None, "")}


def _turn(role: str, blocks: object) -> list[JsonObject]:
    """One stored message as chat messages: tool results become messages of their own, as OpenAI has them."""
    parts: list[object] = []
    calls: list[object] = []
    results: list[JsonObject] = []
    for block in [blocks] if isinstance(blocks, str) else items(blocks):
        if isinstance(block, dict) and block.get("type") == "tool_call":
            calls.append(_call(block))
        elif isinstance(block, dict) and block.get("type") == "tool_result":
            name = {"name": block.get("name")}
            said: JsonObject = {"role": "tool", "tool_call_id": block.get("id"), "content": block.get("result")}
            results.append(present(said | name))
        else:
            parts.append(_part(block))
    message = {"role": role, **_content(parts)}
    if calls:
        message |= {"content": message.get("content"), "tool_calls": calls}
    return results + ([message] if parts or calls else [])


def _content(parts: list[object]) -> JsonObject:
    if len(parts) == 1 and isinstance(parts[0], str):
        return {"content": parts[0]}
    listed = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"content": listed} if listed else {}


def _part(block: object) -> object:
    """The text of a block that is only text or a template's variables; any other block whole."""
    if not isinstance(block, dict):
        return block
    kind = block.get("type")
    if kind in ("text", "raw_text") and (said := block.get("text", block.get("value"))) is not None:
        return _told(said)
    arguments = _arguments(block)
    return block if arguments is None else _told(arguments)


def _arguments(block: JsonObject) -> object | None:
    if block.get("type") == "template":
        return block.get("arguments", {})
    if block.get("type") == "text":
        value = block.get("arguments", block.get("value"))
        return None if isinstance(value, str) else value
    return None


def _call(block: JsonObject) -> JsonObject:
    name = block.get("name") or block.get("raw_name")
    arguments = block.get("raw_arguments") or block.get("arguments") or "{}"
    return {"id": block.get("id"), "type": "function", "function": {"name": name, "arguments": _told(arguments)}}


def _told(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return canonical_json(value)
    except NotCanonical as error:
        raise NotMapped(f"a value has no canonical JSON: {error}") from None
