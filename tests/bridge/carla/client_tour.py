"""Uses a server through CARLA's own client and prints the results as JSON to stdout.

Run it as a separate process: the client may crash, and its threads do not end in time.
"""

import json
import os
import queue
import sys
import time

import carla

CAMERAS = ("semantic_segmentation", "depth", "instance_segmentation", "rgb")
SIZE = (96, 48)


def main(port: int) -> dict:
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(20.0)
    results = {"versions": [client.get_server_version(), client.get_client_version()]}
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)
    town = world.get_map()
    library = world.get_blueprint_library()
    points = town.get_spawn_points()
    results["map"] = [town.name, len(points), len(town.get_topology()), len(library)]
    results["roads"] = drive_roads(town, points)
    results["light"] = one_light(world, settings)
    model = library.find("vehicle.tesla.model3")
    model.set_attribute("role_name", "hero")
    hero = world.spawn_actor(model, points[0])
    results["hero"] = [hero.type_id, hero.attributes["role_name"], list(hero.semantic_tags)]
    results["extent"] = xyz(hero.bounding_box.extent)
    sensors = [camera(world, hero, kind) for kind in CAMERAS]
    collision_sensor = world.spawn_actor(
        library.find("sensor.other.collision"), carla.Transform(), attach_to=hero
    )
    collisions: queue.Queue = queue.Queue()
    collision_sensor.listen(lambda event: collisions.put((event.frame, event.other_actor.type_id)))
    wake(world, sensors)
    results["drive"] = drive(world, hero, sensors)
    results["images"] = decoded(sensors, world.tick(), hero)
    results["weather"] = weather(world)
    results["lights"] = lights(world, town)
    results["batch"] = batch(client, world, model, points)
    results["follow_up"] = follow_up(client, world, model, points[9])
    results["collision"] = crash(world, hero, collisions)
    for sensor in (collision_sensor, *(s for s, _ in sensors)):
        sensor.stop()
    results["destroyed"] = [s.destroy() for s in (collision_sensor, *(s for s, _ in sensors), hero)]
    settings.synchronous_mode, settings.fixed_delta_seconds = False, None
    world.apply_settings(settings)
    world.wait_for_tick(10.0)
    results["left"] = [a.type_id for a in world.get_actors() if a.type_id.startswith("vehicle")]
    results["reloaded"] = client.reload_world().id
    return results


def drive_roads(town, points) -> list:
    """Follow the lanes from every fifth spawn point, up to 60 waypoints.

    Rows: distance and yaw difference of the first waypoint from the spawn point, number of
    waypoints, largest gap between two of them.
    """
    rows = []
    for point in points[::5]:
        waypoint = town.get_waypoint(point.location)
        apart = waypoint.transform.location.distance(point.location)
        turned = (waypoint.transform.rotation.yaw - point.rotation.yaw + 180.0) % 360.0 - 180.0
        steps, gap = 0, 0.0
        for _ in range(60):
            ways = waypoint.next(4.0)
            if not ways:
                break
            moved = ways[0].transform.location.distance(waypoint.transform.location)
            gap, waypoint, steps = max(gap, moved), ways[0], steps + 1
        rows.append([apart, turned, steps, gap])
    return rows


def camera(world, hero, kind: str):
    blueprint = world.get_blueprint_library().find("sensor.camera." + kind)
    for name, value in (("image_size_x", SIZE[0]), ("image_size_y", SIZE[1]), ("fov", 62)):
        blueprint.set_attribute(name, str(value))
    mount = carla.Transform(carla.Location(x=2.0, z=1.5), carla.Rotation(pitch=-3.0))
    sensor = world.spawn_actor(blueprint, mount, attach_to=hero)
    images: queue.Queue = queue.Queue()
    sensor.listen(images.put)
    return sensor, images


def wake(world, sensors) -> None:
    """Tick until every camera has sent an image: its stream takes time to connect."""
    for _ in range(100):
        world.tick()
        time.sleep(0.05)
        if not any(images.empty() for _, images in sensors):
            break
    for _, images in sensors:
        while not images.empty():
            images.get()


