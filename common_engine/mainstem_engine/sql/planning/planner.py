"""From a SELECT to a plan: what to scan, and what the executing database runs over the scans.

1. The tree is checked (guard), and every table reference becomes a relation (relations). Names of
   common table expressions come first.
2. A path that is queried by itself gets its shape: time first, one row per time for several devices
   (alignment). Functions of the peers are put into words that DuckDB has.
3. The columns that a relation must deliver are those whose name stands anywhere in the statement,
   all of them where a ``*`` or a whole row is used. A superset is never wrong.
4. WHERE narrows the scans (pushdown); the filter itself stays.
5. Constants that are compared with times become timestamps (time_expressions).
6. Table nodes are replaced by sub-queries over generated relation names, and the tree is written as
   DuckDB SQL. Text of the user never reaches DuckDB but through sqlglot's generator, and values of
   parameters never but as parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.errors import NotFoundError, SqlError, SqlLimitError, SqlUnsupportedError
from mainstem_engine.sql.grammar.clauses import group_by_partition, refuse_clauses
from mainstem_engine.sql.grammar.dialect import ALIGN, LAST, NAME, RELATION
from mainstem_engine.sql.lowering.fill import lower_fills
from mainstem_engine.sql.lowering.lowered import Lowered
from mainstem_engine.sql.lowering.lowering import lower
from mainstem_engine.sql.plan import Plan, Request, TableInput
from mainstem_engine.sql.planning.aggregation import push_aggregates
from mainstem_engine.sql.planning.binding import (
    Binding,
    OpenDevices,
    OpenRange,
    device_precision_ns,
    open_devices,
    open_key,
    open_range,
    scan_bounds,
    walk_span,
)
from mainstem_engine.sql.planning.chosen_rows import expand_cols, name_chosen_rows
from mainstem_engine.sql.planning.joined_paths import MORE, find_joined, join_paths
from mainstem_engine.sql.planning.last_query import last_measurements, last_query
from mainstem_engine.sql.planning.limits import push_limit
from mainstem_engine.sql.planning.open_paths import open_path
from mainstem_engine.sql.planning.pushdown import PushDown
from mainstem_engine.sql.planning.seen_devices import watched
from mainstem_engine.sql.planning.short_queries import last_values, short_queries
from mainstem_engine.sql.program import SqlStep, Step, WalkStep
from mainstem_engine.sql.select.alignment import shape_path_query
from mainstem_engine.sql.select.guard import check_query
from mainstem_engine.sql.select.literals import Lifted, SplitText, lift_literals, split_text
from mainstem_engine.sql.select.parameters import TextParameters, number_parameters
from mainstem_engine.sql.select.partitions import plain_partitions
from mainstem_engine.sql.select.peer_functions import name_row_times, rewrite_peer_functions
from mainstem_engine.sql.select.peer_scalars import rewrite_scalars
from mainstem_engine.sql.select.projection import (
    choose_columns,
    column_units,
    rename_time_of_stars,
    set_headings,
)
from mainstem_engine.sql.select.relations import TIME, Member, Relation, find_relation
from mainstem_engine.sql.select.scopes import Scopes, find_cte
from mainstem_engine.sql.select.stars import expand_functions_of_stars, expand_in_sub_queries
from mainstem_engine.sql.select.suffixes import below_prefix, resolve_suffixes
from mainstem_engine.sql.select.time_expressions import Clock, TimeExpressions
from mainstem_engine.sql.select.trees import find_nodes
from mainstem_engine.sql.select.walk_nodes import Extracted, extract_steps
from mainstem_engine.sql.statements import Name
from mainstem_engine.sql.times import NS_PER_MS, engine_zone

UNION_MAX = 32
"""Queries of one UNION: so deep is its tree."""
RELATIONS_MAX = 64
"""Tables that one statement may name. Each is scanned on its own."""


class Planner:
    """Plans statements over one catalog. ``narrows`` False reads everything (for tests)."""

    def __init__(self, catalog: Catalog, *, narrows: bool = True) -> None:
        self._catalog = catalog
        self._narrows = narrows

    def plan(self, tree: exp.Query, request: Request, text: str | None = None) -> Plan:
        """Takes over ``tree``. Raises SqlError, SchemaError or NotFoundError.

        ``text``: what it was parsed from; the plan then has its ``binding``, if there is one.
        """
        try:
            split = None if text is None else split_text(text)
            return _Planning(self._catalog, self._narrows).plan(tree, request, split)
        except RecursionError:
            raise SqlLimitError(
                "the statement is nested too deeply", hint="split it with WITH clauses"
            ) from None


class _Planning:
    """One statement's."""

    def __init__(self, catalog: Catalog, narrows: bool) -> None:
        self._catalog, self._seen = watched(catalog)
        self._narrows = narrows

    def plan(self, tree: exp.Query, request: Request, text: SplitText | None) -> Plan:
        """As Planner.plan()."""
        _expand(tree)
        is_last = _is_last(tree)
        series: tuple[tuple[str, str], ...] = ()
        if is_last:
            tree, series = self._expand_last(tree, request)
        join_paths(tree)
        nodes = self._tables(tree)
        by_itself = _is_by_itself(tree, nodes)
        relations = self._relations(nodes, request, by_itself=by_itself)
        precision_ns = finest_precision_ns(self._catalog, relations)
        scopes = Scopes(relations)
        lifted, path = Lifted(), None
        if text is not None and self._narrows:
            lifted = lift_literals(tree, scopes, text, len(request.params))
            if len(nodes) == 1 and (by_itself or is_last):
                path = open_path(tree, nodes[0], relations[0], text, lifted, len(request.params))
            request = replace(request, params=(*request.params, *lifted.values))
        clock = Clock(request.now_ns, request.zone, precision_ns, request.params)
        times = TimeExpressions(scopes, clock, is_open=text is not None and self._narrows)
        if by_itself and relations and isinstance(tree, exp.Select):
            if relations[0].is_path:
                resolve_suffixes(tree, relations[0], self._catalog)
            expand_functions_of_stars(tree, relations[0])
        else:
            expand_in_sub_queries(tree, scopes)
        _rewrite_calls(tree, scopes, times, request)
        lowered = Lowered(
            self._catalog,
            scopes,
            times,
            relations,
            request.time_zone,
            precision_ns,
            by_itself=by_itself,
        )
        units = column_units(tree, scopes)
        tree = lower(tree, lowered)
        is_plain = by_itself and not lowered.is_used
        push_down = PushDown(self._catalog, scopes, times)
        if self._narrows:
            push_down.narrow(tree)
        _shape(tree, lowered, is_plain=is_plain)
        for select in tree.find_all(exp.Select):
            plain_partitions(select, scopes.only_relation(select))
        tree = lower_fills(tree, lowered)
        refuse_clauses(tree)
        rename_time_of_stars(tree, scopes)
        # Columns side by side have their names by now; groups have hidden what some are made of.
        units = {**column_units(tree, scopes), **units}
        for name in lowered.per_second & units.keys():
            units[name] += "/s"
        if self._narrows:
            self._push(tree, scopes, push_down, request)
        choose_columns(tree, scopes, relations)
        times.rewrite(tree)
        inputs = _Inputs(self._catalog, is_open=times.is_open)
        for node in find_nodes(tree, exp.Table):
            found = scopes.relation(node)
            if found is not None:
                inputs.replace(node, found)
        extracted = extract_steps(tree)
        is_streamed = len(inputs.all) == 1 and len(relations) == 1
        texts = [
            number_parameters(query, request, times, lifted.written)
            for query in (*(each.query for each in extracted), tree)
        ]
        steps = _steps(extracted, texts, relations)
        if path is not None and self._seen.has_paths:
            times.asked.add(path)
        short = last_values(inputs.all, series) or short_queries(
            tree, extracted, push_down, inputs.relations, request.time_zone
        )
        return Plan(
            params=texts[-1].values,
            sql=tree.sql(dialect="duckdb"),
            inputs=tuple(inputs.all),
            is_single_pass=is_streamed and _is_single_pass(tree, extracted, inputs.selects),
            precision_ns=precision_ns,
            zone=request.zone,
            time_zone=engine_zone(request.time_zone),
            units=units,
            warnings=tuple(lowered.warnings),
            depends_on_clock=times.asked_clock or times.left_clock,
            steps=steps,
            binding=_binding(times, inputs, extracted, texts, relations, lifted),
            is_of_all_devices=self._seen.is_of_all,
            short=short if self._narrows else None,
        )

    def _push(self, tree: exp.Query, scopes: Scopes, push_down: PushDown, request: Request) -> None:
        """Every SELECT of one table that only aggregates reads groups; one that asks for some rows
        in order of time reads that end of it."""
        for select in find_nodes(tree, exp.Select):
            relation = scopes.only_relation(select)
            if relation is not None and push_down.is_said(select):
                precision_ns = finest_precision_ns(self._catalog, [relation])
                push_aggregates(select, relation, request.time_zone, precision_ns)
                push_limit(select, relation, push_down.times)

    def _expand_last(
        self, tree: exp.Query, request: Request
    ) -> tuple[exp.Query, tuple[tuple[str, str], ...]]:
        """``SELECT LAST a, b FROM path`` becomes a query of its own. With it the names and types of
        what it asks for; none where it also says in which order, or how many."""
        assert isinstance(tree, exp.Select)
        node = tree.args["from_"].this if tree.args.get("from_") else None
        if not isinstance(node, exp.Table) or tree.args.get("joins"):
            raise SqlError("SELECT LAST reads one table", hint="SELECT LAST a, b FROM path")
        relation = find_relation(
            self._catalog, _name(node), request.database, node.name, by_itself=True
        )
        is_plain = not any(tree.args.get(key) for key in ("order", "limit", "offset"))
        asked = last_measurements(tree, relation) if is_plain else []
        series = tuple((column.name, column.type.name) for column in asked)
        return last_query(tree, relation), series

    def _tables(self, tree: exp.Expr) -> list[exp.Table]:
        """Every node that names a table of ours."""
        found = [
            node
            for node in find_nodes(tree, exp.Table)
            if isinstance(node.this, exp.Identifier) and not self._is_cte(node)
        ]
        if len(found) > RELATIONS_MAX:
            raise SqlLimitError(
                f"the statement names {len(found)} tables, more than {RELATIONS_MAX}",
                hint="use a template or a pattern such as root.plant_a.**",
            )
        return found

    def _is_cte(self, node: exp.Table) -> bool:
        return len(_name(node).elements) == 1 and find_cte(node) is not None

    def _relations(
        self, nodes: list[exp.Table], request: Request, *, by_itself: bool
    ) -> list[Relation]:
        relations = []
        for number, node in enumerate(nodes):
            name = _name(node)
            alias = node.alias or (f"t{number}" if name.is_pattern else name.elements[-1])
            is_shaped = by_itself or _is_aligned(node)
            relation = self._find(node, name, request, alias, by_itself=is_shaped)
            relation.is_sampled = node.args.get("sample") is not None
            node.meta[RELATION] = number
            relations.append(relation)
        return relations

    def _find(
        self, node: exp.Table, name: Name, request: Request, alias: str, *, by_itself: bool
    ) -> Relation:
        more = node.meta.get(MORE)
        if more is not None:
            return find_joined(self._catalog, (name, *more), request.database, alias)
        try:
            return find_relation(self._catalog, name, request.database, alias, by_itself=by_itself)
        except NotFoundError:
            below = below_prefix(node.root(), name) if by_itself else None
            if below is None:
                raise
            return find_relation(self._catalog, below, request.database, alias, by_itself=True)


