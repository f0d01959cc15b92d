"""Copying the products of the account, and the features and user stories of each."""

from sqlalchemy import Connection

from testio_mcp.api.payloads import ProductPayload
from testio_mcp.api.records import Page, ProblemRecord
from testio_mcp.database.tables import Feature, table_of
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.errors import (
    ApiError,
    ApiNotFound,
    ApiUnavailable,
    AuthFailed,
    BadPayload,
    NotFound,
)
from testio_mcp.sync import state
from testio_mcp.sync.rows import FEATURES, PRODUCTS, SECTIONS, STORIES, Scope, id_of_story
from testio_mcp.sync.run import Run
from testio_mcp.sync.walk import BROKEN
from testio_mcp.sync.writer import mark_gone, missing

_IN_VAIN = 3
"""How many products are asked for by id before the API itself is taken to be at fault."""


async def copy_products(run: Run) -> dict[int, str]:
    """Copy the products; the names of those to copy, by id.

    Raises `AuthFailed` where none of the store's products is listed, `NotFound` for one that is asked for and is not.
    """
    try:
        page, known = await run.api.list_products(), dict[int, str]()
    except (ApiUnavailable, BadPayload) as error:
        page, known = await _one_by_one(run, error)
    listed = {record.id for record in page.records}
    stored = await run.read(state.product_names)
    if listed and stored and listed.isdisjoint(stored) and not run.options.accept_deletions:
        raise AuthFailed(
            "The API lists none of the store's products: the token is another account's.",
            "Set TESTIO_DB_PATH (or TESTIO_DATABASE_SCHEMA) to a place of its own; see testio-mcp doctor.",
        )

    def remove(conn: Connection) -> None:
        if not page.problems:
            run.remove(conn, PRODUCTS, ACCOUNT, missing(conn, PRODUCTS, listed), "products")
        sections = {section.id for record in page.records for section in record.sections}
        gone = missing(conn, SECTIONS, sections, SECTIONS.table.c.product_id.in_(sorted(listed)))
        mark_gone(conn, SECTIONS, gone.ids, Scope(ACCOUNT, run.started_at), run.id)
        state.clear_old_problems(conn, PRODUCTS.name, ACCOUNT, run.started_at)
        state.forget_gone_products(conn)

    done = None if known else state.Point(None, run.started_at)
    await run.store(PRODUCTS, ACCOUNT, page.records, page.problems, point=done, also=remove)
    await run.tell(PRODUCTS.name, "", len(page.records), len(page.records))
    names = known | {record.id: record.name or f"Product {record.id}" for record in page.records}
    for product_id in run.options.product_ids:
        if product_id not in names:
            raise NotFound(f"The account lists no product {product_id}.", "list_products shows the ids.")
    wanted = run.options.product_ids or names
    return {product_id: names[product_id] for product_id in wanted}


async def _one_by_one(run: Run, error: ApiError) -> tuple[Page[ProductPayload], dict[int, str]]:
    """The known products, asked for by id where one of them breaks their list, and their names of before.

    Raises `error` when none is known yet, or the API gives none of them.
    """
    known = await run.read(state.product_names)
    records: list[ProductPayload] = []
    problems = [ProblemRecord("list of products", error.message, None)]
    for product_id in known:
        try:
            records.append(await run.api.get_product(product_id))
        except (ApiNotFound, ApiUnavailable, BadPayload) as failure:
            problems.append(ProblemRecord(str(product_id), failure.message, None))
            if not records and len(problems) > _IN_VAIN:
                break
    if not records:
        raise error
    return Page(records, problems, len(records)), known


async def copy_features(run: Run, product_id: int) -> None:
    """Copy the features of a product with their user stories."""
    try:
        page = await run.api.list_features(product_id)
    except (*BROKEN, ApiNotFound) as error:
        await run.api.check(error)
        await run.store(FEATURES, product_id, (), [ProblemRecord("list of features", error.message, None)])
        return
    listed = {record.id for record in page.records}
    named = (id_of_story(story, record.id) for record in page.records for story in record.user_stories)
    stories = {story_id for story_id in named if story_id is not None}

    def remove(conn: Connection) -> None:
        if not page.problems:
            gone = missing(conn, FEATURES, listed, table_of(Feature).c.product_id == product_id)
            run.remove(conn, FEATURES, product_id, gone, f"product {product_id}")
            gone = missing(conn, STORIES, stories, STORIES.table.c.product_id == product_id)
            run.remove(conn, STORIES, product_id, gone, f"user stories of product {product_id}")
        state.clear_old_problems(conn, FEATURES.name, product_id, run.started_at)

    done = state.Point(None, run.started_at)
    await run.store(FEATURES, product_id, page.records, page.problems, point=done, also=remove)
