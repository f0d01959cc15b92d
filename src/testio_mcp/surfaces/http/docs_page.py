"""The page at /docs: all routes on one page that loads nothing from anywhere."""

import json
from collections.abc import Iterable
from html import escape
from urllib.parse import urlencode

from testio_mcp import __version__
from testio_mcp.operations.registry import Operation
from testio_mcp.surfaces.operation_names import in_routes
from testio_mcp.surfaces.report_files import FORMAT, is_report

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h2{margin-top:2.5rem;font-size:1.1rem} code{font:0.95em ui-monospace,monospace} td,th{text-align:left;
vertical-align:top;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #ddd} table{border-collapse:collapse}
p{white-space:pre-line} @media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#8bf}
td,th{border-color:#444}}
"""


def docs_page(operations: Iterable[Operation], prefix: str) -> str:
    """The page as HTML."""
    sections = "".join(_section(operation, prefix) for operation in operations)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>testio-mcp</title><style>{_STYLE}</style>'
        '<meta name="viewport" content="width=device-width"></head><body>'
        f"<h1>testio-mcp {escape(__version__)}</h1><p>REST routes of this server. "
        '<a href="/openapi.json">openapi.json</a> describes them for programs; MCP clients connect to '
        f"<code>/mcp</code>.</p>{sections}</body></html>"
    )


def _section(operation: Operation, prefix: str) -> str:
    schema = operation.input_schema
    arguments = dict(schema.get("properties", {}))
    if is_report(operation):
        arguments["format"] = {"type": "string", "description": FORMAT}
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_kind(about))}"
        f"{' (required)' if name in schema.get('required', []) else ''}</td>"
        f"<td>{escape(in_routes(about.get('description', '')))}</td></tr>"
        for name, about in arguments.items()
    )
    table = f"<table><tr><th>argument</th><th>type</th><th>meaning</th></tr>{rows}</table>" if rows else ""
    examples = "".join(f"<p>{_example(operation, prefix, dict(example))}</p>" for example in operation.examples)
    heading = f"<code>{operation.method} {escape(prefix + operation.path)}</code> {escape(operation.title)}"
    return (
        f'<h2 id="{operation.name}">{heading}</h2><p>{escape(in_routes(operation.description))}</p>{table}{examples}'
    )


def _kind(about: dict[str, object]) -> str:
    kind = str(about.get("type", "any"))
    return f"{kind}, default {json.dumps(about['default'])}" if "default" in about else kind


def _example(operation: Operation, prefix: str, arguments: dict[str, object]) -> str:
    path = operation.path
    for name in list(arguments):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", str(arguments.pop(name)))
    if operation.method == "POST":
        body = escape(json.dumps(arguments), quote=False)
        return f"<code>curl -X POST -H 'Content-Type: application/json' -d '{body}' ...{escape(prefix + path)}</code>"
    query = f"?{urlencode(arguments, doseq=True)}" if arguments else ""
    target = escape(prefix + path + query)
    return f'<a href="{target}"><code>{target}</code></a>'
