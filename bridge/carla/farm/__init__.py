"""A farm: several CARLA servers on one host, started, watched and restarted.

with CarlaFarm(FarmConfig(servers=4, folder="/opt/carla")) as farm:
    vector = gymnasium.make_vec("sim2street/CarlaRoute-v0", num_envs=4, ports=farm.ports)
"""

from sim2street.bridge.carla.farm.config import COMMANDS, Endpoint, FarmConfig
from sim2street.bridge.carla.farm.farm import CarlaFarm

__all__ = ["COMMANDS", "CarlaFarm", "Endpoint", "FarmConfig"]
