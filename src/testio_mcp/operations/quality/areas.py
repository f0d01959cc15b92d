"""Sections of where: products, features and stories, devices, testers, tests."""

from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.tables import Feature, table_of
from testio_mcp.operations.metrics.engine import Key
from testio_mcp.operations.quality.asking import Asked, column, split_table
from testio_mcp.operations.regressions import regressions
from testio_mcp.reports.model import Chart, Column, Section, Series, Table

RECURRING = 3
"""In how many tests of the scope bugs have to be found on a feature for it to be called recurring."""
_SHOWN = 15
_feature = table_of(Feature).c
WITH_BUGS = (("known", (True, False)),)
"""A filter that every bug passes: with it, tests are those in which bugs were found."""


def products(asked: Asked) -> Section | None:
    """The products side by side; None for a single one."""
    named = asked.scope.values_of("product")
    if named and len(named) == 1:
        return None
    names = asked.possible(
        "bug_count",
        "test_count",
        "bugs_per_test",
        "rejection_rate",
        "auto_acceptance_rate",
        "review_rate",
        by=("product",),
    )
    table = split_table(asked, "Products", "product", names, most=50)
    if table is None or len(table.rows) < 2:
        return None
    return Section(id="products", title="Products", tables=[table], charts=[_bars(table, "Bugs by product", 2)])


def coverage(asked: Asked) -> Section:
    """Features and stories: what was tested, and what was not."""
    names = asked.possible("bug_count", "test_count", "bug_severity_score", "rejection_rate", by=("feature",))
    tables = [split_table(asked, "Bugs and tests by feature", "feature", names, most=_SHOWN)]
    stories = asked.possible("executions", "pass_rate", "stories_tested", "story_coverage", by=("feature",))
    if stories:
        tables.append(split_table(asked, "User stories by feature", "feature", stories, most=_SHOWN))
    tables.append(_untested(asked))
    return Section(
        id="coverage",
        title="Features and user stories",
        tables=[table for table in tables if table and table.rows],
    )


def _untested(asked: Asked) -> Table | None:
    """The features of the products in scope that no test of the scope had."""
    if not asked.can("features_tested", by=("feature",)) or asked.scope.values_of("feature"):
        return None
    tested = {key[0] for key in asked.measure("features_tested", by=("feature",)).rows}
    rows = [row for row in _features(asked.conn, asked.scope.values_of("product") or ()) if row[0] not in tested]
    return Table(
        title="Features without a test",
        columns=[
            Column(key="feature", label="Feature"),
            Column(key="feature_id", label="Id"),
            Column(key="product_id", label="Product id"),
        ],
        rows=[[row[2], row[0], row[1]] for row in rows[:_SHOWN]],
        note=f"{len(rows)} in all." if len(rows) > _SHOWN else None,
        query=asked.untested(),
    )


def _features(conn: Connection, product_ids: Any) -> list[Any]:
    listed = f"[{','.join(map(str, product_ids))}]"
    return list(fetch(conn, _of_products if product_ids else _of_all, {"ids": listed} if product_ids else {}))


_of_all: Select[Any] = (
    select(_feature.id, _feature.product_id, _feature.title)
    .where(_feature.gone_at.is_(None))
    .order_by(_feature.product_id, _feature.id)
)
_of_products = _of_all.where(among(_feature.product_id, bindparam("ids")))


def recurring(asked: Asked) -> Section | None:
    """Features on which test after test finds bugs."""
    if not asked.can("test_count", "bug_count", by=("feature",), filters=WITH_BUGS):
        return None
    rows = asked.measure("test_count", "bug_count", "bug_severity_score", by=("feature",), filters=WITH_BUGS).rows
    found = [
        (key[0], row) for key, row in rows.items() if key[0] is not None and (row["test_count"] or 0) >= RECURRING
    ]
    found.sort(key=lambda item: (-(item[1]["test_count"] or 0), -(item[1]["bug_count"] or 0)))
    names = asked.named("feature", [key for key, _ in found[:_SHOWN]])
    table = Table(
        title="Recurring areas",
        columns=[
            Column(key="feature", label="Feature"),
            Column(key="feature_id", label="Id"),
            Column(key="tests_with_bugs", label="Tests with bugs", kind="count"),
            column("bug_count"),
            column("bug_severity_score"),
        ],
        rows=[
            [names[key], _id(key), row["test_count"], row["bug_count"], row["bug_severity_score"]]
            for key, row in found[:_SHOWN]
        ],
        note=f"{len(found) - _SHOWN} more." if len(found) > _SHOWN else None,
        query=asked.metrics("test_count", "bug_count", by="feature"),
    )
    text = f"Features on which bugs were found in at least {RECURRING} tests."
    return Section(id="recurring", title="Recurring areas", text=text, tables=[table] if found else [])


