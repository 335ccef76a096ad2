"""Stale texts: what the source changed is read again, what it did not change is left alone."""

import dataclasses
from datetime import date

import pytest

from dualway.errors import DataError, KnowledgeBaseError, UsageError
from dualway.kb.changes import changing
from dualway.kb.refreshing import refresh
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation
from dualway.sources.texts import Found

SOURCE = "wikipedia:en"
PAGES = {"Q1": ("10", "Foster is an actress."), "Q2": ("20", "Gibson is an actor."), "Q3": ("30", "Jones is a man.")}


class Pages:
    """A wiki of pages: (revision, text) by id. `asked`: whose text was asked for."""

    name = SOURCE

    def __init__(self, pages, revisions=None):
        self.pages, self.told, self.asked = pages, revisions, []

    def texts(self, wanted):
        for one in wanted:
            self.asked.append(one.entity_id)
            if one.entity_id not in self.pages:
                yield Found(one.entity_id, problem="no such page")
                continue
            revision, text = self.pages[one.entity_id]
            yield Found(one.entity_id, Representation("static", text, SOURCE, "en", revision, "CC BY-SA 4.0", "2026"))

    def revisions(self, wanted):
        if self.told is not None:
            return self.told
        return {one.entity_id: self.pages[one.entity_id][0] for one in wanted if one.entity_id in self.pages}


@pytest.fixture
def folder(tmp_path):
    entities = [
        Entity(
            entity_id,
            f"n{entity_id}",
            representations=(
                Representation("static", "From elsewhere.", "dbpedia:en"),
                Representation("static", text, SOURCE, "en", revision, created_at=f"2025-0{number}-01T00:00:00+00:00"),
            ),
        )
        for number, (entity_id, (revision, text)) in enumerate(PAGES.items(), start=1)
    ]
    KnowledgeBase.create(tmp_path / "kb", [*entities, Entity("Q4", "no text")]).close()
    return tmp_path / "kb"


def texts_of(folder, entity_id):
    with KnowledgeBase.open(folder) as kb:
        kb.check()
        return [text.text for text in kb.entity(entity_id).representations]


