"""What can be downloaded: files at pinned commits, with the figures that are known of them and their licences.

A size or a hash stands here only where it was checked against the bytes or against what the host itself states at that
commit. Where it is None the host is asked before the download, what it states is shown, and what comes is held against
it; then the lock file beside the download keeps it (docs/downloads.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dualway.errors import UsageError


class Host(Enum):
    """Where files lie, by the addresses of a file and of what the host states of all files of a commit."""

    GITHUB = (
        "https://github.com/{repository}",
        "https://raw.githubusercontent.com/{repository}/{revision}/{path}",
        "https://api.github.com/repos/{repository}/git/trees/{revision}?recursive=1",
    )
    HUGGING_FACE = (
        "https://huggingface.co/{repository}",
        "https://huggingface.co/{repository}/resolve/{revision}/{path}",
        "https://huggingface.co/api/models/{repository}/revision/{revision}?blobs=true",
    )


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        source: Its path in the repository.
        path: Its path below the entry's folder.
        size: In bytes; None where nobody states it here, so that the host is asked.
        sha256: Likewise.
        unpack: An archive whose content goes into a folder of its name beside it.
    """

    source: str
    path: str
    size: int | None = None
    sha256: str | None = None
    unpack: bool = False


@dataclass(frozen=True)
class Entry:
    """Something that can be downloaded.

    Attributes:
        name: What a user writes; also the folder's name.
        kind: "data set" or "model".
        title: What it is.
        host: Where it lies.
        repository: OWNER/NAME.
        revision: The commit, 40 hex digits.
        files: What is fetched.
        licence: Of the data or the weights, as their publisher states it.
        citation: What to cite.
        note: What a user should know; why a figure is not known beforehand.
        follows: A command that uses it; `{folder}` is where it was put. Data sets are checked first in any case.
    """

    name: str
    kind: str
    title: str
    host: Host
    repository: str
    revision: str
    files: tuple[RemoteFile, ...]
    licence: str
    citation: str
    note: str
    follows: str

    @property
    def page(self) -> str:
        """The page of its publisher."""
        return self.host.value[0].format(repository=self.repository)

    def address(self, file: RemoteFile) -> str:
        """Return the address of one of its files."""
        return self.host.value[1].format(repository=self.repository, revision=self.revision, path=file.source)

    @property
    def figures_address(self) -> str:
        """Where the host states sizes and hashes of all files of the commit."""
        return self.host.value[2].format(repository=self.repository, revision=self.revision)


_ASKED = "No publisher states sizes and hashes: GitHub is asked for both at this commit."
_GHMFC = "datasets/Richpedia-MEL", "datasets/WikiMEL/input_data"

