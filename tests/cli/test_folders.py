"""Three commands on each folder that a person of the field has: build, train, evaluate; and the candidates in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.folders import PEOPLE, write_dwe, write_ghmfc, write_mimic, write_wikidiverse

from dualway.datasets.candidate_files import read_candidate_file

from .calls import LINKS, call, read_lines, write_lines


class Case(NamedTuple):
    """A folder: how it is made, where its entities lie (relative to the data), its entity form, mentions, pictures."""

    write: Callable[[Path], Path]
    entities: str
    form: str
    train: int
    dev: int


CASES = {
    "dwe": Case(write_dwe, ".", "ghmfc", 12, 4),
    "mimic": Case(write_mimic, ".", "mimic", 12, 4),
    "ghmfc": Case(write_ghmfc, ".", "ghmfc", 8, 2),
    "wikidiverse-sentences": Case(lambda r: write_wikidiverse(r, "sentences"), ".", "wikidiverse", 12, 4),
    "wikidiverse-candidates": Case(lambda r: write_wikidiverse(r, "candidates"), "..", "wikidiverse", 12, 4),
    "wikidiverse-dwe": Case(lambda r: write_wikidiverse(r, "dwe"), ".", "wikidiverse", 12, 4),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path, tiny_clip: Path) -> dict[str, Any]:
    """Each folder, its knowledge base and its run, made by the command line."""
    found: dict[str, Any] = {}
    small = ["--set", f"encoders.text={tiny_text}", "--set", f"encoders.image={tiny_clip}"]
    small += ["--set", "model.dim=16", "--set", "train.epochs=1"]
    for name, case in CASES.items():
        root = tmp_path_factory.mktemp(name)
        data = case.write(root / "data")
        built = call("kb", "build", data / case.entities, "--out", root / "kb", "--json")
        trained = call("train", "--data", data, "--kb", root / "kb", "--out", root / "run", *small)
        found[name] = (data, root, built, trained)
    return found


@pytest.mark.parametrize("name", CASES)
def test_three_commands(made, name, tmp_path):
    case, (data, root, built, trained) = CASES[name], made[name]
    assert built.code == 0, built.err
    assert (built.json["form"], built.json["entities"]) == (case.form, len(PEOPLE))
    assert trained.code == 0, trained.err
    assert "pictures could not be used" not in trained.err
    assert f"{case.train} mentions" in trained.out
    done = call("evaluate", "--run", root / "run", "--data", data, "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out.json").read_text())
    table = report["protocols"]["top100"]
    assert table["mentions"] == case.dev
    assert table["gold_outside_kb"] == table["misses"] == 0
    assert [row["system"] for row in table["systems"]] == ["lexical", "prior", "from_kb", "paper"]
    assert (report["candidates"], report["retriever"]) == (None, "names")


@pytest.mark.parametrize("name", CASES)
def test_data_check_finds_everything(made, name):
    data = made[name][0]
    found = call("data", "check", data, "--json", "--quiet").json
    assert list(found["splits"]) == ["train", "dev", "test"]
    for part in found["splits"].values():
        assert part["pictures"]["present"] == part["pictures"]["named"] > 0
        assert part["dropped"] == part["repaired"] == {}
    shown = call("data", "check", data, "--quiet").out
    if name == "wikidiverse-dwe":
        assert "candidate file search_top100.json: 12 lists, keyed by GOLD entity: --candidates refuses it" in shown
        assert "mentions with candidates of their own" in shown
    if name == "dwe":
        assert "keyed by surface" in shown
        assert "dev: has 4 of 4 mentions, 12.0 candidates each; gold among them 4 of 4" in shown


class TestCandidates:
    def test_a_file_by_surface_replaces_retrieval_everywhere(self, made, small, tmp_path):
        data, root, *_ = made["dwe"]
        listed = json.loads((data / "search_top100.json").read_text())
        file = tmp_path / "five.json"
        file.write_text(json.dumps({surface: ids[:5] for surface, ids in listed.items()}))
        digest = read_candidate_file(file).sha256
        line = f"candidates from {file} (sha256 {digest}), not retrieved: by the mention's words"
        trained = call(
            "train", "--data", data, "--kb", root / "kb", "--out", tmp_path / "run", "--candidates", file, *small
        )
        assert trained.code == 0, trained.err
        assert line in trained.err.splitlines()
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        assert record["candidates"] == {"path": str(file), "sha256": digest, "form": "surfaces", "by_gold": False}
        command = ["evaluate", "--run", tmp_path / "run", "--data", data, "--json", tmp_path / "out.json"]
        done = call(*command, "--candidates", file)
        assert done.code == 0, done.err
        assert done.out.splitlines()[0] == line
        report = json.loads((tmp_path / "out.json").read_text())
        assert report["candidates"]["sha256"] == digest
        assert report["retriever"] is None
        assert report["protocols"]["top100"]["mean_candidates"] == 5
        retrieved = call(*command)
        assert f"was trained on the candidates of {file}; they are now retrieved" in retrieved.err
        assert json.loads((tmp_path / "out.json").read_text())["protocols"]["top100"]["mean_candidates"] != 5

    def test_links_come_from_the_file_alone(self, made, mentions, tmp_path):
        _, root, *_ = made["dwe"]
        write_lines(
            mentions, [{"id": "a", "text": "Vasque sat", "surface": "Vasque"}, {"text": "Kao", "surface": "Kao"}]
        )
        file = tmp_path / "x.json"
        file.write_text(json.dumps({"Vasque": ["Q1014", "Q9"]}))
        command = ["link", "--run", root / "run", "--in", mentions, "--out", tmp_path / "links.jsonl"]
        done = call(*command, "--candidates", file)
        assert done.code == 0, done.err
        links = read_lines(tmp_path / "links.jsonl")
        assert [[c["entity_id"] for c in link["candidates"]] for link in links] == [["Q1014"], []]
        assert "1 dropped: candidate that the knowledge base does not have (first: a)" in done.err
        assert "1 noted: mention that the candidate file does not have (first: line-2)" in done.err
        one = call(
            "link", "--kb", root / "kb", "--text", "Vasque sat", "--mention", "Vasque", "--candidates", file, "--json"
        )
        assert [c["entity_id"] for c in one.json["links"][0]["candidates"]] == ["Q1014"]

    def test_a_job_that_was_killed_does_not_go_on_with_other_candidates(self, made, mentions, tmp_path):
        from dualway.linker import Linker
        from dualway.linking.batch import link_file

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        root, target = made["dwe"][1], tmp_path / "links.jsonl"
        resumed: list[int] = []
        for first, second in ((["Q1014"], ["Q1014"]), (["Q1014"], ["Q1003"])):
            for ids, progress in ((first, killed), (second, None)):
                (tmp_path / "x.json").write_text(json.dumps({"Foster": ids}))
                given = read_candidate_file(tmp_path / "x.json")
                linker = Linker.from_kb(root / "kb", text_encoder=None, candidates=given)
                with contextlib.suppress(KeyboardInterrupt):
                    done = link_file(linker, mentions, target, note=lambda _: None, progress=progress)
                    resumed.append(done["resumed"])
                linker.kb.close()
        assert resumed == [len(LINKS), 0]

    def test_wikidiverses_ten_are_completed_and_it_is_said_how(self, made, small, tmp_path):
        data, root, *_ = made["wikidiverse-candidates"]
        done = call(
            "evaluate", "--run", root / "run", "--data", data, "--candidates", data, "--json", tmp_path / "o.json"
        )
        assert done.code == 0, done.err
        assert "each mention's own, completed by random entities of its type" in done.out.splitlines()[0]
        assert "4 noted: fewer candidates than asked for" in done.err  # 12 entities in all, and none with a type
        assert json.loads((tmp_path / "o.json").read_text())["candidates"]["form"] == "wikidiverse-candidates"
        data, root, *_ = made["wikidiverse-dwe"]
        options = ["--candidates", data / "train.json", *small]
        done = call("train", "--data", data, "--kb", root / "kb", "--out", tmp_path / "run", *options)
        assert done.code == 0, done.err
        # The knowledge base has types; only mentions of dev are not in the file.
        assert "4 noted: mention that the candidate file does not have (first: record-0)" in done.err

    def test_a_file_keyed_by_gold_is_refused_unless_asked_for(self, made, refused, small, tmp_path):
        data, root, *_ = made["wikidiverse-dwe"]
        file = data / "search_top100.json"
        command = ["--data", data, "--kb", root / "kb", "--candidates", file]
        refused(
            3, "evaluate", *command, says=["search_top100.json: keyed by the gold entities", "--candidates-by-gold"]
        )
        refused(3, "train", *command, "--out", tmp_path / "run", *small, says=["keyed by the gold entities"])
        done = call("evaluate", *command, "--candidates-by-gold", "--json", tmp_path / "out.json")
        assert done.code == 0, done.err
        assert "KEYED BY GOLD, not comparable with anything" in done.out.splitlines()[0]
        assert json.loads((tmp_path / "out.json").read_text())["candidates"]["by_gold"] is True
        done = call("train", *command, "--candidates-by-gold", "--out", tmp_path / "run", *small)
        assert done.code == 0, done.err
        assert "KEYED BY GOLD" in done.err

    def test_labelled_mentions_are_not_linked_by_a_file_keyed_by_gold(self, made, tmp_path):
        data, root, *_ = made["wikidiverse-dwe"]
        done = call(
            "link", "--kb", root / "kb", "--in", data / "dev.json", "--out", tmp_path / "links.jsonl",
            "--candidates", data / "search_top100.json",
        )  # fmt: skip
        assert done.code == 3
        assert "keyed by the gold entities" in done.err
        assert not (tmp_path / "links.jsonl").exists()

    @pytest.mark.parametrize(
        ("options", "code", "says"),
        [
            (["--candidates", "nowhere.json"], 3, ["nowhere.json", "no such file"]),
            (["--candidates", "broken.json"], 3, ["broken.json, line 1", "broken JSON"]),
            (["--candidates", "x.pkl"], 3, ["x.pkl", "a Python pickle", "python -c"]),
            (["--candidates-by-gold"], 2, ["--candidates-by-gold goes with --candidates"]),
            (["--candidates", "good.json", "--retriever", "fuzzy"], 2, ["--retriever and --candidates"]),
        ],
    )
    def test_what_is_refused(self, made, refused, elsewhere, options, code, says):
        import pickle

        (elsewhere / "broken.json").write_text("{")
        (elsewhere / "good.json").write_text('{"Foster": ["Q1"]}')
        (elsewhere / "x.pkl").write_bytes(pickle.dumps({"Foster": ["Q1"]}))
        data, root, *_ = made["dwe"]
        refused(code, "evaluate", "--kb", root / "kb", "--data", data, *options, says=says)