def _expand(tree: exp.Query) -> None:
    """What is said in the words of a peer alone. Raises SqlError for what is not run."""
    check_query(tree)
    for select in tree.find_all(exp.Select):
        group_by_partition(select)
        expand_cols(select)


def _shape(tree: exp.Query, lowered: Lowered, *, is_plain: bool) -> None:
    """The shape of a statement that reads one path. Raises SqlUnsupportedError."""
    relations = lowered.relations
    if is_plain and relations and relations[0].is_path and isinstance(tree, exp.Select):
        shape_path_query(tree, relations[0], lowered.catalog, lowered.warnings)
    elif any(ALIGN in select.meta for select in find_nodes(tree, exp.Select)):
        raise SqlUnsupportedError(
            "ALIGN BY shapes devices of paths, not templates and joins",
            hint="select from a path or a pattern such as root.plant_a.**; of a template,"
            " PARTITION BY tbname",
        )


def _is_aligned(node: exp.Table) -> bool:
    """True for the only table of a SELECT with ALIGN BY."""
    select = node.parent_select
    return select is not None and ALIGN in select.meta and not select.args.get("joins")


def _is_last(tree: exp.Query) -> bool:
    """True for ``SELECT LAST a, b FROM path``."""
    is_select = isinstance(tree, exp.Select) and bool(tree.expressions)
    return is_select and bool(tree.expressions[0].meta.get(LAST))


