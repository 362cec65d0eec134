"""What the reading of messages must satisfy: topic filters, device patterns, templates, maps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mainstem_node.config.builder import suggestion
from mainstem_node.config.collectors.subscription import (
    MapConfig,
    ReadingConfig,
    SubscriptionConfig,
)
from mainstem_node.config.report import Report
from mainstem_node.config.schema import TemplateConfig

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN_PLACEHOLDER = re.compile(r"topic\[-?\d+\]|payload\.[^.{}\s][^{}]*")


def is_bad_filter(topic: str) -> bool:
    """True for a text that is no MQTT topic filter."""
    levels = topic.split("/")
    return not topic or any(
        ("#" in level and (level != "#" or index != len(levels) - 1))
        or ("+" in level and level != "+")
        for index, level in enumerate(levels)
    )


def check_subscriptions(
    report: Report, where: str, subscriptions: Sequence[SubscriptionConfig]
) -> None:
    """Topic filters, templates, device patterns and tags."""
    for number, subscription in enumerate(subscriptions):
        inside = f"{where}.subscriptions[{number}]"
        if is_bad_filter(subscription.topic):
            report.problem(
                f"{inside}.topic", f"{subscription.topic!r} is not a topic filter",
                "+ stands for one whole level, # for all that follow",
            )  # fmt: skip
        if subscription.inbox:
            _around(report, inside, subscription)
            continue
        check_reading(report, inside, subscription, Topic(tuple(subscription.topic.split("/"))))


def _around(report: Report, where: str, subscription: SubscriptionConfig) -> None:
    """One that looks around says nothing of what it finds."""
    plain = SubscriptionConfig(topic=subscription.topic, inbox=True)
    for key in SubscriptionConfig.__struct_fields__:
        if getattr(subscription, key) != getattr(plain, key):
            report.problem(
                f"{where}.{key}", "with `inbox: true` nothing is known of the topics yet",
                "leave it out, or write a subscription of its own",
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Topic:
    """Which placeholders ``{topic[n]}`` and others there are for messages of a source."""

    levels: tuple[str, ...]
    others: str = ""
    """A pattern of further placeholders."""
    remedy: str = "use {topic[n]} (from 0) or {payload.NAME}"
    has_stamps: bool = False
    """True where the source says of each message when it was sent."""

    def problem(self, name: str) -> tuple[str, str] | None:
        """(what is wrong with a placeholder, the remedy)."""
        if self.others and re.fullmatch(self.others, name):
            return None
        if not _KNOWN_PLACEHOLDER.fullmatch(name) or (not self.levels and name[:6] == "topic["):
            return f"{{{name}}} is unknown", self.remedy
        if name.startswith("topic[") and "#" not in self.levels:
            index, count = int(name[6:-1]), len(self.levels)
            if not -count <= index < count:
                remedy = f"use at most {{topic[{count - 1}]}}"
                return f"{{{name}}}: the topic has {count} levels", remedy
        return None


def check_reading(report: Report, where: str, reading: ReadingConfig, topic: Topic) -> None:
    """What any source's messages become: template, device, tags, map."""
    template = _template_of(report, where, reading)
    device = reading.device or "root."
    if not device.startswith("{payload."):
        report.device_path(f"{where}.device", device)
    if reading.time.source == "record" and not topic.has_stamps:
        report.problem(
            f"{where}.time.source", "messages of this source have no time of their own",
            "write auto, payload or arrival",
        )  # fmt: skip
    _notation(report, where, reading)
    for tag in reading.tags:
        if template is not None and tag.casefold() not in map(str.casefold, template.tags):
            report.problem(
                f"{where}.tags.{tag}", f"{reading.template} has no such tag",
                suggestion(tag, template.tags),
            )  # fmt: skip
    texts = {"device": device}
    texts |= {f"tags.{tag}": text for tag, text in reading.tags.items()}
    if reading.measurement is not None:
        texts["measurement"] = reading.measurement
        _measurement(report, f"{where}.measurement", reading, template)
    for key, text in texts.items():
        _placeholders(report, f"{where}.{key}", text, topic)
    if reading.map is not None:
        _map(report, f"{where}.map", reading.codec, reading.map)


def _notation(report: Report, where: str, reading: ReadingConfig) -> None:
    """How numbers and times are written."""
    when = reading.time
    if when.clock_field is not None and when.field is None:
        report.problem(
            f"{where}.time.field", "the key is missing", "name the field that has the date"
        )
    if reading.codec == "line_protocol":
        given = {
            "decimal": reading.decimal is not None,
            "time.format": when.format != "iso",
            "time.clock_field": when.clock_field is not None,
        }
        for key in (key for key, is_given in given.items() if is_given):
            report.problem(
                f"{where}.{key}", "line protocol has one way to write it", "leave it out"
            )


def _template_of(report: Report, where: str, reading: ReadingConfig) -> TemplateConfig | None:
    """The template that is named. Only line protocol may name none."""
    if reading.template is None:
        if reading.codec != "line_protocol":
            report.problem(f"{where}.template", "the key is missing", "add `template: ...`")
        if reading.tags:
            report.problem(
                f"{where}.tags", "there is no `template` to have them",
                "leave it out: the tags are those of the lines",
            )  # fmt: skip
        if "{payload." in (reading.device or ""):
            report.problem(
                f"{where}.device", "without a `template` it stands before every device",
                "use text and {topic[n]}",
            )  # fmt: skip
        return None
    if reading.device is None:
        report.problem(f"{where}.device", "the key is missing", "add `device: ...`")
    return report.known_template(f"{where}.template", reading.template)


def _measurement(
    report: Report, where: str, reading: ReadingConfig, template: TemplateConfig | None
) -> None:
    name = reading.measurement or ""
    if reading.codec in ("csv", "line_protocol"):
        report.problem(where, f"{reading.codec} names its values itself", "leave it out")
    elif template is not None and "{" not in name:
        known = [each.source or own for own, each in template.measurements.items()]
        if name.casefold() not in map(str.casefold, known):
            problem = f"{reading.template} takes no value under that name"
            report.problem(where, problem, suggestion(name, known))


def _map(report: Report, where: str, codec: str, found: MapConfig) -> None:
    if codec not in ("json", "msgpack"):
        report.problem(where, f"{codec} has no paths", "use `codec: json` or msgpack")
    if found.rows is not None and found.columns is not None:
        report.problem(f"{where}.columns", "there is `rows` beside it", "leave one of them out")
    if found.columns is not None and found.spread:
        report.problem(
            f"{where}.spread", "columns have names of their own", "name them in `fields`"
        )
    stars = 1 if found.rows is None else found.rows.stars
    for name, path in found.fields.items():
        if path.key is not None and (found.columns is not None or path.key >= stars):
            report.problem(
                f"{where}.fields.{name}", f"there is no * number {path.key} in `rows`",
                "write @0 for the first one",
            )  # fmt: skip
    for index, path in enumerate(found.spread):
        if path.from_root or path.key is not None:
            report.problem(
                f"{where}.spread[{index}]", "a row has only what stands in it",
                "write a path from the row on; single values go into `fields`",
            )  # fmt: skip


def _placeholders(report: Report, where: str, text: str, topic: Topic) -> None:
    for name in _PLACEHOLDER.findall(text):
        problem = topic.problem(name)
        if problem is not None:
            report.problem(where, *problem)
    if re.search(r"[{}]", _PLACEHOLDER.sub("", text)):
        report.problem(where, "a brace is not closed", topic.remedy)
