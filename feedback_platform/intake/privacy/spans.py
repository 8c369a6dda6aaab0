"""Where in one text personal data stands: a function per built-in detector, from a text to the places it covers.

Called for the few texts that the vectorised search of `detectors` lets through. Digits are ASCII digits; blanks
include no-break spaces, hyphens the typographic ones. Every expression is bounded or starts at a guarded place, so
that time stays linear in the length of the text. Places may overlap; the caller takes the first of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from feedback_platform.intake.privacy.validators import (
    IBAN_LENGTHS,
    is_calling_code,
    is_card,
    is_iban,
    is_international,
    is_ipv4,
    is_ipv6,
    is_national,
)

Span = tuple[int, int]
Finder = Callable[[str], Iterator[Span]]

BLANK = " \u00a0\u202f"
HYPHEN = "\\-\u2010\u2011"

# A number does not begin inside a word or a longer number, nor end in one.
_FROM = rf"(?<![\w+#{HYPHEN}])(?<!\d[.,:/])"
_ENDS = re.compile(r"(?!\w)(?![.,:/\-]\d)")
_BEGINS = re.compile(_FROM)
_DIGITS = re.compile(r"[0-9]+")

_LOCAL_MAX = 200  # RFC 5321 says 64; bounce addresses are longer
_LOCAL = re.compile(rf"[\w.%+'\-]{{1,{_LOCAL_MAX}}}")
_DOMAIN = re.compile(
    r"(?:[^\W_](?:[\w\-]{0,61}[^\W_])?\.){1,9}([^\W\d_]{2,24}|xn--[a-z0-9\-]{2,59})(?!\w)", re.IGNORECASE
)
_FILE_ENDINGS = frozenset("png jpg jpeg gif svg webp ico css js ts json html".split())

_CARD_RUN = re.compile(rf"[0-9]+(?:[{BLANK}{HYPHEN}][0-9]+)*")
_CARD_GROUPS = frozenset([(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 4, 4, 3), (4, 4, 4, 4, 2), (6, 13)])

_IBAN_HEAD = re.compile(rf"(?<!\w)((?ai:{'|'.join(sorted(IBAN_LENGTHS))}))[0-9]{{2}}")

_IPV4 = re.compile(r"(?<![\w.\-])([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?!\w)(?!\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{4}:[0-9A-Fa-f:]{2,35}+(?:(?:\.[0-9]{1,3}){3})?(?!\w)")
_NOT_ADDRESS = re.compile(
    r"(?:\b(?:version|ver|v|release|section|sec|chapter|clause|rule)|§)[.:]?\s{0,2}\Z", re.IGNORECASE
)

_JOIN = rf"[{BLANK}./()\u2013{HYPHEN}]{{1,3}}"
_INTERNATIONAL = re.compile(rf"{_FROM}(?:\(?\+[ (]?|00)[1-9][0-9]*(?:{_JOIN}[0-9]+){{0,9}}")
_NATIONAL = re.compile(rf"{_FROM}\(?0[1-9][0-9]{{0,3}}(?:\)?[{BLANK}./{HYPHEN}]{{1,2}}|\))[0-9]{{2,8}}"
                       rf"(?:[{BLANK}./{HYPHEN}][0-9]{{2,8}}){{0,4}}")  # fmt: skip
_NORTH_AMERICAN = re.compile(
    rf"{_FROM}(?:1[ .{HYPHEN}])?(?:\([2-9][0-9]{{2}}\)[{BLANK}]?[2-9][0-9]{{2}}[{BLANK}.{HYPHEN}][0-9]{{4}}"
    rf"|[2-9][0-9]{{2}}([.{HYPHEN}])[2-9][0-9]{{2}}\1[0-9]{{4}})"
)


def emails(text: str) -> Iterator[Span]:
    """Addresses: a local part, `@`, a domain whose last label is no file ending (`icon@2x.png`)."""
    free = 0
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.match(text[max(free, at - _LOCAL_MAX) : at][::-1])
        domain = _DOMAIN.match(text, at + 1) if local else None
        if local and domain and domain[1].lower() not in _FILE_ENDINGS:
            name = local[0].rstrip(".-'%")  # it is reversed: this is what leads the local part
            if any(character.isalnum() for character in name):
                free = domain.end()
                yield at - len(name), free
        at = text.find("@", max(at + 1, free))


def cards(text: str) -> Iterator[Span]:
    """Card numbers, plain or in the groups that cards are printed in, with one kind of separator."""
    for run in _CARD_RUN.finditer(text):
        groups = [match.span() for match in _DIGITS.finditer(text, *run.span())]
        for first, (start, _) in enumerate(groups):
            size = 0
            for last in range(first, min(first + 5, len(groups))):
                size += groups[last][1] - groups[last][0]
                if size > 19:
                    break
                if size >= 13 and _is_card(text, groups[first : last + 1]):
                    yield start, groups[last][1]


def _is_card(text: str, groups: list[Span]) -> bool:
    sizes = tuple(end - start for start, end in groups)
    if len(sizes) > 1 and sizes not in _CARD_GROUPS:
        return False
    start, end = groups[0][0], groups[-1][1]
    digits = "".join(text[a:b] for a, b in groups)
    separators = {text[b] for _, b in groups[:-1]}
    alone = _BEGINS.match(text, start) and _ENDS.match(text, end)
    return len(separators) <= 1 and alone is not None and is_card(digits)


def ibans(text: str) -> Iterator[Span]:
    """IBANs, plain or in groups of four; the country says how far one reaches."""
    for head in _IBAN_HEAD.finditer(text):
        match = _iban_shape(IBAN_LENGTHS[head[1].upper()]).match(text, head.start())
        if match:
            found = re.sub(rf"[{BLANK}]", "", match[0])
            if (found.isupper() or found.islower()) and is_iban(found):
                yield match.span()


@cache
def _iban_shape(length: int) -> re.Pattern[str]:
    whole, rest = divmod(length, 4)
    groups = rf"[A-Z0-9]{{4}}(?:[{BLANK}][A-Z0-9]{{4}}){{{whole - 1}}}"
    groups += rf"[{BLANK}][A-Z0-9]{{{rest}}}" if rest else ""
    return re.compile(rf"(?ai:[A-Z0-9]{{{length}}}|{groups})(?!\w)")


def addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6 addresses; not version and section numbers that say so."""
    for match in _IPV4.finditer(text):
        before = text[max(0, match.start() - 12) : match.start()]
        if is_ipv4(match[1]) and not _NOT_ADDRESS.search(before):
            yield match.span()
    for match in _IPV6.finditer(text):
        found = match[0] if match[0].endswith("::") else match[0].removesuffix(":")
        if is_ipv6(found):
            yield match.start(), match.start() + len(found)


