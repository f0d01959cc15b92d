"""The results of test-case tests, on accounts that tell them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.payloads import CaseResultPayload
from testio_mcp.api.records import Reject
from testio_mcp.database.dialect import Row, insert_missing, upsert
from testio_mcp.database.tables import Person, TestCaseResult, table_of
from testio_mcp.errors import ApiError, ApiForbidden, ApiNotFound
from testio_mcp.sync import state
from testio_mcp.sync.rows import Record
from testio_mcp.sync.walk import FATAL

CASE_TEST = "test_case"
"""The type of tests that have such results."""
_RESULT = table_of(TestCaseResult)


@dataclass(frozen=True)
class CaseResults:
    """The results of one test; `records` is None where nothing was told, so that what is stored stays.

    `problem` says what could not be read.
    """

    test_id: int
    records: list[CaseResultPayload] | None
    problem: str | None = None


async def read_results(api: CustomerApi, product_id: int, test_id: int) -> CaseResults:
    """Ask for the results of a test; accounts that do not tell them answer 404. Raises what ends a run."""
    try:
        page = await api.list_test_case_results(product_id, test_id)
    except (ApiNotFound, ApiForbidden):
        return CaseResults(test_id, None)
    except FATAL:
        raise
    except ApiError as error:
        return CaseResults(test_id, None, error.message)
    lost = f"{len(page.rejects)} of {page.count} results: {page.rejects[0].reason}" if page.rejects else None
    return CaseResults(test_id, page.records, lost)


def store_results(conn: Connection, product_id: int, found: Sequence[CaseResults], now: datetime) -> None:
    """Replace the results of the tests that told some, and note what could not be read."""
    read = [results.test_id for results in found if results.records is not None]
    conn.execute(delete(_RESULT).where(_RESULT.c.test_id.in_(bindparam("ids", expanding=True))), {"ids": read})
    people = Record({})
    rows = [
        _row(people, results.test_id, n, case) for results in found for n, case in enumerate(results.records or ())
    ]
    insert_missing(conn, table_of(Person), [row for _, row in people.needs])
    upsert(conn, _RESULT, rows)
    problems = {f"test {results.test_id}": results.problem for results in found}
    state.clear_letters(conn, "results", product_id, [key for key, problem in problems.items() if problem is None])
    rejects = [Reject(key, problem, None) for key, problem in problems.items() if problem is not None]
    state.save_rejects(conn, "results", product_id, rejects, now)


def _row(people: Record, test_id: int, position: int, case: CaseResultPayload) -> Row:
    return {
        "test_id": test_id,
        "position": position,
        "test_case_id": case.id,
        "title": case.title,
        "status": case.status,
        "tester_id": people.person(case.tester),
        "raw": json.dumps(case.raw, ensure_ascii=False, sort_keys=True),
    }
