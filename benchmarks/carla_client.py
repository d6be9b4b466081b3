"""What the bridge adds to CARLA's own client: `python benchmarks/carla_client.py [TICKS] [WxH]`.

The same three cameras (labels, depth, instances) on the same stand-in server, first with
the bare client, then through CarlaWorld; both wait for the server's rendering, which is
left out of the bridge's share. Pictures are decoded as they arrive, while the server makes
the next one: what that costs nevertheless is in the difference of the two ticks.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import time

import numpy as np
import psutil

from bridge.carla.config import CarlaCameraConfig, CarlaConfig
from bridge.carla.standin.process import StandInProcess
from bridge.carla.world import CarlaWorld
from bridge.frame import Control

KINDS = ("labels", "depth_m", "instances")
BLUEPRINTS = {
    "labels": "sensor.camera.semantic_segmentation",
    "depth_m": "sensor.camera.depth",
    "instances": "sensor.camera.instance_segmentation",
}
VEHICLES = 10
WARM_UP = 10


def bare(port: int, ticks: int, width_px: int, height_px: int) -> None:
    """CARLA's client alone, in a process of its own: prints milliseconds a tick, and of CPU."""
    import carla

    client = carla.Client("127.0.0.1", port)
    client.set_timeout(20.0)
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
    ego_model = library.find("vehicle.tesla.model3")
    ego = world.spawn_actor(ego_model, points[0])
    cars = [world.spawn_actor(ego_model, point) for point in points[1 : VEHICLES + 1]]
    sensors, pictures = [], []
    for kind in KINDS:
        blueprint = library.find(BLUEPRINTS[kind])
        for name, value in (("image_size_x", width_px), ("image_size_y", height_px), ("fov", 62)):
            blueprint.set_attribute(name, str(value))
        mount = carla.Transform(carla.Location(x=0.8, z=1.5))
        sensors.append(world.spawn_actor(blueprint, mount, attach_to=ego))
        pictures.append(queue.Queue())
        sensors[-1].listen(pictures[-1].put)
    time.sleep(1.0)  # until the streams are connected
    wall_ms, cpu_s = [], time.process_time()
    for _ in range(ticks + WARM_UP):
        started_s = time.perf_counter()
        world.tick()
        for waiting in pictures:
            np.frombuffer(waiting.get(timeout=10.0).raw_data, np.uint8)
        wall_ms.append(1e3 * (time.perf_counter() - started_s))
    cpu_ms = 1e3 * (time.process_time() - cpu_s) / (ticks + WARM_UP)
    for sensor in sensors:
        sensor.stop()
    for actor in (*sensors, *cars, ego):
        actor.destroy()
    settings.synchronous_mode, settings.fixed_delta_seconds = False, None
    world.apply_settings(settings)
    world.wait_for_tick()
    print(f"{np.median(wall_ms[WARM_UP:])} {cpu_ms}")


def bridged(port: int, ticks: int, width_px: int, height_px: int, bare_ms: float) -> None:
    """CarlaWorld: the same, with its stages. `bare_ms`: a tick of the bare client."""
    camera = CarlaCameraConfig(width_px=width_px, height_px=height_px)
    config = CarlaConfig(
        port=port, cameras={"front": camera}, vehicles=VEHICLES, autopilot=False, pictures=KINDS
    )
    with CarlaWorld(config) as world:
        world.reset(0)
        stages: dict[str, list[float]] = {}
        wall_ms = []
        child = psutil.Process(world.client_pid)
        before = time.process_time(), sum(child.cpu_times()[:2])
        for tick in range(ticks + WARM_UP):
            started_s = time.perf_counter()
            frame = world.step(Control(throttle=0.3))
            if tick >= WARM_UP:
                wall_ms.append(1e3 * (time.perf_counter() - started_s))
                for name, seconds in frame.stamps.items():
                    stages.setdefault(name, []).append(1e3 * seconds)
        ours = 1e3 * (time.process_time() - before[0]) / (ticks + WARM_UP)
        theirs = 1e3 * (sum(child.cpu_times()[:2]) - before[1]) / (ticks + WARM_UP)
    share = np.sum([stages[name] for name in ("sensors", "handover", "decode")], axis=0)
    parts = ", ".join(f"{name} {np.median(ms):.2f}" for name, ms in stages.items())
    tick_ms = np.median(wall_ms)
    print(f"CarlaWorld: {tick_ms:.2f} ms a tick ({parts})")
    print(f"  more than the bare client: {tick_ms - bare_ms:.2f} ms")
    print(f"  CPU a tick: this process {ours:.2f} ms, the client's {theirs:.2f} ms")
    high = np.percentile(share, 95)
    print(f"  the bridge's share: median {np.median(share):.2f} ms, 95 % {high:.2f} ms")


def main() -> None:
    """One server, both clients."""
    ticks = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    width_px, height_px = map(int, sys.argv[2].split("x")) if len(sys.argv) > 2 else (512, 256)
    if len(sys.argv) > 3:  # the child that measures the bare client
        bare(int(sys.argv[3]), ticks, width_px, height_px)
        return
    with StandInProcess() as standin:
        again = [sys.executable, __file__, str(ticks), f"{width_px}x{height_px}"]
        told = subprocess.run([*again, str(standin.port)], check=True, capture_output=True)
        bare_ms, cpu_ms = map(float, told.stdout.decode().split())
        print(f"bare client: {bare_ms:.2f} ms a tick, {cpu_ms:.2f} ms of CPU")
        bridged(standin.port, ticks, width_px, height_px, bare_ms)


if __name__ == "__main__":
    main()
