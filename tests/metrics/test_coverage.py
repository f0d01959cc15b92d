"""Story coverage is one number, whichever way it is asked for."""

from itertools import combinations
from typing import Any

from hypothesis import Phase, given, settings
from sqlalchemy import Connection

from testio_mcp.database.cache import PersistentCache
from testio_mcp.operations.lists.features import get_feature
from testio_mcp.operations.lists.products import get_product
from testio_mcp.operations.metrics.query import query_metrics
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.reports.compare import compare_quality
from testio_mcp.operations.reports.matrix import execution_matrix
from testio_mcp.operations.reports.quality_report import quality_report
from testio_mcp.operations.reports.readiness import readiness
from testio_mcp.settings import Settings
from tests.conftest import SettingsFor
from tests.metrics.data import FEATURES, RECENT, SECTIONS, Account, accounts, store_account
from tests.metrics.reference import Records, answer, read_records

METRIC = "story_coverage"
ALL_TIME = "2024-01-01 to 2026-12-31"
RULES = ["min_story_coverage=0.5"]


def _count_coverage(records: Records, **about: Any) -> float | int | None:
    return answer(records, Question(metrics=(METRIC,), **about)).total[METRIC]


def _of_tests(conn: Connection, own: Settings, ids: list[int], product: int | None) -> dict[str, Any]:
    """What each surface says of some tests, of a product where they are all of one."""
    report = quality_report(conn, own, test_ids=ids)
    said: dict[str, Any] = {
        "metrics": query_metrics(conn, own, metrics=[METRIC], test_ids=ids).totals[METRIC],
        "filter": query_metrics(conn, own, metrics=[METRIC], filters=[f"test={','.join(map(str, ids))}"]).totals[
            METRIC
        ],
        "report": next(f.value for section in report.sections for f in section.figures if f.name == METRIC),
    }
    if product is not None:
        (rule,) = readiness(conn, own, product_id=product, test_ids=ids, rules=RULES).rules
        said["readiness"] = rule.value
    if len(ids) == 1:
        said["matrix"] = execution_matrix(conn, own, test_id=ids[0]).totals.story_coverage
        groups = query_metrics(conn, own, metrics=[METRIC, "test_count"], by=["test"], test_ids=ids).items
        if groups:
            said["group"] = groups[0].root[METRIC]
        weeks = query_metrics(conn, own, metrics=[METRIC], by=["quarter"], test_ids=ids, period=ALL_TIME).items
        quarters = [row.root[METRIC] for row in weeks]
        stories = execution_matrix(conn, own, test_id=ids[0]).totals.stories
        assert len(quarters) == 12 and quarters.count(0 if stories else None) >= 11
    return said


def _compared(conn: Connection, own: Settings, left: list[int], right: list[int]) -> list[Any]:
    (pair,) = compare_quality(conn, own, left_test_ids=left, right_test_ids=right, metrics=[METRIC]).metrics
    return [pair.left, pair.right]


def _of_product(conn: Connection, own: Settings, product: int) -> dict[str, Any]:
    """What each surface says of a product, whenever its tests ended."""
    report = quality_report(conn, own, product_ids=[product], period="all time")
    filters = [f"product={product}"]
    groups = query_metrics(conn, own, metrics=[METRIC, "test_count"], by=["product"]).items
    group = [row.root[METRIC] for row in groups if row.root["product_id"] == product]
    return {
        "metrics": query_metrics(conn, own, metrics=[METRIC], filters=filters).totals[METRIC],
        "report": next(f.value for section in report.sections for f in section.figures if f.name == METRIC),
        "matrix": execution_matrix(conn, own, product_id=product).totals.story_coverage,
        "detail": get_product(conn, product).story_coverage,
        **({"group": group[0]} if group else {}),
    }


@settings(phases=(Phase.explicit, Phase.generate), max_examples=max(1, settings().max_examples // 10))
@given(account=accounts(3, RECENT))
async def test_every_surface_says_the_same(
    store: PersistentCache, settings_for: SettingsFor, account: Account
) -> None:
    own = settings_for()
    await store.write(store_account(account))
    records = await store.read(read_records)
    product_of = {test["id"]: test["product_id"] for test in records.tests if test["gone_at"] is None}

    def look(conn: Connection) -> None:
        for count in (1, 2):
            for ids in map(list, combinations(product_of, count)):
                products = {product_of[test] for test in ids}
                said = _of_tests(conn, own, ids, products.pop() if len(products) == 1 else None)
                assert set(said.values()) == {_count_coverage(records, test_ids=tuple(ids))}, (ids, said)
        tests = list(product_of)
        if len(tests) > 2:
            left, right = tests[:1], tests[1:]
            assert _compared(conn, own, left, right) == [
                _count_coverage(records, test_ids=tuple(side)) for side in (left, right)
            ]
        for product in SECTIONS:
            said = _of_product(conn, own, product)
            assert set(said.values()) == {_count_coverage(records, filters=(("product", (product,)),))}, (
                product,
                said,
            )
            for feature in FEATURES[product]:
                matrix = execution_matrix(conn, own, product_id=product, feature_id=feature)
                wanted = _count_coverage(records, filters=(("feature", (feature,)),))
                assert matrix.totals.story_coverage == get_feature(conn, feature).story_coverage == wanted, feature

    await store.read(look)
