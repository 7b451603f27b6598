"""One build of the image, and one network, for all the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.images import Image, built_image
from support.network import Network, private_network


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    with built_image() as image:
        yield image


@pytest.fixture(scope="module")
def network(image: Image) -> Iterator[Network]:
    """Its port 8000 is free, whatever else this machine does. (`image`: where it cannot be built, nothing is.)"""
    with private_network() as network:
        yield network


@pytest.fixture
def own_network(image: Image) -> Iterator[Network]:
    """The same for one test, whose server is not alone otherwise."""
    with private_network() as network:
        yield network
