"""Settings of servers and clients, and the message size limits that follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sim2street.bridge.wire.codec import Limits
from sim2street.configs import StrictModel

DEFAULT_MAX_PIXELS = 4096 * 2304


class ServerConfig(StrictModel):
    """Settings of a server: a world, a renderer or a frame publisher.

    Attributes:
        endpoint: where to listen: `tcp://127.0.0.1:5555`, `tcp://*:5555` (needs keys) or
            `ipc:///path`. Port 0 takes a free port; the server reports which one.
        max_pixels: most pixels of one image (labels or rgb). Larger messages are refused.
        lease_s: seconds without a message after which a client loses the world that it holds
            to the next client that asks, or its rendering sessions.
        batch_wait_s: how long a renderer waits for requests of other clients to fill a batch.
        secret_key: this server's file `NAME.key_secret`. Turns CURVE encryption on.
        allowed_clients: folder with the public `NAME.key` of every client that may connect.
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
        """Largest sizes of a message and its parts."""
        return Limits(max_pixels=self.max_pixels)

    def request_bytes(self, role: Literal["world", "renderer"]) -> tuple[int, int]:
        """Largest part of a request and largest whole request, in bytes.

        Requests to a world are a header without buffers. A part may be twice as large, so that
        a slightly too large header gets an answer instead of a closed connection.
        """
        if role == "world":
            size = 2 * self.limits.max_header_bytes
            return size, size
        return self.limits.max_part_bytes, self.limits.max_message_bytes


class ClientConfig(StrictModel):
    """Settings of a client: where to connect, how long to wait, and which keys to use.

    Attributes:
        endpoint: of the server, such as `tcp://gpu:5556`.
        deadline_s: how long to wait for the reply to a step or a render, or for a published
            frame. Retries and the restart of a server must fit into it.
        open_deadline_s: the same for open, reset and open_session, which may load files.
        retry_s: seconds between two attempts to send a request that has no reply yet.
        max_pixels: most pixels of one image that the server may send.
        secret_key: this client's file `NAME.key_secret`. Turns CURVE encryption on.
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
        """Largest sizes of a message and its parts."""
        return Limits(max_pixels=self.max_pixels)
