"""What a cosine means: thresholds and probabilities beside simulations, and the shipped numbers measured again."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from experiments import identity as experiment
from hypothesis import given
from hypothesis import strategies as st
from tests.galleries import gallery_of

from dualway.errors import KnowledgeBaseError, ModelError, UsageError
from dualway.vision.calibration import (
    MAX_FPIR,
    MIN_GENUINE,
    MIN_IMPOSTORS,
    SHIPPED,
    Calibration,
    Pairs,
    Tail,
    compare_pictures,
    find_calibration,
    fit_gallery,
)

[MOBILEFACENET] = SHIPPED
SCALE = 0.035
SIZES = st.integers(1, 10**9)
COSINES = st.floats(-1, 1)


def strangers(rng, shape):
    """Cosines of strangers with an exponential tail, of the shipped model's kind."""
    return np.minimum(0.05 + rng.exponential(SCALE, shape), 1.0)


def same(rng, shape):
    return np.clip(rng.normal(0.62, 0.13, shape), -1, 1)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    return Calibration.fit(Pairs.of(same(rng, 4000)), {"all": Pairs.of(strangers(rng, 200_000))})


FALLBACK = Calibration((Tail("all", (0.01, 0.005), (0.3, 0.33), 0.04),))


class TestThreshold:
    @given(SIZES, SIZES)
    def test_it_rises_with_the_gallery(self, one, other):
        few, many = sorted((one, other))
        for calibration in (*SHIPPED.values(), FALLBACK):
            assert calibration.threshold(few) <= calibration.threshold(many)

    @given(st.integers(2, 10**6))
    def test_it_is_where_the_formula_says(self, size):
        """FPIR = 1 - (1 - FMR)^n is 1 % there, by the tail's own FMR."""
        [tail] = FALLBACK.tails
        threshold = FALLBACK.threshold(size)
        if size == 2:  # between the measured cosines
            assert tail.cosines[0] < threshold < tail.cosines[1]
            return
        rate = tail.rates[-1] * math.exp((tail.cosines[-1] - threshold) / tail.scale)
        assert 1 - (1 - rate) ** size == pytest.approx(MAX_FPIR, rel=1e-6)

    @pytest.mark.parametrize("size", [1, 3, 10, 100])
    def test_a_simulated_gallery_is_passed_by_one_stranger_in_a_hundred(self, fitted, size):
        best = strangers(np.random.default_rng(1), (60_000, size)).max(axis=1)
        assert np.mean(best >= fitted.threshold(size)) == pytest.approx(MAX_FPIR, rel=0.2)

    def test_a_tail_that_falls_faster_errs_on_the_side_of_nobody(self):
        rng = np.random.default_rng(2)
        calibration = Calibration.fit(Pairs.of([]), {"all": Pairs.of(rng.normal(0, 0.1, 100_000))})
        shares = [
            np.mean(rng.normal(0, 0.1, (10_000, size)).max(axis=1) >= calibration.threshold(size))
            for size in (10, 100, 1000)
        ]
        assert shares[0] == pytest.approx(MAX_FPIR, rel=0.3)
        assert shares[2] < shares[1] < 0.8 * MAX_FPIR

    def test_the_worse_group_decides(self):
        rng = np.random.default_rng(3)
        men, women = Pairs.of(strangers(rng, 20_000)), Pairs.of(strangers(rng, 20_000) + 0.03)
        for groups in ({"men": men, "women": women}, {"women": women, "men": men}):
            both = Calibration.fit(Pairs.of([]), groups)
            assert both.threshold(10) == Calibration.fit(Pairs.of([]), {"women": women}).threshold(10)
            assert both.threshold(10) > Calibration.fit(Pairs.of([]), {"men": men}).threshold(10) + 0.02

    def test_a_size_that_is_none_is_refused(self):
        for size in (0, -1):
            with pytest.raises(UsageError, match="nobody to find"):
                FALLBACK.threshold(size)
            with pytest.raises(UsageError, match="nobody to find"):
                FALLBACK.probability(0.5, size)


