"""`python -m tests.walk`: ask the fifty questions and print what each takes; `--write` writes docs/questions.md."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.walk.walking import PAGE, page, table, walk


def main() -> int:
    """Ask, print and compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.walk", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/questions.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, _ = asyncio.run(walk(Path(folder)))
    sys.stdout.write(table(outcomes) + "\n")
    wrong = [outcome for outcome in outcomes if outcome.answer != outcome.truth]
    for outcome in wrong:
        sys.stdout.write(f"\n{outcome.text}\n  answer {outcome.answer}\n  truth  {outcome.truth}\n")
    if given.write:
        PAGE.write_text(page(outcomes), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
