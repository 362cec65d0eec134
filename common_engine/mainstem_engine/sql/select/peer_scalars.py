"""Functions of one value that the peers have and the executing database lacks, in its words.

1. TDengine's functions of time take a time, a text or an integer in the precision; what they make
   of times as integers is in the precision too. Days and weeks are those of the request's zone.
2. Casts between times and integers are in the precision.
3. IoTDB names parameters: ``STRREPLACE(s, 'target'='a', 'replace'='b')``; such calls are its own.
4. LOG(x, 2) with a constant behind a column has that base, as TDengine writes it; LOG(2, x) is the
   executing database's. Where both know a function with the same arguments, it is the database's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.errors import ParseError

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import SqlError
from mainstem_engine.model import ColumnType
from mainstem_engine.sql.grammar.clauses import read_duration
from mainstem_engine.sql.grammar.dialect import DURATION_NS, Mainstem
from mainstem_engine.sql.select.quoted_texts import read_quoted_texts
from mainstem_engine.sql.select.relations import RelationColumn
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_expressions import TimeExpressions, moment_text
from mainstem_engine.sql.select.time_formats import strftime_format
from mainstem_engine.sql.times import NS_PER_DAY, NS_PER_US

_FRACTIONS = {1: "%n", 1_000: "%f", 1_000_000: "%g"}
"""Digits behind the second, by precision in ns."""
_PSEUDO = frozenset(
    {"_wstart", "_wend", "_qstart", "_qend", "__endtime", "_irowts", "_irowts_origin", "_rowts"}
)
"""Names of times of windows and moments, which are known when these are made."""
_WEEK_NS = 7 * NS_PER_DAY
_WEEK_MODES = {0: "%U", 5: "%W"}
_INTEGERS = frozenset({exp.DType.BIGINT, exp.DType.UBIGINT})
_TIMES = frozenset({exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPNTZ})


def rewrite_scalars(
    tree: exp.Expr, scopes: Scopes, times: TimeExpressions, time_zone: str, database: str
) -> None:
    """Rewrites every call of a statement. Raises SqlError for arguments that mean nothing."""
    read_quoted_texts(tree, scopes)
    scalars = _Scalars(scopes, times, time_zone, database)
    # Inner ones first: an outer one keeps a copy of them.
    for node in reversed(list(tree.find_all(exp.Func))):
        made = scalars.rewritten(node)
        if made is not None:
            node.replace(made)


class _Scalars:
    def __init__(
        self, scopes: Scopes, times: TimeExpressions, time_zone: str, database: str
    ) -> None:
        self._scopes = scopes
        self._times = times
        self._zone = time_zone
        self._database = database
        self._of_time: dict[str, Callable[[list[exp.Expr]], exp.Expr]] = {
            "timetruncate": self._truncated,
            "timediff": self._difference,
            "to_unixtimestamp": self._unix_time,
            "to_iso8601": self._iso_text,
        }
        self._texts = {
            "timezone": time_zone,
            "database": database.removeprefix("root."),
        }

    def rewritten(self, node: exp.Expr) -> exp.Expr | None:
        """What stands for a node; None for one that stays."""
        if isinstance(node, exp.Anonymous):
            return self._anonymous(node.name.casefold(), list(node.expressions))
        if isinstance(node, exp.Cast):
            return self._cast(node)
        if isinstance(node, exp.ToChar) and node.args.get("format") is not None:
            return _strftime(self._moment(node.this), _format(node.args["format"], "TO_CHAR"))
        scale = node.args.get("scale") if isinstance(node, exp.UnixToTime) else None
        if scale is not None and not scale.is_number:  # epoch_ms(x) has a number there
            text = _format(scale, "TO_TIMESTAMP")
            parsed = exp.func("try_strptime", node.this.copy(), exp.Literal.string(text))
            return exp.cast(parsed, exp.DType.TIMESTAMPTZ)
        if isinstance(node, exp.Week) and node.args.get("mode") is not None:
            return self._week(node)
        if isinstance(node, exp.Week | exp.DayOfWeek | exp.WeekOfYear):
            return self._of_constant(node)
        return _plain(node)

    def _anonymous(self, name: str, arguments: list[exp.Expr]) -> exp.Expr | None:
        if name in self._texts and not arguments:
            return exp.Literal.string(self._texts[name])
        if name == "server_status" and not arguments:
            return exp.Literal.number(1)
        if name == "weekday" and len(arguments) == 1 and not self._is_time(arguments[0]):
            return exp.Anonymous(this=name, expressions=[self._moment(arguments[0])])
        build = self._of_time.get(name)
        if build is not None:
            if not 1 <= len(arguments) <= 3:
                raise SqlError(f"{name} takes one to three arguments", field=name, hint=_HINT)
            return build(arguments)
        return _named_call(name, arguments)

    # Times

    def _is_time(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.Column) and not node.table and node.name.casefold() in _PSEUDO:
            return True
        return self._times.is_time(node)

    def _moment(self, node: exp.Expr) -> exp.Expr:
        """A time, of whatever is given."""
        if self._is_time(node):
            return node.copy()
        value_ns = self._times.constant_ns(node)
        if value_ns is None:
            return self._of_column(node)
        if not TIME_MIN_NS <= value_ns <= TIME_MAX_NS:
            raise SqlError(
                f"{node.sql()} is beyond what times can be",
                hint="times are from 1677 to 2262",
            )
        is_fine = self._times.precision_ns == 1 or value_ns % NS_PER_US
        name = "TIMESTAMPTZ_NS" if is_fine else "TIMESTAMPTZ"
        kind = exp.DataType(this=exp.DType.USERDEFINED, kind=name)
        return exp.Cast(this=exp.Literal.string(moment_text(value_ns, name)), to=kind)

    def _of_column(self, node: exp.Expr) -> exp.Expr:
        """A text is read, an integer is in the precision."""
        found = None
        if isinstance(node, exp.Column):
            found = self._scopes.origin(node, node.find_ancestor(exp.Select))
        if isinstance(found, RelationColumn):
            if found.type.is_integer:
                micros = _rescaled(node.copy(), self._times.precision_ns)
                return exp.cast(exp.func("make_timestamptz", micros), exp.DType.TIMESTAMPTZ)
            if found.type != ColumnType.TEXT:
                raise SqlError(
                    f"{node.sql()} is no time", field=found.name, hint="name a time or a text"
                )
        return exp.TryCast(this=node.copy(), to=exp.DataType.build("TIMESTAMPTZ"))

    def _of_constant(self, node: exp.Expr) -> exp.Expr | None:
        if self._is_time(node.this) or not isinstance(node.this, exp.Literal):
            return None
        return type(node)(this=self._moment(node.this))

    def _ticks(self, node: exp.Expr, unit_ns: int) -> exp.Expr:
        return _divided(exp.func("epoch_ns", self._moment(node)), unit_ns)

    def _unit_ns(self, node: exp.Expr, name: str) -> int:
        if isinstance(node, exp.Interval) and DURATION_NS in node.meta:
            found = int(node.meta[DURATION_NS])
        elif isinstance(node, exp.Literal | exp.Placeholder):
            written: Any = node.this
            if isinstance(node, exp.Placeholder):
                written = self._times.parameter(node)
            duration = read_duration(str(written))
            found = 0 if duration.months else duration.ns
        else:
            found = 0
        if found <= 0:
            raise SqlError(
                f"{name}: {node.sql()} is not a unit of time",
                field=name,
                hint="write 1s, 1m, 1h, 1d or 1w",
            )
        return found

    def _truncated(self, arguments: list[exp.Expr]) -> exp.Expr:
        """Of days and weeks, in the zone, unless the last argument is 0."""
        if len(arguments) < 2:
            raise SqlError("TIMETRUNCATE takes a time and a unit", hint="TIMETRUNCATE(ts, 1h)")
        moment, unit_ns = self._moment(arguments[0]), self._unit_ns(arguments[1], "TIMETRUNCATE")
        if unit_ns <= self._times.precision_ns or unit_ns % NS_PER_US:
            return moment
        is_local = len(arguments) < 3 or arguments[2].name != "0"
        if unit_ns == NS_PER_DAY and is_local:
            return exp.TimestampTrunc(this=moment, unit=exp.var("DAY"))
        if unit_ns % NS_PER_DAY == 0 and is_local:
            local = exp.func("timezone", exp.Literal.string(self._zone), moment)
            cut = exp.func("time_bucket", _micros(unit_ns), local, _EPOCH.copy())
            made = exp.func("timezone", exp.Literal.string(self._zone), cut)
            return exp.cast(made, exp.DType.TIMESTAMPTZ)
        if unit_ns % _WEEK_NS == 0:
            origin = exp.cast(exp.Literal.string("1970-01-01 00:00:00+00"), exp.DType.TIMESTAMPTZ)
            return exp.DateBin(this=_micros(unit_ns), expression=moment, origin=origin)
        return exp.DateBin(this=_micros(unit_ns), expression=moment)

    def _difference(self, arguments: list[exp.Expr]) -> exp.Expr:
        """Whole units from the second time to the first."""
        if len(arguments) < 2:
            raise SqlError("TIMEDIFF takes two times", hint="TIMEDIFF(a, b, 1s)")
        unit_ns = self._times.precision_ns
        if len(arguments) == 3:
            unit_ns = self._unit_ns(arguments[2], "TIMEDIFF")
        first, second = (exp.func("epoch_ns", self._moment(node)) for node in arguments[:2])
        return _divided(exp.paren(exp.Sub(this=first, expression=second)), unit_ns)

    def _unix_time(self, arguments: list[exp.Expr]) -> exp.Expr:
        if len(arguments) == 2 and arguments[1].name == "1":
            return self._moment(arguments[0])
        return self._ticks(arguments[0], self._times.precision_ns)

    def _iso_text(self, arguments: list[exp.Expr]) -> exp.Expr:
        moment = self._moment(arguments[0])
        pattern = "%Y-%m-%dT%H:%M:%S." + _FRACTIONS[self._times.precision_ns]
        if len(arguments) == 1:
            offset = exp.func("replace", _strftime(moment, "%z"), _text(":"), _text(""))
            padded = exp.func("rpad", offset, exp.Literal.number(5), _text("0"))
            return exp.func("concat", _strftime(moment.copy(), pattern), padded)
        written = arguments[1].name
        local: exp.Expr = exp.func("timezone", _text("UTC"), moment)
        shift_us = _offset_us(written)
        if shift_us:
            local = exp.Add(this=local, expression=_micros(shift_us * NS_PER_US))
        return exp.func("concat", _strftime(local, pattern), _text(written.upper()))

    def _week(self, node: exp.Week) -> exp.Expr:
        mode, moment = node.args["mode"].name, self._moment(node.this)
        if mode in ("0", "5"):
            number = _strftime(moment, _WEEK_MODES[int(mode)])
            return exp.cast(number, exp.DType.BIGINT)
        if mode == "3":
            return exp.Week(this=moment)
        if mode != "1":
            raise SqlError(
                f"WEEK has no mode {mode}", field="WEEK", hint="write 0, 1, 3 or 5 for it"
            )
        iso, year = exp.func("isoyear", moment), exp.func("year", moment.copy())
        return exp.Case(
            ifs=[
                exp.If(this=exp.LT(this=iso, expression=year), true=exp.Literal.number(0)),
                exp.If(
                    this=exp.GT(this=iso.copy(), expression=year.copy()),
                    true=exp.Literal.number(53),
                ),
            ],
            default=exp.Week(this=moment.copy()),
        )

    def _cast(self, node: exp.Cast) -> exp.Expr | None:
        """Between times and integers; BINARY(n) is a text."""
        value, kind = node.this, node.to
        if kind.this == exp.DType.VARBINARY and kind.expressions:
            return type(node)(this=value.copy(), to=exp.DataType.build("TEXT"))
        if kind.this in _INTEGERS and self._is_time(value):
            return self._ticks(value, self._times.precision_ns)
        number = value.this if isinstance(value, exp.Neg) else value
        is_number = isinstance(number, exp.Literal) and not number.is_string
        if kind.this in _TIMES and is_number:
            return self._moment(value)
        return None


_HINT = "docs/sql-functions.md has an example"
_EPOCH = exp.cast(exp.Literal.string("1970-01-01"), exp.DType.TIMESTAMP)


def _text(value: str) -> exp.Literal:
    return exp.Literal.string(value)


def _micros(length_ns: int) -> exp.Interval:
    amount = exp.Literal.string(str(length_ns // NS_PER_US))
    return exp.Interval(this=amount, unit=exp.var("MICROSECOND"))


def _divided(node: exp.Expr, unit: int) -> exp.Expr:
    if unit == 1:
        return node
    return exp.paren(exp.IntDiv(this=node, expression=exp.Literal.number(unit)))


def _rescaled(node: exp.Expr, precision_ns: int) -> exp.Expr:
    """An integer of the precision as microseconds."""
    if precision_ns < NS_PER_US:
        return _divided(node, NS_PER_US // precision_ns)
    return exp.Mul(this=exp.paren(node), expression=exp.Literal.number(precision_ns // NS_PER_US))


def _strftime(node: exp.Expr, pattern: str) -> exp.Expr:
    return exp.Anonymous(this="strftime", expressions=[node, _text(pattern)])


def _format(node: exp.Expr, name: str) -> str:
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise SqlError(f"{name} takes a format in quotes", field=name, hint="'yyyy-mm-dd hh24:mi'")
    return strftime_format(node.this)


def _offset_us(written: str) -> int:
    """Microseconds of ``+08:00``, ``-0530``, ``+08`` or ``Z``."""
    digits = written[1:].replace(":", "")
    is_offset = written[:1] in ("+", "-") and digits.isdecimal() and len(digits) in (2, 4)
    if written.upper() == "Z":
        return 0
    if not is_offset:
        raise SqlError(
            f"TO_ISO8601: {written!r} is not an offset",
            field="TO_ISO8601",
            hint="write 'Z', '+08:00' or '-0530'",
        )
    minutes = int(digits[:2]) * 60 + int(digits[2:] or 0)
    return (-1 if written[0] == "-" else 1) * minutes * 60 * 10**6


# Numbers and texts


def _plain(node: exp.Expr) -> exp.Expr | None:
    """Functions that sqlglot knows."""
    arguments = node.args
    if isinstance(node, exp.Log) and arguments.get("expression") is not None:
        base = arguments["expression"]
        if _is_number(base) and not _is_number(node.this):
            return exp.Anonymous(this="log", expressions=[base.copy(), node.this.copy()])
    if isinstance(node, exp.Floor | exp.Ceil) and _is_number(arguments.get("decimals")):
        factor = exp.Literal.number(repr(10.0 ** float(arguments["decimals"].sql())))
        scaled = exp.Mul(this=exp.paren(node.this.copy()), expression=factor)
        return exp.paren(exp.Div(this=type(node)(this=scaled), expression=factor.copy()))
    if isinstance(node, exp.SubstringIndex):
        return _substring_index(node)
    if isinstance(node, exp.SHA2) and arguments.get("length") is not None:
        return exp.func("sha256", node.this.copy()) if arguments["length"].name == "256" else None
    if isinstance(node, exp.Round | exp.StartsWith | exp.EndsWith | exp.Substring):
        written = [value for value in arguments.values() if isinstance(value, exp.Expr)]
        return _named_call(type(node).__name__.casefold(), written)
    if isinstance(node, exp.StrPosition | exp.Concat):
        # LOCATE(s, 'target'='a'), whose arguments sqlglot swaps.
        written = [value for value in node.iter_expressions() if isinstance(value, exp.Expr)]
        written.sort(key=lambda value: isinstance(value, exp.EQ))
        name = "locate" if isinstance(node, exp.StrPosition) else "concat"
        return _named_call(name, written)
    return None


def _is_number(node: object) -> bool:
    if isinstance(node, exp.Neg | exp.Paren):
        return _is_number(node.this)
    return isinstance(node, exp.Literal) and not node.is_string


def _substring_index(node: exp.SubstringIndex) -> exp.Expr | None:
    count = node.args.get("count")
    if not _is_number(count):
        raise SqlError("SUBSTRING_INDEX takes a constant count", hint="SUBSTRING_INDEX(s, '.', 2)")
    number = int(count.sql()) if isinstance(count, exp.Expr) else 0
    delimiter = node.args["delimiter"]
    if number == 0:
        return _text("")
    pieces = exp.func("string_split", node.this.copy(), delimiter.copy())
    ends = (1, number) if number > 0 else (number, -1)
    kept = exp.func("list_slice", pieces, *(exp.Literal.number(end) for end in ends))
    return exp.func("array_to_string", kept, delimiter.copy())


def _named_call(name: str, arguments: list[exp.Expr]) -> exp.Expr | None:
    """A call of IoTDB, by its name and the names of its parameters."""
    named: dict[str, exp.Expr] = {}
    columns: list[exp.Expr] = []
    for argument in arguments:
        pair = (argument.this, argument.expression) if isinstance(argument, exp.EQ) else None
        key = None if pair is None else _quoted(pair[0])
        if pair is not None and isinstance(key, exp.Literal) and key.is_string:
            named[key.this.casefold()] = _quoted(pair[1])
        else:
            columns.append(argument.copy())
    build = _BY_NAME.get((name, len(columns), frozenset(named)))
    return None if build is None else build(columns, named)


def _quoted(node: exp.Expr) -> exp.Expr:
    """A word in double quotes as the text that it is beside ``=``."""
    if isinstance(node, exp.Column) and node.this.args.get("quoted") and not node.table:
        return _text(node.name)
    return node.copy()


Columns = list[exp.Expr]
Named = dict[str, exp.Expr]


def _whole(node: exp.Expr) -> exp.Expr:
    """A number that may stand in quotes."""
    return exp.cast(node, exp.DType.BIGINT)


def _compared(columns: Columns, named: Named) -> exp.Expr:
    del named
    left, right = columns
    return exp.Case(
        ifs=[
            exp.If(this=exp.LT(this=left, expression=right), true=exp.Literal.number(-1)),
            exp.If(
                this=exp.GT(this=left.copy(), expression=right.copy()), true=exp.Literal.number(1)
            ),
            exp.If(
                this=exp.EQ(this=left.copy(), expression=right.copy()), true=exp.Literal.number(0)
            ),
        ]
    )


def _cut_text(columns: Columns, named: Named) -> exp.Expr:
    """From ``start``, counted from 0, to before ``end``."""
    start, end = _whole(named["start"]), named.get("end")
    first = exp.Add(this=start, expression=exp.Literal.number(1))
    parts = [columns[0], first]
    if end is not None:
        parts.append(exp.Sub(this=_whole(end), expression=start.copy()))
    return exp.func("substr", *parts)


def _constant(columns: Columns, named: Named) -> exp.Expr:
    del columns
    written = named["type"].name
    try:
        kind = exp.DataType.build(written, dialect=Mainstem)
    except ParseError:
        raise SqlError(
            f"CONST: {written!r} is not a type", field="CONST", hint="write INT32, DOUBLE or TEXT"
        ) from None
    return exp.cast(named["value"], kind)


def _calls(function: str, *names: str) -> Callable[[Columns, Named], exp.Expr]:
    return lambda columns, named: exp.func(function, *columns, *(named[name] for name in names))


def _bits(operator: type[exp.Binary]) -> Callable[[Columns, Named], exp.Expr]:
    return lambda columns, named: exp.paren(
        operator(this=columns[0], expression=_whole(named["binary"]))
    )


def _extracted(*arguments: exp.Expr) -> exp.Expr:
    """What a pattern finds, null for nothing."""
    found = exp.Anonymous(this="regexp_extract", expressions=list(arguments))
    return exp.func("nullif", found, _text(""))


_BY_NAME: dict[tuple[str, int, frozenset[str]], Callable[[Columns, Named], exp.Expr]] = {
    ("round", 1, frozenset({"places"})): lambda columns, named: exp.func(
        "round", *columns, exp.cast(named["places"], exp.DType.INT)
    ),
    ("startswith", 1, frozenset({"target"})): _calls("starts_with", "target"),
    ("endswith", 1, frozenset({"target"})): _calls("ends_with", "target"),
    ("string_contains", 1, frozenset({"s"})): _calls("contains", "s"),
    ("string_matches", 1, frozenset({"regex"})): _calls("regexp_full_match", "regex"),
    ("strcmp", 2, frozenset()): _compared,
    ("substring", 1, frozenset({"start"})): _cut_text,
    ("substring", 1, frozenset({"start", "end"})): _cut_text,
    ("locate", 1, frozenset({"target"})): lambda columns, named: exp.paren(
        exp.Sub(
            this=exp.func("instr", columns[0], named["target"]), expression=exp.Literal.number(1)
        )
    ),
    ("strreplace", 1, frozenset({"target", "replace"})): _calls("replace", "target", "replace"),
    ("regexreplace", 1, frozenset({"regex", "replace"})): lambda columns, named: exp.Anonymous(
        this="regexp_replace",
        expressions=[columns[0], named["regex"], named["replace"], _text("g")],
    ),
    ("regexmatch", 1, frozenset({"regex"})): lambda columns, named: _extracted(
        columns[0], named["regex"]
    ),
    ("regexmatch", 1, frozenset({"regex", "group"})): lambda columns, named: _extracted(
        columns[0], named["regex"], exp.Literal.number(named["group"].name)
    ),
    ("concat", 1, frozenset({"targets"})): _calls("concat", "targets"),
    ("const", 1, frozenset({"value", "type"})): _constant,
    ("e", 1, frozenset()): lambda columns, named: exp.func("exp", exp.Literal.number(1)),
    ("bitand", 1, frozenset({"binary"})): _bits(exp.BitwiseAnd),
    ("bitor", 1, frozenset({"binary"})): _bits(exp.BitwiseOr),
    ("bitxor", 1, frozenset({"binary"})): _bits(exp.BitwiseXor),
    ("isnotnull", 1, frozenset()): lambda columns, named: exp.Not(
        this=exp.paren(exp.Is(this=columns[0], expression=exp.Null()))
    ),
    ("isnull", 1, frozenset()): lambda columns, named: exp.paren(
        exp.Is(this=columns[0], expression=exp.Null())
    ),
    ("find_in_set", 2, frozenset()): lambda columns, named: exp.func(
        "coalesce",
        exp.func("list_position", exp.func("string_split", columns[1], _text(",")), columns[0]),
        exp.Literal.number(0),
    ),
}
"""By name, number of columns and names of parameters."""