def phones(text: str) -> Iterator[Span]:
    """Phone numbers with a calling code, in North American form, or grouped behind a trunk zero.

    Plain digits are never one: order numbers, times and counts look the same.
    """
    for match in _NORTH_AMERICAN.finditer(text):
        if _ENDS.match(text, match.end()):
            yield match.span()
    for pattern, judge in ((_INTERNATIONAL, _international), (_NATIONAL, _national)):
        for match in pattern.finditer(text):
            # The last group may be a number that merely follows: try the longest first.
            for group in [*_DIGITS.finditer(match[0])][::-1]:
                found = match[0][: group.end()]
                end = match.start() + group.end()
                if judge(found) and _ENDS.match(text, end):
                    yield match.start() + (found[0] == "(" and found.count("(") > found.count(")")), end
                    break


def _international(found: str) -> bool:
    groups = _DIGITS.findall(found.replace("(0)", " "))  # a trunk zero in brackets is not dialled
    if not found.startswith("00"):
        return is_international("".join(groups))
    groups[0] = groups[0][2:]
    return _grouped(found) and is_calling_code(groups[0]) and is_international("".join(groups))


def _national(found: str) -> bool:
    return _grouped(found) and is_national(_DIGITS.findall(found))


def _grouped(found: str) -> bool:
    """One kind of separator throughout, but that a blank, slash or bracket may end the area code.

    `0378-5955 2001` is a serial number (ISSN) and a year.
    """
    first, *others = re.findall(r"[^0-9(]+", found) or [""]
    return len({*others}) <= 1 and (first[-1:] in (*BLANK, "/", ")") or {*others} <= {first})


# Overlaps go to the detector that comes first, the surest, so that a card or an IBAN is not also a phone.
FINDERS: Mapping[str, Finder] = {"email": emails, "iban": ibans, "card": cards, "ip": addresses, "phone": phones}
