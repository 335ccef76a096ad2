"""`dualway kb pictures`, as it is called."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity
from dualway.vision.gallery import Gallery, WholePictureEmbedder

from .calls import call


@pytest.fixture
def kb(tmp_path) -> Path:
    KnowledgeBase.create(tmp_path / "kb", [Entity("Q1", "Ada"), Entity("Q2", "Ben"), Entity("Q3", "Cem")]).close()
    return tmp_path / "kb"


@pytest.fixture
def pics(tmp_path) -> Path:
    (tmp_path / "pics").mkdir()
    for number, name in enumerate("abc"):
        Image.new("RGB", (8, 6), (number * 90, 20, 200)).save(tmp_path / "pics" / f"{name}.png")
    return tmp_path / "pics"


@pytest.fixture
def good(pics) -> Path:
    path = pics.parent / "map.tsv"
    path.write_text("id\tpicture\tsource\tlicence\nQ1\ta.png\there\tCC0\nQ1\tb.png\nQ2\tb.png\tthere\n")
    return path


@pytest.fixture
def mixed(pics) -> Path:
    path = pics.parent / "mixed.tsv"
    lines = ["Q1\ta.png", "Q1\t../map.tsv", "Q9\ta.png", "Q1\tnone.png", "Q1\ta.png", "Q2\tb.png"]
    path.write_text("\n".join(lines + [f"Q1\tnone-{n}.png" for n in range(30)]))
    return path


def test_pictures_are_put_in(kb, pics, good):
    done = call("kb", "pictures", kb, "--map", good, "--root", pics)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "revision      2",
        "pictures      3 added, 0 updated, 0 as they were, of 2 entities",
        "gallery       3 pictures of 2 entities, 2 without a licence",
        "kept out      0 entities (0 of them erased) with 0 pictures",
    ]
    again = call("kb", "pictures", kb, "--map", good, "--root", pics, "--json")
    assert again.json == {
        "path": str(kb),
        "revision": 2,
        "gallery": {
            "entities": 2,
            "pictures": 3,
            "without_licence": 2,
            "kept_out": 0,
            "kept_out_pictures": 0,
            "erased": 0,
        },
        "changed": False,
        "added": 0,
        "updated": 0,
        "unchanged": 3,
        "removed": 0,
        "entities": 2,
        "kept_out": [],
        "admitted": [],
        "erased": {},
        "shared": [],
        "erased_vectors": 0,
        "dropped": 0,
        "dropped_by_kind": {},
        "problems": [],
    }
    one = pics.parent / "one.csv"
    one.write_text("Q1,pics/c.png\n")
    done = call("kb", "pictures", kb, "--map", one, "--replace")
    assert "1 added, 0 updated, 0 as they were, 2 removed, of 1 entities" in done.out


def test_what_is_wrong_stops_it_and_is_told(kb, pics, mixed):
    done = call("kb", "pictures", kb, "--map", mixed, "--root", pics)
    assert (done.code, done.out) == (3, "")
    lines = done.err.splitlines()
    assert lines[0] == f"{mixed}, line 2: '../map.tsv' is absolute or has '..'; write paths from --root on"
    assert lines[1] == f"{mixed}, line 3: no entity has the id 'Q9'"
    assert lines[3] == f"{mixed}, line 5: 'a.png' was given to 'Q1' in line 1"
    assert len(lines) == 20 + 3
    assert "14 more" in lines[20]
    assert "34 of 36 lines cannot be taken (31 picture, 1 path, 1 unknown entity, 1 given twice)" in lines[21]
    assert lines[22].startswith(f"dualway: {mixed}, line 2: ")
    assert "nothing was changed, put them right, or leave them out with --on-error drop" in lines[22]
    quiet = call("kb", "pictures", kb, "--map", mixed, "--root", pics, "--quiet", "--json")
    assert (quiet.code, quiet.out, quiet.err.splitlines()) == (3, "", lines[22:])
    with KnowledgeBase.open(kb) as opened:
        assert opened.revision == 1


def test_what_is_wrong_can_be_left_out(kb, pics, mixed):
    done = call("kb", "pictures", kb, "--map", mixed, "--root", pics, "--on-error", "drop", "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert (done.json["added"], done.json["dropped"], len(done.json["problems"])) == (2, 34, 34)
    assert done.json["problems"][1] == {"line": 3, "kind": "unknown entity", "problem": "no entity has the id 'Q9'"}
    assert done.json["dropped_by_kind"]["picture"] == 31
    assert (
        f"dropped       34 lines of {mixed}"
        in call(
            "kb", "pictures", kb, "--map", mixed, "--root", pics, "--on-error", "drop", "--keep-out", "Q3"
        ).out.splitlines()
    )
    bad = pics / "bad.tsv"
    bad.write_text("Q9\ta.png\n")
    done = call("kb", "pictures", kb, "--map", bad, "--on-error", "drop", "--keep-out", "Q1")
    assert done.code == 3
    assert "nothing was changed, put them right" in done.err
    with KnowledgeBase.open(kb) as opened:
        assert opened.kept_out == {"Q3"}


def test_keeping_out_and_showing(kb, pics, good):
    call("kb", "pictures", kb, "--map", good, "--root", pics)
    done = call("kb", "pictures", kb, "--keep-out", "Q1", "--keep-out", "Q3")
    assert done.out.splitlines() == [
        "revision      3",
        "now kept out  Q1",
        "now kept out  Q3",
        "gallery       1 pictures of 1 entities, 1 without a licence",
        "kept out      2 entities (0 of them erased) with 2 pictures",
    ]
    shown = call("kb", "show", kb, "Q1")
    assert shown.out.splitlines() == [
        "Q1  Ada",
        "  picture (here, CC0): a.png",
        "  picture (no licence stated): b.png",
        "  kept out: its pictures are compared with nothing",
    ]
    assert "kept out" not in call("kb", "show", kb, "Q2").out
    (record,) = call("kb", "show", kb, "Q1", "--json").json["entities"]
    assert record["kept_out"] is True
    assert record["pictures"][0] == {"path": "a.png", "source": "here", "licence": "CC0"}
    summary = call("kb", "show", kb)
    assert "gallery       1 pictures of 1 entities, 1 without a licence" in summary.out
    assert ": 2 entities kept out\n" in summary.out
    assert call("kb", "show", kb, "--json").json["gallery"]["kept_out"] == 2
    assert call("kb", "pictures", kb).out.splitlines() == done.out.splitlines()[3:]
    assert call("kb", "pictures", kb, "--admit", "Q1").out.splitlines()[1] == "admitted      Q1"


def test_erasing_and_taking_none_from_then_on(kb, pics, good):
    call("kb", "pictures", kb, "--map", good, "--root", pics)
    done = call("kb", "pictures", kb, "--erase", "Q1")
    assert done.out.splitlines()[:3] == [
        "revision      3",
        "erased        Q1: 2 pictures",
        "vectors       0 erased from galleries",
    ]
    assert "shared        1 of the erased pictures" in done.out
    assert (pics / "a.png").is_file()
    assert not [path for path in kb.iterdir() if b"a.png" in path.read_bytes()]
    refused = call("kb", "pictures", kb, "--map", good, "--root", pics)
    assert refused.code == 3
    assert "line 2: the pictures of 'Q1' were erased and none are taken" in refused.err
    assert call("kb", "pictures", kb, "--map", good, "--root", pics, "--erase", "Q2", "--admit", "Q1").code == 3
    done = call("kb", "pictures", kb, "--map", good, "--root", pics, "--admit", "Q1", "--json")
    assert (done.json["admitted"], done.json["added"], done.json["unchanged"]) == (["Q1"], 2, 1)
    again = call("kb", "pictures", kb, "--erase", "Q1", "--json").json
    assert again["erased"] == {"Q1": ["a.png", "b.png"]}


class Shades:
    """Encodes a picture as a vector that can be told in a file."""

    dim, fingerprint = 4, "0123456789abcdef"

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        values = np.array([[*image.convert("RGB").getpixel((0, 0)), 1] for image in images], dtype=np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_erasing_reaches_the_vectors(kb, pics):
    (pics / "map.tsv").write_text("Q1\ta.png\nQ2\tb.png\nQ3\tc.png\n")
    call("kb", "pictures", kb, "--map", pics / "map.tsv")
    embedder = WholePictureEmbedder(Shades())
    with KnowledgeBase.open(kb) as opened:
        assert Gallery.open(opened, embedder).size == 3
    vectors = [embedder.embed(Image.open(pics / f"{name}.png")).tobytes() for name in "ab"]
    assert files_with(kb / "gallery", *vectors) == [True, True]
    done = call("kb", "pictures", kb, "--erase", "Q1", "--json").json
    assert (done["erased"], done["erased_vectors"]) == ({"Q1": ["a.png"]}, 1)
    assert files_with(kb, *vectors, b"a.png", b"b.png") == [False, True, False, True]
    with KnowledgeBase.open(kb) as opened:
        assert Gallery.open(opened, embedder).size == 2
    assert files_with(kb, *vectors, b"a.png") == [False, True, False]


def files_with(folder: Path, *bytestrings: bytes) -> list[bool]:
    """Tell for each string of bytes whether a file in the folder, or below it, holds it."""
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return [any(wanted in content for content in contents) for wanted in bytestrings]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--root", "pics"], 2, "give it with --map"),
        (["--replace"], 2, "give it with --map"),
        (["--on-error", "drop"], 2, "give it with --map"),
        (["--map", "map.tsv", "--on-error", "keep"], 2, "choose stop or drop"),
        (["--admit", "Q1", "--erase", "Q1"], 2, "'Q1' is to be admitted and kept out"),
        (["--keep-out", "Q8", "--erase", "Q9"], 4, "no entity has the id 'Q8', 'Q9'; nothing was changed"),
        (["--map", "nowhere.tsv"], 3, "no such file"),
        (["--map", "map.tsv", "--root", "nowhere"], 3, "no such folder"),
    ],
)
def test_wrong_calls(kb, good, monkeypatch, arguments, code, said):
    monkeypatch.chdir(good.parent)
    done = call("kb", "pictures", kb, *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert sorted(path.name for path in kb.iterdir()) == ["kb.sqlite", "manifest.json"]


def test_columns_that_are_not_read_are_told(kb, pics):
    (pics / "map.csv").write_text("photo by,entity,path\nme,Q1,a.png\n")
    done = call("kb", "pictures", kb, "--map", pics / "map.csv")
    assert done.code == 0
    assert done.err == f"{pics / 'map.csv'}: the column 'photo by' is not read\n"


def test_a_map_in_json_lines_is_told_what_is_wrong(kb, pics):
    (pics / "map.jsonl").write_text(json.dumps({"id": "Q1", "picture": "a.png"}) + "\n")
    done = call("kb", "pictures", kb, "--map", pics / "map.jsonl")
    assert done.code == 3
    assert "alone, expected an id and a picture; lines are split at tabs" in done.err