def drive(world, hero, sensors) -> list:
    rows = []
    for _ in range(10):
        hero.apply_control(carla.VehicleControl(throttle=1.0))
        frame = world.tick()
        frames = [images.get(timeout=10.0).frame for _, images in sensors]
        rows.append([frame, frames, hero.get_velocity().length(), hero.get_speed_limit()])
    return rows


def decoded(sensors, frame: int, hero) -> dict:
    images = [images.get(timeout=10.0) for _, images in sensors]
    assert {image.frame for image in images} == {frame}
    colours = [bytes(image.raw_data) for image in images]
    tags = sorted(set(colours[0][2::4]))
    ids = {
        colours[2][i] * 256 + colours[2][i + 1]
        for i in range(0, len(colours[2]), 4)
        if 14 <= colours[2][i + 2] <= 19
    }
    place = images[1].transform
    return {
        "tags": tags,
        "instances": sorted(ids),
        "max_red": max(colours[1][2::4]),
        "pitch": place.rotation.pitch,
        "ahead_m": place.location.distance(hero.get_transform().location),
        "fov": images[0].fov,
    }


def weather(world) -> float:
    changed = world.get_weather()
    changed.fog_density = 33.0
    world.set_weather(changed)
    return world.get_weather().fog_density


def lights(world, town) -> list:
    rows = []
    for light in world.get_actors().filter("traffic.traffic_light*"):
        stops = light.get_stop_waypoints()
        away = [stop.transform.location.distance(light.get_location()) for stop in stops]
        rows.append([str(light.get_state()), away])
    return rows


def one_light(world, settings) -> list:
    """Set a light, freeze all and let them run again, with 0.5 s per tick."""
    settings.fixed_delta_seconds = 0.5
    world.apply_settings(settings)
    light = next(iter(world.get_actors().filter("traffic.traffic_light*")))
    results = []
    for state in (carla.TrafficLightState.Yellow, carla.TrafficLightState.Green):
        light.set_state(state)
        world.tick()
        results.append(str(light.get_state()))
    world.reset_all_traffic_lights()
    world.freeze_all_traffic_lights(True)
    results.append(lights_for(world, 90))
    results.append(light.is_frozen())
    world.freeze_all_traffic_lights(False)
    results.append(lights_for(world, 90))
    settings.fixed_delta_seconds = 0.05
    world.apply_settings(settings)
    return results


def lights_for(world, ticks: int) -> int:
    """How many different combinations of states all lights have in these ticks."""
    lights = world.get_actors().filter("traffic.traffic_light*")
    seen = set()
    for _ in range(ticks):
        world.tick()
        seen.add(tuple(str(light.get_state()) for light in lights))
    return len(seen)


def follow_up(client, world, model, point) -> list:
    """A spawn command with a command that follows it for the spawned actor."""
    drive = carla.command.ApplyVehicleControl(
        carla.command.FutureActor, carla.VehicleControl(throttle=1.0)
    )
    answers = client.apply_batch_sync([carla.command.SpawnActor(model, point).then(drive)], False)
    for _ in range(20):
        world.tick()
    vehicle = world.get_actor(answers[0].actor_id)
    results = [vehicle.get_velocity().length(), vehicle.get_control().throttle]
    client.apply_batch_sync([carla.command.DestroyActor(vehicle)], False)
    return results


def batch(client, world, model, points) -> list:
    spawn = carla.command.SpawnActor
    answers = client.apply_batch_sync([spawn(model, points[9]), spawn(model, points[9])], False)
    world.tick()
    first = answers[0].actor_id
    moved = carla.command.ApplyTransform(first, points[12])
    client.apply_batch_sync([moved], False)
    world.tick()
    apart = world.get_actor(first).get_location().distance(points[12].location)
    gone = client.apply_batch_sync([carla.command.DestroyActor(first)], False)
    world.tick()
    return [answers[1].error, apart, gone[0].error]


def crash(world, hero, collisions) -> list:
    """Drive off the street with full throttle, into whatever is beside it."""
    hero.apply_control(carla.VehicleControl(throttle=1.0, steer=0.4))
    for _ in range(200):
        frame = world.tick()
        if not collisions.empty():
            return [collisions.get()[1], frame]
    return []


def xyz(vector) -> list:
    return [vector.x, vector.y, vector.z]


if __name__ == "__main__":
    result = main(int(sys.argv[1]))
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    time.sleep(0.2)
    os._exit(0)
