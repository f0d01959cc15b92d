"""The Customer API of Test IO, as typed calls.

    async with CustomerApi(settings) as api:
        page = await api.list_products()

Every call raises `ApiError` and nothing else. Records that cannot be read are returned as problems beside those
that can.
"""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from testio_mcp.api.payloads import (
    BugPayload,
    CaseResultPayload,
    ExecutionPayload,
    FeaturePayload,
    ProductPayload,
    RejectReasonPayload,
    TemplatePayload,
    TestPayload,
    UserStoryPayload,
    parse_bug,
    parse_case_result,
    parse_environment,
    parse_execution,
    parse_feature,
    parse_product,
    parse_reject_reason,
    parse_template,
    parse_test,
    parse_user_story,
)
from testio_mcp.api.records import EnvironmentPayload, Page, parse_records
from testio_mcp.api.resilience import Clock, ResilientTransport, RetryPolicy
from testio_mcp.api.transport import Params, Request, Transport, bad_payload
from testio_mcp.errors import ApiError, ApiNotFound, ApiUnavailable, ApiUnreachable, BadPayload
from testio_mcp.settings import Settings

T = TypeVar("T")
R = TypeVar("R", BugPayload, ProductPayload, TestPayload)
Parser = Callable[[dict[str, Any]], T]
WITH_STORIES: Params = (("includes[]", "user_stories"),)


