"""The polite client against a wiki on this machine: pace, patience, bounds, and what it says who asks."""

import gzip
import time
from email.utils import formatdate

import httpx2
import pytest

from dualway.downloads import transport
from dualway.errors import DownloadError, UsageError
from dualway.sources.mediawiki import (
    AnswerTooLongError,
    AskedToWaitError,
    MediaWiki,
    _decoded,
    batches,
    check_user_agent,
    wait_of,
)

from .mediawiki_server import Wiki, serving

AGENT = "tests/1.0 (tests@example.org)"


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("DUALWAY_USER_AGENT", raising=False)


@pytest.fixture
def wiki():
    pages = {name: {"id": n, "rev": 100 + n, "text": f"{name} is a letter."} for n, name in enumerate("ABCDE")}
    with serving(Wiki(pages, {"Alpha": "A"})) as served:
        yield served


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(wiki, waits):
    with MediaWiki(wiki.address, AGENT, interval_s=0, longest=100_000, wait=waits.append) as opened:
        yield opened


def ask(client: MediaWiki) -> dict:
    return client.query(titles="A|B|C|D|E", prop="extracts|revisions", exlimit="20")


class TestQuestions:
    def test_what_every_question_says(self, client, wiki):
        ask(client)
        assert wiki.agents == [AGENT] * 3
        for asked in wiki.asked:
            assert (asked["action"], asked["format"]) == ("query", "json")
            assert (asked["maxlag"], asked["formatversion"], asked["errorformat"]) == ("5", "2", "plaintext")

    def test_continued_answers_are_merged(self, client, wiki):
        found = client.query(titles="a|B|C|D|Alpha", prop="extracts|revisions", redirects="1")
        assert [asked.get("excontinue") for asked in wiki.asked] == [None, "2"]
        assert {page["title"]: page["extract"] for page in found["pages"]} == {n: f"{n} is a letter." for n in "ABCD"}
        assert [page["revisions"] for page in found["pages"]] == [
            [{"revid": 100 + n, "parentid": 1, "timestamp": "2026-01-01T00:00:00Z"}] for n in range(4)
        ]
        assert found["redirects"][0] == {"from": "Alpha", "to": "A"}

    def test_lists_of_one_page_in_two_answers(self, client, monkeypatch):
        first = {"title": "A", "categories": [{"title": "Category:X"}], "pageprops": {"a": "1"}}
        second = {"title": "A", "categories": [{"title": "Category:Y"}], "pageprops": {"b": "2"}}
        answers = [
            {"query": {"pages": [first]}, "continue": {"clcontinue": "1|Y", "continue": "||"}},
            {"query": {"pages": [second]}, "batchcomplete": True},
        ]
        monkeypatch.setattr(Wiki, "answer", lambda self, values: answers["clcontinue" in values])
        (page,) = client.query(titles="A", prop="categories|pageprops")["pages"]
        assert [category["title"] for category in page["categories"]] == ["Category:X", "Category:Y"]
        assert page["pageprops"] == {"a": "1", "b": "2"}

    def test_going_on_without_end(self, client, monkeypatch):
        monkeypatch.setattr(Wiki, "answer", lambda self, values: {"query": {"pages": []}, "continue": {"x": "1"}})
        with pytest.raises(DownloadError, match="without end"):
            ask(client)

    def test_warnings_are_kept(self, client, wiki):
        for wiki.old in (False, True):
            client.query(titles="A", prop="extracts", exlimit="50")
        assert client.warnings == {'"exlimit" was too large.': 2}

    def test_a_redirect_of_the_host(self, wiki):
        with MediaWiki(wiki.address.replace("/w/", "/moved/"), AGENT, interval_s=0) as client:
            assert len(ask(client)["pages"]) == 5

    @pytest.mark.parametrize("answer", [[1, 2], {"query": []}, {"query": {}, "continue": 7}])
    def test_no_wiki_at_all(self, client, monkeypatch, answer):
        monkeypatch.setattr(Wiki, "answer", lambda self, values: answer)
        with pytest.raises(DownloadError, match=r"api\.php"):
            ask(client)

    def test_batches(self):
        assert list(batches([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
        assert list(batches([], 2)) == []
        titles = ["x" * 3_000, "y" * 1_990, "z" * 3_000, "ü" * 9_000]
        assert [len(part) for part in batches(titles, 50, str)] == [2, 1, 1]


class TestPatience:
    @pytest.mark.parametrize(
        ("fault", "waited"),
        [
            ("maxlag", 7),
            ("ratelimited", 7),
            ("internal_api_error_DBQueryError", 7),
            ("429", 11),
            ("503", 11),
            ("cut", 1),
            ("gzip cut", 1),
            ("html", 1),
        ],
    )
    @pytest.mark.parametrize("old", [False, True])
    def test_what_passes_is_asked_again(self, client, wiki, waits, fault, waited, old):
        wiki.faults, wiki.old = [fault], old
        assert len(ask(client)["pages"]) == 5
        assert waits == [waited]

    def test_longer_each_time_where_the_host_says_nothing(self, client, wiki, waits):
        wiki.faults, wiki.retry_after = ["503", "html", "429"], ""
        ask(client)
        assert waits == [1, 2, 4]

    def test_not_for_ever(self, client, wiki):
        wiki.faults = ["maxlag"] * 9
        with pytest.raises(DownloadError, match=r"come again later \(maxlag\) \(5 attempts\)"):
            ask(client)
        assert len(wiki.asked) == 5

    @pytest.mark.parametrize("old", [False, True])
    def test_what_is_refused_is_told(self, client, wiki, waits, old):
        wiki.faults, wiki.old = ["badvalue"], old
        with pytest.raises(DownloadError, match="refuses the question: badvalue: Waiting for"):
            ask(client)
        assert waits == []

    @pytest.mark.parametrize("status", ["403", "404", "414"])
    def test_what_the_host_refuses(self, client, wiki, waits, status):
        wiki.faults = [status]
        with pytest.raises(DownloadError, match=rf"/w/api.php: the host answers {status}") as caught:
            ask(client)
        assert waits == []
        assert "titles=" not in str(caught.value)

    def test_a_date_to_come_again(self, client, wiki, waits):
        wiki.faults, wiki.retry_after = ["429"], formatdate(time.time() + 100, usegmt=True)
        ask(client)
        assert 90 < waits[0] <= 100

    def test_longer_than_one_waits(self, client, wiki, waits):
        wiki.faults, wiki.retry_after = ["429"], "3600"
        with pytest.raises(AskedToWaitError, match="come again in 3,600 s"):
            ask(client)
        assert (waits, len(wiki.asked)) == ([], 1)

    def test_a_steady_pace(self, wiki):
        now, waits = [0.0], []

        def wait(seconds):
            waits.append(seconds)
            now[0] += seconds

        with MediaWiki(wiki.address, AGENT, interval_s=2.0, wait=wait, clock=lambda: now[0]) as client:
            for _ in range(3):
                client.ask(action="query", titles="A", prop="revisions")
                now[0] += 0.5
        assert waits == [1.5, 1.5]

    @pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("", 0), ("soon", 0), ("-1", 0), ("9" * 30, 0)])
    def test_retry_after(self, header, seconds):
        assert wait_of(header) == seconds

    def test_retry_after_a_date(self):
        assert wait_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0
        assert wait_of("Fri, 21 Oct 2095 07:28:00 GMT") > 1e9


class TestBounds:
    @pytest.mark.parametrize("fault", ["huge", "bomb"])
    def test_an_answer_without_end(self, client, wiki, waits, fault):
        wiki.faults = [fault]
        with pytest.raises(AnswerTooLongError, match="more than 100,000 bytes"):
            ask(client)
        assert waits == []

    def test_what_is_packed_comes_in_small_pieces(self):
        packed = gzip.compress(b" " * 2**24)
        pieces = [len(piece) for piece in _decoded(iter([packed[:100], packed[100:]]), "gzip", "https://x.example")]
        assert (sum(pieces), max(pieces)) == (2**24, 2**16)

    def test_a_host_that_says_no_more(self, wiki, waits, monkeypatch):
        monkeypatch.setattr(transport, "_TIMEOUT", httpx2.Timeout(0.3))
        wiki.faults = ["stall"]
        with MediaWiki(wiki.address, AGENT, interval_s=0, wait=waits.append) as client:
            assert len(ask(client)["pages"]) == 5
        assert waits == [1]

    def test_a_host_that_drips(self, wiki):
        """A word now and then keeps a connection open for ever; each look at the clock is 20 s later."""
        now, waits = [0.0], []

        def clock():
            now[0] += 20.0
            return now[0]

        wiki.faults = ["drip"] * 9
        client = MediaWiki(wiki.address, AGENT, interval_s=0, wait=waits.append, clock=clock)
        with client, pytest.raises(DownloadError, match="no whole answer within 300 s"):
            ask(client)
        assert waits == [1, 2, 4, 8]

    def test_deeply_nested(self, client, waits, monkeypatch):
        monkeypatch.setattr("tests.sources.mediawiki_server.json.dumps", lambda value: "[" * 90_000)
        with pytest.raises(DownloadError, match="not JSON"):
            ask(client)
        assert len(waits) == 4


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

    def test_the_network_may_be_forbidden(self, client, wiki, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadError, match="switched off"):
            ask(client)
        assert wiki.asked == []
