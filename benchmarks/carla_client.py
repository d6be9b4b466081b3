"""What the bridge adds to CARLA's own client: `python benchmarks/carla_client.py [TICKS] [WxH]`.

The same three cameras (labels, depth, instances) on the same ego, between the same vehicles,
on the same stand-in server: the bare client and CarlaWorld in turns. Both wait for the
server's tick, which is left out of the bridge's share. Pictures are decoded as they arrive,
while the server makes the next one: what that costs nevertheless is in the difference of the
two ticks.
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
WARM_UP = 10
TURNS = 3

Numbers = dict[str, list[float]]
"""Milliseconds by what took them."""


def config_for(port: int, width_px: int, height_px: int) -> CarlaConfig:
    """One view; the ego and the vehicles are there already."""
    camera = CarlaCameraConfig(width_px=width_px, height_px=height_px)
    return CarlaConfig(port=port, cameras={"front": camera}, vehicles=0, pictures=KINDS)


def bare(config: CarlaConfig, ticks: int) -> Numbers:
    """CARLA's client alone, in a process of its own."""
    import carla

    client = carla.Client(config.host, config.port)
    client.set_timeout(20.0)
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, config.tick_s
    world.apply_settings(settings)
    world.tick()
    ego = the_ego(world, config.role_name)
    camera, sensors = config.cameras["front"], []
    pictures: list[queue.Queue] = []
    x, y, z, *turn = camera.mount(config.rear_axle_m)
    mount = carla.Transform(carla.Location(x, y, z), carla.Rotation(*turn))
    shape = {"image_size_x": camera.width_px, "image_size_y": camera.height_px}
    for kind in KINDS:
        blueprint = world.get_blueprint_library().find(BLUEPRINTS[kind])
        for name, value in {**shape, "fov": camera.fov_deg}.items():
            blueprint.set_attribute(name, str(value))
        sensors.append(world.spawn_actor(blueprint, mount, attach_to=ego))
        pictures.append(queue.Queue())
        sensors[-1].listen(pictures[-1].put)
    time.sleep(1.0)  # until the streams are connected
    tick_ms, cpu_s = [], time.process_time()
    for _ in range(ticks + WARM_UP):
        started_s = time.perf_counter()
        world.tick()
        for waiting in pictures:
            np.frombuffer(waiting.get(timeout=10.0).raw_data, np.uint8)
        tick_ms.append(1e3 * (time.perf_counter() - started_s))
    cpu_ms = 1e3 * (time.process_time() - cpu_s) / (ticks + WARM_UP)
    for sensor in sensors:
        sensor.stop()
    for sensor in sensors:
        sensor.destroy()
    settings.synchronous_mode, settings.fixed_delta_seconds = False, None
    world.apply_settings(settings)
    world.wait_for_tick()
    return {"tick": tick_ms[WARM_UP:], "cpu": [cpu_ms]}


def the_ego(world: Any, role: str) -> Any:
    """It and the vehicles around it are made once and stay, all of them at rest."""
    for vehicle in world.get_actors().filter("vehicle.*"):
        if vehicle.attributes["role_name"] == role:
            return vehicle
    model = world.get_blueprint_library().find("vehicle.tesla.model3")
    points = world.get_map().get_spawn_points()
    for point in points[1 : VEHICLES + 1]:
        world.spawn_actor(model, point)
    model.set_attribute("role_name", role)
    return world.spawn_actor(model, points[0])


def bridged(config: CarlaConfig, ticks: int) -> Numbers:
    """The same through CarlaWorld, with its stages."""
    numbers: Numbers = {"tick": []}
    world = CarlaWorld(config)
    with world:
        world.reset(0)
        child = psutil.Process(world.client_pid)
        before_s = time.process_time(), sum(child.cpu_times()[:2])
        for tick in range(ticks + WARM_UP):
            started_s = time.perf_counter()
            frame = world.step(Control())
            if tick >= WARM_UP:
                numbers["tick"].append(1e3 * (time.perf_counter() - started_s))
                for name, seconds in frame.stamps.items():
                    numbers.setdefault(name, []).append(1e3 * seconds)
        ours_s = time.process_time() - before_s[0]
        theirs_s = sum(child.cpu_times()[:2]) - before_s[1]
    numbers["share"] = np.subtract(numbers["tick"], numbers["world"]).tolist()
    numbers["cpu"] = [1e3 * ours_s / (ticks + WARM_UP)]
    numbers["client_cpu"] = [1e3 * theirs_s / (ticks + WARM_UP)]
    return numbers


def report(alone: Numbers, ours: Numbers) -> None:
    """Medians over all turns."""
    bare_ms, tick_ms = np.median(alone["tick"]), np.median(ours["tick"])
    share_ms, high_ms = np.percentile(ours["share"], (50, 95))
    stages = ("world", "sensors", "handover", "decode")
    parts = ", ".join(f"{name} {np.median(ours[name]):.2f}" for name in stages)
    print(f"bare client: {bare_ms:.2f} ms a tick, {np.mean(alone['cpu']):.2f} ms of CPU")
    print(f"CarlaWorld: {tick_ms:.2f} ms a tick ({parts})")
    print(
        f"  CPU a tick: this process {np.mean(ours['cpu']):.2f} ms, "
        f"the client's {np.mean(ours['client_cpu']):.2f} ms"
    )
    print(f"  more than the bare client: {tick_ms - bare_ms:.2f} ms")
    print(
        f"  the bridge's share: median {share_ms:.2f} ms, 95 % {high_ms:.2f} ms; "
        f"{share_ms / bare_ms:.3f} of the bare client's tick"
    )


def main() -> None:
    """One server, both clients in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ticks", type=int, nargs="?", default=150)
    parser.add_argument("size", nargs="?", default="512x256", help="of a picture, in pixels")
    parser.add_argument("--bare-on", type=int, help=argparse.SUPPRESS)  # the child's port
    given = parser.parse_args()
    ticks, (width_px, height_px) = given.ticks, map(int, given.size.split("x"))
    if given.bare_on is not None:  # the child that measures the bare client
        print(json.dumps(bare(config_for(given.bare_on, width_px, height_px), ticks)))
        return
    alone: Numbers = {}
    ours: Numbers = {}
    each = -(-ticks // TURNS)
    with StandInProcess() as standin:
        again = [sys.executable, __file__, str(each), given.size, "--bare-on", str(standin.port)]
        for _ in range(TURNS):
            told = subprocess.run(again, check=True, capture_output=True)
            for name, values in json.loads(told.stdout.splitlines()[-1]).items():
                alone.setdefault(name, []).extend(values)
            for name, values in bridged(
                config_for(standin.port, width_px, height_px), each
            ).items():
                ours.setdefault(name, []).extend(values)
    report(alone, ours)


if __name__ == "__main__":
    main()
