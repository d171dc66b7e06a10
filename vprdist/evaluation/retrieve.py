"""Exact nearest neighbours with FAISS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vprdist.errors import UserError


def retrieve(query_QD: npt.NDArray[np.float32], gallery_GD: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """(Q, min(k, G)) gallery rows, nearest first, by squared Euclidean distance. Exhaustive, never approximate."""
    try:
        import faiss
    except ImportError:
        raise UserError(
            "faiss", "evaluation needs FAISS", None, "pip install 'vprdist[cpu]' or 'vprdist[gpu]'."
        ) from None
    k = min(k, len(gallery_GD))
    if k == 0 or not len(query_QD):
        return np.empty((len(query_QD), k), np.int64)
    index = faiss.IndexFlatL2(gallery_GD.shape[1])
    index.add(np.ascontiguousarray(gallery_GD, np.float32))
    _, rows = index.search(np.ascontiguousarray(query_QD, np.float32), k)
    return np.asarray(rows, dtype=np.int64)
