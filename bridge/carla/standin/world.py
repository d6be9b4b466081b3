"""A CarlaWorld that brings its own server: the stand-in, for a computer without CARLA."""

from __future__ import annotations

from pydantic import Field

from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.standin.process import StandInProcess
from sim2street.bridge.carla.world import CarlaWorld


class StandInWorldConfig(CarlaConfig):
    """The config of a CarlaWorld, with `host` and `port` replaced by those of the stand-in.

    Attributes:
        town: number of the embedded town to show.
    """

    town: int = Field(3, ge=0)


class StandInWorld(CarlaWorld):
    """A CarlaWorld, CARLA's real client and the stand-in server in one."""

    def __init__(self, config: StandInWorldConfig | None = None) -> None:
        chosen = config or StandInWorldConfig()
        super().__init__(chosen)
        self._server = StandInProcess({"town": chosen.town})

    def open(self, sensors: bool = True) -> None:
        self.close()
        self._server.start()
        address = {"host": self._server.host, "port": self._server.port}
        self.config = self.config.model_copy(update=address)
        self._sensors = sensors
        self._connect()

    def close(self) -> None:
        super().close()
        self._server.close()