def _rewrite_calls(
    tree: exp.Query, scopes: Scopes, times: TimeExpressions, request: Request
) -> None:
    """Functions of the peers become DuckDB's; items keep their text as heading."""
    set_headings(tree)
    rewrite_scalars(tree, scopes, times, request.time_zone, request.database)
    for select in tree.find_all(exp.Select):
        sources = list(scopes.sources(select))
        relation = sources[0].relation if len(sources) == 1 else None
        is_table = relation is not None
        if relation is not None and "_rowts" not in relation.columns:
            name_row_times(select)
        if relation is not None:
            name_chosen_rows(select, relation, _time())
        rewrite_peer_functions(select, _time() if is_table else None)


def _is_single_pass(tree: exp.Query, extracted: Sequence[Extracted], of_inputs: int) -> bool:
    """True when the one input is read by one SELECT of one step."""
    if len(extracted) > 1:
        return False
    reader = extracted[0].query if extracted else tree
    return len(find_nodes(reader, exp.Select)) - of_inputs == 1


def _steps(
    extracted: Sequence[Extracted],
    texts: Sequence[TextParameters],
    relations: Sequence[Relation],
) -> tuple[Step, ...]:
    """Two steps for each walk: the query of its rows, and the walk."""
    steps: list[Step] = []
    for each, text in zip(extracted, texts, strict=False):
        source = f"{each.name}:source"
        steps.append(SqlStep(source, each.query.sql(dialect="duckdb"), text.values))
        walk = each.walk
        span: list[int | None] = [None, None]
        if walk.relation is not None:
            relation = relations[walk.relation]
            span = walk_span(relation.start_ns, relation.end_ns)
        arguments = {**walk.arguments, "span": span}
        steps.append(WalkStep(each.name, source, walk.operation, arguments))
    return tuple(steps)