class TestProbability:
    @given(COSINES, COSINES, SIZES, SIZES)
    def test_it_rises_with_the_cosine_and_falls_with_the_gallery(self, one, other, size, more):
        low, high = sorted((one, other))
        few, many = sorted((size, more))
        for calibration in (*SHIPPED.values(), FALLBACK):
            assert 0 <= calibration.probability(low, few) <= calibration.probability(high, few) <= 1
            assert calibration.probability(low, many) <= calibration.probability(low, few)

    @pytest.mark.parametrize("size", [1, 10, 100])
    def test_it_is_calibrated_where_half_of_the_people_are_there(self, fitted, size):
        rng = np.random.default_rng(4)
        others, own = strangers(rng, (20_000, size)), same(rng, 20_000)
        there = rng.random(20_000) < 0.5
        rivals = np.where(there & (size == 1), -1, others[:, there.size and 1 :].max(axis=1, initial=-1))
        best = np.where(there, np.maximum(own, rivals), others.max(axis=1))
        right = there & (own >= rivals)
        told = np.array([fitted.probability(float(cosine), size) for cosine in best])
        assert experiment.expected_error(told, right.astype(float)) < 0.03
        assert told[right].mean() > 0.9
        assert told[~there].mean() < 0.05

    def test_without_genuine_pairs_it_is_a_half_at_the_threshold(self):
        rng = np.random.default_rng(5)
        few = Pairs.of(same(rng, MIN_GENUINE - 1))
        calibration = Calibration.fit(few, {"all": Pairs.of(strangers(rng, 5000))})
        assert (calibration.slope, calibration.intercept) == (None, None)
        for size in (1, 10, 1000):
            threshold = calibration.threshold(size)
            assert calibration.probability(threshold, size) == pytest.approx(0.5)
            assert calibration.probability(threshold + 0.1, size) > 0.9

    def test_pairs_that_are_told_apart_without_an_error(self):
        """A step, not an overflow."""
        apart = Calibration.fit(Pairs.of(np.full(50, 0.9)), {"all": Pairs.of(np.full(3000, 0.1))})
        assert apart.probability(0.9, 10) > 0.98
        assert apart.probability(0.1, 10) < 0.02
        assert math.isfinite(apart.threshold(10**6))


