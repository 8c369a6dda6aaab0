"""The portable subset of SQL: refuses what DuckDB and Spark SQL read differently, above all without an error.

It judges text, knows no tables and runs nothing. What it refuses is written as a named macro instead, defined
once per engine in `engines/macros/`; a macro's call (`@name(...)` or a plain call) is opaque here, not its
arguments.

`-- lint: allow <rule>: why` above a line, or at its end, silences one rule there. `-- unique: a, b` at an
ORDER BY declares that these of its keys together tell any two of its rows apart.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from feedback_platform.engines.sqltokens import Token, closing, split_commas, tokenise

UNIQUE_COLUMNS = frozenset({"pair_id", "feedback_id", "request_id", "example_id", "log_seq", "unit_key", "cluster_id"})

# rule -> what to write instead
RULES = {
    "order_by_nulls": "say NULLS FIRST or NULLS LAST on each key: the engines default differently",
    "order_by_tie": "end with a unique column or declare one (`-- unique: column`): ties come in any order",
    "order_by_all": "name the columns",
    "group_by_all": "name the columns: Spark and DuckDB infer other sets",
    "subscript": "use a macro: DuckDB counts from 1, Spark from 0",
    "list_literal": "use a macro: Spark has no [...] literal",
    "division": "use a macro: zero, integers and decimals divide differently",
    "power": "use a macro: `^` is a power in DuckDB and XOR in Spark",
    "float_aggregate": "sum integers or decimals, divide in a batch function: float sums depend on row order",
    "approximate": "count exactly, or in a batch function: the sketches differ",
    "arbitrary_pick": "use min(), max() or row_number() with a tie-break: which row it picks is undefined",
    "unordered_list": "give ORDER BY inside the aggregate, or wrap it in sort_array()",
    "cast": "use a cast macro: the engines round, overflow and fail differently",
    "star_modifier": "name the columns: Spark writes it differently or not at all",
    "qualify": "filter in an outer query: Spark has no QUALIFY",
    "from_first": "start with SELECT",
    "engine_hash": "use the hash column or a batch function: each engine hashes in its own way",
    "volatile": "use the window's parameters: a stage reads no clock and no random generator",
    "lambda": "use a macro or a batch function: lambdas are written differently",
    "join_kind": "use IN, NOT EXISTS or row_number(): this join is spelt differently or missing",
    "distinct_on": "use row_number() with a tie-break",
    "ilike": "compare lower() with LIKE",
    "double_quote": 'drop the quotes: "x" is a column in DuckDB and a string in Spark',
    "backslash": "use a macro: Spark reads \\ in a string as an escape, DuckDB does not",
    "unterminated": "close the quote",
    "bad_allow": "write `-- lint: allow <rule>: why`, at a line that breaks a known rule",
}

_CALLS = {
    "float_aggregate": "avg mean favg fsum kahan_sum stddev stddev_pop stddev_samp variance var_pop var_samp "
    "median quantile quantile_cont quantile_disc percentile percentile_cont percentile_disc "
    "corr covar_pop covar_samp kurtosis skewness entropy regr_slope regr_intercept regr_r2",
    "approximate": "approx_count_distinct approx_quantile approx_percentile percentile_approx approx_top_k",
    "arbitrary_pick": "any_value arbitrary first last mode arg_max arg_min max_by min_by",
    "cast": "cast try_cast",
    "star_modifier": "columns",
    "engine_hash": "hash xxhash64 md5_number md5_number_lower md5_number_upper",
    "volatile": "random rand randn uuid gen_random_uuid uuidv4 uuidv7 setseed shuffle now today "
    "unix_timestamp get_current_timestamp transaction_timestamp monotonically_increasing_id nextval",
}
_WORDS = {
    "qualify": "QUALIFY",
    "ilike": "ILIKE",
    "star_modifier": "EXCLUDE",
    "volatile": "CURRENT_TIMESTAMP CURRENT_DATE CURRENT_TIME LOCALTIMESTAMP LOCALTIME",
    "join_kind": "ASOF POSITIONAL",
}
_PHRASES = {
    ("SEMI", "JOIN"): "join_kind",
    ("ANTI", "JOIN"): "join_kind",
    ("DISTINCT", "ON"): "distinct_on",
    ("GROUP", "BY", "ALL"): "group_by_all",
    ("ORDER", "BY", "ALL"): "order_by_all",
    ("*", "REPLACE"): "star_modifier",
    ("*", "EXCEPT", "("): "star_modifier",
    ("*", "RENAME"): "star_modifier",
}
_OPS = {
    "/": "division",
    "//": "division",
    "^": "power",
    "**": "power",
    "::": "cast",
    "->": "lambda",
    "->>": "lambda",
    "'": "unterminated",
    '"': "unterminated",
    "`": "unterminated",
}
_CALL_RULE = {name: rule for rule, names in _CALLS.items() for name in names.split()}
_WORD_RULE = {name: rule for rule, names in _WORDS.items() for name in names.split()}
_LISTS = frozenset(["list", "array_agg", "string_agg", "group_concat", "listagg", "collect_list", "collect_set"])
_FLOAT_WORD = re.compile(r"(.*_)?(double|float|float4|float8|real)", re.IGNORECASE)
_ENDS_ORDER = frozenset(
    ["LIMIT", "OFFSET", "FETCH", "ROWS", "RANGE", "GROUPS", "UNION", "INTERSECT", "EXCEPT", "WINDOW"]
)
_FROM_CALLS = frozenset(["EXTRACT", "TRIM", "SUBSTRING", "OVERLAY", "POSITION"])
_BEFORE_LITERAL = frozenset(["SELECT", "IN", "THEN", "ELSE", "WHEN", "AND", "OR"])
_ALLOW = re.compile(r"--\s*lint:(?:\s*allow\s+(?P<rule>\w+)\s*:\s*(?P<why>\S.*))?")
_UNIQUE = re.compile(r"--\s*unique:\s*(?P<columns>\w+(?:\s*,\s*\w+)*)")

_Hit = tuple[int, str]  # index into the code tokens, rule


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One refusal.

    Attributes:
        name: the file or body it was found in, as given to `lint_sql`.
        line: counted from 1.
        rule: a key of `RULES`.
        found: the text at fault.
    """

    name: str
    line: int
    rule: str
    found: str

    def __str__(self) -> str:
        return f"{self.name}:{self.line}: {self.rule}: `{self.found}`: {RULES[self.rule]}"


