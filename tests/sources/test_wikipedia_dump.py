"""Static text from a dump: found by title or name, redirects followed, nothing taken that is no description."""

import bz2
import gzip
from pathlib import Path

import pytest

from dualway.datasets.base import ReadReport
from dualway.errors import DataError
from dualway.sources.texts import Wanted
from dualway.sources.wikipedia_dump import WikipediaDump, read_pages

HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n'
    "<siteinfo><sitename>Wikipedia</sitename><dbname>enwiki</dbname><base>https://x</base><generator>MediaWiki</generator>"
    '<case>first-letter</case><namespaces><namespace key="0" case="first-letter" />'
    '<namespace key="1" case="first-letter">Talk</namespace></namespaces></siteinfo>\n'
)
TAIL = "</mediawiki>\n"


def page(title: str, text: str, *, number: int = 1, namespace: int = 0, redirect: str = "") -> str:
    lead = f'<redirect title="{redirect}" />' if redirect else ""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>{number}</id>{lead}<revision><id>{number}00</id>"
        f"<timestamp>2026-01-02T03:04:05Z</timestamp><contributor><username>U</username><id>5</id></contributor>"
        f"<comment>c</comment><model>wikitext</model><format>text/x-wiki</format>"
        f'<text bytes="{len(text)}" xml:space="preserve">{text}</text><sha1>abc</sha1></revision></page>\n'
    )


PAGES = [
    page(
        "Jodie Foster", "{{Infobox}}\n'''Jodie Foster''' (born 1962) is an actress.<ref>x</ref>\n== A ==\nB", number=1
    ),
    page("Talk:Jodie Foster", "Chatter about her.", number=2, namespace=1),
    page("Alicia Foster", "#REDIRECT [[Jodie Foster]]", number=3, redirect="Jodie Foster"),
    page("Foster", "{{Disambiguation}}\n'''Foster''' may refer to:\n* [[Jodie Foster]]", number=4),
    page("Early redirect", "#REDIRECT [[Mel Gibson]]", number=5, redirect="Mel Gibson"),
    page("Mel Gibson", "{{Other uses}}\n'''Mel Gibson''' is an actor.\n\nHe was born in 1956.\n\nMore.", number=6),
    page("Loop A", "#REDIRECT [[Loop B]]", number=7, redirect="Loop B"),
    page("Loop B", "#REDIRECT [[Loop A]]", number=8, redirect="Loop A"),
    page("Empty", "", number=9),
    page("Nowhere", "#REDIRECT [[Deleted]]", number=10, redirect="Deleted"),
]


@pytest.fixture
def dump(tmp_path) -> Path:
    path = tmp_path / "enwiki.xml"
    path.write_text(HEAD + "".join(PAGES) + TAIL, encoding="utf-8")
    return path


WANTED = [
    Wanted("Q1", "Foster (actress)", title="Jodie_Foster"),
    Wanted("Q2", "Alicia Foster"),
    Wanted("Q3", "Foster"),
    Wanted("Q4", "early redirect"),
    Wanted("Q5", "Loop A"),
    Wanted("Q6", "Empty"),
    Wanted("Q7", "Nowhere"),
    Wanted("Q8", "Somebody else"),
    Wanted("Q9", "Jodie Foster"),
    Wanted("Q10", "Talk:Jodie Foster"),
]


def test_every_entity_is_answered_once(dump):
    source = WikipediaDump(dump)
    answers = list(source.texts(WANTED))
    assert sorted(answer.entity_id for answer in answers) == sorted(wanted.entity_id for wanted in WANTED)
    found = {answer.entity_id: answer for answer in answers}
    texts = {id: answer.representation.text for id, answer in found.items() if answer.representation}
    foster = "Jodie Foster (born 1962) is an actress."
    assert texts == {"Q1": foster, "Q2": foster, "Q9": foster, "Q4": "Mel Gibson is an actor. He was born in 1956."}
    assert {id: answer.problem for id, answer in found.items() if not answer.representation} == {
        "Q3": "disambiguation page",
        "Q5": "redirects in a circle",
        "Q6": "no text",
        "Q7": "no such page",
        "Q8": "no such page",
        "Q10": "no such page",
    }


def test_where_a_text_comes_from(dump):
    source = WikipediaDump(dump, max_chars=30)
    (answer,) = source.texts([Wanted("Q4", "Mel Gibson")])
    text = answer.representation
    assert (text.kind, text.source, text.language) == ("static", "wikipedia:en", "en")
    assert (text.revision, text.licence, text.text) == ("600", "CC BY-SA 4.0", "Mel Gibson is an actor.")
    assert source.revisions(WANTED[:3]) == {"Q1": "100", "Q2": "100"}
    assert source.report.counts["pages of other namespaces"] == 1


@pytest.mark.parametrize(("suffix", "compress"), [(".bz2", bz2.compress), (".gz", gzip.compress)])
def test_compressed(dump, tmp_path, suffix, compress):
    content = dump.read_bytes()
    path = tmp_path / f"x.xml{suffix}"
    half = len(content) // 2
    path.write_bytes(compress(content[:half]) + compress(content[half:]))  # in two members, as dumps are
    assert len(list(read_pages(path, ReadReport(path, "x")))) == 9
    path.write_bytes(compress(content)[:-20])
    with pytest.raises(DataError, match=r"x\.xml.*(cut off|not whole)"):
        list(read_pages(path, ReadReport(path, "x")))


def test_a_dump_that_ends_in_the_middle_names_the_page(tmp_path):
    path = tmp_path / "cut.xml"
    path.write_text(HEAD + "".join(PAGES)[:-200], encoding="utf-8")
    with pytest.raises(DataError, match=r"cut.xml.*after the page 'Nowhere'"):
        list(WikipediaDump(path).texts(WANTED))


@pytest.mark.parametrize(
    "content",
    [
        '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol1 "&lol;&lol;">]>' + HEAD + TAIL,
        "<html><body>Not found</body></html>",
        "not xml at all",
        "",
        '<mediawiki xml:lang="en"><page><title>A</title></mediawiki>',
    ],
)
def test_what_is_no_dump(tmp_path, content):
    path = tmp_path / "bad.xml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.xml"):
        list(WikipediaDump(path, language="en").texts(WANTED))
    with pytest.raises(DataError, match=r"language|cannot be read"):
        WikipediaDump(tmp_path / "none.xml" if "mediawiki" in content else path)


def test_memory_does_not_grow_with_pages(tmp_path):
    import tracemalloc

    def peak(num: int) -> int:
        path = tmp_path / f"{num}.xml"
        with path.open("w", encoding="utf-8") as file:
            file.write(HEAD)
            file.writelines(page(f"Page {n}", "word " * 200, number=n) for n in range(num))
            file.write(TAIL)
        tracemalloc.start()
        assert sum(1 for _ in read_pages(path, ReadReport(path, "x"))) == num
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(4000) < peak(1200) + 200_000  # both longer than what is looked at before the first page
