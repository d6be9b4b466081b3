"""How served worlds and renderers reply to malformed messages and invalid requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq
from support.processes import ServerProcess

from sim2street.bridge.transport import ClientConfig, query_status
from sim2street.bridge.wire.codec import Limits, Message, decode, encode

MAX_PIXELS = 2_000_000


class RawClient:
    """A DEALER socket that sends arbitrary bytes."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)

    def request(self, parts: list[bytes]) -> Message:
        """Send the parts and decode the reply."""
        self.socket.send_multipart(parts)
        assert self.socket.poll(5000), "no reply"
        return decode(self.socket.recv_multipart(), Limits())

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("world", settings={"max_pixels": MAX_PIXELS}) as process:
        yield process


@pytest.fixture(scope="module")
def renderer() -> Iterator[ServerProcess]:
    with ServerProcess("renderer", settings={"max_pixels": 64 * 32}) as process:
        yield process


@pytest.fixture
def raw(server: ServerProcess) -> Iterator[RawClient]:
    client = RawClient(server.endpoint)
    yield client
    client.close()


def hello(**changes: Any) -> dict[str, Any]:
    header = {"protocol": "sim2street/1", "kind": "hello", "seq": 1, "sender": "raw"}
    return {**header, "episode": 0, "body": {}, "buffers": [], **changes}


def buffer(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "dtype": "uint8", "shape": [4], "nbytes": 4, **changes}


def text(header: dict[str, Any]) -> bytes:
    return json.dumps(header).encode()


MALFORMED = {
    "garbage": ([b"\x80\x04\x95pickle"], "not JSON"),
    "empty": ([b""], "not JSON"),
    "a list": ([b"[1, 2]"], "expected a JSON object"),
    "too deep": ([b"[" * 100_000], "not JSON"),
    "nan": ([text(hello()).replace(b'"seq": 1', b'"seq": NaN')], "not JSON"),
    "next version": (
        [text(hello(protocol="sim2street/2"))],
        "speaks 'sim2street/2', this is 'sim2street/1'",
    ),
    "no version": ([b"{}"], "speaks None"),
    "missing key": ([text({k: v for k, v in hello().items() if k != "seq"})], "seq"),
    "extra key": ([text(hello(sequence=1))], "unknown key 'sequence'"),
    "text as number": ([text(hello(seq="1"))], "seq"),
    "negative": ([text(hello(seq=-1))], "seq"),
    "missing buffer": ([text(hello(buffers=[buffer()]))], "announces 1 buffers, 0 came"),
    "extra buffer": ([text(hello()), b"abcd"], "announces 0 buffers, 1 came"),
    "truncated": ([text(hello(buffers=[buffer()])), b"abc"], "needs 4 bytes"),
    "wrong shape": ([text(hello(buffers=[buffer(shape=[5])])), b"abcd"], "needs 5 bytes"),
    "negative shape": ([text(hello(buffers=[buffer(shape=[-4])])), b"abcd"], "shape"),
    "object dtype": (
        [text(hello(buffers=[buffer(dtype="object")])), b"abcd"],
        "got dtype 'object'",
    ),
    "many parts": ([text(hello()), *[b""] * 300], "parts"),
    "large header": ([text(hello(sender="x" * (1 << 20)))], "at most 1048576 bytes"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_messages_get_an_error_reply_and_are_counted(
    name: str, raw: RawClient, server: ServerProcess
) -> None:
    parts, reason = MALFORMED[name]
    before = query_status(server.endpoint)["counters"]["refused"]
    reply = raw.request(parts)
    assert reply.kind == "error"
    assert reply.body["error"] == "ProtocolError"
    assert reason in reply.body["message"]
    assert len(reply.body["message"]) < 1500
    good = raw.request([text(hello(sender=name))])
    assert good.kind == "status"
    assert good.body["counters"]["refused"] == before + 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "fly"}, "a world answers"),
        ({"kind": "step", "body": {"steer": 0.0}}, "open and reset"),
        ({"kind": "open", "body": {"sensor": True}}, "did you mean 'sensors'"),
        ({"kind": "open", "body": {"sensors": 1}}, "sensors"),
    ],
)
def test_invalid_requests_get_an_error_reply(
    raw: RawClient, changes: dict[str, Any], reason: str
) -> None:
    reply = raw.request([text(hello(sender=f"raw {reason}", **changes))])
    assert reply.kind == "error"
    assert reply.seq == 1
    assert reason in reply.body["message"]


def test_a_client_that_starts_again_at_seq_one_gets_an_explanation(raw: RawClient) -> None:
    def ask(seq: int) -> Message:
        return raw.request([text(hello(kind="close", sender="unity", seq=seq))])

    assert ask(7).kind == "ok"
    assert "draw a new sender name" in ask(1).body["message"]
    assert ask(7).kind == "ok"
    assert ask(8).kind == "ok"


def test_status_requests_do_not_make_the_server_forget_the_holder(
    server: ServerProcess, raw: RawClient
) -> None:
    """After 1500 status requests of other clients, the holder's last reply is still kept."""

    def ask(seq: int, kind: str, episode: int = 0) -> Message:
        return raw.request([text(hello(seq=seq, kind=kind, sender="holder", episode=episode))])

    ask(1, "open")
    episode = ask(2, "reset").episode
    assert ask(3, "step", episode).body["tick"] == 1
    for number in range(1500):
        raw.socket.send(text(hello(sender=f"client {number}", kind="status")))
        assert raw.socket.poll(5000)
        raw.socket.recv_multipart()
    assert ask(3, "step", episode).body["tick"] == 1
    assert ask(4, "step", episode).body["tick"] == 2
    ask(5, "close")


def test_a_control_out_of_range_does_not_advance_the_world(raw: RawClient) -> None:
    def ask(seq: int, kind: str, body: dict[str, Any], episode: int = 0) -> Message:
        header = hello(seq=seq, kind=kind, body=body, sender="careless", episode=episode)
        return raw.request([text(header)])

    ask(1, "open", {})
    episode = ask(2, "reset", {"seed": 0}).episode
    for seq, body in ((3, {"steer": 2.0}), (4, {"steer": "left"}), (5, {"stear": 0.0})):
        assert ask(seq, "step", body, episode).kind == "error"
    assert ask(6, "step", {"steer": 0.1}, episode).body["tick"] == 1
    assert ask(7, "step", {"steer": 0.1}, episode + 1).body["error"] == "WorldLost"
    ask(8, "close", {})


def test_an_oversized_part_ends_the_connection_and_the_next_message_is_answered(
    raw: RawClient, server: ServerProcess
) -> None:
    largest = query_status(server.endpoint)["max_part_bytes"]
    before = query_status(server.endpoint)["counters"]["disconnects"]
    header = hello(buffers=[buffer(shape=[largest + 1], nbytes=largest + 1)])
    raw.socket.send_multipart([text(header), bytes(largest + 1)])
    assert not raw.socket.poll(300)
    assert raw.request([text(hello(sender="after"))]).kind == "status"
    assert query_status(server.endpoint)["counters"]["disconnects"] > before


def test_more_pixels_than_configured_are_refused(renderer: ServerProcess) -> None:
    client = RawClient(renderer.endpoint)
    labels = np.zeros((33, 64), np.uint8)
    message = Message("render", 1, "large", 0, {"requests": []}, {"0.labels": labels})
    reply = client.request([bytes(part) for part in encode(message)])
    assert "at most 2048 pixels" in reply.body["message"]
    client.close()
    config = ClientConfig(endpoint=renderer.endpoint)
    assert query_status(config)["counters"]["refused"] == 1
