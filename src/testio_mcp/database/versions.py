"""Which version of the data a store shows."""

from sqlalchemy import Connection, String, func, select, type_coerce

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import ChangeLog, DeadLetter, SyncRun, table_of

_run, _change, _letter = table_of(SyncRun).c, table_of(ChangeLog).c, table_of(DeadLetter).c
_last_run = select(_run.id, _run.status, type_coerce(_run.finished_at, String).label("finished_at"))
_newest = _last_run.order_by(_run.id.desc()).limit(1).subquery()
_version = select(
    _newest,
    select(func.max(_change.id)).scalar_subquery(),
    select(func.count(_letter.id)).scalar_subquery(),
    select(func.max(_letter.id)).scalar_subquery(),
)


def data_version(conn: Connection) -> str | None:
    """A text that differs whenever answers may differ; None while the data changes, and before the first sync.

    Entity data is written by runs of the sync, and by nothing else without a line in the change log. While a run is
    under way every page of it is a version of its own, so that there is none to name.
    """
    rows = fetch(conn, _version, {})
    if not rows or rows[0][1] == "running":
        return None
    return "|".join(map(str, rows[0]))
