"""A World on the other side of a socket."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from sim2street.bridge.errors import PeerTimeout, ProtocolError, WorldError, WorldLost
from sim2street.bridge.frame import Control, SensorFrame, WorldSpec
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.transport.client import StepClient
from sim2street.bridge.transport.config import ClientConfig
from sim2street.bridge.wire.codec import Message
from sim2street.bridge.wire.world_messages import control_body, read_frame, read_spec, reset_body
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, Sim2StreetError


class RemoteWorld(World):
    """Steps a world that another process serves.

    When that process dies, freezes or is replaced, `step` raises WorldLost within its
    deadline, and the next `reset` begins a new episode as soon as a server answers again;
    an episode never goes on over a restart. `frame.episode` counts this client's resets
    on from the server's first number.

    Attributes:
        validate_frames: check every frame against its contract as it arrives.
    """

    def __init__(self, config: ClientConfig | str) -> None:
        """`config`: settings, or only an endpoint."""
        self._config = ClientConfig(endpoint=config) if isinstance(config, str) else config
        self.validate_frames = True
        self._client = StepClient(self._config, role="world")
        self._spec: WorldSpec | None = None
        self._sensors = True
        self._server: str | None = None  # the instance that we hold
        self._wire_episode: int | None = None
        self._episode: int | None = None
        self._tick = 0

    @property
    def spec(self) -> WorldSpec:
        if self._spec is None:
            raise WorldError("open this RemoteWorld first: its spec comes from the server")
        return self._spec

    def open(self, sensors: bool = True) -> None:
        """Take hold of the world.

        Raises:
            PeerTimeout: no server there. WorldBusy: another client holds it.
        """
        self._sensors = sensors
        try:
            self._take(time.monotonic() + self._config.open_deadline_s)
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
                self._take(end_s)
            try:
                reply = self._request("reset", body, end_s)
            except WorldLost:  # another server answers since our last call: once more
                self._take(end_s)
                reply = self._request("reset", body, end_s)
        except PeerTimeout as error:
            raise WorldLost(str(error)) from error
        self._wire_episode = reply.episode
        self._episode = reply.episode if self._episode is None else self._episode + 1
        self._tick = 0
        return self._read(reply)

    def step(self, control: Control) -> SensorFrame:
        control.validate()
        if self._wire_episode is None:
            raise WorldError("no episode to step: call reset first")
        end_s = time.monotonic() + self._config.deadline_s
        try:
            reply = self._request("step", control_body(control), end_s)
        except PeerTimeout as error:
            raise self._lost(str(error)) from error
        except BaseException:  # Ctrl-C too: the world may have ticked without us
            self._wire_episode = None
            raise
        self._tick += 1
        return self._read(reply)

    def repeat(self) -> SensorFrame:
        """Ask for the last frame again, as a retry would: the world must not tick."""
        return self._read(self._client.repeat())

    def close(self) -> None:
        if self._server is not None:
            self._server, self._wire_episode = None, None
            deadline_s = min(1.0, self._config.deadline_s)
            # One that is gone or frozen will notice by itself that we are.
            with contextlib.suppress(PeerTimeout, WorldError, ProtocolError):
                self._client.request("close", deadline_s=deadline_s)
        self._client.close()

    def _take(self, end_s: float) -> None:
        self._server = None
        self._client.hello(_left_s(end_s))
        reply = self._client.request("open", {"sensors": self._sensors}, deadline_s=_left_s(end_s))
        spec = read_spec(reply.body)
        if spec.taxonomy != taxonomy_fingerprint():
            raise ConfigError(
                f"{self._config.endpoint} labels with taxonomy {spec.taxonomy}, this is "
                f"{taxonomy_fingerprint()}: map its ids to the tags of "
                "bridge/labels.py, or update one end"
            )
        self._spec, self._server = spec, reply.sender

    def _request(self, kind: str, body: Mapping[str, Any], end_s: float) -> Message:
        episode = self._wire_episode or 0
        reply = self._client.request(kind, body, episode=episode, deadline_s=_left_s(end_s))
        if reply.sender != self._server:
            raise self._lost(f"{self._config.endpoint} was restarted: this episode is over")
        if reply.kind != "frame":
            raise ProtocolError(f"{kind}: expected a 'frame', got a '{reply.kind}'")
        return reply

    def _lost(self, why: str) -> WorldLost:
        self._server, self._wire_episode = None, None
        return WorldLost(why)

    def _read(self, reply: Message) -> SensorFrame:
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


def _left_s(end_s: float) -> float:
    return max(0.001, end_s - time.monotonic())
