"""The contract of seeing, as a person types it: entity pictures, features, training, and pictures never seen."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from .calls import call, write_lines

PEOPLE = 12


@pytest.fixture(scope="module")
def models(realdata: Path) -> list[str]:
    """The options that choose the models."""
    models = realdata / "models"
    age_gender = models / "age_gender" / "age_gender.onnx"
    return [
        "--detector", models / "yolox_nano" / "yolox_nano.onnx",
        "--faces", models / "yunet" / "yunet_n_640_640.onnx", "--age", age_gender, "--gender", age_gender,
        "--identity", models / "mobilefacenet" / "mobilefacenet.onnx",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def lfw(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with entities.jsonl, gallery.tsv, train.jsonl and dev.jsonl of a dozen people; all share one surname.

    The mention says the surname alone, so that only the picture tells who is meant.
    """
    folder = tmp_path_factory.mktemp("lfw")
    images = realdata / "lfw" / "images_deepfunneled"
    with (realdata / "lfw" / "lfw_to_qid.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if int(row["copied"]) >= 3]
    people = [row for row in rows if (images / row["lfw_name"] / f"{row['lfw_name']}_0001.jpg").is_file()][:PEOPLE]
    photos = {person["qid"]: sorted((images / person["lfw_name"]).glob("*.jpg")) for person in people}
    entities = [
        {"id": p["qid"], "name": f"{p['lfw_name'].split('_')[0]} Foster", "text": f"Person {i}. {p['text']}"}
        for i, p in enumerate(people)
    ]
    write_lines(folder / "entities.jsonl", entities)
    gallery = [
        f"{qid}\t{path.relative_to(realdata / 'lfw')}\tLFW\tnone stated"
        for qid, paths in photos.items() for path in paths if not path.stem.endswith("_0001")
    ]  # fmt: skip
    (folder / "gallery.tsv").write_text("id\tpicture\tsource\tlicence\n" + "\n".join(gallery) + "\n")
    lines = [
        {"id": f"m{i}", "text": f"Foster at event {i}", "surface": "Foster", "entity_id": p["qid"],
         "image": str(next(path for path in photos[p["qid"]] if path.stem.endswith("_0001")))}
        for i, p in enumerate(people)
    ]  # fmt: skip
    write_lines(folder / "train.jsonl", lines)
    write_lines(folder / "dev.jsonl", [{**line, "id": f"dev-{line['id']}"} for line in lines])
    return folder


@pytest.mark.realdata
def test_entity_pictures_features_training_and_pictures_never_seen(
    lfw, models, realdata, tiny_text, tiny_clip, tmp_path
):
    kb, store, run = tmp_path / "kb", tmp_path / "F", tmp_path / "run"
    assert call("kb", "build", lfw / "entities.jsonl", "--out", kb).code == 0
    done = call("kb", "pictures", kb, "--map", lfw / "gallery.tsv", "--root", realdata / "lfw", "--json")
    assert done.code == 0, done.err

    encoders = ["--set", f"encoders.text={tiny_text}", "--image-encoder", tiny_clip]
    made = call("features", "--data", lfw, "--kb", kb, "--out", store, *encoders, *models, "--json")
    assert made.code == 0, made.err
    counts = made.json["splits"]["train"]
    assert counts["mentions"] == counts["pictures"] == PEOPLE
    assert counts["faces"] >= PEOPLE
    assert counts["attributes"] == ["gender", "age"]
    assert counts["identities"] >= PEOPLE - 1
    assert {"decode", "detect", "encode", "faces", "attributes", "identity"} <= made.json["seconds"].keys()
    said = [json.loads(line) for line in (store / "train" / "identities.jsonl").read_text().splitlines()]
    gold = {line["id"]: line["entity_id"] for line in map(json.loads, (lfw / "train.jsonl").read_text().splitlines())}
    right = [gold[line["mention"]] == line["identities"][0]["entity"] for line in said]
    assert sum(right) >= PEOPLE - 1

    small = ["--set", "model.dim=16", "--set", "train.epochs=2"]
    trained = call("train", "--data", lfw, "--kb", kb, "--features", store, "--out", run, *small)
    assert trained.code == 0, trained.err
    assert "made with other settings" not in trained.err
    scores: list[bytes] = []
    for more in (["--features", store], []):
        predictions = tmp_path / f"predictions-{len(scores)}.jsonl"
        done = call("evaluate", "--run", run, "--data", lfw, "--predictions", predictions, *more)
        assert done.code == 0, done.err
        scores.append(predictions.read_bytes())
    assert scores[0] == scores[1]  # what is looked for again is what the store holds

    place = next((realdata / "lfw/images_deepfunneled").glob("*/*_0002.jpg"))
    shutil.copy(place, tmp_path / "never seen.jpg")
    line = {"id": "new", "text": "Foster arrives", "surface": "Foster", "image": "never seen.jpg"}
    linked = call(
        "link", "--run", run, "--in", write_lines(tmp_path / "new.jsonl", [line]), "--out", tmp_path / "links"
    )
    assert linked.code == 0, linked.err
    record = json.loads((tmp_path / "links").read_text())
    assert record["regions"]
    assert all("identity" in candidate["evidence"] for candidate in record["candidates"])


@pytest.mark.realdata
def test_a_person_kept_out_is_not_recognised_and_no_picture_is_read_again(lfw, models, realdata, tiny_text, tmp_path):
    kb, store = tmp_path / "kb", tmp_path / "F"
    assert call("kb", "build", lfw / "entities.jsonl", "--out", kb).code == 0
    assert call("kb", "pictures", kb, "--map", lfw / "gallery.tsv", "--root", realdata / "lfw").code == 0
    command = ["features", "--data", lfw / "dev.jsonl", "--kb", kb, "--out", store, *models[2:]]
    command += ["--set", f"encoders.text={tiny_text}", "--json"]
    first = call(*command)
    assert first.code == 0, first.err
    person = json.loads((lfw / "train.jsonl").read_text().splitlines()[0])["entity_id"]
    identities = store / "dev" / "identities.jsonl"
    assert f'"{person}"' in identities.read_text()
    assert call("kb", "pictures", kb, "--keep-out", person).code == 0
    second = call(*command)
    assert second.code == 0, second.err
    assert f'"{person}"' not in identities.read_text()
    assert second.json["seconds"] == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--faces", "none.onnx"], ["none.onnx"]),
        (["--age", "age.onnx"], ["encoders.age looks at faces that nothing finds"]),
        (["--identity", "face.onnx"], ["encoders.identity compares faces that nothing finds"]),
        (["--identity", "pictures"], ["set encoders.image"]),
        (["--detector", "proposals"], ["set encoders.image"]),
        (["--on-error", "hope"], ["keep-text, drop or stop"]),
        (["--workers", "-1"], ["from 0 to"]),
        (["--shard-size", "0"], ["at least 1"]),
    ],
)
def test_wrong_calls(kb, data, tiny_text, tmp_path, options, words):
    common = ["features", "--data", data, "--kb", kb, "--out", tmp_path / "F", "--set", f"encoders.text={tiny_text}"]
    done = call(*common, *options)
    assert done.code in (2, 3, 5), done
    assert not (tmp_path / "F").exists()
    for word in words:
        assert word in done.err


@pytest.mark.parametrize("missing", ["--data", "--kb", "--out"])
def test_a_missing_option_is_named(missing, kb, data, tmp_path):
    given = {"--data": data, "--kb": kb, "--out": tmp_path / "F"}
    del given[missing]
    done = call("features", *(word for pair in given.items() for word in pair))
    assert done.code == 2
    assert f"Missing option '{missing}'" in done.err
