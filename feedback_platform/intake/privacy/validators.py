"""Is this candidate really one? Checksums, number plans and address syntax; pure functions of short texts.

The judgement of last resort behind `spans`, which finds the candidates. Strict on purpose: a mask over something
that was no personal data destroys training text, silently.
"""

import ipaddress
import re
from collections.abc import Mapping

# Characters of an IBAN by country (SWIFT IBAN registry, release 99).
IBAN_LENGTHS: Mapping[str, int] = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE BI", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH CR HR LI LV", 22: "BG BH DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BY DJ FR GR IT MC MR SM", 28: "AL AZ CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA",
        30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip

# Calling codes of the E.164 zones: which first digits make a code of one, two or three digits.
_CALLING_CODE = re.compile(
    r"1|7|2(?:0|7|[1-689]\d)|3(?:[0-469]|[578]\d)|4(?:[013-9]|2\d)|5(?:[1-8]|[09]\d)|6(?:[0-6]|[789]\d)"
    r"|8(?:[1246]|[0578]\d)|9(?:[0-58]|[679]\d)"
)
_KEEPS_ZERO = frozenset("39 225 241 242 378 379".split())  # countries whose national numbers begin with 0
_NANP = re.compile(r"[2-9]\d{2}[2-9]\d{6}")
_E164_MIN, _E164_MAX = 9, 15

# Issuer prefix and lengths (ISO/IEC 7812 ranges in use). Luhn alone lets every tenth number pass, among them
# millisecond timestamps (13 digits, first one 1) and many ids.
_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}"  # Discover
    r"|62\d{14,17}"  # UnionPay
    r"|3(?:0[0-5]|[689]\d)\d{11,16}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|220[0-4]\d{12,15}"  # Mir
    r"|(?:50\d\d|5[6-8]\d\d|6\d{3})\d{9,15}"  # Maestro and national schemes on its ranges
)


def luhn_holds(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1 (Luhn 1960) over a string of decimal digits."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """A payment card number: 13 to 19 digits that some issuer can have given out, with a right check digit."""
    return 13 <= len(digits) <= 19 and _ISSUED.fullmatch(digits) is not None and luhn_holds(digits)


def is_iban(text: str) -> bool:
    """An IBAN without separators: the country's length and ISO 7064 mod 97-10 (ISO 13616-1)."""
    text = text.upper()
    if IBAN_LENGTHS.get(text[:2]) != len(text) or not text[2:4].isdigit():
        return False
    try:
        return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1
    except ValueError:
        return False


def is_ipv4(text: str) -> bool:
    """Four octets without leading zeros that can be somebody's: neither 0.x.x.x, loopback nor broadcast."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.packed[0] == 0 or address == ipaddress.IPv4Address(2**32 - 1))


def is_ipv6(text: str) -> bool:
    """An address of the blocks that hosts have: 2000::/3, fc00::/7 and fe80::/10.

    The rest of the syntax (`::`, `1::2`, `a::b`) is far more often code than an address.
    """
    try:
        first = ipaddress.IPv6Address(text).packed[:2]
    except ValueError:
        return False
    return first[0] >> 5 == 1 or first[0] >> 1 == 0x7E or (first[0] == 0xFE and first[1] >> 6 == 2)


def is_international(digits: str) -> bool:
    """A phone number in E.164 without its plus: an assigned calling code, then 6 or more national digits.

    A trunk zero in brackets, as in `+49 (0)30 ...`, is to be left out before.
    """
    code = _CALLING_CODE.match(digits)
    if code is None or not _E164_MIN <= len(digits) <= _E164_MAX:
        return False
    national = digits[code.end() :]
    if code[0] == "1":
        return _NANP.fullmatch(national) is not None
    return national[0] != "0" or code[0] in _KEEPS_ZERO


def is_calling_code(digits: str) -> bool:
    """A country's calling code of E.164, and nothing more."""
    return _CALLING_CODE.fullmatch(digits) is not None


def is_national(groups: list[str]) -> bool:
    """Digit groups that begin with a trunk zero and look like no date, time or count.

    Known shapes: an area code of 3 to 5 digits and the number (`030 1234567`, `07700 900 123`), one of 2 digits and
    two groups of 3 or 4 (`02 9876 5432`), five pairs (`01 23 45 67 89`).
    """
    total = sum(map(len, groups))
    first, rest = groups[0], groups[1:]
    if not 9 <= total <= 12 or not rest or first[0] != "0" or first[1:2] in ("", "0"):
        return False
    if all(group[0] == "0" for group in groups):  # a padded list: 012 034 056
        return False
    sizes = [len(group) for group in rest]
    if len(first) == 2:
        pairs, two = sizes == [2] * 4, len(sizes) == 2 and set(sizes) <= {3, 4}
        return pairs or (two and not all(map(_is_year, rest)))
    return len(first) <= 5 and min(sizes) >= 2 and (len(sizes) > 1 or sizes[0] >= 5)


def _is_year(group: str) -> bool:
    return len(group) == 4 and group[:2] in ("19", "20")
