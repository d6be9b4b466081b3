"""Settings of a CarlaWorld: the connection, the cameras, the ego and the traffic."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from sim2street.bridge.carla.axes import UnrealTransform, unreal_of
from sim2street.bridge.frame import Camera
from sim2street.configs import StrictModel

ImageKind = Literal["labels", "depth_m", "instances", "rgb"]


class CarlaCameraConfig(StrictModel):
    """One camera on the ego.

    Attributes:
        fov_deg: horizontal field of view. 60 to 65 degrees match the street photographs that
            renderers are trained on; CARLA's default is 90.
        position_m: in the ego's body frame: x forward from the middle of the rear axle, y left,
            z up.
        pitch_deg: positive looks up.
        yaw_deg: positive looks left.
    """

    width_px: int = Field(512, ge=16, le=4096)
    height_px: int = Field(256, ge=16, le=4096)
    fov_deg: float = Field(62.0, ge=20.0, le=120.0)
    position_m: tuple[float, float, float] = (2.2, 0.0, 1.5)
    pitch_deg: float = -2.6
    yaw_deg: float = 0.0

    def camera(self) -> Camera:
        """The camera's intrinsics."""
        return Camera.from_fov(self.width_px, self.height_px, self.fov_deg)

    def mount(self, rear_axle_m: float) -> UnrealTransform:
        """The camera's transform relative to the vehicle, in CARLA's axes.

        `rear_axle_m`: x of the rear axle from the vehicle's origin.
        """
        pitch, yaw = math.radians(self.pitch_deg), math.radians(self.yaw_deg)
        cos, sin = math.cos(yaw), math.sin(yaw)
        turn_left = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
        look_up = np.array(
            [
                [math.cos(pitch), 0, -math.sin(pitch)],
                [0, 1.0, 0],
                [math.sin(pitch), 0, math.cos(pitch)],
            ]
        )
        pose = np.eye(4)
        pose[:3, :3] = turn_left @ look_up
        pose[:3, 3] = self.position_m
        pose[0, 3] += rear_axle_m
        return unreal_of(pose)


class CarlaConfig(StrictModel):
    """Where the CARLA server is, how to attach to it, and what the episodes contain.

    Attributes:
        host, port: of the server's RPC port; the data streams are at the port after it.
        attach: "tick" ticks the server in synchronous mode and restores its settings at the
            end. "observe" adds cameras to the ego of another client that ticks.
        client_python: Python interpreter that has CARLA's client; None is this one.
        tick_s: simulated time per tick.
        pictures: what each camera delivers. "rgb" makes CARLA render its own image, which is
            slow and which renderers do not need.
        actors_by: how pixels of instance images are assigned to actors. "id": by the actor ids
            that CARLA 0.9.16 writes into them. "place": by the actor's bounding box that
            contains the pixel's 3-D point. "auto": "id" from 0.9.16 on, else "place".
        role_name: of the ego. A vehicle that has this role name is used; otherwise one is
            spawned.
        ego: blueprint of a spawned ego.
        rear_axle_m: x of the middle of the rear axle from the ego's origin (negative: behind).
        front_m: distance from the rear axle to the front bumper.
        vehicles: number of other vehicles to spawn.
        autopilot: CARLA's Traffic Manager drives these vehicles; False parks them.
        traffic_manager_port: port on this host for the Traffic Manager; None is any free one.
            A given port must be free, so each CarlaWorld on a host needs its own.
        weather: "clear", "cloudy", "rain", "fog", "dusk", "night", "random", or None to leave
            the server's weather as it is.
        route_length_m: distance from the start of an episode to its goal.
        actor_range_m: frames contain the actors up to this distance from the ego.
        warm_up_ticks: ticks before the first frame with new sensors.
        timeout_s: for a single call to the server.
        sensor_deadline_s: for all images of a tick together.
        reset_deadline_s: for each of the two halves of a reset; afterwards the client process
            is killed.
        open_deadline_s: for connecting; afterwards the client process is killed.
        server_patience_s: how long open() and reset() wait for a server that does not listen or
            answer, for example because it is being restarted.
    """

    host: str = "127.0.0.1"
    port: int = Field(2000, ge=1, le=65534)
    attach: Literal["tick", "observe"] = "tick"
    client_python: str | None = None
    tick_s: float = Field(0.05, gt=0.0, le=0.1)
    cameras: dict[str, CarlaCameraConfig] = Field(
        default_factory=lambda: {"front": CarlaCameraConfig()}
    )
    pictures: tuple[ImageKind, ...] = ("labels", "depth_m", "instances")
    actors_by: Literal["auto", "id", "place"] = "auto"
    role_name: str = "hero"
    ego: str = "vehicle.tesla.model3"
    rear_axle_m: float = -1.4
    front_m: float = Field(3.8, gt=0.0)
    vehicles: int = Field(0, ge=0, le=400)
    autopilot: bool = True
    traffic_manager_port: int | None = Field(None, ge=1, le=65535)
    weather: str | None = None
    route_length_m: float = Field(1000.0, gt=0.0)
    actor_range_m: float = Field(150.0, gt=0.0)
    warm_up_ticks: int = Field(10, ge=1)
    timeout_s: float = Field(10.0, gt=0.0)
    sensor_deadline_s: float = Field(5.0, gt=0.0)
    reset_deadline_s: float = Field(90.0, gt=0.0)
    open_deadline_s: float = Field(60.0, gt=0.0)
    server_patience_s: float = Field(0.0, ge=0.0)

    @property
    def step_deadline_s(self) -> float:
        """For a step; afterwards the client process is killed."""
        return self.timeout_s + self.sensor_deadline_s + 2.0


class CarlaOptions(StrictModel):
    """Options of `CarlaWorld.reset`. Those left out have the values of the CarlaConfig.

    Attributes:
        spawn: index of the map's spawn point for the ego; None draws one from the seed.
        vehicles: number of other vehicles in this episode.
    """

    spawn: int | None = Field(None, ge=0)
    vehicles: int | None = Field(None, ge=0, le=400)
    autopilot: bool | None = None
    weather: str | None = None
    route_length_m: float | None = Field(None, gt=0.0)
