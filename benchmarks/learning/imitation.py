"""A driver that sees rendered frames only through a small network, and how it does elsewhere.

    python -m benchmarks.learning.imitation collect --episodes 12 --out out/imitation
    python -m benchmarks.learning.imitation train --out out/imitation
    python -m benchmarks.learning.imitation evaluate --out out/imitation

Behaviour cloning: the rules of `bridge/driver.py` drive, disturbed now and then, in training
towns and training styles; a network learns what they do from the picture, the speed and a
coarse turn command. It is driven in training and test towns, in training and test styles.
Keeping the lane alone on the streets (`TownLaneKeepNeural-v0`). Run from the root.
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
from sim2street import envs
from sim2street.bridge.driver import CURVATURE_OF_FULL_STEER_1PM, drive

ENV_ID = "sim2street/TownLaneKeepNeural-v0"
WIDTH_PX, HEIGHT_PX, FOV_DEG = 128, 64, 62.0
SKY_PX = 16
"""Rows at the top that are not looked at: no road is there."""
SETTINGS: dict[str, Any] = {
    "disable_env_checker": True,
    "world_settings": {
        "tick_s": 0.2,
        "cameras": {"front": {"width_px": WIDTH_PX, "height_px": HEIGHT_PX, "fov_deg": FOV_DEG}},
    },
    "observation": {"keys": ["image", "state", "route"]},
}
"""Five steps a second. The route only becomes a command; its points would tell the lane."""

TRAIN_STYLES, TEST_STYLES = ("day", "pale"), ("dusk",)
TRAIN_TOWNS, TEST_TOWNS = (0, 1, 2, 3), (900, 901)
MOST_STEPS = 200
TURN_Y = 0.25
"""Sideways over distance of the route 30 m ahead from which it counts as a turn."""

Floats = npt.NDArray[np.float32]


class Imitator(nn.Module):
    """Picture, speed and command to (steer, accel)."""

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
        """images (N, 3, H, W) in [0, 1], extras (N, 4) → (N, 2), steer times 5 and accel."""
        seen = self.eye(images[:, :, SKY_PX:] - 0.5)
        return self.head(torch.cat([seen, extras], dim=1))


def extras_of(observation: dict[str, Any]) -> Floats:
    """Speed and a one-hot command (left, straight on, right), float32 (4,)."""
    side = float(observation["route"][-1])
    command = [side > TURN_Y, abs(side) <= TURN_Y, side < -TURN_Y]
    return np.array([observation["state"][0], *command], np.float32)


def collect(env: envs.DrivingEnv, town: int, style: str, seed: int) -> dict[str, np.ndarray]:
    """One episode of the rules, pushed aside now and then: pictures, extras, right actions."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed, options={"town": town, "style": style})
    images, extras, actions, push, over = [], [], [], 0.0, False
    while not over and len(images) < MOST_STEPS:
        assert env.last_frame is not None
        right = action_of(drive(env.last_frame.ego))
        images.append(observation["image"])
        extras.append(extras_of(observation))
        actions.append(right)
        if len(images) % 6 == 0:  # every other stretch of 1.2 s is disturbed
            push = 0.0 if push else float(rng.uniform(-0.2, 0.2))
        disturbed = np.clip(right + np.array([push, 0.0], np.float32), -1.0, 1.0)
        observation, _, terminated, truncated, _ = env.step(disturbed)
        over = terminated or truncated
    return {"images": np.stack(images), "extras": np.stack(extras), "actions": np.stack(actions)}