_ENTRIES = (
    Entry(
        name="melbench",
        kind="data set",
        title="MELBench: captions and mentions of WikiMEL (Wikidata-MEL) and Richpedia-MEL, without pictures",
        host=Host.GITHUB,
        repository="seukgcode/MELBench",
        revision="dfcbb3c6c17605ce4991a64786d828fca41e0f4e",
        files=(
            RemoteFile("Wikidata-MEL/Wikidata-MEL.zip", "Wikidata-MEL.zip", unpack=True),
            RemoteFile("Richpedia-MEL/Richpedia-MEL.zip", "Richpedia-MEL.zip", unpack=True),
            RemoteFile("LICENSE", "LICENSE"),
        ),
        licence="MIT (the repository's LICENSE)",
        citation="Zhou et al., Weibo-MEL, Wikidata-MEL and Richpedia-MEL: Multimodal Entity Linking Benchmark "
        "Datasets, CCKS 2021",
        note=f"{_ASKED} Pictures, and WikiMEL's splits and entities, lie elsewhere.",
        follows="",
    ),
    Entry(
        name="ghmfc",
        kind="data set",
        title="GHMFC: Richpedia-MEL's samples and entities, WikiMEL's entities and splits",
        host=Host.GITHUB,
        repository="seukgcode/MEL-GHMFC",
        revision="f402e39f49bddf9db657ae18d669af7131570d49",
        files=(
            *(
                RemoteFile(f"{_GHMFC[0]}/{name}", f"richpedia/{name}")
                for name in ("train.json", "test.json", "qid2ne.json", "qid2abs.json", "qid2abs_long.json")
            ),
            *(
                RemoteFile(f"{_GHMFC[1]}/{name}", f"wikimel/{name}")
                for name in ("splits.json", "qid2ne.json", "qid2abs.json")
            ),
        ),
        licence="none stated",
        citation="Wang et al., Multimodal Entity Linking with Gated Hierarchical Fusion and Contrastive Training, "
        "SIGIR 2022",
        note=f"{_ASKED} `wikimel/splits.json` belongs beside MELBench's Wikidata-MEL.json.",
        follows="dualway kb build {folder}/richpedia --out kbs/richpedia",
    ),
    Entry(
        name="kgmel-wikidiverse",
        kind="data set",
        title="WikiDiverse's captions and mentions with Wikidata ids, as KGMEL publishes them, without pictures",
        host=Host.GITHUB,
        repository="juyeonnn/KGMEL",
        revision="c5d642689afc46597706b328505fc5dd50b6095f",
        files=(
            RemoteFile("data/dataset/WikiDiverse.json", "WikiDiverse.json"),
            RemoteFile("data/dataset/mapping/ids_split_mappings.json", "mapping/ids_split_mappings.json"),
        ),
        licence="none stated by KGMEL; WikiDiverse itself is CC BY-SA 4.0",
        citation="Wang et al., WikiDiverse, ACL 2022; KGMEL: Knowledge Graph-Enhanced Multimodal Entity Linking, "
        "SIGIR 2025",
        note=f"{_ASKED} Sentences are shared by its splits: make splits of your own by sentence.",
        follows="",
    ),
    Entry(
        name="clip-vit-b32",
        kind="model",
        title="CLIP ViT-B/32 of OpenAI: encodes texts and pictures",
        host=Host.HUGGING_FACE,
        repository="openai/clip-vit-base-patch32",
        revision="eaee4c876b93e66f7fac584b529025a96d71ad66",
        files=(
            RemoteFile(
                "model.safetensors",
                "model.safetensors",
                605_157_884,
                "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d",
            ),
            RemoteFile(
                "config.json", "config.json", 4_186, "b575ef3c36f2a057fa19e221650105052d61cc9c1a972ec15019c6261ec98770"
            ),
            RemoteFile(
                "preprocessor_config.json",
                "preprocessor_config.json",
                316,
                "910e70b3956ac9879ebc90b22fb3bc8a75b6a0677814500101a4c072bd7857bd",
            ),
            RemoteFile(
                "tokenizer.json",
                "tokenizer.json",
                2_224_041,
                "b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842",
            ),
            RemoteFile(
                "tokenizer_config.json",
                "tokenizer_config.json",
                592,
                "34b7336e4bee12e0a9730eaf5189f582ef3c3eea5027f65730e5717256755aad",
            ),
            RemoteFile(
                "special_tokens_map.json",
                "special_tokens_map.json",
                389,
                "f8c0d6c39aee3f8431078ef6646567b0aba7f2246e9c54b8b99d55c22b707cbf",
            ),
            RemoteFile(
                "vocab.json", "vocab.json", 862_328, "5047b556ce86ccaf6aa22b3ffccfc52d391ea4accdab9c2f2407da5b742d4363"
            ),
            RemoteFile(
                "merges.txt", "merges.txt", 524_657, "f526393189112391ce6f9795d4695f704121ce452c3aad1f5335cc41337eba85"
            ),
        ),
        licence="none stated for the weights; the code they came with (openai/CLIP) is MIT",
        citation="Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021",
        note="The main branch (3d74acf9a28c) has only pickled weights. This commit, a conversion kept in the "
        "same repository, adds model.safetensors to it and changes nothing else. Its model card puts deployed uses out "
        "of scope.",
        follows="dualway train --set encoders.text={folder} --set encoders.image={folder} ..",
    ),
    Entry(
        name="rtdetr-v2-r18",
        kind="model",
        title="RT-DETRv2 with ResNet-18: finds objects of COCO's 80 classes in pictures",
        host=Host.HUGGING_FACE,
        repository="PekingU/rtdetr_v2_r18vd",
        revision="5650961749fa93567c0d46fc7f43ea4f9e914107",
        files=(
            RemoteFile(
                "model.safetensors",
                "model.safetensors",
                80_904_640,
                "d18309d0d7ea57048138885c4c6ecfcb1e24506fc6153b94ad484f8ab62c7115",
            ),
            RemoteFile(
                "config.json",
                "config.json",
                sha256="ed051ec77cb41c5d9d5e3af21a979b1e890599dfd68434d7636ff82ded4c1527",
            ),
            RemoteFile(
                "preprocessor_config.json",
                "preprocessor_config.json",
                444,
                "cd38cd59999e7a95d68e487fbe5132df3d4e5c32a0836add57e6126ba0c4eaf1",
            ),
        ),
        licence="Apache-2.0 (the model card)",
        citation="Lv et al., RT-DETRv2: Improved Baseline with Bag-of-Freebies for Real-Time Detection Transformer, "
        "arXiv:2407.17140",
        note="The size of config.json is asked from the host; its hash is known.",
        follows="",
    ),
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def find_entry(name: str) -> Entry:
    """Return the entry of a name.

    Raises:
        UsageError: There is none; lists those that there are.
    """
    if name not in CATALOGUE:
        raise UsageError(f"{name!r} is not in the catalogue; it has: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
