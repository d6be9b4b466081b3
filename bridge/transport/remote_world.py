"""RemoteWorld: a World that another process serves."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from sim2street.bridge.errors import (
    FrameError,
    PeerTimeout,
    ProtocolError,
    WorldError,
    WorldLost,
)
from sim2street.bridge.frame import Control, SensorFrame, WorldSpec
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.transport.config import ClientConfig
from sim2street.bridge.transport.request_client import RequestClient
from sim2street.bridge.wire.codec import Message
from sim2street.bridge.wire.world_messages import control_body, read_frame, read_spec, reset_body
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, Sim2StreetError


class RemoteWorld(World):
    """A World that another process serves.

    If that process dies, hangs or is restarted, `step` raises WorldLost within its deadline.
    The next `reset` starts a new episode as soon as a server answers again; an episode never
    continues after a restart. `frame.episode` starts with the server's number and is counted
    up by one with each reset, also when the server is restarted and counts from 0 again.

    Attributes:
        validate_frames: call `SensorFrame.validate` on every frame that arrives.
        validate_controls: call `Control.validate` before a control is sent.
    """

    def __init__(self, config: ClientConfig | str) -> None:
        """`config`: settings, or only an endpoint."""
        self._config = ClientConfig(endpoint=config) if isinstance(config, str) else config
        self.validate_frames = self.validate_controls = True
        self._client = RequestClient(self._config, role="world")
        self._spec: WorldSpec | None = None
        self._sensors = True
        self._server: str | None = None  # name of the server process whose world we hold
        self._wire_episode: int | None = None
        self._episode: int | None = None
        self._tick = 0

    @property
    def spec(self) -> WorldSpec:
        if self._spec is None:
            raise WorldError("open this RemoteWorld first: its spec comes from the server")
        return self._spec

    def open(self, sensors: bool = True) -> None:
        """Connect, and hold the world until `close`.

        Raises:
            PeerTimeout: no server answers at the endpoint.
            WorldBusy: another client holds the world.
            ConfigError: the server is a renderer, or its label tags are not ours.
        """
        self._sensors = sensors
        try:
            self._acquire(time.monotonic() + self._config.open_deadline_s)
        except Sim2StreetError:
            self._client.close()
            raise

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        end_s = time.monotonic() + self._config.open_deadline_s
        self._wire_episode = None
        body = reset_body(seed, options)
        try:
            if self._server is None:
                self._acquire(end_s)
            try:
                reply = self._request("reset", body, end_s)
            except WorldLost:  # the server was restarted since our last call: try once more
                self._acquire(end_s)
                reply = self._request("reset", body, end_s)
        except PeerTimeout as error:
            raise WorldLost(str(error)) from error
        self._wire_episode = reply.episode
        self._episode = reply.episode if self._episode is None else self._episode + 1
        self._tick = 0
        return self._read_frame(reply)

    def step(self, control: Control) -> SensorFrame:
        if self.validate_controls:
            control.validate()
        if self._wire_episode is None:
            raise WorldError("no episode to step: call reset first")
        end_s = time.monotonic() + self._config.deadline_s
        try:
            reply = self._request("step", control_body(control), end_s)
        except PeerTimeout as error:
            raise self._lost(str(error)) from error
        except FrameError:  # the world has not advanced
            raise
        except BaseException:  # also on Ctrl-C: the world may have advanced by this tick
            self._wire_episode = None
            raise
        self._tick += 1
        return self._read_frame(reply)

    def repeat(self) -> SensorFrame:
        """Send the last request again and return the reply. The world must not advance."""
        return self._read_frame(self._client.repeat())

    def close(self) -> None:
        if self._server is not None:
            self._server, self._wire_episode = None, None
            deadline_s = min(1.0, self._config.deadline_s)
            # A server that is gone or hangs will notice by itself that we have left.
            with contextlib.suppress(PeerTimeout, WorldError, ProtocolError):
                self._client.request("close", deadline_s=deadline_s)
        self._client.close()

    def _acquire(self, end_s: float) -> None:
        self._server = None
        self._client.hello(_remaining_s(end_s))
        body = {"sensors": self._sensors}
        reply = self._client.request("open", body, deadline_s=_remaining_s(end_s))
        spec = read_spec(reply.body)
        if spec.taxonomy != taxonomy_fingerprint():
            raise ConfigError(
                f"{self._config.endpoint} uses label tags with the fingerprint {spec.taxonomy}, "
                f"expected {taxonomy_fingerprint()}: map its ids to the tags of "
                "bridge/labels.py, or update the older of both sides"
            )
        self._spec, self._server = spec, reply.sender

    def _request(self, kind: str, body: Mapping[str, Any], end_s: float) -> Message:
        episode = self._wire_episode or 0
        reply = self._client.request(kind, body, episode=episode, deadline_s=_remaining_s(end_s))
        if reply.sender != self._server:
            raise self._lost(f"{self._config.endpoint} was restarted: this episode is over")
        if reply.kind != "frame":
            raise ProtocolError(f"{kind}: expected a 'frame', got a '{reply.kind}'")
        return reply

    def _lost(self, why: str) -> WorldLost:
        self._server, self._wire_episode = None, None
        return WorldLost(why)

    def _read_frame(self, reply: Message) -> SensorFrame:
        if self._episode is None or reply.episode != self._wire_episode:
            raise ProtocolError(
                f"the frame is of episode {reply.episode}, expected {self._wire_episode}"
            )
        frame = dataclasses.replace(read_frame(reply), episode=self._episode)
        if self.validate_frames:
            frame.validate()
            if frame.tick != self._tick:
                raise ProtocolError(f"the frame is of tick {frame.tick}, expected {self._tick}")
        return frame


def _remaining_s(end_s: float) -> float:
    return max(0.001, end_s - time.monotonic())