def _binding(
    times: TimeExpressions,
    inputs: _Inputs,
    extracted: Sequence[Extracted],
    texts: Sequence[TextParameters],
    relations: Sequence[Relation],
    lifted: Lifted,
) -> Binding | None:
    """How the plan follows from other values, None when it holds for this moment only."""
    if not times.is_open or times.asked_clock:
        return None
    return Binding(
        inputs=tuple(inputs.opened),
        texts=tuple(text.sources for text in texts),
        walks={
            each.name: open_range(relations[each.walk.relation])
            for each in extracted
            if each.walk.relation is not None
        },
        asked=frozenset(times.asked | lifted.shared),
        lifted=lifted.numbers,
    )


def finest_precision_ns(catalog: Catalog, relations: Iterable[Relation]) -> int:
    """The finest of all tables: one statement has one precision."""
    found = [_member_precision(catalog, member) for r in relations for member in r.members]
    return min(found, default=NS_PER_MS)


def _member_precision(catalog: Catalog, member: Member) -> int:
    if member.devices is None or len(member.devices) == 0:
        return catalog.precision_ns(member.table.name)
    return device_precision_ns(catalog, member.devices)


def _united(parts: Sequence[exp.Query]) -> exp.Query:
    """All rows of several queries. A pattern may mean hundreds of tables: they are joined in
    groups, so that the tree stays flat."""
    while len(parts) > UNION_MAX:
        groups = [parts[n : n + UNION_MAX] for n in range(0, len(parts), UNION_MAX)]
        parts = [exp.Subquery(this=_united(group)) for group in groups]
    query = parts[0]
    for part in parts[1:]:
        query = exp.Union(this=query, expression=part, distinct=False, by_name=True)
    return query


