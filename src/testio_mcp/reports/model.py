"""What a report holds, whatever file it becomes.

A report is data: sections of figures, findings, charts and tables, with the definition of every number and the
question that shows the records behind it. `SCHEMA_VERSION` changes with the meaning or the name of a field.
"""

from datetime import date, datetime
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from testio_mcp.domain import Direction
from testio_mcp.reports.links import Link

SCHEMA_VERSION = "2.0"

Unit = Literal["count", "number", "share"]
Health = Literal["good", "warning", "critical"]
Cell = str | int | float | bool | None


class Figure(BaseModel):
    """One number."""

    name: str = Field(description="The metric's name, as query_metrics takes it, or a name of the report's own.")
    label: str
    unit: Unit = Field(description="count: a whole number; number: any number; share: from 0 to 1.")
    value: float | int | None = Field(description="Null where there is nothing to divide by.")
    part: int | None = Field(default=None, description="Of a share: how many it is, of `whole`.")
    whole: int | None = None
    previous: float | int | None = Field(default=None, description="The same number for the previous period.")
    previous_part: int | None = None
    previous_whole: int | None = None
    direction: Direction | None = Field(
        default=None,
        description="What became of it, where that is more than chance would do; null: not judged.",
    )
    health: Health | None = None
    threshold: str | None = Field(
        default=None, description="The rule behind `health`, in words; left out of summaries."
    )
    definition: str | None = Field(default=None, description="Left out of summaries.")
    link: Link | None = Field(
        default=None,
        description="A list of the records that `value` counts, or `part` where set; else query_metrics, whose "
        "first metric is `value`.",
    )


class Finding(BaseModel):
    """One thing to know, computed from the numbers."""

    name: str = Field(default="", description="What it is about; the same in every report of this kind.")
    health: Health | None = None
    text: str
    value: float | int | None = Field(default=None, description="The number that the link gives.")
    link: Link | None = None


class Series(BaseModel):
    """The values of a chart under one name; a null is a gap."""

    name: str
    values: list[float | int | None]


class Chart(BaseModel):
    """A picture of numbers that a table of the same section also tells."""

    title: str
    kind: Literal["bars", "stacked", "lines"] = Field(description="bars: one series; stacked: parts of a whole.")
    unit: Unit
    labels: list[str]
    series: list[Series]

    @model_validator(mode="after")
    def _values_have_labels(self) -> Self:
        if any(len(series.values) != len(self.labels) for series in self.series):
            raise ValueError("every series must have one value, or a null, for each label")
        return self


class Column(BaseModel):
    """A column of a table. `share` is a number from 0 to 1."""

    key: str
    label: str
    kind: Literal["text", "count", "number", "share", "day", "moment"] = "text"


class Table(BaseModel):
    """Records; a row has one cell for each column, moments and days as ISO text."""

    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    note: str | None = Field(default=None, description="What is left out, and how to see it.")
    link: Link | None = Field(default=None, description="The question whose answer has these rows, and all others.")

    @model_validator(mode="after")
    def _rows_are_whole(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("every row must have one cell, or a null, for each column")
        return self


class Section(BaseModel):
    """A part of a report under a heading."""

    id: str = Field(
        pattern="^[A-Za-z0-9_]+$",
        description="Letters, digits and underscores; the same in every report of this kind.",
    )
    title: str
    text: str | None = None
    figures: list[Figure] = []
    findings: list[Finding] = []
    charts: list[Chart] = []
    tables: list[Table] = []


class Definition(BaseModel):
    """What a word in the report means."""

    name: str
    text: str


class Span(BaseModel):
    """Days, the first and the last included, in the account's time zone; null where the report has no such end."""

    words: str
    first: date | None
    last: date | None
    days: int | None = Field(default=None, description="How many; null with an open end.")
    is_to_date: bool = Field(
        default=False, description="Whether the rest of the period was left out: cut for a fair comparison."
    )
    time_zone: str


class Report(BaseModel):
    """A whole report."""

    schema_version: str = SCHEMA_VERSION
    kind: str = Field(description="What was asked for, such as quality.")
    title: str
    subtitle: str | None = None
    period: Span
    previous: Span | None = None
    scope: str = Field(description="Which records were counted, in words.")
    filters: dict[str, str] = {}
    generated_at: datetime
    as_of: datetime | None = Field(description="When the oldest part of what was counted was copied from Test IO.")
    sections: list[Section]
    definitions: list[Definition] = []

    @model_validator(mode="after")
    def _sections_differ(self) -> Self:
        if len({section.id for section in self.sections}) < len(self.sections):
            raise ValueError("every section must have an id of its own")
        return self
