"""Relinking is linking everything again, for less: any changes, old and new names, what is forgotten and erased."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from dualway.candidates.fuzzy import FuzzyNames
from dualway.config import get_preset, override
from dualway.datasets.candidate_files import read_candidate_file
from dualway.errors import DataError, StorageError, UsageError
from dualway.index.names import optimise
from dualway.kb.changes import changing
from dualway.kb.store import KnowledgeBase
from dualway.linker import Linker
from dualway.linking import relink, touched
from dualway.linking.batch import link_file
from dualway.linking.relink import relink_file
from dualway.run import train_run
from dualway.schema import Entity, Picture, Representation

FIRST = ["Jodie", "Ben", "Norman", "Mel", "William", "Janet", "Wayne", "Ana"]
LAST = ["Foster", "Gibson", "Jones", "Gretzky", "Silva", "Smith", "Weber", "Novak", "Kim", "Rossi"]


def person(number: int, chance: random.Random) -> Entity:
    aliases = (chance.choice(LAST),) if chance.random() < 0.3 else ()
    text = Representation("description", f"{chance.choice(FIRST)} plays {chance.choice(['ball', 'piano', 'chess'])}")
    return Entity(f"Q{number}", f"{chance.choice(FIRST)} {chance.choice(LAST)}", aliases, (), (text,))


def some_mentions(chance: random.Random) -> list[dict]:
    lines = []
    for n in range(60):
        surface = chance.choice([chance.choice(LAST), f"{chance.choice(FIRST)} {chance.choice(LAST)}", "Xyzzy"])
        lines.append({"id": f"m{n}", "text": f"{surface} with {chance.choice(FIRST)} in {n}", "surface": surface})
    return lines


def write_lines(path: Path, lines: list[dict]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def make_world(place: Path, num_entities: int = 300) -> Path:
    chance = random.Random(1)
    KnowledgeBase.create(place / "kb", [person(n, chance) for n in range(num_entities)]).close()
    write_lines(place / "m.jsonl", some_mentions(chance))
    return place


@pytest.fixture
def world(tmp_path):
    make_world(tmp_path)
    link(tmp_path, "links.jsonl")
    return tmp_path


def linker(place: Path, way: str = "names") -> Linker:
    """Return a linker on the present state whose lists are short, so that they are cut."""
    given = read_candidate_file(place / "candidates.json") if way == "given" else None
    made = Linker.from_kb(place / "kb", text_encoder=None, candidates=given)
    if way == "fuzzy":
        source = FuzzyNames(made.kb.ids, made.kb.names)
        made = Linker(made.kb, source, made.ranker, names=made.names)
    made.ranker.num_candidates = 20
    return made


def link(place: Path, name: str, k: int = 5, way: str = "names") -> list[dict]:
    link_file(linker(place, way), place / "m.jsonl", place / name, k=k, note=lambda _: None)
    return lines_of(place / name)


def again(place: Path, way: str = "names", **more) -> relink.RelinkReport:
    return relink_file(linker(place, way), place / "links.jsonl", place / "m.jsonl", **more)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shake(kb_path: Path, chance: random.Random, turn: int, *, erase: bool = False) -> None:
    """Change a knowledge base in a few random places."""
    with changing(kb_path) as change, KnowledgeBase.open(kb_path) as kb:
        for n in range(chance.randrange(1, 5)):
            some = chance.choice(kb.ids)
            what = chance.choice(["add", "update", "rewrite", "remove"])
            if what == "add":
                change.add(person(1000 + 10 * turn + n, chance))
            elif some in change and what == "remove":
                change.remove(some, erase=erase and chance.random() < 0.5)
            elif some in change:
                new = person(0, chance)
                old = change.entity(some)
                change.update(replace(new, id=some) if what == "update" else replace(old, types=(f"t{turn}{n}",)))


class TestItIsAsIfAllWereLinkedAgain:
    @pytest.mark.parametrize("k", [1, 5, 20, 30])
    @pytest.mark.parametrize("way", ["names", "fuzzy", "given"])
    @pytest.mark.parametrize("seed", range(3))
    def test_after_random_changes(self, seed, way, k, tmp_path):
        self.check(make_world(tmp_path), random.Random(f"{seed} {way} {k}"), way, k)

    @pytest.mark.parametrize("k", [2, 5, 30])
    @pytest.mark.parametrize("seed", range(4))
    def test_after_erasing_as_well(self, seed, k, tmp_path):
        self.check(make_world(tmp_path), random.Random(f"{seed} {k}"), "names", k, erase=True)

    @pytest.mark.parametrize("k", [2, 30])
    @pytest.mark.parametrize("seed", range(6))
    def test_in_a_knowledge_base_of_fewer_entities_than_compete(self, seed, k, tmp_path):
        self.check(make_world(tmp_path, 22), random.Random(f"{seed} {k}"), "names", k, erase=seed % 2 == 0)

    def check(self, world: Path, chance: random.Random, way: str, k: int, *, erase: bool = False) -> None:
        numbers = [*range(60), *(1000 + 10 * turn + n for turn in range(4) for n in range(4))]  # some are added later
        surfaces = {line["surface"] for line in lines_of(world / "m.jsonl")}
        proposed = {surface: [f"Q{n}" for n in chance.sample(numbers, 6)] for surface in sorted(surfaces)}
        (world / "candidates.json").write_text(json.dumps(proposed))
        link(world, "links.jsonl", k, way)
        for turn in range(4):
            shake(world / "kb", chance, turn, erase=erase)
            if chance.random() < 0.7:
                report = again(world, way, k=k)
                assert report.links == report.current + report.untouched + report.redone == 60
        again(world, way, k=k)
        assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl", k, way)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_sentence_encoder):
    """A world with a run of the prior and names, whose links keep less than compete."""
    place = make_world(tmp_path_factory.mktemp("trained"))
    gold = [{**m, "entity_id": f"Q{random.Random(m['id']).randrange(300)}"} for m in lines_of(place / "m.jsonl")]
    write_lines(place / "train.jsonl", gold)
    preset = override(
        get_preset("paper"),
        {
            "encoders": {"text": str(tiny_sentence_encoder)},
            "model": {"dim": 8, "heads": 2},
            "train": {"epochs": 1},
            "candidates": {"retriever": "names+prior", "num_candidates": 20},
        },
    )
    with KnowledgeBase.open(place / "kb") as kb:
        train_run(data=place / "train.jsonl", kb=kb, preset=preset, out=place / "run", note=lambda _: None)
    return place


def test_it_is_so_for_a_trained_run(trained):
    def make(name: str) -> list[dict]:
        link_file(Linker.load(trained / "run"), trained / "m.jsonl", trained / name, k=5, note=lambda _: None)
        return lines_of(trained / name)

    make("links.jsonl")
    with changing(trained / "kb") as change:
        prior = Linker.load(trained / "run").prior
        proposed = min(prior.probabilities(lines_of(trained / "m.jsonl")[0]["surface"]))
        change.remove(proposed)
    for turn in range(3):
        report = relink_file(Linker.load(trained / "run"), trained / "links.jsonl", trained / "m.jsonl", k=5)
        assert report.untouched + report.current > 0
        for old, new in zip(lines_of(trained / "links.jsonl"), make("anew.jsonl"), strict=True):
            assert {c["entity_id"]: c["score"] for c in old.pop("candidates")} == pytest.approx(
                {c["entity_id"]: c["score"] for c in new.pop("candidates")}, abs=1e-5
            )
            assert old == new
        shake(trained / "kb", random.Random(turn), turn)


def test_one_change_touches_few(world):
    with changing(world / "kb") as change:
        change.add(Entity("Q777", "Xyzzy Unique"))
    before = lines_of(world / "links.jsonl")
    dry = again(world, dry_run=True)
    assert lines_of(world / "links.jsonl") == before
    report = again(world, target=world / "new.jsonl")
    assert lines_of(world / "links.jsonl") == before
    surfaces = {line["id"]: line["surface"] for line in lines_of(world / "m.jsonl")}
    xyzzy = {mention_id for mention_id, surface in surfaces.items() if surface == "Xyzzy"}
    assert 0 < len(xyzzy) <= report.redone == dry.redone < 45
    assert report.k == dry.k == 5
    # NIL, or a candidate by the caption's words alone, before.
    assert report.changed == {line["id"]: (line["entity_id"], "Q777") for line in before if line["id"] in xyzzy}
    second = relink_file(linker(world), world / "new.jsonl", world / "m.jsonl")
    assert (second.current, second.redone) == (60, 0)


def test_a_text_that_changes_touches_those_whose_candidate_it_is(world):
    """Also where the link does not keep that candidate, as it may have been the sixth of twenty."""
    (line, *_) = lines_of(world / "links.jsonl")
    with KnowledgeBase.open(world / "kb") as kb, changing(world / "kb") as change:
        found = linker(world).names.search([relink.open_dataset(world / "m.jsonl").mentions[0]], 20)
        sixth = next(kb.ids[row] for row in found.rows[0] if kb.ids[row] not in str(line["candidates"]))
        change.update(replace(change.entity(sixth), types=("other",)))
    report = again(world)
    assert 0 < report.redone < 60
    assert set(report.reasons) <= {touched.CANDIDATE, touched.NEAR}
    assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl")


def test_lines_keep_their_order_and_what_else_they_say(world):
    lines = [{**line, "note": line["id"]} for line in reversed(lines_of(world / "links.jsonl"))]
    write_lines(world / "links.jsonl", lines)
    with changing(world / "kb") as change:
        change.add(Entity("Q777", "Xyzzy Unique"))
    again(world)
    after = lines_of(world / "links.jsonl")
    assert [line["id"] for line in after] == [line["id"] for line in lines]
    assert 0 < sum("note" in line for line in after) < 60  # a link that is made again has no note yet
    assert {line["kb"] for line in after} == {linker(world).kb.fingerprint.content}


class TestWhatNothingTells:
    @pytest.mark.parametrize("way", ["forgotten", "foreign"])
    def test_all_are_made_again_and_it_is_said_why(self, world, way):
        if way == "forgotten":
            with changing(world / "kb") as change:
                change.remove("Q5")
            optimise(world / "kb", forget_history=True)
        else:
            write_lines(world / "links.jsonl", [{**line, "kb": "0" * 16} for line in lines_of(world / "links.jsonl")])
        report = again(world)
        assert report.redone == 60
        assert ("is not kept" if way == "forgotten" else touched.UNKNOWN) in str(report.reasons)
        assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl")

    def test_an_erasure_is_known_by_the_sum_of_hashes_not_by_its_description(self, world):
        whole = link(world, "whole.jsonl", 20)
        erased = next(line["entity_id"] for line in whole if line["entity_id"])
        with changing(world / "kb") as change:
            change.describe("nothing of note")
            change.remove(erased, erase=True)
        assert set(again(world).reasons) == {touched.ERASED, touched.CANDIDATE}
        assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl")
        report = relink_file(linker(world), world / "whole.jsonl", world / "m.jsonl")  # keep all that competed
        num_touched = sum(erased in {c["entity_id"] for c in line["candidates"]} for line in whole)
        assert report.reasons == {touched.CANDIDATE: num_touched}
        assert 0 < num_touched < 60
        assert lines_of(world / "whole.jsonl") == link(world, "anew.jsonl", 20)


class TestPicturesOfEntities:
    def relink(self, world: Path) -> relink.RelinkReport:
        comparing = linker(world)
        comparing.compares_pictures = True
        return relink_file(comparing, world / "links.jsonl", world / "m.jsonl")

    def test_a_picture_touches_all_where_they_are_compared(self, world):
        with changing(world / "kb") as change:
            change.add(Entity("Q777", "Xyzzy Unique"))
        assert self.relink(world).redone < 60
        with changing(world / "kb") as change:
            change.update(replace(change.entity("Q7"), pictures=(Picture("a.jpg"),)))
        assert self.relink(world).reasons == {touched.PICTURES: 60}

    def test_so_does_keeping_them_out_although_the_content_is_the_same(self, world):
        with changing(world / "kb") as change:
            change.update(replace(change.entity("Q7"), pictures=(Picture("a.jpg"),)))
        again(world)
        with changing(world / "kb") as change:
            change.keep_out("Q7")
        assert again(world).redone == 0
        assert self.relink(world).reasons == {touched.PICTURES: 60}


class Killed(BaseException):
    """As hard an end as a process can give itself."""


class TestKills:
    @pytest.fixture(autouse=True)
    def small_chunks(self, monkeypatch):
        monkeypatch.setattr(relink, "_CHUNK", 4)

    def dying(self, world: Path, calls: int) -> Linker:
        killed = linker(world)
        link, made = killed.link, []

        def one(*arguments, **more):
            made.append(1)
            if len(made) > calls:
                raise Killed
            return link(*arguments, **more)

        killed.link = one
        return killed

    def change(self, world: Path) -> None:
        with changing(world / "kb") as change:
            change.add(Entity("Q777", "Xyzzy Foster"))

    @pytest.mark.parametrize("chunks", [0, 1, 3])
    @pytest.mark.parametrize("cut", [0, 1, 50])
    def test_a_killed_call_goes_on_and_ends_the_same(self, world, chunks, cut):
        self.change(world)
        before = (world / "links.jsonl").read_bytes()
        with pytest.raises(Killed):  # the first call of the linker is the probe
            relink_file(self.dying(world, 1 + chunks), world / "links.jsonl", world / "m.jsonl")
        assert (world / "links.jsonl").read_bytes() == before
        journal = world / ".links.jsonl.relink"
        os.truncate(journal, max(journal.stat().st_size - cut, 0))
        report = again(world)
        assert report.resumed == (4 * chunks - (cut > 0) if chunks else 0)
        assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl")
        assert not journal.exists()

    @pytest.mark.parametrize("what", ["kb", "mentions", "links"])
    def test_another_call_starts_afresh(self, world, what):
        self.change(world)
        with pytest.raises(Killed):
            relink_file(self.dying(world, 3), world / "links.jsonl", world / "m.jsonl")
        if what == "kb":
            with changing(world / "kb") as change:
                change.remove("Q777")
        elif what == "mentions":
            write_lines(world / "m.jsonl", [{**line, "date": "2020"} for line in lines_of(world / "m.jsonl")])
        else:
            write_lines(world / "links.jsonl", lines_of(world / "links.jsonl")[::-1])
        assert again(world).resumed == 0
        found = {line["id"]: line for line in lines_of(world / "links.jsonl")}
        assert found == {line["id"]: line for line in link(world, "anew.jsonl")}
        assert not (world / ".links.jsonl.relink").exists()

    def test_a_disk_that_fills_up_leaves_the_old_file(self, world, monkeypatch):
        import errno

        self.change(world)
        before = (world / "links.jsonl").read_bytes()

        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StorageError, match="the disk is full"):
                again(world)
        assert (world / "links.jsonl").read_bytes() == before
        again(world)
        assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl")


class TestHowManyCandidates:
    def test_the_links_show_it(self, world):
        link(world, "links.jsonl", 3)
        with changing(world / "kb") as change:
            change.remove("Q5")
        assert again(world, dry_run=True).k == 3
        assert again(world, dry_run=True, everything=True).k == 3
        with pytest.raises(UsageError, match=r"keep 3 candidates, not 2; give -k 3, or --all"):
            again(world, k=2)
        with pytest.raises(UsageError, match=r"keeps 3 candidates where -k 4 gives 4.*--all"):
            again(world, k=4)
        assert again(world, k=4, everything=True).k == 4
        assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl", 4)

    def test_lists_that_were_never_cut_show_nothing(self, tmp_path):
        make_world(tmp_path, 4)
        link(tmp_path, "links.jsonl", 100)
        with changing(tmp_path / "kb") as change:
            change.add(Entity("Q777", "Ana Foster Jones Silva"))
        assert again(tmp_path).k == 100
        assert lines_of(tmp_path / "links.jsonl") == link(tmp_path, "anew.jsonl", 100)


class TestWhatDoesNotBelongTogether:
    def test_another_model(self, world):
        write_lines(world / "links.jsonl", [{**line, "model": "other"} for line in lines_of(world / "links.jsonl")])
        with pytest.raises(UsageError, match="another model"):
            again(world)
        assert again(world, everything=True).reasons == {relink.ASKED: 60}
        assert {line["model"] for line in lines_of(world / "links.jsonl")} == {linker(world).ranker.fingerprint}

    def test_other_mentions_of_the_same_ids(self, world):
        with changing(world / "kb") as change:
            change.remove("Q5")
        lines = lines_of(world / "m.jsonl")
        write_lines(world / "m.jsonl", [{**line, "id": f"m{n}"} for n, line in enumerate(reversed(lines))])
        with pytest.raises(
            UsageError, match=r"the link of 'm\d+' (has the candidate|keeps|comes out otherwise).*--all"
        ):
            again(world)

    def test_other_inputs_of_the_model(self, world):
        """As with another regions file, or when other texts came to stand for the entities."""
        with changing(world / "kb") as change:
            change.remove("Q5")
        other = linker(world)
        rank = other.ranker.rank

        def otherwise(*arguments):
            ranking = rank(*arguments)
            return ranking._replace(scores=ranking.scores * 0.9)

        other.ranker.rank = otherwise
        with pytest.raises(UsageError, match=r"comes out otherwise .*regions.*--all"):
            relink_file(other, world / "links.jsonl", world / "m.jsonl")

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("missing", "no link of 1 mentions.*m0"),
            ("twice", "line 61.*m0.*two links"),
            ("stranger", "--in does not have.*m999"),
            ("no candidates", "line 60.*is no link"),
            ("candidate without id", "line 60.*is no link"),
            ("kb is a number", "line 60.*is no link"),
            ("id is a list", "line 60.*is no link"),
            ("a list", "line 60.*is no link"),
        ],
    )
    def test_links_and_mentions(self, world, fault, message):
        lines = lines_of(world / "links.jsonl")
        last = lines[-1]
        content = {
            "missing": lines[1:],
            "twice": [*lines, lines[0]],
            "stranger": [*lines, {**lines[0], "id": "m999"}],
            "no candidates": [*lines[:-1], {"id": "m59"}],
            "candidate without id": [*lines[:-1], {**last, "candidates": [{"score": 1.0}]}],
            "kb is a number": [*lines[:-1], {**last, "kb": 5}],
            "id is a list": [*lines[:-1], {**last, "id": []}],
            "a list": [*lines[:-1], []],
        }[fault]
        write_lines(world / "links.jsonl", content)
        before = (world / "links.jsonl").read_bytes()
        with pytest.raises(DataError, match=r"links\.jsonl") as told:
            again(world)
        assert told.match(message.split(".*")[-1])
        assert (world / "links.jsonl").read_bytes() == before

    def test_numbers_that_are_none(self, world):
        lines = lines_of(world / "links.jsonl")
        lines[7]["nil_probability"] = float("inf")
        write_lines(world / "links.jsonl", lines)
        before = (world / "links.jsonl").read_bytes()
        with changing(world / "kb") as change:
            change.add(Entity("Q777", "Qqq"))
        with pytest.raises(DataError, match=r"line 8: .*not finite"):
            again(world)
        assert (world / "links.jsonl").read_bytes() == before

    def test_files_in_each_others_place(self, world):
        for target in (world / "m.jsonl", world / "x" / ".." / "m.jsonl"):
            with pytest.raises(UsageError, match="holds the mentions"):
                again(world, target=target)
        with pytest.raises(UsageError, match=r"without \.gz"):
            again(world, target=world / "new.jsonl.gz")
        with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
            relink_file(linker(world), world / "nowhere.jsonl", world / "m.jsonl")