class TestFit:
    def test_too_few_strangers(self):
        few = Pairs.of(np.linspace(0, 0.5, MIN_IMPOSTORS - 1))
        with pytest.raises(ModelError, match=r"1,999 pairs of strangers \(women\) are too few.* 64 entities"):
            Calibration.fit(Pairs.of([]), {"women": few})
        with pytest.raises(ModelError, match="no pairs of strangers"):
            Calibration.fit(Pairs.of([]), {})

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_cosines_that_are_none(self, bad):
        good = np.linspace(0, 0.5, MIN_IMPOSTORS)
        with pytest.raises(ModelError, match=r"strangers \(all\) have cosines that are not finite"):
            Calibration.fit(Pairs.of([]), {"all": Pairs.of([*good, bad])})
        with pytest.raises(ModelError, match="one entity have cosines that are not finite"):
            Calibration.fit(Pairs.of([*good, bad]), {"all": Pairs.of(good)})

    def test_pairs_of_pictures_beside_a_plain_loop(self):
        rng = np.random.default_rng(6)
        vectors = rng.normal(size=(9, 4)).astype(np.float32)
        owners = np.array([5, 5, 5, 7, 9, 9, 2, 2, 7])
        genuine, impostor = compare_pictures(vectors, owners)
        pairs = [(i, j) for i in range(9) for j in range(i + 1, 9)]
        for found, expected in (
            (genuine, [p for p in pairs if owners[p[0]] == owners[p[1]]]),
            (impostor, [p for p in pairs if owners[p[0]] != owners[p[1]]]),
        ):
            assert found.cosines == pytest.approx([float(vectors[i] @ vectors[j]) for i, j in expected], abs=1e-6)
        assert genuine.total == pytest.approx(4)  # entities with two pictures or more
        assert impostor.total == pytest.approx(6)  # pairs of entities
        first = impostor.weights[0]  # one of three pictures beside one of two
        assert first == pytest.approx(1 / 6)

    def test_nobody_counts_more_for_having_many_pictures(self):
        """Somebody with a hundred copies changes nothing."""
        rng = np.random.default_rng(7)
        vectors = rng.normal(size=(80, 16)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        once = Calibration.fit(Pairs.of([]), {"all": compare_pictures(vectors, np.arange(80))[1]})
        copies = np.concatenate([vectors, np.repeat(vectors[:1], 99, axis=0)])
        owners = np.concatenate([np.arange(80), np.zeros(99, dtype=np.int64)])
        often = Calibration.fit(Pairs.of([]), {"all": compare_pictures(copies, owners)[1]})
        assert often.threshold(10) == pytest.approx(once.threshold(10), abs=0.01)  # a rank, by rounding
        all_the_same = Calibration.fit(Pairs.of([]), {"all": Pairs.of(compare_pictures(copies, owners)[1].cosines)})
        assert abs(all_the_same.threshold(10) - once.threshold(10)) > 0.02


def people(num_people, num_pictures=2, dim=64, seed=0):
    """Vectors of people who are told apart, and how many each has."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(rng.normal(size=(num_people, dim)), num_pictures, axis=0)
    vectors += 0.6 * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [num_pictures] * num_people


class TestOfAGallery:
    def test_the_shipped_one_goes_first(self):
        gallery = replace(gallery_of(*people(2)), encoder_fingerprint=MOBILEFACENET)
        assert find_calibration(gallery) is SHIPPED[MOBILEFACENET]

    def test_another_is_measured_on_the_gallery_itself(self):
        calibration = find_calibration(gallery_of(*people(100)))
        assert calibration.source == "100 entities of the gallery itself"
        assert calibration.slope is not None
        vectors, owners = (part[::2] for part in (people(300, seed=9)[0], np.arange(600) // 2))
        cosines = np.array(compare_pictures(vectors, owners)[1].cosines)
        assert np.mean(cosines >= calibration.threshold(1)) == pytest.approx(0.01, abs=0.005)

    def test_one_that_is_too_small_is_refused(self):
        with pytest.raises(ModelError, match="takes 64 entities with a picture of their own; this gallery has 63"):
            fit_gallery(gallery_of(*people(63)))
        assert fit_gallery(gallery_of(*people(64))).tails

    def test_pictures_that_several_share_are_left_out(self):
        gallery = gallery_of(*people(66))
        own = np.ones(gallery.num_pictures, dtype=np.bool_)
        own[:6] = False
        with pytest.raises(ModelError, match="has 63; 6 pictures that several entities share are left out"):
            fit_gallery(replace(gallery, _own=own, num_shared=6))

    def test_an_empty_one_is_refused(self):
        empty = gallery_of(np.zeros((0, 3), np.float32), [])
        with pytest.raises(KnowledgeBaseError, match="no pictures of entities to compare with; give it some"):
            find_calibration(empty)
        with pytest.raises(KnowledgeBaseError, match=r"compare with \(2 could not be used\)"):
            find_calibration(replace(empty, failures={"a": "x", "b": "y"}))


def test_the_optimiser_is_imported_only_to_fit():
    code = "import sys, dualway.run, dualway.vision.identity; print('scipy.optimize' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.fixture(scope="module")
def photos():
    vectors, counts = people(120, 3, dim=32)
    person = np.repeat(np.arange(120), counts)
    names = tuple(f"name_{i % 60}" for i in range(120))
    sexes = tuple("male" if i < 60 else "female" for i in range(120))
    known = tuple(i % 2 == 0 for i in range(120))
    return experiment.Photos(vectors, person, np.tile([1, 2, 3], 120), names, sexes, known)


class TestTheExperiment:
    """Its figures on vectors whose answers are known."""

    def test_closed_set(self, photos):
        found = experiment.closed_set(photos)
        assert {name: (part["probes"], part["people"], part["photos"]) for name, part in found.items()} == {
            "WikiMEL, one photo each": (60, 60, 60),
            "WikiMEL, all photos": (60, 60, 120),
            "all people, all photos": (60, 120, 240),
        }
        assert all(part["r@1"] > 0.95 for part in found.values())
        shuffled = replace(photos, vectors=np.roll(photos.vectors, 1, axis=0))  # photo 1 is somebody else's
        assert experiment.closed_set(shuffled)["all people, all photos"]["r@1"] < 0.1

    def test_open_set(self, photos):
        """Nobody passes a threshold that is out of reach; everybody one that is not; the right one is first."""

        def at(cosine):
            return Calibration((Tail("all", (0.5,), (cosine,), 0.0),), 1.0, 0.0)

        for cosine, false, found in ((2.0, 0, 0), (-1.0, 1, 0.9)):
            rows = experiment.open_set(photos, at(cosine), (1, 10, 100))
            assert [row["people"] for row in rows] == [1, 10, 100, 119, 119, 59]
            for row in rows:
                for group in ("all", "men", "women"):
                    assert row[group]["false"] == false
                    assert found <= row[group]["found"] <= (1 if found else 0)
            assert rows[0]["men"]["probes"] == rows[0]["women"]["probes"] == 60

    def test_expected_error(self):
        told = np.array([0.05, 0.05, 0.95, 0.95])
        assert experiment.expected_error(told, np.array([0, 0, 1, 1])) == pytest.approx(0.05)
        assert experiment.expected_error(told, np.array([1, 1, 0, 0])) == pytest.approx(0.95)
        assert experiment.expected_error(np.array([1.0]), np.array([1])) == 0


@pytest.fixture(scope="module")
def embedder(realdata):
    return experiment.load_embedder(realdata)


@pytest.fixture(scope="module")
def slice_of_lfw(realdata, embedder):
    """Photos 1 and 2 of a third of the people."""

    def wanted(name: str, number: int) -> bool:
        return number <= 2 and zlib.crc32(name.encode()) % 3 == 0

    return experiment.read_photos(realdata / "lfw", embedder, None, wanted=wanted)


@pytest.mark.realdata
class TestTheShippedNumbers:
    """On a slice of what experiments/identity.py measures, with room for chance."""

    def test_they_are_those_of_this_model(self, embedder):
        assert embedder.encoder_fingerprint == MOBILEFACENET

    def test_strangers_pass_as_seldom_as_they_say(self, slice_of_lfw):
        calibration = SHIPPED[MOBILEFACENET]
        for tail, sex in zip(calibration.tails, experiment.GROUPS.values(), strict=True):
            part = slice_of_lfw.of(slice_of_lfw.of_sex(sex))
            genuine, impostor = compare_pictures(part.vectors, part.person)
            for rate, cosine in zip(tail.rates, tail.cosines, strict=True):
                share = float(impostor.weights[impostor.cosines >= cosine].sum()) / impostor.total
                assert rate / 2 < share < rate * 2
            assert float(np.mean(genuine.cosines >= calibration.threshold(1))) > 0.95

    def test_open_and_closed_set(self, slice_of_lfw):
        assert experiment.closed_set(slice_of_lfw)["all people, all photos"]["r@1"] >= 0.965
        rows = experiment.open_set(slice_of_lfw, SHIPPED[MOBILEFACENET], (1, 10))
        for row in rows:
            assert row["all"]["false"] <= 0.015
            assert row["all"]["found"] >= 0.8
        assert next(row for row in rows if row["gallery"].startswith("the whole"))["all"]["false"] <= 0.01

    def test_a_fit_on_the_slice_is_near(self, slice_of_lfw):
        fitted, shipped = experiment.fit(slice_of_lfw), SHIPPED[MOBILEFACENET]
        for size in (1, 10):
            assert fitted.threshold(size) == pytest.approx(shipped.threshold(size), abs=0.04)
        assert fitted.slope == pytest.approx(shipped.slope, rel=0.3)

    def test_known_wrong_photos_and_mentions_are_not_in_it(self, realdata, embedder):
        with (realdata / "lfw" / "lfw_to_qid.tsv").open(encoding="utf-8", newline="") as file:
            names = {row["lfw_name"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
        wrong = {name[:-5] for name in experiment.KNOWN_WRONG}
        assert wrong <= names

        def wanted(name: str, number: int) -> bool:
            return f"{name}_{number:04d}" in experiment.KNOWN_WRONG

        assert len(experiment.read_photos(realdata / "lfw", embedder, None, wanted=wanted).vectors) == 0
