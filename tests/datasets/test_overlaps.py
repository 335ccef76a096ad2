"""Captions that stand in entities' texts: what counts, and that the index finds what a plain loop finds."""

from __future__ import annotations

import random
import time

import pytest

from dualway.datasets import audit, open_dataset
from dualway.datasets.overlaps import MIN_WORDS, SHARE, CaptionIndex, EntityText, entity_texts, shared_part
from dualway.schema import Entity, Representation
from dualway.text import match_key

CAPTION = "Otto Weininger was an Austrian thinker who lived in Vienna."


@pytest.fixture
def index_of(write):
    def build(*samples: tuple[str, str | None]) -> CaptionIndex:
        """Return the index of captions with the entity of each; mention i has the id `i-0`."""
        records = {
            str(i): {"sentence": text, "mentions": [text.split()[0]], "answer": [answer]}
            for i, (text, answer) in enumerate(samples)
        }
        return CaptionIndex({"train": open_dataset(write("train.json", records))})

    return build


@pytest.mark.parametrize(
    ("text", "exact", "share"),
    [
        (CAPTION, True, 1.0),
        ("OTTO WEININGER was an austrian thinker, who lived in Vienna", True, 1.0),
        (f"{CAPTION} He wrote one book, and died young in the house of Beethoven.", False, 1.0),
        (f"Before. {CAPTION[:-1]}; after it more.", False, 1.0),
        ("Austrian thinker who lived in Vienna", False, 1.0),  # the text is the shorter one
        ("Otto Weininger was an Austrian philosopher who lived in Vienna", False, 0.9),
        ("Otto Weininger was a famous Austrian thinker who once lived in Vienna", False, 0.9),
    ],
)
def test_what_is_near(index_of, text, exact, share):
    index = index_of((CAPTION, "Q1"))
    (found,) = index.matches(text)
    assert found.exact is exact
    assert found.share == pytest.approx(share)
    overlaps = index.find([EntityText("Q1", text), EntityText("Q2", text)])["train"]
    assert [one.entity_id for one in overlaps.gold.values()] == ["Q1"]
    assert [one.entity_id for one in overlaps.others.values()] == ["Q2"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Otto Weininger",
        "thinker who lived in",  # four words
        "Vienna in lived who thinker Austrian an was Weininger Otto",  # another order
        "Otto Weininger was a German chemist who lived in Berlin",
        "Otto and an Austrian, Weininger; was there a thinker? He who saw, lived. In it: Vienna",  # no runs of words
        "Otto Weininger was "
        + "one of many " * 20
        + "an Austrian thinker "
        + "as is said " * 20
        + "who lived in Vienna",
    ],
)
def test_what_is_not(index_of, text):
    index = index_of((CAPTION, "Q1"))
    assert list(index.matches(text)) == []
    assert index.find([EntityText("Q1", text)])["train"].to_dict()["gold"]["mentions"] == 0


def test_short_captions_count_only_where_they_are_the_text(index_of):
    index = index_of(("Kao sat", "Q1"))
    assert [match.exact for match in index.matches("Kao sat.")] == [True]
    assert list(index.matches("Kao sat down and looked at it")) == []


def test_a_sentence_of_a_caption_counts(index_of):
    """The rest of the caption makes the whole of it unlike the text."""
    caption = f"Photo taken yesterday by nobody. {CAPTION} Seen on the left side of the old bridge in the rain."
    (found,) = index_of((caption, "Q1")).matches(f"{CAPTION} {'Further words of the page. ' * 10}")
    assert found.share == 1.0


def test_nil_and_unlabelled_mentions_count_among_the_others(index_of):
    overlaps = index_of((CAPTION, None)).find([EntityText("Q1", CAPTION)])["train"]
    assert (overlaps.gold, len(overlaps.others)) == ({}, 1)


def test_each_mention_counts_once_with_the_closest(index_of):
    texts = [EntityText("Q1", f"{CAPTION} More words."), EntityText("Q1", CAPTION), EntityText("Q1", CAPTION[:-4])]
    told = index_of((CAPTION, "Q1"), (CAPTION, "Q1")).find(texts)["train"].to_dict()["gold"]
    assert (told["mentions"], told["exact"], told["near"]) == (2, 2, 0)
    assert told["examples"][0] == {"mention": "0-0", "entity": "Q1", "exact": True, "share": 1.0}


