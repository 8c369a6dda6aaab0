"""Keyed pseudonyms for the ids of people and sessions: HMAC-SHA256, one derived key per purpose.

Pure but for a bounded cache. The same id gives the same pseudonym for ever under one key, so joins and counts of
people still work; without the key nobody can test a guessed id. An id that is a pseudonym of this key already
(a replayed event, an export that is imported again) stays as it is.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import polars as pl
import polars_hash as plh

Purpose = Literal["person", "session"]
PURPOSES: tuple[Purpose, ...] = ("person", "session")

_CACHED = 65_536
_BLOCK = 64  # bytes of a SHA-256 block; a derived key is 64 hex characters, so that it fills one
_BATCH = 100  # from here on one call of polars-hash beats a loop (benchmarks/bench_privacy.py)
_HEX = 32


class Pseudonyms:
    """The pseudonyms under one secret key.

    Args:
        key: at least 16 secret bytes; 32 random ones are meant.

    Raises:
        ValueError: the key is too short to be secret.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError(f"A pseudonym key has at least 16 bytes, this one has {len(key)}.")
        self.key_id = hmac.digest(key, b"feedback_platform pseudonym key id", "sha256").hex()[:8]
        self._keys = {purpose: _derived(key, purpose) for purpose in PURPOSES}
        self._form = re.compile(f"{self.prefix}[0-9a-f]{{{_HEX}}}")
        self.person = self._cached("person")
        self.session = self._cached("session")

    @property
    def prefix(self) -> str:
        """How every pseudonym of this key begins."""
        return f"pn_{self.key_id}_"

    def of(self, purpose: Purpose, value: str) -> str:
        """The pseudonym of one id, or the value itself where it is one already.

        Args:
            purpose: `person` for users and human raters, `session` for sessions; equal ids differ across purposes.
            value: the id; any text that UTF-8 can write.
        """
        return self.person(value) if purpose == "person" else self.session(value)

    def many(self, purpose: Purpose, values: Sequence[str]) -> list[str]:
        """The pseudonyms of many ids, in their order; the same ones as `of`."""
        if len(values) < _BATCH:
            return [self.of(purpose, value) for value in values]
        return self.series(purpose, pl.Series(values, dtype=pl.String)).to_list()

    def series(self, purpose: Purpose, values: pl.Series) -> pl.Series:
        """The pseudonyms of a column of texts; null stays null."""
        value = plh.col("value")
        hashed = value.chash.hmac_sha256(key=self._keys[purpose]).str.slice(0, _HEX)
        known = value.str.contains(f"^{self._form.pattern}$")
        replaced = pl.when(known).then(value).when(value.is_not_null()).then(pl.lit(self.prefix) + hashed)
        return pl.DataFrame({"value": values.cast(pl.String)}).select(replaced.alias(values.name)).to_series()

    def _cached(self, purpose: Purpose) -> Callable[[str], str]:
        """Ids repeat, and looking one up costs a tenth of hashing it; copying a started hash halves that again."""
        key = self._keys[purpose].encode()
        inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))
        prefix, form = self.prefix, self._form

        @lru_cache(maxsize=_CACHED)
        def pseudonym(value: str) -> str:
            if value.startswith(prefix) and form.fullmatch(value):
                return value
            first, second = inner.copy(), outer.copy()
            first.update(value.encode())
            second.update(first.digest())
            return prefix + second.hexdigest()[:_HEX]

        return pseudonym


def _derived(key: bytes, purpose: Purpose) -> str:
    """A key of its own for each purpose, as text because polars-hash takes text."""
    derived = hmac.digest(key, b"feedback_platform pseudonym of a " + purpose.encode(), "sha256").hex()
    assert len(derived) == _BLOCK
    return derived
