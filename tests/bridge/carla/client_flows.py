"""What CARLA's example scripts do, each as one function of the real client: `NAME PORT`.

Prints the results as JSON to stdout. Run it as a separate process: the client may crash, and
its threads do not end in time.
"""

import json
import os
import queue
import random
import socket
import sys
import tempfile
import time

import carla
from route_agent import Agent, Planner

SIZE = (96, 48)
TIMEOUT_S = 10.0


def connect(port):
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(20.0)
    return client, client.get_world()


class SynchronousMode:
    """Synchronous mode during a block, with a queue for each sensor; no warm-up ticks."""

    def __init__(self, world, *sensors, fps=20):
        self._world, self._settings = world, world.get_settings()
        self._queues = []
        settings = world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, 1.0 / fps
        world.apply_settings(settings)
        for listen in (world.on_tick, *(sensor.listen for sensor in sensors)):
            data = queue.Queue()
            listen(data.put)
            self._queues.append(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._world.apply_settings(self._settings)

    def tick(self, timeout_s=2.0):
        frame = self._world.tick()
        return [self._of_frame(data, frame, timeout_s) for data in self._queues]

    @staticmethod
    def _of_frame(data, frame, timeout_s):
        while True:
            item = data.get(timeout=timeout_s)
            if item.frame == frame:
                return item


def camera(world, kind, parent, **attributes):
    blueprint = world.get_blueprint_library().find("sensor.camera." + kind)
    given = {"image_size_x": SIZE[0], "image_size_y": SIZE[1], **attributes}
    for name, value in given.items():
        blueprint.set_attribute(name, str(value))
    mount = carla.Transform(carla.Location(x=-5.5, z=2.8), carla.Rotation(pitch=-15.0))
    return world.spawn_actor(blueprint, mount, attach_to=parent)


def synchronous_mode(port):
    """A car that is put from waypoint to waypoint, with two cameras; first tick at once."""
    _, world = connect(port)
    points = world.get_map().get_spawn_points()
    model = random.Random(0).choice(list(world.get_blueprint_library().filter("vehicle.*")))
    vehicle = world.spawn_actor(model, points[1])
    vehicle.set_simulate_physics(False)
    cameras = [camera(world, kind, vehicle) for kind in ("rgb", "semantic_segmentation")]
    waypoint, frames = world.get_map().get_waypoint(points[1].location), []
    with SynchronousMode(world, *cameras) as mode:
        for _ in range(5):
            snapshot, rgb, semantic = mode.tick()
            semantic.convert(carla.ColorConverter.CityScapesPalette)
            waypoint = random.Random(0).choice(waypoint.next(1.5))
            vehicle.set_transform(waypoint.transform)
            frames.append(
                [snapshot.frame, rgb.frame, semantic.frame, len(set(bytes(rgb.raw_data)))]
            )
    moved = vehicle.get_location().distance(points[1].location)
    destroy([*cameras, vehicle])
    return {"frames": frames, "moved_m": moved}


def tutorial(port):
    """A car on autopilot with a camera that saves depth images, and some more cars."""
    client, world = connect(port)
    library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
    model = library.filter("vehicle")[0]
    if model.has_attribute("color"):
        model.set_attribute("color", model.get_attribute("color").recommended_values[0])
    vehicle = world.spawn_actor(model, points[0])
    vehicle.set_autopilot(True, free_port())
    depth = camera(world, "depth", vehicle)
    folder = tempfile.mkdtemp()
    depth.listen(
        lambda image: image.save_to_disk(
            os.path.join(folder, f"{image.frame:06d}.png"), carla.ColorConverter.LogarithmicDepth
        )
    )
    before = vehicle.get_location()
    vehicle.set_location(before + carla.Location(x=0.0, y=0.0, z=0.0))
    others = [world.try_spawn_actor(model, point) for point in points[5:9]]
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        driven = vehicle.get_location().distance(before)
        if driven > 1.0 and len(os.listdir(folder)) >= 3:
            break
        time.sleep(0.1)
    depth.stop()
    saved = len(os.listdir(folder))
    depth.destroy()
    client.apply_batch([carla.command.DestroyActor(actor) for actor in [vehicle, *others] if actor])
    time.sleep(0.3)
    return {"saved": saved, "driven_m": driven, "others": sum(o is not None for o in others)}


def generate_traffic(port):
    """Vehicles by the Traffic Manager and walkers by their controllers."""
    client, world = connect(port)
    manager = client.get_trafficmanager(free_port())
    manager.set_global_distance_to_leading_vehicle(2.5)
    manager.set_random_device_seed(3)
    manager.set_synchronous_mode(True)
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
    spawn, future = carla.command.SpawnActor, carla.command.FutureActor
    autopilot = carla.command.SetAutopilot
    models = list(library.filter("vehicle.*"))
    commands = [
        spawn(models[i % len(models)], point).then(autopilot(future, True, manager.get_port()))
        for i, point in enumerate(points[:10])
    ]
    vehicles = [r.actor_id for r in client.apply_batch_sync(commands, True) if not r.error]
    for vehicle in world.get_actors(vehicles):
        manager.update_vehicle_lights(vehicle, True)
    walkers, controllers, errors = walkers_with_controllers(client, world)
    world.tick()
    actors = list(world.get_actors(controllers))
    world.set_pedestrians_cross_factor(0.2)
    starts = {w.id: w.get_location() for w in world.get_actors(walkers)}
    for controller in actors:
        controller.start()
        controller.go_to_location(world.get_random_location_from_navigation())
        controller.set_max_speed(1.4)
    before = {v.id: v.get_location() for v in world.get_actors(vehicles)}
    for _ in range(100):
        world.tick()
    walked = [w.get_location().distance(starts[w.id]) for w in world.get_actors(walkers)]
    heights = [w.get_location().z for w in world.get_actors(walkers)]
    driven = [v.get_location().distance(before[v.id]) for v in world.get_actors(vehicles)]
    lights = world.get_vehicles_light_states()
    for controller in actors:
        controller.stop()
    for vehicle in world.get_actors(vehicles):
        vehicle.set_autopilot(False, manager.get_port())
    world.tick()  # so that the Traffic Manager knows before they are gone
    gone = [carla.command.DestroyActor(i) for i in [*vehicles, *controllers, *walkers]]
    client.apply_batch_sync(gone, True)
    settings.synchronous_mode, settings.fixed_delta_seconds = False, None
    world.apply_settings(settings)
    return {
        "vehicles": len(vehicles),
        "driven_m": driven,
        "walkers": len(walkers),
        "errors": errors,
        "walked_m": walked,
        "heights_m": heights,
        "lights": len(lights),
    }


def walkers_with_controllers(client, world):
    """Ids of walkers and of their controllers, and the errors."""
    library, spawn = world.get_blueprint_library(), carla.command.SpawnActor
    places = [world.get_random_location_from_navigation() for _ in range(8)]
    models = list(library.filter("walker.pedestrian.*"))
    commands = []
    for i, place in enumerate(places):
        if place is None:
            continue
        model = models[i % len(models)]
        if model.has_attribute("is_invincible"):
            model.set_attribute("is_invincible", "false")
        commands.append(spawn(model, carla.Transform(place)))
    results = client.apply_batch_sync(commands, True)
    walkers = [r.actor_id for r in results if not r.error]
    model = library.find("controller.ai.walker")
    made = client.apply_batch_sync([spawn(model, carla.Transform(), i) for i in walkers], True)
    errors = [r.error for r in [*results, *made] if r.error]
    return walkers, [r.actor_id for r in made if not r.error], errors


def automatic_control(port):
    """An agent drives along planned routes, one after the other, among parked cars."""
    _, world = connect(port)
    points = world.get_map().get_spawn_points()
    planner = Planner(world.get_map())
    model = world.get_blueprint_library().find("vehicle.tesla.model3")
    vehicle = world.spawn_actor(model, points[0])
    reached = []
    with SynchronousMode(world) as mode:
        mode.tick()
        for goal in (points[len(points) // 2], points[-1]):
            route = planner.route(vehicle.get_location(), goal.location)
            agent = Agent(world, vehicle, route)
            ticks = 0
            while not agent.done and ticks < 6000:
                vehicle.apply_control(agent.control())
                mode.tick()
                ticks += 1
            away = vehicle.get_location().distance(goal.location)
            reached.append([len(route), ticks, away, agent.stopped_at_red])
    destroy([vehicle])
    return {"reached": reached}


def manual_control(port):
    """All that a driver at the keyboard uses: sensors, weather, physics, lights, doors."""
    _, world = connect(port)
    library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
    model = library.find("vehicle.tesla.model3")
    model.set_attribute("role_name", "hero")
    player = world.spawn_actor(model, points[3])
    physics = player.get_physics_control()
    physics.use_sweep_wheel_collision = True
    player.apply_physics_control(physics)
    events = {}
    names = ("other.collision", "other.lane_invasion", "other.gnss", "other.imu")
    sensors = []
    for name in names:
        sensor = world.spawn_actor(
            library.find("sensor." + name), carla.Transform(), attach_to=player
        )
        events[name] = queue.Queue()
        sensor.listen(events[name].put)
        sensors.append(sensor)
    refused = {}
    for name in ("lidar.ray_cast", "other.radar", "camera.dvs"):
        try:
            world.spawn_actor(library.find("sensor." + name), carla.Transform(), attach_to=player)
        except RuntimeError as error:
            refused[name] = str(error)
    flow = camera(world, "optical_flow", player)
    results = {"refused": refused}
    with SynchronousMode(world, flow) as mode:
        mode.tick()
        player.apply_control(carla.VehicleControl(throttle=1.0, steer=-0.1))
        for _ in range(20):
            _, image = mode.tick()
        results["flow"] = [image.width, image.height, max(abs(p.x) + abs(p.y) for p in image)]
        results["acceleration"] = player.get_acceleration().length()
        results["imu"], results["gnss"] = measured(world, events, player)
        results["weather"] = weathers(world)
        player.set_light_state(carla.VehicleLightState(carla.VehicleLightState.Brake))
        mode.tick()
        results["light"] = int(player.get_light_state())
        again = player.get_physics_control()
        results["physics"] = [again.use_sweep_wheel_collision, len(again.wheels), again.mass > 500]
        player.enable_constant_velocity(carla.Vector3D(x=6.0))
        for _ in range(5):
            mode.tick()
        results["constant_mps"] = player.get_velocity().length()
        player.disable_constant_velocity()
        results["lacking"] = lacking(world, player, mode)
        mode.tick()
    destroy([flow, *sensors, player])
    return results


def measured(world, events, player):
    """The last data of the inertial sensor and of the GNSS receiver, beside the truth."""
    imu, gnss = last(events["other.imu"]), last(events["other.gnss"])
    place = world.get_map().transform_to_geolocation(gnss.transform.location)
    yaw = player.get_transform().rotation.yaw
    inertial = [
        *(imu.accelerometer.x, imu.accelerometer.z, imu.gyroscope.z, imu.compass),
        *(player.get_angular_velocity().z, yaw),
    ]
    position = [gnss.latitude, gnss.longitude, gnss.altitude]
    return inertial, [*position, place.latitude, place.longitude, place.altitude]


def last(data):
    item = data.get(timeout=TIMEOUT_S)
    while not data.empty():
        item = data.get()
    return item


def weathers(world):
    """How many of the client's weather presets the server takes."""
    names = [name for name in dir(carla.WeatherParameters) if name[0].isupper()]
    taken = 0
    for name in names:
        world.set_weather(getattr(carla.WeatherParameters, name))
        wanted = getattr(carla.WeatherParameters, name).sun_altitude_angle
        taken += abs(world.get_weather().sun_altitude_angle - wanted) < 1e-3
    return [taken, len(names)]


def lacking(world, player, mode):
    """The errors of calls that the stand-in lacks, and that the client does not wait for."""
    calls = {
        "open_vehicle_door": lambda: player.open_door(carla.VehicleDoor.All),
        "apply_ackermann_control_to_vehicle": lambda: player.apply_ackermann_control(
            carla.VehicleAckermannControl(speed=5.0)
        ),
        "add_actor_impulse": lambda: player.add_impulse(carla.Vector3D(x=100.0)),
    }
    errors = {}
    for name, call in calls.items():
        call()
        try:
            mode.tick()
            errors[name] = ""
        except RuntimeError as error:
            errors[name] = str(error)
    return errors


def world_queries(port):
    """Crosswalks, rays, and a sensor that sends every third tick."""
    _, world = connect(port)
    town, points = world.get_map(), world.get_map().get_spawn_points()
    crosswalks = town.get_crosswalks()
    start = points[2].location + carla.Location(z=3.0)
    down = world.cast_ray(start, start - carla.Location(z=10.0))
    below = world.ground_projection(start, 10.0)
    vehicle = world.spawn_actor(world.get_blueprint_library().filter("vehicle.*")[0], points[2])
    seldom = camera(world, "depth", vehicle, sensor_tick=0.15)
    images = queue.Queue()
    with SynchronousMode(world) as mode:
        seldom.listen(images.put)
        first = mode.tick()[0].frame
        for _ in range(9):
            mode.tick()
        frames = [images.get(timeout=TIMEOUT_S).frame - first for _ in range(4)]
        hit = world.cast_ray(start, start - carla.Location(z=10.0))
    destroy([seldom, vehicle])
    return {
        "crosswalks": [[p.x, p.y] for p in crosswalks],
        "down": [[p.location.z, str(p.label)] for p in down],
        "below": [below.location.z, str(below.label)],
        "on_the_car": [[p.location.z, str(p.label)] for p in hit],
        "seldom": frames,
    }


def maps(port):
    """Maps by name: those that there are, and those that there are not."""
    client, world = connect(port)
    errors, before = {}, world.get_map().name
    for name in ("Town99", "MyTown"):
        try:
            client.load_world(name)
        except RuntimeError as error:
            errors[name] = str(error)
    return {
        "names": [name.rsplit("/", 1)[-1] for name in client.get_available_maps()],
        "errors": errors,
        "loaded": client.load_world("Town05").get_map().name,
        "again": client.load_world(before).get_map().name,
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def destroy(actors):
    for actor in actors:
        if actor.type_id.startswith("sensor.") and actor.is_listening:
            actor.stop()
    for actor in actors:
        actor.destroy()


FLOWS = {
    flow.__name__: flow
    for flow in (
        *(synchronous_mode, tutorial, generate_traffic, automatic_control),
        *(manual_control, world_queries, maps),
    )
}

if __name__ == "__main__":
    result = FLOWS[sys.argv[1]](int(sys.argv[2]))
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    time.sleep(0.2)
    os._exit(0)
