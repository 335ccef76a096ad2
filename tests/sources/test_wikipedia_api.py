"""Wikipedia's API against a wiki on this machine: what it says, how it goes on, and what it asks for."""

from contextlib import closing

import pytest

from dualway.errors import DownloadError, UsageError
from dualway.kb.enriching import enrich
from dualway.kb.refreshing import refresh
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity
from dualway.sources.texts import Found, Wanted
from dualway.sources.wikipedia_api import WikipediaApi

from .mediawiki_server import Wiki, serving

AGENT = "tests/1.0 (tests@example.org)"


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("DUALWAY_USER_AGENT", raising=False)


@pytest.fixture
def wiki():
    pages = {
        "Jodie Foster": {"id": 1, "rev": 101, "text": "Jodie Foster (born 1962) is an actress.\nShe directs.\nMore."},
        "Mel Gibson": {"id": 2, "rev": 102, "text": "Mel Gibson is an actor.\n"},
        "Foster": {"id": 3, "rev": 103, "text": "Foster is several things.", "disambiguation": True},
        "Universe": {"id": 4, "rev": 104, "text": "For other uses, see X.\nThe universe is all of space."},
        "Empty": {"id": 5, "rev": 105, "text": ""},
    }
    items = {
        "Q42574": {"sitelinks": {"enwiki": {"site": "enwiki", "title": "Mel Gibson", "badges": []}}},
        "Q1": {"sitelinks": {"enwiki": {"site": "enwiki", "title": "Universe", "badges": []}}},
        "Q7": {"id": "Q1", "redirects": {"from": "Q7", "to": "Q1"}, "sitelinks": {"enwiki": {"title": "Universe"}}},
        "Q8": {"sitelinks": {}},
        "Q9": {"sitelinks": []},
    }
    with serving(Wiki(pages, {"Alicia Foster": "Jodie Foster"}, items)) as served:
        yield served


@pytest.fixture
def waits():
    return []


@pytest.fixture
def source(wiki, waits):
    opened = WikipediaApi("en", AGENT, endpoint=wiki.address, wikidata=wiki.address, interval_s=0, wait=waits.append)
    with closing(opened):
        yield opened


WANTED = [
    Wanted("a", "x", title="jodie_Foster"),
    Wanted("b", "Alicia Foster"),
    Wanted("c", "Foster"),
    Wanted("d", "Nobody at all"),
    Wanted("e", "Bad [title]"),
    Wanted("f", "Empty"),
    Wanted("Q42574", "Gibson", wikidata_id="Q42574"),
    Wanted("Q7", "merged", wikidata_id="Q7"),
    Wanted("Q8", "Jodie Foster", wikidata_id="Q8"),
    Wanted("Q9", "php", wikidata_id="Q9"),
    Wanted("Q10", "deleted", wikidata_id="Q10"),
]


class TestTexts:
    def test_each_is_answered_once(self, source, wiki):
        answers = list(source.texts(WANTED))
        assert sorted(a.entity_id for a in answers) == sorted(w.entity_id for w in WANTED)
        texts = {a.entity_id: a.representation for a in answers if a.representation}
        foster = "Jodie Foster (born 1962) is an actress. She directs."
        assert {id: text.text for id, text in texts.items()} == {
            "a": foster,
            "b": foster,
            "Q42574": "Mel Gibson is an actor.",
            "Q7": "The universe is all of space.",
        }
        assert {a.entity_id: a.problem for a in answers if a.representation is None} == {
            "c": "disambiguation page",
            "d": "no such page",
            "e": "no possible title (The requested page title contains invalid characters)",
            "f": "no text",
            **dict.fromkeys(["Q8", "Q9", "Q10"], "no page in this Wikipedia"),
        }
        text = texts["a"]
        assert (text.source, text.revision, text.licence) == ("wikipedia:en", "101", "CC BY-SA 4.0")
        assert any("excontinue" in asked for asked in wiki.asked)
        assert {asked["maxlag"] for asked in wiki.asked} == {"5"}
        assert set(wiki.agents) == {AGENT}

    def test_many_are_asked_in_few_requests(self, source, wiki):
        wiki.per_answer = 20
        wanted = [Wanted(f"x{n}", f"Page {n}") for n in range(100)]
        assert len(list(source.texts(wanted))) == 100
        assert len(wiki.asked) == 6  # 50 in three, twice
        assert all(len(asked["titles"].split("|")) <= 20 for asked in wiki.asked)

    def test_revisions(self, source, wiki):
        assert source.revisions(WANTED) == {
            "a": "101",
            "b": "101",
            "c": "103",
            "f": "105",
            "Q42574": "102",
            "Q7": "104",
        }
        assert not any("extracts" in asked.get("prop", "") for asked in wiki.asked)


