"""The folders that people of the field have on disk, small, with made-up people, in the exact public layouts.

Each function makes one, and returns the path that `--data` takes. Split files, entity files and pictures are named and
filled as in the public releases; nothing in them is taken from these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image


class Person(NamedTuple):
    id: str
    name: str
    type: str
    text: str


# Q1014 and Q1042 fall into the tenth of a Richpedia train file that serves as dev.
PEOPLE = [
    Person("Q1001", "Ada Brennick", "Person", "Sex: female. Birth: 1921, Tolmar. Occupation: aviator."),
    Person("Q1002", "Ada Brennick (singer)", "Person", "Sex: female. Birth: 1984. Occupation: singer."),
    Person("Q1003", "Orrin Vasque", "Person", "Sex: male. Birth: 1950, Lunden Bay. Occupation: politician."),
    Person("Q1014", "Milo Vasque", "Person", "Sex: male. Birth: 1979. Occupation: cyclist."),
    Person("Q1005", "Teodóra Lisk", "Person", "Sex: female. Birth: 1962. Occupation: film director."),
    Person("Q1006", "Jun Okabe-Rhys", "Person", "Sex: male. Birth: 1990. Occupation: pianist."),
    Person("Q1007", "Tolmar", "Location", "Harbour town of the northern coast, known for its lighthouse."),
    Person("Q1008", "Lunden Bay", "Location", "Bay and fishing village with a long wooden pier."),
    Person("Q1009", "Tolmar Rowers", "Organization", "Rowing club founded in 1902 in the town of Tolmar."),
    Person("Q1010", "Harbour Guild", "Organization", "Guild of pilots and boat builders of Tolmar."),
    Person("Q1011", "Milo Vasque (painter)", "Person", "Sex: male. Birth: 1868. Occupation: painter."),
    Person("Q1042", "Pia Sorrel", "Person", "Sex: female. Birth: 1971. Occupation: novelist."),
]
BY_ID = {person.id: person for person in PEOPLE}


class Caption(NamedTuple):
    """A sentence and what it mentions: (surface, entity id, None for NIL)."""

    sentence: str
    mentions: tuple[tuple[str, str | None], ...]


CAPTIONS = {
    "train": [
        Caption("Brennick climbs into her aeroplane in 1940.", (("Brennick", "Q1001"),)),
        Caption("Vasque and Lisk at the opening of the pier.", (("Vasque", "Q1003"), ("Lisk", "Q1005"))),
        Caption("Milo Vasque wins the stage to Lunden Bay.", (("Milo Vasque", "Q1014"), ("Lunden Bay", "Q1008"))),
        Caption("Jun Okabe-Rhys rehearses in Tolmar.", (("Jun Okabe-Rhys", "Q1006"), ("Tolmar", "Q1007"))),
        Caption("The Tolmar Rowers cross the line first.", (("Tolmar Rowers", "Q1009"),)),
        Caption("Pia Sorrel signs her novel.", (("Pia Sorrel", "Q1042"),)),
        Caption("Brennick sings her second encore.", (("Brennick", "Q1002"),)),
        Caption("Members of the Harbour Guild in Tolmar.", (("Harbour Guild", "Q1010"), ("Tolmar", "Q1007"))),
    ],
    "dev": [
        Caption("Brennick beside her aeroplane.", (("Brennick", "Q1001"),)),
        Caption("Milo Vasque at the finish in Tolmar.", (("Milo Vasque", "Q1014"), ("Tolmar", "Q1007"))),
        Caption("Lisk directs on the pier.", (("Lisk", "Q1005"),)),
    ],
    "test": [
        Caption("Vasque speaks to fishermen.", (("Vasque", "Q1003"),)),
        Caption("Pia Sorrel with the Tolmar Rowers.", (("Pia Sorrel", "Q1042"), ("Tolmar Rowers", "Q1009"))),
    ],
}
NIL = Caption("A stranger watches the race.", (("stranger", None),))
COLOURS = ["red", "green", "blue", "orange", "purple", "teal", "olive", "navy", "gold", "grey", "pink", "brown"]


def write_dwe(root: Path) -> Path:
    """Make DWE's `data` folder for WikiMEL in `root` and return `root/wikipedia`; pictures lie in `root/ImgData`."""
    data, pictures = root / "wikipedia", root / "ImgData" / "wikipedia"
    number = 100
    parts: dict[str, list[str]] = {}
    for split, captions in CAPTIONS.items():
        records: dict[str, Any] = {}
        for caption in captions:
            number += 1
            picture(pictures / f"{number}.jpg", number)
            parts[str(number)] = [f"{number}_1", f"{number}_2"]
            for i, (surface, id) in enumerate(caption.mentions):
                key = str(number) if len(caption.mentions) == 1 else f"{number}-{i}"
                records[key] = {
                    "id": key, "sentence": caption.sentence, "imgPath": f"wikipedia/{number}.jpg", "mentions": surface,
                    "entities": BY_ID[id or ""].name, "answer": id, "brief": BY_ID[id or ""].text,
                }  # fmt: skip
        save(data / f"{split}.json", records)
    for i, (image, names) in enumerate(parts.items()):
        for name in names:
            picture(data / "wiki_segement" / f"{name}.jpg", int(image), size=16)
            save(data / "wiki_detection" / f"{name}.json", [_deepface(30 + i), {"score": 0.71, "label": "Pia Sorrel"}])
    save(data / "total2part_map.json", parts)
    titled = {person.id: f"{person.name} [SEP]. {person.text}" for person in PEOPLE}
    save(data / "property.json", titled)
    save(data / "brief.json", titled | {"Q1042": "Pia Sorrel [SEP]. None"})
    _save_lists(data)
    save(data / "neg.json", {"keys_ordered": sorted(BY_ID), "neg_iid": [], "tfidf_neg": [], "corpus": []})
    save(data / "qid2id.json", {person.id: str(i) for i, person in enumerate(PEOPLE)})
    save(data / "search_top100.json", {surface: ids_like(surface) for surface in surfaces()})
    return data


