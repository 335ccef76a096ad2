"""Where pictures of Commons are to be had, against a wiki on this machine."""

import hashlib

import pytest

from dualway.sources.commons import Commons, CommonsFile, FileAnswer, file_name, plain_words

from .mediawiki_server import Wiki, serving

AGENT = "tests/1.0 (tests@example.org)"


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def wiki():
    wiki = Wiki()
    wiki.add_file("Small one.jpg", b"small", "image/jpeg", 640, 480)
    wiki.add_file("Wide.tif", b"wide", "image/tiff", 6400, 4800, thumb=(b"scaled", "image/jpeg", 960, 720))
    with serving(wiki) as served:
        yield served


@pytest.fixture
def commons(wiki):
    with Commons(AGENT, endpoint=wiki.address, interval_s=0, wait=lambda _: None) as opened:
        yield opened


def one(commons: Commons, name: str) -> CommonsFile:
    (answer,) = commons.files([name])
    assert answer.file, answer.problem
    return answer.file


def test_the_file_itself_where_it_is_small(commons, wiki):
    file = one(commons, "Small one.jpg")
    host = wiki.address.removesuffix("/w/api.php")
    assert file == CommonsFile(
        name="Small one.jpg",
        address=f"{host}/upload/Small_one.jpg",
        mime="image/jpeg",
        width=640,
        height=480,
        sha1=hashlib.sha1(b"small").hexdigest(),
        num_bytes=5,
        is_original=True,
        author="Jane Doe",
        licence="CC BY-SA 4.0",
        licence_url="https://creativecommons.org/licenses/by-sa/4.0",
        page="https://commons.wikimedia.org/wiki/File:Small_one.jpg",
    )
    assert commons.content(file, 10) == b"small"
    (asked,) = wiki.asked
    assert (asked["prop"], asked["iiurlwidth"]) == ("imageinfo", "960")
    assert {"url", "size", "mime", "sha1", "extmetadata"} <= set(asked["iiprop"].split("|"))


def test_scaled_down_where_it_is_wide(commons):
    file = one(commons, "Wide.tif")
    assert (file.is_original, file.mime, file.width, file.height) == (False, "image/jpeg", 960, 720)
    assert commons.content(file, 10) == b"scaled"


@pytest.mark.parametrize(
    "name",
    [
        "File:Small one.jpg",
        "image: small_one.jpg",
        " Small_one.jpg ",
        "http://commons.wikimedia.org/wiki/Special:FilePath/Small%20one.jpg",
        "https://commons.wikimedia.org/wiki/Special:Redirect/file/Small_one.jpg",
    ],
)
def test_names_as_they_come(commons, name):
    assert file_name(name).lower() == "small one.jpg"
    assert one(commons, name).page.endswith("Small_one.jpg")


def test_what_is_none(commons, wiki):
    wiki.files |= {
        "Elsewhere.jpg": {
            **wiki.files["Small one.jpg"],
            "url": "https://x.example/a.jpg",
            "thumburl": "https://x.example/a.jpg",
        },
        "Hidden.jpg": {"filehidden": True, "size": 7},
        "Nosha.jpg": {**wiki.files["Small one.jpg"], "sha1": "../../x"},
        "Numbers.jpg": {**wiki.files["Small one.jpg"], "url": 7},
    }
    names = ["Small one.jpg", "Missing.jpg", "a|b.jpg", "a#b.jpg", "", "File:", "a[b].jpg", "a\x1fb", "x" * 300]
    names += ["Elsewhere.jpg", "Hidden.jpg", "Nosha.jpg", "Numbers.jpg"]
    answers = {answer.name: answer for answer in commons.files(names)}
    assert set(answers) == set(names)
    assert {name: answer.problem for name, answer in answers.items() if answer.file is None} == {
        "Missing.jpg": "no such file",
        **dict.fromkeys(
            ["a|b.jpg", "a#b.jpg", "", "File:", "a[b].jpg", "a\x1fb", "x" * 300], "no possible name of a file"
        ),
        "Elsewhere.jpg": "on another host",
        **dict.fromkeys(["Hidden.jpg", "Nosha.jpg", "Numbers.jpg"], "hidden, or not described"),
    }


def test_a_file_that_was_moved(commons, wiki):
    wiki.redirects["File:Old.jpg"] = "File:Small one.jpg"
    assert one(commons, "Old.jpg").page.endswith("Small_one.jpg")


def test_what_a_file_was_before_is_not_asked_for(commons, wiki):
    wiki.files["Small one.jpg"]["older"] = True
    assert one(commons, "Small one.jpg").num_bytes == 5
    assert len(wiki.asked) == 1


def test_many_are_asked_in_few_requests(commons, wiki):
    names = [f"Picture {n}.jpg" for n in range(120)]
    assert sorted(commons.files(names), key=lambda a: int(a.name[8:-4])) == [
        FileAnswer(name, problem="no such file") for name in names
    ]
    assert [len(asked["titles"].split("|")) for asked in wiki.asked] == [50, 50, 20]


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ('<a href="//x">Jane <b>Doe</b></a>', "Jane Doe"),
        ("Tom &amp; Ann<br>Oslo", "Tom & Ann Oslo"),
        ("<style>a{}</style>A<script>alert(1)</script>", "A"),
        ("A\x1b[2J\n\tB", "A [2J B"),
        ("a < b", "a < b"),
        ("", ""),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_words_of_html(html, words):
    assert plain_words(html) == words


def test_a_licence_that_is_not_stated(commons, wiki):
    wiki.files["Small one.jpg"]["extmetadata"] = []  # as PHP writes an empty table
    file = one(commons, "Small one.jpg")
    assert (file.licence, file.author) == ("", "")
    wiki.files["Small one.jpg"]["extmetadata"] = {"UsageTerms": {"value": "Own terms"}, "Credit": {"value": 7}}
    file = one(commons, "Small one.jpg")
    assert (file.licence, file.author) == ("Own terms", "")
