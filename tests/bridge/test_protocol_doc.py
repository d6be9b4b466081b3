"""docs/protocol.md against the code: its bytes, its names, and its two whole programs."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.noted_renderer import NotedRenderer
from support.processes import ServerProcess

from sim2street.bridge import errors
from sim2street.bridge.check.run import check_world
from sim2street.bridge.errors import WorldLost
from sim2street.bridge.frame import EGO_UNKNOWN, POSE_UNKNOWN, Camera, Control
from sim2street.bridge.labels import Tag
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.bridge.transport import ClientConfig, RemoteWorld
from sim2street.bridge.wire import schema
from sim2street.bridge.wire.codec import DTYPES, Limits, decode, encode
from sim2street.bridge.wire.world_messages import VIEW_BUFFERS, read_control, read_frame

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def block(title: str) -> str:
    """The fenced block of that title."""
    found = re.search(rf"^```{title}\n(.*?)^```", TEXT, re.M | re.S)
    assert found, title
    return found[1]


def dump(title: str) -> bytes:
    """The bytes of a hex dump."""
    lines = [line.split("  ", 1)[1] for line in block(f"hex {title}").splitlines()]
    return bytes.fromhex(" ".join(lines))


def test_the_example_is_what_the_code_writes_and_reads() -> None:
    step = dump("step")
    message = decode([step], Limits())
    assert [bytes(part) for part in encode(message)] == [step]
    assert (message.kind, message.seq, message.episode) == ("step", 3, 2)
    assert read_control(message.body) == Control(steer=-0.25, throttle=0.5)
    assert f"one part, {len(step)} bytes" in TEXT

    parts = [dump("frame-header"), dump("frame-labels")]
    assert f"The header ({len(parts[0])} bytes)" in TEXT
    assert json.loads(parts[0]) == json.loads(block("json frame-header"))
    message = decode(parts, Limits())
    assert [bytes(part) for part in encode(message)] == parts
    frame = read_frame(message)
    frame.validate()
    assert frame.view.labels.tolist() == [[Tag.SKY] * 4, [Tag.ROAD] * 4]
    assert frame.view.camera == Camera(4, 2, 3.0, 3.0, 1.5, 0.5)
    assert frame.flags == (POSE_UNKNOWN, EGO_UNKNOWN)


def test_every_name_on_the_wire_is_explained() -> None:
    said = set(re.findall(r"[a-z_]+[a-z0-9]+", TEXT))
    bodies = [body for body in vars(schema).values() if isinstance(body, type)]
    names = {name for body in bodies for name in getattr(body, "model_fields", {})}
    assert len(names) > 50
    assert names <= said, names - said
    assert set(DTYPES) | set(VIEW_BUFFERS) | {tag.name.lower() for tag in Tag} <= said
    for tag in Tag:
        assert f"| {tag.value} | {tag.name.lower()} |" in TEXT
    limits = Limits()
    assert f"{limits.max_parts} parts" in TEXT
    assert f"{limits.max_pixels} pixels" in TEXT


def test_every_error_and_request_is_listed() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M))
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == "sim2street.bridge.errors"
    }
    local = {"LabelError", "PeerTimeout", "RecordingError", "EpisodeEnd"}  # never on the wire
    assert raised - local <= listed
    requests = {"hello", "open", "reset", "step", "close"}
    assert requests | {"styles", "open_session", "render", "restyle", "close_session"} <= listed


def test_the_recipes_for_unity_and_unreal_are_right() -> None:
    """A camera at 1 east, 3 north, 2 up, looking north."""
    expected = np.array([[1, 0, 0, 1], [0, 0, 1, 3], [0, -1, 0, 2], [0, 0, 0, 1.0]])
    unity = np.eye(4)
    unity[:3, 3] = (1, 2, 3)
    exchange = np.eye(4)[[0, 2, 1, 3]]
    assert np.array_equal(exchange @ unity @ np.diag([1, -1, 1, 1.0]), expected)
    unreal = np.array([[0, 1, 0, 1], [-1, 0, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1.0]])
    columns = np.eye(4)
    columns[:3, :3] = np.array([(0, 1, 0), (0, 0, -1), (1, 0, 0)]).T
    assert np.array_equal(np.diag([1, -1, 1, 1.0]) @ unreal @ columns, expected)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    """The page's server, running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    program = tmp_path / "server.py"
    program.write_text(block("python server"))
    with subprocess.Popen([sys.executable, str(program), endpoint]) as process:
        yield endpoint
        process.kill()


def test_the_server_of_the_page_is_a_world(engine: str) -> None:
    world = RemoteWorld(ClientConfig(endpoint=engine, open_deadline_s=10.0))
    painter = NotedRenderer()
    with RenderedWorld(world, painter) as rendered:
        first = rendered.reset(seed=3)
        second = rendered.step(Control(steer=1.0))
        assert (first.tick, second.tick) == (0, 1)
        assert second.view.rgb.shape == (32, 64, 3)
        assert (first.view.labels != second.view.labels).any()
        assert painter.restarts == [True, True]  # without poses nothing is carried along
        with pytest.raises(WorldLost, match="reset first"):
            world._client.request("fly")
    with RemoteWorld(ClientConfig(endpoint=engine)) as world:
        findings = check_world(world)
    assert {finding.code for finding in findings} == {"no_pose", "no_ego"}
    assert {finding.severity for finding in findings} == {"warning"}


def test_the_server_of_the_page_refuses_another_version(engine: str) -> None:
    import zmq

    context = zmq.Context()
    client = context.socket(zmq.DEALER)
    client.connect(engine)
    header = json.loads(dump("step")) | {"protocol": "sim2street/2"}
    client.send(json.dumps(header).encode())
    assert client.poll(5000)
    reply = decode(client.recv_multipart(), Limits())
    assert reply.body["error"] == "ProtocolError"
    context.destroy(linger=0)


def test_the_client_of_the_page_drives_a_world(tmp_path: Path) -> None:
    program = tmp_path / "client.py"
    program.write_text(block("python client"))
    with ServerProcess("world") as server:
        for _ in range(2):  # it leaves the world free
            done = subprocess.run(
                [sys.executable, str(program), server.endpoint],
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert (done.stdout, done.stderr) == ("toy 5 512\n", "")
