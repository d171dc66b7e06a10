"""`python -m vprdist.semantics.worker plan`, or `make INDEX COUNT`: looks at what a cache order takes, or makes a part.

A process of its own, since it loads torch, which a driver never does. The order comes as JSON on standard input; what
it has to say goes to standard output, one JSON value a line: `plan`, `made` (images, by it), `note`, `error`.
`make_part` is the same as a task of a job array.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import vprdist
from vprdist.data.layouts import open_layout
from vprdist.errors import UserError
from vprdist.files import read_json
from vprdist.machine import answers, keep_stdout_for_answers, kept_memory
from vprdist.semantics.building import build_part, progress_of
from vprdist.semantics.order import CacheOrder
from vprdist.semantics.planning import Plan, make_plan
from vprdist.semantics.present import cities_to_plan, is_built, would_replace
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.sources.segmented import SegmentedSource


def open_order(order: CacheOrder) -> tuple[SegmentedSource, Plan]:
    """The source of an order, and the shards that it takes.

    Raises:
        UserError: weights or pictures that are missing, a network that is none.
    """
    data = open_layout(Path(order.root), order.layout, order.leave_out)
    source = SegmentedSource(data, order.segmenter, order.device, class_table=order.class_table, pack=order.pack)
    cities, is_held = cities_to_plan(Path(order.out), data, order.cities, source.description)
    plan = make_plan(source, data, cities, None, order.shard_images, order.compression, is_held, order.top_k)
    return source, plan


def make_part(order_file: str, index: int, count: int) -> None:
    """One task of `count`: makes shards that no other task makes."""
    order = CacheOrder.model_validate(read_json(Path(order_file)), strict=False)
    if order.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError("the job has no GPU; the profile asks for one")
    source, plan = open_order(order)
    with kept_memory(order.device):
        cache = build_part(source, plan, Path(order.out), source.description, index, count)
    state = "the cache is complete" if cache else f"{progress_of(plan, Path(order.out))} of {plan.count} images"
    print(f"task {index} of {count}: {state}")


def main(words: list[str]) -> int:
    """Returns the exit code: 2 for what a user can mend, which is also said on standard output."""
    warnings.showwarning = _note_ours
    try:
        order = CacheOrder.model_validate_json(sys.stdin.read())
        source, plan = open_order(order)
        out = Path(order.out)
        if words == ["plan"]:
            found = _described(source, plan, out)
            if not found["built"]:
                _try_weights(order)
            _say(plan=found)
        else:
            index, count = int(words[1]), int(words[2])
            with kept_memory(order.device):
                build_part(source, plan, out, source.description, index, count, lambda made: _say(made=made))
    except UserError as error:
        _say(error=error.to_json())
        return 2
    except KeyboardInterrupt:  # Ctrl-C reaches the whole process group; the driver tells the person
        return 130
    return 0


def _note_ours(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    """What we warn of is for the person; what libraries warn of is for us."""
    if Path(filename).is_relative_to(Path(vprdist.__file__).parent):
        _say(note=str(message))


def _try_weights(order: CacheOrder) -> None:
    """The network can be built, wherever it will run: a mistake is found here, before any job is submitted."""
    spec = order.segmenter if order.device == "cpu" else order.segmenter.model_copy(update={"precision": "float32"})
    open_segmenter(spec, "cpu", order.class_table)


def _described(source: SegmentedSource, plan: Plan, out: Path) -> dict[str, Any]:
    return {
        "images": plan.count,
        "done": progress_of(plan, out),
        "built": is_built(plan, out, source.description),
        "replaces": would_replace(plan, out, source.description),
        "shards": [[shard.file, len(shard.keys)] for shard in plan.shards],
        "size": list(plan.size),
        "segmenter": source.description,
    }


def _say(**value: object) -> None:
    print(json.dumps(value), file=answers(), flush=True)


if __name__ == "__main__":
    keep_stdout_for_answers()
    sys.exit(main(sys.argv[1:]))