def returned(asked: Asked) -> Section:
    """Bugs that were found again after they had been marked as fixed."""
    found = regressions(
        asked.conn,
        product_ids=[int(key) for key in asked.scope.values_of("product") or () if key is not None],
        test_ids=asked.scope.test_ids,
        exclude_test_ids=asked.scope.exclude_test_ids,
        start=asked.scope.start,
        end=asked.scope.end,
    )
    table = Table(
        title="Found again",
        columns=[
            Column(key="bug_id", label="Bug"),
            Column(key="title", label="Title"),
            Column(key="level", label="Severity"),
            Column(key="status", label="Status"),
            Column(key="feature", label="Feature"),
            Column(key="reported_at", label="Reported", kind="moment"),
            Column(key="fixed_bug_id", label="Fixed bug"),
            Column(key="fixed_at", label="Fixed", kind="moment"),
            Column(key="similarity", label="Similarity", kind="share"),
        ],
        rows=[
            [
                each.id,
                each.title,
                each.level,
                each.status,
                each.feature,
                each.reported_at.isoformat(),
                each.fixed_bug_id,
                each.fixed_at.isoformat() if each.fixed_at else None,
                each.similarity,
            ]
            for each in found
        ],
        query="get kind=bug id=...",
    )
    text = "Bugs reported after a similar bug on the same feature was marked as fixed."
    return Section(id="regressions", title="Regressions", text=text, tables=[table] if found else [])


def devices(asked: Asked) -> Section | None:
    """What bugs were seen on."""
    titles = {
        "device_category": "Device categories",
        "operating_system": "Operating systems",
        "device": "Devices",
        "browser": "Browsers",
    }
    tables = [
        split_table(asked, title, name, ("bug_count",), most=10)
        for name, title in titles.items()
        if asked.can("bug_count", by=(name,))
    ]
    kept = [table for table in tables if table]
    if not kept:
        return None
    return Section(
        id="devices",
        title="Devices",
        text="A bug seen on several devices counts once for each of them.",
        tables=kept,
        charts=[_bars(kept[-2] if len(kept) > 1 else kept[0], "Bugs by device", 1)],
    )


def people(asked: Asked) -> Section | None:
    """Who reported the bugs, and whose tests they were found in."""
    testers = split_table(asked, "Testers", "tester", ("bug_count", "overall_acceptance_rate", "rejection_rate"))
    contacts = split_table(
        asked,
        "Customer contacts",
        "contact",
        asked.possible("bug_count", "test_count", "review_rate", by=("contact",)),
    )
    kept = [table for table in (testers, contacts) if table]
    return Section(id="people", title="People", tables=kept) if kept else None


def tests(asked: Asked) -> Section | None:
    """The tests with the most bugs."""
    names = asked.possible("bug_count", "bug_severity_score", "rejection_rate", "review_rate", by=("test",))
    table = split_table(
        asked, "Tests with the most bugs", "test", names, most=20, query=asked.tests(), also=("test_count",)
    )
    return Section(id="tests", title="Tests", tables=[table]) if table else None


def _bars(table: Table, title: str, place: int) -> Chart:
    """A number of a table's rows as bars."""
    numbers = [row[place] for row in table.rows]
    return Chart(
        title=title,
        kind="bars",
        unit="count",
        labels=[str(row[0]) for row in table.rows],
        series=[
            Series(
                name=table.columns[place].label,
                values=[number if isinstance(number, int | float) else None for number in numbers],
            )
        ],
    )


def _id(key: Key) -> int | None:
    return key if isinstance(key, int) else None
