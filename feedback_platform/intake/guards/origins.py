"""Which web pages may use a browser key: the `Origin` header against patterns. Standard library only.

An origin is scheme, host and port, all of which must agree. A pattern is an origin, or one whose host begins
with `*.`: `https://*.example.com` stands for every host below example.com at any depth, not for example.com itself.
`*.example.com` is short for it.
"""

import re
from collections.abc import Iterable

from feedback_platform.errors import AccessError, ConfigError
from feedback_platform.intake.guards.principal import Principal

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\]"
_ORIGIN = re.compile(rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?")
_WILD = re.compile(rf"(https?)://\*\.({_LABEL}(?:\.{_LABEL})+)(?::([0-9]{{1,5}}))?")
_DEFAULT_PORT = {"http": 80, "https": 443}
_MAX_CHARS = 300

Parts = tuple[str, str, int]


def allowed(origin: str | None, patterns: Iterable[str]) -> bool:
    """Whether a page of this origin may speak.

    Args:
        origin: the `Origin` header as it came. None, `null` (sandboxed frames, files) and what is no origin match nothing.
        patterns: as `normal_pattern` gives them; one that is none matches nothing.
    """
    found = _parts(_ORIGIN, origin)
    return found is not None and any(_matches(found, pattern) for pattern in patterns)


def require_origin(principal: Principal, origin: str | None) -> None:
    """Pass when the key is bound to no origin, or to this one.

    Raises:
        AccessError: 403 `origin_refused`; also for a bound key that comes without an origin.
    """
    if principal.origins and not allowed(origin, principal.origins):
        found = "no `Origin` header" if origin is None else f"origin {origin[:100]!r}"
        raise AccessError(
            "origin_refused",
            f"This key is bound to certain web pages; the request came with {found}. Call from one of those pages, "
            "or ask an operator for a key with `feedback keys create --origin`.",
            403,
        )


def normal_pattern(text: str) -> str:
    """A pattern in its one spelling: lower case, with its scheme, without a default port.

    Raises:
        ConfigError: it is no origin, or a `*` stands elsewhere than before a host of two or more labels.
    """
    lowered = text.strip().lower()
    full = f"https://{lowered}" if lowered.startswith("*.") else lowered
    exact, wild = _parts(_ORIGIN, full), _parts(_WILD, full)
    parts = exact or wild
    if parts is None:
        raise ConfigError(
            f"origin {text[:100]!r} is not understood. Write scheme, host and perhaps a port, such as "
            "https://app.example.com, http://localhost:3000 or https://*.example.com."
        )
    scheme, host, port = parts
    end = "" if port == _DEFAULT_PORT[scheme] else f":{port}"
    return f"{scheme}://{'' if exact else '*.'}{host}{end}"


def _matches(found: Parts, pattern: str) -> bool:
    if (exact := _parts(_ORIGIN, pattern)) is not None:
        return found == exact
    wild = _parts(_WILD, pattern)
    return wild is not None and (found[0], found[2]) == (wild[0], wild[2]) and found[1].endswith(f".{wild[1]}")


def _parts(form: re.Pattern[str], text: str | None) -> Parts | None:
    # Only ASCII is lowered: other letters may become ASCII ones by it.
    if text is None or len(text) > _MAX_CHARS or not text.isascii():
        return None
    match = form.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    number = _DEFAULT_PORT[scheme] if port is None else int(port)
    return (scheme, host, number) if 0 < number < 65_536 else None
