"""What is copied, as data, and what a payload becomes in the tables: its own row, what it refers to, its parts."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Table

from testio_mcp.api.payloads import (
    BugPayload,
    ExecutionPayload,
    FeaturePayload,
    ProductPayload,
    TemplatePayload,
    TestFeaturePayload,
    TestPayload,
    UserStoryPayload,
)
from testio_mcp.api.records import DevicePayload, EnvironmentPayload, SectionPayload
from testio_mcp.database.dialect import Row
from testio_mcp.database.tables import (
    Attachment,
    Bug,
    BugComment,
    BugDevice,
    BugField,
    Execution,
    ExecutionDevice,
    Feature,
    FeatureSection,
    Person,
    Product,
    Section,
    Test,
    TestEnvironment,
    TestFeature,
    TestFeatureResult,
    TestMetric,
    TestPlatform,
    TestStoryResult,
    TestTemplate,
    UserStory,
    table_of,
)
from testio_mcp.domain import FAR_FUTURE, compute_id, normalize_name
from testio_mcp.rejections import Match, Reason, Remark, match

_PERSON, _SECTION, _FEATURE = table_of(Person), table_of(Section), table_of(Feature)
_ENVIRONMENT, _STORY, _MEMBER = table_of(TestEnvironment), table_of(UserStory), table_of(FeatureSection)
_TEST_FEATURE, _PLATFORM = table_of(TestFeature), table_of(TestPlatform)
_DEVICE, _COMMENT, _ATTACHMENT = table_of(BugDevice), table_of(BugComment), table_of(Attachment)
_FIELD = table_of(BugField)


@dataclass(frozen=True)
class Scope:
    """Where and when records are stored: the product and test they belong to, and the run's moment.

    `reasons` are those that a bug may be rejected for.
    """

    product_id: int
    now: datetime
    product_of_test: dict[int, int] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()


@dataclass
class Record:
    """One payload as rows.

    `needs` are inserted where missing, before the row itself; `parts` replace what the row had before, and `members`
    are records of their own that hang on it.
    """

    row: Row
    needs: list[tuple[Table, Row]] = field(default_factory=list)
    parts: list[tuple[Table, Row]] = field(default_factory=list)
    members: list[tuple[Table, Row]] = field(default_factory=list)

    def person(self, name: str | None) -> int | None:
        """The id of the person with this name, who is stored with the record; None for a name that shows nothing."""
        person = _person(name or "")
        if not person["name"]:
            return None
        self.needs.append((_PERSON, person))
        found: int = person["id"]
        return found

    def section(self, section_id: int | None, scope: Scope, product_id: int, name: str | None = None) -> int | None:
        """The id of a section, whose name is stored with the record if the product does not list it."""
        if section_id is not None:
            row = {"id": section_id, "product_id": product_id, "name": name or unnamed(_SECTION, section_id)}
            self.needs.append((_SECTION, row | {"gone_at": scope.now}))
        return section_id

    def sections(self, sections: Iterable[SectionPayload], scope: Scope, product_id: int) -> None:
        """Have the names of sections stored that the record says of its product."""
        for section in sections:
            self.section(section.id, scope, product_id, section.name)

    def feature(self, feature_id: int | None, scope: Scope, product_id: int, title: str | None = None) -> int | None:
        """The id of a feature, whose name is stored with the record if the product does not list it.

        A feature of which only the name is known has an id that is computed from it.
        """
        if feature_id is None:
            feature_id = _named_id(product_id, title)
        if feature_id is not None:
            row = {"id": feature_id, "product_id": product_id, "title": title or unnamed(_FEATURE, feature_id)}
            self.needs.append((_FEATURE, row | _placeholder(scope)))
        return feature_id

    def environment(self, environment: EnvironmentPayload | None, scope: Scope, product_id: int) -> int | None:
        """The id of a test environment, whose name is stored with the record if the product does not list it."""
        if environment is None or environment.id is None:
            return None
        row = {
            "id": environment.id,
            "product_id": product_id,
            "title": environment.title,
            "url": environment.url,
        }
        self.needs.append((_ENVIRONMENT, row | _placeholder(scope)))
        return environment.id

    def story(
        self,
        story: UserStoryPayload,
        feature_id: int | None,
        scope: Scope,
        product_id: int,
        feature: str | None = None,
    ) -> int | None:
        """The id of a user story, whose name is stored with the record if the product does not list it.

        `feature_id` and `feature` are the id and the title of the feature around it, where there is one.
        """
        feature_id = self.feature(story.feature_id if feature_id is None else feature_id, scope, product_id, feature)
        if feature_id is None:
            return story.id
        story_id = id_of_story(story, feature_id)
        if story_id is not None:
            row = _story_row(story_id, story.title, feature_id, product_id, scope)
            self.needs.append((_STORY, row | {"gone_at": scope.now}))
        return story_id


NAME_COLUMNS = {_SECTION: "name", _FEATURE: "title", _ENVIRONMENT: "title", _STORY: "title"}
"""The column with the name, in the tables whose rows a reference alone can make."""
_NOUNS = {_SECTION: "Section", _FEATURE: "Feature", _STORY: "User story"}


def unnamed(table: Table, record_id: int) -> str | None:
    """What a section, feature, user story or environment is called of which only the id is known."""
    return f"{_NOUNS[table]} {record_id}" if table in _NOUNS else None


def id_of_story(story: UserStoryPayload, feature_id: int) -> int | None:
    """The id of a user story of a feature; of one that is given as plain text, a number computed from the text."""
    return _named_id(feature_id, story.title) if story.id is None else story.id


def _named_id(owner_id: int, name: str | None) -> int | None:
    """A 53-bit id for what has a name and no id, the same in every copy; None for a name that shows nothing."""
    shown = normalize_name(name or "")
    return compute_id(f"{owner_id} {shown}") if shown else None


def _placeholder(scope: Scope) -> Row:
    """What marks a row that is only a name: the account does not list the record, or not yet.

    Like what the account lists no more it counts nowhere, so that a first copy and one kept for months agree.
    """
    return {"content_hash": "", "synced_at": scope.now, "gone_at": scope.now, "raw": "{}"}


def _story_row(story_id: int, title: str | None, feature_id: int, product_id: int, scope: Scope) -> Row:
    return {
        "id": story_id,
        "product_id": product_id,
        "feature_id": feature_id,
        "title": title or unnamed(_STORY, story_id),
        "content_hash": "",
        "synced_at": scope.now,
        "gone_at": None,
    }


@lru_cache(maxsize=10_000)
def _person(name: str) -> Row:
    shown = normalize_name(name)
    return {"id": compute_id(shown), "name": shown}


def device_row(device: DevicePayload) -> Row:
    """The columns that describe a device."""
    return {
        "category": device.category,
        "vendor": device.vendor,
        "name": device.name,
        "operating_system": device.operating_system,
        "operating_system_version": device.operating_system_version,
        "browsers": _joined(device.browsers),
    }


def _joined(names: tuple[str, ...]) -> str | None:
    return ", ".join(names) or None


def product_record(payload: ProductPayload, scope: Scope) -> Record:
    """A product with its sections."""
    record = Record(
        {
            "id": payload.id,
            "name": payload.name or f"Product {payload.id}",
            "type": payload.type,
            "description": payload.description,
            "default_section_id": payload.default_section_id,
        }
    )
    for section in payload.sections:
        row = {"id": section.id, "product_id": payload.id, "name": section.name or unnamed(_SECTION, section.id)}
        record.members.append((_SECTION, row | {"gone_at": None}))
    return record


def feature_record(payload: FeaturePayload, scope: Scope) -> Record:
    """A feature with its memberships and user stories; stories without id and text stay in raw."""
    record = Record(
        {
            "id": payload.id,
            "product_id": scope.product_id,
            "title": payload.title or f"Feature {payload.id}",
            "description": payload.description,
            "howtofind": payload.howtofind,
        }
    )
    record.sections(payload.sections, scope, scope.product_id)
    for section_id in payload.section_ids:
        record.section(section_id, scope, scope.product_id)
        record.parts.append((_MEMBER, {"feature_id": payload.id, "section_id": section_id}))
    for story in payload.user_stories:
        story_id = id_of_story(story, payload.id)
        if story_id is not None:
            row = _story_row(story_id, story.title, payload.id, scope.product_id, scope)
            record.members.append((_STORY, row))
    return record


def test_record(payload: TestPayload, scope: Scope) -> Record:
    """A test with its copies of features and its device requirements."""
    record = Record({})
    record.row = {
        "id": payload.id,
        "product_id": scope.product_id,
        "section_id": record.section(payload.section_id, scope, scope.product_id, payload.section_name),
        "test_environment_id": record.environment(payload.environment, scope, scope.product_id),
        "created_by_id": record.person(payload.created_by),
        "submitted_by_id": record.person(payload.submitted_by),
        "title": payload.title or f"Test {payload.id}",
        "status": payload.status or "unknown",
        "review_status": payload.review_status,
        "testing_type": payload.testing_type or "unknown",
        "report_language": payload.report_language,
        "start_at": payload.start_at,
        "end_at": payload.end_at,
        "sort_at": payload.end_at or FAR_FUTURE,
        "goal": payload.goal,
        "instructions": payload.instructions,
        "out_of_scope": payload.out_of_scope,
    }
    record.sections(payload.product_sections, scope, scope.product_id)
    _test_parts(record, payload, scope)
    return record


def _test_parts(record: Record, payload: TestPayload, scope: Scope) -> None:
    for feature in payload.features:
        row = {
            "id": feature.id,
            "test_id": payload.id,
            "feature_id": record.feature(feature.feature_id, scope, scope.product_id, feature.title),
            "title": feature.title or f"Feature {feature.id}",
            "enable_default": feature.enable_default is not False,
            "enable_content": bool(feature.enable_content),
            "enable_visual": bool(feature.enable_visual),
        }
        record.parts.append((_TEST_FEATURE, row))
    for position, platform in enumerate(payload.requirements):
        row = {
            "test_id": payload.id,
            "position": position,
            "category": platform.category,
            "operating_system": platform.operating_system,
            "version_from": platform.min_version,
            "version_to": platform.max_version,
            "browsers": _joined(platform.browsers),
        }
        record.parts.append((_PLATFORM, row))


def bug_record(payload: BugPayload, scope: Scope) -> Record:
    """A bug with its devices, comments and attachments; its product is the product of its test."""
    record = Record({})
    test_id = payload.test_id or 0
    product_id = scope.product_of_test[test_id]
    rejection = rejection_of(payload, scope.reasons)
    record.row = {
        "id": payload.id,
        "test_id": test_id,
        "product_id": product_id,
        "section_id": record.section(payload.section_id, scope, product_id, payload.section_name),
        "feature_id": _feature_of_bug(record, payload, scope, product_id),
        "test_feature_id": payload.test_feature_id,
        "author_id": record.person(payload.author),
        "title": payload.title or f"Bug {payload.id}",
        "kind": payload.kind,
        "level": payload.level,
        "status": payload.status,
        "is_known": bool(payload.known),
        "is_fixed": bool(payload.fixed),
        "language": payload.language,
        "location": payload.location,
        "external_idx": payload.external_idx,
        "exported_at": payload.exported_at,
        "reported_at": payload.reported_at,
        "rejection_reason": rejection.reason if rejection else None,
        "rejection_match": rejection.certainty if rejection else None,
        "comment_count": len(payload.comments),
        "steps": payload.steps,
        "expected_result": payload.expected_result,
        "actual_result": payload.actual_result,
    }
    record.sections(payload.product_sections, scope, product_id)
    record.environment(payload.environment, scope, product_id)
    record.parts += _bug_parts(record, payload)
    return record


def _feature_of_bug(record: Record, payload: BugPayload, scope: Scope, product_id: int) -> int | None:
    """The feature of a bug; what the test's copy stands for is known from the test, where the bug does not say."""
    if payload.feature_id is None and payload.test_feature_id is not None:
        return None
    return record.feature(payload.feature_id, scope, product_id, payload.feature_title)


