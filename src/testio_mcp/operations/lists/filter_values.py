"""Which values of a filter the data holds: a value that no record has is said, with those that look like it.

A mistyped device would otherwise be an empty list and a zero, like a device that nobody found a bug on. Nothing is
looked up unless an answer is empty, or one of several values may be the one without records.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    Execution,
    ExecutionDevice,
    Feature,
    Person,
    Section,
    Test,
    TestEnvironment,
    TestTemplate,
    UserStory,
    table_of,
)
from testio_mcp.database.words import fold
from testio_mcp.operations.lists.filters import containing, people_named, system_with_version, text_among
from testio_mcp.operations.lists.paging import Page
from testio_mcp.operations.metrics.definitions import Value
from testio_mcp.operations.metrics.questions import FilterValue, Question
from testio_mcp.operations.metrics.reading import titles
from testio_mcp.rejections import UNRECOGNISED
from testio_mcp.texts import squeezed

_SIMILAR, _FEW = 3, 8
"""How many similar values are named, and up to how many values all are."""
_MOST = 20_000
"""How many values are compared with one that is not there."""
_LIKE, _WORD = 0.6, 3
"""From which likeness on a value is similar, and how long a word is that makes it so by itself."""
_LONG = 60


@dataclass(frozen=True, eq=False)
class FilterValues:
    """Where the values of a filter stand: in any of `texts`, of records that `where` holds for.

    `key` is the id by which a value is asked for: of a person in whatever way the name is written. With `is_list`
    a text has several values with a comma between them.
    """

    noun: str
    label: str
    source: FromClause
    texts: tuple[ColumnElement[Any], ...]
    where: tuple[ColumnElement[bool], ...]
    key: ColumnElement[int] | None = None
    is_list: bool = False

    def labelled(self, label: str) -> "FilterValues":
        """The same values under another name."""
        return replace(self, label=label)

    def have(self, conn: Connection, value: str | int, *, is_part: bool) -> bool:
        """Whether any record has the value; with `is_part` as a part of a text."""
        if self.key is not None:
            wanted: str | int | None = people_named(conn, [value])[-1] if isinstance(value, str) else value
        elif is_part:
            wanted = containing(conn, str(value), *self.texts)
        else:
            return fold(str(value)) in map(fold, self.all(conn))
        return bool(fetch(conn, _any(self), {"value": wanted})[0][0])

    def all(self, conn: Connection) -> list[str]:
        """The values that records have."""
        texts = [text for row in fetch(conn, _distinct(self), {}) for text in row if text]
        return list(dict.fromkeys(part for text in texts for part in (text.split(", ") if self.is_list else [text])))


@lru_cache(maxsize=128)
def _any(values: FilterValues) -> Select[Any]:
    if values.key is not None:
        same = values.key == bindparam("value", type_=values.key.type)
    else:
        same = or_(*(text_among(text, "value") for text in values.texts))
    statement: Select[Any] = select(exists(literal_column("1")).select_from(values.source).where(*values.where, same))
    return statement


@lru_cache(maxsize=128)
def _distinct(values: FilterValues) -> Select[Any]:
    texts = [text.label(f"text_{number}") for number, text in enumerate(values.texts)]
    statement: Select[Any] = select(*texts).select_from(values.source).where(*values.where).distinct().limit(_MOST)
    return statement


_BUG, _TEST, _RUN, _PERSON = table_of(Bug), table_of(Test), table_of(Execution), table_of(Person)
_bug, _test, _run = _BUG.c, _TEST.c, _RUN.c


def _of_devices(noun: str, devices: FromClause, owner: FromClause, belongs: ColumnElement[bool]) -> dict[str, Any]:
    """The filters by what a line of devices says."""
    source, where, line = devices.join(owner, belongs), (owner.c.gone_at.is_(None),), devices.c

    def values(label: str, *texts: ColumnElement[Any], is_list: bool = False) -> FilterValues:
        return FilterValues(noun, label, source, texts, where, is_list=is_list)

    return {
        "device": values("device", line.name),
        "device_category": values("device category", line.category),
        "operating_system": values("operating system", line.operating_system, system_with_version(line)),
        "operating_system_version": values("operating system with version", system_with_version(line)),
        "browser": values("browser", line.browsers, is_list=True),
    }


def _of(noun: str, label: str, column: ColumnElement[Any], *where: ColumnElement[bool]) -> FilterValues:
    """The values of a column of a table of its own."""
    source: Any = column.table
    return FilterValues(noun, label, source, (column,), (source.c.gone_at.is_(None), *where))


def _by_name(noun: str, label: str, key: ColumnElement[Any], name: ColumnElement[Any]) -> FilterValues:
    """The values of a column that holds the ids of named records."""
    owner: Any = key.table
    named: Any = name.table
    return FilterValues(
        noun, label, owner.join(named, named.c.id == key), (name,), (owner.c.gone_at.is_(None),), key=key
    )


_TESTER = _by_name("bug", "tester", _bug.author_id, _PERSON.c.name)
_RUN_TESTER = _by_name("execution", "tester", _run.executed_by_id, _PERSON.c.name)
_CONTACT = _by_name("test", "contact", _test.created_by_id, _PERSON.c.name)
_BUG_DEVICES = _of_devices("bug", table_of(BugDevice), _BUG, table_of(BugDevice).c.bug_id == _bug.id)
_RUN_DEVICES = _of_devices(
    "execution", table_of(ExecutionDevice), _RUN, table_of(ExecutionDevice).c.execution_id == _run.id
)
_LEVEL, _KIND = _of("bug", "severity", _bug.level), _of("bug", "kind", _bug.kind)
_BUG_STATUS = _of("bug", "status", _bug.status)
_REASON = FilterValues(
    "bug",
    "rejection reason",
    _BUG,
    (func.coalesce(_bug.rejection_reason, UNRECOGNISED),),
    (_bug.gone_at.is_(None), _bug.status == "rejected"),
)
_TYPE, _TEST_STATUS = _of("test", "testing type", _test.testing_type), _of("test", "status", _test.status)
_OF_BUGS = {
    "levels": (_LEVEL,),
    "kinds": (_KIND,),
    "statuses": (_BUG_STATUS,),
    "reporters": (_TESTER.labelled("reporter"),),
}
_LISTS: Mapping[str, Mapping[str, tuple[FilterValues, ...]]] = {
    "list_bugs": {
        **_OF_BUGS,
        "rejection_reason": (_REASON,),
        "test_statuses": (_TEST_STATUS,),
        "testing_types": (_TYPE,),
        **{name: (values,) for name, values in _BUG_DEVICES.items()},
    },
    "triage_queue": _OF_BUGS,
    "custom_report": _OF_BUGS,
    "list_tests": {"statuses": (_TEST_STATUS,), "testing_types": (_TYPE,), "contacts": (_CONTACT,)},
    "list_executions": {
        "statuses": (_of("execution", "status", _run.status),),
        "testers": (_RUN_TESTER,),
        **{name: (values,) for name, values in _RUN_DEVICES.items()},
    },
    "list_features": {
        "text": (_of("feature", "title", table_of(Feature).c.title),),
        "untested_on": (_BUG_DEVICES["operating_system"], _RUN_DEVICES["operating_system"]),
    },
    "list_user_stories": {"text": (_of("user story", "title", table_of(UserStory).c.title),)},
    "list_people": {"text": (FilterValues("person", "name", _PERSON, (_PERSON.c.name,), ()),)},
    "list_test_environments": {"text": (_of("test environment", "title", table_of(TestEnvironment).c.title),)},
    "list_test_templates": {"text": (_of("test template", "title", table_of(TestTemplate).c.title),)},
}
"""The filters of lists that take open words, by operation and argument."""
_WITHOUT = frozenset({"untested_on"})
"""Filters that leave records out: a value that nothing has leaves out none, and the list is not empty."""


def filters_to_check(operation: str, arguments: Mapping[str, Any], page: Page) -> list[str]:
    """The filters of a list whose values may be in no record, judging by what it found."""
    is_empty = not getattr(page, "items", None) and not page.total
    names = []
    for name, sources in _LISTS.get(operation, {}).items():
        value = arguments.get(name)
        one_of_many = isinstance(value, list) and len(value) > 1 and sources[0].key is not None
        if value and (is_empty or one_of_many or name in _WITHOUT):
            names.append(name)
    return names


def add_notes(conn: Connection, operation: str, arguments: Mapping[str, Any], page: Page) -> None:
    """Say on a page which values of its filters no record has."""
    for name in filters_to_check(operation, arguments, page):
        value, sources = arguments[name], _LISTS[operation][name]
        wanted = value if isinstance(value, list) else [value]
        page.notes = [*page.notes, *_say_missing(conn, sources, wanted, is_part=not isinstance(value, list))]


_OF_TEST_FILTERS: Mapping[str, FilterValues] = {
    "testing_type": _TYPE,
    "test_status": _TEST_STATUS.labelled("test status"),
    "contact": _CONTACT.labelled("customer contact"),
    "section": _by_name("test", "section", _test.section_id, table_of(Section).c.name),
    "test_environment": _by_name(
        "test", "test environment", _test.test_environment_id, table_of(TestEnvironment).c.title
    ),
}
_OF_BUG_FILTERS: Mapping[str, FilterValues] = {
    "severity": _LEVEL,
    "kind": _KIND,
    "bug_status": _BUG_STATUS.labelled("bug status"),
    "rejection_reason": _REASON,
}


def say_unmatched(conn: Connection, question: Question, total: Mapping[str, Value]) -> list[str]:
    """Sentences on values of a question's filters that no record has."""
    is_empty = not any(total.values())
    notes: list[str] = []
    for name, values in question.filters:
        if is_empty or len(values) > 1:
            wanted = [value for value in values if value is not None and not isinstance(value, bool)]
            notes += _say_missing(conn, _sources(question, name), wanted, is_part=False, dimension=name)
    return notes