class _Inputs:
    """The scans of a statement; equal ones are shared."""

    def __init__(self, catalog: Catalog, *, is_open: bool) -> None:
        self.all: list[TableInput] = []
        self.opened: list[tuple[OpenRange, OpenDevices | None]] = []
        self.selects = 0
        self.relations: dict[str, tuple[TableInput, Relation]] = {}
        self._catalog = catalog
        self._is_open = is_open
        self._by_key: dict[tuple[object, ...], TableInput] = {}

    def replace(self, node: exp.Table, relation: Relation) -> None:
        """Puts a sub-query over the scans of a relation in the place of a table node."""
        parts = [self._select(relation, member) for member in relation.members]
        query = _united(parts)
        alias = node.args.get("alias")
        if alias is None:
            alias = exp.TableAlias(this=exp.to_identifier(relation.alias, quoted=True))
        node.replace(
            exp.Subquery(
                this=query,
                alias=alias.copy(),
                sample=_copy(node.args.get("sample")),
                joins=[_copy(join) for join in node.args.get("joins") or ()] or None,
            )
        )

    def _select(self, relation: Relation, member: Member) -> exp.Select:
        self.selects += 1
        columns = [
            member.columns[name.casefold()]
            for name in relation.wanted
            if name.casefold() in member.columns
        ] or [member.columns[TIME]]
        names = dict.fromkeys(name for column in columns for name in column.inputs())
        source = self._input(relation, member, tuple(names))
        table = exp.Table(this=exp.to_identifier(source.name, quoted=True))
        projections = [
            exp.alias_(column.expression(), exp.to_identifier(column.name, quoted=True))
            for column in columns
        ]
        return exp.Select(expressions=projections, from_=exp.From(this=table))

    def _input(self, relation: Relation, member: Member, columns: tuple[str, ...]) -> TableInput:
        start, end = scan_bounds(relation.start_ns, relation.end_ns)
        devices = None if member.devices is None else member.devices.tobytes()
        # Rows of several devices may be joined to one: it would lack what is left out here.
        is_joined = relation.is_path and (member.devices is None or len(member.devices) > 1)
        ranges = () if is_joined else tuple(sorted(relation.ranges.items()))
        partials = member.partials
        groups = None if partials is None else partials.key()
        edge = relation.edge
        opened = open_key(relation) if self._is_open else ()
        key = (member.table.name, devices, start, end, columns, groups, ranges, edge, opened)
        found = self._by_key.get(key)
        if found is None:
            name = f"mainstem_{len(self.all)}"
            table, devices_read = member.table.name, member.devices
            found = TableInput(
                name, table, devices_read, start, end, columns, partials, ranges, edge
            )
            self._by_key[key] = found
            self.all.append(found)
            self.relations[name] = found, relation
            if self._is_open:
                chosen = open_devices(relation, member, self._catalog)
                self.opened.append((open_range(relation), chosen))
        return found


def _time() -> exp.Column:
    return exp.column(exp.to_identifier(TIME, quoted=True))


def _copy(node: Any) -> Any:
    return node.copy() if isinstance(node, exp.Expr) else None


def _name(node: exp.Table) -> Name:
    """The name as written; one that sqlglot made itself has a single element."""
    found = node.meta.get(NAME)
    return found if isinstance(found, Name) else Name((node.name,))


def _is_by_itself(tree: exp.Expr, nodes: Sequence[exp.Table]) -> bool:
    """True for a SELECT of one table without JOIN, WITH or sub-query."""
    return (
        isinstance(tree, exp.Select)
        and len(nodes) == 1
        and nodes[0].parent is tree.args.get("from_")
        and not tree.args.get("joins")
        and not nodes[0].args.get("joins")
        and tree.args.get("with_") is None
        and len(find_nodes(tree, exp.Query)) == 1
    )
