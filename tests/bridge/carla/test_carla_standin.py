"""The stand-in with CARLA's own client: its calls, its streams, and golden bytes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("carla")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.standin import payloads
from sim2street.bridge.carla.standin.process import StandInProcess
from sim2street.bridge.carla.standin.protocol_versions import protocol_for
from sim2street.bridge.frame import SKY_DEPTH_M
from sim2street.bridge.labels import Tag

TOUR = Path(__file__).with_name("client_tour.py")

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def tour(carla_standin: StandInProcess) -> dict[str, Any]:
    command = [sys.executable, str(TOUR), str(carla_standin.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=380)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_client_and_server_agree_on_their_version(tour) -> None:
    assert tour["versions"] == ["0.9.16", "0.9.16"]


def test_lanes_continue_and_lie_where_the_town_has_them(tour) -> None:
    name, points, topology, blueprints = tour["map"]
    assert name.startswith("Carla/Maps/")
    assert points > 20
    assert topology > 20
    assert blueprints > 20
    for apart_m, turned_deg, steps, gap_m in tour["roads"]:
        assert apart_m < 0.1
        assert abs(turned_deg) < 2.0
        assert steps == 60, "a lane ends"
        assert gap_m < 5.0, "a lane jumps where roads meet"  # 4 m along the road's middle


def test_a_vehicle_has_the_requested_attributes(tour) -> None:
    assert tour["hero"] == ["vehicle.tesla.model3", "hero", [int(Tag.CAR)]]
    assert tour["extent"] == pytest.approx([2.325, 0.91, 0.725])


def test_images_are_of_their_frame_and_throttle_accelerates(tour) -> None:
    frames = [row[0] for row in tour["drive"]]
    assert frames == list(range(frames[0], frames[0] + 10))
    assert all(set(seen) == {frame} for frame, seen, _, _ in tour["drive"])
    speeds = [row[2] for row in tour["drive"]]
    assert speeds == sorted(speeds)
    assert 0.8 < speeds[-1] < 3.0
    assert tour["drive"][0][3] == pytest.approx(8.3 * 3.6, rel=0.7)


def test_images_carry_tags_depth_and_instances(tour) -> None:
    images = tour["images"]
    assert {int(Tag.ROAD), int(Tag.SKY), int(Tag.BUILDING)} <= set(images["tags"])
    assert images["max_red"] == 255
    assert images["pitch"] == pytest.approx(-3.0, abs=1e-3)
    assert images["ahead_m"] == pytest.approx(2.5, abs=0.05)
    assert images["fov"] == pytest.approx(62.0)


def test_weather_lights_and_batches(tour) -> None:
    assert tour["weather"] == pytest.approx(33.0)
    assert tour["lights"]
    for state, away_m in tour["lights"]:
        assert state in ("Red", "Yellow", "Green")
        assert away_m
        assert max(away_m) < 25.0
    assert tour["light"][:3] == ["Yellow", "Green", 1], "set twice, then frozen"
    assert tour["light"][3] is True
    assert tour["light"][4] > 2, "running again"
    error, apart_m, gone = tour["batch"]
    assert "collision" in error
    assert apart_m < 0.1
    assert gone == ""
    speed_mps, throttle = tour["follow_up"]
    assert speed_mps > 1.0
    assert throttle == 1.0


def test_a_collision_is_reported(tour) -> None:
    assert tour["collision"]
    assert tour["collision"][0].split(".")[0] in ("static", "vehicle")


def test_actors_can_be_destroyed_and_the_map_reloaded(tour) -> None:
    assert all(tour["destroyed"])
    assert tour["left"] == []
    assert tour["reloaded"] > 1


def test_golden_bytes() -> None:
    """Layouts of 0.9.16; the real client reads them in the tests above."""
    head = payloads.header(
        protocol_for("0.9.16").sensor_types["semantic"], 7, 1.5, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    )
    assert head.hex() == (
        "0e00000000000000" "0700000000000000" "000000000000f83f"
        "0000803f" "00000040" "00004040" "00008040" "0000a040" "0000c040"
    )  # fmt: skip
    bgra = np.array([[[1, 2, 3, 255]]], np.uint8)
    assert payloads.image(head, 90.0, bgra)[48:].hex() == "01000000010000000000b442010203ff"
    token = payloads.token(5, 2001)
    assert token.hex() == "05000000d1070100" + "00" * 16


def test_golden_calls(carla_standin: StandInProcess) -> None:
    """Requests as the real client of 0.9.16 sends them, and the answers, byte by byte."""
    requests_and_answers = [
        ("940000a7" + b"version".hex() + "9191c2", "940100c0919201a6" + b"0.9.16".hex()),
        ("940001b0" + b"get_sensor_token".hex() + "9291c205", None),
        ("940002ad" + b"destroy_actor".hex() + "9291c2cd03e7", "940102c0919201c2"),
        (
            "940003b6" + b"set_weather_parameters".hex() + "9291c29e" + "ca00000000" * 14,
            "940103c09191c2",
        ),
        ("940004a7" + b"no_call".hex() + "9191c2", "940104bd" + _UNKNOWN.hex() + "c0"),
    ]
    with socket.create_connection((carla_standin.host, carla_standin.port), 5.0) as peer:
        peer.settimeout(5.0)
        for request, answer in requests_and_answers:
            peer.sendall(bytes.fromhex(request))
            got = peer.recv(1 << 12).hex()
            if answer is None:
                port = (carla_standin.port + 1).to_bytes(2, "little").hex()
                answer = "940101c091920191c41805000000" + port + "0100" + "00" * 16
            assert got == answer


_UNKNOWN = b"the stand-in has no 'no_call'"


def test_golden_snapshot() -> None:
    control = (0.5, -0.25, 0.0, False, True, False, -1)
    car = payloads.ActorRecord(
        actor_id=200,
        transform=(1.0, 2.0, 3.0, 0.0, 90.0, 0.0),
        velocity=(4.0, 0.0, 0.0),
        union=payloads.vehicle_union(control, 30.0, (0, 9)),
    )
    data = payloads.snapshot(17, payloads.SnapshotHead(3, 0.25, 0.05, 1, 2.0), [car, car])
    assert len(data) == 48 + 36 + 2 * 119, "header, snapshot head, actors"
    assert data[48:84].hex() == (
        "0100000000000000" "0000000000000040" "cdcc4c3d" + "00" * 12 + "00000000"
    )  # fmt: skip
    assert data[84:203].hex() == (
        "c8000000" "01" "0000803f" "00000040" "00004040" "00000000" "0000b442" "00000000"
        "00008040" + "00" * 8 + "00" * 24
        + "0000003f" "000080be" "00000000" "00" "01" "00" "ffffffff"
        "0000f041" "00" "01" "09000000" "00" + "00" * 24
    )  # fmt: skip


def test_images_are_encoded_exactly() -> None:
    labels = np.array([[0, 14, 28]], np.uint8)
    depth = np.array([[0.0, 12.345, SKY_DEPTH_M]], np.float32)
    instances = np.array([[0, 300, 65535]], np.uint32)
    blue, green, red, alpha = np.moveaxis(payloads.depth_bgra(depth).astype(np.float64), -1, 0)
    metres = 1000.0 * (red + 256.0 * green + 65536.0 * blue) / (2**24 - 1)
    assert np.abs(metres - depth).max() < 5e-5
    assert metres[0, 2] == SKY_DEPTH_M
    assert (alpha == 255).all()
    assert (payloads.semantic_bgra(labels)[..., 2] == labels).all()
    both = payloads.instance_bgra(labels, instances)
    assert (both[..., 2] == labels).all()
    assert (both[..., 0].astype(int) * 256 + both[..., 1] == instances).all()
