"""The words of the Customer API, as it writes them. Unknown words occur and are kept by every reader."""

TEST_STATUSES = (
    "initialized",
    "customer_finalized",
    "waiting",
    "running",
    "locked",
    "archived",
    "cancelled",
)
REVIEW_STATUSES = ("not_finalized", "review_initialized", "review_successful", "review_failed")
# `external` is what people call custom; test-case tests have no testing type at all.
TESTING_TYPES = ("rapid", "focused", "coverage", "usability", "external")

SEVERITIES = ("low", "high", "critical", "visual", "content", "custom", "suggestion", "test_case", "spelling")
BUG_STATUSES = ("submitted", "manager_approved", "forwarded", "accepted", "rejected")
EXECUTION_STATUSES = ("pending", "passed", "failed", "blocked", "cancelled")
ROLLUP_STATUSES = ("not_tested", "passed", "failed", "blocked")

PRODUCT_TYPES = (
    "website",
    "mobile_app_ios",
    "mobile_app_android",
    "mobile_app_windows",
    "streaming_app",
    "gaming",
)
