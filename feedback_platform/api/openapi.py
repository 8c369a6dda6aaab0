"""`GET /openapi.json` and `GET /docs`: the API as it describes itself, derived from the contract that it is held to."""

import hashlib
import secrets
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from feedback_platform import __version__
from feedback_platform.api.call import JSON, Call, Header
from feedback_platform.api.docs_page import NONCE, docs_html
from feedback_platform.api.openapi_parts import HEADERS, SECURITY_SCHEMES, TAGS, responses
from feedback_platform.api.openapi_paths import paths
from feedback_platform.api.openapi_schemas import components
from feedback_platform.api.problems import API_REASONS
from feedback_platform.api.server import Server
from feedback_platform.contracts.events import REASONS

_ABOUT = """\
Send what your model answered (inferences) and what people made of it (feedback); fetch the versioned training datasets \
that are compiled from both.

**Durable or refused.** An answer of 202 says that the event survives a crash and a power cut. Without one it may not \
have arrived: send the same again. Repeats count once.

**Errors** are problem details (RFC 9457): `reason` is a stable code, `detail` says what to do, and `field`, `value` and \
`fix` point at the place. 429 and 503 carry `Retry-After`.

**Keys** go into `Authorization: Bearer fp_...`; an operator makes one with `feedback keys create`. The tenant comes from \
the key. Keys that were made for it ask for a signature of the body as well.

Unknown fields are refused; put what has no field into `metadata`. Optional fields that are \
null count as absent. Times are RFC 3339 with `Z` or an offset. Paths with `GET` take `HEAD` too.
"""


async def openapi_document(server: Server, call: Call) -> None:
    """`GET /openapi.json`."""
    text, tag = _encoded()
    about: list[Header] = [(b"etag", tag.encode()), (b"cache-control", b"no-cache")]
    if tag in (call.header(b"if-none-match") or ""):
        await call.answer(304, b"", about)
        return
    await call.answer(200, text, [(b"content-type", JSON.encode()), *about])


async def docs_page(server: Server, call: Call) -> None:
    """`GET /docs`: one page with nothing from elsewhere; its script runs by a nonce, made for each answer."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    await call.answer(
        200,
        _page().replace(NONCE, nonce).encode(),
        [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", policy.encode()),
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
        ],
    )


@cache
def document() -> Mapping[str, Any]:
    """The document; built once."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "feedback_platform",
            "version": __version__,
            "summary": "From feedback to versioned training datasets.",
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths(),
        "components": {
            "schemas": components(),
            "responses": responses(),
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


@cache
def _encoded() -> tuple[bytes, str]:
    text = msgspec.json.encode(document())
    return text, f'"{hashlib.sha256(text).hexdigest()[:32]}"'


@cache
def _page() -> str:
    return docs_html(document(), {**REASONS, **API_REASONS})
