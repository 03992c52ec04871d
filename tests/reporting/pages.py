"""Reports read back: what a browser makes of the markup, and the tables of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"meta", "rect"})
"""Elements of a report that have no end tag."""


@dataclass
class Element:
    """An element as it was opened."""

    tag: str
    attributes: dict[str, str | None]
    parents: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page in order; opening and closing them out of turn fails."""

    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        element = Element(tag, dict(attrs), tuple(each.tag for each in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element that is closed at once, as in SVG."""
        self.elements.append(Element(tag, dict(attrs), tuple(each.tag for each in self._open)))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element."""
        assert self._open, f"</{tag}> without a start"
        assert self._open[-1].tag == tag, (tag, [each.tag for each in self._open])
        self._open.pop()

    def handle_data(self, data: str) -> None:
        """Add text to every element it stands in."""
        for element in self._open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        """Return the elements of a tag."""
        return [element for element in self.elements if element.tag == tag]

    def tables(self) -> list[list[list[str]]]:
        """Return the rows of every table, header included."""
        tables: list[list[list[str]]] = []
        for element in self.elements:
            if element.tag == "table":
                tables.append([])
            elif element.tag == "tr":
                tables[-1].append([])
            elif element.tag in ("td", "th"):
                tables[-1][-1].append(" ".join(element.text.split()))
        return tables


def read(markup: str) -> Page:
    """Parse markup, and see that every element that was opened is closed."""
    page = Page()
    page.feed(markup)
    page.close()
    assert not page._open, [element.tag for element in page._open]
    return page
