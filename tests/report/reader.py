"""Reads a page as a browser would: its tags, attributes and text, and what is not closed."""

from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = {"meta"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and notes a tag that is closed out of turn."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text, self.attributes, self.faults = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read_page(page: str) -> Reader:
    """Read a page that must be whole."""
    reader = Reader()
    reader.feed(page)
    assert not reader.faults
    assert not reader.open
    return reader


def body_of(page: str) -> ElementTree.Element:
    """The page's body as a tree."""
    return ElementTree.fromstring(page[page.index("<body>") : page.index("</body>") + len("</body>")])


def text_of(node: ElementTree.Element) -> str:
    """All that a node says."""
    return "".join(node.itertext())
