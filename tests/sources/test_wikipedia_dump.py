"""Static text from a dump: found by title or name, redirects followed, nothing taken that is no description."""

import bz2
import gzip
import random
from pathlib import Path

import pytest

from dualway.datasets.base import ReadReport
from dualway.errors import DataError
from dualway.sources import wikipedia_dump
from dualway.sources.texts import Wanted
from dualway.sources.wikipedia_dump import Site, WikipediaDump, read_pages, read_site

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
    page("Early", "#WEITERLEITUNG [[Middle]]", number=11, redirect="Middle"),
    page("Late", "Late came by two redirects.", number=12),
    page("Middle", "#REDIRECT [[Late]]", number=13, redirect="Late"),
    page("Her life", "#REDIRECT [[Jodie Foster#A]]", number=14, redirect="Jodie Foster"),
    page("Unknown word", "#ABCDEFG: [[x", number=15, redirect="Mel Gibson"),
    *(page(f"Chain {n}", f"#REDIRECT [[Chain {n + 1}]]", number=20 + n, redirect=f"Chain {n + 1}") for n in range(5)),
    page("Chain 5", "The end of a long chain.", number=30),
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
    Wanted("Q11", "Early"),
    Wanted("Q12", "Her life"),
    Wanted("Q13", "Unknown word"),
    Wanted("Q14", "Chain 0"),
    Wanted("Q15", "Chain 2"),
]


def test_every_entity_is_answered_once(dump):
    source = WikipediaDump(dump)
    answers = list(source.texts(WANTED))
    assert sorted(answer.entity_id for answer in answers) == sorted(wanted.entity_id for wanted in WANTED)
    found = {answer.entity_id: answer for answer in answers}
    texts = {id: answer.representation.text for id, answer in found.items() if answer.representation}
    foster = "Jodie Foster (born 1962) is an actress."
    gibson = "Mel Gibson is an actor. He was born in 1956."
    assert texts == {
        **dict.fromkeys(("Q1", "Q2", "Q9"), foster),
        **dict.fromkeys(("Q4", "Q13"), gibson),
        "Q11": "Late came by two redirects.",
        "Q15": "The end of a long chain.",
    }
    assert {id: answer.problem for id, answer in found.items() if not answer.representation} == {
        "Q3": "disambiguation page",
        "Q5": "redirects in a circle",
        "Q6": "no text",
        "Q7": "no such page",
        "Q8": "no such page",
        "Q10": "no such page",
        "Q12": "redirect to a part of another page",
        "Q14": "too many redirects",
    }
    assert dict(source.report.counts) == {"pages": 21, "pages of other namespaces": 1, "pages without text": 1}


def test_where_a_text_comes_from(dump):
    source = WikipediaDump(dump, max_chars=30)
    (answer,) = source.texts([Wanted("Q4", "Mel Gibson")])
    text = answer.representation
    assert (text.kind, text.source, text.language) == ("static", "wikipedia:en", "en")
    assert (text.revision, text.licence, text.text) == ("600", "CC BY-SA 4.0", "Mel Gibson is an actor.")
    assert source.revisions(WANTED[:3]) == {"Q1": "100", "Q2": "100"}
    assert text.created_at[:2] == "20"


def test_it_is_read_no_further_than_needed(dump):
    read: list[int] = []
    source = WikipediaDump(dump)
    assert len(list(source.texts([Wanted("Q1", "Jodie Foster")]))) == 1
    assert source.report.counts == {"pages": 1}
    many = dump.with_name("many.xml")
    many.write_text(HEAD + page("A", "A is one.") * 2500 + TAIL, encoding="utf-8")
    list(WikipediaDump(many, progress=read.append).texts([Wanted("Q1", "Z")]))
    assert read == [1000, 2000]


