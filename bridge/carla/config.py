"""How a CarlaWorld connects, what it sees and who is in it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from sim2street.bridge.carla.axes import UnrealTransform, unreal_of
from sim2street.bridge.frame import Camera
from sim2street.configs import StrictModel

Picture = Literal["labels", "depth_m", "instances", "rgb"]


class CarlaCameraConfig(StrictModel):
    """One camera on the ego.

    Attributes:
        fov_deg: horizontal. 60 to 65 looks like the streets that renderers have learnt
            from; CARLA's own 90 does not. position_m: in the ego's body frame (x forward
            from the rear axle, y left, z up). pitch_deg: > 0 looks up. yaw_deg: > 0 left.
    """

    width_px: int = Field(512, ge=16, le=4096)
    height_px: int = Field(256, ge=16, le=4096)
    fov_deg: float = Field(62.0, ge=20.0, le=120.0)
    position_m: tuple[float, float, float] = (2.2, 0.0, 1.5)
    pitch_deg: float = -2.6
    yaw_deg: float = 0.0

    def camera(self) -> Camera:
        """Its intrinsics."""
        return Camera.from_fov(self.width_px, self.height_px, self.fov_deg)

    def mount(self, rear_axle_m: float) -> UnrealTransform:
        """Where it sits in CARLA's frame of the vehicle."""
        pitch, yaw = math.radians(self.pitch_deg), math.radians(self.yaw_deg)
        pose = np.eye(4)
        cos, sin = math.cos(yaw), math.sin(yaw)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
        up = np.array(
            [
                [math.cos(pitch), 0, -math.sin(pitch)],
                [0, 1.0, 0],
                [math.sin(pitch), 0, math.cos(pitch)],
            ]
        )
        pose[:3, :3] = turn @ up
        pose[:3, 3] = self.position_m
        pose[0, 3] += rear_axle_m
        return unreal_of(pose)


class CarlaConfig(StrictModel):
    """Where CARLA is, how to attach to it, what is seen.

    Attributes:
        attach: "tick": this world ticks the server (synchronous mode, restored at the
            end). "observe": another client does; this one only watches its ego.
        client_python: interpreter with CARLA's client; None is this one.
        pictures: what the cameras see; "rgb" makes CARLA render, which is rarely needed.
        actors_by: how instances are known as actors: by CARLA's "id", or by "place" (their
            pixels lie in the actor's box), for servers whose ids do not say it. "auto": by
            id from 0.9.16 on.
        role_name: of the ego: a vehicle with it is taken, else one is spawned.
        ego: blueprint of a spawned ego. rear_axle_m: from its origin to the middle of the
            rear axle, along x. front_m: from the rear axle to the front bumper.
        vehicles: traffic of ours, driven by the Traffic Manager or (autopilot False) parked.
        weather: a preset of the town's (clear, cloudy, rain, fog, dusk, night), "random",
            or None: as it is.
        warm_up_ticks: before the first frame with new sensors. settle_ticks: before that
            of a later episode.
        timeout_s: of a single call to the server. sensor_deadline_s: for the pictures of a
            tick, all together. reset_deadline_s, open_deadline_s: until a client that says
            nothing is given up.
    """

    host: str = "127.0.0.1"
    port: int = Field(2000, ge=1, le=65534)
    attach: Literal["tick", "observe"] = "tick"
    client_python: str | None = None
    tick_s: float = Field(0.05, gt=0.0, le=0.1)
    cameras: dict[str, CarlaCameraConfig] = Field(
        default_factory=lambda: {"front": CarlaCameraConfig()}
    )
    pictures: tuple[Picture, ...] = ("labels", "depth_m", "instances")
    actors_by: Literal["auto", "id", "place"] = "auto"
    role_name: str = "hero"
    ego: str = "vehicle.tesla.model3"
    rear_axle_m: float = -1.4
    front_m: float = Field(3.8, gt=0.0)
    vehicles: int = Field(0, ge=0, le=400)
    autopilot: bool = True
    traffic_manager_port: int = Field(8000, ge=1, le=65535)
    weather: str | None = None
    route_length_m: float = Field(1000.0, gt=0.0)
    actor_range_m: float = Field(150.0, gt=0.0)
    warm_up_ticks: int = Field(10, ge=1)
    settle_ticks: int = Field(2, ge=1)
    timeout_s: float = Field(10.0, gt=0.0)
    sensor_deadline_s: float = Field(5.0, gt=0.0)
    reset_deadline_s: float = Field(90.0, gt=0.0)
    open_deadline_s: float = Field(60.0, gt=0.0)

    @property
    def step_deadline_s(self) -> float:
        """Until a client that says nothing about a tick is given up."""
        return self.timeout_s + self.sensor_deadline_s + 2.0


class CarlaOptions(StrictModel):
    """What `CarlaWorld.reset(options=...)` takes; what is left out comes from the config.

    Attributes:
        spawn: index of the map's spawn point; None draws one.
        vehicles: traffic of this episode.
    """

    spawn: int | None = Field(None, ge=0)
    vehicles: int | None = Field(None, ge=0, le=400)
    autopilot: bool | None = None
    weather: str | None = None
    route_length_m: float | None = Field(None, gt=0.0)
