"""Sections of where: products, features and stories, devices, testers, tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.tables import Feature, table_of
from testio_mcp.operations.metrics.definitions import Value
from testio_mcp.operations.metrics.engine import Key
from testio_mcp.operations.reports.scope import Asked, Only, column, split_table, with_all
from testio_mcp.operations.work.regressions import Regression, find_regressions
from testio_mcp.reports.links import Link, link
from testio_mcp.reports.model import Chart, Column, Section, Series, Table

RECURRING = 3
"""In how many tests of the scope bugs have to be found on a feature for it to be called recurring."""
_SHOWN = 15
_feature = table_of(Feature).c
_WITH_BUGS: Only = {"known": (True, False)}
"""A filter that every bug passes: with it, tests are those in which bugs were found."""


@dataclass(frozen=True)
class Untested:
    """The features of the products in scope, by whether a test of the scope had them."""

    tested: int
    features: list[tuple[int, int, str]]
    """Those without one: id, product, title."""
    link: Link
    """The list of those without one."""


@dataclass(frozen=True)
class Recurring:
    """Features on which bugs were found in several tests, those with the most tests first."""

    features: list[tuple[Key, str, Mapping[str, Value]]]
    """Id, title, metrics."""
    link: Link


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


def coverage(asked: Asked, untested: Untested | None) -> Section:
    """Features and stories: what was tested, and what was not."""
    names = asked.possible("bug_count", "test_count", "bug_severity_score", "rejection_rate", by=("feature",))
    tables = [split_table(asked, "Bugs and tests by feature", "feature", names, most=_SHOWN)]
    stories = asked.possible("executions", "pass_rate", "stories_tested", "story_coverage", by=("feature",))
    if stories:
        tables.append(split_table(asked, "User stories by feature", "feature", stories, most=_SHOWN))
    if untested:
        tables.append(_untested_table(untested))
    return Section(
        id="coverage",
        title="Features and user stories",
        tables=[table for table in tables if table and table.rows],
    )


def find_untested(asked: Asked) -> Untested | None:
    """The features without a test in the scope; None where the filters do not choose tests of whole products."""
    is_partial = any(asked.scope.values_of(name) for name in ("feature", "section", "user_story"))
    if is_partial or not asked.can("features_tested", by=("feature",)):
        return None
    question = asked.metrics("features_tested", by=("feature",))
    tested = {key[0] for key in asked.ask(question).rows}
    products = [key for key in asked.scope.values_of("product") or () if key is not None]
    features = [(row[0], row[1], row[2]) for row in _features(asked.conn, products) if row[0] not in tested]
    return Untested(asked.count(question), features, asked.untested_features())


def _untested_table(untested: Untested) -> Table:
    left = len(untested.features) - _SHOWN
    more = f"{left} more. " if left > 0 else ""
    return Table(
        title="Features without a test",
        columns=[
            Column(key="feature", label="Feature"),
            Column(key="feature_id", label="Id"),
            Column(key="product_id", label="Product id"),
        ],
        rows=[[title, id_, product_id] for id_, product_id, title in untested.features[:_SHOWN]],
        note=f"{more}{untested.tested} features had a test in this scope.",
        link=untested.link,
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


def find_recurring(asked: Asked) -> Recurring | None:
    """Features on which test after test finds bugs."""
    names = ("test_count", "bug_count", "bug_severity_score")
    if not asked.can(*names, by=("feature",), only=_WITH_BUGS):
        return None
    question = asked.metrics(*names, by=("feature",), only=_WITH_BUGS)
    rows = asked.ask(question).rows
    found = [
        (key[0], row) for key, row in rows.items() if key[0] is not None and (row["test_count"] or 0) >= RECURRING
    ]
    found.sort(key=lambda item: (-(item[1]["test_count"] or 0), -(item[1]["bug_count"] or 0)))
    titles = asked.named("feature", [key for key, _ in found])
    return Recurring([(key, titles[key], row) for key, row in found], with_all(question, len(found)))


def recurring(found: Recurring | None) -> Section | None:
    """Features on which test after test finds bugs."""
    if found is None:
        return None
    left = len(found.features) - _SHOWN
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
            [title, _id(key), row["test_count"], row["bug_count"], row["bug_severity_score"]]
            for key, title, row in found.features[:_SHOWN]
        ],
        note=f"{left} more." if left > 0 else None,
        link=found.link,
    )
    text = f"Features on which bugs were found in at least {RECURRING} tests."
    return Section(id="recurring", title="Recurring areas", text=text, tables=[table] if found.features else [])


def find_returned(asked: Asked) -> list[Regression] | None:
    """Bugs that were found again; None where the scope has filters that choose among bugs."""
    if asked.scope.time == "report" or any(name != "product" for name, _ in asked.scope.filters):
        return None
    return find_regressions(
        asked.conn,
        product_ids=[int(key) for key in asked.scope.values_of("product") or () if key is not None],
        test_ids=asked.scope.test_ids,
        exclude_test_ids=asked.scope.exclude_test_ids,
        start=asked.scope.start,
        end=asked.scope.end,
    )


def link_to(found: Sequence[Regression]) -> Link:
    """The list of bugs that were found again."""
    return link("list_bugs", bug_ids=[each.id for each in found])


def returned(found: Sequence[Regression] | None) -> Section | None:
    """Bugs that were found again after they had been marked as fixed."""
    if found is None:
        return None
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
        link=link_to(found),
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
    table = split_table(asked, "Tests with the most bugs", "test", names, most=20, also=("test_count",))
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
