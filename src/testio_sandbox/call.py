"""One request to the simulated API: its parameters and body, checked the way the API checks them."""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from starlette.datastructures import QueryParams

from .catalog import Payload
from .state import Feature, ProductState
from .world import World

PER_PAGE = 25
UNPAGED = 150
# More than any answer holds: bounds a listing without cutting it.
ALL = 1 << 40


class Refused(Exception):
    """The API does not do this: the HTTP status and the text of the error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def invalid(text: str) -> NoReturn:
    """422: the body is understood, and wrong."""
    raise Refused(422, text)


@dataclass(frozen=True)
class Answer:
    """A status, a payload, and for long lists the records to stream under `root` instead of a payload."""

    payload: Payload
    status: int = 200
    root: str = ""
    records: Iterable[Payload] = ()


@dataclass(frozen=True)
class Upload:
    """A file that came with a request; `size` in bytes. Its content is of no interest."""

    filename: str
    size: int


@dataclass(frozen=True)
class Call:
    """A request, with path parameters by name.

    `staging` is the deployment that cannot page, `largest` how many records a page may hold.
    """

    world: World
    ids: dict[str, int]
    query: QueryParams
    body: Payload = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)
    staging: bool = False
    largest: int | None = None

    # --- query

    def number(self, name: str, default: int | None = None) -> int | None:
        """A whole number above zero from the query."""
        text = self.query.get(name)
        if text is None:
            return default
        if not text.isdecimal() or int(text) < 1:
            raise Refused(400, f"{name} must be a positive number")
        return int(text)

    def numbers(self, name: str) -> list[int] | None:
        """Ids from the query: comma-separated, or repeated as `name[]`."""
        parts = [part for text in self.query.getlist(name) for part in text.split(",")]
        parts += [part for text in self.query.getlist(f"{name}[]") for part in text.split(",")]
        wanted = [part.strip() for part in parts if part.strip()]
        if not all(part.isdecimal() for part in wanted):
            raise Refused(400, f"{name} must hold ids")
        return [int(part) for part in wanted] or None

    def window(self, unpaged: int = UNPAGED) -> tuple[int, int]:
        """Offset and length of the page asked for; `unpaged` records when no page is."""
        if self.staging:
            return 0, ALL
        page, size = self.number("page"), self.number("per_page", PER_PAGE) or PER_PAGE
        size = min(size, self.largest or size)
        return (0, unpaged) if page is None else ((page - 1) * size, size)

    @property
    def objects(self) -> bool:
        """Whether user stories are wanted as objects."""
        return "user_stories" in self.query.getlist("includes[]") + self.query.getlist("includes")

    # --- body

    def root(self, name: str) -> Payload:
        """The object under the body's one root."""
        found = self.body.get(name)
        if not isinstance(found, dict):
            raise Refused(400, f"param is missing or the value is empty: {name}")
        return found

    # --- records

    def product(self, name: str = "pid") -> ProductState:
        """The product of the path."""
        return self.world.product_state(self.world.product(self.ids[name])["id"])

    def feature(self, feature_id: Any) -> tuple[ProductState, Feature]:
        """A feature with its product, wherever it is."""
        for product_id in self.world.product_ids:
            state = self.world.product_state(product_id)
            if feature_id in state.features:
                return state, state.features[feature_id]
        raise Refused(404, "Feature not found")


def require(body: Payload, **kinds: type | tuple[type, ...]) -> None:
    """Refuse a body that lacks one of these fields, or holds it empty or of another type."""
    for name, kind in kinds.items():
        value = body.get(name)
        if value is None or value in ("", [], {}):
            invalid(f"{name} can't be blank")
        if not isinstance(value, kind) or isinstance(value, bool):
            invalid(f"{name} is invalid")


def among(value: Any, ids: Container[int]) -> bool:
    """Whether a value from a body is one of these ids."""
    return isinstance(value, int) and value in ids


def one_of(body: Payload, name: str, allowed: Iterable[str | None]) -> None:
    """Refuse a word that the API does not know; an absent field is fine."""
    if name in body and body[name] not in tuple(allowed):
        invalid(f"{name} is not included in the list")


def only(body: Payload, names: Iterable[str]) -> Payload:
    """The given fields of a body, the rest ignored."""
    return {name: body[name] for name in names if name in body}


def chosen(records: Iterator[Payload], wanted: list[int] | None) -> list[Payload]:
    """The records with these ids, or all."""
    return [record for record in records if wanted is None or record["id"] in wanted]


Handler = Callable[[Call], Answer]
