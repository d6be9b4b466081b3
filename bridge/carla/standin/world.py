"""A CarlaWorld that brings its own server: the stand-in, for a laptop without CARLA."""

from __future__ import annotations

from pydantic import Field

from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.standin.process import StandInProcess
from sim2street.bridge.carla.world import CarlaWorld


class StandInWorldConfig(CarlaConfig):
    """A CarlaWorld's config; `host` and `port` are those of a stand-in of its own.

    Attributes:
        town: which embedded town it shows.
    """

    town: int = Field(3, ge=0)


class StandInWorld(CarlaWorld):
    """The whole way through CARLA's real client, with the embedded town at its end."""

    def __init__(self, config: StandInWorldConfig | None = None) -> None:
        chosen = config or StandInWorldConfig()
        super().__init__(chosen)
        self._server = StandInProcess({"town": chosen.town})

    def open(self, sensors: bool = True) -> None:
        self.close()
        self._server.start()
        here = {"host": self._server.host, "port": self._server.port}
        self.config = self.config.model_copy(update=here)
        self._sensors = sensors
        self._connect()

    def close(self) -> None:
        super().close()
        self._server.stop()
