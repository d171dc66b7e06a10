"""FAISS on a GPU: it proposes, and the order is the CPU's to the bit."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from vprdist.evaluation.retrieve import GPU_K, SPARE, retrieve


@pytest.fixture(autouse=True)
def _faiss_gpu() -> None:
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        pytest.skip("this FAISS has no GPU: pip install 'vprdist[gpu]'")


def world(kind):
    rng = np.random.default_rng(2)
    gallery = rng.standard_normal((4000, 256)).astype(np.float32)
    if kind == "ties":
        gallery = gallery[rng.integers(0, 60, 4000)]
    elif kind == "collapsed":
        gallery = gallery[:1] + np.float32(1e-4) * gallery
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    query = gallery[:300] + np.float32(0.01) * rng.standard_normal((300, 256)).astype(np.float32)
    return query, gallery


@pytest.mark.parametrize("kind", ["spread", "ties", "collapsed"])
@pytest.mark.parametrize("kept", ["float32", "float16"])
def test_a_gpu_orders_as_a_cpu(kind, kept):
    query, gallery = (values.astype(kept) for values in world(kind))
    expected = retrieve(query, gallery, 20, neighbours=faiss.knn)
    for block_bytes in (2**28, 4 * 256 * 700):
        assert np.array_equal(retrieve(query, gallery, 20, block_bytes=block_bytes), expected)


@pytest.mark.parametrize("k", [GPU_K - SPARE, GPU_K - SPARE + 1, 3000])
def test_more_rows_than_a_gpu_finds_at_once(k):
    query, gallery = world("spread")
    assert np.array_equal(retrieve(query[:30], gallery, k), retrieve(query[:30], gallery, k, neighbours=faiss.knn))
