"""The frame stream: subscribers receive the newest frame, and missed frames are counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq
from support.frames import assert_same_frame
from support.raw_peer import RawPeer
from support.raw_peer import frame as frame_of
from support.toy_world import ToyWorld

from sim2street.bridge.errors import PeerTimeout, ProtocolError
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.transport import (
    ClientConfig,
    FramePublisher,
    FrameSubscriber,
    ServerConfig,
    frame_stream,
)
from sim2street.bridge.wire.codec import Message, encode, pack
from sim2street.bridge.wire.world_messages import frame_parts

FREE_PORT = ServerConfig(endpoint="tcp://127.0.0.1:0")


@pytest.fixture(scope="module")
def drive() -> list[SensorFrame]:
    world = ToyWorld(32, 16)
    world.open()
    return [world.reset(0), *(world.step(Control(throttle=0.5)) for _ in range(30))]


@pytest.fixture
def publisher() -> Iterator[FramePublisher]:
    publisher = FramePublisher(FREE_PORT)
    yield publisher
    publisher.close()


@pytest.fixture
def subscriber(publisher: FramePublisher, drive: list[SensorFrame]) -> Iterator[FrameSubscriber]:
    """Connected to `publisher`, with no frame waiting."""
    subscriber = FrameSubscriber(publisher.endpoint)
    until_s = time.monotonic() + 30.0
    while time.monotonic() < until_s:
        publisher.publish(drive[0])
        try:
            subscriber.latest(0.05)
            break
        except PeerTimeout:
            continue
    publisher.publish(drive[1])
    while subscriber.latest(30.0).tick != 1:
        continue
    yield subscriber
    subscriber.close()


def test_a_slow_subscriber_gets_the_newest_frame_and_counts_the_missed_ones(
    publisher: FramePublisher, subscriber: FrameSubscriber, drive: list[SensorFrame]
) -> None:
    dropped, received = subscriber.dropped, subscriber.received
    for frame in drive[1:]:
        publisher.publish(frame)
    time.sleep(0.3)  # the subscriber is slow
    newest = subscriber.latest(30.0)
    while newest.tick != drive[-1].tick:  # it has not arrived yet
        newest = subscriber.latest(30.0)
    assert_same_frame(newest, drive[-1], ignore=())
    seen = subscriber.received - received
    assert 1 <= seen < 10
    assert subscriber.dropped == dropped + len(drive) - 1 - seen
    with pytest.raises(PeerTimeout, match="no frame"):
        subscriber.latest(0.05)


def test_a_fast_subscriber_misses_nothing(
    publisher: FramePublisher, subscriber: FrameSubscriber, drive: list[SensorFrame]
) -> None:
    dropped = subscriber.dropped
    for frame in drive[:10]:
        publisher.publish(frame)
        assert subscriber.latest(30.0).tick == frame.tick
    assert subscriber.dropped == dropped


def test_a_publisher_does_not_wait_for_subscribers(drive: list[SensorFrame]) -> None:
    publisher = FramePublisher(FREE_PORT)
    idle = FrameSubscriber(publisher.endpoint)
    time.sleep(0.2)
    started_s = time.monotonic()
    for _ in range(10):
        for frame in drive:
            publisher.publish(frame)
    assert time.monotonic() - started_s < 30.0
    idle.close()
    publisher.close()


def test_repeated_numbers_never_lower_the_count_of_dropped_frames(
    drive: list[SensorFrame],
) -> None:
    """A publisher in another language may send the same `seq` twice, or count downwards."""
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    subscriber = FrameSubscriber(f"tcp://127.0.0.1:{port}")
    body, arrays = frame_parts(drive[0])
    dropped = []
    for seq in (5, 5, 5, 9, 9, 3, 4):
        for _ in range(100):
            socket.send(pack(encode(Message("frame", seq, "mine", 0, body, arrays))))
            try:
                subscriber.latest(0.05)
                break
            except PeerTimeout:
                continue
        dropped.append(subscriber.dropped)
    assert dropped == [0, 0, 0, 3, 3, 3, 3]
    subscriber.close()
    context.destroy(linger=0)


def test_frames_are_packed_only_while_somebody_watches(
    drive: list[SensorFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[SensorFrame] = []

    def counted(frame: SensorFrame) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        packed.append(frame)
        return frame_parts(frame)

    monkeypatch.setattr(frame_stream, "frame_parts", counted)
    with FramePublisher(FREE_PORT) as publisher:
        for frame in drive[:5]:
            publisher.publish(frame)
        assert packed == []
        with FrameSubscriber(publisher.endpoint) as subscriber:
            for _ in range(200):
                publisher.publish(drive[5])
                try:
                    assert subscriber.latest(0.05).tick == 5
                    break
                except PeerTimeout:
                    continue
        until_s = time.monotonic() + 10.0
        while publisher._guard is not None and publisher._guard.connections:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        before = len(packed)
        assert before > 0
        publisher.publish(drive[6])
        assert len(packed) == before


def test_a_peer_that_floods_a_publisher_with_subscriptions_is_cut(
    drive: list[SensorFrame],
) -> None:
    with FramePublisher(FREE_PORT) as publisher:
        with RawPeer(publisher.endpoint, "SUB") as peer:
            for number in range(200):
                if not peer.send(frame_of(b"\x01" + str(number).encode() * 200)):
                    break
                publisher.publish(drive[0])
                time.sleep(0.002)
            assert peer.is_closed()
        with FrameSubscriber(publisher.endpoint) as subscriber:
            for _ in range(200):
                publisher.publish(drive[1])
                try:
                    assert subscriber.latest(0.05).tick == 1
                    break
                except PeerTimeout:
                    continue
            assert subscriber.received == 1


def test_a_restarted_publisher_does_not_count_as_dropped_frames(drive: list[SensorFrame]) -> None:
    first = FramePublisher(FREE_PORT)
    subscriber = FrameSubscriber(first.endpoint)
    for publisher in (first, None):
        if publisher is None:
            first.close()
            publisher = FramePublisher(ServerConfig(endpoint=first.endpoint))
        for attempt in range(100):
            publisher.publish(drive[attempt % 2])
            try:
                subscriber.latest(0.05)
                break
            except PeerTimeout:
                continue
    assert subscriber.received == 2
    assert subscriber.dropped >= 0
    subscriber.close()
    publisher.close()


def test_messages_that_are_no_frames_are_refused_and_counted(drive: list[SensorFrame]) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    subscriber = FrameSubscriber(ClientConfig(endpoint=f"tcp://127.0.0.1:{port}"))
    blobs = [b"junk", pack(encode(Message("spec", 1, "x"))), pack([b"{}"])]
    for count, blob in enumerate(blobs, start=1):
        for _ in range(100):
            socket.send(blob)
            try:
                subscriber.latest(0.05)
            except PeerTimeout:
                continue
            except ProtocolError:
                break
        assert subscriber.refused >= count
        while subscriber._socket.poll(100):
            subscriber._socket.recv()
    context.destroy(linger=0)
    subscriber.close()
