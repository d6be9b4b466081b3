"""All of ZeroMQ: the lock-step channel, the frame stream, keys and supervision.

Public names (exported here as they land):

* `ServerConfig`, `ClientConfig`: settings of both ends (`bridge/transport/config.py`).
* `serve_world(world, config: ServerConfig, stop: threading.Event | None = None,
  on_bound: Callable[[str], None] | None = None) -> ServerStats`: blocks until SIGINT,
  SIGTERM or `stop.set()`; opens and closes the world; `on_bound` gets the real endpoint
  (port 0 takes a free one). Port in use, public bind without keys: ConfigError.
* `serve_renderer(renderer, config, stop=None, on_bound=None) -> ServerStats`: the same.
* `RemoteWorld(ClientConfig | "tcp://host:port")`, `RemoteRenderer(...)`: the other ends.
* `query_status(ClientConfig | str) -> dict`: role, name, version, counters of a server.
* `FramePublisher(ServerConfig).publish(frame)`, `.close()`;
  `FrameSubscriber(ClientConfig | str).latest(timeout_s) -> SensorFrame`, `.dropped`.
* `supervise(command: Sequence[str], stop=None, on_restart=None) -> int`: runs a server
  process, starts it again when it dies, returns its exit code.
* `stop_on_signals()`: context manager that gives the Event set by SIGINT and SIGTERM.
* `generate_keys(folder, name) -> KeyFiles(public, secret)`.

Elsewhere: `bridge.recording.Recorder(world, path, include_rgb=False)` and
`ReplayWorld(path, recover=False)` are Worlds; `bridge.check.check_world(world, seed=0,
ticks=20) -> list[Finding(code, severity, message, hint)]`, empty where all is well.

Errors: nobody answers `open`: PeerTimeout. World gone in `step` or `reset`: WorldLost.
World held by another client: WorldBusy. Renderer gone: RendererLost. Recording cannot be
written or read: RecordingError.
"""
