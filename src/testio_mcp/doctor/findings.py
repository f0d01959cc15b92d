"""What the doctor says."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

State = Literal["ok", "warn", "fail", "skip"]


def _on_one_line(text: str) -> str:
    """A text that may come from the environment, a file or a server, without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


Line = Annotated[str, AfterValidator(_on_one_line)]


class Verdict(BaseModel):
    """The result of one check; `skip` means that it could not be made."""

    state: State
    found: Line
    fix: Line | None = None


class Finding(BaseModel):
    """A verdict, with the name of the check."""

    check: str
    state: State
    found: Line
    fix: Line | None = None


class Diagnosis(BaseModel):
    """All checks; the status is the worst of their states."""

    status: Literal["ok", "warn", "fail"]
    checks: list[Finding] = Field(description="In the order of the screen.")


def ok(found: str) -> Verdict:
    """All is well."""
    return Verdict(state="ok", found=found)


def warn(found: str, fix: str) -> Verdict:
    """It works, and could be better."""
    return Verdict(state="warn", found=found, fix=fix)


def fail(found: str, fix: str) -> Verdict:
    """Something does not work."""
    return Verdict(state="fail", found=found, fix=fix)


def skip(found: str) -> Verdict:
    """The check could not be made, and why."""
    return Verdict(state="skip", found=found)


def mebibytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