def write_mimic(root: Path, name: str = "WikiMEL") -> Path:
    """Make a cleaned set of MIMIC's in `root/NAME` and return it: lists, an entity file, two folders of pictures."""
    data = root / name
    number = 0
    for split, captions in CAPTIONS.items():
        records: list[dict[str, Any]] = []
        for caption in [*captions, NIL] if split == "train" else captions:
            number += 1
            picture(data / "mention_image" / f"{number}.jpg", number)
            for surface, id in caption.mentions:
                records.append(
                    {
                        "id": str(number), "sentence": caption.sentence, "imgPath": f"KVQAimgs/{number}.JPEG",
                        "mentions": surface.replace(" ", "%20"), "entities": BY_ID[id].name if id else "nil",
                        "answer": id or "nil",
                    }
                )  # fmt: skip
        save(data / f"{name}_{split}.json", records)
    entities: list[dict[str, Any]] = []
    for i, person in enumerate(PEOPLE):
        images = [f"{person.id}_{k}.jpg" for k in range(i % 3)]
        for k, image in enumerate(images):
            picture(data / "kb_image" / image, i + k)
        entities.append(
            {
                "id": i, "qid": person.id, "type": "entity", "entity_name": person.name.replace(" ", "%20"),
                "attr": person.text, "image_list": images,
            }
        )  # fmt: skip
    save(data / "kb_entity.json", entities)
    save(data / "qid2id.json", {person.id: i for i, person in enumerate(PEOPLE)}, indent=None)
    return data


