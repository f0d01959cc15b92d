"""Errors over HTTP."""

from starlette.responses import JSONResponse


def problem(
    status: int, code: str, message: str, next_step: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error in the one shape that all of them have."""
    error = {"code": code, "message": message, "next_step": next_step}
    return JSONResponse({"error": error}, status_code=status, headers=headers)
