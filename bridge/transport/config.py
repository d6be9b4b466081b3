"""Settings of both ends of the wire, and the size limits that follow from them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from sim2street.bridge.wire.codec import Limits
from sim2street.configs import StrictModel

DEFAULT_MAX_PIXELS = 4096 * 2304


class ServerConfig(StrictModel):
    """A listening end: where it listens, whom it lets in, how much it takes.

    Attributes:
        endpoint: `tcp://127.0.0.1:5555`, `tcp://*:5555` (needs keys) or `ipc:///path`.
            Port 0 takes a free one; `on_bound` tells which.
        max_pixels: of one image (labels or rgb); larger messages are refused unread.
        lease_s: a client silent for so long loses what it holds to the next who asks.
        batch_wait_s: how long a renderer waits for the other clients' requests.
        secret_key: this server's `NAME.key_secret`; turns CURVE on.
        allowed_clients: folder with the `NAME.key` of every client let in.
    """

    endpoint: str
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, gt=0)
    lease_s: float = Field(default=30.0, gt=0)
    batch_wait_s: float = Field(default=0.002, ge=0)
    secret_key: Path | None = None
    allowed_clients: Path | None = None

    @model_validator(mode="after")
    def _keys_belong_together(self) -> ServerConfig:
        if (self.secret_key is None) != (self.allowed_clients is None):
            raise ValueError("CURVE needs both secret_key and allowed_clients")
        return self

    @property
    def limits(self) -> Limits:
        """What a message may hold at most."""
        return Limits(max_pixels=self.max_pixels)


class ClientConfig(StrictModel):
    """A connecting end: where to, how long to wait, with which keys.

    Attributes:
        endpoint: of the server, such as `tcp://gpu:5556`.
        deadline_s: for one step or one render, retries and the return of a restarted
            server included. Then the peer counts as lost.
        open_deadline_s: for open, reset and open_session, which may load or warm up.
        retry_s: an unanswered request is sent again so often (same sequence number).
        max_pixels: of one image that the server may send.
        secret_key: this client's `NAME.key_secret`; turns CURVE on.
        server_key: the server's public `NAME.key`.
    """

    endpoint: str
    deadline_s: float = Field(default=30.0, gt=0)
    open_deadline_s: float = Field(default=120.0, gt=0)
    retry_s: float = Field(default=1.0, gt=0)
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, gt=0)
    secret_key: Path | None = None
    server_key: Path | None = None

    @model_validator(mode="after")
    def _keys_belong_together(self) -> ClientConfig:
        if (self.secret_key is None) != (self.server_key is None):
            raise ValueError("CURVE needs both secret_key and server_key")
        return self

    @property
    def limits(self) -> Limits:
        """What a message may hold at most."""
        return Limits(max_pixels=self.max_pixels)