@pytest.mark.parametrize(
    ("language", "name", "expected"),
    [("en", "enwiki", ("en", "en")), ("en", "simplewiki", ("simple", "en")), ("nb", "nowiki", ("no", "nb"))],
)
def test_which_wikipedia_it_is_of(tmp_path, language, name, expected):
    path = tmp_path / "x.xml"
    path.write_text(HEAD.replace('"en"', f'"{language}"').replace("enwiki", name) + TAIL, encoding="utf-8")
    assert read_site(path) == Site(*expected)
    assert WikipediaDump(path).name == f"wikipedia:{expected[0]}"
    assert WikipediaDump(path, language="fr").name == "wikipedia:fr"


@pytest.mark.parametrize("name", ["enwiktionary", "commonswiki", "wikidatawiki"])
def test_other_projects_are_no_wikipedia(tmp_path, name):
    path = tmp_path / "x.xml"
    path.write_text(HEAD.replace("enwiki", name) + TAIL, encoding="utf-8")
    with pytest.raises(DataError, match="no Wikipedia"):
        WikipediaDump(path)


@pytest.mark.parametrize(("suffix", "compress"), [(".bz2", bz2.compress), (".gz", gzip.compress)])
def test_compressed(dump, tmp_path, suffix, compress):
    content = dump.read_bytes()
    path = tmp_path / f"x.xml{suffix}"
    half = len(content) // 2
    path.write_bytes(compress(content[:half]) + compress(content[half:]))  # in two members, as dumps are
    assert len(list(read_pages(path, ReadReport(path, "x")))) == 20
    rare = random.Random(7).randbytes(600_000).hex()  # so that what is packed reaches over many blocks
    whole = compress((HEAD + page("First", rare) + page("Second", rare)).encode())
    path.write_bytes(whole[: len(whole) * 4 // 5])
    with pytest.raises(DataError, match=r"x\.xml.*cut off.*after the page 'Second'"):
        list(read_pages(path, ReadReport(path, "x")))


def test_a_dump_that_ends_in_the_middle_names_the_page(tmp_path):
    path = tmp_path / "cut.xml"
    path.write_text(HEAD + "".join(PAGES)[:-200], encoding="utf-8")
    with pytest.raises(DataError, match=r"cut.xml.*after the page 'Nowhere'"):
        list(WikipediaDump(path).texts(WANTED))


def test_a_document_type_is_found_wherever_it_hides(tmp_path):
    path = tmp_path / "bad.xml"
    bomb = '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    for content in (
        ("<!--" + "x" * 3_000_000 + "-->" + bomb + HEAD + TAIL).encode(),
        ('<?xml version="1.0" encoding="utf-16"?>' + bomb + HEAD + TAIL).encode("utf-16"),
        ('<?xml version="1.0" encoding="cp037"?>' + HEAD + TAIL).encode(),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.xml.*(document type|UTF-8)"):
            list(read_pages(path, ReadReport(path, "x")))


def test_a_page_may_speak_of_document_types(tmp_path):
    path = tmp_path / "good.xml"
    path.write_text(HEAD + page("HTML", "<!DOCTYPE html> begins a page.") + TAIL, encoding="utf-8")
    assert [one.text for one in read_pages(path, ReadReport(path, "x"))] == ["<!DOCTYPE html> begins a page."]


def test_an_element_without_end(tmp_path, monkeypatch):
    path = tmp_path / "bad.xml"
    path.write_text(HEAD + page("A", "one") + page("B", "x" * 500_000) + TAIL, encoding="utf-8")
    assert len(list(read_pages(path, ReadReport(path, "x")))) == 2
    monkeypatch.setattr(wikipedia_dump, "_LONGEST_ELEMENT", 100_000)
    with pytest.raises(DataError, match=r"after the page 'B'.*element of more than"):
        list(read_pages(path, ReadReport(path, "x")))


def test_of_a_full_history_the_last_revision_counts(tmp_path):
    path = tmp_path / "history.xml"
    first, second = page("A", "Old.", number=1), page("A", "New.", number=2)
    both = first.replace("</page>\n", "") + second[second.index("<revision>") :]
    path.write_text(HEAD + both + TAIL, encoding="utf-8")
    assert [(one.revision, one.text) for one in read_pages(path, ReadReport(path, "x"))] == [("200", "New.")]


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
