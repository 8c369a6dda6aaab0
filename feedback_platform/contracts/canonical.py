"""One text for one value (RFC 8785 canonical JSON), and the hashes that are taken of text.

Everything that is compared, hashed or stored as JSON passes through here. Pure functions.
"""

import hashlib
import re
import unicodedata
from decimal import Decimal
from functools import lru_cache
from math import inf

import msgspec
import polars as pl
import polars_hash as plh
from xxhash import xxh3_64_intdigest

MAX_SAFE_INTEGER = 2**53 - 1
_MANY_MARKS = 64
_TWO_64, _MAX_64 = 2**64, 2**63 - 1


class NotCanonical(ValueError):
    """The value has no canonical JSON: a number not finite, an unsafe integer, a key that is not text."""


class _BeyondPlane(Exception):
    """A key has a character beyond U+FFFF."""


def canonical_json(value: object) -> str:
    """RFC 8785 text of a JSON value or a wire object.

    Raises:
        NotCanonical: NaN, Infinity, an integer beyond 2^53 - 1, a lone surrogate, a key that is not a string.
    """
    try:
        if type(value) is not str and not _exact(value):
            return _careful(value)
        return msgspec.json.encode(value, order="deterministic").decode()
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NotCanonical(str(error)) from error


def body_bytes(event: msgspec.Struct) -> bytes:
    """A wire object as sorted JSON without absent fields: equal for equal events, and quickly made."""
    return msgspec.json.encode(event, order="deterministic")


def xxh3_series(texts: pl.Series) -> pl.Series:
    """xxh3-64 of each text's UTF-8 bytes, seed 0, as signed 64-bit integers; null stays null."""
    frame = pl.DataFrame({"text": texts.cast(pl.String)})
    hashed = frame.select(plh.col("text").nchash.xxh3_64()).to_series()
    return hashed.reinterpret(signed=True).alias(texts.name)


def xxh3(text: str) -> int:
    """xxh3-64 of one text's UTF-8 bytes, seed 0, as a signed 64-bit integer."""
    unsigned = xxh3_64_intdigest(text.encode())
    return unsigned - _TWO_64 if unsigned > _MAX_64 else unsigned


def normalise_text(text: str) -> str:
    """Text for comparison: NFKC, case folded, runs of white space made one space, ends stripped."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", _marks_in_order(text)).casefold()
    # Case folding can produce characters that NFKC would have composed.
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def body_hmac(kind: str, body: bytes, key: bytes) -> bytes:
    """Keyed SHA-256 (16 bytes of it) of an event's body (`body_bytes`): knows an equal body without keeping it.

    HMAC of RFC 2104 over kind, line end and body; the states after the key are kept, which halves its cost.
    """
    before, after = _hmac_states(kind, key)
    inner, outer = before.copy(), after.copy()
    inner.update(body)
    outer.update(inner.digest())
    return outer.digest()[:16]


@lru_cache(64)
def _hmac_states(kind: str, key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    block = key.ljust(64, b"\0") if len(key) <= 64 else hashlib.sha256(key).digest().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
    inner.update(kind.encode() + b"\n")
    return inner, hashlib.sha256(bytes(byte ^ 0x5C for byte in block))


def _exact(value: object) -> bool:
    """True when msgspec writes this value exactly as RFC 8785 asks."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if isinstance(value, dict):
        for key, inner in value.items():  # noqa: SIM110 - a generator takes twice the time here
            if not key.isascii() or (type(inner) is not str and not _exact(inner)):
                return False
        return True
    if isinstance(value, list):
        for inner in value:  # noqa: SIM110
            if type(inner) is not str and not _exact(inner):
                return False
        return True
    if kind is int:
        return -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER  # type: ignore[operator]
    if isinstance(value, float):
        return 1e-5 <= abs(value) <= MAX_SAFE_INTEGER and not value.is_integer()
    return False


def _careful(value: object) -> str:
    plain = msgspec.to_builtins(value)
    try:
        return msgspec.json.encode(_settled(plain), order="deterministic").decode()
    except _BeyondPlane:
        return msgspec.json.encode(_settled(plain, sort=True)).decode()


def _settled(value: object, sort: bool = False) -> object:
    """The value as msgspec has to be given it to write RFC 8785.

    `deterministic` sorts keys by their code points. RFC 8785 asks for UTF-16 units, which differ outside the
    basic plane: a value with such keys is sorted here.
    """
    if isinstance(value, dict):
        if sort:
            return {key: _settled(value[key], sort) for key in sorted(value, key=_utf_16)}
        for key in value:
            if not key.isascii() and max(key) > "\uffff":
                raise _BeyondPlane
        return {key: item if type(item) is str else _settled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) is str else _settled(item, sort) for item in value]
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise NotCanonical(f"{value} is beyond 2^53 - 1")
    return value


def _utf_16(key: str) -> bytes:
    return key.encode("utf-16-be")


def _number(value: float) -> object:
    """A number that msgspec writes as ECMAScript does, else that text (ECMA-262, Number::toString)."""
    size = abs(value)
    if size <= MAX_SAFE_INTEGER:
        if value.is_integer():
            return int(value)
        if size >= 1e-5 or size < 1e-6:
            return value
    if not size < inf:
        raise NotCanonical(f"{value} is no JSON number")
    text = repr(value)
    if size < 1e21:
        text = f"{Decimal(text):f}".removesuffix(".0")
    return msgspec.Raw(text.encode())


def _marks_in_order(text: str) -> str:
    """The text with long runs of combining marks in their canonical order, which changes no normal form.

    `unicodedata.normalize` sorts them by insertion: a megabyte of them would take it minutes.
    """
    if len(text) < _MANY_MARKS:
        return text
    marks = [char for char in set(text) if all(map(unicodedata.combining, unicodedata.normalize("NFKD", char)))]
    if not marks:
        return text
    runs = re.compile(f"[{re.escape(''.join(sorted(marks)))}]{{{_MANY_MARKS},}}")
    return runs.sub(lambda run: "".join(sorted(_decomposed(run[0]), key=unicodedata.combining)), text)


def _decomposed(marks: str) -> str:
    return "".join(unicodedata.normalize("NFKD", mark) for mark in marks)
