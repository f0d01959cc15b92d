"""The registry in OpenAPI's words, from the same schemas that MCP clients read."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from testio_mcp.operations.registry import Operation
from testio_mcp.surfaces.operation_names import in_routes
from testio_mcp.surfaces.report_files import FORMAT, JSON, MEDIA_TYPES, is_report

_NO_NUL = "^[^\\u0000]*$"
_NUMBERS = r"^(\[?[0-9]{1,18}(,[0-9]{1,18})*\]?)?$"
_LIST = "Give it several times, or once with commas."
_PROBLEMS = {
    401: "The bearer token is missing or wrong.",
    403: "The request comes from a page of another origin.",
    404: "There is no such record.",
    408: "The request did not arrive in time.",
    409: "Something else is doing this already.",
    413: "The request is too large.",
    421: "The Host header is none of this server's names.",
    422: "An argument is not of the form asked for.",
    429: "Too many requests from this address; Retry-After says when to go on.",
    500: "A defect; the server's log holds the reason.",
    502: "The Test IO API did not do what was asked.",
    503: "The store, the API or this server cannot serve now; Retry-After may say when.",
}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_TAG = {"ETag": {"description": "Send it as If-None-Match next time.", "schema": {"type": "string"}}}
_LINK = {"Link": {"description": 'The next page, as <address>; rel="next".', "schema": {"type": "string"}}}

_NOT_REFRESHED = {
    "type": "string",
    "description": "What of the copy is old and could not be brought up to date, and why; absent when all is fresh.",
}
_FILE = {"Content-Disposition": {"description": "The name of the file.", "schema": {"type": "string"}}}
_FORMAT = {
    "name": "format",
    "in": "query",
    "required": False,
    "description": FORMAT,
    "schema": {"type": "string", "enum": list(MEDIA_TYPES)},
}


class ErrorDetail(BaseModel):
    """What is wrong and what to do next."""

    code: str
    message: str
    next_step: str


class ErrorAnswer(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail


def responses(operation: Operation) -> dict[int | str, dict[str, Any]]:
    """What an operation may answer, besides its result."""
    known: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": about} for status, about in _PROBLEMS.items()
    }
    known[429]["headers"] = known[503]["headers"] = _RETRY
    if operation.method == "GET":
        headers = (_TAG if operation.idempotent else {}) | (_LINK if operation.item else {})
        known[200] = {"description": in_routes(operation.summary), "headers": headers}
        if is_report(operation):
            known[200] |= {"headers": headers | _FILE, "content": dict(_files())}
        if operation.idempotent:
            known[304] = {"description": "The answer that the client has is the newest.", "headers": _TAG}
    return known


def _files() -> Iterator[tuple[str, dict[str, Any]]]:
    """What a report may be besides JSON, by its media type."""
    for form, media_type in MEDIA_TYPES.items():
        if form != JSON:
            is_text = media_type.startswith("text/")
            yield media_type, {"schema": {"type": "string"} | ({} if is_text else {"format": "binary"})}


def described(operation: Operation) -> dict[str, Any]:
    """The arguments of an operation: those of an action are a JSON body, all others parameters."""
    schema = operation.input_schema
    required = schema.get("required", [])
    body: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    parameters = []
    for name, about in schema.get("properties", {}).items():
        in_path = f"{{{name}}}" in operation.path
        if operation.method == "POST" and not in_path:
            value = _value(operation, name, about)
            forms = [value, *_single(value), *([] if name in required else [{"type": "null"}])]
            body["properties"][name] = value if len(forms) == 1 else {"anyOf": forms}
        else:
            parameters.append(_parameter(operation, name, about, in_path=in_path, required=name in required))
    if is_report(operation):
        parameters.append(_FORMAT)
    extra: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if operation.method == "POST":
        if needed := [name for name in required if name in body["properties"]]:
            body["required"] = needed
        extra["requestBody"] = {"required": bool(needed), "content": {"application/json": {"schema": body}}}
    return extra


def _single(value: dict[str, Any]) -> list[dict[str, Any]]:
    """What is taken in place of a list: one value, and several in one text."""
    inner = value.get("items")
    if inner is None:
        return []
    return [inner, {"type": "string", "pattern": _NUMBERS}] if inner.get("type") == "integer" else [inner]


def _parameter(
    operation: Operation, name: str, about: dict[str, Any], *, in_path: bool, required: bool
) -> dict[str, Any]:
    description = in_routes(about.get("description", ""))
    value = _value(operation, name, about)
    for part in (value, value.get("items", {})):
        if part.get("type") == "string" and "enum" not in part:
            if in_path or required:
                part.setdefault("minLength", 1)
            else:  # an empty value is as if left out
                part.pop("minLength", None)
            if "format" in part and not (in_path or required):
                part["anyOf"] = [{"format": part.pop("format")}, {"maxLength": 0}]
            if not {"format", "anyOf"} & part.keys():
                part.setdefault("pattern", _NO_NUL)
    parameter = {
        "name": name,
        "in": "path" if in_path else "query",
        "required": in_path or required,
        "schema": value,
    }
    if about.get("type") == "array":
        parameter |= {"style": "form", "explode": True}
        description = f"{description} {_LIST}".strip()
    return parameter | ({"description": description} if description else {})


def _value(operation: Operation, name: str, about: dict[str, Any]) -> dict[str, Any]:
    """The schema of one value, with the bounds that every number of the store has."""
    value = {key: part for key, part in about.items() if key != "description"}
    if name == "fields" and operation.item:
        value["items"] = {"type": "string", "enum": list(operation.item.model_fields)}
    inner = value["items"] = dict(value["items"]) if "items" in value else {}
    for part in (value, inner):
        if part.get("type") == "integer":
            _bound(part)
    if not inner:
        del value["items"]
    return value


def _bound(number: dict[str, Any]) -> None:
    """Say that a number has 64 bits, where no narrower bound is known."""
    if not {"minimum", "exclusiveMinimum"} & number.keys():
        number["minimum"] = -(2**63)
    if not {"maximum", "exclusiveMaximum"} & number.keys():
        number["exclusiveMaximum"] = 2**63


def completed(document: dict[str, Any], operations: Iterable[Operation]) -> dict[str, Any]:
    """The generated document with the arguments of the operations; FastAPI would turn their bounds into fractions.

    Records of lists need no more than an id: `fields` leaves out what was not asked for.
    """
    routes = {route["operationId"]: route for path in document["paths"].values() for route in path.values()}
    for operation in operations:
        route = routes[operation.name]
        route |= described(operation)
        page = _referred(document, route["responses"]["200"]["content"]["application/json"]["schema"])
        if operation.needs:
            page["properties"]["not_refreshed"] = dict(_NOT_REFRESHED)
        if operation.item is not None:
            item = _referred(document, page["properties"]["items"]["items"])
            item["required"] = [name for name in item.get("required", []) if name == "id"]
    return document


def _referred(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or the component that it names."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found
