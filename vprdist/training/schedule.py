"""The learning rate's path, from the step alone."""

from __future__ import annotations

import math

from vprdist.spec.train import TrainSpec


def learning_rate(spec: TrainSpec, step: int, steps: int, chunk: int = 0) -> float:
    """The rate of a step.

    Args:
        step: counted from 0.
        steps: of the whole training; the warm-up is a share of it, a cosine and a line end with it.
        chunk: which chunk the step's pairs are of; matters where training is `chunked`.
    """
    warm = math.ceil(spec.warmup * steps)
    if step < warm:
        return spec.lr * (step + 1) / warm
    if spec.schedule == "cosine":
        return spec.lr * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2
    if spec.schedule == "linear":
        return spec.lr * (steps - step) / (steps - warm)
    return spec.lr * 0.1 ** _drops(spec, step, chunk)


def _drops(spec: TrainSpec, step: int, chunk: int) -> int:
    if spec.lr_drop_pairs is None:
        return 0
    if spec.chunked:
        # As the reference counts: whole chunks, however many of their queries found a partner.
        return chunk // max(1, round(spec.lr_drop_pairs / spec.chunk_queries))
    return step * spec.batch_pairs // spec.lr_drop_pairs
