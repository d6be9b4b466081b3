"""The frame stream: subscribers receive the newest frame, and missed frames are counted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import zmq
from support.frames import assert_same_frame
from support.toy_world import ToyWorld

from sim2street.bridge.errors import PeerTimeout, ProtocolError
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.transport import ClientConfig, FramePublisher, FrameSubscriber, ServerConfig
from sim2street.bridge.wire.codec import Message, encode, pack

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
