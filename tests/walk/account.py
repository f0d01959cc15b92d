"""The account that the questions are about: two weeks in the life of four products, and a copy that lags behind."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, update

from testio_mcp.app import open_app, silent
from testio_mcp.database.tables import ChangeLog, Checkpoint, SyncRun, table_of
from testio_mcp.settings import Settings
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_sandbox import Fault, Faults, World, serve_sandbox
from testio_sandbox.state import Feature
from testio_sandbox.test_payloads import runs_of
from tests.operations import truth

Payload = dict[str, Any]
SHOP, BANKING, STREAMING, TRAVEL = range(4)
SECOND_COPY, AGE = timedelta(days=9), timedelta(days=13)
"""How long ago the account was copied for the second time, and for the first."""
_POINTS = (Checkpoint, "completed_at")
_TESTS, _RUNS = "exploratory_tests", "user_story_version_executions"
_BLOCKED_BY = ("The test account is locked.", "The server was down.", "No card to pay with.")
_ASKED = ("Does it happen on Wi-Fi, too?", "Which version of the app was it?", "Can you attach a video?")


@dataclass
class Seen:
    """The account as it was when it was copied for the second time."""

    tests: dict[int, Payload]
    bugs: dict[int, Payload]


@dataclass
class Walked:
    """The account as it is, and what questions about it are compared with."""

    world: World
    environment: Mapping[str, str]
    comments: dict[int, str] = field(default_factory=dict)
    unreadable: int = 0
    before: Seen = field(default_factory=lambda: Seen({}, {}))

    @property
    def today(self) -> date:
        """The day on which the questions are asked."""
        return self.world.now.date()

    def product_id(self, place: int) -> int:
        """The id of one of the four products."""
        return self.world.product_ids[place]

    @cached_property
    def tests(self) -> list[Payload]:
        """All tests that can be copied, with the id of their product."""
        return [
            test | {"product_id": product_id}
            for product_id in self.world.product_ids
            for test_id, test in truth.tests_of(self.world, product_id).items()
            if test_id != self.unreadable
        ]

    @cached_property
    def bugs(self) -> list[Payload]:
        """All bugs, with the product and the end of their test, and with their feature, whoever names it."""
        return [
            bug
            | {"product_id": test["product_id"], "end_at": truth.moment(test["end_at"])}
            | {"feature_id": truth.feature_of(self.world, bug)}
            for test in self.tests
            for bug in self.world.bugs_of(test["id"])
        ]

    @cached_property
    def runs(self) -> list[Payload]:
        """All runs of user stories, with the id of their product."""
        ids = {test["id"]: test["product_id"] for test in self.tests}
        return [
            run
            | {"product_id": ids[run["test_cycle"]["id"]], "comment": self.comments.get(run["id"], run["comment"])}
            for run in truth.executions(self.world)
            if run["test_cycle"]["id"] in ids
        ]

    @cached_property
    def tests_that_ran(self) -> dict[int, Payload]:
        """The tests that count, by their ids."""
        return {test["id"]: test for test in self.tests if truth.has_run(test)}

    @cached_property
    def bugs_that_count(self) -> list[Payload]:
        """The bugs of tests that ran."""
        return [bug for bug in self.bugs if bug["test"]["id"] in self.tests_that_ran]

    def stories_of(self, place: int) -> set[int]:
        """The user stories that a product has."""
        features = map(self.world.feature, self.world.product_state(self.product_id(place)).features)
        return {story for feature in features if feature for story in feature.stories}

    def bugs_of(self, place: int) -> list[Payload]:
        """The bugs of one of the products."""
        return [bug for bug in self.bugs if bug["product_id"] == self.product_id(place)]


@asynccontextmanager
async def walked_account(folder: Path, token: str = "sandbox-token") -> AsyncIterator[Walked]:
    """Serve an account whose copy in `folder` is nine days old."""
    world = World(seed=11, products=4, tests_per_product=26, bugs_per_test=3, now=datetime.now(UTC) - AGE)
    path = folder / "store.db"
    async with serve_sandbox(world, token=token) as sandbox:
        walked = Walked(
            world,
            {
                "TESTIO_DB_PATH": str(path),
                "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
                "TESTIO_CUSTOMER_API_TOKEN": token,
                "TESTIO_REFRESH_AFTER_MINUTES": "0",
            },
        )
        _add_features(world)
        _explain_blocked_runs(walked, sandbox.faults)
        settings = Settings(customer_api_base_url=sandbox.url, customer_api_token=token, db_path=path)
        async with open_app(settings) as app:
            await run_sync(app, SyncOptions(), silent)
            _pass_days(world, AGE - SECOND_COPY)
            _explain_blocked_runs(walked, sandbox.faults)
            await run_sync(app, SyncOptions(), silent)
            await app.store.write(_date_back)
        walked.before = _seen(world)
        _pass_days(world, SECOND_COPY)
        _explain_blocked_runs(walked, sandbox.faults)
        _ask_testers(world)
        world.add_test(walked.product_id(SHOP), status="waiting")
        walked.unreadable = world.add_test(walked.product_id(TRAVEL), title="Nobody can read this")["id"]
        sandbox.faults.add(
            Fault("retype", _TESTS, field=f"{_TESTS}.*.id", record_id=walked.unreadable, value="unknown")
        )
        yield walked


def _pass_days(world: World, time: timedelta) -> None:
    for _ in range(time.days):
        world.advance(days=1)


def _date_back(conn: Connection) -> None:
    """Make the copies that exist as old as the days that pass in the account after them."""
    then = datetime.now(UTC) - SECOND_COPY
    for table, *columns in ((ChangeLog, "changed_at"), (SyncRun, "started_at", "finished_at"), _POINTS):
        conn.execute(update(table_of(table)).values(dict.fromkeys(columns, then)))


def _seen(world: World) -> Seen:
    ids = [test_id for product in world.product_ids for test_id in world.test_ids(product)]
    return Seen({test_id: world.test(test_id) for test_id in ids}, {bug["id"]: bug for bug in truth.all_bugs(world)})


def _add_features(world: World) -> None:
    """A feature of the banking app that was run, but not on iOS, and one whose only test was cancelled."""
    product = world.product_ids[BANKING]
    spending, savings = (
        Feature(world.new_id(), title, f"{title}: see what happens to your money.", f"Main menu > {title}")
        for title in ("Spending report", "Savings goals")
    )
    for feature in (spending, savings):
        feature.stories[world.new_id()] = f"As a customer I can see my {feature.title.lower()}"
        world.hold_feature(feature, product)
    planned = world.test_facts(world.add_test(product, status="cancelled")["id"])
    world.keep_test(planned._replace(features=(savings.id,)))
    features = tuple(world.product_state(product).features)[:3]
    while True:
        facts = world.test_facts(world.add_test(product, status="archived")["id"])
        facts = facts._replace(features=(*features, spending.id))
        world.keep_test(facts)
        systems = {
            run.device["operating_system"]["name"]
            for run in runs_of(world, facts)
            if run.version and run.version.feature_id == spending.id
        }
        if systems and "iOS" not in systems:
            return
        world.delete_test(facts.id)


def _explain_blocked_runs(walked: Walked, faults: Faults) -> None:
    """Have the API tell what blocked the runs of the banking app so far."""
    world = walked.world
    for test_id in world.test_ids(walked.product_id(BANKING)):
        for run in runs_of(world, world.test_facts(test_id)):
            if run.status == "blocked" and run.id not in walked.comments:
                walked.comments[run.id] = _BLOCKED_BY[run.id % len(_BLOCKED_BY)]
                faults.add(
                    Fault(
                        "retype",
                        _RUNS,
                        field=f"{_RUNS}.*.comment",
                        record_id=run.id,
                        value=walked.comments[run.id],
                    )
                )


def _ask_testers(world: World) -> None:
    """Have the customer ask about some bugs of the streaming app."""
    contact = world.pools.contacts[0]
    bugs = world.open_bugs(world.product_ids[STREAMING])[: len(_ASKED)]
    for bug, question in zip(bugs, _ASKED, strict=True):
        comment = {"id": world.new_id(), "body": question, "author": {"name": contact}, "created_at": world.stamp()}
        comments = [*world.bug(bug.id)["comments"], comment]
        world.update_bug(bug.id, status="question", comments=comments)
