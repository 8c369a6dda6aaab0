"""The documentation page: the API's document as HTML that works offline. Knows OpenAPI, nothing of the endpoints."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

NONCE = "@@nonce@@"  # stands where each answer puts its own

Part = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A row of a table of fields or parameters; `link` is the schema that its type is made of."""

    name: str
    type: str
    link: str | None
    required: bool
    note: Markup
    example: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The fields of a schema; of one that has several forms those that all share, and the rest of each form."""

    name: str
    note: Markup
    fields: tuple[Field, ...]
    forms: tuple["Form", ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a schema: the value that tells it, what it is, and its own fields."""

    tag: str
    note: Markup
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """A body that can be sent: its media type and examples, as (caption, text)."""

    media_type: str
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A status: what it means, its headers, media types and schema."""

    status: str
    note: Markup
    headers: tuple[str, ...]
    media_types: tuple[str, ...]
    schema: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """An operation as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    note: Markup
    who: tuple[str, ...]
    parameters: tuple[Field, ...]
    bodies: tuple[Body, ...]
    tables: tuple[Table, ...]
    answers: tuple[Answer, ...]


def docs_html(document: Part, reasons: Mapping[str, str]) -> str:
    """The page, with `NONCE` in place of the nonce.

    Args:
        document: OpenAPI 3.1.
        reasons: reason code -> its meaning.
    """
    reader = _Reader(document)
    loader = PackageLoader("feedback_platform.api")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["prose"] = prose
    return environment.get_template("docs.html.j2").render(
        nonce=NONCE,
        info=document["info"],
        tags=[
            (tag, sorted(reader.operations(tag["name"]), key=lambda shown: shown.method == "OPTIONS"))
            for tag in document["tags"]
        ],
        schemas=[reader.table(name) for name in document["components"]["schemas"]],
        reasons=reasons,
    )


def prose(text: str) -> Markup:
    """Text with `code`, **strong** and paragraphs as HTML; everything else is escaped."""
    safe = str(escape(text.strip()))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    safe = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
    return Markup("".join(f"<p>{part}</p>" for part in safe.split("\n\n")))


def _inline(text: str) -> Markup:
    """As `prose`, in one paragraph without its tags."""
    return Markup(str(prose(text.replace("\n\n", " "))).removeprefix("<p>").removesuffix("</p>"))


class _Reader:
    """Reads a document: follows its references and puts its types into words."""

    def __init__(self, document: Part) -> None:
        self._document = document
        self._schemas: Part = document["components"]["schemas"]

    def operations(self, tag: str) -> Iterator[Shown]:
        """The operations of a tag, in the document's order."""
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                if tag in operation["tags"]:
                    yield self._operation(path, method, operation)

    def table(self, name: str) -> Table:
        """The fields of a schema."""
        schema = self._schemas[name]
        note = _inline(schema.get("description", ""))
        if "oneOf" not in schema:
            return Table(name, note, tuple(self._fields(schema)))
        variants = [self._schemas[_target(form)] for form in schema["oneOf"]]
        first, *others = (variant["properties"] for variant in variants)
        shared = [field for field in first if all(other.get(field) == first[field] for other in others)]
        tag = schema["discriminator"]["propertyName"]
        fields = [row for row in self._fields(variants[0]) if row.name in shared]
        forms = [
            Form(
                variant["properties"][tag]["const"],
                _inline(variant["description"]),
                tuple(self._opened(row) for row in self._fields(variant) if row.name not in (*shared, tag)),
            )
            for variant in variants
        ]
        return Table(name, note, tuple(fields), tuple(forms))

    def _fields(self, schema: Part) -> Iterator[Field]:
        required = schema.get("required", ())
        properties = schema.get("properties", {}).items()
        for name, inner in sorted(properties, key=lambda item: item[0] not in required):
            words, link = self._type(inner)
            yield Field(name, words, link, name in required, _inline(_note(inner)))

    def _opened(self, field: Field) -> Field:
        """A field with the names of its own fields in place of its type's name."""
        if field.link is None:
            return field
        inner = self._schemas[field.link]
        names = (name + "?" * (name not in inner["required"]) for name in inner["properties"])
        return replace(field, type=f"{{{', '.join(names)}}}")

    def _operation(self, path: str, method: str, operation: Part) -> Shown:
        content = operation.get("requestBody", {}).get("content", {})
        bodies = [Body(kind, tuple(_examples(media))) for kind, media in content.items()]
        names = [_target(media["schema"]) for media in content.values() if "$ref" in media["schema"]]
        return Shown(
            operation["operationId"], method.upper(), path, operation["summary"], prose(operation["description"]),
            tuple(_who(operation["security"])),
            tuple(self._parameter(p) for p in operation.get("parameters", ())),
            tuple(body for body in bodies if body.examples),
            tuple(self.table(name) for name in names),
            tuple(self._answer(status, found) for status, found in operation["responses"].items()),
        )  # fmt: skip

    def _parameter(self, parameter: Part) -> Field:
        words, _ = self._type(parameter["schema"])
        note = _inline(parameter["description"])
        example = str(parameter.get("example", ""))
        return Field(parameter["name"], words, None, parameter["required"], note, example, parameter["in"])

    def _answer(self, status: str, found: Part) -> Answer:
        whole = {**self._document["components"]["responses"][_target(found)], **found} if "$ref" in found else found
        content = whole.get("content", {})
        schemas = [_target(media["schema"]) for media in content.values() if "$ref" in media["schema"]]
        note = _inline(whole["description"])
        return Answer(status, note, tuple(whole.get("headers", ())), tuple(content), next(iter(schemas), None))

    def _type(self, schema: Part) -> tuple[str, str | None]:
        """A type in words, and the schema behind it."""
        if "$ref" in schema:
            return _target(schema), _target(schema)
        if "anyOf" in schema:
            found = [self._type(inner) for inner in schema["anyOf"] if inner.get("type") != "null"]
            return " or ".join(words for words, _ in found), next((link for _, link in found if link), None)
        if "enum" in schema:
            return "one of " + ", ".join(map(str, schema["enum"])), None
        kind = schema.get("type")
        if kind == "array":
            words, link = self._type(schema.get("items", {}))
            return f"list of {words}", link
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            words, link = self._type(schema["additionalProperties"])
            return f"map to {words}", link
        return _plain(schema), None


def _plain(schema: Part) -> str:
    kind = schema.get("type", "any JSON")
    if isinstance(kind, list):
        return "any JSON but null" if len(kind) > 2 else " or ".join(kind)
    words = str({"date-time": "time", "binary": "bytes"}.get(schema.get("format", ""), kind))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None:
        words += f" {low} to {high}" if high is not None else f", {low} or more"
    if "maxLength" in schema:
        words += f", up to {schema['maxLength']} characters"
    return words


def _note(schema: Part) -> str:
    note = str(schema.get("description", ""))
    default = schema.get("default")
    return note if default in (None, []) else f"{note} Default: `{json.dumps(default)}`."


def _examples(media: Part) -> Iterator[tuple[str, str]]:
    if "example" in media:
        yield "example", _text(media["example"])
    for name, example in media.get("examples", {}).items():
        yield f"{name}: {example['summary']}", _text(example["value"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _who(security: list[Part]) -> Iterator[str]:
    for way in security:
        for scheme, scopes in way.items():
            yield from scopes if scheme == "key" else ("a feedback token",)


def _target(found: Part) -> str:
    return str(found["$ref"]).rsplit("/", 1)[-1]
