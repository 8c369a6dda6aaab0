"""The API's description of itself: complete, valid, true to the contract; its page is whole without anything from elsewhere."""

import asyncio
import copy
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from feedback_platform.api import openapi_examples as examples
from feedback_platform.api import openapi_fields as fields
from feedback_platform.api.app import FOR_PAGES, ROUTES
from feedback_platform.api.datasets import Version
from feedback_platform.api.openapi import document
from feedback_platform.api.openapi_schemas import docstring_notes
from feedback_platform.api.problems import API_REASONS
from feedback_platform.api.server import Server
from feedback_platform.compile.manifest import summary
from feedback_platform.contracts.events import REASONS, parse_event, parse_feedback, parse_inference
from feedback_platform.errors import EventRejected
from feedback_platform.intake.otlp.mapping import read_export
from feedback_platform.settings import Settings
from feedback_platform_tests.api.asgi import ask
from feedback_platform_tests.api.serving import Answer

SCHEMAS = document()["components"]["schemas"]
OPERATIONS = [(p, m, o) for p, methods in document()["paths"].items() for m, o in methods.items()]
NAMED = pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=[o["operationId"] for *_, o in OPERATIONS]
)
EVENTS = [("inference", e["value"]) for e in examples.INFERENCES.values()] + [
    ("feedback", e["value"]) for e in examples.FEEDBACK.values()
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.sampled_from(["thumbs", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "up", "id", "score", ""]), inner),
    max_leaves=5,
)  # fmt: skip


def get(tmp_path, url: str, **headers: str) -> Answer:
    async def asked() -> Answer:
        server = Server(Settings(home=tmp_path), dev=True)
        try:
            return await ask(server, url, headers={name.replace("_", "-"): value for name, value in headers.items()})
        finally:
            await server.stop()

    return asyncio.run(asked())


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


def walked(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walked(inner)


def test_every_route_is_described_and_nothing_else():
    described = {(path, method.upper()) for path, method, _ in OPERATIONS}
    routes = {(path, method) for path, methods in ROUTES.items() for method in methods}
    assert described == routes | {(path, "OPTIONS") for path in FOR_PAGES}


def test_the_document_is_openapi_3_1_and_its_schemas_are_json_schema():
    OPENAPI_31_VALIDATOR.validate(json.loads(json.dumps(document())))
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_reference_leads_somewhere():
    for part in walked(document()):
        if "$ref" in part:
            found: Any = document()
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]


def test_regular_expressions_are_those_of_json_schema():
    patterns = {part["pattern"] for part in walked(document()) if isinstance(part.get("pattern"), str)}
    assert "^[A-Za-z0-9_.:\\-]{1,128}$" in patterns
    assert all(p.startswith("^") and p.endswith("$") and r"\A" not in p and r"\Z" not in p for p in patterns)


