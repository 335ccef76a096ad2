"""Following a knowledge base: what was taken over and what was read anew make the same as opening it."""

import dataclasses
import random
import shutil

import pytest

from dualway.kb import layers
from dualway.kb.changes import changing
from dualway.kb.following import advance
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity


def same(step_kb: KnowledgeBase, folder) -> None:
    with KnowledgeBase.open(folder) as fresh:
        for name in ("ids", "names", "aliases", "types"):
            assert getattr(step_kb, name) == getattr(fresh, name), name
        assert step_kb.keys.tolist() == fresh.keys.tolist()
        assert step_kb.changed_in.tolist() == fresh.changed_in.tolist()
        assert [step_kb.row(i) for i in fresh.ids] == list(range(len(fresh)))
        assert step_kb.fingerprint == fresh.fingerprint


@pytest.mark.parametrize("small", [0, layers.SMALL])
@pytest.mark.parametrize("seed", range(5))
def test_any_changes(tmp_path, monkeypatch, seed, small):
    monkeypatch.setattr(layers, "SMALL", small)
    chance = random.Random(seed)
    KnowledgeBase.create(tmp_path / "kb", [Entity(f"Q{n}", f"n{n}", ("a",), ("t",)) for n in range(40)]).close()
    kb = KnowledgeBase.open(tmp_path / "kb")
    _ = kb.ids, kb.names, kb.aliases, kb.types, "Q1" in kb
    for turn in range(10):
        before = list(kb.entities())
        with changing(tmp_path / "kb") as change:
            for n in range(chance.randrange(1, 4)):
                what, some = chance.randrange(4), chance.choice(kb.ids)
                if what == 0:
                    change.add(Entity(f"N{turn}-{n}", "new", ("x", "y")))
                elif some in change and what == 1:
                    change.remove(some, erase=chance.random() < 0.2)
                elif some in change and what == 2:
                    change.update(dataclasses.replace(change.entity(some), name=f"turn {turn}", types=("u",)))
                elif some in change:  # gone and back under its id
                    change.remove(some)
                    change.add(Entity(some, "back"))
        step = advance(kb)
        if step is None:
            continue
        same(step.kb, tmp_path / "kb")
        after = list(step.kb.entities())
        for row, old in enumerate(step.kept.tolist()):
            if old >= 0:
                assert after[row] == before[old]
            else:
                assert row in step.changed
        gone = {entity.id for entity in before} - {entity.id for entity in after}
        assert gone <= {before[row].id for row in step.removed.tolist()}
        assert list(kb.entities()) == before
        kb.close()
        kb = step.kb
    kb.close()


def test_nothing_new(tmp_path, people):
    with KnowledgeBase.create(tmp_path / "kb", people) as kb:
        assert advance(kb) is None


def test_another_knowledge_base_in_its_place_is_read_anew(tmp_path, people):
    kb = KnowledgeBase.create(tmp_path / "kb", people)
    shutil.rmtree(tmp_path / "kb")
    KnowledgeBase.create(tmp_path / "kb", [Entity("Q1", "Universe"), *people]).close()
    step = advance(kb)
    assert step is not None
    assert step.is_whole
    same(step.kb, tmp_path / "kb")
    kb.close()
    step.kb.close()


def test_one_change_among_many_reads_little(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "SMALL", 0)
    kb = KnowledgeBase.create(tmp_path / "kb", [Entity(f"Q{n}", f"n{n}") for n in range(2000)])
    _ = kb.ids, kb.names, kb.aliases, "Q1" in kb, kb.keys, kb.changed_in
    with changing(tmp_path / "kb") as change:
        change.add(Entity("N", "new"))
    rows: list[int] = []
    real = KnowledgeBase._fetch
    monkeypatch.setattr(KnowledgeBase, "_fetch", lambda *a: rows.append(len(found := real(*a))) or found)
    step = advance(kb)
    assert step is not None
    assert step.kb.ids[-1] == "N"
    assert step.kb.row("N") == 2000
    assert step.kb.aliases[2000] == ()
    assert sum(rows) < 50
    kb.close()
    step.kb.close()
