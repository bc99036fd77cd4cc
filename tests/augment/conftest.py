"""The shipped lexicon, and a teacher on the loopback address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.augment.made import Fake, listening

from tuneloop.augment.lexicon import Lexicon, shipped


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    """The tables that come with tuneloop."""
    return shipped()


@pytest.fixture
def teacher() -> Iterator[Fake]:
    """A server on the loopback address that answers as the test says."""
    with listening() as fake:
        yield fake
