"""From one revision of a template to the next."""

from __future__ import annotations

import pytest

from mainstem_engine.catalog.revisions import Revision, adopted_template, revised_template
from mainstem_engine.catalog.templates import (
    checked_template,
    foreign_template,
    template_from_map,
    template_to_map,
)
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import ColumnType, Measurement, Tag, Template

INT16, INT32, INT64 = ColumnType.INT16, ColumnType.INT32, ColumnType.INT64
OLD = checked_template(
    Template(
        "t",
        (Measurement(0, "a", INT32), Measurement(0, "b", ColumnType.FLOAT, unit="A")),
        (Tag("site"),),
        time_name="ts",
    )
)


def names(template: Template) -> list[tuple[int, str, ColumnType]]:
    return [(m.id, m.name, m.type) for m in template.measurements]


def test_everything_at_once_keeps_the_ids() -> None:
    new = revised_template(
        OLD,
        Revision(
            add=[Measurement(0, "a", ColumnType.TEXT)],
            rename={"A": "c"},
            widen={"a": INT64, "b": ColumnType.DOUBLE},
            encode={"a": ("GORILLA", None), "b": (None, "ZSTD")},
        ),
    )
    assert names(new) == [(0, "c", INT64), (1, "b", ColumnType.DOUBLE), (2, "a", ColumnType.TEXT)]
    assert new.revision == OLD.revision + 1
    assert (new.measurements[0].encoding, new.measurements[1].compression) == ("GORILLA", "ZSTD")
    assert new.measurements[1].unit == "A"


def test_names_may_be_exchanged_and_change_their_case() -> None:
    new = revised_template(OLD, Revision(rename={"a": "b", "b": "A"}))
    assert names(new) == [(0, "b", INT32), (1, "A", ColumnType.FLOAT)]


def test_nothing_to_do_is_the_same_template() -> None:
    again = Revision(add=[Measurement(0, "A", INT32)], rename={"a": "a"}, widen={"a": INT32})
    assert revised_template(OLD, again) is OLD
    assert revised_template(OLD, Revision()) is OLD


@pytest.mark.parametrize("taken", ["b", "B", "site", "SITE", "ts", "time", "device", "", "a/b"])
def test_a_name_that_is_taken_or_cannot_be(taken: str) -> None:
    with pytest.raises(SchemaError):
        revised_template(OLD, Revision(rename={"a": taken}))


def test_a_refused_widening_names_the_remedy() -> None:
    with pytest.raises(SchemaError, match=r"INT32 and cannot become TEXT.*INT64.*add a new") as e:
        revised_template(OLD, Revision(widen={"a": ColumnType.TEXT}))
    assert e.value.field == "a"
    for kind in (INT16, ColumnType.DOUBLE, ColumnType.UINT64, ColumnType.TIMESTAMP):
        with pytest.raises(SchemaError, match="cannot become"):
            revised_template(OLD, Revision(widen={"a": kind}))


def test_what_is_not_a_measurement_is_not_altered() -> None:
    with pytest.raises(NotFoundError, match="it has a, b"):
        revised_template(OLD, Revision(rename={"x": "y"}))
    with pytest.raises(SchemaError, match="is a tag"):
        revised_template(OLD, Revision(rename={"site": "place"}))


def test_unknown_encodings_are_errors() -> None:
    for change in (("CHIMP", None), (None, "GZIP")):
        with pytest.raises(SchemaError, match="unknown"):
            revised_template(OLD, Revision(encode={"a": change}))
    for wrong in (
        Measurement(0, "x", INT32, encoding="gorila"),
        Measurement(0, "x", INT32, compression="7Z"),
    ):
        with pytest.raises(SchemaError, match="unknown"):
            checked_template(Template("t", (wrong,)))
    with pytest.raises(SchemaError, match="cannot hold TEXT"):
        checked_template(Template("t", (Measurement(0, "x", ColumnType.TEXT, encoding="PCO"),)))


def test_adopting_what_a_child_has() -> None:
    theirs = [
        Measurement(7, "A", INT64),
        Measurement(8, "b", ColumnType.FLOAT),
        Measurement(9, "new", ColumnType.TEXT),
    ]
    new = adopted_template(OLD, theirs)
    assert names(new) == [(0, "a", INT64), (1, "b", ColumnType.FLOAT), (2, "new", ColumnType.TEXT)]
    assert adopted_template(new, [Measurement(0, "a", INT16)]) is new
    with pytest.raises(SchemaError):
        adopted_template(new, [Measurement(0, "a", ColumnType.TEXT)])


def test_a_childs_keep_and_newer_encodings_do_not_come_along() -> None:
    theirs = Template("t", (Measurement(0, "a", INT32, encoding="LATER"),), keep_ns=5)
    here = foreign_template(theirs)
    assert (here.keep_ns, here.measurements[0].encoding) == (None, "AUTO")
    assert checked_template(here).measurements[0].name == "a"


def test_a_definition_without_a_keep_is_one_of_the_first_format() -> None:
    fields = template_to_map(Template("t", OLD.measurements, keep_ns=5))
    assert template_from_map(fields).keep_ns == 5
    del fields["keep_ns"]
    assert template_from_map(fields).keep_ns is None
