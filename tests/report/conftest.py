"""One real browser for all tests of pages in a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.report.chromium import PROGRAM, Chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    if PROGRAM is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    opened = Chromium()
    yield opened
    opened.close()
