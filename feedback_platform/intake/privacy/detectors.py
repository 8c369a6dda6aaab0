"""Personal data in many texts at once: found, counted, masked.

Pure. Most texts hold none, so one vectorised search (Polars, the Rust regex engine, linear time) decides which texts
are worth a closer look; `spans` with its checksums looks at those alone. A tenant's own patterns run in Polars
throughout. Counting and masking are the same act, so that `report` tells exactly what `mask` would do.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from feedback_platform.intake.privacy.policy import BUILT_IN, check_patterns, mask_token
from feedback_platform.intake.privacy.spans import BLANK, FINDERS, HYPHEN, Finder
from feedback_platform.intake.privacy.validators import IBAN_LENGTHS

_GAP = f"[{BLANK}{HYPHEN}]"
_JOIN = f"[{BLANK}./()\u2013{HYPHEN}]"
_APART = rf"(?:^|[^A-Za-z0-9_+#{HYPHEN}.,:/]|(?:^|[^0-9])[.,:/])"  # what may stand before a number, read forwards
# Wider than the finders, never narrower: what these do not match is not looked at (a property in the tests).
_CANDIDATES: Mapping[str, str] = {
    "email": "@",
    "iban": rf"(?i-u:{'|'.join(sorted(IBAN_LENGTHS))})[0-9]{{2}}[{BLANK}]?[A-Za-z0-9]{{2}}",
    "card": rf"[2-6][0-9]{{3}}{_GAP}?[0-9]{{2}}(?:{_GAP}?[0-9]){{7}}",
    "ip": r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|(?:[23][0-9A-Fa-f]|[fF][cCdDeE])[0-9A-Fa-f]{2}:[0-9A-Fa-f:]{2}",
    "phone": rf"{_APART}\(?(?:\+[ (]?[1-9]|0[0-9]+{_JOIN}{{1,3}}[0-9](?:{_JOIN}{{0,3}}[0-9]){{3}})"
    rf"|[2-9][0-9]{{2}}(?:\)[{BLANK}]?|[.{HYPHEN}])[2-9][0-9]{{2}}[{BLANK}.{HYPHEN}][0-9]{{4}}",
}
# Masking can bring two pieces together that are personal data only then; a second look finds none in real texts.
_MAX_PASSES = 25


@dataclass(frozen=True, slots=True)
class Found:
    """What a batch of texts holds.

    Attributes:
        counts: how often each detector fired; only those that did.
        masked: place of each text with a hit -> that text, masked. Texts without one are not in it.
    """

    counts: Counter[str] = field(default_factory=Counter)
    masked: dict[int, str] = field(default_factory=dict)

    @property
    def hits(self) -> frozenset[int]:
        """Places of the texts with personal data."""
        return frozenset(self.masked)


class Detectors:
    """A choice of built-in detectors and a tenant's own patterns.

    Args:
        detect: names out of `BUILT_IN`.
        patterns: name -> regular expression of the Rust regex crate.

    Raises:
        ConfigError: a pattern cannot be used (see `policy.check_patterns`).
    """

    def __init__(self, detect: Sequence[str] = BUILT_IN, patterns: Mapping[str, str] | None = None) -> None:
        check_patterns(patterns or {})
        self._finders = [(name, find) for name, find in FINDERS.items() if name in detect]
        self._candidate = "|".join(_CANDIDATES[name] for name, _ in self._finders)
        self._patterns = dict(patterns or {})

    def count(self, texts: Sequence[str]) -> Counter[str]:
        """How often each detector fires on these texts."""
        return self.find(texts).counts

    def mask(self, texts: Sequence[str]) -> tuple[list[str], Counter[str]]:
        """The texts, in their order, with a token such as `[EMAIL]` for each hit; and the counts."""
        found = self.find(texts)
        return [found.masked.get(place, text) for place, text in enumerate(texts)], found.counts

    def find(self, texts: Sequence[str]) -> Found:
        """Hits and masked texts. Masking what comes out finds nothing more."""
        found = Found()
        places, open_texts = list(range(len(texts))), list(texts)
        for _ in range(_MAX_PASSES):
            if not open_texts:
                break
            changed = self._one_pass(open_texts, found.counts)
            found.masked.update((places[at], text) for at, text in changed.items())
            places, open_texts = [places[at] for at in changed], list(changed.values())
        return found

    def _one_pass(self, texts: list[str], counts: Counter[str]) -> dict[int, str]:
        """The texts that some detector changed, by place; counts what it finds."""
        column = pl.Series("text", texts, dtype=pl.String)
        changed: dict[int, str] = {}
        worth = column.str.contains(self._candidate).arg_true() if self._finders else pl.Series(dtype=pl.UInt32)
        few = column.gather(worth)
        for name, find in self._finders:
            for at in worth.filter(few.str.contains(_CANDIDATES[name])).to_list():
                before = changed.get(at, texts[at])
                if (after := _masked(before, name, find, counts)) is not before:
                    changed[at] = after
        if self._patterns:
            self._mask_patterns(column, changed, counts)
        return changed

    def _mask_patterns(self, column: pl.Series, changed: dict[int, str], counts: Counter[str]) -> None:
        if changed:
            column = column.scatter([*changed], [*changed.values()])
        for name, pattern in self._patterns.items():
            matches = column.str.count_matches(pattern)
            if total := int(matches.sum()):
                counts[name] += total
                hit = (matches > 0).arg_true()
                texts = column.gather(hit).str.replace_all(pattern, mask_token(name))
                column = column.scatter(hit, texts)
                changed.update(zip(hit.to_list(), texts.to_list(), strict=True))


def _masked(text: str, name: str, find: Finder, counts: Counter[str]) -> str:
    """The text with each place that `find` names replaced; the same object when there is none."""
    token = mask_token(name)
    parts: list[str] = []
    free = 0
    for start, end in sorted(find(text), key=lambda span: (span[0], -span[1])):
        if start >= free:
            parts += (text[free:start], token)
            counts[name] += 1
            free = end
    return "".join((*parts, text[free:])) if parts else text
