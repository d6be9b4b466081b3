"""docs/protocol.md agrees with the code: its bytes, its names and its two example programs."""

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
import zmq
from support.processes import ServerProcess
from support.restart_logging_renderer import RestartLoggingRenderer

from sim2street.bridge import errors
from sim2street.bridge.check.run import check_world
from sim2street.bridge.errors import WorldLost
from sim2street.bridge.frame import EGO_UNKNOWN, POSE_UNKNOWN, Camera, Control
from sim2street.bridge.labels import Tag
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.bridge.transport import (
    ClientConfig,
    RemoteWorld,
    connection_guard,
    render_checks,
)
from sim2street.bridge.wire.codec import (
    DTYPES,
    MAX_STYLE_BYTES,
    Body,
    Limits,
    decode,
    encode,
    pack,
)
from sim2street.bridge.wire.renderer_messages import MAX_ERROR_TEXT
from sim2street.bridge.wire.schema import MAX_BLENDED_STYLES, MAX_REQUESTS
from sim2street.bridge.wire.world_messages import (
    MAX_ACTORS,
    VIEW_BUFFERS,
    read_control,
    read_frame,
)

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def block(language: str, title: str) -> str:
    """The content of the fenced block with this title."""
    found = re.search(rf'^```{language} title="{title}"\n(.*?)^```', TEXT, re.M | re.S)
    assert found, title
    return found[1]


def dump(title: str) -> bytes:
    """The bytes of the hex dump with this title."""
    lines = [line.split("  ", 1)[1] for line in block("hex", title).splitlines()]
    return bytes.fromhex(" ".join(lines))


def all_subclasses(model: type[Body]) -> set[type[Body]]:
    """The model's subclasses, and theirs."""
    direct = set(model.__subclasses__())
    return direct.union(*(all_subclasses(each) for each in direct))


def test_the_example_is_what_the_code_writes_and_reads() -> None:
    step = dump("step")
    message = decode([step], Limits())
    assert [bytes(part) for part in encode(message)] == [step]
    assert (message.kind, message.seq, message.episode) == ("step", 3, 2)
    assert read_control(message.body) == Control(steer=-0.25, throttle=0.5)
    assert f"one part, {len(step)} bytes" in TEXT

    parts = [dump("frame-header"), dump("frame-labels")]
    assert f"The header ({len(parts[0])} bytes)" in TEXT
    assert json.loads(parts[0]) == json.loads(block("json", "frame-header"))
    message = decode(parts, Limits())
    assert [bytes(part) for part in encode(message)] == parts
    frame = read_frame(message)
    frame.validate()
    assert frame.view.labels.tolist() == [[Tag.SKY] * 4, [Tag.ROAD] * 4]
    assert frame.view.camera == Camera(4, 2, 3.0, 3.0, 1.5, 0.5)
    assert frame.flags == (POSE_UNKNOWN, EGO_UNKNOWN)
    packed = pack(parts)
    assert packed[: -len(b"".join(parts))] == dump("packed-frame")


def test_every_name_of_the_protocol_is_documented() -> None:
    documented = set(re.findall(r"[a-z_]+[a-z0-9]+", TEXT))
    names = {name for body in all_subclasses(Body) for name in body.model_fields}
    assert len(names) > 50
    assert names <= documented, names - documented
    assert set(DTYPES) | set(VIEW_BUFFERS) | {tag.name.lower() for tag in Tag} <= documented
    for tag in Tag:
        assert f"| {tag.value} | {tag.name.lower()} |" in TEXT
    limits = Limits()
    assert f"{limits.max_parts} parts" in TEXT
    assert f"{limits.max_pixels} pixels" in TEXT


def test_every_error_and_request_is_documented() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M))
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == "sim2street.bridge.errors"
    }
    never_sent = {"LabelError", "PeerTimeout", "RecordingError", "EpisodeEnd"}
    assert raised - never_sent <= listed
    requests = {"hello", "open", "reset", "step", "close"}
    assert requests | {"styles", "open_session", "render", "restyle", "close_session"} <= listed


