"""Relinking is linking everything again, for less: any changes, old and new names, what is forgotten and erased."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from dualway.errors import DataError, UsageError
from dualway.index.names import optimise
from dualway.kb.changes import changing
from dualway.kb.store import KnowledgeBase
from dualway.linker import Linker
from dualway.linking.batch import link_file
from dualway.linking.relink import relink_file
from dualway.schema import Entity

FIRST = ["Jodie", "Ben", "Norman", "Mel", "William", "Janet", "Wayne", "Ana"]
LAST = ["Foster", "Gibson", "Jones", "Gretzky", "Silva", "Smith", "Weber", "Novak", "Kim", "Rossi"]


def person(number: int, chance: random.Random) -> Entity:
    aliases = (chance.choice(LAST),) if chance.random() < 0.3 else ()
    return Entity(f"Q{number}", f"{chance.choice(FIRST)} {chance.choice(LAST)}", aliases)


def some_mentions(chance: random.Random) -> list[dict]:
    lines = []
    for n in range(60):
        surface = chance.choice([chance.choice(LAST), f"{chance.choice(FIRST)} {chance.choice(LAST)}", "Xyzzy"])
        lines.append({"id": f"m{n}", "text": f"{surface} with {chance.choice(FIRST)} in {n}", "surface": surface})
    return lines


@pytest.fixture
def world(tmp_path):
    chance = random.Random(1)
    KnowledgeBase.create(tmp_path / "kb", [person(n, chance) for n in range(300)]).close()
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(m) + "\n" for m in some_mentions(chance)), encoding="utf-8")
    link(tmp_path, "links.jsonl")
    return tmp_path


def linker(place: Path) -> Linker:
    opened = Linker.from_kb(place / "kb", text_encoder=None)
    opened.ranker.num_candidates = 20
    return opened


def link(place: Path, name: str, k: int = 5) -> list[dict]:
    link_file(linker(place), place / "m.jsonl", place / name, k=k, note=lambda _: None)
    return lines_of(place / name)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("seed", range(8))
def test_it_is_as_if_all_were_linked_again(world, seed):
    chance = random.Random(seed)
    for turn in range(3):
        with changing(world / "kb") as change, KnowledgeBase.open(world / "kb") as kb:
            for n in range(chance.randrange(1, 5)):
                some = chance.choice(kb.ids)
                what = chance.choice(["add", "update", "remove"])
                if what == "add":
                    change.add(person(1000 + 10 * turn + n, chance))
                elif some in change and what == "remove":
                    change.remove(some)
                elif some in change:
                    change.update(replace(person(0, chance), id=some))
        if chance.random() < 0.7:
            report = relink_file(linker(world), world / "links.jsonl", world / "m.jsonl")
            assert report.links == report.current + report.untouched + report.redone == 60
    relink_file(linker(world), world / "links.jsonl", world / "m.jsonl")
    assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl")


def test_one_change_touches_few(world):
    with changing(world / "kb") as change:
        change.add(Entity("Q777", "Xyzzy Unique"))
    before = lines_of(world / "links.jsonl")
    dry = relink_file(linker(world), world / "links.jsonl", world / "m.jsonl", dry_run=True)
    assert lines_of(world / "links.jsonl") == before
    report = relink_file(linker(world), world / "links.jsonl", world / "m.jsonl", world / "new.jsonl")
    assert lines_of(world / "links.jsonl") == before
    num_xyzzy = sum(line["surface"] == "Xyzzy" for line in lines_of(world / "m.jsonl"))
    assert 0 < num_xyzzy <= report.redone == dry.redone < 45
    assert {after for _, after in report.changed.values()} == {"Q777"}
    again = relink_file(linker(world), world / "new.jsonl", world / "m.jsonl")
    assert (again.current, again.redone) == (60, 0)


@pytest.mark.parametrize("way", ["forgotten", "erased", "foreign"])
def test_where_nothing_tells_what_changed_all_are_made_again(world, way):
    if way == "forgotten":
        with changing(world / "kb") as change:
            change.remove("Q5")
        optimise(world / "kb", forget_history=True)
    elif way == "erased":
        with changing(world / "kb") as change:
            change.describe("1 entities erased")
            change.remove("Q5", erase=True)
    else:
        lines = [{**line, "kb": "0" * 16} for line in lines_of(world / "links.jsonl")]
        (world / "links.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = relink_file(linker(world), world / "links.jsonl", world / "m.jsonl")
    assert report.redone == 60
    assert len(report.reasons) == 1
    assert lines_of(world / "links.jsonl") == link(world, "anew.jsonl")


class TestWhatDoesNotBelongTogether:
    def test_another_model(self, world):
        lines = [{**line, "model": "other"} for line in lines_of(world / "links.jsonl")]
        (world / "links.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(UsageError, match="another model"):
            relink_file(linker(world), world / "links.jsonl", world / "m.jsonl")
        report = relink_file(linker(world), world / "links.jsonl", world / "m.jsonl", everything=True)
        assert report.redone == 60
        assert {line["model"] for line in lines_of(world / "links.jsonl")} == {linker(world).ranker.fingerprint}

    @pytest.mark.parametrize("fault", ["missing", "twice", "stranger", "broken"])
    def test_links_and_mentions(self, world, fault):
        lines = lines_of(world / "links.jsonl")
        changed = {
            "missing": lines[1:],
            "twice": [*lines, lines[0]],
            "stranger": [*lines, {**lines[0], "id": "m999"}],
            "broken": [*lines[:-1], {"id": "m59"}],
        }[fault]
        content = "".join(json.dumps(line) + "\n" for line in changed)
        (world / "links.jsonl").write_text(content)
        with pytest.raises(DataError, match=r"links\.jsonl"):
            relink_file(linker(world), world / "links.jsonl", world / "m.jsonl")
        assert (world / "links.jsonl").read_text() == content


def test_as_it_is_typed(world, capsys):
    from dualway.cli import main

    with changing(world / "kb") as change:
        change.add(Entity("Q777", "Xyzzy Unique"))
    call = ["relink", str(world / "links.jsonl"), "--in", str(world / "m.jsonl")]
    for more, code in (([], 2), (["--kb", str(world / "kb")], 2), (["--kb", str(world / "kb"), "--all"], 0)):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:  # noqa: PT012
            patch.setattr("sys.argv", ["dualway", *call, *more])
            main()
        assert (stop.value.code or 0) == code, capsys.readouterr().err
    assert "60 made again" in capsys.readouterr().out
