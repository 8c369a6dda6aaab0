"""Any Python object becomes one line of JSON, at once, so that a later change of the object changes nothing.

What JSON cannot hold is written as its `repr` and reported; encoding fails only when even that does.
"""

import enum
import math
from collections.abc import Mapping, Sequence, Set

import msgspec

MAX_DEPTH = 60  # the server refuses objects nested more than 64 deep
MAX_REPR = 10_000


def line(value: object) -> tuple[bytes, bool]:
    """One line of JSON without its end, and whether something in it had to be written as its `repr`."""
    odd = False
    try:
        body = _ENCODER.encode(value)
    except Exception:  # noqa: BLE001  the caller's objects may raise anything
        notes: list[str] = []
        body = _ENCODER.encode(_plain(value, (), notes))
        odd = bool(notes)
    # Only a caller's `msgspec.Raw` can bring white space of its own.
    return (body.replace(b"\n", b" ") if b"\n" in body else body), odd


def _known(value: object) -> object:
    """What msgspec does not know but JSON can hold; pydantic, NumPy and torch are met by their methods, not imported."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    for method in ("tolist", "model_dump"):
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type):
            return convert() if method == "tolist" else convert(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | Set):
        return list(value)
    raise TypeError(f"JSON cannot hold a {type(value).__name__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_known)


def _plain(value: object, above: tuple[int, ...], notes: list[str]) -> object:
    """The same value in JSON's own types; `above` are the containers around it, `notes` collects what became text."""
    if value is None or isinstance(value, bool) or type(value) is int:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return _text(value)
    if id(value) not in above and len(above) < MAX_DEPTH:
        within = (*above, id(value))
        if isinstance(value, Mapping):
            return {_name(key): _plain(inner, within, notes) for key, inner in list(value.items())}
        if isinstance(value, list | tuple | Set):
            return [_plain(inner, within, notes) for inner in list(value)]
        try:
            return msgspec.Raw(_ENCODER.encode(value))
        except Exception:  # noqa: BLE001  whatever it was, the repr stands in for it
            pass
    notes.append(type(value).__name__)
    return _shown(value)


def _name(key: object) -> str:
    return _text(key) if isinstance(key, str) else _shown(key)


def _shown(value: object) -> str:
    try:
        return _text(repr(value)[:MAX_REPR])
    except Exception:  # noqa: BLE001  a `repr` may raise anything
        return f"<{type(value).__name__}>"


def _text(value: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes a question mark."""
    return value.encode("utf-8", "replace").decode()
