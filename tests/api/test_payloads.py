"""Every quirk of the API's payloads, one test each."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from testio_mcp.api.payloads import (
    BugPayload,
    PlatformPayload,
    TestPayload,
    parse_bug,
    parse_environment,
    parse_execution,
    parse_feature,
    parse_product,
    parse_reject_reason,
    parse_template,
    parse_test,
    parse_user_story,
)
from testio_mcp.api.records import CommentPayload, DevicePayload, SectionPayload, parse_records
from testio_mcp.fields import MAX_ID, AttachmentPayload, Unreadable
from tests.api.samples import BUG, ENVIRONMENT, EXECUTION, FEATURE, PRODUCT, REASON, STORY, TEMPLATE, TEST

PHONE = DevicePayload("Fairphone 5", "Fairphone", "Smartphone", "Android", "15", ("Firefox", "Chrome"))


def bug(**changes: Any) -> BugPayload:
    """The sample bug with some fields changed."""
    return parse_bug({**deepcopy(BUG), **changes})


def a_test(**changes: Any) -> TestPayload:
    """The sample test with some fields changed."""
    return parse_test({**deepcopy(TEST), **changes})


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """The record without some fields."""
    return {name: value for name, value in record.items() if name not in names}


def test_a_full_product() -> None:
    found = parse_product(PRODUCT)
    assert (found.id, found.name, found.description, found.type) == (1, "Shop", "The shop", "website")
    assert found.default_section_id == 10
    assert found.sections == (SectionPayload(11, "Cart"), SectionPayload(10, "default-section"))
    assert (found.raw, found.drift) == (PRODUCT, ())


def test_a_full_feature() -> None:
    found = parse_feature(FEATURE)
    assert (found.id, found.title, found.description) == (21, "Checkout", "Paying")
    assert (found.howtofind, found.section_ids, found.drift) == ("Behind the cart", (10, 11), ())
    assert [(story.id, story.title) for story in found.user_stories] == [
        (51, "As a visitor I can pay"),
        (None, "As a visitor I see prices"),
    ]


def test_a_full_test() -> None:
    found = a_test()
    assert (found.id, found.title, found.status, found.review_status) == (
        41,
        "Release 7",
        "locked",
        "review_successful",
    )
    assert (found.product_id, found.product_name) == (1, "Shop")
    assert (found.section_id, found.section_name) == (11, "Cart")
    assert (found.created_by, found.submitted_by) == ("Ada", "Grace")
    assert (found.goal, found.instructions, found.out_of_scope) == ("Find bugs", "Pay", "Search")
    assert (found.enable_low, found.enable_high, found.enable_critical) == (True, True, False)
    assert found.start_at == datetime(2026, 5, 1, 8, 0, tzinfo=UTC)
    assert found.end_at == datetime(2026, 5, 2, 14, 0, 0, 250_000, tzinfo=UTC)
    assert found.requirements == (PlatformPayload("Smartphone", "Android", "12", None, ("Firefox",), ()),)
    assert found.attachments == (AttachmentPayload(101, "https://files.example/a.pdf", None, None),)
    assert found.analytics == {"testers_count": 3, "total_bugs": 1}
    assert (found.report_language, found.testing_type, found.drift) == ("en", "coverage", ())
    (feature,) = found.features
    assert (feature.id, feature.feature_id, feature.execution_status, feature.bug_ids) == (91, 21, "failed", (81,))
    assert (feature.enable_default, feature.enable_content, feature.enable_visual) == (True, False, True)
    (story,) = feature.user_stories
    assert (story.id, story.version_id, story.execution_status, story.tested_by_count) == (51, 61, "failed", 3)


def test_a_full_bug() -> None:
    found = bug()
    assert (found.id, found.title, found.status, found.api_status) == (81, "Paying fails", "open", "forwarded")
    assert (found.severity, found.kind, found.level, found.known) == ("high", "functional", "high", False)
    assert (found.steps, found.author, found.reproductions) == ("Open the cart\nPay", "Linus", 2)
    assert found.comments == (CommentPayload(121, "Seen too", "Ken", datetime(2026, 5, 1, 11, 0, tzinfo=UTC)),)
    assert found.devices == (PHONE,)
    assert (found.feature_id, found.test_feature_id, found.section_id) == (21, 91, 11)
    assert (found.test_id, found.test_title, found.test_case_id, found.product_id) == (41, "Release 7", 131, 1)
    assert found.attachments == (
        AttachmentPayload(141, "https://files.example/a.png", None, "https://files.example/s.png"),
    )
    assert (found.external_idx, found.exported_at) == ("QA-7", datetime(2026, 5, 3, tzinfo=UTC))
    assert found.custom_report is not None
    assert found.custom_report.configuration_id == 12
    assert [entry["value"] for entry in found.custom_report.data] == [9]
    assert found.drift == ()


def test_a_full_execution() -> None:
    found = parse_execution(EXECUTION)
    assert (found.id, found.status, found.executed_by, found.devices) == (151, "passed", "Ken", (PHONE,))
    assert (found.test_id, found.test_title, found.user_story_id, found.user_story_version_id) == (
        41,
        "Release 7",
        51,
        61,
    )


def test_small_records() -> None:
    assert parse_template(TEMPLATE).section_id == 11
    assert parse_reject_reason(REASON).default_comment == "This is intended."
    assert parse_user_story(STORY).feature_id == 21
    assert parse_environment(ENVIRONMENT).title == "Staging"


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ("Open\r\nPay", "Open\r\nPay"),
        (["Open", "Pay"], "Open\nPay"),
        ([{"description": "Open"}, {"title": "Pay"}], "Open\nPay"),
        ([], ""),
        (None, None),
    ],
)
def test_steps_are_text_or_a_list(steps: Any, text: str | None) -> None:
    assert bug(steps=steps).steps == text


def test_either_title_of_a_test_will_do() -> None:
    assert parse_test(without(TEST, "title")).title == "Release 7"
    assert parse_test(without(TEST, "test_title")).title == "Release 7"
    assert parse_test(without(TEST, "title", "test_title")).title is None


def test_empty_browsers_and_devices_are_left_out() -> None:
    devices = [{}, {"device": {}, "browsers": [{}], "vendor": None}, {"device": {"name": "Pixel"}, "browsers": None}]
    found = bug(devices=devices)
    empty = DevicePayload(None, None, None, None, None, ())
    assert found.devices == (empty, DevicePayload("Pixel", None, None, None, None, ()))
    assert found.drift == ()


def test_devices_may_be_an_object() -> None:
    assert bug(devices={"devices": deepcopy(BUG["devices"])}).devices == (PHONE,)
    assert parse_bug({**without(BUG, "devices"), "device": {"devices": BUG["devices"]}}).devices == (PHONE,)


@pytest.mark.parametrize("given", [0, 2**31, MAX_ID, "12", 12.0])
def test_ids_of_any_size_and_form(given: Any) -> None:
    assert bug(id=given).id == int(given)


@pytest.mark.parametrize(
    "given", [None, True, False, -1, MAX_ID + 1, 2**63, "", "x", "-1", "²", "9" * 5000, 1.5, {}, []]
)
def test_an_impossible_id_rejects_the_record(given: Any) -> None:
    with pytest.raises(Unreadable):
        bug(id=given)
    assert bug(section={"id": given}).section_id is None


def test_null_objects() -> None:
    found = bug(section=None, test_case=None, devices=None, author=None, comments=None, report=None)
    assert (found.section_id, found.test_case_id, found.devices, found.author) == (None, None, (), None)
    assert found.drift == ()
    assert a_test(created_by=None, submitted_by=None, section=None, product=None).drift == ()


@pytest.mark.parametrize("person", ["Ada", {"name": "Ada"}, {"id": 3, "name": "Ada", "extra": {}}])
def test_people_are_text_or_objects(person: Any) -> None:
    assert a_test(created_by=person).created_by == "Ada"
    assert bug(author=person).author == "Ada"
    assert parse_execution({**EXECUTION, "executed_by": person}).executed_by == "Ada"


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01T10:00:00+02:00",
        "2026-05-01T08:00:00Z",
        "2026-05-01T08:00:00.000Z",
        "2026-05-01T03:00:00-0500",
        "2026-05-01 08:00:00 UTC",
        "2026-05-01 10:00:00 +0200",
    ],
)
def test_times_in_any_zone(text: str) -> None:
    found = bug(reported_at=text)
    assert (found.reported_at, found.drift) == (datetime(2026, 5, 1, 8, tzinfo=UTC), ())
    assert found.reported_at is not None
    assert found.reported_at.tzinfo is UTC


@pytest.mark.parametrize(("text", "hour"), [("2026-05-01T08:00:00", 8), ("2026-05-01", 0)])
def test_times_without_zone_are_utc_and_noted(text: str, hour: int) -> None:
    found = bug(reported_at=text)
    assert found.reported_at == datetime(2026, 5, 1, hour, tzinfo=UTC)
    assert found.drift == ("reported_at:naive",)


@pytest.mark.parametrize("given", ["soon", "", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_unreadable_times_are_null_and_noted(given: str) -> None:
    assert (bug(reported_at=given).reported_at, bug(reported_at=given).drift) == (None, ("reported_at:not a time",))


def test_text_of_any_kind_stays_as_it_is() -> None:
    text = "<b>x</b>\r\n**y** \u202e\u05d0 \U0001f41b\u2028 ![](http://x)"
    assert bug(title=text).title == text


def test_unknown_fields_are_kept_and_noted() -> None:
    found = bug(crowd_score={"value": 3})
    assert found.raw["crowd_score"] == {"value": 3}
    assert found.drift == ("+crowd_score",)


@pytest.mark.parametrize(
    ("word", "kind", "level"),
    [
        ("low", "functional", "low"),
        ("critical", "functional", "critical"),
        ("visual", "visual", "none"),
        ("content", "content", "none"),
        ("suggestion", "usability", "none"),
        ("usability", "usability", "none"),
        ("ux", "usability", "none"),
        ("custom", "custom", "none"),
        ("test_case", "test_case", "none"),
        ("spelling", "spelling", "none"),
        ("HIGH", "functional", "high"),
        (None, "unknown", "none"),
    ],
)
def test_severity_is_kind_and_level(word: str | None, kind: str, level: str) -> None:
    found = bug(severity=word)
    assert (found.kind, found.level, found.drift) == (kind, level, ())


def test_unknown_words_are_kept_and_noted() -> None:
    found = bug(severity="Blocker", status="parked")
    assert (found.severity, found.kind, found.level, found.status) == ("Blocker", "unknown", "none", "parked")
    assert found.drift == ("severity=Blocker", "status=parked")
    assert a_test(status="frozen").status == "frozen"


@pytest.mark.parametrize(
    ("word", "marker", "shown"),
    [
        ("forwarded", False, "open"),
        ("forwarded", True, "open"),
        ("accepted", False, "accepted"),
        ("accepted", None, "accepted"),
        ("accepted", True, "auto_accepted"),
        ("auto_accepted", None, "auto_accepted"),
        ("rejected", True, "rejected"),
        ("question", None, "question"),
        ("submitted", None, "submitted"),
        ("manager_approved", None, "manager_approved"),
        (None, True, "unknown"),
    ],
)
def test_the_status_that_people_see(word: str | None, marker: bool | None, shown: str) -> None:
    found = bug(status=word, auto_accepted=marker)
    assert (found.status, found.auto_accepted) == (shown, shown == "auto_accepted")


@pytest.mark.parametrize(("word", "shown"), [(None, "test_case"), ("external", "custom"), ("rapid", "rapid")])
def test_testing_types(word: str | None, shown: str) -> None:
    assert a_test(testing_type=word).testing_type == shown


def test_a_missing_testing_type_says_nothing() -> None:
    assert parse_test(without(TEST, "testing_type")).testing_type is None
    assert a_test(testing_type=3).testing_type is None


def test_a_partial_answer_is_read() -> None:
    found = parse_bug({"id": 81, "title": "Paying fails", "severity": "high", "status": "accepted"})
    assert (found.status, found.comments, found.reported_at) == ("accepted", (), None)
    assert set(found.raw) == {"id", "title", "severity", "status"}


def test_any_one_of_the_places_of_a_bug_will_do() -> None:
    bare = without(BUG, "feature", "test_feature", "app_section")
    found = parse_bug({**bare, "feature": BUG["feature"]})
    assert (found.feature_id, found.test_feature_id) == (21, None)
    found = parse_bug({**bare, "test_feature": BUG["test_feature"]})
    assert (found.feature_id, found.test_feature_id) == (21, 91)
    found = parse_bug({**bare, "app_section": BUG["app_section"]})
    assert (found.feature_id, found.test_feature_id) == (None, 91)
    assert parse_bug({**bare, "feature_id": "21"}).feature_id == 21


def test_stories_are_texts_or_objects() -> None:
    (feature,) = a_test(features=[{"id": 91, "user_stories": ["Pay", {"id": 5, "path": "Look"}, 7]}]).features
    assert [(story.id, story.title) for story in feature.user_stories] == [(None, "Pay"), (5, "Look")]


def test_a_feature_copy_without_id_is_left_out_and_noted() -> None:
    found = a_test(features=[{"title": "Checkout"}, {"id": 92}])
    assert [feature.id for feature in found.features] == [92]
    assert found.drift == ("features.id:missing",)


def test_sections_of_a_feature_in_any_form() -> None:
    bare = without(FEATURE, "section_ids")
    assert parse_feature({**bare, "sections": [{"id": 10}, {"id": 11}]}).section_ids == (10, 11)
    assert parse_feature({**bare, "section": {"id": 11}}).section_ids == (11,)
    assert parse_feature(bare).section_ids == ()


def test_a_wrong_type_reads_as_null_and_is_noted() -> None:
    found = bug(title={"text": "x"}, known="yes", comments=[{"id": 1, "body": 7}], devices="none")
    assert (found.title, found.known, found.devices) == (None, None, ())
    assert set(found.drift) == {"title:dict", "known:str", "comments.body:int", "devices:str"}


def test_attachments_may_be_addresses() -> None:
    assert bug(attachments=["https://files.example/a.png", {"id": 1}, {}, None]).attachments == (
        AttachmentPayload(None, "https://files.example/a.png", None, None),
    )


def test_a_number_for_the_customers_tracker() -> None:
    assert bug(external_idx=77).external_idx == "77"


def test_one_stranger_does_not_fail_the_page() -> None:
    deep: dict[str, Any] = {"id": 5}
    for _ in range(600):
        deep = {"id": 5, "more": deep}
    items = [BUG, None, "bug", 3, {"title": "no id"}, {"id": True}, deep, {"id": 2**60}]
    records, rejects = parse_records(items, parse_bug)
    assert [record.id for record in records] == [81]
    assert [reject.reason for reject in rejects] == [
        "not an object (NoneType)",
        "not an object (str)",
        "not an object (int)",
        "id is missing",
        "id is not usable (bool)",
        "nested too deep",
        "id is not usable (int)",
    ]
    assert rejects[5].key == "5"
    assert len({reject.key for reject in rejects}) == 7
    assert parse_records(items, parse_bug)[1] == rejects
