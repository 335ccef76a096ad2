"""Wikipedia's API against a wiki on this machine: what it says, how it goes on, and what it asks for."""

from contextlib import closing

import pytest

from dualway.errors import DownloadError, UsageError
from dualway.kb.enriching import enrich
from dualway.kb.refreshing import refresh
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity
from dualway.sources.mediawiki import MediaWiki, check_user_agent, wait_of
from dualway.sources.texts import Wanted
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


class TestPatience:
    @pytest.mark.parametrize(
        ("fault", "waited"), [("maxlag", 7), ("ratelimited", 7), ("429", 11), ("503", 11), ("cut", 1), ("html", 1)]
    )
    def test_what_passes_is_asked_again(self, source, wiki, waits, fault, waited):
        wiki.faults = [fault]
        (answer,) = source.texts(WANTED[:1])
        assert answer.representation
        assert waits == [waited]

    def test_not_for_ever(self, source, wiki, waits):
        wiki.faults = ["maxlag"] * 9
        with pytest.raises(DownloadError, match="come again later"):
            list(source.texts(WANTED[:1]))
        assert len(wiki.asked) == 5

    def test_what_is_refused_is_told(self, source, wiki):
        wiki.faults = ["badvalue"]
        with pytest.raises(DownloadError, match="refuses the question: badvalue"):
            list(source.texts(WANTED[:1]))

    def test_a_steady_pace(self, wiki):
        now, waits = [0.0], []

        def wait(seconds):
            waits.append(seconds)
            now[0] += seconds

        with MediaWiki(wiki.address, AGENT, interval_s=2.0, wait=wait, clock=lambda: now[0]) as mediawiki:
            for _ in range(3):
                mediawiki.ask(action="query", titles="Foster", prop="revisions")
                now[0] += 0.5
        assert waits == [1.5, 1.5]

    def test_going_on_without_end(self, source, wiki, monkeypatch):
        monkeypatch.setattr(Wiki, "answer", lambda self, values: {"query": {"pages": []}, "continue": {"x": "1"}})
        with pytest.raises(DownloadError, match="without end"):
            list(source.texts(WANTED[:1]))

    def test_no_wiki_at_all(self, source, wiki, monkeypatch):
        monkeypatch.setattr(Wiki, "answer", lambda self, values: [1, 2])
        with pytest.raises(DownloadError, match=r"api\.php"):
            list(source.texts(WANTED[:1]))

    @pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("", 0), ("soon", 0), ("-1", 0), ("9" * 30, 0)])
    def test_retry_after(self, header, seconds):
        assert wait_of(header) == seconds

    def test_retry_after_a_date(self):
        assert wait_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0
        assert wait_of("Fri, 21 Oct 2095 07:28:00 GMT") > 1e9


class TestWhoAsks:
    @pytest.mark.parametrize("agent", [None, "", "python", "bot/1.0", "a@b\nX: y", "ü@x.org"])
    def test_nobody_is_no_answer(self, agent):
        with pytest.raises(UsageError, match="user-agent"):
            check_user_agent(agent)

    def test_as_the_environment_says(self, monkeypatch):
        monkeypatch.setenv("DUALWAY_USER_AGENT", AGENT)
        assert check_user_agent(None) == AGENT

    def test_plain_http_only_to_this_machine(self):
        wiki = MediaWiki("http://en.wikipedia.example/w/api.php", AGENT, interval_s=0)
        with wiki, pytest.raises(DownloadError, match="not an https address"):
            wiki.ask(action="query")

    def test_the_network_may_be_forbidden(self, source, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadError, match="switched off"):
            list(source.texts(WANTED[:1]))


def test_a_knowledge_base_enriched_and_refreshed(tmp_path, wiki, source):
    KnowledgeBase.create(tmp_path / "kb", [Entity("Q42574", "M. Gibson"), Entity("m1", "Jodie Foster")]).close()
    report = enrich(tmp_path / "kb", source)
    assert (report.with_text, report.without) == (2, {})
    wiki.pages["Mel Gibson"] |= {"rev": 999, "text": "Mel Gibson is an actor and director."}
    drift = refresh(tmp_path / "kb", source)
    assert [d.entity_id for d in drift.drifted] == ["Q42574"]
    assert refresh(tmp_path / "kb", source).newer == 0
