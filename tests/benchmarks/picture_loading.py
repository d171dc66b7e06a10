"""Pictures from disk, a picture a row: as computation 1 decoded them, whole, out of the store of a run folder.

    python tests/benchmarks/picture_loading.py --data ../shared/data --pictures 150 --rounds 5

Three kinds: JPEGs of 480x640 to 192x240 and to 480x640 (lip6's own pictures enlarged, with noise, quality 88), and lip6
as it is (192x240). The sides take turns on one thread, warm page cache; the best round of each counts, in CPU time.

  scaled   libjpeg's smaller scale and Pillow's resizing: what computation 1 reads (`load_image_at_a_scale`)
  whole    decoded whole and resized: what is read now, and by the first job of a run folder (`load_image`)
  store    what the next jobs of the run folder read, where the picture had to be resized
  memory   what a job reads when it meets a picture again
  torch    whole, by torchvision's decoder and antialiased resizing of tensors, for comparison: how far it is off

Then a whole pass of an evaluation (`describe` through a ResNet18, random weights) over these pictures, each side with
nothing in memory: the first job of a run folder and the second, beside computation 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torchvision
from PIL import Image
from told import tell

from vprdist.data.images import load_image, load_image_at_a_scale
from vprdist.data.layouts.msls import read_city
from vprdist.data.places import Side
from vprdist.distributed.ranks import Ranks
from vprdist.evaluation.descriptors import describe
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.network.model import build_network, set_mode
from vprdist.network.picture_store import store_of
from vprdist.spec.data import DataSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, TrialSpec

Size = tuple[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where lip6 is")
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    side = read_city(args.data / "lip6", "lip6b").database
    with tempfile.TemporaryDirectory() as folder:
        large = enlarged(side, args.pictures, Path(folder))
        for name, paths, size in (
            ("480x640 to 192x240", large, (192, 240)), ("480x640 to 480x640", large, (480, 640)),
            ("lip6, 192x240", list(side.paths[: args.pictures]), (192, 240)),
        ):  # fmt: skip
            loading(name, paths, size, args.rounds)
            evaluating(name, paths, size, args.rounds)


def enlarged(side: Side, count: int, folder: Path) -> list[Path]:
    """JPEGs of 480x640 with as much detail as a camera's, written before any store begins."""
    rng, paths = np.random.default_rng(0), []
    for row in range(min(count, len(side))):
        with Image.open(side.image_path(row)) as image:
            pixels = np.asarray(image.convert("RGB").resize((640, 480), Image.Resampling.BICUBIC)).astype(int)
        path = folder / f"{row}.jpg"
        noisy = (pixels + rng.integers(-6, 7, pixels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, quality=88)
        os.utime(path, (1e9, 1e9))
        paths.append(path)
    return paths


def trial_of(size: Size, computation: int) -> TrialSpec:
    trial = TrialSpec(
        data=DataSpec(root="-", validate_cities=("lip6b",)),
        network=NetworkSpec(backbone="resnet18", weights="none"),
        train=TrainSpec(steps=0, image_size=size, batch_norm="frozen"),
    )
    return trial.resolved(Digests(dataset="-", cache=None, weights="none", computation=computation))


def kept_by(side: Side, size: Size, runs: Path, computation: int = 2) -> KeptPictures:
    """What a job that begins now has in memory, nothing, and the store that it finds."""
    trial = trial_of(size, computation)
    return KeptPictures(trial, [side], size, store_of(trial, size, runs, lambda text: None))


def best(rounds: int, *sides: Callable[[], object]) -> list[float]:
    """CPU seconds of the best round of each, taking turns."""
    found = [float("inf")] * len(sides)
    for _ in range(rounds):
        for index, side in enumerate(sides):
            begin = time.process_time()
            side()
            found[index] = min(found[index], time.process_time() - begin)
    return found


def by_torch(path: Path, height: int, width: int) -> np.ndarray:
    read, mode = torchvision.io.read_file(str(path)), torchvision.io.ImageReadMode.RGB
    pixels = torchvision.io.decode_jpeg(read, mode=mode)
    if pixels.shape[1:] != (height, width):
        pixels = torch.nn.functional.interpolate(pixels[None], (height, width), mode="bilinear", antialias=True)[0]
    return pixels.permute(1, 2, 0).numpy()


def loading(name: str, paths: list[Path], size: Size, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as runs:
        side = Side.of(city="lip6b", side="database", paths=paths)
        first = kept_by(side, size, Path(runs))
        rows = range(len(paths))
        for row in rows:
            first.load(side, row)
        first.share()
        later = kept_by(side, size, Path(runs))
        scaled, whole, store, memory, tensors = best(
            rounds,
            lambda: [load_image_at_a_scale(path, *size).copy() for path in paths],
            lambda: [load_image(path, *size).copy() for path in paths],
            # What is not in the store would be in memory after the first round.
            lambda: [(later.store.load(path) if path in later.store else load_image(path, *size)) for path in paths],
            lambda: [first.load(side, row) for row in rows],
            lambda: [by_torch(path, *size) for path in paths],
        )  # fmt: skip
    off = max(int(np.abs(by_torch(p, *size).astype(int) - load_image(p, *size)).max()) for p in paths)
    each, share = 1e3 / len(paths), store / scaled
    tell(f"{name}, decoded whole", whole * each, "ms", peer="torchvision", theirs=tensors * each)
    tell(f"{name}, out of the store", store * each, "ms", peer="decoded at a scale", theirs=scaled * each)
    print(
        f"{name}: scaled {scaled * each:.2f} ms, whole {whole * each:.2f} ({whole / scaled:.2f} times), store "
        f"{store * each:.2f} ({share:.2f}), memory {memory * each:.3f}; torch {tensors * each:.2f}, off by {off}"
    )


def evaluating(name: str, paths: list[Path], size: Size, rounds: int) -> None:
    side = Side.of(city="lip6b", side="database", paths=paths)
    network = build_network(trial_of(size, 2), None)
    set_mode(network, "frozen", training=False)
    wanted, alone = [(side, np.arange(len(side)))], Ranks(0, 1, torch.device("cpu"))

    def job(runs: Path, computation: int) -> None:
        kept = kept_by(side, size, runs, computation)
        describe(network, PlaceReader(trial_of(size, computation), size, kept), wanted, alone)
        kept.share()

    with tempfile.TemporaryDirectory() as runs, tempfile.TemporaryDirectory() as fresh:
        job(Path(runs), 2)
        new = iter(range(rounds))
        then, first, second = best(
            rounds, lambda: job(Path(runs), 1), lambda: job(Path(fresh) / str(next(new)), 2), lambda: job(Path(runs), 2)
        )
    each = 1e3 / len(paths)
    print(
        f"{name}, an evaluation: computation 1 {then * each:.2f} ms a picture, the first job now {first * each:.2f} "
        f"({first / then:.2f} times), the next ones {second * each:.2f} ({second / then:.2f})"
    )


if __name__ == "__main__":
    main()