def _sources(question: Question, name: str) -> tuple[FilterValues, ...]:
    """Where the values of a dimension stand, for what the question counts; nowhere for what is known by its id."""
    if name in _OF_TEST_FILTERS:
        return (_OF_TEST_FILTERS[name],)
    if name in _OF_BUG_FILTERS:
        return (_OF_BUG_FILTERS[name],)
    of_bugs, of_runs = {"tester": _TESTER, **_BUG_DEVICES}, {"tester": _RUN_TESTER, **_RUN_DEVICES}
    if name not in of_bugs:
        return ()
    is_run = [fact in ("executions", "stories") for fact in question.facts]
    return (*([] if all(is_run) else [of_bugs[name]]), *([of_runs[name]] if any(is_run) else []))


def _say_missing(
    conn: Connection,
    sources: Sequence[FilterValues],
    wanted: Iterable[FilterValue],
    *,
    is_part: bool,
    dimension: str = "",
) -> list[str]:
    """A sentence for each value that is in none of the sources."""
    notes = []
    for value in dict.fromkeys(wanted):
        if value is None or not sources or any(each.have(conn, value, is_part=is_part) for each in sources):
            continue
        name = titles(conn, dimension, [value]).get(value, str(value)) if isinstance(value, int) else value
        existing = sorted({text for each in sources for text in each.all(conn)} - {name})
        sentence = f"No {' or '.join(each.noun for each in sources)} has the {sources[0].label} {name[:_LONG]!r}"
        if near := similar_to(name, existing):
            sentence += f"; similar: {', '.join(text[:_LONG] for text in near)}"
        elif existing and len(existing) <= _FEW:
            sentence += f"; there are: {', '.join(text[:_LONG] for text in existing)}"
        notes.append(f"{sentence}.")
    return notes


def similar_to(value: str, existing: Iterable[str]) -> list[str]:
    """The values most like one that is not there: written nearly the same, or with a word of it.

    >>> similar_to("iPhone 99", ["Pixel 8", "iPhone 9 Plus", "iPhone 9"])
    ['iPhone 9', 'iPhone 9 Plus']
    """
    words = {word for word in fold(value).split() if len(word) >= _WORD}
    matcher = SequenceMatcher(b=squeezed(value))
    near = []
    for text in existing:
        matcher.set_seq1(squeezed(text))
        has_word = bool(words.intersection(fold(text).split()))
        if has_word or (matcher.real_quick_ratio() >= _LIKE and matcher.quick_ratio() >= _LIKE):
            ratio = matcher.ratio()
            if has_word or ratio >= _LIKE:
                near.append((-ratio, text))
    return [text for _, text in sorted(near)[:_SIMILAR]]
