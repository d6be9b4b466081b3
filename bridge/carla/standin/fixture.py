"""A pytest fixture that starts a stand-in server.

Import it in your `conftest.py`:
`from sim2street.bridge.carla.standin.fixture import carla_standin`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sim2street.bridge.carla.standin.process import StandInProcess

SMALL_TOWN = {"town": 3, "layout": {"graph": {"columns": [3, 3], "rows": [3, 3]}}}
"""A town of 3 x 3 intersections: quick to build, with traffic lights and bends."""


@pytest.fixture(scope="session")
def carla_standin() -> Iterator[StandInProcess]:
    """A running stand-in. Connect a CARLA 0.9.16 client to its `host` and `port`."""
    with StandInProcess(SMALL_TOWN) as standin:
        yield standin
