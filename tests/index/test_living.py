"""A knowledge base in use: what is searched is what is there, with names, vectors and gallery of one state."""

import dataclasses
import doctest
import random
import threading

import numpy as np
import pytest
from PIL import Image

from dualway.candidates.names import NameIndex
from dualway.config import FeatureConfig
from dualway.errors import KnowledgeBaseError
from dualway.features.texts import entity_texts
from dualway.index import living
from dualway.index.living import Index
from dualway.index.names import FOLDER, index_names, open_names, optimise
from dualway.kb import layers
from dualway.kb.changes import changing
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Mention, Picture, Representation


@pytest.fixture
def people() -> list[Entity]:
    return [
        Entity("Q9294", "Adam Smith", ("Smith",)),
        Entity("Q23505", "ジョージ", ("George",)),
        Entity("Q42", "Adams"),
    ]


class CountingEncoder:
    """Texts to vectors that tell their letters, counting what it was asked."""

    dim, fingerprint = 8, "counting"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode_texts(self, texts):
        self.asked += texts
        return np.array([[len(t), *(t.count(c) for c in "aeiourn")] for t in texts], dtype=np.float32).reshape(-1, 8)


class ColourEmbedder:
    """A picture to its mean colour."""

    dim, fingerprint, encoder_fingerprint, about = 3, "colour", "colour", {}

    def embed(self, image):
        mean = np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) + 1
        return mean / np.linalg.norm(mean)


def some_entity(number, chance, folder) -> Entity:
    names = ["Jodie Foster", "Ben Foster", "Norman Foster", "Mel Gibson", "William Gibson", "Janet Jones"]
    pictures = ()
    if chance.random() < 0.3:
        Image.new("RGB", (8, 8), (chance.randrange(256), 9, 9)).save(folder / f"{number}.png")
        pictures = (Picture(f"{number}.png"),)
    return Entity(
        f"Q{number}",
        chance.choice(names),
        tuple(chance.sample(["Foster", "Gibson", "JF", "Mel"], chance.randrange(3))),
        representations=(Representation("static", f"person {number}, {chance.randrange(100)}"),),
        pictures=pictures,
    )


@pytest.mark.parametrize("small", [0, layers.SMALL])
@pytest.mark.parametrize("seed", range(4))
def test_it_follows_and_does_nothing_twice(tmp_path, monkeypatch, seed, small):
    monkeypatch.setattr(layers, "SMALL", small)
    chance = random.Random(seed)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    first = [some_entity(n, chance, pictures) for n in range(60)]
    KnowledgeBase.create(tmp_path / "kb", first, picture_root=pictures).close()
    index_names(tmp_path / "kb")
    encoder = CountingEncoder()
    index = Index.open(tmp_path / "kb", text=encoder, embedder=ColourEmbedder())
    number = 100
    for _ in range(12):
        encoder.asked.clear()
        before = index.snapshot
        with index.changing() as change:
            some = chance.choice(before.kb.ids)
            what = chance.randrange(3)
            if what == 0:
                number += 1
                change.add(some_entity(number, chance, pictures))
            elif what == 1:
                change.remove(some)
            else:
                change.update(dataclasses.replace(some_entity(int(some[1:]), chance, pictures), id=some))
        assert len(encoder.asked) <= 1
        check(index, pictures)
        assert len(before.kb.ids) == len(before.names) == len(before.vectors)
        before.search([Mention("Foster", "Foster")], 5)
    index.close()
    optimise(tmp_path / "kb")
    index = Index.open(tmp_path / "kb", text=encoder, embedder=ColourEmbedder())
    check(index, pictures)
    index.close()


def check(index: Index, pictures) -> None:
    snapshot = index.snapshot
    kb = snapshot.kb
    fresh = NameIndex(kb.ids, kb.names, kb.aliases)
    mentions = [Mention(f"{name} with Mel Gibson", name) for name in ("Foster", "JF", "Gibson", "Janet", "M. Gibson")]
    for mine, other in zip(snapshot.search(mentions, 20), fresh.search(mentions, 20)):
        np.testing.assert_array_equal(mine, other)
    expected = CountingEncoder().encode_texts(entity_texts(FeatureConfig(), kb))
    np.testing.assert_array_equal(snapshot.vectors, expected)
    with_pictures = [row for row, entity in enumerate(kb.entities()) if entity.pictures]
    assert snapshot.gallery.kb_rows.tolist() == with_pictures


def test_what_another_process_changed_is_followed(tmp_path, people):
    KnowledgeBase.create(tmp_path / "kb", people).close()
    index = Index.open(tmp_path / "kb")
    assert not index.follow()
    with changing(tmp_path / "kb") as change:
        change.add(Entity("Q1", "Universe"))
    assert index.follow()
    rows = index.snapshot.search([Mention("the Universe", "Universe")], 1).rows
    assert index.snapshot.kb.ids[rows[0, 0]] == "Q1"
    index.close()


def test_what_fails_leaves_the_state_that_was(tmp_path, people):
    class Broken(CountingEncoder):
        def encode_texts(self, texts):
            if len(texts) == 1:
                raise RuntimeError("no memory")
            return super().encode_texts(texts)

    KnowledgeBase.create(tmp_path / "kb", people).close()
    index = Index.open(tmp_path / "kb", text=Broken())
    before = index.snapshot
    with pytest.raises(RuntimeError, match="no memory"):
        index.add([Entity("Q1", "Universe")])
    assert index.snapshot is before
    with pytest.raises(KnowledgeBaseError, match="already"):
        index.add([Entity("Q42", "again")])
    index.close()


def test_readers_in_other_threads_see_whole_states(tmp_path):
    KnowledgeBase.create(tmp_path / "kb", [Entity(f"Q{n}", f"name{n}") for n in range(50)]).close()
    index = Index.open(tmp_path / "kb", text=CountingEncoder())
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            snapshot = index.snapshot
            found = snapshot.search([Mention("x", "newest")], 60).rows
            count = int((found >= 0).sum())
            if not len(snapshot.kb.ids) == len(snapshot.vectors) == 50 + count:
                wrong.append(f"{len(snapshot.kb.ids)} {count}")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(25):
        index.add([Entity(f"N{n}", f"newest {n}")])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    index.close()


def test_names_are_kept_and_used(tmp_path, people):
    KnowledgeBase.create(tmp_path / "kb", people).close()
    assert index_names(tmp_path / "kb") == 5
    assert index_names(tmp_path / "kb", processes=2) == 5
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        assert open_names(kb).damaged == ()
        for path in (tmp_path / "kb" / FOLDER).glob("*.safetensors"):
            path.write_bytes(b"x" * 100)
        damaged = open_names(kb)
        assert damaged.damaged
        rows = damaged.search([Mention("George", "George")], 1).rows
        assert kb.ids[rows[0, 0]] == "Q23505"


def test_the_docstring_example_runs():
    globs = {**vars(living), "KnowledgeBase": KnowledgeBase}
    assert doctest.testmod(living, extraglobs=globs).failed == 0
