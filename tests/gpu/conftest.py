"""What needs a real GPU: `VPRDIST_TEST_GPU=1 pytest tests/gpu` on a machine that has one."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU: run VPRDIST_TEST_GPU=1 pytest tests/gpu on a machine that has one")
