"""``&``, ``|`` and ``!`` between conditions, as IoTDB writes AND, OR and NOT.

A sign joins conditions where both of its sides hold a comparison: ``a = 0 & b > 1``. Otherwise it
is DuckDB's operator on bits or texts: ``flags & 4 = 4``, ``a || 'x' = b``. A side ends with the
parenthesis around it, a comma, or a word such as AND or WHERE.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot.tokenizer_core import Token, TokenType

SIDE_TOKENS_MAX = 256
"""Tokens of a side that are looked at: a script of signs alone takes linear time."""

_SIGNS = {
    TokenType.AMP: TokenType.AND,
    TokenType.DAMP: TokenType.AND,
    TokenType.PIPE: TokenType.OR,
    TokenType.DPIPE: TokenType.OR,
}
_COMPARISONS = frozenset(
    {
        TokenType.EQ,
        TokenType.NEQ,
        TokenType.LT,
        TokenType.LTE,
        TokenType.GT,
        TokenType.GTE,
        TokenType.LIKE,
        TokenType.ILIKE,
        TokenType.BETWEEN,
        TokenType.IN,
        TokenType.IS,
        TokenType.NOT,
    }
)
_ENDS = frozenset(
    {
        *_SIGNS,
        TokenType.AND,
        TokenType.OR,
        TokenType.COMMA,
        TokenType.SEMICOLON,
        TokenType.SELECT,
        TokenType.FROM,
        TokenType.WHERE,
        TokenType.HAVING,
        TokenType.QUALIFY,
        TokenType.ON,
        TokenType.CASE,
        TokenType.WHEN,
        TokenType.THEN,
        TokenType.ELSE,
        TokenType.END,
        TokenType.WITH,
        TokenType.GROUP_BY,
        TokenType.ORDER_BY,
        TokenType.LIMIT,
        TokenType.PARTITION_BY,
    }
)
_OPENING = (TokenType.L_PAREN, TokenType.L_BRACKET)
_CLOSING = (TokenType.R_PAREN, TokenType.R_BRACKET)


def join_conditions(tokens: list[Token]) -> list[Token]:
    """The tokens with AND and OR in place of the signs that join conditions."""
    found = [index for index, token in enumerate(tokens) if token.token_type in _SIGNS]
    if not found:
        return tokens
    joined = list(tokens)
    for index in found:
        left = range(index - 1, max(index - 1 - SIDE_TOKENS_MAX, -1), -1)
        right = range(index + 1, min(index + 1 + SIDE_TOKENS_MAX, len(tokens)))
        if _has_comparison(tokens, left, _CLOSING, _OPENING) and _has_comparison(
            tokens, right, _OPENING, _CLOSING
        ):
            joined[index] = _renamed(tokens[index])
    return joined


def _has_comparison(
    tokens: list[Token],
    positions: Iterable[int],
    deeper: tuple[TokenType, ...],
    higher: tuple[TokenType, ...],
) -> bool:
    depth = 0
    for position in positions:
        kind = tokens[position].token_type
        if kind in deeper:
            depth += 1
        elif kind in higher:
            depth -= 1
            if depth < 0:
                return False
        elif kind in _COMPARISONS:
            return True
        elif depth == 0 and kind in _ENDS:
            return False
    return False


def _renamed(token: Token) -> Token:
    kind = _SIGNS[token.token_type]
    return Token(
        kind, kind.name, token.line, token.col, token.start, token.end, comments=token.comments
    )
