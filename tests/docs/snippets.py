"""The snippets of the documents: what is between the fences, and where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^( *)```([a-z]*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """One block of a page.

    :param language: what is written behind the fence; empty for words and figures that are only looked at.
    :param line: of the page at which its text begins.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Where it stands, as a name that a DAG may have."""
        return re.sub(r"\W", "_", f"{self.page}_{self.line}")


def snippets_of(page: Path) -> list[Snippet]:
    """Return the blocks of one page, in their order."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        indent, language, body = match.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Snippet(str(page.relative_to(ROOT)), line, language, "".join(lines)))
    return found