class TestRefresh:
    def test_what_changed_is_read_again(self, folder):
        source = Pages({"Q1": ("11", "Foster is a director of films."), "Q2": ("21", PAGES["Q2"][1])})
        report = refresh(folder, source)
        assert source.asked == ["Q1", "Q2", "Q3"]
        assert (report.checked, report.newer, report.revision) == (3, 2, 2)
        assert report.vanished == {"Q3": "no such page"}
        (drift,) = report.drifted
        assert (drift.entity_id, drift.kind, drift.old_revision, drift.new_revision) == ("Q1", "static", "10", "11")
        assert 0.3 < drift.similarity == report.mean_similarity < 0.9
        assert texts_of(folder, "Q1") == ["From elsewhere.", "Foster is a director of films."]
        assert texts_of(folder, "Q3") == ["From elsewhere.", "Jones is a man."]
        with KnowledgeBase.open(folder) as kb:
            assert kb.entity("Q2").representations[1].revision == "21"
            assert kb.revisions()[-1].what == "1 texts of wikipedia:en changed, 2 newer"
            assert [change.id for change in kb.differences(1)] == ["Q1", "Q2"]

    def test_what_did_not_change_is_not_read(self, folder):
        source = Pages(PAGES)
        report = refresh(folder, source)
        assert (source.asked, report.newer, report.revision, report.mean_similarity) == ([], 0, 1, 1.0)

    def test_a_dry_run_tells_the_same_and_changes_nothing(self, folder):
        source = Pages({"Q1": ("11", "Other.")})
        dry = refresh(folder, source, dry_run=True, gone="remove")
        assert dry.revision == 1
        assert texts_of(folder, "Q1")[1] == PAGES["Q1"][1]
        real = refresh(folder, source)
        assert dataclasses.replace(real, revision=1) == dry

    def test_texts_of_pages_that_are_gone_are_removed_when_asked(self, folder):
        report = refresh(folder, Pages({"Q1": PAGES["Q1"]}), gone="remove")
        assert (report.removed, sorted(report.vanished)) == (2, ["Q2", "Q3"])
        assert texts_of(folder, "Q2") == ["From elsewhere."]
        assert texts_of(folder, "Q1") == ["From elsewhere.", PAGES["Q1"][1]]
        with pytest.raises(UsageError, match="unknown choice 'burn'"):
            refresh(folder, Pages({}), gone="burn")

    def test_an_older_source_takes_nothing_back(self, folder):
        report = refresh(folder, Pages({**PAGES, "Q2": ("9", "Gibson was once young.")}))
        assert (report.older, report.newer, report.revision) == ({"Q2": "9"}, 0, 1)
        silent = Pages({**PAGES, "Q2": ("9", "Gibson was once young.")}, revisions={"Q1": "10", "Q3": "30"})
        report = refresh(folder, silent)
        assert (silent.asked, report.older, report.revision) == (["Q2"], {"Q2": "9"}, 1)

    def test_revisions_that_say_nothing_are_compared_by_text(self, folder):
        address = "http://dbpedia.org/resource/Foster"
        with changing(folder) as change:
            old = change.entity("Q1")
            taken = dataclasses.replace(old.representations[1], revision=address, licence="CC BY-SA 4.0")
            change.update(dataclasses.replace(old, representations=(taken,)))
        same = Pages({**PAGES, "Q1": (address, PAGES["Q1"][1])})
        assert (refresh(folder, same).newer, same.asked) == (0, ["Q1"])
        assert refresh(folder, Pages({**PAGES, "Q1": (address, "Foster acts.")})).newer == 1
        assert texts_of(folder, "Q1") == ["Foster acts."]

    def test_each_kind_of_a_source_is_kept_current(self, folder):
        with changing(folder) as change:
            old = change.entity("Q1")
            profile = dataclasses.replace(old.representations[1], kind="profile", text="A star.")
            change.update(dataclasses.replace(old, representations=(*old.representations, profile)))
        new = Pages({**PAGES, "Q1": ("11", "Foster directs.")})
        assert refresh(folder, new, kinds=["profile"]).checked == 1
        assert texts_of(folder, "Q1") == ["From elsewhere.", PAGES["Q1"][1], "Foster directs."]
        assert refresh(folder, new, kinds=["profile", "static"]).newer == 1
        assert texts_of(folder, "Q1") == ["From elsewhere.", "Foster directs.", "Foster directs."]

    def test_some_alone(self, folder):
        source = Pages(dict.fromkeys(PAGES, ("99", "New.")))
        assert refresh(folder, source, ids=["Q2", "Q4"], dry_run=True).checked == 1
        assert refresh(folder, source, older_than=date(2025, 3, 1), dry_run=True).checked == 2
        with pytest.raises(KnowledgeBaseError, match="'Q99'"):
            refresh(folder, source, ids=["Q99"])

    def test_a_text_that_does_not_say_when_it_was_taken_counts_as_old(self, folder):
        with changing(folder) as change:
            old = change.entity("Q1")
            texts = tuple(dataclasses.replace(text, created_at="yesterday") for text in old.representations)
            change.update(dataclasses.replace(old, representations=texts))
        assert refresh(folder, Pages(PAGES), older_than=date(2025, 1, 1)).checked == 1

    def test_nothing_of_that_source(self, folder):
        source = Pages(PAGES)
        source.name = "wikipedia:de"
        report = refresh(folder, source)
        assert (report.checked, report.mean_similarity, report.revision) == (0, 1.0, 1)

    def test_what_others_changed_meanwhile_stays(self, folder):
        class Slow(Pages):
            def texts(self, wanted):
                yield from super().texts(wanted)
                with changing(folder) as change:
                    change.remove("Q2")
                    text = Representation("static", "By hand.", SOURCE, "en", "10")
                    change.update(dataclasses.replace(change.entity("Q1"), representations=(text,)))

        report = refresh(folder, Slow(dict.fromkeys(PAGES, ("99", "New."))))
        assert sorted(report.passed_over) == ["Q1", "Q2"]
        assert texts_of(folder, "Q1") == ["By hand."]
        assert texts_of(folder, "Q3")[1] == "New."


class TestSourcesThatLie:
    @pytest.mark.parametrize(
        ("revisions", "told"),
        [({"Q0": "1"}, "'Q0'.*not asked for"), ({"Q1": 11}, "'Q1'.*11 is no revision"), ({4: "1"}, "not asked for")],
    )
    def test_revisions(self, folder, revisions, told):
        with pytest.raises(DataError, match=told):
            refresh(folder, Pages(PAGES, revisions))

    @pytest.mark.parametrize("lie", ["twice", "stranger", "silence"])
    def test_texts(self, folder, lie):
        class Liar(Pages):
            def texts(self, wanted):
                answers = list(super().texts(wanted))
                yield from {"twice": [*answers, answers[0]], "stranger": [Found("Q4")], "silence": answers[1:]}[lie]

        with pytest.raises(DataError, match=r"wikipedia:en: (answered twice|gave no answer for 1 entities)"):
            refresh(folder, Liar(dict.fromkeys(PAGES, ("99", "New."))))
        assert texts_of(folder, "Q3")[1] == PAGES["Q3"][1]