def rejection_of(payload: BugPayload, reasons: tuple[Reason, ...]) -> Match | None:
    """Why a bug was rejected; None for a bug that is not."""
    if payload.status != "rejected":
        return None
    remarks = [
        Remark(comment.body, comment.created_at, comment.author is not None and comment.author == payload.author)
        for comment in payload.comments
    ]
    return match(reasons, remarks, payload.rejection_reason)


def _bug_parts(record: Record, payload: BugPayload) -> list[tuple[Table, Row]]:
    parts: list[tuple[Table, Row]] = []
    for position, device in enumerate(payload.devices):
        parts.append((_DEVICE, {"bug_id": payload.id, "position": position, **device_row(device)}))
    for position, comment in enumerate(payload.comments):
        own = {
            "comment_id": comment.id,
            "author_id": record.person(comment.author),
            "body": comment.body,
            "created_at": comment.created_at,
        }
        parts.append((_COMMENT, {"bug_id": payload.id, "position": position, **own}))
    report = payload.custom_report
    for position, item in enumerate(report.data if report else ()):
        own = {"configuration_id": report.configuration_id if report else None, **_custom_field(item)}
        parts.append((_FIELD, {"bug_id": payload.id, "position": position, **own}))
    for position, attachment in enumerate(payload.attachments):
        own = {"attachment_id": attachment.id, "url": attachment.url}
        parts.append((_ATTACHMENT, {"bug_id": payload.id, "position": position, **own}))
    return parts


