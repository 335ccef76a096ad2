"""Who of the candidates is in a picture: nobody else, one person a face, one face a person."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.galleries import ColourEmbedder, gallery_of, make_kb, save_picture, unit

from dualway.errors import ScoreError, UsageError
from dualway.kb.changes import changing
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Picture
from dualway.vision.calibration import SHIPPED, Calibration, Tail, find_calibration
from dualway.vision.gallery import Gallery
from dualway.vision.identity import GalleryIdentifier

# FMR .01 at .5; the threshold is .5 for one picture and rises by .01 for each factor e.
CALIBRATION = Calibration((Tail("all", (0.01,), (0.5,), 0.01),), slope=20.0, intercept=-10.0)
X, Y, Z = (unit(row) for row in np.eye(3).tolist())


def identifier_of(vectors, counts, calibration=CALIBRATION) -> GalleryIdentifier:
    """Return the identifier of entities Q0, Q1, .. with so many vectors each."""
    gallery = gallery_of(np.array(vectors, dtype=np.float32).reshape(-1, 3), counts)
    ids = [f"Q{i}" for i in range(len(counts))]
    return GalleryIdentifier(gallery, calibration, ids, [f"name {i}" for i in range(len(counts))])


def rows(*values):
    return np.array(values, dtype=np.int64)


def probes(*vectors):
    return np.array(vectors, dtype=np.float32).reshape(-1, 3)


@pytest.fixture
def identifier():
    """Q0 is X, Q1 has no picture, Q2 is Y and a mix of X and Y, Q3 is Z."""
    return identifier_of([X, Y, unit([1, 1, 0]), Z], [1, 0, 2, 1])


class TestWhoIsFound:
    def test_a_label_says_all(self, identifier):
        [label] = identifier.identify(probes(Z, X), rows(0, 1, 2))
        assert (label.label, label.entity_id, label.probe) == ("name 0", "Q0", 1)
        assert label.similarity == pytest.approx(1)
        assert label.score == CALIBRATION.probability(label.similarity, 3)  # Q0 has one picture, Q2 two

    def test_only_candidates(self, identifier):
        """Z's face is Q3's, who was not proposed."""
        assert identifier.identify(probes(Z), rows(0, 1, 2)) == []
        assert [label.entity_id for label in identifier.identify(probes(Z), rows(0, 3))] == ["Q3"]

    @pytest.mark.parametrize("candidates", [(), (-1, -1), (1,), (-1, 1)])
    def test_without_candidates_with_pictures_there_is_no_answer(self, identifier, candidates):
        assert identifier.identify(probes(X, Y, Z), rows(*candidates)) == []

    def test_without_probes_there_is_no_answer(self, identifier):
        assert identifier.identify(probes(), rows(0, 2)) == []
        assert identifier.identify(probes([0, 0, 0]), rows(0, 2)) == []  # a face without landmarks

    def test_one_face_is_one_person(self, identifier):
        """The mix is like Q0's picture too, above the threshold, and is Q2's."""
        mixed = unit([1, 1, 0])
        assert [label.entity_id for label in identifier.identify(probes(mixed), rows(0))] == ["Q0"]
        assert [label.entity_id for label in identifier.identify(probes(mixed), rows(0, 2))] == ["Q2"]

    def test_an_entity_is_found_once_in_the_face_most_like_her(self, identifier):
        near = unit([1, 0, 0.2])
        [label] = identifier.identify(probes(near, X, near), rows(0, 3))
        assert (label.entity_id, label.probe) == ("Q0", 1)

    def test_several_people_best_first(self, identifier):
        found = identifier.identify(probes(unit([0, 0.3, 1]), X), rows(0, 2, 3))
        assert [(label.entity_id, label.probe) for label in found] == [("Q0", 1), ("Q3", 0)]
        assert found[0].score > found[1].score

    def test_the_threshold_is_that_of_all_candidates_pictures(self):
        """The same face passes among few and not among many; those without pictures do not count."""
        one = identifier_of([X, *[Y] * 30], [1, 30, 0])
        similarity = CALIBRATION.threshold(10)
        face = [similarity, 0, math.sqrt(1 - similarity**2)]
        assert [label.entity_id for label in one.identify(probes(face), rows(0, 2))] == ["Q0"]
        assert one.identify(probes(face), rows(0, 1)) == []

    def test_a_probe_of_any_length(self, identifier):
        for scale in (1e-30, 0.5, 1e30):
            [label] = identifier.identify(probes(np.array(X) * scale), rows(0))
            assert label.similarity == pytest.approx(1)

    def test_what_never_existed_is_refused(self, identifier):
        with pytest.raises(UsageError, match="no row 4"):
            identifier.identify(probes(X), rows(0, 4))
        with pytest.raises(UsageError, match="of the gallery's 3 numbers"):
            identifier.identify(np.zeros((1, 4), np.float32), rows(0))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_a_probe_that_is_not_finite_is_named(self, identifier, bad):
        with pytest.raises(ScoreError, match="face or object 1 is not finite"):
            identifier.identify(probes(X, [bad, 0, 0]), rows(0))

    def test_a_picture_of_somebody_else_finds_the_one_it_shows(self):
        """A wrong portrait cannot be told from a right one: it is of whom it is said to be."""
        wrong = identifier_of([X, Y, Y], [1, 2])  # Q1's first picture is right, her second a copy
        assert [label.entity_id for label in wrong.identify(probes(Y), rows(0, 1))] == ["Q1"]
        shared = identifier_of([X, Y, Y], [2, 1])  # Q0's second picture is Q1's face: equal, and the first row's
        assert [label.entity_id for label in shared.identify(probes(Y), rows(1, 0))] == ["Q0"]

    @settings(deadline=None, max_examples=150)
    @given(st.data())
    def test_whatever_is_asked(self, data):
        """Only candidates, one face one person, one entity once, above the threshold, in any order of candidates."""
        rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
        counts = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
        vectors = rng.normal(size=(sum(counts), 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        identifier = identifier_of(vectors, counts)
        asked = data.draw(st.lists(st.integers(-1, len(counts) - 1), max_size=10))
        faces = rng.normal(size=(data.draw(st.integers(0, 5)), 3)).astype(np.float32)
        found = identifier.identify(faces, rows(*asked))
        assert {label.entity_id for label in found} <= {f"Q{i}" for i in asked if i >= 0 and counts[i]}
        assert len({label.entity_id for label in found}) == len({label.probe for label in found}) == len(found)
        size = sum(counts[i] for i in set(asked) if i >= 0)
        assert all((label.similarity or 0) >= CALIBRATION.threshold(size) for label in found)
        assert [label.score for label in found] == sorted((label.score for label in found), reverse=True)
        again = identifier.identify(faces, rows(*data.draw(st.permutations([*asked, *asked, -1]))))
        assert again == found


class TestFingerprints:
    """A run keeps to the model, and not to what happens to be in the knowledge base."""

    def many(self, tmp_path, num_people):
        rng = np.random.default_rng(0)
        names: dict[str, list[str]] = {}
        for i in range(num_people):
            names[f"Q{i}"] = [f"{i}.png"]
            r, g, b = rng.integers(1, 255, 3).tolist()
            save_picture(tmp_path / "pics" / f"{i}.png", (r, g, b))
        return make_kb(tmp_path / "kb", tmp_path / "pics", names)

    def test_a_measured_calibration_is_of_the_content(self, tmp_path):
        found: list[GalleryIdentifier] = []
        with self.many(tmp_path, 70) as kb:
            gallery = Gallery.open(kb, ColourEmbedder())
            found.append(GalleryIdentifier(gallery, find_calibration(gallery), kb.ids, kb.names))
            save_picture(tmp_path / "pics" / "new.png", (9, 200, 1))
            with changing(kb.path) as change:
                change.update(Entity("Q9", "name of Q9", pictures=(Picture("9.png"), Picture("new.png"))))
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            gallery = Gallery.open(kb, ColourEmbedder())
            found.append(GalleryIdentifier(gallery, find_calibration(gallery), kb.ids, kb.names))
        before, after = found
        assert before.calibration != after.calibration
        assert before.fingerprint == after.fingerprint
        assert before.gallery_fingerprint != after.gallery_fingerprint

    def test_what_changes_them(self):
        gallery = gallery_of(np.stack([X, Y]), [1, 1])
        shipped = next(iter(SHIPPED))

        def prints(calibration=CALIBRATION, **changes):
            made = GalleryIdentifier(replace(gallery, **changes), calibration, ["Q0", "Q1"], ["", ""])
            return made.fingerprint, made.gallery_fingerprint

        first = prints()
        other = prints(replace(CALIBRATION, slope=21.0))
        assert (other[0] == first[0], other[1] == first[1]) == (True, False)
        assert prints(encoder_fingerprint="another")[0] != first[0]
        assert prints(fingerprint="another content")[0] == first[0]
        assert prints(fingerprint="another content")[1] != first[1]
        known = prints(SHIPPED[shipped], encoder_fingerprint=shipped)
        assert known[1] == gallery.fingerprint  # a shipped calibration is the model's, not the content's

    def test_a_new_shipped_calibration_is_another_model(self, monkeypatch):
        gallery = replace(gallery_of(np.stack([X, Y]), [1, 1]), encoder_fingerprint=next(iter(SHIPPED)))
        calibration = find_calibration(gallery)
        before = GalleryIdentifier(gallery, calibration, ["", ""], ["", ""]).fingerprint
        monkeypatch.setitem(SHIPPED, gallery.encoder_fingerprint, replace(calibration, intercept=-9.0))
        after = GalleryIdentifier(gallery, find_calibration(gallery), ["", ""], ["", ""]).fingerprint
        assert after != before
