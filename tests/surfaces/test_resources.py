"""Resources: the texts that explain the data, single records, and the ids that a client offers."""

from pathlib import Path

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, ResourceTemplateReference, TextResourceContents

from tests.surfaces.conftest import Copy
from tests.surfaces.programs import Era, HttpServer, http_server, stdio, text_of

TEXTS = ["testio://glossary", "testio://metrics", "testio://playbook"]
TEMPLATES = ["testio://product/{id}", "testio://test/{id}", "testio://bug/{id}"]


async def read(client: Client, uri: str) -> TextResourceContents:
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.uri == uri
    return content


def records(text: str) -> list[str]:
    """A fenced text without the words that differ each time."""
    return [line for line in text.splitlines() if not line.startswith(("[data ", "[end "))]


@pytest.mark.slow
@pytest.mark.parametrize("era", ["legacy", "auto", "2026-07-28"])
async def test_resources_over_both_transports(synced: Copy, server: HttpServer, tmp_path: Path, era: Era) -> None:
    async with Client(f"{server.url}/mcp", mode=era) as over_http, stdio(synced.environment, tmp_path, era) as piped:
        for client in (over_http, piped):
            listed = (await client.list_resources()).resources
            assert [each.uri for each in listed] == TEXTS
            templates = (await client.list_resource_templates()).resource_templates
            assert [each.uri_template for each in templates] == TEMPLATES
            for each in listed:
                content = await read(client, each.uri)
                assert content.mime_type == each.mime_type == "text/markdown"
                assert content.text.startswith(f"# {each.title}\n")
                assert each.size == len(content.text.encode())


async def test_a_record_reads_as_get_tells_it(synced: Copy, server: HttpServer) -> None:
    ids = {"product": synced.product_id, "test": synced.test_id, "bug": synced.bug_id}
    async with Client(f"{server.url}/mcp") as client:
        for kind, number in ids.items():
            content = await read(client, f"testio://{kind}/{number}")
            told = await client.call_tool("get", {"kind": kind, "id": number})
            assert records(content.text) == records(text_of(told))
            assert f"id: {number}" in content.text
            assert content.mime_type == "text/plain"


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
@pytest.mark.parametrize(
    "uri",
    [
        "testio://test/1", "testio://test/x", "testio://test/", "testio://test/1/2", "testio://test/-1",
        "testio://test/99999999999999999999", "testio://test/%31", "testio://person/1", "testio://nothing",
        "testio://../glossary", "testio://glossary/", "file:///etc/passwd", "http://a.example/", "x:",
    ],
)  # fmt: skip
async def test_what_does_not_exist_is_the_protocols_error(server: HttpServer, uri: str, era: Era) -> None:
    async with Client(f"{server.url}/mcp", mode=era) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
    assert refused.value.code == INVALID_PARAMS
    assert refused.value.data == {"uri": uri}
    assert refused.value.message.startswith(("There is no such resource. The resources are: testio://gl", "Test "))
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
async def test_a_store_that_cannot_be_made_is_an_internal_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with stdio({"TESTIO_DB_PATH": str(tmp_path / "file" / "store.db")}, tmp_path) as client:
        assert (await read(client, "testio://glossary")).text
        with pytest.raises(MCPError, match="TESTIO_DB_PATH") as refused:
            await client.read_resource("testio://test/1")
    assert refused.value.code == INTERNAL_ERROR


@pytest.mark.slow
async def test_resources_follow_the_tools(synced: Copy, tmp_path: Path) -> None:
    with http_server({**synced.environment, "TESTIO_TOOLS": "get_test"}, tmp_path) as server:
        async with Client(f"{server.url}/mcp") as client:
            templates = (await client.list_resource_templates()).resource_templates
            assert [each.uri_template for each in templates] == ["testio://test/{id}"]
            with pytest.raises(MCPError, match="There is no such resource"):
                await client.read_resource(f"testio://bug/{synced.bug_id}")


async def test_ids_are_completed_newest_first(synced: Copy, server: HttpServer) -> None:
    async with Client(f"{server.url}/mcp") as client:
        pages = [(await client.call_tool("list_tests", {"limit": 100, "fields": "id"})).structured_content or {}]
        pages.append(
            (
                await client.call_tool(
                    "list_tests", {"limit": 100, "fields": "id", "cursor": pages[0]["next_cursor"]}
                )
            ).structured_content
            or {}
        )
        ids = sorted((item["id"] for page in pages for item in page["items"]), reverse=True)
        assert len(ids) == 120
        for typed in (
            "",
            str(ids[0]),
            str(ids[0])[:1],
            str(ids[0])[:4],
            str(ids[40])[:-1],
            "999",
            "x",
            "0",
            "-1",
            "٣",
        ):
            ref = ResourceTemplateReference(uri="testio://test/{id}")
            found = (await client.complete(ref, {"name": "id", "value": typed})).completion
            wanted = [str(number) for number in ids if str(number).startswith(typed)]
            assert found.values == wanted[:100]
            assert found.has_more == (len(wanted) > 100)
        for uri, name in (("testio://x/{id}", "id"), ("testio://test/{id}", "nothing")):
            ref = ResourceTemplateReference(uri=uri)
            assert (await client.complete(ref, {"name": name, "value": ""})).completion.values == []


async def test_lists_may_be_kept_for_a_while(server: HttpServer) -> None:
    async with Client(f"{server.url}/mcp", mode="2026-07-28") as client:
        for listed in (
            await client.list_tools(),
            await client.list_prompts(),
            await client.list_resources(),
            await client.list_resource_templates(),
        ):
            assert (listed.ttl_ms, listed.cache_scope) == (300_000, "private")
