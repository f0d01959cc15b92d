"""Links are followed: what a number says must be what its link gives."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from testio_mcp.app import App
from testio_mcp.operations.registry import operations
from testio_mcp.operations.reports.breakdowns import RECURRING
from testio_mcp.operations.reports.scope import NONE_SAID
from testio_mcp.reports.links import Link

Json = dict[str, Any]
Follow = Callable[[Link], Awaitable[Json]]
"""Asks the question of a link and returns the answer as JSON."""


def remembering(follow: Follow) -> Follow:
    """Ask each question once, for as long as the store stays as it is."""
    answers: dict[str, Json] = {}

    async def once(link: Link) -> Json:
        if str(link) not in answers:
            answers[str(link)] = await follow(link)
        return answers[str(link)]

    return once


def follow_on(app: App) -> Follow:
    """Follow links by running the operations."""

    async def follow(link: Link) -> dict[str, Any]:
        return await operations()[link.operation].answer(app, link.arguments)

    return remembering(follow)


def number_of(link: Link, answer: Json) -> Any:
    """The number that an answer gives: the total of a list, or the first metric of all records together."""
    if link.operation == "query_metrics":
        metrics: Any = link.arguments["metrics"]
        return answer["totals"][metrics[0]]
    assert not answer.get("total_is_capped"), link
    return answer["total"]


async def check_report(report: Json, follow: Follow) -> int:
    """Follow every link of a report; returns how many there were."""
    checked = 0
    for section in report["sections"]:
        for figure in section["figures"]:
            await _check_figure(figure, follow)
        for finding in section["findings"]:
            await _check_finding(finding, follow)
        for table in section["tables"]:
            await _check_table(table, follow)
        checked += len(section["figures"]) + len(section["findings"]) + len(section["tables"])
    return checked


async def check_rules(readiness: Json, follow: Follow, gone_stories: Sequence[int] = ()) -> int:
    """Follow the link of every rule; returns how many there were. Deleted user stories have executions too."""
    for rule in readiness["rules"]:
        link = Link.model_validate(rule["link"])
        answer = await follow(link)
        if rule["rule"] == "max_age_hours":
            assert link.operation == "get_status"
            if rule["value"] is not None:
                assert datetime.fromisoformat(answer["as_of"]) >= datetime.fromisoformat(readiness["as_of"])
        elif rule["rule"] == "max_unpassed_stories":
            rows = [row for row in answer["items"] if row.get("user_story_id") not in (None, *gone_stories)]
            number = sum(not row["passed"] and row["failed"] + row["blocked"] > 0 for row in rows)
            assert number == rule["value"], rule
        else:
            assert number_of(link, answer) == rule["value"], rule
    return len(readiness["rules"])


async def check_comparison(comparison: Json, follow: Follow) -> None:
    """Follow the links of both sides: each gives all metrics of its side."""
    for side in ("left", "right"):
        link = Link.model_validate(comparison[side]["link"])
        totals = (await follow(link))["totals"]
        assert totals == {pair["name"]: pair[side] for pair in comparison["metrics"]}, side


async def check_digest(digest: Json, follow: Follow) -> None:
    """Follow the links of a digest and of its alerts."""
    answers = {name: await follow(Link.model_validate(link)) for name, link in digest["links"].items()}
    waiting = digest["needs_decision"]
    totals = {name: answer["total"] for name, answer in answers.items() if name != "changes"}
    assert totals == {
        "needs_decision": sum(waiting["open"].values()) + waiting["questions"],
        "running": digest["running_count"],
        "due": digest["due_count"],
        "new_critical": digest["new_critical_count"],
    }
    for name in ("running", "due", "new_critical"):
        found = [item["id"] for item in answers[name]["items"]][: len(digest[name])]
        assert [item["id"] for item in digest[name]] == found, name
    past = [item.get("is_past_end") for item in answers["running"]["items"]][: len(digest["running"])]
    assert [test["is_past_end"] for test in digest["running"]] == past
    assert answers["changes"]["digest"] == digest["changes"]
    for alert in digest["alerts"]:
        await check_alert(alert, follow)


async def check_alert(alert: Json, follow: Follow) -> None:
    """Follow the link of an alert."""
    link = Link.model_validate(alert["link"])
    answer = await follow(link)
    if alert["kind"] in ("threshold", "deadline"):
        assert number_of(link, answer) == alert["value"], alert
    elif alert["kind"] == "new_bug":
        assert answer["id"] == alert["bug_id"]
    else:
        assert "as_of" in answer


async def _check_figure(figure: Json, follow: Follow) -> None:
    link = Link.model_validate(figure["link"])
    number = number_of(link, await follow(link))
    if figure["whole"] is not None:
        share = round(figure["part"] / figure["whole"], 4) if figure["whole"] else None
        assert share == figure["value"], figure
    is_part = link.operation != "query_metrics" and figure["part"] is not None
    assert number == figure["part" if is_part else "value"], figure


async def _check_finding(finding: Json, follow: Follow) -> None:
    assert finding["name"], finding
    link = Link.model_validate(finding["link"])
    answer = await follow(link)
    number = number_of(link, answer)
    if finding["name"] == "recurring":
        rows = [row for row in answer["items"] if row.get("feature_id") is not None]
        number = sum(row["test_count"] >= RECURRING for row in rows)
    assert number == finding["value"], finding
    if not finding["name"].endswith("_rate") and finding["name"] != "no_tests":
        assert str(number) in finding["text"], finding


async def _check_table(table: Json, follow: Follow) -> None:
    link = Link.model_validate(table["link"])
    answer = await follow(link)
    keys = [column["key"] for column in table["columns"]]
    if link.operation != "query_metrics":
        await _check_list(table, keys, link, answer, follow)
        return
    by: Any = link.arguments.get("by")
    if by is None:
        assert number_of(link, answer) == len(table["rows"]) + _left(table), table
        return
    if len(by) == 2:
        cells = {(row[by[0]], row[by[1]]): row["bug_count"] for row in answer["items"]}
        for level, *numbers, total in table["rows"]:
            told = dict(zip(keys[1:-1], numbers, strict=True))
            assert told == {word: cells.get((level, word), 0) for word in told}, (table, answer)
            assert total == sum(numbers)
        return
    rows = {_key(row, by[0]): row for row in answer["items"]}
    for cells_of_row in table["rows"]:
        told = dict(zip(keys, cells_of_row, strict=True))
        row = rows[_key(told, by[0])]
        for name, value in told.items():
            if name == "tests_with_bugs":
                assert value == row["test_count"], table
            elif name in row and name not in (by[0], f"{by[0]}_id"):
                assert value == row[name], (table["title"], name, told, row)


def _key(row: Mapping[str, Any], name: str) -> object:
    """What a group is known by: its id, or its word."""
    if f"{name}_id" in row:
        return row[f"{name}_id"] if name not in NONE_SAID or name in ("product", "feature") else row[name]
    return None if row[name] in ("none", "nobody") else row[name]


ID_IN = {"Found again": "bug_id", "Features without a test": "feature_id"}
"""The column with the ids of a table's records, where it is not `id`."""


