"""What the bridge adds to CARLA's own client: `python benchmarks/carla_client.py [TICKS] [WxH]`.

The bare client and CarlaWorld take turns on one stand-in server, with the same three cameras
(labels, depth, instances) on the same ego among the same vehicles. The bridge's overhead is the
time of a CarlaWorld tick without the server's own tick. Images are decoded as they arrive, while
the server makes the next one; the cost of that shows in the difference of the two ticks.
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import time
from typing import Any

import numpy as np
import psutil

from sim2street.bridge.carla.config import CarlaCameraConfig, CarlaConfig
from sim2street.bridge.carla.standin.process import StandInProcess
from sim2street.bridge.carla.world import CarlaWorld
from sim2street.bridge.frame import Control

KINDS = ("labels", "depth_m", "instances")
BLUEPRINTS = {
    "labels": "sensor.camera.semantic_segmentation",
    "depth_m": "sensor.camera.depth",
    "instances": "sensor.camera.instance_segmentation",
}
VEHICLES = 10
WARM_UP_TICKS = 10
TURNS = 3

Timings = dict[str, list[float]]
"""Milliseconds by stage, of each tick."""


def config_for(port: int, width_px: int, height_px: int) -> CarlaConfig:
    """One view, and no vehicles: `find_or_spawn_ego` spawns them once for both clients."""
    camera = CarlaCameraConfig(width_px=width_px, height_px=height_px)
    return CarlaConfig(port=port, cameras={"front": camera}, vehicles=0, pictures=KINDS)


def measure_bare_client(config: CarlaConfig, ticks: int) -> Timings:
    """Time CARLA's client without the bridge."""
    import carla

    client = carla.Client(config.host, config.port)
    client.set_timeout(20.0)
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, config.tick_s
    world.apply_settings(settings)
    world.tick()
    ego = find_or_spawn_ego(world, config.role_name)
    camera, sensors = config.cameras["front"], []
    images: list[queue.Queue[Any]] = []
    x, y, z, *turn = camera.mount(config.rear_axle_m)
    mount = carla.Transform(carla.Location(x, y, z), carla.Rotation(*turn))
    shape = {"image_size_x": camera.width_px, "image_size_y": camera.height_px}
    for kind in KINDS:
        blueprint = world.get_blueprint_library().find(BLUEPRINTS[kind])
        for name, value in {**shape, "fov": camera.fov_deg}.items():
            blueprint.set_attribute(name, str(value))
        sensors.append(world.spawn_actor(blueprint, mount, attach_to=ego))
        images.append(queue.Queue())
        sensors[-1].listen(images[-1].put)
    time.sleep(1.0)  # until the streams are connected
    tick_ms, cpu_s = [], time.process_time()
    for _ in range(ticks + WARM_UP_TICKS):
        started_s = time.perf_counter()
        world.tick()
        for received in images:
            np.frombuffer(received.get(timeout=10.0).raw_data, np.uint8)
        tick_ms.append(1e3 * (time.perf_counter() - started_s))
    cpu_ms = 1e3 * (time.process_time() - cpu_s) / (ticks + WARM_UP_TICKS)
    for sensor in sensors:
        sensor.stop()
    for sensor in sensors:
        sensor.destroy()
    settings.synchronous_mode, settings.fixed_delta_seconds = False, None
    world.apply_settings(settings)
    world.wait_for_tick()
    return {"tick": tick_ms[WARM_UP_TICKS:], "cpu": [cpu_ms]}


def find_or_spawn_ego(world: Any, role: str) -> Any:
    """The ego. The first call spawns it and the other vehicles, all of which stay at rest."""
    for vehicle in world.get_actors().filter("vehicle.*"):
        if vehicle.attributes["role_name"] == role:
            return vehicle
    model = world.get_blueprint_library().find("vehicle.tesla.model3")
    points = world.get_map().get_spawn_points()
    for point in points[1 : VEHICLES + 1]:
        world.spawn_actor(model, point)
    model.set_attribute("role_name", role)
    return world.spawn_actor(model, points[0])


def measure_carla_world(config: CarlaConfig, ticks: int) -> Timings:
    """Time CarlaWorld and its stages."""
    timings: Timings = {"tick": []}
    world = CarlaWorld(config)
    with world:
        world.reset(0)
        child = psutil.Process(world.client_pid)
        before_s = time.process_time(), sum(child.cpu_times()[:2])
        for tick in range(ticks + WARM_UP_TICKS):
            started_s = time.perf_counter()
            frame = world.step(Control())
            if tick >= WARM_UP_TICKS:
                timings["tick"].append(1e3 * (time.perf_counter() - started_s))
                for name, seconds in frame.stamps.items():
                    timings.setdefault(name, []).append(1e3 * seconds)
        own_cpu_s = time.process_time() - before_s[0]
        client_cpu_s = sum(child.cpu_times()[:2]) - before_s[1]
    timings["overhead"] = np.subtract(timings["tick"], timings["world"]).tolist()
    timings["cpu"] = [1e3 * own_cpu_s / (ticks + WARM_UP_TICKS)]
    timings["client_cpu"] = [1e3 * client_cpu_s / (ticks + WARM_UP_TICKS)]
    return timings


def report(bare: Timings, bridge: Timings) -> None:
    """Print medians over all turns."""
    bare_ms, tick_ms = np.median(bare["tick"]), np.median(bridge["tick"])
    overhead_ms, high_ms = np.percentile(bridge["overhead"], (50, 95))
    stages = ("world", "sensors", "handover", "decode")
    parts = ", ".join(f"{name} {np.median(bridge[name]):.2f}" for name in stages)
    print(f"bare client: {bare_ms:.2f} ms per tick, {np.mean(bare['cpu']):.2f} ms of CPU time")
    print(f"CarlaWorld: {tick_ms:.2f} ms per tick ({parts})")
    print(
        f"  CPU time per tick: this process {np.mean(bridge['cpu']):.2f} ms, "
        f"the client process {np.mean(bridge['client_cpu']):.2f} ms"
    )
    print(f"  difference to the bare client: {tick_ms - bare_ms:.2f} ms")
    print(
        f"  overhead of the bridge: median {overhead_ms:.2f} ms, 95 % {high_ms:.2f} ms; "
        f"{overhead_ms / bare_ms:.3f} of the bare client's tick"
    )


def main() -> None:
    """Run one server and both clients in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ticks", type=int, nargs="?", default=150)
    parser.add_argument("size", nargs="?", default="512x256", help="of an image, in pixels")
    parser.add_argument("--bare-on", type=int, help=argparse.SUPPRESS)  # the child's port
    given = parser.parse_args()
    ticks, (width_px, height_px) = given.ticks, map(int, given.size.split("x"))
    if given.bare_on is not None:  # the bare client runs in a process of its own
        config = config_for(given.bare_on, width_px, height_px)
        print(json.dumps(measure_bare_client(config, ticks)))
        return
    bare: Timings = {}
    bridge: Timings = {}
    each = -(-ticks // TURNS)
    with StandInProcess() as standin:
        command = [sys.executable, __file__, str(each), given.size, "--bare-on", str(standin.port)]
        for _ in range(TURNS):
            result = subprocess.run(command, check=True, capture_output=True)
            for name, values in json.loads(result.stdout.splitlines()[-1]).items():
                bare.setdefault(name, []).extend(values)
            config = config_for(standin.port, width_px, height_px)
            for name, values in measure_carla_world(config, each).items():
                bridge.setdefault(name, []).extend(values)
    report(bare, bridge)


if __name__ == "__main__":
    main()
