"""Where alerts and digests go: to a person on stderr, to a file, and to a webhook."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from testio_mcp.app import App
from testio_mcp.crash_points import crash_point
from testio_mcp.errors import BadInput, TestioError
from testio_mcp.operations.links import command_line
from testio_mcp.operations.registry import operations
from testio_mcp.operations.work.alerts import Alert, find_pending, mark_sent
from testio_mcp.reports.files import name_below, save
from testio_mcp.reports.links import with_links
from testio_mcp.surfaces.cli import exports
from testio_mcp.surfaces.cli.terminal import talk
from testio_mcp.surfaces.mcp import plain
from testio_mcp.surfaces.mcp.clean import cleaned
from testio_mcp.surfaces.operation_names import in_commands
from testio_mcp.surfaces.webhook import post

SCHEMA_VERSION = "1.0"
_LONGEST = 500
"""Characters of one text in a message."""


async def tell(app: App, *, has_synced: bool = True) -> None:
    """Evaluate the rules and tell what is new; what cannot be delivered is told the next time.

    After a sync that failed only the age of the copy is news. Nothing that goes wrong here is an error of the sync
    before it: it is a line on stderr.
    """
    try:
        found = await find_pending(app)
        unsent = [alert for alert in found.unsent if has_synced or alert.kind == "sync_stale"]
        for alert in unsent:
            see = f" See: {command_line(alert.link)}" if alert.link else ""
            talk(f"Alert ({alert.severity}, {_line(alert.rule)}): {_line(alert.text)}{see}")
        if unsent and app.settings.alert_webhook:
            await post(app.settings, _message(unsent))
            crash_point("alerts-posted")
        await mark_sent(app, unsent, found.evaluation.last_seen if has_synced else {})
    except TestioError as error:
        talk(f"The alerts were not delivered. {in_commands(f'{error.message} {error.next_step}')}")


async def send_digest(app: App, arguments: Mapping[str, object], options: Mapping[str, str]) -> str:
    """Write the digest to a file or post it, as `options` say, and tell in a line where it went."""
    to = options.get("to", "file")
    if to != "file" and "output" in options:
        raise BadInput(f"--output goes with --to file, not {to}.", "Leave one of them out.")
    found = await find_pending(app) if to == "webhook" else None
    digest = await operations()["get_digest"].answer(app, arguments)
    if found is None:
        name = options.get("output", f"digest-{digest['period']['last'] or 'today'}.md")
        if not name.endswith(".md"):
            raise BadInput("--output: the digest is Markdown.", "Give a name that ends with .md.")
        name = name_below(name, app.settings.export_dir)
        content = exports.markdown(cleaned(with_links(digest, command_line)))
        text = f"# Digest of {digest['period']['words']}\n\n{content}\n"
        return f"Written to {save(text.encode(errors='replace'), name, app.settings.export_dir, allow_folders=True)}."
    product = arguments.get("product_id")
    about = [
        alert for alert in found.evaluation.alerts if product is None or alert.product_id in (None, int(str(product)))
    ]
    await post(app.settings, _message(about, digest))
    await mark_sent(app, about, found.evaluation.last_seen if product is None else {})
    return "Posted."


def _line(text: str) -> str:
    return plain.cell(cleaned(text, _LONGEST))


def _message(alerts: list[Alert], digest: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a webhook gets; every alert has a key by which a receiver knows it again."""
    message: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "alerts" if digest is None else "digest",
        "sent_at": datetime.now(UTC).isoformat(),
        "alerts": [{"idempotency_key": alert.key, **alert.model_dump(mode="json")} for alert in alerts],
    }
    return cleaned(message if digest is None else message | {"digest": digest}, _LONGEST)  # type: ignore[no-any-return]
