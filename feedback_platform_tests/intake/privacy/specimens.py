"""Made-up personal data of every kind that the detectors know, each valid by its own rules, and what only looks so.

Written against the standards (ISO/IEC 7812, ISO 13616, E.164) and not against the validators. A seed gives the same
specimens on every machine.
"""

import ipaddress
import random
import string
import uuid
from collections.abc import Callable, Mapping

CARRIERS = (
    "Please reach me at {} tomorrow.", "{}", "contact: {}", "Mine is ({}).", "Use {}, not the old one.",
    "Danke, {} ist richtig!", "см. {}; спасибо", '{{"value":"{}"}}', "line one\n{}\nline three",
)  # fmt: skip
CARD_PREFIXES = (("4", 16), ("4", 13), ("51", 16), ("2223", 16), ("37", 15), ("6011", 16), ("3528", 16), ("36", 14))
IBANS = {
    "DE": 18, "FR": 23, "GB": "WEST14", "NL": "ABNA10", "ES": 20, "IT": "X22", "CH": 17, "NO": 11, "BE": 12, "PL": 24,
    "MT": "MALT23", "AT": 16, "SE": 20,
}  # fmt: skip
PHONES = (
    "+49 30 ########", "+49 (0)89 #######", "+4915#########", "+44 20 #### ####", "+44 7### ######", "+33 1 ## ## ## ##",
    "+1 (415) 555-####", "+1-212-555-####", "+1 415 555 ####", "(415) 555-####", "415-555-####", "415.555.####",
    "1-800-555-####", "+34 91# ### ###", "+39 06 #### ####", "+41 44 ### ## ##", "+91 98### #####", "+81 3-####-####",
    "+86 138 #### ####", "+55 11 9####-####", "+61 2 #### ####", "+353 1 ### ####", "+420 2## ### ###", "+40 21 ### ####",
    "0049 30 #######", "030 1######", "030/1######", "(030) 1######", "0151 2#######", "01 42 ## ## ##", "07700 900###",
    "020 7### ####",
)  # fmt: skip


def numbers(chance: random.Random, count: int) -> str:
    """Random digits."""
    return "".join(chance.choices(string.digits, k=count))


def email(chance: random.Random) -> str:
    """Names and domains of many shapes."""
    name = chance.choice(["jo", "anna.maria", "o'neil", "x_1", "first+tag", "müller", "B.C-D"]) + numbers(chance, 2)
    host = chance.choice(["example.com", "mail.example.co.uk", "a-b.de", "bücher.example", "sub.domain.museum"])
    return f"{name}@{host}"


def luhn_digit(digits: str) -> str:
    """The digit that completes a card number."""
    doubled = [int(d) * (2 if place % 2 == 0 else 1) for place, d in enumerate(reversed(digits))]
    return str(-sum(sum(divmod(value, 10)) for value in doubled) % 10)


def card(chance: random.Random) -> str:
    """A card number, plain or grouped as on the card."""
    prefix, length = chance.choice(CARD_PREFIXES)
    digits = prefix + numbers(chance, length - len(prefix) - 1)
    digits += luhn_digit(digits)
    if length == 16 and (separator := chance.choice(["", " ", "-", "\u00a0"])):
        return separator.join(digits[at : at + 4] for at in range(0, 16, 4))
    return digits


def iban(chance: random.Random) -> str:
    """An IBAN of a country in `IBANS`, plain or in groups of four."""
    country, shape = chance.choice([*IBANS.items()])
    letters = "".join(filter(str.isalpha, str(shape)))
    account = letters + numbers(chance, int("".join(filter(str.isdigit, str(shape)))))
    check = 98 - int("".join(str(int(c, 36)) for c in f"{account}{country}00")) % 97
    text = f"{country}{check:02}{account}"
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4)) if chance.random() < 0.5 else text


def ip(chance: random.Random) -> str:
    """A host's address, version 4 or 6."""
    if chance.random() < 0.5:
        return f"{chance.randint(1, 126)}." + ".".join(str(chance.randint(0, 255)) for _ in range(3))
    long = ipaddress.IPv6Address((0x2001 << 112) | chance.getrandbits(chance.choice([16, 64, 112])))
    return chance.choice([long.compressed, long.exploded, long.compressed.upper()])


def phone(chance: random.Random) -> str:
    """A number in one of the written forms of `PHONES`."""
    return "".join(chance.choice("23456789") if c == "#" else c for c in chance.choice(PHONES))


MAKERS: Mapping[str, Callable[[random.Random], str]] = {
    "email": email, "card": card, "iban": iban, "ip": ip, "phone": phone,
}  # fmt: skip


def sentences(kind: str, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, the specimen in it) of one kind."""
    chance = random.Random(f"{kind}-{seed}")
    made = [(chance.choice(CARRIERS), MAKERS[kind](chance)) for _ in range(count)]
    return [(carrier.format(found), found) for carrier, found in made]


def lookalikes(count: int, seed: int = 0) -> list[str]:
    """Dates, prices, order ids, ISO times, UUIDs, hexadecimal, lists of decimals, versions, ISBNs, code."""
    chance = random.Random(f"lookalikes-{seed}")
    n = lambda k: numbers(chance, k)  # noqa: E731
    r = chance.randint
    makers: list[Callable[[], str]] = [
        lambda: f"on {r(1900, 2099)}-{r(1, 12):02}-{r(1, 28):02} and {r(1, 28):02}.{r(1, 12):02}.{r(1900, 2099)}",
        lambda: f"{r(1, 28):02}/{r(1, 12):02}/{r(1900, 2099)} {r(0, 23):02}:{r(0, 59):02}:{r(0, 59):02}",
        lambda: (
            f"{r(2000, 2030)}-{r(1, 12):02}-{r(1, 28):02}T{r(0, 23):02}:{r(0, 59):02}:{r(0, 59):02}.{n(6)}+{r(0, 9):02}00"
        ),
        lambda: f"${r(1, 999)},{n(3)},{n(3)}.{n(2)} or {r(1, 999)}.{n(3)},{n(2)} EUR, +{r(1, 99)} 000 000",
        lambda: f"order {n(10)} ref A{n(8)}-{n(4)} ticket #{n(9)} at {r(1_000_000_000, 1_999_999_999)}{n(3)}",
        lambda: f"id {uuid.UUID(int=chance.getrandbits(128), version=4)}",
        lambda: f"{uuid.UUID(int=int(n(32), 16))}",
        lambda: f"sha {chance.getrandbits(160):040x} 0x{chance.getrandbits(64):016x}",
        lambda: " ".join(f"{chance.uniform(-9, 9):.{r(2, 9)}f}" for _ in range(8)),
        lambda: ", ".join(f"{chance.random():.17f}" for _ in range(4)),
        lambda: " ".join(str(r(1, 1023)) for _ in range(9)),
        lambda: f"version {r(1, 9)}.{r(0, 99)}.{r(0, 9)}.{r(0, 9)} v{r(1, 9)}.{r(0, 9)}.{r(0, 9)}.{r(0, 9)}",
        lambda: f"978-{n(1)}-{n(2)}-{n(6)}-{n(1)} ISSN 0{n(3)}-{n(4)} {r(1950, 2030)}",
        lambda: f"std::vector<a::b> x[{r(0, 9)}::{r(0, 9)}] @app.route icon@{r(1, 3)}x.png pkg@{r(1, 9)}.{r(0, 9)}.0",
        lambda: f"{r(1900, 1999)} {r(2000, 2099)} {r(2000, 2020)} {r(2000, 2020)} {n(3)} {n(3)}",
    ]
    return [chance.choice(makers)() for _ in range(count)]
