"""What a running account remembers beyond its plan: products as they are now, and changes to tests and bugs."""

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from .catalog import SECRET_MARK, Payload
from .plan import (
    ENVIRONMENT,
    FEATURE,
    FEATURES_EACH,
    PRODUCT,
    SECTION,
    SECTIONS_EACH,
    STORIES_EACH,
    STORY,
    sections_of,
)
from .plan import TEMPLATE as FIRST_TEMPLATE
from .seeded_random import Dice
from .texts import Domain, Pools


def surviving(gone: list[int], count: int, offset: int, limit: int) -> Iterator[int]:
    """The numbers below `count` that are not in the sorted list `gone`: `limit` of them after the first `offset`.

    It costs the same at any offset, so that a page deep in a large account answers at once.
    """
    number = offset
    while (skipped := bisect_right(gone, number)) + offset != number:
        number = offset + skipped
    missing = set(gone)
    while limit > 0 and number < count:
        if number not in missing:
            yield number
            limit -= 1
        number += 1


@dataclass
class Feature:
    """A feature of a product; `stories` by id, `sections` are ids (none in a product without sections).

    Stories that are gone are no longer listed; tests keep their copies of them.
    """

    id: int
    title: str
    description: str
    howtofind: str
    sections: tuple[int, ...] = ()
    stories: dict[int, str] = field(default_factory=dict)
    element_choices: tuple[str, ...] = ("Start page", "Menu", "Save button")
    gone_stories: set[int] = field(default_factory=set)

    @property
    def listed_stories(self) -> dict[int, str]:
        """The stories that the product lists."""
        return {key: path for key, path in self.stories.items() if key not in self.gone_stories}


@dataclass
class ProductState:
    """One product with all that is few enough to hold: features, environments, templates."""

    payload: Payload
    base_tests: int
    features: dict[int, Feature]
    environments: dict[int, Payload] = field(default_factory=dict)
    templates: dict[int, Payload] = field(default_factory=dict)
    # Numbers of tests created since the start, and ranks (0 is the newest) of planned tests that are gone.
    added: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)

    @property
    def id(self) -> int:
        """The id that the API shows."""
        return int(self.payload["id"])

    @property
    def section_ids(self) -> tuple[int, ...]:
        """Ids of the real sections; the default section is not one of them."""
        return tuple(section["id"] for section in self.payload["sections"])

    def remove(self, rank: int) -> None:
        """Forget the planned test at `rank`."""
        if rank not in self.gone:
            insort(self.gone, rank)

    def test_count(self) -> int:
        """How many tests the product has."""
        return len(self.added) + self.base_tests - len(self.gone)


def product_state(index: int, seed: int, base_tests: int, domain: Domain, pools: Pools) -> ProductState:
    """The product with this index as it is at the start."""
    dice = Dice(seed, "product", index)
    product_id = PRODUCT + index
    default = {"id": SECTION + index * SECTIONS_EACH, "name": "default-section"}
    sections = [
        {"id": SECTION + index * SECTIONS_EACH + 1 + place, "name": name}
        for place, name in enumerate(domain.sections)
    ]
    company = dice.pick(pools.companies).strip()
    payload: Payload = {
        "id": product_id,
        "name": f"{company} {domain.name}",
        "description": f"{domain.name} of {company}. {dice.pick(pools.sentences['en'])}",
        "type": domain.product_type,
        "industry": domain.industry,
        "default_section_id": default["id"],
        "sections": sections,
        "sections_with_default": [default, *sections],
        "connection": None if index % 2 else {"id": 60 + index, "name": "Jira", "fixed": False},
        "remote_device_testing": index % 3 == 0,
    }
    return ProductState(
        payload=payload,
        base_tests=base_tests,
        features=_features(index, domain, sections, dice, pools),
        environments={env["id"]: env for env in _environments(index, dice, pools)},
        templates={
            FIRST_TEMPLATE + index * 2 + place: {
                "id": FIRST_TEMPLATE + index * 2 + place,
                "title": title,
                "section_id": sections[0]["id"] if sections else default["id"],
            }
            for place, title in enumerate(("Release regression", "Quick smoke test"))
        },
    )


def _features(index: int, domain: Domain, sections: list[Payload], dice: Dice, pools: Pools) -> dict[int, Feature]:
    features = {}
    for place, area in enumerate(domain.areas):
        number = index * FEATURES_EACH + place
        homes = sorted(sections_of(place, len(sections))) if sections else []
        features[FEATURE + number] = Feature(
            id=FEATURE + number,
            title=area.title,
            description=f"{area.title}: {dice.pick(pools.sentences['en'])}",
            howtofind=f"Main menu > {area.title} > {area.elements[0]}",
            sections=tuple(sections[home]["id"] for home in homes),
            stories={STORY + number * STORIES_EACH + s: path for s, path in enumerate(area.stories)},
            element_choices=area.elements,
        )
    return features


def _environments(index: int, dice: Dice, pools: Pools) -> Iterator[Payload]:
    for place, stage in enumerate(("staging", "production")):
        host = f"{stage}.{dice.pick(pools.hosts)}.example"
        yield {
            "id": ENVIRONMENT + index * 2 + place,
            "title": f"{stage.title()} {host}",
            "url": f"https://{host}/",
            "login": f"{SECRET_MARK}user-{dice.below(10**6)}",
            "password": f"{SECRET_MARK}{dice.below(10**12):x}",
            "environment_test_information": {
                "data_type": "custom",
                "page_url": f"https://{host}/login",
                "description": f"Use the PIN {SECRET_MARK}{dice.below(10**6):06}",
            },
        }