def _custom_field(item: dict[str, Any]) -> Row:
    """A field of a custom report; a value that is not a plain one is kept as JSON."""
    value = item.get("value")
    shown = value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
    texts = {name: item.get(name) for name in ("key", "name", "type")}
    kept = {name: text if isinstance(text, str) else None for name, text in texts.items()}
    return {"field_key": kept["key"], "name": kept["name"], "type": kept["type"], "value": shown}


_FEATURE_RESULT, _STORY_RESULT = table_of(TestFeatureResult), table_of(TestStoryResult)
_EXECUTION_DEVICE = table_of(ExecutionDevice)
_ANALYTICS = {
    "testers": "testers_count",
    "devices": "devices_count",
    "total_features": "total_features",
    "tested_features": "tested_features",
    "passed_features": "passed_features",
    "failed_features": "failed_features",
    "total_user_stories": "total_user_stories",
    "tested_user_stories": "tested_user_stories",
    "passed_user_stories": "passed_user_stories",
    "failed_user_stories": "failed_user_stories",
    "blocked_user_stories": "blocked_user_stories",
    "total_bugs": "total_bugs",
}


def only_metrics(raw: dict[str, Any]) -> dict[str, Any]:
    """The part of a test's single payload that tells how its execution went."""
    return {name: raw[name] for name in ("analytics", "features") if name in raw}