def test_scripts_without_case(index_of):
    caption = "Дмитрий Шостакович играл на рояле в Ленинграде"
    (found,) = index_of((caption, "Q1")).matches(f"«{caption}», и так далее")
    assert found.share == 1.0


def test_the_index_finds_what_a_plain_loop_finds(index_of):
    """Every pair is compared: random sentences of few words, so that many are near and many are not quite."""
    chance = random.Random(0)
    words = [f"w{i}" for i in range(14)]

    def sentence(low: int, high: int) -> str:
        return " ".join(dict.fromkeys(chance.choice(words) for _ in range(chance.randint(low, high))))

    captions = list(dict.fromkeys(sentence(4, 14) for _ in range(150)))
    texts = [sentence(4, 20) for _ in range(100)]
    texts += [" ".join([*caption.split()[1:], "x", "y"]) for caption in captions[:100]]
    index = index_of(*((caption, "Q1") for caption in captions))
    near = 0
    for text in texts:
        expected = {
            place: shared_part(*sorted([caption.split(), text.split()], key=len))
            for place, caption in enumerate(captions)
            if caption != text and min(len(caption.split()), len(text.split())) >= MIN_WORDS
        }
        expected = {place: share for place, share in expected.items() if share >= SHARE}
        found = {match.unit: match.share for match in index.matches(text) if not match.exact}
        assert found.keys() == expected.keys()
        near += len(found)
    assert near > 50


def test_many_captions_and_texts_do_not_meet_each_other(index_of):
    """20,000 texts and 2,000 captions in seconds: not every text is compared with every caption."""
    chance = random.Random(1)
    words = [f"word{int(5000 ** chance.random())}" for _ in range(20_000)]  # as in a language: the n-th word, 1 in n

    def sentence(num: int) -> str:
        return " ".join(chance.choice(words) for _ in range(num))

    index = index_of(*((sentence(15), "Q1") for _ in range(2000)))
    texts = [EntityText("Q1", sentence(25)) for _ in range(20_000)]
    start = time.perf_counter()
    index.find(texts)
    assert time.perf_counter() - start < 40


def test_a_text_of_one_word_a_million_times(index_of):
    index = index_of(("no " * 3000, "Q1"))
    start = time.perf_counter()
    list(index.matches("no " * 1_000_000))
    assert time.perf_counter() - start < 20


def test_texts_of_entities_are_all_of_them():
    entity = Entity("Q1", "a", representations=(Representation("static", "x"), Representation("text", "y")))
    assert list(entity_texts([entity, Entity("Q2", "b")])) == [EntityText("Q1", "x"), EntityText("Q1", "y")]
    assert match_key("X") == "x"


def test_data_check_tells_them_by_entity_files_and_by_knowledge_base(write, tmp_path):
    other = "Berlin is the capital and the largest city of Germany."
    samples = [(CAPTION, "Q1"), (other, "Q1"), ("Kao sat", "Q2")]
    records = {
        str(i): {"sentence": text, "mentions": [text.split()[0]], "answer": [answer]}
        for i, (text, answer) in enumerate(samples)
    }
    write("train.json", records)
    write("entities.jsonl", [{"id": "Q1", "name": "Otto", "text": CAPTION}, {"id": "Q2", "name": "Kao"}])
    found = audit(tmp_path, kb_texts=[EntityText("Q2", f"{other} And more.")])
    (files,) = found["entity_files"]
    assert files["gold"]["train"]["sentence_in_entity_text"] == 1
    assert files["overlaps"]["train"]["gold"]["exact"] == 1
    assert files["overlaps"]["train"]["others"]["mentions"] == 0
    in_kb = found["knowledge_base"]["train"]
    assert in_kb["gold"]["mentions"] == 0
    assert in_kb["others"]["examples"] == [{"mention": "1-0", "entity": "Q2", "exact": False, "share": 1.0}]
    assert audit(tmp_path)["knowledge_base"] is None
