"""A planner and an agent as CARLA's users write them: routes in the map's topology, followed.

It uses the client's map in the same ways as CARLA's own planner does: lanes are walked in steps
until their end is near, and lanes are joined where their rounded ends are equal.
"""

import heapq
import math

import carla

MAX_STEPS = 2000
LOOK_AHEAD_M = 6.0
REACHED_M = 3.0
STOP_AHEAD_M = 12.0


class LaneWithoutEndError(Exception):
    """The steps along a lane never come near its end."""


class Planner:
    """Shortest routes from lane to lane."""

    def __init__(self, town, spacing_m=2.0):
        self._town, self._spacing_m = town, spacing_m
        self._lanes = {}
        self._edges = {}
        for first, last in town.get_topology():
            path = lane_path(first, last, spacing_m)
            start, end = node(first), node(last)
            self._lanes[first.road_id, first.section_id, first.lane_id] = start, end
            self._edges.setdefault(start, []).append((len(path) * spacing_m, end, path))

    def route(self, start, goal):
        """Waypoints from one location to another; empty if there is no way."""
        first, last = (self._town.get_waypoint(location) for location in (start, goal))
        begin = self._lanes[first.road_id, first.section_id, first.lane_id]
        finish = self._lanes[last.road_id, last.section_id, last.lane_id]
        lanes = self._lanes_between(begin, finish)
        points = [point for path in lanes for point in path]
        return cut(points, start, goal)

    def _lanes_between(self, begin, finish):
        """Paths of the lanes from the first lane to the last one, both included."""
        first = next(path for _, end, path in self._edges[begin[0]] if end == begin[1])
        queue, known = [(0.0, 0, begin[1], [first])], set()
        count = 0
        while queue:
            cost, _, at, paths = heapq.heappop(queue)
            if at == finish[0]:
                last = next(path for _, end, path in self._edges[at] if end == finish[1])
                return [*paths, last]
            if at in known:
                continue
            known.add(at)
            for length_m, end, path in self._edges.get(at, ()):
                count += 1
                heapq.heappush(queue, (cost + length_m, count, end, [*paths, path]))
        return []


def lane_path(first, last, spacing_m):
    """Waypoints along a lane of the topology."""
    end, path = last.transform.location, [first]
    while path[-1].transform.location.distance(end) > spacing_m:
        path.append(path[-1].next(spacing_m)[0])
        if len(path) > MAX_STEPS:
            raise LaneWithoutEndError(f"road {first.road_id}, lane {first.lane_id}")
    return path


def node(waypoint):
    """The place of a lane's end, rounded to metres."""
    place = waypoint.transform.location
    return round(place.x), round(place.y)


def cut(points, start, goal):
    """The part of a route between the points that are nearest to its start and its goal."""
    if not points:
        return []
    begin = min(range(len(points)), key=lambda i: points[i].transform.location.distance(start))
    ends = range(begin, len(points))
    end = min(ends, key=lambda i: points[i].transform.location.distance(goal))
    return points[begin : end + 1]


class Agent:
    """Follows a route: keeps its speed, stops at red lights and behind vehicles."""

    def __init__(self, world, vehicle, route, speed_mps=7.0):
        self._world, self._vehicle, self._speed_mps = world, vehicle, speed_mps
        self.route = list(route)
        self.stopped_at_red = 0
        self._stops = [
            (light, [stop.transform.location for stop in light.get_stop_waypoints()])
            for light in world.get_actors().filter("traffic.traffic_light*")
        ]

    @property
    def done(self):
        return not self.route

    def control(self):
        """The control for the next tick."""
        pose = self._vehicle.get_transform()
        speed = self._vehicle.get_velocity().length()
        ahead = max(LOOK_AHEAD_M, speed)
        while self.route and self.route[0].transform.location.distance(pose.location) < REACHED_M:
            self.route.pop(0)
        if self.done or self._must_stop(pose):
            return carla.VehicleControl(brake=1.0)
        target = next(
            (p for p in self.route if p.transform.location.distance(pose.location) > ahead),
            self.route[-1],
        )
        away = target.transform.location - pose.location
        turn = math.atan2(away.y, away.x) - math.radians(pose.rotation.yaw)
        turn = math.remainder(turn, 2.0 * math.pi)
        wanted = self._speed_mps * max(0.35, 1.0 - abs(turn))
        push = 0.6 * (wanted - speed)
        return carla.VehicleControl(
            steer=max(-1.0, min(1.0, 1.6 * turn)),
            throttle=max(0.0, min(0.8, push)),
            brake=max(0.0, min(1.0, -push)),
        )

    def _must_stop(self, pose):
        near = [p.transform.location for p in self.route[:10]]
        for light, stops in self._stops:
            if light.get_state() == carla.TrafficLightState.Red:
                for stop in stops:
                    on_route = any(stop.distance(place) < 1.5 for place in near)
                    if on_route and stop.distance(pose.location) < STOP_AHEAD_M:
                        self.stopped_at_red += 1
                        return True
        for other in self._world.get_actors().filter("vehicle.*"):
            place = other.get_location()
            is_near = other.id != self._vehicle.id and place.distance(pose.location) < STOP_AHEAD_M
            if is_near and any(place.distance(point) < 1.5 for point in near):
                return True
        return False
