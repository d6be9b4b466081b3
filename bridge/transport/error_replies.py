"""The replies of kind "error" that a server sends; docs/protocol.md lists the error classes."""

from __future__ import annotations

from sim2street.bridge.errors import ProtocolError
from sim2street.bridge.wire.codec import Buffer, Message, encode
from sim2street.bridge.wire.renderer_messages import error_body
from sim2street.configs import Sim2StreetError

UNREADABLE_SEQ = 0
"""Sequence number of the reply to a message whose own number could not be read."""


def malformed_message_reply(error: ProtocolError, server_name: str) -> list[Buffer]:
    """The reply to a message that `decode` rejected with `error`."""
    return _error_reply(error, UNREADABLE_SEQ, server_name)


def outdated_request_reply(request: Message, last_seq: int, server_name: str) -> list[Buffer]:
    """The reply to a request that is older than `last_seq`, the client's newest one.

    Our clients ignore this reply, because only a delayed duplicate of theirs can cause it.
    It tells the author of another client what is wrong.
    """
    error = ProtocolError(
        f"request {request.seq} of '{request.sender}' is older than its last one, {last_seq}: "
        "count upwards, and draw a new sender name at every start"
    )
    return _error_reply(error, request.seq, server_name)


def dropped_reply(request: Message, server_name: str) -> list[Buffer]:
    """The reply to a repeated request whose own reply is no longer kept."""
    error = ProtocolError(
        f"the reply to request {request.seq} of '{request.sender}' is no longer kept: repeat a "
        "request soon, and read replies as they come"
    )
    return _error_reply(error, request.seq, server_name)


def failed_request_reply(
    request: Message, error: Sim2StreetError, server_name: str
) -> list[Buffer]:
    """The reply to a request that was understood but could not be carried out."""
    return _error_reply(error, request.seq, server_name)


def _error_reply(error: Sim2StreetError, seq: int, server_name: str) -> list[Buffer]:
    return encode(Message("error", seq, server_name, 0, error_body(error)))
