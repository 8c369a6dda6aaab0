"""What a tenant wants done about personal data at the door, read from its settings and checked.

Declares and refuses; nothing here looks at an event. A user's pattern is compiled once, here, so that one that
cannot work is refused when the service starts and not when the first event arrives.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec
import polars as pl

from feedback_platform.errors import ConfigError

Mode = Literal["off", "report", "mask", "reject"]
BuiltIn = Literal["email", "phone", "card", "iban", "ip"]
PseudonymousField = Literal["user_id", "session_id", "source.id"]

BUILT_IN: tuple[BuiltIn, ...] = get_args(BuiltIn)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# An expression that matches nothing at some place of these would put a mask between all characters of a text.
_PROBES = ("", "a", "ab 1", "1", ".", " ", "é\n\n-")


class PrivacyPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tenant's policy.

    Attributes:
        mask_text: `report` counts what would be masked, `mask` masks it, `reject` refuses the event, `off` does nothing.
        detect: built-in detectors in use.
        patterns: the tenant's own, name to regular expression in the syntax of the Rust regex crate (as in Polars).
        pseudonymise: ids that are replaced; `session_id` includes that of a target, `source.id` means people only.
    """

    mask_text: Mode = "report"
    detect: tuple[BuiltIn, ...] = BUILT_IN
    patterns: dict[str, str] = {}
    pseudonymise: tuple[PseudonymousField, ...] = ("user_id", "session_id", "source.id")


def parse_privacy(mapping: Mapping[str, Any]) -> PrivacyPolicy:
    """The policy that a mapping (from YAML, say) describes; an empty one gives the defaults.

    Raises:
        ConfigError: an unknown field, a value that is not allowed, or a pattern that cannot be used; names it.
    """
    given = dict(mapping)
    if given.get("mask_text") is False:  # YAML 1.1 reads a bare `off` as false
        given["mask_text"] = "off"
    try:
        policy = msgspec.convert(given, PrivacyPolicy)
    except msgspec.ValidationError as error:
        known = ", ".join(PrivacyPolicy.__struct_fields__)
        raise ConfigError(f"privacy: {error}. Known fields: {known}.") from None
    check_patterns(policy.patterns)
    return policy


def mask_token(name: str) -> str:
    """What stands in a text for something that the detector `name` found."""
    return f"[{name.upper()}]"


def check_patterns(patterns: Mapping[str, str]) -> None:
    """Refuse patterns that cannot be used.

    Raises:
        ConfigError: naming the pattern: a bad or taken name, an expression that does not compile, that matches the
            empty text, or that matches a mask (masking again would then change masked texts).
    """
    tokens = [mask_token(name) for name in (*BUILT_IN, *patterns)]
    for name, pattern in patterns.items():
        if not _NAME.fullmatch(name):
            raise _refused(name, "is no name", "Use lower-case letters, digits and _, a letter first, at most 32.")
        if name in BUILT_IN:
            raise _refused(name, "is the name of a built-in detector", "Give the pattern another name.")
        if "" in _matches(name, pattern, _PROBES):
            raise _refused(name, f"matches the empty text: {pattern!r}", "Let it demand at least one character.")
        if taken := _matches(name, pattern, tokens):
            fix = "Make it narrower: masks stand in texts that were masked before."
            raise _refused(name, f"matches {taken[0]!r} of a mask: {pattern!r}", fix)


def _matches(name: str, pattern: str, texts: tuple[str, ...] | list[str]) -> list[str]:
    try:
        return pl.Series(texts, dtype=pl.String).str.extract_all(pattern).explode().drop_nulls().to_list()
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split(" This error occurred")[0].split("\n\nThis error")[0].split())
        fix = "It must be a regular expression of the Rust regex crate: no look-around, no back-references."
        raise _refused(name, f"does not compile: {pattern!r} ({reason})", fix) from None


def _refused(name: str, why: str, fix: str) -> ConfigError:
    return ConfigError(f"privacy.patterns.{name} {why}. {fix}")
