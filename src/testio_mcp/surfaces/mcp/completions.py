"""What a client offers while somebody types: ids of records, names of products, the words of a prompt."""

from functools import partial

from mcp_types import Completion, PromptReference, ResourceTemplateReference

from testio_mcp.surfaces.account import Account, registry
from testio_mcp.surfaces.mcp.clean import clean
from testio_mcp.surfaces.mcp.recipes import RECIPES, Slot
from testio_mcp.surfaces.mcp.resources import templates
from testio_mcp.surfaces.mcp.tools import Toolbox

MOST = 100
"""The protocol's limit."""
_NAMES = 200


async def completion(
    account: Account, toolbox: Toolbox, ref: PromptReference | ResourceTemplateReference, name: str, typed: str
) -> Completion:
    """Values that begin with what was typed, at most a hundred; none for what is not known.

    Raises a `TestioError` when the store is unusable.
    """
    if isinstance(ref, ResourceTemplateReference):
        kind = next((each.name for each in templates(toolbox) if ref.uri == each.uri_template and name == "id"), None)
        return _first(await _ids(account, kind, typed)) if kind else _first([])
    recipe = RECIPES.get(ref.name)
    slot = next((slot for slot in recipe.slots if slot.name == name), None) if recipe else None
    return _first(await _values(account, slot, typed) if slot else [])


def _first(values: list[str]) -> Completion:
    """The protocol's answer; there is more than fits when the limit was passed."""
    return Completion(values=values[:MOST], has_more=len(values) > MOST)


async def _ids(account: Account, kind: str, typed: str) -> list[str]:
    from testio_mcp.operations.lists.details import newest_ids

    app = await account.app()
    found = await app.store.read(partial(newest_ids, kind=kind, typed=typed.strip(), limit=MOST + 1))
    return [str(number) for number in found]


async def _values(account: Account, slot: Slot, typed: str) -> list[str]:
    if slot.meaning == "product":
        return await _products(account, typed.strip())
    return _beginning(_offered(slot), typed)


def _offered(slot: Slot) -> list[str]:
    if slot.meaning == "period":
        from testio_mcp.operations.metrics.periods import EXAMPLES

        return list(EXAMPLES)
    return list(slot.words) or ["5", "10", "20", "50"]


def _beginning(values: list[str], typed: str) -> list[str]:
    return [value for value in values if value.lower().startswith(typed.strip().lower())]


async def _products(account: Account, typed: str) -> list[str]:
    """Ids when digits were typed, else names: those that begin so before those that hold it."""
    if typed.isdigit():
        return await _ids(account, "product", typed)
    page = await registry()["list_products"].answer(await account.app(), {"limit": _NAMES})
    names = [clean(item["name"]) for item in page["items"]]
    return list(
        dict.fromkeys([*_beginning(names, typed), *(name for name in names if typed.lower() in name.lower())])
    )