@NAMED
def test_an_operation_says_what_it_is_for_and_how_it_refuses(path, method, operation):
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"][0] in {tag["name"] for tag in document()["tags"]}
    answers = operation["responses"]
    assert {"405", "500"} <= set(answers)
    assert ({"401", "403", "503"} <= set(answers)) == bool(operation["security"])
    assert ({"400", "408", "413", "415"} <= set(answers)) == ("requestBody" in operation)
    assert {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"} == set(re.findall("{(.*?)}", path))


@NAMED
def test_refusals_are_problems_with_their_headers(path, method, operation):
    headers = {
        "401": "WWW-Authenticate",
        "405": "Allow",
        "416": "Content-Range",
        "429": "Retry-After",
        "503": "Retry-After",
    }
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            answer = document()["components"]["responses"][answer["$ref"].rsplit("/", 1)[-1]]
        if status >= "400":
            otlp = path == "/v1/traces" and status not in ("405", "500")
            expected = {"application/json", "application/x-protobuf"} if otlp else {"application/problem+json"}
            assert set(answer["content"]) == expected
        if status in headers:
            assert headers[status] in answer["headers"]


def test_every_example_is_taken_by_the_contract():
    for example in examples.INFERENCES.values():
        parse_inference(example["value"])
    kinds = [parse_feedback(example["value"]).feedback_type for example in examples.FEEDBACK.values()]
    assert kinds == list(examples.FEEDBACK), "an example of each kind, under its name"
    assert set(kinds) == set(SCHEMAS["Feedback"]["discriminator"]["mapping"])
    batch = [parse_event("feedback" if "feedback_type" in event else "inference", event) for event in examples.BATCH]
    assert len(batch) == 2
    export = read_export(json.dumps(examples.TRACES).encode(), "application/json")
    assert [(m.kind, m.event["output"]) for m in export.mapped] == [("inference", "It is on its way.")]
    assert export.misfits == ()
    parse_inference(export.mapped[0].event)


def test_every_example_fits_its_schema():
    found = 0
    for *_, operation in OPERATIONS:
        for part in [operation.get("requestBody", {}), *operation["responses"].values()]:
            for media in part.get("content", {}).values():
                given = [e["value"] for e in media.get("examples", {}).values()]
                given += [media["example"]] if "example" in media else []
                schema = {**media["schema"], "components": document()["components"]}
                for example in given:
                    jsonschema_rs.Draft202012Validator(schema).validate(example)
                    found += 1
    assert found >= 20


@given(st.data())
def test_what_the_contract_takes_the_schema_allows(data):
    """One field of an example is dropped or becomes any JSON; what the schema refuses, the contract refuses too."""
    kind, event = data.draw(st.sampled_from(EVENTS))
    changed = copy.deepcopy(event)
    name = data.draw(st.sampled_from([*SCHEMAS["Inference"]["properties"], *SCHEMAS["Thumbs"]["properties"], "other"]))
    if data.draw(st.booleans()):
        changed.pop(name, None)
    else:
        changed[name] = data.draw(ANY_JSON)
    if not validator("Inference" if kind == "inference" else "Feedback").is_valid(changed):
        with pytest.raises(EventRejected):
            parse_event(kind, changed)


@pytest.mark.parametrize(
    ("field", "value"), [("request_id", "a b"), ("timestamp", 5), ("model", ""), ("input", None), ("x", 1)]
)
def test_the_schema_refuses_what_the_contract_refuses_of_one_field(field, value):
    event = {**examples.CHAT, field: value}
    assert not validator("Inference").is_valid(event)
    with pytest.raises(EventRejected):
        parse_inference(event)


def test_every_field_is_explained_and_every_explanation_has_a_field():
    silent = [
        (n, f)
        for n, s in SCHEMAS.items()
        for f, inner in s.get("properties", {}).items()
        if not inner.get("description")
    ]
    assert silent == []
    feedback = {
        f for n in SCHEMAS for f in SCHEMAS[n].get("properties", {}) if "feedback_type" in SCHEMAS[n]["properties"]
    }
    known = {"Inference": fields.INFERENCE, **fields.OTHERS}
    assert [(n, f) for n, notes in known.items() for f in notes if f not in SCHEMAS[n]["properties"]] == []
    assert set(fields.FEEDBACK) <= feedback
    assert "inference_request_id" in SCHEMAS["Inference"]["properties"]["request_id"]["description"]


def test_notes_are_read_from_docstrings():
    class Thing:
        """A thing.

        Attributes:
            one, two: both of them,
                on two lines.
            three: the last.
        """

    both = "Both of them, on two lines."
    assert docstring_notes(Thing) == {"one": both, "two": both, "three": "The last."}


def test_the_versions_told_are_those_of_the_manifests(tmp_path):
    from feedback_platform_tests.publish.builders import Book, sft

    assert set(Version.__struct_fields__) == set(summary(Book(tmp_path).publish([sft("a")])))


def test_the_document_is_served_once_to_who_has_it(tmp_path):
    first = get(tmp_path, "/openapi.json")
    assert (first.status, first.headers["content-type"]) == (200, "application/json")
    assert first.json == json.loads(json.dumps(document()))
    again = get(tmp_path, "/openapi.json", if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert get(tmp_path, "/openapi.json", if_none_match='"another"').status == 200


class Page(HTMLParser):
    """Tags with their attributes, and the ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.ids = {a["id"] for _, a in self.tags if "id" in a}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_shows_every_operation_schema_and_reason(tmp_path):
    text = get(tmp_path, "/docs").body.decode()
    page = Page(text)
    assert {o["operationId"] for *_, o in OPERATIONS} <= page.ids
    assert {f"schema-{name}" for name in SCHEMAS} <= page.ids
    assert all(f"<code>{reason}</code>" in text for reason in {**REASONS, **API_REASONS})
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    assert {link for link in links if link and link.startswith("#") and link[1:] not in page.ids} == set()


def test_the_page_needs_nothing_from_elsewhere_and_runs_only_its_own_script(tmp_path):
    first, second = get(tmp_path, "/docs"), get(tmp_path, "/docs")
    nonces = []
    for answer in (first, second):
        page = Page(answer.body.decode())
        policy = answer.headers["content-security-policy"]
        [nonce] = set(re.findall(r"'nonce-([\w-]+)'", policy))
        assert {a.get("nonce") for tag, a in page.tags if tag in ("script", "style")} == {nonce}
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not [
            t for t in page.tags if t[0] in ("link", "img", "iframe", "object") or "src" in t[1] or "style" in t[1]
        ]
        assert not [name for _, a in page.tags for name in a if name.startswith("on")]
        assert not [a["href"] for _, a in page.tags if not (a.get("href") or "/").startswith(("#", "/"))]
        nonces.append(nonce)
    assert nonces[0] != nonces[1]
    assert len(nonces[0]) >= 20
    assert first.headers["cache-control"] == "no-store"


def test_the_page_escapes_what_the_document_says():
    from feedback_platform.api.docs_page import docs_html

    hostile = json.loads(json.dumps(document()).replace("Send one answered request", "</script><img src=x onerror=y>"))
    page = Page(docs_html(hostile, {"<b>": "<i>"}))
    assert not [tag for tag, _ in page.tags if tag in ("img", "i")]