async def _check_list(table: Json, keys: Sequence[str], link: Link, page: Json, follow: Follow) -> None:
    items = list(page["items"])
    while page["next_cursor"]:
        more = {"cursor": page["next_cursor"]}
        page = await follow(Link(operation=link.operation, arguments=link.arguments | more))
        items += page["items"]
    rows = {item["id"]: item for item in items}
    [named] = [key for key in keys if key in ("id", ID_IN.get(table["title"]))]
    assert len(rows) == len(table["rows"]) + _left(table), table["title"]
    for cells in table["rows"]:
        told = dict(zip(keys, cells, strict=True))
        item = rows[told[named]]
        shown = told.keys() & item.keys()
        assert {name: _value(name, item[name]) for name in shown} == {
            name: _value(name, told[name]) for name in shown
        }
    if named == "feature_id":
        assert {told: item["title"] for told, item in rows.items()} | {
            cells[keys.index("feature_id")]: cells[keys.index("feature")] for cells in table["rows"]
        } == {told: item["title"] for told, item in rows.items()}
        assert not any(item["tested"] for item in items)


def _value(name: str, value: Any) -> Any:
    """Moments as moments, in whatever form they are written."""
    return datetime.fromisoformat(value) if name.endswith("_at") and value else value


def _left(table: Json) -> int:
    """How many records a table leaves out."""
    return int(table["note"].split()[0]) if " more." in (table["note"] or "") else 0
