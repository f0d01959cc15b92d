"""One record of each kind, as full as the API's reference draws it."""

from typing import Any

SECRET = "hunter2"

ENVIRONMENT: dict[str, Any] = {
    "id": 31,
    "title": "Staging",
    "url": f"https://tester:{SECRET}@staging.shop.example/?access_token={SECRET}&lang=de",
    "login": SECRET,
    "password": SECRET,
    "access": {"user": SECRET, "notes": SECRET},
    "access_notes": SECRET,
    "notes": SECRET,
    "environment_test_information": {"data_type": "custom", "page_url": SECRET, "description": SECRET},
}
DEVICE: dict[str, Any] = {
    "id": 71,
    "category": {"id": 1, "key": "smartphones", "name": "Smartphone"},
    "vendor": {"id": 2, "name": "Fairphone"},
    "operating_system": {"id": 3, "key": "android", "name": "Android"},
    "operating_system_version": {"id": 4, "name": "15"},
    "device": {"id": 5, "name": "Fairphone 5"},
    "browsers": [{"id": 6, "name": "Firefox"}, {"id": 7, "name": "Chrome"}],
}
PRODUCT: dict[str, Any] = {
    "id": 1,
    "name": "Shop",
    "description": "The shop",
    "type": "website",
    "default_section_id": 10,
    "sections": [{"id": 11, "name": "Cart"}],
    "sections_with_default": [{"id": 10, "name": "default-section"}, {"id": 11, "name": "Cart"}],
    "connection": None,
    "remote_device_testing": False,
}
STORY: dict[str, Any] = {
    "id": 51,
    "path": "As a visitor I can pay",
    "title": "As a visitor I can pay",
    "feature_id": 21,
    "user_story_version_id": 61,
    "execution_status": "failed",
    "tested_by_count": 3,
    "bugs_found": 1,
    "bug_ids": [81],
}
FEATURE: dict[str, Any] = {
    "id": 21,
    "title": "Checkout",
    "description": "Paying",
    "howtofind": "Behind the cart",
    "section_ids": [10, 11],
    "user_stories": [STORY, "As a visitor I see prices"],
}
TEST: dict[str, Any] = {
    "id": 41,
    "test_title": "Release 7",
    "title": "Release 7",
    "status": "locked",
    "review_status": "review_successful",
    "testing_type": "coverage",
    "test_environment": ENVIRONMENT,
    "features": [
        {
            "id": 91,
            "feature_id": 21,
            "title": "Checkout",
            "description": "Paying",
            "howtofind": "Behind the cart",
            "enable_default": True,
            "enable_content": False,
            "enable_visual": True,
            "execution_status": "failed",
            "tester_count": 3,
            "bugs_found": 1,
            "bug_ids": [81],
            "user_stories": [STORY],
        }
    ],
    "app_sections": ["Checkout"],
    "goal": "<b>Find</b> bugs",
    "goal_text": "Find bugs",
    "out_of_scope": "<i>Search</i>",
    "out_of_scope_text": "Search",
    "instructions": "<p>Pay</p>",
    "instructions_text": "Pay",
    "attachments": [{"id": 101, "url": "https://files.example/a.pdf", "thumbnail_urls": []}],
    "requirements": [
        {
            "id": 111,
            "category": {"id": 1, "key": "smartphones", "name": "Smartphone"},
            "operating_system": {"id": 3, "key": "android", "name": "Android"},
            "min_version": {"id": 4, "name": "12"},
            "max_version": None,
            "browsers": [{"id": 6, "name": "Firefox"}, {}],
        }
    ],
    "report_language": "en",
    "section": {"id": 11, "name": "Cart"},
    "product": {"id": 1, "name": "Shop"},
    "enable_low": True,
    "enable_high": True,
    "enable_critical": False,
    "allow_device_clouds": False,
    "created_by": {"name": "Ada"},
    "submitted_by": {"name": "Grace"},
    "start_at": "2026-05-01T10:00:00+02:00",
    "end_at": "2026-05-02T14:00:00.250Z",
    "allowed_bug_types": ["low", "high"],
    "reviews": [],
    "demo": False,
    "analytics": {"testers_count": 3, "total_bugs": 1},
}
BUG: dict[str, Any] = {
    "id": 81,
    "title": "Paying fails",
    "severity": "high",
    "status": "forwarded",
    "language": "en",
    "location": "https://shop.example/pay",
    "expected_result": "Paid",
    "actual_result": "An error\r\nappears",
    "steps": ["Open the cart", "Pay"],
    "author": {"name": "Linus"},
    "comments": [{"id": 121, "body": "Seen too", "author": {"name": "Ken"}, "created_at": "2026-05-01T11:00:00Z"}],
    "devices": [DEVICE],
    "reproductions": [{"id": 1}, {"id": 2}],
    "feature": {"id": 21, "title": "Checkout"},
    "test_feature": {"id": 91, "feature_id": 21, "title": "Checkout"},
    "app_section": {"id": 91, "title": "Checkout"},
    "test": {"id": 41, "title": "Release 7"},
    "test_case": {"id": 131, "title": "Pay by card"},
    "test_environment": ENVIRONMENT,
    "product": {"id": 1, "name": "Shop"},
    "section": {"id": 11, "name": "Cart"},
    "attachments": [
        {"id": 141, "url": "https://files.example/a.png", "thumbnail_urls": {"small": "https://files.example/s.png"}}
    ],
    "known": False,
    "auto_accepted": False,
    "external_idx": "QA-7",
    "exported_at": "2026-05-03T00:00:00Z",
    "reported_at": "2026-05-01T10:30:00Z",
    "rejection_reason": None,
    "report": {
        "custom_report_configuration_id": 12,
        "content": {"data": [{"key": "nps", "name": "Score", "type": "number", "value": 9, "position": 0}]},
    },
}
EXECUTION: dict[str, Any] = {
    "id": 151,
    "status": "passed",
    "comment": "Fine",
    "executed_by": {"name": "Ken"},
    "device_reports": [DEVICE],
    "test_cycle": {"id": 41, "title": "Release 7", "test_environment": ENVIRONMENT},
    "executed_at": "2026-05-01T12:00:00Z",
    "user_story": {"id": 51},
    "user_story_version": {"id": 61},
}
TEMPLATE: dict[str, Any] = {"id": 161, "title": "Smoke", "section": {"id": 11, "name": "Cart"}}
REASON: dict[str, Any] = {"key": "intended", "name": "Intended", "default_comment": "This is intended."}
