"""Run with the Python of an environment that holds only the built wheel: the way from files to links works there."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ENTITIES = [
    {"id": "Q1", "name": "Jodie Foster", "text": "American actor and film director, born 1962."},
    {"id": "Q2", "name": "Ben Foster (footballer)", "text": "English goalkeeper, born 1983."},
    {"id": "Q3", "name": "Mel Gibson", "text": "American actor and film director, born 1956."},
]
MENTIONS = [
    {"id": "a", "text": "Foster, the actor, with Mel Gibson", "surface": "Foster", "entity_id": "Q1"},
    {"id": "b", "text": "Foster saves the penalty", "surface": "Foster", "entity_id": "Q2"},
    {"id": "c", "text": "Mel Gibson at the premiere", "surface": "Mel Gibson", "entity_id": "Q3"},
]


def dualway(*arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "dualway"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    import dualway as package

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, records in (("entities", ENTITIES), ("train", MENTIONS), ("dev", MENTIONS)):
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (folder / "data").mkdir()
        for split in ("train", "dev"):
            (folder / f"{split}.jsonl").rename(folder / "data" / f"{split}.jsonl")
        kb, data, run = folder / "kb", folder / "data", folder / "run"
        dualway("data", "check", str(data))
        dualway("kb", "build", "--from", "jsonl", str(folder / "entities.jsonl"), "--out", str(kb))
        dualway("train", "--data", str(data), "--kb", str(kb), "--out", str(run), "--set", "train.epochs=3", "-q")
        dualway("evaluate", "--run", str(run), "--data", str(data), "--json", str(folder / "out.json"), "-q")
        dualway("link", "--run", str(run), "--in", str(data / "dev.jsonl"), "--out", str(folder / "links.jsonl"), "-q")
        (folder / "entities.jsonl").rename(data / "entities.jsonl")
        dualway(
            "demo", "--data", str(data), "--out", str(folder / "demo"), "-q"
        )  # its encoder and style are in the wheel
        assert "<style>" in (folder / "demo" / "report.html").read_text(encoding="utf-8")
        linked = json.loads(
            dualway("link", "--kb", str(kb), "--text", "Mel Gibson", "--mention", "Mel Gibson", "--json")
        )
        assert linked["links"][0]["entity_id"] == "Q3", linked
        assert len((folder / "links.jsonl").read_text().splitlines()) == len(MENTIONS)
    print(f"wheel of dualway {package.__version__}: built, installed alone, and walked from files to links")


if __name__ == "__main__":
    main()