def write_ghmfc(root: Path) -> Path:
    """Make GHMFC's Richpedia in `root/Richpedia-MEL` and return it: one sample an entity, no dev file."""
    data = root / "Richpedia-MEL"
    samples: dict[str, Any] = {}
    for captions in CAPTIONS.values():
        for caption in captions:
            for surface, id in caption.mentions:
                if id is not None:
                    samples[id] = {
                        "id": id, "sentence": caption.sentence, "mentions": surface, "entities": BY_ID[id].name,
                        "answer": id, "img_list": [f"{id}.jpg"],
                    }  # fmt: skip
    for i, id in enumerate(samples):
        picture(data / "images" / f"{id}.jpg", i)
    held = "Q1001"
    save(data / "train.json", {id: sample for id, sample in samples.items() if id != held})
    save(data / "test.json", {held: samples[held]})
    save(data / "qid2ne.json", {person.id: person.name for person in PEOPLE})
    save(data / "qid2abs.json", {person.id: person.text.split(".")[0] + "." for person in PEOPLE})
    save(data / "qid2abs_long.json", {person.id: person.text for person in PEOPLE})
    save(data / "img_list.json", {id: [f"{id}.jpg"] for id in samples})
    _save_lists(data)
    return data


def write_wikidiverse(root: Path, form: str = "sentences") -> Path:
    """Make WikiDiverse in `root` and return its data folder.

    Forms: `sentences` (as annotated: train, valid, test beside `wikinewsImgs`), `candidates` (`wikidiverse_w_cands`, a
    mention a record, pictures and entities in the folder above), `dwe` (`wikidiverse` beside `ImgData/wikidiverse`).
    """
    return {"sentences": _write_sentences, "candidates": _write_candidates, "dwe": _write_wikidiverse_dwe}[form](root)


def _write_sentences(root: Path) -> Path:
    for split, records in _annotated(root / "wikinewsImgs").items():
        save(root / f"{split}.json", records)
    _write_wikipedia(root)
    return root


def _write_candidates(root: Path) -> Path:
    data = root / "wikidiverse_w_cands"
    for split, records in _annotated(root / "wikinewsImgs").items():
        flat: list[list[Any]] = []
        for sentence, address, topic, mentions in records:
            for surface, type, start, end, page in mentions:
                left, right = sentence[:start].lower().split(), sentence[end:].lower().split()
                given = [wikipedia(BY_ID[id].name) for id in ids_like(surface)[:10]]
                flat.append([sentence, address, surface, type, left, right, page, given, topic, start, end])
        save(data / f"{split}_w_10cands.json", flat, indent=None)
    _write_wikipedia(root)
    return data


def _write_wikidiverse_dwe(root: Path) -> Path:
    data, pictures = root / "wikidiverse", root / "ImgData" / "wikidiverse"
    by_gold: dict[str, list[str]] = {}
    for split, records in _annotated(root / "wikinewsImgs", named_by_md5=False).items():
        flat: list[dict[str, Any]] = []
        for sentence, address, topic, mentions in records:
            name = hashlib.md5(address.encode()).hexdigest() + ".jpg"
            picture(pictures / name, len(flat))
            for surface, type, start, end, page in mentions:
                entity = page if page == "nil" else dwe_name(page)
                given = [dwe_name(BY_ID[id].name) for id in ids_like(surface)[:10]]
                by_gold[entity] = given
                flat.append(
                    {
                        "sentence": sentence, "mention": surface, "mention_image": name, "mention_type": type,
                        "entity": entity, "entity_image_list": None, "entity_introduction": None,
                        "cands": [[other, None] for other in given], "topic": topic, "start": start, "end": end,
                    }
                )  # fmt: skip
        save(data / f"{'dev' if split == 'valid' else split}.json", flat, indent=None)
    names = [dwe_name(person.name) for person in PEOPLE]
    save(data / "entity2desc.json", {name: person.text for name, person in zip(names, PEOPLE)})
    save(data / "entity_list.json", names)
    types = dict.fromkeys(person.type for person in PEOPLE)
    members = {type: [dwe_name(person.name) for person in PEOPLE if person.type == type] for type in types}
    save(data / "type2entity.json", members)
    save(data / "search_top100.json", by_gold)
    return data