def test_the_conversions_from_unity_and_unreal_are_right() -> None:
    """The example is a camera at 1 east, 3 north, 2 up that looks north."""
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
    """Endpoint of the example server, which runs as a process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    program = tmp_path / "server.py"
    program.write_text(block("python", "server"))
    with subprocess.Popen([sys.executable, str(program), endpoint]) as process:
        yield endpoint
        process.kill()


def test_the_example_server_is_a_world(engine: str) -> None:
    world = RemoteWorld(ClientConfig(endpoint=engine, open_deadline_s=10.0))
    renderer = RestartLoggingRenderer()
    with RenderedWorld(world, renderer) as rendered:
        first = rendered.reset(seed=3)
        second = rendered.step(Control(steer=1.0))
        assert (first.tick, second.tick) == (0, 1)
        assert second.view.rgb.shape == (32, 64, 3)
        assert (first.view.labels != second.view.labels).any()
        assert renderer.restarts == [True, True]  # without poses each frame is rendered on its own
        with pytest.raises(WorldLost, match="reset first"):
            world._client.request("fly")
    with RemoteWorld(ClientConfig(endpoint=engine)) as world:
        findings = check_world(world)
    assert {finding.code for finding in findings} == {"no_pose", "no_ego"}
    assert {finding.severity for finding in findings} == {"warning"}


def test_the_example_server_refuses_another_version(engine: str) -> None:
    context = zmq.Context()
    client = context.socket(zmq.DEALER)
    client.connect(engine)
    header = json.loads(dump("step")) | {"protocol": "sim2street/2"}
    client.send(json.dumps(header).encode())
    assert client.poll(5000)
    reply = decode(client.recv_multipart(), Limits())
    assert reply.body["error"] == "ProtocolError"
    context.destroy(linger=0)


NONSENSE = [
    b"[1]", b"1", b"null", b'"text"', b"{}", b"", b"\x80", b"[" * 100_000,
    b'{"sender": [1], "seq": 1}', b'{"sender": "a", "seq": "b"}', b'{"sender": "a", "seq": 1}',
    *(
        json.dumps({"protocol": "sim2street/1", "kind": kind, "seq": 1, "sender": kind + str(body),
                    "episode": 0, "body": body, "buffers": []}).encode()
        for kind in ("hello", "open", "reset", "step", "close", "fly")
        for body in ([1], "x", {"seed": "x"}, {"seed": [1]}, {"steer": "left"}, {"steer": [2]})
    ),
]  # fmt: skip


def test_no_message_ends_the_example_server(engine: str) -> None:
    context = zmq.Context()
    client = context.socket(zmq.DEALER)
    client.connect(engine)
    for message in NONSENSE:
        client.send(message)
        assert client.poll(5000), message
        assert decode(client.recv_multipart(), Limits()).kind
    context.destroy(linger=0)
    with RemoteWorld(ClientConfig(endpoint=engine)) as world:
        assert world.reset(0).tick == 0


def test_the_limits_are_documented() -> None:
    for number in (
        connection_guard.MAX_CONNECTIONS, MAX_ACTORS, MAX_ERROR_TEXT, MAX_BLENDED_STYLES,
        render_checks.MAX_SESSIONS, render_checks.MAX_SESSIONS_OF_CLIENT,
        render_checks.MAX_IMAGES_OF_SESSIONS, MAX_REQUESTS,
    ):  # fmt: skip
        assert re.search(rf"\b{number}\b", TEXT), number
    mib = 1 << 20
    assert f"at most {MAX_STYLE_BYTES // mib} MiB" in TEXT
    assert f"{render_checks.MAX_STYLE_BYTES_OF_SESSIONS // mib} MiB of sent styles" in TEXT
    assert f"{Limits().max_header_bytes // mib} MiB" in TEXT


def test_the_example_client_drives_a_world(tmp_path: Path) -> None:
    program = tmp_path / "client.py"
    program.write_text(block("python", "client"))
    with ServerProcess("world") as server:
        for _ in range(2):  # the second run finds the world free again
            done = subprocess.run(
                [sys.executable, str(program), server.endpoint],
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert (done.stdout, done.stderr) == ("toy 5 512\n", "")
