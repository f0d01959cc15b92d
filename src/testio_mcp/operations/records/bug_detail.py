"""All about one bug."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import Connection, bindparam, func, select

from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import (
    Attachment,
    Bug,
    BugComment,
    BugDevice,
    BugField,
    Feature,
    Person,
    Product,
    Section,
    Test,
    TestFeature,
    table_of,
)
from testio_mcp.domain import auto_accept_at
from testio_mcp.operations import figures
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.operations.records.details import GONE, links, payload, the_one
from testio_mcp.operations.records.timeline import TimelineEntry, timeline
from testio_mcp.operations.registry import operation
from testio_mcp.rejections import UNRECOGNISED
from testio_mcp.settings import Settings

COMMENTS = 50
"""How many comments are shown, the newest."""
_bug, _device, _comment = table_of(Bug).c, table_of(BugDevice).c, table_of(BugComment).c
_attachment, _field = table_of(Attachment).c, table_of(BugField).c
_test, _product, _section = table_of(Test), table_of(Product), table_of(Section)
_feature, _copy, _person = table_of(Feature), table_of(TestFeature), table_of(Person)


class Device(BaseModel):
    """A device on which the bug was seen."""

    name: str | None
    vendor: str | None
    category: str | None
    operating_system: str | None
    operating_system_version: str | None
    browsers: str | None


class Comment(BaseModel):
    """A comment."""

    created_at: datetime | None
    author: str | None
    body: str


class CustomField(BaseModel):
    """A field of the custom report in a bug."""

    name: str | None
    type: str | None
    value: str | None


class BugDetail(BaseModel):
    """One bug as it was reported, what became of it, and where it belongs."""

    id: int
    title: str
    kind: str
    level: str
    status: str
    rejection_reason: str | None = Field(description=f"{UNRECOGNISED} where the comments match no reason.")
    rejection_match: str | None = Field(
        description="What told the reason, surest first: api, comment, name, key, similar, none."
    )
    known: bool
    is_fixed: bool
    exported_at: datetime | None
    external_idx: str | None = Field(description="The bug's id in the customer's own tracker.")
    auto_accept_at: datetime | None = Field(description="When it is auto-accepted, unless somebody decides.")
    product_id: int
    product: str
    section: str | None
    test_id: int
    test: str
    test_end_at: datetime | None
    feature_id: int | None
    feature: str | None
    reporter_id: int | None
    reporter: str | None
    reported_at: datetime | None
    language: str | None
    location: str | None
    steps: str | None
    expected_result: str | None
    actual_result: str | None
    reproductions: int | None = Field(description="How often others reproduced it.")
    attachments: list[str]
    devices: list[Device]
    custom_fields: list[CustomField]
    comments: list[Comment] = Field(description=f"Newest last, at most {COMMENTS}.")
    comments_left_out: int
    timeline: list[TimelineEntry] = Field(description="Last changes, oldest first.")
    as_of: datetime | None
    gone_at: datetime | None = Field(description=GONE)


_base = (
    select(
        _bug.id,
        _bug.title,
        _bug.kind,
        _bug.level,
        _bug.status,
        _bug.rejection_reason,
        _bug.rejection_match,
        _bug.is_known.label("known"),
        _bug.is_fixed,
        _bug.exported_at,
        _bug.external_idx,
        _bug.product_id,
        _product.c.name.label("product"),
        _section.c.name.label("section"),
        _bug.test_id,
        _test.c.title.label("test"),
        _test.c.end_at.label("test_end_at"),
        func.coalesce(_bug.feature_id, _copy.c.feature_id).label("feature_id"),
        func.coalesce(_feature.c.title, _copy.c.title).label("feature"),
        _bug.author_id.label("reporter_id"),
        _person.c.name.label("reporter"),
        _bug.reported_at,
        _bug.language,
        _bug.location,
        _bug.steps,
        _bug.expected_result,
        _bug.actual_result,
        _bug.comment_count,
        as_of("tests", "bugs", product_id=_bug.product_id).label("as_of"),
        _bug.gone_at,
        _bug.raw,
    )
    .join_from(table_of(Bug), _product, _bug.product_id == _product.c.id)
    .join(_test, _bug.test_id == _test.c.id)
    .outerjoin(_section, _bug.section_id == _section.c.id)
    .outerjoin(_feature, _bug.feature_id == _feature.c.id)
    .outerjoin(_copy, _bug.test_feature_id == _copy.c.id)
    .outerjoin(_person, _bug.author_id == _person.c.id)
    .where(_bug.id == bindparam("id"))
)
_devices = (
    select(*(_device[name] for name in Device.model_fields))
    .where(_device.bug_id == bindparam("id"))
    .order_by(_device.position)
)
_comments = (
    select(_comment.created_at, _person.c.name.label("author"), _comment.body)
    .outerjoin_from(table_of(BugComment), _person, _comment.author_id == _person.c.id)
    .where(_comment.bug_id == bindparam("id"))
    .order_by(_comment.created_at.desc().nulls_last(), _comment.position.desc())
    .limit(COMMENTS)
)
_attachments = select(_attachment.url).where(_attachment.bug_id == bindparam("id")).order_by(_attachment.position)
_fields = (
    select(func.coalesce(_field.name, _field.field_key).label("name"), _field.type, _field.value)
    .where(_field.bug_id == bindparam("id"))
    .order_by(_field.position)
)


@operation(
    "/bugs/{bug_id}",
    command="bugs show",
    toolset="bugs",
    needs=("tests", "bugs"),
    examples=({"bug_id": 1},),
    about="bug",
)
def get_bug(
    conn: Connection,
    settings: Settings,
    bug_id: Annotated[int, Field(description="Id of the bug; list_bugs shows the ids.")],
) -> BugDetail:
    """Tell all about one bug: steps, expected and actual result, devices, comments, attachments, decision, changes.

    Use it to reproduce a bug or to decide on it; list_bugs finds ids by product, test, severity, status or date.
    """
    key = {"id": bug_id}
    base = the_one(conn, _base, bug_id, "Bug", "list_bugs")
    comments = fetch_records(conn, _comments, key)[::-1]
    answer: dict[str, Any] = {
        **base,
        "auto_accept_at": auto_accept_at(
            figures.read_timestamp(base["test_end_at"]), [base["status"]], settings.auto_accept_days
        ),
        "reproductions": payload(base["raw"]).count("reproductions"),
        "attachments": links(row[0] for row in fetch(conn, _attachments, key)),
        "devices": fetch_records(conn, _devices, key),
        "custom_fields": fetch_records(conn, _fields, key),
        "comments": comments,
        "comments_left_out": base["comment_count"] - len(comments),
        "timeline": timeline(conn, "bug", bug_id),
    }
    return BugDetail.model_validate(answer)