class TestWhatIsNoDescription:
    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("C#", "no possible title"),  # "C" is another language
            ("A|Jodie Foster", "no possible title"),
            ("\x1fA|Jodie Foster", "no possible title"),
            ("Jodie\nFoster", "no possible title"),
            ("\ud800", "no possible title"),
            ("é" * 128, "no possible title"),
            (" ", "no possible title"),
            ("de:Jodie Foster", "a page of another wiki"),
            ("Category:Actors", "not a page of an encyclopedia: a category, a user's, .."),
            ("Her dog", "only a part of another page"),
            ("Nowhere", "no such page"),  # leads to a part of a page that is not there
            ("Round", "no such page"),  # redirects in a circle
            ("&action=delete&titles=Jodie Foster", "no such page"),
        ],
    )
    def test_each_is_named_and_spoils_no_other(self, source, wiki, name, problem):
        wiki.pages["Category:Actors"] = {"id": 9, "ns": 14, "rev": 1, "text": "Actors of all kinds."}
        wiki.redirects |= {"Her dog": "Jodie Foster#Dogs", "Nowhere": "Nothing#Part"}
        wiki.redirects |= {"Round": "And round", "And round": "Round"}
        answers = list(source.texts([Wanted("x", name), Wanted("y", "Jodie Foster")]))
        found = {answer.entity_id: answer for answer in answers}
        assert found["x"] == Found("x", problem=problem)
        assert found["y"].representation
        assert source.revisions([Wanted("x", name), Wanted("y", "Jodie Foster")]) == {"y": "101"}

    def test_letters_that_titles_may_have(self, source, wiki):
        name = "می\u200cخواهم"  # a joiner that Persian cannot do without
        wiki.pages[name] = {"id": 9, "rev": 1, "text": "A text."}
        (answer,) = source.texts([Wanted("x", name)])
        assert answer.representation

    def test_a_wiki_without_extracts_is_not_one_of_empty_pages(self, source, wiki):
        wiki.knows = ("revisions", "pageprops")
        for wiki.old in (False, True):
            with pytest.raises(
                DownloadError, match=r'does not know.*Unrecognized value for parameter "prop": extracts'
            ):
                list(source.texts(WANTED[:1]))

    @pytest.mark.parametrize("language", ["", "EN", "evil.example/x?", "en.wikipedia.org#", "../en"])
    def test_no_language(self, language):
        with pytest.raises(UsageError, match="no Wikipedia's language"):
            WikipediaApi(language, AGENT)

    def test_answers_of_odd_shapes(self, source, wiki, monkeypatch):
        odd = {"pages": [{"title": "Jodie Foster", "revisions": [7], "extract": "A text."}, 5], "redirects": "x"}
        monkeypatch.setattr(Wiki, "answer", lambda self, values: {"query": odd, "entities": ["x"]})
        answers = {found.entity_id: found for found in source.texts([Wanted("a", "Jodie Foster"), WANTED[6]])}
        assert (answers["a"].representation.text, answers["a"].representation.revision) == ("A text.", "")
        assert answers["Q42574"].problem == "no page in this Wikipedia"


def test_addresses_stay_within_what_hosts_take(source, wiki):
    wiki.per_answer = 20
    wanted = [Wanted(f"x{n}", f"{'महात्मा' * 8} {n}") for n in range(50)]
    assert len(list(source.texts(wanted))) == 50
    assert source.revisions(wanted) == {}
    assert 4_000 < wiki.longest_address < 6_000


def test_a_knowledge_base_enriched_and_refreshed(tmp_path, wiki, source):
    KnowledgeBase.create(tmp_path / "kb", [Entity("Q42574", "M. Gibson"), Entity("m1", "Jodie Foster")]).close()
    report = enrich(tmp_path / "kb", source)
    assert (report.with_text, report.without) == (2, {})
    wiki.pages["Mel Gibson"] |= {"rev": 999, "text": "Mel Gibson is an actor and director."}
    drift = refresh(tmp_path / "kb", source)
    assert [d.entity_id for d in drift.drifted] == ["Q42574"]
    assert refresh(tmp_path / "kb", source).newer == 0
