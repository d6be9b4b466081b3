"""RemoteWorld and its server in real processes: no tick is lost, and none is made twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from support.frames import assert_same_frame, differences
from support.processes import ServerProcess
from support.proxy import Proxy, kind_of
from support.toy_world import ToyWorld

from sim2street.bridge.errors import PeerTimeout, WorldBusy, WorldError, WorldLost
from sim2street.bridge.frame import Control
from sim2street.bridge.transport import ClientConfig, RemoteWorld, query_status
from sim2street.configs import ConfigError

DEADLINE_S = 1.0
"""Deadline of clients whose server is about to be killed or frozen."""

SLACK_S = 10.0
"""Allowed on top of a deadline on a busy machine."""

DRIVE = Control(steer=0.1, throttle=0.5)


def client_config(endpoint: str, **settings: float) -> ClientConfig:
    defaults = {"deadline_s": 20.0, "open_deadline_s": 30.0, "retry_s": 0.1}
    return ClientConfig(endpoint=endpoint, **{**defaults, **settings})


def short_deadline(endpoint: str) -> ClientConfig:
    """For a server that is about to be killed or frozen."""
    return client_config(endpoint, deadline_s=DEADLINE_S, open_deadline_s=2.0)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[ServerProcess]:
    """A server for tests that leave it as it was."""
    with ServerProcess("world") as server:
        yield server


def test_remote_and_local_worlds_give_identical_frames(shared_server: ServerProcess) -> None:
    local = ToyWorld(32, 16)
    with RemoteWorld(client_config(shared_server.endpoint)) as remote, local:
        assert remote.spec == local.spec
        assert_same_frame(remote.reset(3), local.reset(3), ignore=("stamps", "episode"))
        for _ in range(20):
            assert_same_frame(remote.step(DRIVE), local.step(DRIVE), ignore=("stamps", "episode"))


def test_a_world_is_opened_without_sensors_and_then_with_them(shared_server: ServerProcess) -> None:
    with RemoteWorld(client_config(shared_server.endpoint)) as remote:
        assert set(remote.reset(0).views) == {"front"}
    remote = RemoteWorld(client_config(shared_server.endpoint))
    remote.open(sensors=False)
    frame = remote.reset(0)
    assert frame.views == {}
    assert frame.actors
    remote.close()
    with RemoteWorld(client_config(shared_server.endpoint)) as remote:
        assert set(remote.reset(0).views) == {"front"}


def test_after_a_lost_reply_the_request_is_repeated_without_a_second_tick(
    shared_server: ServerProcess,
) -> None:
    seen = {"step": 0, "frame": 0}

    def lose_every_third_reply(direction: str, parts: list[bytes]) -> list[list[bytes]]:
        if direction == "request":
            seen["step"] += kind_of(parts) == "step"
            return [parts]
        seen["frame"] += kind_of(parts) == "frame"
        return [] if kind_of(parts) == "frame" and seen["frame"] % 3 == 0 else [parts]

    retries = query_status(shared_server.endpoint)["counters"]["retries"]
    local = ToyWorld(32, 16)
    with (
        Proxy(shared_server.endpoint, lose_every_third_reply) as proxy,
        local,
        RemoteWorld(client_config(proxy.endpoint)) as remote,
    ):
        remote.reset(0)
        local.reset(0)
        for _ in range(8):
            assert_same_frame(remote.step(DRIVE), local.step(DRIVE), ignore=("stamps", "episode"))
    assert seen["step"] > 8  # there were retries
    assert query_status(shared_server.endpoint)["counters"]["retries"] >= retries + 3


def test_lost_requests_are_sent_again(shared_server: ServerProcess) -> None:
    steps = iter([True, False] * 100)

    def lose_every_second_step(direction: str, parts: list[bytes]) -> list[list[bytes]]:
        lost = direction == "request" and kind_of(parts) == "step" and next(steps)
        return [] if lost else [parts]

    with (
        Proxy(shared_server.endpoint, lose_every_second_step) as proxy,
        RemoteWorld(client_config(proxy.endpoint)) as remote,
    ):
        remote.reset(0)
        assert [remote.step(DRIVE).tick for _ in range(4)] == [1, 2, 3, 4]


def test_doubled_and_late_messages_are_ignored(shared_server: ServerProcess) -> None:
    late: list[list[bytes]] = []

    def double_and_delay(direction: str, parts: list[bytes]) -> list[list[bytes]]:
        if direction == "request":
            return [parts, parts]
        late.append(parts)
        return [parts, *late[-3:]]

    with (
        Proxy(shared_server.endpoint, double_and_delay) as proxy,
        RemoteWorld(client_config(proxy.endpoint)) as remote,
    ):
        first = remote.reset(0)
        frames = [remote.step(DRIVE) for _ in range(10)]
    assert [frame.tick for frame in frames] == list(range(1, 11))
    assert {frame.episode for frame in frames} == {first.episode}


def test_repeat_returns_the_same_frame(shared_server: ServerProcess) -> None:
    with RemoteWorld(client_config(shared_server.endpoint)) as remote:
        remote.reset(0)
        frame = remote.step(DRIVE)
        assert_same_frame(remote.repeat(), frame, ignore=())
        assert remote.step(DRIVE).tick == 2


def test_large_frames_arrive_without_being_asked_for_twice() -> None:
    with (
        ServerProcess("world", settings={"size": [128, 64]}) as server,
        RemoteWorld(client_config(server.endpoint, retry_s=5.0)) as remote,
    ):
        remote.reset(0)
        assert [remote.step(DRIVE).tick for _ in range(25)] == list(range(1, 26))
        counters = query_status(server.endpoint)["counters"]
        assert (counters["unroutable"], counters["retries"], counters["cut"]) == (0, 0, 0)


def test_a_reset_waits_for_its_own_deadline() -> None:
    with (
        ServerProcess("world") as server,
        RemoteWorld(client_config(server.endpoint, deadline_s=0.2, open_deadline_s=0.8)) as remote,
    ):
        remote.reset(0)
        server.signal(signal.SIGSTOP)
        for _ in range(2):  # the second time it has to connect again
            started_s = time.monotonic()
            with pytest.raises(WorldLost, match=r"within 0\.(8|79)"):
                remote.reset(0)
            assert time.monotonic() - started_s > 0.7
        server.signal(signal.SIGCONT)


def test_errors_of_the_world_are_raised_with_their_class(shared_server: ServerProcess) -> None:
    with RemoteWorld(client_config(shared_server.endpoint)) as remote:
        with pytest.raises(ConfigError, match="unknown option 'carz'; did you mean 'cars'"):
            remote.reset(0, {"carz": 1})
        with pytest.raises(WorldError, match="reset"):
            remote.step(DRIVE)
        with pytest.raises(ConfigError, match="plain JSON"):
            remote.reset(0, {"cars": object()})
        assert remote.reset(0, {"cars": 1}).actors[0].actor_id == 1


def test_a_second_client_is_refused_until_the_first_one_closes(
    shared_server: ServerProcess,
) -> None:
    second = RemoteWorld(client_config(shared_server.endpoint))
    with RemoteWorld(client_config(shared_server.endpoint)) as first:
        first.reset(0)
        for _ in range(20):  # repeated attempts do not take the world from its holder
            with pytest.raises(WorldBusy, match="held by another client"):
                second.open()
        assert first.step(DRIVE).tick == 1
    second.open()
    assert second.reset(0).tick == 0
    second.close()


def test_a_world_is_free_once_its_holder_is_gone(shared_server: ServerProcess) -> None:
    first = RemoteWorld(client_config(shared_server.endpoint))
    first.open()
    first.reset(0)
    first._client.close()  # as if its process were killed: no "close" is sent
    with RemoteWorld(client_config(shared_server.endpoint)) as second:
        assert second.reset(0).tick == 0


def test_an_interrupted_step_ends_the_episode(shared_server: ServerProcess) -> None:
    """The world may have advanced: the next reply could be that of either tick."""
    with RemoteWorld(client_config(shared_server.endpoint)) as remote:
        remote.reset(0)

        def interrupted() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            remote.step(DRIVE)

        shared_server.signal(signal.SIGSTOP)
        handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                interrupted()
        finally:
            signal.signal(signal.SIGALRM, handler)
            shared_server.signal(signal.SIGCONT)
        with pytest.raises(WorldError, match="reset"):
            remote.step(DRIVE)
        assert remote.reset(0).tick == 0
        assert remote.step(DRIVE).tick == 1


HOLD_WORLD = """
import sys, time
from sim2street.bridge.transport import RemoteWorld
world = RemoteWorld(sys.argv[1])
world.open()
world.reset(0)
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_client_frees_its_world(shared_server: ServerProcess) -> None:
    command = [sys.executable, "-c", HOLD_WORLD, shared_server.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        remote = RemoteWorld(client_config(shared_server.endpoint))
        with pytest.raises(WorldBusy):
            remote.open()
        holder.kill()
        holder.wait()
        until_s = time.monotonic() + SLACK_S
        while time.monotonic() < until_s:
            try:
                remote.open()
                break
            except WorldBusy:
                time.sleep(0.05)
        assert remote.reset(0).tick == 0
        remote.close()


def test_a_silent_holder_loses_the_world_after_its_lease() -> None:
    with ServerProcess("world", settings={"lease_s": 1.5}) as server:
        first = RemoteWorld(client_config(server.endpoint))
        second = RemoteWorld(client_config(server.endpoint))
        first.open()
        first.reset(0)
        with pytest.raises(WorldBusy):
            second.open()
        time.sleep(1.7)
        second.open()
        episode = second.reset(0).episode
        with pytest.raises(WorldLost, match="another client"):
            first.step(DRIVE)
        assert second.step(DRIVE).episode == episode
        first.close()
        second.close()


def test_a_killed_world_raises_world_lost_and_its_successor_starts_a_new_episode() -> None:
    with (
        ServerProcess("world") as server,
        RemoteWorld(short_deadline(server.endpoint)) as remote,
    ):
        before = remote.reset(0)
        remote.step(DRIVE)
        server.kill()
        started_s = time.monotonic()
        with pytest.raises(WorldLost, match="no answer"):
            remote.step(DRIVE)
        assert time.monotonic() - started_s < DEADLINE_S + SLACK_S
        with pytest.raises(WorldError, match="reset"):
            remote.step(DRIVE)
        with pytest.raises(WorldLost, match="Is the server running"):
            remote.reset(0)
        server.start()
        after = remote.reset(0)
        assert (after.tick, after.episode) == (0, before.episode + 1)
        found = differences(after, before, ignore=("stamps", "episode"))
        assert found == []
        assert remote.step(DRIVE).tick == 1


def test_an_episode_never_continues_after_a_restart() -> None:
    with (
        ServerProcess("world") as server,
        RemoteWorld(client_config(server.endpoint)) as remote,
    ):
        remote.reset(0)
        remote.step(DRIVE)
        server.restart()
        with pytest.raises(WorldLost, match="reset"):
            remote.step(DRIVE)
        assert remote.reset(0).tick == 0
        server.restart()
        assert remote.reset(0).tick == 0  # without a step in between


def test_a_frozen_world_raises_world_lost_within_the_deadline_and_may_recover() -> None:
    with ServerProcess("world") as server, RemoteWorld(short_deadline(server.endpoint)) as remote:
        episode = remote.reset(0).episode
        server.signal(signal.SIGSTOP)
        started_s = time.monotonic()
        with pytest.raises(WorldLost, match="frozen"):
            remote.step(DRIVE)
        assert time.monotonic() - started_s < DEADLINE_S + SLACK_S
        server.signal(signal.SIGCONT)
        frame = remote.reset(0)
        assert (frame.tick, frame.episode) == (0, episode + 1)
        assert remote.step(DRIVE).tick == 1


def test_a_reset_may_take_longer_than_a_step() -> None:
    with (
        ServerProcess("slow-world") as server,
        RemoteWorld(client_config(server.endpoint, deadline_s=0.7)) as remote,
    ):
        assert remote.reset(0).tick == 0
        assert remote.step(DRIVE).tick == 1


def test_a_crash_of_a_world_is_reported_and_ends_its_process() -> None:
    with ServerProcess("crashing-world") as server:
        with RemoteWorld(client_config(server.endpoint)) as remote:
            remote.reset(0)
            remote.step(DRIVE)
            remote.step(DRIVE)
            with pytest.raises(WorldLost, match="the world crashed: KeyError: 'bug'"):
                remote.step(DRIVE)
        code, errors = server.end()
        assert code == 1
        assert "KeyError" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_servers_end_cleanly_on_signals(number: int) -> None:
    with ServerProcess("world") as server, RemoteWorld(client_config(server.endpoint)) as remote:
        remote.reset(0)
        server.signal(number)
        assert server.end() == (0, "")
        with ServerProcess("world", server.endpoint):  # the port is free again
            assert remote.reset(0).tick == 0


def test_no_server_and_a_server_with_another_role() -> None:
    with pytest.raises(PeerTimeout, match="Is the server running"):
        RemoteWorld(client_config("tcp://127.0.0.1:9", open_deadline_s=0.2)).open()
    with (
        ServerProcess("renderer") as server,
        pytest.raises(ConfigError, match="is a 'renderer', expected a world"),
    ):
        RemoteWorld(client_config(server.endpoint)).open()


def test_a_world_is_served_over_ipc(tmp_path) -> None:
    with ServerProcess("world", f"ipc://{tmp_path}/world") as server:
        with RemoteWorld(client_config(server.endpoint)) as remote:
            remote.reset(0)
            assert remote.step(DRIVE).tick == 1
        with pytest.raises(AssertionError, match="in use"):
            ServerProcess("world", server.endpoint)