def _annotated(pictures: Path, *, named_by_md5: bool = True) -> dict[str, list[list[Any]]]:
    """Return the sentence-level records of each split, whose pictures are made where they are named by md5."""
    splits: dict[str, list[list[Any]]] = {}
    number = 0
    for split, captions in CAPTIONS.items():
        records: list[list[Any]] = []
        for caption in [*captions, NIL] if split == "train" else captions:
            number += 1
            base = f"Race_%28{number}%29.svg" if number == 2 else f"Race_%28{number}%29.jpg"
            if named_by_md5:
                ending = ".png" if number == 2 else ".jpg"
                picture(pictures / (hashlib.md5(base.encode()).hexdigest() + ending), number)
            mentions = [_annotation(caption.sentence, surface, id) for surface, id in caption.mentions]
            records.append(
                [caption.sentence, f"https://upload.example.org/commons/0/0{number}/{base}", "sports", mentions]
            )
        splits["valid" if split == "dev" else split] = records
    return splits


def _annotation(sentence: str, surface: str, id: str | None) -> list[Any]:
    start = sentence.index(surface)
    page = "nil" if id is None else wikipedia(BY_ID[id].name)
    return [surface, "Other" if id is None else BY_ID[id].type, start, start + len(surface), page]


def _write_wikipedia(root: Path) -> None:
    """Write the two tables of WikiDiverse's Wikipedia: descriptions, and addresses of pictures under a header."""
    names = [person.name.replace(" ", "_") for person in PEOPLE]
    lines = [f"{name}@@@@{person.text}\n" for name, person in zip(names, PEOPLE)]
    (root / "wikipedia_entity2desc_filtered.tsv").write_text("".join(lines), encoding="utf-8")
    addresses = [[f"https://upload.example.org/{name}_{k}.jpg" for k in range(i % 3)] for i, name in enumerate(names)]
    lines = [f"{name}@@@@{'[AND]'.join(found)}\n" for name, found in zip(names, addresses) if found]
    (root / "wikipedia_entity2imgs.tsv").write_text("".join(["entity@@@@wiki_img\n", *lines]), encoding="utf-8")


def wikipedia(name: str) -> str:
    """Return the address of a page, percent-encoded where it is not plain ASCII."""
    return "https://en.wikipedia.org/wiki/" + name.replace(" ", "_").replace("ó", "%C3%B3")


def dwe_name(page: str) -> str:
    """Return an entity's name as DWE spells it: no underscores and no hyphens."""
    tail = page.rpartition("/wiki/")[2].replace("_", " ").replace("-", " ")
    return tail.replace("%C3%B3", "ó")


def surfaces() -> list[str]:
    return list(dict.fromkeys(surface for captions in CAPTIONS.values() for c in captions for surface, _ in c.mentions))


def ids_like(surface: str) -> list[str]:
    """Return ids whose names share a word with a surface first, all the others behind; never told the gold."""
    words = set(surface.lower().split())
    return sorted(BY_ID, key=lambda id: (not words & set(BY_ID[id].name.lower().split()), id))


def picture(path: Path, number: int, size: int = 24) -> Path:
    """Save a small picture of two colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (size, size + 8), COLOURS[number % len(COLOURS)])
    image.paste(COLOURS[(number + 5) % len(COLOURS)], (0, 0, size // 2, size // 2))
    image.save(path, "PNG" if path.suffix == ".png" else "JPEG")
    return path


def save(path: Path, value: Any, indent: int | None = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")
    return path


def _save_lists(data: Path, people: Sequence[Person] = PEOPLE) -> None:
    save(data / "qids_ordered.json", sorted(person.id for person in people))
    save(data / "neg_list.json", sorted(person.id for person in people))
    save(data / "ne2qid.json", {person.name: person.id for person in people})


def _deepface(age: int) -> dict[str, Any]:
    return {
        "age": age, "region": {"x": 2, "y": 2, "w": 8, "h": 8}, "gender": {"Woman": 91.5, "Man": 8.5},
        "dominant_gender": "Woman", "race": {"asian": 50.0, "white": 50.0}, "dominant_race": "white",
        "emotion": {"happy": 80.0, "neutral": 20.0}, "dominant_emotion": "happy",
    }  # fmt: skip
