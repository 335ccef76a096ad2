"""What reading pictures costs beside decoding and the models' own time, with two processes.

    python -m benchmarks.features [--pictures 400] [--rounds 3] [--json FILE]

Photographs of LFW (DUALWAY_REALDATA), objects without weights, the mini CLIP, YuNet, age and gender, MobileFaceNet.
Each round reads the same pictures twice, in turns: by the pipeline (shards, two processes, everything written), and by
two plain processes that decode each picture and call the same models on it, half of the pictures each, and keep
nothing. Both are started anew; loading the models is left out of both: time is counted from when they are loaded (the
mean of the two processes) to the end, which for the pipeline is when all is written and its processes are gone. The
ratio is the pipeline's time by the plain one's; the median of the rounds counts. The ratio of the processors' time is
told beside it (the parent's included): what others do on the machine hardly moves it.

Where there is a GPU: the share of its peak (a large float16 matrix product's rate) that the picture encoder reaches on
decoded tensors, and how many pictures a second the pipeline could read with it, with the bottleneck.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import describe_machine
from dualway.config import EncoderConfig, FeatureConfig
from dualway.features.models import load_reader
from dualway.features.regions import PictureRegions
from dualway.features.seeing import PictureReader
from dualway.features.shards import Known, ShardedPictures, Source, plan_shards
from dualway.features.workers import Recipe, load_models, make_shards
from dualway.storage import write_json

PROCESSES, SHARD_SIZE = 2, 64
TARGET = 1.15
FEATURES = FeatureConfig()


def encoders(data: Path) -> EncoderConfig:
    """Return the models that look at pictures."""
    models = data / "models"
    age_gender = str(models / "age_gender" / "age_gender.onnx")
    return EncoderConfig(
        image="mini-clip",
        detector="proposals",
        faces=str(models / "yunet" / "yunet_n_640_640.onnx"),
        age=age_gender,
        gender=age_gender,
        identity=str(models / "mobilefacenet" / "mobilefacenet.onnx"),
    )


class Spent(NamedTuple):
    """Seconds from when the models were loaded to the end, on the clock and of the processors."""

    wall: float
    cpu: float


class Watch:
    """Counts what this process and those that it starts take; `stop` once these are gone."""

    def __init__(self) -> None:
        self._cpu = self._total()

    def stop(self, ended: float, loaded: Sequence[tuple[float, float]]) -> Spent:
        """Return what was spent, given each process's clock and processor time when its models were loaded."""
        loading = sum(cpu for _, cpu in loaded)
        return Spent(ended - statistics.mean(clock for clock, _ in loaded), self._total() - self._cpu - loading)

    @staticmethod
    def _total() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(part.ru_utime + part.ru_stime for part in used)


def read_plainly(chosen: EncoderConfig, paths: Sequence[Path], done: SimpleQueue[tuple[float, float, float]]) -> None:
    """Decode pictures and call the models on each, in a process of its own; put its times of loading and its end."""
    import cv2
    import torch

    from dualway.features.regions import choose_objects
    from dualway.images import decode_picture, read_picture
    from dualway.vision.crops import crop_region
    from dualway.vision.faces import choose_faces

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reader = load_reader(chosen, FEATURES)
    assert reader.finder is not None
    assert reader.encoder is not None
    assert reader.faces is not None
    assert reader.faces.encoder is not None
    detector, encoder, faces = reader.finder.detector, reader.encoder, reader.faces
    loaded = time.monotonic(), time.process_time()
    for path in paths:
        image = decode_picture(read_picture(path), path)
        [regions] = detector.detect([image])
        objects = choose_objects(FEATURES, PictureRegions(objects=tuple(regions)))
        encoder.encode_images([image, *(crop_region(image, region) for region in objects)])
        found = choose_faces(FEATURES, faces.finder.find(image))
        if found:
            for tagger in faces.taggers:
                tagger.tag(image, found)
            reader.faces.encoder.encode_faces(image, found)
    done.put((*loaded, time.monotonic()))


