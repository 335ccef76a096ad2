"""A knowledge base in two files: every read and change is as if it were one, and as if it had been built so."""

import dataclasses
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dualway.errors import KnowledgeBaseError
from dualway.kb import layers
from dualway.kb.changes import changing
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Field, Picture, Representation


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def _two_files(monkeypatch):
    monkeypatch.setattr(layers, "SMALL", 0)


def some_entity(number: int, chance: random.Random) -> Entity:
    def some(*values: str) -> tuple[str, ...]:
        return tuple(value for value in values if chance.random() < 0.5)

    return Entity(
        f"Q{number}",
        f"name {chance.randrange(6)}",
        aliases=some("a", "b", "c"),
        types=some("t1", "t2", "t3"),
        representations=tuple(Representation(kind, f"{kind} {chance.random()}") for kind in some("static", "profile")),
        pictures=tuple(Picture(f"{number}-{path}.jpg") for path in some("1", "2")),
        fields=tuple(Field("born", year, "Q5") for year in some("1946", "1950-02")),
    )


@pytest.mark.usefixtures("_two_files")
class TestTwoFiles:
    @pytest.mark.parametrize("seed", range(6))
    def test_any_changes_are_as_if_it_had_been_built_so(self, tmp_path, seed):
        chance = random.Random(seed)
        state = {n: some_entity(n, chance) for n in range(30)}
        state[0] = dataclasses.replace(state[0], representations=(Representation("static", "x"),))
        states = [dict(state)]
        KnowledgeBase.create(tmp_path / "kb", state.values(), representation=["static"]).close()
        number = 100
        for _ in range(12):
            with changing(tmp_path / "kb") as change:
                for _ in range(chance.randrange(1, 5)):
                    what, some = chance.choice(["add", "update", "remove"]), chance.choice(list(state))
                    if what == "add":
                        number += 1
                        state[number] = some_entity(number, chance)
                        change.add(state[number])
                    elif what == "remove":
                        change.remove(f"Q{some}")
                        del state[some]
                    else:
                        state[some] = some_entity(some, chance)
                        change.update(state[some])
            with KnowledgeBase.open(tmp_path / "kb") as kb:
                if kb.revision > len(states):
                    states.append(dict(state))
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.manifest.delta
            self.same(kb, state, tmp_path / "fresh")
            for since in range(1, len(states) + 1):
                for until in range(since, len(states) + 1):
                    self.differ(kb, states, since, until)
        with changing(tmp_path / "kb") as change:
            change.rewrite()
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.manifest.delta == ""
            self.same(kb, state, tmp_path / "fresh2")
            self.differ(kb, states, 1, len(states))

    def same(self, kb: KnowledgeBase, state: dict[int, Entity], fresh: Path) -> None:
        kb.check()
        with KnowledgeBase.create(fresh, [state[n] for n in self.order(kb)], representation=kb.representation) as other:
            assert list(kb.entities()) == list(other.entities())
            assert kb.fingerprint == other.fingerprint
            counts = {**kb.manifest.counts, "representations": {k: n for k, n in kb.kinds.items() if n}}
            assert counts == dict(other.manifest.counts)
            assert (kb.ids, kb.names, kb.aliases, kb.types) == (other.ids, other.names, other.aliases, other.types)
            assert kb.texts() == other.texts()
            assert list(kb.gallery_pictures()) == list(other.gallery_pictures())
            assert [kb.row(i) for i in kb.ids] == list(range(len(kb)))

    def order(self, kb: KnowledgeBase) -> list[int]:
        return [int(entity_id[1:]) for entity_id in kb.ids]

    def differ(self, kb: KnowledgeBase, states: list[dict[int, Entity]], since: int, until: int) -> None:
        before, after = states[since - 1], states[until - 1]
        expected = {f"Q{n}" for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
        found = {change.id: change for change in kb.differences(since, until)}
        assert found.keys() == expected
        for entity_id, change in found.items():
            number = int(entity_id[1:])
            assert (change.before, change.after) == (before.get(number), after.get(number))

    def test_a_change_writes_the_delta_alone(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        before = (tmp_path / "kb" / "kb.sqlite").stat()
        with changing(tmp_path / "kb") as change:
            change.remove("Q42")
        with changing(tmp_path / "kb") as change:
            change.add(Entity("Q1", "Universe"))
        after = (tmp_path / "kb" / "kb.sqlite").stat()
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
        assert files_in(tmp_path / "kb") == [".lock", "kb-3.delta.sqlite", "kb.sqlite", "manifest.json"]

    def test_a_long_delta_is_taken_into_the_base(self, tmp_path, people, monkeypatch):
        monkeypatch.setattr(layers, "LONGEST", 0)
        KnowledgeBase.create(tmp_path / "kb", people).close()
        with changing(tmp_path / "kb") as change:
            change.remove("Q42")
        assert files_in(tmp_path / "kb") == [".lock", "kb-2.sqlite", "manifest.json"]

    def test_who_has_it_open_keeps_what_was_opened(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        with changing(tmp_path / "kb") as change:
            change.remove("Q42")
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            with changing(tmp_path / "kb") as change:
                change.remove("Q9294")
                change.rewrite()
            kb.check()
            assert list(kb.entities()) == people[:-1]
            assert kb.texts(["static"])[0]

    def test_a_delta_that_is_missing_or_broken_is_told(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        with changing(tmp_path / "kb") as change:
            change.remove("Q42")
        shutil.copytree(tmp_path / "kb", tmp_path / "broken")
        (tmp_path / "kb" / "kb-2.delta.sqlite").unlink()
        (tmp_path / "broken" / "kb-2.delta.sqlite").write_bytes(b"x" * 9000)
        for name in ("kb", "broken"):
            with pytest.raises(KnowledgeBaseError, match=r"missing|damaged"):
                KnowledgeBase.open(tmp_path / name)

    def test_keys_are_never_given_twice(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        for entity_id in ("Q42", "Q1"):
            with changing(tmp_path / "kb") as change:
                change.remove(entity_id)
                change.add(Entity("Q1", "Universe"))
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.keys.tolist() == [0, 1, 2, 3, 4, 6]


class TestErasing:
    @pytest.mark.parametrize("small", [0, layers.SMALL])
    def test_no_byte_of_a_removed_entity_stays(self, tmp_path, monkeypatch, small):
        monkeypatch.setattr(layers, "SMALL", small)
        secret = Entity("Q7", "secretname", ("secretalias",), representations=(Representation("static", "secrettext"),))
        KnowledgeBase.create(tmp_path / "kb", [*(Entity(f"Q{n}", "x") for n in range(7)), secret]).close()
        with changing(tmp_path / "kb") as change:
            change.update(dataclasses.replace(secret, aliases=("secretalias2",)))
        with changing(tmp_path / "kb") as change:
            change.keep_out("Q7")
            change.remove("Q1")
        with changing(tmp_path / "kb") as change:
            assert change.remove("Q7", erase=True).name == "secretname"
        for path in (tmp_path / "kb").iterdir():
            assert b"secret" not in path.read_bytes()
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            kb.check()
            assert "Q7" not in kb
            assert kb.kept_out == frozenset()
            assert [change.id for change in kb.differences(1)] == ["Q1"]

    def test_of_one_that_was_removed_before(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        with changing(tmp_path / "kb") as change:
            change.remove("Q9294")
        with changing(tmp_path / "kb") as change:
            change.forget("Q9294")
        for path in (tmp_path / "kb").iterdir():
            assert b"philosopher" not in path.read_bytes()

    def test_erased_pictures_leave_the_history_too(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        with changing(tmp_path / "kb") as change:
            change.update(dataclasses.replace(change.entity("Q9294"), name="Smith"))
        with changing(tmp_path / "kb") as change:
            change.erase("Q9294")
        for path in (tmp_path / "kb").iterdir():
            assert b"smith2.jpg" not in path.read_bytes()
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            (found,) = kb.differences(1)
            assert found.parts == ("name",)

    def test_history_may_be_forgotten_as_a_whole(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        with changing(tmp_path / "kb") as change:
            change.remove("Q9294")
        with changing(tmp_path / "kb") as change:
            change.forget_history()
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            with pytest.raises(KnowledgeBaseError, match="before revision 3 is not kept"):
                list(kb.differences(2))
            assert list(kb.differences(3)) == []


def test_kinds_can_be_chosen_later(tmp_path, people):
    with KnowledgeBase.create(tmp_path / "kb", people, representation=["properties"]) as kb:
        before = kb.fingerprint
    with changing(tmp_path / "kb") as change:
        assert change.represent(("static", "properties"))
        assert not change.represent(("static", "properties"))
        with pytest.raises(KnowledgeBaseError, match="no representation of kind 'dynamic'"):
            change.represent(("dynamic",))
    with (
        KnowledgeBase.open(tmp_path / "kb") as kb,
        KnowledgeBase.create(tmp_path / "two", people, representation=["static", "properties"]) as other,
    ):
        assert kb.fingerprint == other.fingerprint
        assert kb.manifest.counts == other.manifest.counts
        assert kb.fingerprint.content == before.content
        assert kb.texts() == other.texts()


def test_adding_what_is_there_is_refused(tmp_path, people):
    KnowledgeBase.create(tmp_path / "kb", people).close()
    with pytest.raises(KnowledgeBaseError, match="'Q42' already"), changing(tmp_path / "kb") as change:
        change.add(Entity("Q42", "again"))
    with closing(sqlite3.connect(tmp_path / "kb" / "kb.sqlite")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM history").fetchone() == (0,)
