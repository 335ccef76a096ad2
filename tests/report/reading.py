"""A page as a test reads it: elements, texts, and whether every element is closed where it should be."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"br", "col", "hr", "img", "meta"}


class Page(HTMLParser):
    """Parses a page; `faults` lists what is not well formed.

    Attributes:
        elements: (name, attributes) in their order.
        text: All text outside `style`.
        of: Text of each element, by its place in `elements`.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source, self.text = source, ""
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.of: list[str] = []
        self.faults: list[str] = []
        self._open: list[int] = []
        self.feed(source)
        self.close()
        self.faults += [f"<{self.elements[i][0]}> is never closed" for i in self._open]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.faults.append(f"<{tag}> has an attribute twice")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.of.append("")
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attrs):
        self.faults.append(f"<{tag}/> is not HTML")

    def handle_endtag(self, tag):
        if not self._open or self.elements[self._open[-1]][0] != tag:
            self.faults.append(f"</{tag}> closes nothing")
        else:
            self._open.pop()

    def handle_data(self, data):
        if any(self.elements[i][0] == "style" for i in self._open):
            return
        self.text += data
        for i in self._open:
            self.of[i] += data

    def find(self, name: str, class_: str | None = None) -> list[dict[str, str]]:
        """Return the attributes of all elements of a name (and class)."""
        return [a for n, a in self.elements if n == name and class_ in (None, *a.get("class", "").split())]

    def texts(self, name: str, class_: str | None = None) -> list[str]:
        """Return the texts of all elements of a name (and class)."""
        found = zip(self.elements, self.of, strict=True)
        return [t for (n, a), t in found if n == name and class_ in (None, *a.get("class", "").split())]

    def inside(self, id: str) -> str:
        """Return the text of the element with this id."""
        [found] = [t for (_, a), t in zip(self.elements, self.of, strict=True) if a.get("id") == id]
        return found
