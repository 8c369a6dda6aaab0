"""SQL text cut into tokens, as far as both dialects agree on tokens. Judges nothing; `sqllint` does."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["comment", "string", "quoted", "number", "macro", "word", "op"]

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*|/\*.*?\*/)
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
    | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
    | (?P<macro>@[A-Za-z_]\w*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<op>::|->>|->|//|\*\*|<=|>=|<>|!=|\|\||.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: what it is; `macro` is a name with `@` before it, whose call is opaque.
        text: as written; a string keeps its quotes.
        line: the line it starts on, counted from 1.
    """

    kind: Kind
    text: str
    line: int

    @property
    def upper(self) -> str:
        """The text of a word in capitals, otherwise as written: keywords compare without regard to case."""
        return self.text.upper() if self.kind == "word" else self.text


def tokenise(text: str) -> list[Token]:
    """All tokens of `text` in order, comments included and white space left out.

    Nothing is refused here: a quote that never closes comes out as an `op` token of that one character.
    """
    tokens, line = [], 1
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup, match.group()
        if kind != "space":
            tokens.append(Token(kind, found, line))  # type: ignore[arg-type]  # the groups are Kind plus space
        line += found.count("\n")
    return tokens


def closing(tokens: Sequence[Token], start: int) -> int:
    """Index of the `)` that ends what is open at `start`, or the number of tokens if nothing does.

    `start` is the first token *inside* the parenthesis.
    """
    depth = 0
    for i in range(start, len(tokens)):
        if tokens[i].text == "(":
            depth += 1
        elif tokens[i].text == ")":
            if depth == 0:
                return i
            depth -= 1
    return len(tokens)


def split_commas(tokens: Sequence[Token]) -> list[list[Token]]:
    """The tokens between commas that stand outside any bracket."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text in "([{") - (token.text in ")]}")
        if token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
