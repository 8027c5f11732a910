"""The filter language, parsed into SQL conditions: ``service = "Amazon S3" and (tag:env != prod or region in (a, b))``.

Comparisons are ``=``, ``!=``, ``~`` (contains, any case), ``in (…)``, ``is empty`` and ``is not empty``; ``cost`` and
``billed`` compare with numbers by ``<``, ``<=``, ``>``, ``>=``. They combine by ``and``, ``or``, ``not`` and parentheses.
Values are literals in the tree, never pasted into text.
"""

import re
from dataclasses import dataclass

from sqlglot import exp

from bursar.kernel.errors import Invalid
from bursar.kernel.money import decimal_from
from bursar.parts.cloud.rules.dimensions import CostKind, cost, dimension

FILTER_CHARS_MAX = 4000
DEPTH_MAX = 20
VALUES_MAX = 1000

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign><=|>=|!=|[()=,~<>])|(?P<word>[^\s()=,~<>!"']+))"""
)
_NUMBERS = {"cost": CostKind.EFFECTIVE, **{kind.value: kind for kind in CostKind}}
_ORDER = {"<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE, "=": exp.EQ, "!=": exp.NEQ}


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    at: int
    quoted: bool = False

    def is_word(self, word: str) -> bool:
        return not self.quoted and self.text.lower() == word


def parse_filter(text: str) -> exp.Expr | None:
    """Return the condition that ``text`` means; None for an empty one.

    Raises:
        Invalid: It cannot be understood; the message says where.
    """
    if len(text) > FILTER_CHARS_MAX:
        raise Invalid(f"the filter is longer than {FILTER_CHARS_MAX} characters", "Shorten it.")
    tokens = _tokens(text)
    if not tokens:
        return None
    parser = _Parser(tokens, len(text))
    condition = parser.any_of(0)
    if (left := parser.peek()) is not None:
        raise _wrong(left.at, f"{left.text!r} is left over; join conditions with and/or")
    return condition


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise _wrong(at, f"{stripped[at : at + 10]!r} is not understood; put text in quotes")
        quoted = match["text"]
        word = re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted else match["sign"] or match["word"]
        found.append(_Token(word, match.end() - len(match[0].lstrip()), quoted=bool(quoted)))
        at = match.end()
    return found


def _wrong(at: int, what: str) -> Invalid:
    return Invalid(f"in the filter at character {at + 1}: {what}", 'Example: service = "Amazon S3" and tag:env != prod')


class _Parser:
    def __init__(self, tokens: list[_Token], end: int) -> None:
        self.tokens = tokens
        self.position = 0
        self.end = end

    def peek(self) -> _Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def take(self, wanted: str) -> _Token:
        token = self.peek()
        if token is None:
            raise _wrong(self.end, f"{wanted} is missing")
        self.position += 1
        return token

    def accept(self, word: str) -> bool:
        token = self.peek()
        if token is not None and token.is_word(word):
            self.position += 1
            return True
        return False

    def any_of(self, depth: int) -> exp.Expr:
        terms = [self.all_of(depth)]
        while self.accept("or"):
            terms.append(self.all_of(depth))
        return exp.or_(*terms) if len(terms) > 1 else terms[0]

    def all_of(self, depth: int) -> exp.Expr:
        terms = [self.one(depth)]
        while self.accept("and"):
            terms.append(self.one(depth))
        return exp.and_(*terms) if len(terms) > 1 else terms[0]

    def one(self, depth: int) -> exp.Expr:
        if depth > DEPTH_MAX:
            raise _wrong(0, f"more than {DEPTH_MAX} parentheses inside each other")
        if self.accept("not"):
            return exp.not_(exp.func("coalesce", exp.paren(self.one(depth + 1)), exp.false()))
        if self.accept("("):
            inner = self.any_of(depth + 1)
            closing = self.take("a closing parenthesis")
            if not closing.is_word(")"):
                raise _wrong(closing.at, f"a closing parenthesis is missing before {closing.text!r}")
            return exp.paren(inner)
        return self.comparison()

    def comparison(self) -> exp.Expr:
        name = self.take("a dimension")
        if name.text.lower() in _NUMBERS and not name.quoted:
            return self.number(name)
        what = dimension(name.text)
        if self.accept("is"):
            negated = self.accept("not")
            word = self.take("empty")
            if not word.is_word("empty"):
                raise _wrong(word.at, "write 'is empty' or 'is not empty'")
            empty = exp.func("coalesce", what, exp.Literal.string("")).eq(exp.Literal.string(""))
            return exp.not_(exp.paren(empty)) if negated else exp.paren(empty)
        if self.accept("in"):
            return what.isin(*[exp.Literal.string(value) for value in self.values()])
        sign = self.take("a comparison")
        value = exp.Literal.string(self.take("a value").text)
        if sign.text == "=":
            return exp.EQ(this=what, expression=value)
        if sign.text == "!=":
            return exp.paren(exp.or_(exp.NEQ(this=what, expression=value), what.copy().is_(exp.null())))
        if sign.text == "~":
            return exp.GT(this=exp.func("instr", exp.func("lower", what), exp.func("lower", value), dialect="duckdb"),
                          expression=exp.Literal.number(0))  # fmt: skip
        raise _wrong(sign.at, f"{sign.text!r} does not compare texts; use = != ~ in or is empty")

    def number(self, name: _Token) -> exp.Expr:
        sign = self.take("a comparison")
        token = self.take("a number")
        order = _ORDER.get(sign.text)
        if order is None:
            raise _wrong(sign.at, f"{sign.text!r} does not compare numbers; use < <= > >= = !=")
        try:
            value = decimal_from(token.text)
        except ValueError as error:
            raise _wrong(token.at, f"{token.text!r} is not a number") from error
        literal = exp.cast(exp.Literal.string(f"{value:f}"), "decimal(38, 15)")
        return order(this=cost(_NUMBERS[name.text.lower()]), expression=literal)

    def values(self) -> list[str]:
        opening = self.take("a list in parentheses")
        if not opening.is_word("("):
            raise _wrong(opening.at, "put the values in parentheses, like in (a, b)")
        found = [self.take("a value").text]
        while self.accept(","):
            found.append(self.take("a value").text)
        closing = self.take("a closing parenthesis")
        if not closing.is_word(")"):
            raise _wrong(closing.at, f"a comma or a closing parenthesis is missing before {closing.text!r}")
        if len(found) > VALUES_MAX:
            raise _wrong(opening.at, f"more than {VALUES_MAX} values")
        return found
