"""The benchmark goes through all its steps; what it measures on this occasion means nothing."""

from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.__main__ import measure
from benchmarks.measure import Series, quantile, ratio
from benchmarks.parts import PARTS, QUICK
from benchmarks.report import page


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first part that runs builds the stores for all of them."""
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("part", PARTS)
async def test_a_smoke_run_fills_its_part_of_the_page(
    part: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CACHE", cache)
    monkeypatch.chdir(tmp_path)
    (section,) = await measure(QUICK, [part])
    text = page(machine.described(), [section], 1.0, quick=True)
    assert section.tables
    assert f"\n## {section.title}\n" in text
    assert all(f"| {target.what} | {target.goal} |" in text for target in section.targets)
    assert str(tmp_path) not in text
    assert str(cache) not in text


def test_quantiles_are_samples_that_so_many_do_not_exceed() -> None:
    samples = [float(n) for n in range(1, 101)]
    assert [quantile(samples, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert quantile([7.0], 0.5) == 7.0


def test_a_ratio_tells_the_least_and_the_most_of_any_round() -> None:
    slow, fast = Series([[2.0, 2.0], [9.0, 9.0]]), Series([[1.0, 1.0], [3.0, 3.0]])
    assert ratio(slow, fast) == (2.0, 2.0, 3.0)