def metric_record(payload: TestPayload, scope: Scope) -> Record:
    """The metrics of a test, of its features and of its user stories."""
    analytics = payload.analytics or {}
    counts = {name: analytics.get(word) for name, word in _ANALYTICS.items()}
    record = Record({"id": payload.id, **{n: v if type(v) is int and v >= 0 else None for n, v in counts.items()}})
    for position, feature in enumerate(payload.features):
        row = {
            "test_id": payload.id,
            "position": position,
            "test_feature_id": feature.id,
            "execution_status": feature.execution_status,
            "testers": feature.tester_count,
            "bugs": feature.bugs_found,
        }
        record.parts.append((_FEATURE_RESULT, row))
    stories = [row for feature in payload.features for row in _story_results(record, feature, scope)]
    record.parts += [(_STORY_RESULT, {"test_id": payload.id, "position": n} | row) for n, row in enumerate(stories)]
    return record


def _story_results(record: Record, feature: TestFeaturePayload, scope: Scope) -> list[Row]:
    return [
        {
            "test_feature_id": feature.id,
            "user_story_id": record.story(story, feature.feature_id, scope, scope.product_id, feature.title),
            "user_story_version_id": story.version_id,
            "title": story.title,
            "execution_status": story.execution_status,
            "testers": story.tested_by_count,
            "bugs": story.bugs_found,
        }
        for story in feature.user_stories
    ]


