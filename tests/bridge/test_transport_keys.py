"""Public endpoints need keys, and only clients with a known key are answered."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from support.processes import ServerProcess
from support.toy_world import ToyWorld

from sim2street.bridge.errors import PeerTimeout
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.transport import (
    ClientConfig,
    FramePublisher,
    FrameSubscriber,
    RemoteWorld,
    ServerConfig,
    check_endpoint,
    generate_keys,
    is_public,
    query_status,
    serve_renderer,
    serve_world,
)
from sim2street.configs import ConfigError, parse


@pytest.mark.parametrize(
    ("endpoint", "public"),
    [
        ("tcp://127.0.0.1:5555", False),
        ("tcp://127.1.2.3:5555", False),
        ("tcp://localhost:0", False),
        ("tcp://[::1]:5555", False),
        ("ipc:///tmp/world", False),
        ("tcp://*:5555", True),
        ("tcp://0.0.0.0:5555", True),
        ("tcp://[::]:5555", True),
        ("tcp://192.168.0.7:5555", True),
        ("tcp://eth0:5555", True),
        ("tcp://gpu.example.org:5555", True),
    ],
)
def test_which_endpoints_are_public(endpoint: str, public: bool) -> None:
    assert is_public(endpoint) is public


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:5555", "tcp://localhost", "tcp://a:99999", "http://a:80", "inproc://x", "ipc://",
     "tcp://:5555", ""],
)  # fmt: skip
def test_malformed_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="expected tcp://HOST:PORT"):
        check_endpoint(endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://*:0", "tcp://0.0.0.0:0", "tcp://[::]:0"])
def test_a_public_bind_without_keys_is_refused(endpoint: str) -> None:
    config = ServerConfig(endpoint=endpoint)
    with pytest.raises(ConfigError, match="refusing to listen"):
        serve_world(ToyWorld(), config)
    with pytest.raises(ConfigError, match="refusing to listen"):
        serve_renderer(PaletteRenderer(), config)
    with pytest.raises(ConfigError, match="refusing to listen"):
        FramePublisher(config)


def test_an_endpoint_in_use_is_reported() -> None:
    publisher = FramePublisher(ServerConfig(endpoint="tcp://127.0.0.1:0"))
    with pytest.raises(ConfigError, match="in use by another process"):
        serve_world(ToyWorld(), ServerConfig(endpoint=publisher.endpoint))
    publisher.close()
    with pytest.raises(ConfigError, match="cannot listen on ipc:///no/such/folder"):
        FramePublisher(ServerConfig(endpoint="ipc:///no/such/folder/x"))


def test_only_clients_with_known_keys_get_a_frame(tmp_path: Path) -> None:
    server_keys = generate_keys(tmp_path / "server", "server")
    known = generate_keys(tmp_path / "clients", "laptop")
    stranger = generate_keys(tmp_path / "strangers", "stranger")
    settings = {"secret_key": server_keys.secret, "allowed_clients": tmp_path / "clients"}

    with ServerProcess("world", "tcp://127.0.0.1:0", settings) as server:

        def config(secret: Path | None, server_key: Path | None) -> ClientConfig:
            return ClientConfig(
                endpoint=server.endpoint,
                secret_key=secret,
                server_key=server_key,
                open_deadline_s=1.0,
            )

        good = config(known.secret, server_keys.public).model_copy(update={"open_deadline_s": 30.0})
        with RemoteWorld(good) as world:
            assert world.reset(0).tick == 0
        for wrong, hint in (
            (config(stranger.secret, server_keys.public), "stranger.key among its allowed"),
            (config(known.secret, stranger.public), "really its public key"),
            (config(None, None), "asks for keys"),
        ):
            with pytest.raises(PeerTimeout, match=hint):
                RemoteWorld(wrong).open()
        assert query_status(good)["counters"]["handshakes_refused"] >= 1
        assert query_status(good)["counters"]["requests"] <= 10  # none of the strangers


def test_a_public_endpoint_with_keys_is_served(tmp_path: Path) -> None:
    keys = generate_keys(tmp_path, "both")
    settings = {"secret_key": keys.secret, "allowed_clients": tmp_path}
    with ServerProcess("world", "tcp://*:0", settings) as server:
        port = server.endpoint.rsplit(":", 1)[1]
        config = ClientConfig(
            endpoint=f"tcp://127.0.0.1:{port}", secret_key=keys.secret, server_key=keys.public
        )
        assert query_status(config)["role"] == "world"


def test_frame_streams_need_keys_too(tmp_path: Path) -> None:
    keys = generate_keys(tmp_path, "both")
    stranger = generate_keys(tmp_path / "strangers", "stranger")
    config = ServerConfig(
        endpoint="tcp://127.0.0.1:0", secret_key=keys.secret, allowed_clients=tmp_path
    )
    world = ToyWorld(16, 8)
    world.open()
    frame = world.reset(0)
    publisher = FramePublisher(config)
    plain = ClientConfig(endpoint=publisher.endpoint)
    good = plain.model_copy(update={"secret_key": keys.secret, "server_key": keys.public})
    wrong = good.model_copy(update={"secret_key": stranger.secret})
    subscribers = [FrameSubscriber(c) for c in (good, wrong, plain)]
    for _ in range(200):
        publisher.publish(frame)
        try:
            subscribers[0].latest(0.05)
            break
        except PeerTimeout:
            continue
    publisher.publish(frame)
    assert subscribers[0].latest(20.0).tick == 0
    for subscriber in subscribers[1:]:
        with pytest.raises(PeerTimeout, match="keys"):
            subscriber.latest(1.0)
    for socket in (*subscribers, publisher):
        socket.close()


def test_key_files_are_written_once_and_checked_when_read(tmp_path: Path) -> None:
    files = generate_keys(tmp_path / "new", "gpu")
    assert stat.S_IMODE(files.secret.stat().st_mode) == 0o600
    assert "secret" not in files.public.read_text().split("curve", 1)[1]
    with pytest.raises(ConfigError, match="exist already"):
        generate_keys(tmp_path / "new", "gpu")

    def serve(secret: Path, folder: Path) -> None:
        config = ServerConfig(
            endpoint="tcp://127.0.0.1:0", secret_key=secret, allowed_clients=folder
        )
        FramePublisher(config).close()

    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="nobody could connect"):
        serve(files.secret, tmp_path / "empty")
    with pytest.raises(ConfigError, match="holds no secret key"):
        serve(files.public, tmp_path / "new")
    with pytest.raises(ConfigError, match="cannot read the key file"):
        serve(tmp_path / "missing", tmp_path / "new")
    with pytest.raises(ConfigError, match="both secret_key and allowed_clients"):
        parse(ServerConfig, {"endpoint": "ipc://x", "secret_key": files.secret})
    with pytest.raises(ConfigError, match="both secret_key and server_key"):
        parse(ClientConfig, {"endpoint": "ipc://x", "server_key": files.public})
