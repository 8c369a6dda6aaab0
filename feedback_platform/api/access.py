"""Who calls: a key, a feedback token, or in development mode anyone on this machine. Tenants come from here only."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

from feedback_platform.api.call import Call
from feedback_platform.api.server import Server, now
from feedback_platform.errors import AccessError
from feedback_platform.intake.guards.origins import allowed, require_origin
from feedback_platform.intake.guards.principal import Principal, Scope
from feedback_platform.intake.guards.signatures import verify
from feedback_platform.intake.guards.tokens import PREFIX, FeedbackToken, check

_PROXY_HEADERS = frozenset({b"forwarded", b"via", b"x-real-ip"})
_OWN_PAGES = frozenset({None, "same-origin", "same-site", "none"})
_HOW = "Send `Authorization: Bearer fp_...`; an operator makes a key with `feedback keys create`."


def principal(server: Server, call: Call, *scopes: Scope) -> Principal:
    """The speaker with a key, who holds one of the scopes; what brings no body is checked for its signature here.

    Raises:
        AccessError: no key, not a good one, not from here, without the scopes, or not signed.
    """
    presented = _bearer(call)
    if presented is None and server.dev:
        speaker = _neighbour(server, call)
    elif presented is None:
        raise AccessError("key_missing", f"No API key was sent. {_HOW}")
    elif presented.startswith(f"{PREFIX}."):
        raise AccessError("scope_missing", "A feedback token is for POST /v1/feedback only.", 403)
    else:
        speaker = server.keys.verify(presented, now())
    require_origin(speaker, call.header(b"origin"))
    if scopes and speaker.scopes.isdisjoint(scopes):
        speaker.require(scopes[0])
    if call.scope["method"] in ("GET", "HEAD"):
        check_signature(speaker, call, b"")
    return speaker


def token(server: Server, call: Call) -> FeedbackToken | None:
    """The feedback token of the request, None when it brings none.

    Raises:
        AccessError: it is not genuine, has expired, or the page is not one of the tenant's.
    """
    presented = _bearer(call)
    if presented is None or not presented.startswith(f"{PREFIX}."):
        return None
    found = check(server.token_key, presented, now())
    origin = call.header(b"origin")
    if origin is not None and not allowed(origin, server.origins.get(found.tenant, ())):
        fix = "Add it to `origins` in the tenant's tenant.yaml, then restart the server."
        raise AccessError("origin_refused", f"Pages of {origin[:100]!r} may not send feedback here. {fix}", 403)
    return found


def signed(speaker: Principal, call: Call) -> Callable[[bytes], None]:
    """`check_signature` for a body that is yet to come; over the bytes as they are sent, compressed or not."""
    return lambda raw: check_signature(speaker, call, raw)


def check_signature(speaker: Principal, call: Call, body: bytes) -> None:
    """Pass when the key asks for no signature, or the body is signed.

    Raises:
        AccessError: it is not.
    """
    if speaker.signing:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()}
        verify(speaker.signing_secrets(now()), headers, body, now())


def cors_origin(server: Server, call: Call) -> str | None:
    """The origin to name in the answer, None when the caller is no page of anyone known."""
    origin = call.header(b"origin")
    if origin is None:
        return None
    patterns = [p for origins in server.origins.values() for p in origins]
    return origin if allowed(origin, [*patterns, *server.key_origins()]) else None


def _bearer(call: Call) -> str | None:
    text = call.header(b"authorization")
    if text is None:
        return None
    kind, _, secret = text.partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise AccessError("key_malformed", f"The Authorization header is not understood. {_HOW}")
    return secret.strip()


def _neighbour(server: Server, call: Call) -> Principal:
    """Development mode: a program on this machine, not a web page that its browser shows, nor a proxy."""
    client = call.scope.get("client")
    host = _host(call.header(b"host") or "")
    origin = call.header(b"origin")
    local = client is not None and _is_loopback(client[0]) and host is not None and _is_loopback(host)
    page = origin is not None and not _is_loopback(_host(origin.partition("://")[2]) or "")
    page = page or call.header(b"sec-fetch-site") not in _OWN_PAGES
    proxy = any(name in _PROXY_HEADERS or name.startswith(b"x-forwarded-") for name in call.headers)
    if not local or page or proxy:
        raise AccessError("key_missing", f"Without a key only this machine may call, and no web page. {_HOW}")
    return server.neighbour


@lru_cache(256)
def _host(header: str) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


@lru_cache(256)
def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