def execution_record(payload: ExecutionPayload, scope: Scope) -> Record:
    """An execution with its devices."""
    record = Record({})
    product_id = scope.product_of_test.get(payload.test_id or 0)
    if product_id is not None:
        record.environment(payload.environment, scope, product_id)
        if payload.user_story is not None:
            record.story(payload.user_story, payload.user_story.feature_id, scope, product_id)
    record.row = {
        "id": payload.id,
        "test_id": payload.test_id,
        "user_story_id": payload.user_story_id,
        "user_story_version_id": payload.user_story_version_id,
        "status": payload.status or "unknown",
        "comment": payload.comment,
        "executed_by_id": record.person(payload.executed_by),
        "executed_at": payload.executed_at,
    }
    for position, device in enumerate(payload.devices):
        record.parts.append(
            (_EXECUTION_DEVICE, {"execution_id": payload.id, "position": position, **device_row(device)})
        )
    return record


def environment_record(payload: EnvironmentPayload, scope: Scope) -> Record:
    """A test environment."""
    return Record({"id": payload.id, "product_id": scope.product_id, "title": payload.title, "url": payload.url})


def template_record(payload: TemplatePayload, scope: Scope) -> Record:
    """A test template."""
    record = Record({})
    record.row = {
        "id": payload.id,
        "product_id": scope.product_id,
        "section_id": record.section(payload.section_id, scope, scope.product_id, payload.section_name),
        "title": payload.title or f"Template {payload.id}",
    }
    return record


@dataclass(frozen=True)
class Resource:
    """One kind of record: where it is kept, how a payload becomes rows, and which changes are worth a line.

    `parts` names the tables whose rows belong to one record, with the column that says to which. `canonical`
    picks from the payload what makes a version of the record.
    """

    name: str
    entity: str
    table: Table
    record: Callable[[Any, Scope], Record]
    parts: tuple[tuple[Table, str], ...] = ()
    tracked: tuple[str, ...] = ()
    canonical: Callable[[dict[str, Any]], dict[str, Any]] = lambda raw: raw


_METRICS = frozenset({"analytics", "execution_status", "tester_count", "tested_by_count", "bugs_found", "bug_ids"})


def without_metrics(raw: dict[str, Any]) -> dict[str, Any]:
    """A test as its list entry shows it: the single GET adds metrics, which do not make it another version."""
    plain = {name: value for name, value in raw.items() if name not in _METRICS}
    for name in ("features", "user_stories"):
        if isinstance(nested := plain.get(name), list):
            plain[name] = [without_metrics(item) if isinstance(item, dict) else item for item in nested]
    return plain


PRODUCTS = Resource("products", "product", table_of(Product), product_record, tracked=("name",))
SECTIONS = Resource("sections", "section", table_of(Section), product_record)
"""Stored with their product, which lists them."""
FEATURES = Resource(
    "features",
    "feature",
    table_of(Feature),
    feature_record,
    parts=((table_of(FeatureSection), "feature_id"),),
    tracked=("title",),
)
STORIES = Resource("user stories", "user_story", table_of(UserStory), feature_record)
"""Stored with their feature, which lists them."""
TESTS = Resource(
    "tests",
    "test",
    table_of(Test),
    test_record,
    parts=((table_of(TestFeature), "test_id"), (table_of(TestPlatform), "test_id")),
    tracked=("title", "status", "review_status", "start_at", "end_at"),
    canonical=without_metrics,
)
BUGS = Resource(
    "bugs",
    "bug",
    table_of(Bug),
    bug_record,
    parts=(
        (table_of(BugDevice), "bug_id"),
        (table_of(BugComment), "bug_id"),
        (table_of(BugField), "bug_id"),
        (table_of(Attachment), "bug_id"),
    ),
    tracked=("title", "kind", "level", "status", "is_known", "is_fixed", "exported_at", "comment_count"),
)
METRICS = Resource(
    "metrics",
    "test_metric",
    table_of(TestMetric),
    metric_record,
    parts=((table_of(TestFeatureResult), "test_id"), (table_of(TestStoryResult), "test_id")),
    canonical=only_metrics,
)
EXECUTIONS = Resource(
    "executions",
    "execution",
    table_of(Execution),
    execution_record,
    parts=((table_of(ExecutionDevice), "execution_id"),),
    tracked=("status",),
)
ENVIRONMENTS = Resource("environments", "test_environment", table_of(TestEnvironment), environment_record)
TEMPLATES = Resource("templates", "test_template", table_of(TestTemplate), template_record)