def lint_sql(text: str, name: str) -> list[Finding]:
    """What in `text` DuckDB and Spark SQL could read differently, in order of lines; empty if portable."""
    tokens = tokenise(text)
    code = [t for t in tokens if t.kind != "comment"]
    comments = [t for t in tokens if t.kind == "comment"]
    hits = [*_tokens(code), *_calls(code), *_brackets(code), *_from_first(code), *_order_by(code, comments)]
    findings = {Finding(name, code[i].line, rule, code[i].text) for i, rule in hits}
    return sorted(_apply_allowances(findings, code, comments, name))


def _tokens(code: Sequence[Token]) -> Iterator[_Hit]:
    """Whatever one token, or a fixed run of words, gives away."""
    for i, token in enumerate(code):
        if token.kind == "op" and token.text in _OPS:
            yield i, _OPS[token.text]
        elif token.kind == "string" and "\\" in token.text:
            yield i, "backslash"
        elif token.kind == "quoted":
            yield i, "double_quote"
        elif token.kind == "word" and token.upper in _WORD_RULE and not _is_name(code, i):
            yield i, _WORD_RULE[token.upper]
        for phrase, rule in _PHRASES.items():
            if tuple(t.upper for t in code[i : i + len(phrase)]) == phrase:
                yield i, rule
        if token.upper == "LAMBDA" and [t.text for t in code[i + 2 : i + 3]] in ([":"], [","]):
            yield i, "lambda"


def _is_name(code: Sequence[Token], i: int) -> bool:
    """Whether the word is somebody's column or alias rather than a keyword."""
    return i > 0 and (code[i - 1].text == "." or code[i - 1].upper == "AS")


def _calls(code: Sequence[Token]) -> Iterator[_Hit]:
    """Functions that are refused by name, or for what stands between their parentheses."""
    for i, token in enumerate(code[:-1]):
        if token.kind != "word" or code[i + 1].text != "(":
            continue
        called = token.text.lower()
        inside = code[i + 2 : closing(code, i + 2)]
        if called in _CALL_RULE:
            yield i, _CALL_RULE[called]
        elif called == "sum" and any(_is_float(t) for t in inside):
            yield i, "float_aggregate"
        elif called in _LISTS and not (_is_sorted(code, i) or any(t.upper == "ORDER" for t in inside)):
            yield i, "unordered_list"


def _is_sorted(code: Sequence[Token], i: int) -> bool:
    """Whether the call at `i` is the argument of `sort_array(...)`, which orders by the values themselves."""
    return i > 1 and code[i - 1].text == "(" and code[i - 2].text.lower().lstrip("@") == "sort_array"


def _is_float(token: Token) -> bool:
    if token.kind == "number":
        return "e" in token.text.lower()
    return token.kind in ("word", "macro") and bool(_FLOAT_WORD.fullmatch(token.text.lstrip("@")))


