"""What can be asked of `query_metrics`."""

from pydantic import BaseModel, Field
from sqlalchemy import Connection

from testio_mcp.domain import RAN_IN_WORDS
from testio_mcp.operations.metrics.definitions import DIMENSIONS, METRICS, Unit
from testio_mcp.operations.metrics.periods import EXAMPLES
from testio_mcp.operations.registry import operation


class MetricKnown(BaseModel):
    """A metric."""

    name: str
    label: str
    unit: Unit
    definition: str
    dimensions: list[str] = Field(description="What it can be split and filtered by.")


class DimensionKnown(BaseModel):
    """A dimension."""

    name: str
    label: str
    definition: str
    can_filter: bool


class Capabilities(BaseModel):
    """All metrics, all dimensions, and how to say a period."""

    metrics: list[MetricKnown]
    dimensions: list[DimensionKnown]
    periods: list[str]
    scope: str
    example: str


@operation(
    "/metrics/capabilities",
    command="capabilities",
    toolset="numbers",
    open_world=False,
    examples=({},),
    by_default=False,
)
def metric_capabilities(conn: Connection) -> Capabilities:
    """List every metric with its definition, every dimension, and the words for periods that query_metrics takes."""
    return Capabilities(
        metrics=[
            MetricKnown(
                name=metric.name,
                label=metric.label,
                unit=metric.unit,
                definition=metric.definition,
                dimensions=[each.name for each in DIMENSIONS.values() if each.facts.issuperset(metric.facts)],
            )
            for metric in METRICS.values()
        ],
        dimensions=[
            DimensionKnown(name=each.name, label=each.label, definition=each.definition, can_filter=not each.is_time)
            for each in DIMENSIONS.values()
        ],
        periods=list(EXAMPLES),
        scope=RAN_IN_WORDS,
        example="metrics=bug_count,rejection_rate by=product,month filters=severity=critical period='this year'",
    )
