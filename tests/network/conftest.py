"""What the tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drawn import copied


@pytest.fixture(autouse=True, scope="package")
def _copied() -> Iterator[None]:
    with copied():
        yield