def _brackets(code: Sequence[Token]) -> Iterator[_Hit]:
    """`x[1]` and `[1, 2]`; what stands before the bracket tells them apart."""
    for i, token in enumerate(code):
        if token.text == "[":
            before = code[i - 1] if i > 0 else token
            is_value = before.kind in ("word", "quoted") and before.upper not in _BEFORE_LITERAL
            yield i, "subscript" if is_value or before.text in (")", "]") else "list_literal"


def _from_first(code: Sequence[Token]) -> Iterator[_Hit]:
    """A FROM that no SELECT of the same query precedes."""
    selected = [False]  # per open parenthesis: may a FROM come now?
    for i, token in enumerate(code):
        if token.text == "(":
            selected.append(i > 0 and code[i - 1].upper in _FROM_CALLS)
        elif token.text == ")" and len(selected) > 1:
            selected.pop()
        elif token.upper in ("SELECT", "DELETE"):
            selected[-1] = True
        elif token.upper in (";", "UNION", "INTERSECT", "EXCEPT"):
            selected[-1] = False
        elif token.upper == "FROM" and not selected[-1] and code[i - 1].upper != "DISTINCT":
            yield i, "from_first"


def _order_by(code: Sequence[Token], comments: Sequence[Token]) -> Iterator[_Hit]:
    """Keys without a place for nulls, and orders that leave ties."""
    for i in range(len(code) - 2):
        if (code[i].upper, code[i + 1].upper) != ("ORDER", "BY") or code[i + 2].upper == "ALL":
            continue
        end = _order_end(code, i + 2)
        keys, start = split_commas(code[i + 2 : end]), i + 2
        for key in keys:
            if len(key) < 3 or key[-2].upper != "NULLS" or key[-1].upper not in ("FIRST", "LAST"):
                yield min(start, len(code) - 1), "order_by_nulls"
            start += len(key) + 1
        declared = _declared_unique(comments, code[i].line - 1, code[end - 1].line)
        if not _settles_ties([_expression(k) for k in keys], declared, _aggregated(code, i)):
            yield i, "order_by_tie"


def _order_end(code: Sequence[Token], start: int) -> int:
    """Index just behind the last key."""
    end, depth = closing(code, start), 0
    for i in range(start, end):
        depth += (code[i].text == "(") - (code[i].text == ")")
        if depth == 0 and (code[i].text == ";" or code[i].upper in _ENDS_ORDER):
            return i
    return end


def _expression(key: Sequence[Token]) -> list[str]:
    """The key without its direction and its place for nulls, in lower case."""
    words = [t.text.lower() for t in key]
    if words[-2:-1] == ["nulls"]:
        words = words[:-2]
    return words[:-1] if words[-1:] in (["asc"], ["desc"]) else words


def _settles_ties(keys: Sequence[list[str]], declared: frozenset[str], aggregated: list[str]) -> bool:
    """Whether no two rows that differ in effect can compare equal under these keys."""
    columns = [key[-1] for key in keys if len(key) == 1 or (len(key) == 3 and key[1] == ".")]
    last = keys[-1][-1:] if columns and keys[-1][-1:] == columns[-1:] else []
    by_name = bool(last) and last[0] in UNIQUE_COLUMNS
    by_comment = bool(declared) and declared <= set(columns)
    return by_name or by_comment or (bool(aggregated) and aggregated in keys)


def _aggregated(code: Sequence[Token], order: int) -> list[str]:
    """First argument of the aggregate around this ORDER: values ordered by themselves leave no tie."""
    depth = 0
    for i in range(order - 1, 0, -1):
        depth += (code[i].text == ")") - (code[i].text == "(")
        if depth < 0:
            if code[i - 1].text.lower().lstrip("@") not in _LISTS:
                return []
            words = [t.text.lower() for t in split_commas(code[i + 1 : order])[0]]
            return words[1:] if words[:1] == ["distinct"] else words
    return []


def _declared_unique(comments: Sequence[Token], first: int, last: int) -> frozenset[str]:
    for comment in comments:
        match = _UNIQUE.match(comment.text)
        if match and first <= comment.line <= last:
            return frozenset(c.strip().lower() for c in match["columns"].split(","))
    return frozenset()


def _apply_allowances(
    findings: set[Finding], code: Sequence[Token], comments: Sequence[Token], name: str
) -> set[Finding]:
    """The findings that no comment allows, and the comments that allow nothing."""
    allowed: set[tuple[int, str]] = set()
    bad: set[Finding] = set()
    broken = {(f.line, f.rule) for f in findings}
    for comment in comments:
        match = _ALLOW.match(comment.text)
        if match is None:
            continue
        below = min((t.line for t in code if t.line >= comment.line), default=0)
        if (below, match["rule"]) in broken:
            allowed.add((below, match["rule"]))
        else:
            bad.add(Finding(name, comment.line, "bad_allow", comment.text))
    return {f for f in findings if (f.line, f.rule) not in allowed} | bad
