"""Files go below the export directory and nowhere else, whole, and for their owner only."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_mcp.errors import BadInput
from testio_mcp.reports.files import save

NAMES = [
    "",
    " ",
    ".",
    "..",
    ".hidden",
    "a.",
    "a ",
    " a",
    "../a.html",
    "a/b.html",
    "/etc/passwd",
    "//server/share/a.html",
    "C:\\a.html",
    "C:a.html",
    "..\\a.html",
    "a\x00.html",
    "a\nb.html",
    "a\x7f.html",
    "a\u202egnp.html",
    "a\u200b.html",
    "a\udcff.html",
    "a?.html",
    "a*.html",
    "a|b.html",
    'a"b.html',
    "a<b>.html",
    "a:stream",
    "CON",
    "con.html",
    "Nul.tar.gz",
    "COM1.html",
    "lpt9",
    "com\u00b9.html",
    "CONIN$",
    "aux .html",
    "W" * 201,
    "日" * 67,
]
FOLDERS = [
    "../a.html",
    "a/../../b.html",
    "/a.html",
    "a//b.html",
    "a/",
    "./a.html",
    "a/./b.html",
    "nul/a.html",
    "a\\..\\b",
]


def _inside(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_name_that_is_no_plain_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput) as refused:
        save(b"x", name, tmp_path / "exports")
    assert refused.value.next_step.startswith("Give a plain file name")
    assert refused.value.message.isprintable()
    assert _inside(tmp_path) == []


@pytest.mark.parametrize("name", FOLDERS, ids=ascii)
def test_folders_cannot_lead_out_either(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput):
        save(b"x", name, tmp_path / "exports", allow_folders=True)
    assert _inside(tmp_path) == []


@given(name=st.text(max_size=12) | st.text(alphabet="./\\a~ :", max_size=8))
def test_whatever_the_name_nothing_is_written_elsewhere(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    home = tmp_path_factory.mktemp("home")
    try:
        path = save(b"x", name, home / "exports", allow_folders=True)
    except BadInput:
        assert _inside(home) == []
    else:
        assert path.resolve().is_relative_to(home.resolve() / "exports")
        assert path.read_bytes() == b"x"
        assert [entry for entry in _inside(home) if not entry.startswith("exports")] == []


def test_file_is_its_owners_and_is_replaced_as_a_whole(tmp_path: Path) -> None:
    old = os.umask(0o000)
    try:
        path = save(b"first", "Qualität 2026-Q3 日本.html", tmp_path / "data" / "exports")
        with path.open("rb") as reader:
            assert save(b"second", path.name, path.parent) == path
            assert reader.read() == b"first", "who reads the old file goes on reading it"
    finally:
        os.umask(old)
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(made.stat().st_mode) for made in (path.parent, path.parent.parent)] == [0o700, 0o700]
    assert _inside(tmp_path / "data" / "exports") == [path.name]


def test_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    directory = tmp_path / "exports"
    directory.mkdir(mode=0o755)
    save(b"x", "a.html", directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


def test_folders_are_made_when_asked_for(tmp_path: Path) -> None:
    path = save(b"x", "2026/q3/a.html", tmp_path, allow_folders=True)
    assert path == tmp_path / "2026" / "q3" / "a.html"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["out/a.html", "out/deep/a.html", "file.html", "nowhere.html"])
def test_links_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    outside, exports = tmp_path / "outside", tmp_path / "exports"
    for directory in (outside, exports):
        directory.mkdir()
    (outside / "file.html").write_bytes(b"theirs")
    (exports / "out").symlink_to(outside)
    (exports / "file.html").symlink_to(outside / "file.html")
    (exports / "nowhere.html").symlink_to(outside / "new.html")
    with pytest.raises(BadInput, match="leads out of the export directory"):
        save(b"x", name, exports, allow_folders=True)
    assert _inside(outside) == ["file.html"]
    assert (outside / "file.html").read_bytes() == b"theirs"


def test_links_that_stay_inside_are_fine(tmp_path: Path) -> None:
    exports = tmp_path / "real"
    exports.mkdir()
    (exports / "2026").mkdir()
    (exports / "latest").symlink_to("2026")
    (tmp_path / "exports").symlink_to(exports)
    save(b"x", "latest/a.html", tmp_path / "exports", allow_folders=True)
    assert (exports / "2026" / "a.html").read_bytes() == b"x"


def test_links_in_a_circle_end_in_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BadInput):
        save(b"x", "a/x.html", tmp_path, allow_folders=True)


@pytest.mark.parametrize("name", ["taken", "file/a.html"])
def test_what_is_in_the_way_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_bytes(b"theirs")
    with pytest.raises(BadInput):
        save(b"x", name, tmp_path, allow_folders=True)
    assert (tmp_path / "file").read_bytes() == b"theirs"
    assert _inside(tmp_path) == ["file", "taken"]


def test_directory_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput, match="TESTIO_EXPORT_DIR"):
        save(b"x", "a.html", tmp_path / "file" / "exports")