def turned(
    images: Tensor, extras: Tensor, actions: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pictures turned by up to 4° (a shift, near enough) and what the rules would do then."""
    yaw = (torch.rand(len(images), generator=generator) * 2 - 1) * np.radians(4.0)
    focal_px = WIDTH_PX / (2.0 * np.tan(np.radians(FOV_DEG) / 2.0))
    shifts = (torch.tan(yaw) * focal_px).round().long()
    columns = torch.arange(WIDTH_PX)[None] - shifts[:, None]  # turned left: all moves right
    columns = columns.clamp(0, WIDTH_PX - 1)[:, None, None].expand_as(images)
    ahead_m = (0.9 * 20.0 * extras[:, 0]).clamp(min=4.0)
    steer = actions[:, 0] + 2.0 * yaw / ahead_m / CURVATURE_OF_FULL_STEER_1PM
    return images.gather(3, columns), torch.stack([steer.clamp(-1, 1), actions[:, 1]], dim=1)


def train(data: dict[str, Tensor], epochs: int, seed: int) -> Imitator:
    """L1 to the right actions, pictures turned and changed in brightness and contrast."""
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
            images, actions = turned(
                images, data["extras"][index], data["actions"][index], generator
            )
            gain = 1.0 + 0.3 * (torch.rand(len(images), 3, 1, 1, generator=generator) * 2 - 1)
            shift = 0.15 * (torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1)
            images = (images * gain + shift).clamp(0.0, 1.0)
            made = net(images, data["extras"][index])
            loss = nn.functional.l1_loss(made, actions * torch.tensor([5.0, 1.0]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            errors.append(loss.item())
        print(f"epoch {epoch + 1}: error {np.mean(errors):.3f}", flush=True)
    return net.eval()


def imitator_driver(net: Imitator, steers_only: bool = False) -> Driver:
    """The network as a driver; where it steers only, the rules accelerate and brake."""

    @torch.no_grad()
    def act(observation: Any, env: envs.DrivingEnv) -> Action:
        image = torch.from_numpy(observation["image"]).permute(2, 0, 1)[None].float() / 255.0
        made = net(image, torch.from_numpy(extras_of(observation))[None])[0]
        action = (made * torch.tensor([0.2, 1.0])).clamp(-1.0, 1.0).numpy()
        if steers_only:
            assert env.last_frame is not None
            action[1] = action_of(drive(env.last_frame.ego))[1]
        return action

    return act


def evaluate(env: envs.DrivingEnv, driver: Driver, episodes: int) -> dict[str, Any]:
    """Towns and styles of both kinds, by name → summary and episodes."""
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
    """Read the command line and do its part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["collect", "train", "evaluate"])
    parser.add_argument("--out", type=Path, default=Path("out/imitation"))
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60.0, help="of an evaluated episode")
    parser.add_argument("--steers-only", action="store_true", help="the rules accelerate")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/learning/imitation.json"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.part == "train":
        files = [np.load(path) for path in sorted(chosen.out.glob("episode*.npz"))]
        keys = ("images", "extras", "actions")
        data = {key: torch.from_numpy(np.concatenate([f[key] for f in files])) for key in keys}
        torch.save(train(data, chosen.epochs, seed=0).state_dict(), chosen.out / "imitator.pt")
        return
    env = gymnasium.make(ENV_ID, task={"time_limit_s": chosen.seconds}, **SETTINGS).unwrapped
    assert isinstance(env, envs.DrivingEnv)
    try:
        if chosen.part == "collect":
            for i in range(chosen.episodes):
                town = TRAIN_TOWNS[i * len(TRAIN_TOWNS) // chosen.episodes]
                rows = collect(env, town, TRAIN_STYLES[i % len(TRAIN_STYLES)], 40_000_000 + i)
                np.savez_compressed(chosen.out / f"episode{i:03d}.npz", **rows)
                print(f"episode {i}: {len(rows['images'])} pictures", flush=True)
            return
        net = Imitator().eval()
        net.load_state_dict(torch.load(chosen.out / "imitator.pt", weights_only=True))
        described = {
            "env_id": ENV_ID,
            "seconds": chosen.seconds,
            "steers_only": chosen.steers_only,
            "pictures": sum(len(np.load(p)["extras"]) for p in chosen.out.glob("episode*.npz")),
            "styles": {"train": TRAIN_STYLES, "test": TEST_STYLES},
            "towns": {"train": TRAIN_TOWNS, "test": TEST_TOWNS},
        }
        described["results"] = evaluate(
            env, imitator_driver(net, chosen.steers_only), chosen.episodes
        )
        chosen.json.write_text(json.dumps(described, indent=1) + "\n")
    finally:
        env.close()


if __name__ == "__main__":
    main()
