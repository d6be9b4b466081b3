"""A small network that drives from rendered images, evaluated in new towns and a new style.

    python -m benchmarks.learning.imitation collect --episodes 12 --out out/imitation
    python -m benchmarks.learning.imitation train --out out/imitation
    python -m benchmarks.learning.imitation evaluate --out out/imitation

Behaviour cloning: the rules of `sim2street.bridge.driver` drive in training towns and styles,
with disturbances; a network learns their actions from the image, the speed and a coarse turn
command. It is evaluated in training and test towns, in training and test styles. The task is
to keep the lane without traffic (`TownLaneKeepNeural-v0`). Run from the repository's root.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.learning.drivers import Action, Driver, action_of
from benchmarks.learning.measure import drive_episode, summary
from sim2street.bridge.driver import VehicleLimits, drive, lookahead_m
from sim2street.envs import DrivingEnv

ENV_ID = "sim2street/TownLaneKeepNeural-v0"
WIDTH_PX, HEIGHT_PX, FOV_DEG = 128, 64, 62.0
SKY_PX = 16
"""Rows at the top that the network does not get: they never show the road."""

SETTINGS: dict[str, Any] = {
    "disable_env_checker": True,
    "world_settings": {
        "tick_s": 0.2,
        "cameras": {"front": {"width_px": WIDTH_PX, "height_px": HEIGHT_PX, "fov_deg": FOV_DEG}},
    },
    "observation": {"keys": ["image", "state", "route"]},
    "task": {
        "endings": ["collision", "off_lane"],
        "success": ["time_limit"],
        "reset_options": {"route_length_m": 5000.0},
    },
}
"""Five steps per second, lane and obstacles only. The route is used for a turn command."""

TRAIN_STYLES, TEST_STYLES = ("day", "pale"), ("dusk",)
TRAIN_TOWNS, TEST_TOWNS = (0, 1, 2, 3), (900, 901)
MAX_STEPS = 200
"""Steps after which an episode of the rules is cut off."""

TURN_THRESHOLD = 0.25
"""The route turns if its point 30 m ahead is this far to the side, relative to its distance."""

Floats = npt.NDArray[np.float32]


class Imitator(nn.Module):
    """Image, speed and turn command to (steer, accel)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 16, 5), (16, 24, 3), (24, 32, 3), (32, 48, 3))
        layers = [
            part
            for inputs, outputs, kernel in sizes
            for part in (nn.Conv2d(inputs, outputs, kernel, 2, kernel // 2), nn.ReLU())
        ]
        self.eye = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        flat = sizes[-1][1] * ((HEIGHT_PX - SKY_PX) // 16) * (WIDTH_PX // 16)
        self.head = nn.Sequential(nn.Linear(flat + 4, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, images: Tensor, extras: Tensor) -> Tensor:
        """Predict the action.

        Args:
            images: (N, 3, H, W) in [0, 1].
            extras: (N, 4), see `extras_of`.

        Returns:
            (N, 2): five times the steering, and the acceleration.
        """
        features = self.eye(images[:, :, SKY_PX:] - 0.5)
        return self.head(torch.cat([features, extras], dim=1))


def extras_of(observation: dict[str, Any]) -> Floats:
    """float32 (4,): speed / 20 m/s, and a one-hot turn command (left, straight on, right)."""
    side = float(observation["route"][-1])
    command = [side > TURN_THRESHOLD, abs(side) <= TURN_THRESHOLD, side < -TURN_THRESHOLD]
    return np.array([observation["state"][0], *command], np.float32)


def collect(env: DrivingEnv, town: int, style: str, seed: int) -> dict[str, np.ndarray]:
    """Images, extras and the rules' actions of one episode with disturbed steering."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed, options={"town": town, "style": style})
    images, extras, actions, disturbance, over = [], [], [], 0.0, False
    while not over and len(images) < MAX_STEPS:
        assert env.last_frame is not None
        expert = action_of(drive(env.last_frame.ego))
        images.append(observation["image"])
        extras.append(extras_of(observation))
        actions.append(expert)
        if len(images) % 6 == 0:  # every other stretch of 1.2 s is disturbed
            disturbance = 0.0 if disturbance else float(rng.uniform(-0.2, 0.2))
        applied = np.clip(expert + np.array([disturbance, 0.0], np.float32), -1.0, 1.0)
        observation, _, terminated, truncated, _ = env.step(applied)
        over = terminated or truncated
    return {"images": np.stack(images), "extras": np.stack(extras), "actions": np.stack(actions)}


def rotate_views(
    images: Tensor, extras: Tensor, actions: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images as from a camera turned by up to 4°, and the steering that turns back.

    A small rotation is close to a horizontal shift of the image.
    """
    yaw = (torch.rand(len(images), generator=generator) * 2 - 1) * np.radians(4.0)
    focal_px = WIDTH_PX / (2.0 * np.tan(np.radians(FOV_DEG) / 2.0))
    shifts = (torch.tan(yaw) * focal_px).round().long()
    columns = torch.arange(WIDTH_PX)[None] - shifts[:, None]  # turned left, everything moves right
    columns = columns.clamp(0, WIDTH_PX - 1)[:, None, None].expand_as(images)
    # The additional steering of the rules' pure pursuit when the vehicle is turned by `yaw`.
    ahead_m = torch.tensor([lookahead_m(20.0 * speed) for speed in extras[:, 0].tolist()])
    vehicle = VehicleLimits()
    wheel_rad = torch.atan(2.0 * torch.sin(yaw) / ahead_m * vehicle.wheelbase_m)
    steer = actions[:, 0] + wheel_rad / vehicle.max_wheel_rad
    return images.gather(3, columns), torch.stack([steer.clamp(-1, 1), actions[:, 1]], dim=1)


def train(data: dict[str, Tensor], epochs: int, seed: int) -> Imitator:
    """Train with an L1 loss on images with random rotation, brightness and contrast."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net, count = Imitator(), len(data["images"])
    batches = max(1, count // 64)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * batches)
    for epoch in range(epochs):
        errors = []
        for index in torch.randperm(count, generator=generator).chunk(batches)[:batches]:
            images = data["images"][index].permute(0, 3, 1, 2).float() / 255.0
            images, actions = rotate_views(
                images, data["extras"][index], data["actions"][index], generator
            )
            gain = 1.0 + 0.3 * (torch.rand(len(images), 3, 1, 1, generator=generator) * 2 - 1)
            shift = 0.15 * (torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1)
            images = (images * gain + shift).clamp(0.0, 1.0)
            predicted = net(images, data["extras"][index])
            loss = nn.functional.l1_loss(predicted, actions * torch.tensor([5.0, 1.0]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            errors.append(loss.item())
        print(f"epoch {epoch + 1}: error {np.mean(errors):.3f}", flush=True)
    return net.eval()


def imitator_driver(net: Imitator, steers_only: bool = False) -> Driver:
    """The network as a driver. With `steers_only`, the rules accelerate and brake."""

    @torch.no_grad()
    def act(observation: Any, env: DrivingEnv) -> Action:
        image = torch.from_numpy(observation["image"]).permute(2, 0, 1)[None].float() / 255.0
        predicted = net(image, torch.from_numpy(extras_of(observation))[None])[0]
        action = (predicted * torch.tensor([0.2, 1.0])).clamp(-1.0, 1.0).numpy()
        if steers_only:
            assert env.last_frame is not None
            action[1] = action_of(drive(env.last_frame.ego))[1]
        return action

    return act


def evaluate(env: DrivingEnv, driver: Driver, episodes: int) -> dict[str, Any]:
    """Name such as "train towns, test styles" -> summary and episodes."""
    results: dict[str, Any] = {}
    for place, towns in (("train", TRAIN_TOWNS), ("test", TEST_TOWNS)):
        for look, styles in (("train", TRAIN_STYLES), ("test", TEST_STYLES)):
            rows = [
                drive_episode(
                    env,
                    driver,
                    0,
                    towns[i * len(towns) // episodes],
                    60_000_000 + i,
                    {"style": styles[i % len(styles)]},
                )
                for i in range(episodes)
            ]
            name = f"{place} towns, {look} styles"
            results[name] = {"summary": summary(rows), "episodes": [asdict(row) for row in rows]}
            print(name, json.dumps(results[name]["summary"]), flush=True)
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["collect", "train", "evaluate"])
    parser.add_argument("--out", type=Path, default=Path("out/imitation"))
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="time limit of an evaluated episode"
    )
    parser.add_argument("--steers-only", action="store_true", help="the rules accelerate and brake")
    parser.add_argument("--json", type=Path, default=Path("out/imitation/imitation.json"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.part == "train":
        files = [np.load(path) for path in sorted(chosen.out.glob("episode*.npz"))]
        keys = ("images", "extras", "actions")
        data = {key: torch.from_numpy(np.concatenate([f[key] for f in files])) for key in keys}
        torch.save(train(data, chosen.epochs, seed=0).state_dict(), chosen.out / "imitator.pt")
        return
    task = {**SETTINGS["task"], "time_limit_s": chosen.seconds}
    env = gymnasium.make(ENV_ID, **{**SETTINGS, "task": task}).unwrapped
    assert isinstance(env, DrivingEnv)
    try:
        if chosen.part == "collect":
            for i in range(chosen.episodes):
                town = TRAIN_TOWNS[i * len(TRAIN_TOWNS) // chosen.episodes]
                rows = collect(env, town, TRAIN_STYLES[i % len(TRAIN_STYLES)], 40_000_000 + i)
                np.savez_compressed(chosen.out / f"episode{i:03d}.npz", **rows)
                print(f"episode {i}: {len(rows['images'])} images", flush=True)
            return
        net = Imitator().eval()
        net.load_state_dict(torch.load(chosen.out / "imitator.pt", weights_only=True))
        report = {
            "env_id": ENV_ID,
            "seconds": chosen.seconds,
            "steers_only": chosen.steers_only,
            "pictures": sum(len(np.load(p)["extras"]) for p in chosen.out.glob("episode*.npz")),
            "styles": {"train": TRAIN_STYLES, "test": TEST_STYLES},
            "towns": {"train": TRAIN_TOWNS, "test": TEST_TOWNS},
        }
        report["results"] = evaluate(env, imitator_driver(net, chosen.steers_only), chosen.episodes)
        chosen.json.write_text(json.dumps(report, indent=1) + "\n")
    finally:
        env.close()


if __name__ == "__main__":
    main()