class CustomerApi:
    """The API as one account sees it.

    Without a token the first call raises `TokenMissing`. `policy` and `clock` are there for tests.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None, policy: RetryPolicy | None = None) -> None:
        clock, policy = clock or Clock(), policy or RetryPolicy()
        self._transport = Transport(settings, policy, clock)
        self._calls = ResilientTransport(self._transport, policy, clock, settings.max_requests_in_flight)
        self._clock = clock

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def host(self) -> str:
        """The host that is asked, with its port."""
        return self._transport.host

    @property
    def requests(self) -> int:
        """How many requests were sent, repeated ones included."""
        return self._calls.requests

    @property
    def resting(self) -> float:
        """Seconds until the next request may be sent; 0 when now.

        Positive while the API asked for a pause, or while the circuit is open after failures in a row.
        """
        return max(self._calls.pause.remaining, self._calls.circuit.remaining)

    def pause(self, seconds: float) -> None:
        """Send nothing for so many seconds: a pause that the API asked for before a restart."""
        self._calls.pause.begin(seconds)

    async def check(self, failure: ApiError) -> None:
        """Find out whether a failure was that of the API as a whole: where it seems so, ask for something small.

        Raises `ApiUnreachable` when the API does not answer that either.
        """
        if isinstance(failure, ApiUnreachable):
            if failure.is_down:
                raise failure
        elif not self._calls.circuit.remaining:
            return
        try:
            await self.list_products()
        except (ApiUnavailable, ApiUnreachable, BadPayload) as error:
            raise ApiUnreachable(error.message, error.next_step, is_down=True) from None

    async def list_products(self) -> Page[ProductPayload]:
        """All products of the account."""
        return await self._page(Request("GET", "products"), "products", parse_product)

    async def get_product(self, product_id: int) -> ProductPayload:
        """One product."""
        request = Request("GET", f"products/{product_id}")
        return self._require_id(product_id, request, await self._one(request, "product", parse_product))

    async def list_features(self, product_id: int) -> Page[FeaturePayload]:
        """All features of a product, in sections or not, with their user stories."""
        request = Request("GET", f"products/{product_id}/features", WITH_STORIES)
        return await self._page(request, "features", parse_feature)

    async def list_user_stories(self, product_id: int, section_id: int | None) -> Page[UserStoryPayload]:
        """The user stories of a product; a product with sections wants a section."""
        request = Request("GET", f"products/{product_id}/user_stories", _params(section_id=section_id))
        return await self._page(request, "user_stories", parse_user_story)

    async def list_tests(self, product_id: int, page: int, per_page: int = 25) -> Page[TestPayload]:
        """A page (from 1) of a product's tests, newest first; past the end it is empty."""
        params = (*_params(page=page, per_page=per_page), *WITH_STORIES)
        request = Request("GET", f"products/{product_id}/exploratory_tests", params)
        return await self._page(request, "exploratory_tests", parse_test)

    async def get_test(self, test_id: int) -> TestPayload:
        """One test, with its execution metrics."""
        request = Request("GET", f"exploratory_tests/{test_id}", WITH_STORIES)
        return self._require_id(test_id, request, await self._one(request, "exploratory_test", parse_test))

    async def list_bugs(self, test_ids: Sequence[int]) -> Page[BugPayload]:
        """All bugs of these tests; of no tests there are none, and nothing is asked."""
        if not test_ids:
            return Page([], [], 0)
        request = Request("GET", "bugs", (("filter_test_cycle_ids", ",".join(map(str, test_ids))),))
        return await self._page(request, "bugs", parse_bug, "bug")

    async def get_bug(self, bug_id: int) -> BugPayload:
        """One bug."""
        request = Request("GET", f"bugs/{bug_id}")
        return self._require_id(bug_id, request, await self._one(request, "bug", parse_bug))

    async def search_bugs(self, external_idx: str) -> Page[BugPayload]:
        """The bugs with this id in the customer's own tracker."""
        body = {"bug": {"external_idx": external_idx}}
        try:
            return await self._page(Request("POST", "bugs", json=body), "bugs", parse_bug, "bug")
        except ApiNotFound:
            # Recorded clients search under an address of its own.
            return await self._page(Request("POST", "bugs/search", json=body), "bugs", parse_bug, "bug")

    async def reject_reasons(self) -> Page[RejectReasonPayload]:
        """The reasons that a bug may be rejected for."""
        return await self._page(Request("GET", "bugs/reject_reasons"), "reject_reasons", parse_reject_reason)

    async def list_test_environments(self, product_id: int) -> Page[EnvironmentPayload]:
        """The test environments of a product, without their secrets."""
        request = Request("GET", f"products/{product_id}/test_environments")
        return await self._page(request, "test_environments", parse_environment)

    async def list_test_templates(self, product_id: int, section_id: int | None = None) -> Page[TemplatePayload]:
        """The test templates of a product or of one of its sections."""
        request = Request("GET", "test_templates", _params(product_id=product_id, section_id=section_id))
        return await self._page(request, "test_templates", parse_template)

    async def list_test_case_results(self, product_id: int, test_id: int) -> Page[CaseResultPayload]:
        """The results of a test-case test; accounts that do not tell them raise `ApiNotFound`."""
        request = Request("GET", f"products/{product_id}/test_case_tests/{test_id}/results")
        return await self._page(request, "results", parse_case_result)

    async def list_executions(
        self, page: int, per_page: int = 100, order: str = "desc", *, version_ids: Sequence[int] = ()
    ) -> Page[ExecutionPayload]:
        """A page (from 1) of the executions of user stories, with the total in `record_count`.

        With `version_ids`, those of these user story versions.
        """
        versions = (("user_story_version_ids[]", str(key)) for key in version_ids)
        params = (*_params(page=page, per_page=per_page, order=order), *versions)
        request = Request("GET", "user_story_version_executions", params)
        return await self._page(request, "user_story_version_executions", parse_execution, "executions")

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Change something: one attempt, repeated only if no byte left; the JSON value of the answer.

        After `ApiUnreachable` or `ApiUnavailable` the outcome is unknown: read the object retryable.
        """
        return await self._calls.call(Request(method, path, json=body), once=True)

    async def _page(self, request: Request, plural: str, parse: Parser[T], other: str | None = None) -> Page[T]:
        value = await self._calls.call(request)
        items = _items(value, plural, other)
        if items is None:
            raise bad_payload(self._transport.label_of(request), f"it holds no list of {plural}")
        records, problems = parse_records(items, parse)
        return Page(records, problems, len(items), _record_count(value))

    async def _one(self, request: Request, singular: str, parse: Parser[T]) -> T:
        value = await self._calls.call(request)
        inner = value.get(singular, value) if isinstance(value, dict) else value
        records, problems = parse_records([inner], parse)
        if problems:
            raise bad_payload(self._transport.label_of(request), f"its record has a fault, {problems[0].reason}")
        return records[0]

    def _require_id(self, record_id: int, request: Request, record: R) -> R:
        if record.id != record_id:
            raise bad_payload(self._transport.label_of(request), "it holds another record than was asked for")
        return record


def _items(value: Any, plural: str, other: str | None) -> list[Any] | None:
    """The records of a list answer: bare, wrapped in the plural, or under another name where that occurs.

    A lone object counts under the other name only. Nothing else counts as a list: a missing list read as empty
    would look as if everything were deleted.
    """
    if isinstance(value, dict):
        lone = value.get(other) if other else None
        value = [lone] if isinstance(lone, dict) else value.get(plural, lone)
    return value if isinstance(value, list) else None


def _record_count(value: Any) -> int | None:
    meta = value.get("meta") if isinstance(value, dict) else None
    count = meta.get("record_count") if isinstance(meta, dict) else None
    return count if type(count) is int and count >= 0 else None


def _params(**params: str | int | None) -> Params:
    return tuple((name, value) for name, value in params.items() if value is not None)