def time_plain(chosen: EncoderConfig, paths: Sequence[Path]) -> Spent:
    """Return what the plain processes take once they have their models."""
    context = multiprocessing.get_context("spawn")
    done: SimpleQueue[tuple[float, float, float]] = context.SimpleQueue()
    parts = [list(paths[number::PROCESSES]) for number in range(PROCESSES)]
    watch = Watch()
    processes = [context.Process(target=read_plainly, args=(chosen, part, done)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    times = [done.get() for _ in processes]
    return watch.stop(max(ended for _, _, ended in times), [(clock, cpu) for clock, cpu, _ in times])


def time_pipeline(chosen: EncoderConfig, fingerprints: dict[str, str], paths: Sequence[Path]) -> tuple[Spent, Known]:
    """Return what the pipeline takes once its processes have their models, and what they left."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "pictures"
        sources = [Source.find(path, path.name, PictureRegions()) for path in paths]
        made = ShardedPictures(work, Known(), (None, None))
        recipe = Recipe(chosen, FEATURES, fingerprints, work, "keep-text")
        watch = Watch()
        make_shards(plan_shards(sources, SHARD_SIZE), recipe, PROCESSES, made.finished, load=load_and_tell)
        ended = time.monotonic()
        loaded = [json.loads(path.read_text()) for path in Path(folder).glob("loaded-*")]
        return watch.stop(ended, [(clock, cpu) for clock, cpu in loaded]), made.known


def load_and_tell(recipe: Recipe) -> PictureReader:
    """Load the models in a process of the pipeline, and note when they are there."""
    reader = load_models(recipe)
    (recipe.work.parent / f"loaded-{os.getpid()}").write_text(json.dumps([time.monotonic(), time.process_time()]))
    return reader


def compare(data: Path, num_pictures: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of all rounds."""
    chosen = encoders(data)
    paths = sorted((data / "lfw" / "images_deepfunneled").glob("*/*.jpg"))[:num_pictures]
    fingerprints = load_reader(chosen, FEATURES).fingerprints()
    measured: list[tuple[Spent, Spent]] = []
    seconds: dict[str, float] = {}
    for number in range(rounds):
        first = number % 2 == 0  # in turns, so that a machine that grows slower favours neither
        plain = time_plain(chosen, paths) if first else None
        ours, known = time_pipeline(chosen, fingerprints, paths)
        plain = plain or time_plain(chosen, paths)
        measured.append((ours, plain))
        seconds = {stage: seconds.get(stage, 0.0) + spent for stage, spent in known.seconds.items()}
        say(f"round {number + 1}: {ours.wall:.1f} s against {plain.wall:.1f} s, load {os.getloadavg()[0]:.1f}")
    ratios = [ours.wall / plain.wall for ours, plain in measured]
    stages = {stage: rounds * len(paths) / spent for stage, spent in seconds.items() if spent}
    return {
        "machine": describe_machine(),
        "pictures": len(paths),
        "processes": PROCESSES,
        "overhead": statistics.median(ratios),
        "target_met": statistics.median(ratios) <= TARGET,
        "ratios": ratios,
        "cpu_ratios": [ours.cpu / plain.cpu for ours, plain in measured],
        "seconds": [(ours.wall, plain.wall) for ours, plain in measured],
        "pictures_per_s": statistics.median(len(paths) / ours.wall for ours, _ in measured),
        "stages": stages,
        "bottleneck": min(stages, key=lambda stage: stages[stage]),
        "gpu": _gpu(chosen, stages),
    }


def _gpu(chosen: EncoderConfig, stages: dict[str, float]) -> dict[str, Any] | None:
    """Return the share of the chip's peak that the picture encoder reaches on decoded tensors; None without a chip.

    Also what the pipeline would read with it, every processor feeding it: the chip, or what remains to the processors.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    from transformers import AutoModel

    from dualway.encoders import load_image_encoder
    from dualway.encoders.weights import load_pretrained

    folder = load_image_encoder(chosen.image or "").folder
    model: Any = load_pretrained(AutoModel, folder).vision_model.cuda().half()
    size = model.config.image_size
    batch = torch.rand(256, 3, size, size, device="cuda", dtype=torch.half)
    a = torch.rand(8192, 8192, device="cuda", dtype=torch.half)
    parameters = sum(p.numel() for p in model.parameters())
    tokens = (size // model.config.patch_size) ** 2 + 1
    encoding = _time_cuda(lambda: model(pixel_values=batch))
    peak = 2 * 8192**3 / _time_cuda(lambda: a @ a)
    others = sum(1 / rate for stage, rate in stages.items() if stage != "encode")
    rates = {"the chip": len(batch) / encoding, "the processors": len(os.sched_getaffinity(0)) / others}
    return {
        "chip": torch.cuda.get_device_name(),
        "pictures_per_s": len(batch) / encoding,
        "share_of_matmul_peak": 2 * parameters * tokens * len(batch) / encoding / peak,
        "pipeline_pictures_per_s": min(rates.values()),
        "bottleneck": min(rates, key=lambda part: rates[part]),
    }


def _time_cuda(call: Callable[[], object]) -> float:
    import torch

    for _ in range(3):
        call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / 10


def describe(result: dict[str, Any]) -> str:
    """Return the figures as text."""
    ratios = ", ".join(f"{ratio:.3f}" for ratio in result["ratios"])
    stages = ", ".join(f"{stage} {rate:,.0f}" for stage, rate in sorted(result["stages"].items(), key=lambda s: s[1]))
    gpu, cpu = result["gpu"], statistics.median(result["cpu_ratios"])
    told = (
        "not run: no GPU"
        if gpu is None
        else f"{gpu['chip']}: {gpu['pictures_per_s']:,.0f} decoded pictures/s of the encoder, "
        f"{gpu['share_of_matmul_peak']:.0%} of its peak; {gpu['pipeline_pictures_per_s']:,.0f} pictures/s in all, as "
        f"{gpu['bottleneck']} cannot do more"
    )
    return (
        f"{result['machine']}\n\n"
        f"{result['pictures']} photographs, {result['processes']} processes: {result['pictures_per_s']:.1f} a second; "
        f"{result['overhead']:.3f} x the time of decoding and the models alone (rounds: {ratios}; "
        f"at most {TARGET}: {result['target_met']}), {cpu:.3f} x of the processors' time; loading the models is left "
        "out of both.\n"
        f"Pictures per second and process, by stage, the slowest first: {stages}. Bottleneck: {result['bottleneck']}.\n"
        f"GPU: {told}."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None, help="also write the figures there")
    arguments = parser.parse_args()
    data = Path(os.environ.get("DUALWAY_REALDATA", "../shared/realdata")).resolve()
    result = compare(data, arguments.pictures, arguments.rounds, lambda line: print(line, flush=True))
    print(describe(result))
    if arguments.json is not None:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
