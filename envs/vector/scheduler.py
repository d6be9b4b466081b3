"""Decides which envs of a vector simulate when, and renders their images in batches.

The envs form two halves. While the images of one half are rendered here, in one batch, the
other half simulates in its processes. At most one env per CPU core simulates at a time, so
that the first half is complete early instead of all envs being late together. If no env uses
the shared renderer, all simulate at once.

Which images share a batch depends on the commands only, not on timing, so that a seed fixes
every result.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from multiprocessing.connection import wait

from sim2street.bridge.errors import PeerTimeout, RendererError, RendererLost
from sim2street.bridge.renderer import Renderer, Rendering, RenderRequest
from sim2street.configs import Sim2StreetError
from sim2street.envs.vector.child import MakeEnv
from sim2street.envs.vector.messages import Command, ErrorReply, Reply
from sim2street.envs.vector.render_requests import read_request
from sim2street.envs.vector.worker import Phase, VectorDeadlines, Worker


class Scheduler:
    """Runs commands on the processes of a vector's envs.

    Attributes:
        workers: one per env.
        render_s: seconds spent rendering so far.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        num_envs: int,
        renderer: Renderer,
        deadlines: VectorDeadlines,
        at_once: int | None = None,
    ) -> None:
        """`at_once`: how many envs simulate at a time; None for the number of CPU cores."""
        self.workers = [Worker(i, make_env, renderer, deadlines) for i in range(num_envs)]
        self.render_s = 0.0
        self._renderer = renderer
        self._deadlines = deadlines
        self._at_once = at_once or _cpu_cores()
        middle = (num_envs + 1) // 2
        self._halves = [half for half in (range(middle), range(middle, num_envs)) if half]

    def start(self) -> None:
        """Start all processes and wait until all are ready.

        Raises:
            WorldLost: a process died.
            Exception: the error for which an env could not be made.
        """
        for worker in self.workers:
            worker.start()
        while any(worker.phase is Phase.STARTING for worker in self.workers):
            self._receive([w for w in self.workers if w.phase is Phase.STARTING], None)
            for worker in self.workers:
                if worker.phase is Phase.NOT_RUNNING:
                    worker.require_done()

    def run(
        self,
        commands: Mapping[int, Command],
        recovering: Collection[int] = (),
        recover_s: float = 0.0,
    ) -> None:
        """Execute a command per env. Afterwards each has a result, or is not running.

        Args:
            recovering: envs that are executing an earlier command. They are waited for too,
                but for at most `recover_s`.
        """
        give_up_s = time.monotonic() + recover_s
        unsent = deque(sorted(commands))
        shares_renderer = any(worker.uses_shared_renderer for worker in self.workers)
        at_once = self._at_once if shares_renderer else len(self.workers)
        awaited = {*commands, *recovering}
        try:
            while True:
                if recovering and time.monotonic() >= give_up_s:
                    awaited -= {i for i in recovering if i not in commands}
                unfinished = [i for i in awaited if not self._has_finished(i) and i not in unsent]
                simulating = sum(self.workers[i].phase is Phase.BUSY for i in unfinished)
                while unsent and simulating < at_once:
                    index = unsent.popleft()
                    self.workers[index].submit(commands[index])
                    simulating += self.workers[index].phase is Phase.BUSY
                batch = self._next_batch(awaited, unsent)
                if batch:
                    while unsent:  # nothing can be sent while rendering
                        index = unsent.popleft()
                        self.workers[index].submit(commands[index])
                    self._render(batch)
                elif unsent or any(not self._has_finished(i) for i in awaited):
                    until_s = give_up_s if awaited & set(recovering) else None
                    self._receive(self.workers, until_s)
                else:
                    return
        except BaseException:  # also Ctrl-C: which messages were exchanged is unknown
            for worker in self.workers:
                if worker.phase is not Phase.IDLE:
                    worker.terminate("its vector was interrupted")
            raise

    def close(self) -> None:
        """End all processes. Those that do not close in time are killed."""
        for worker in self.workers:
            worker.request_stop()
        end_s = time.monotonic() + self._deadlines.close_s
        for worker in self.workers:
            worker.join(end_s)

    def _has_finished(self, index: int) -> bool:
        worker = self.workers[index]
        return worker.result is not None or worker.phase is Phase.NOT_RUNNING

    def _next_batch(self, awaited: Collection[int], unsent: Collection[int]) -> list[Worker]:
        """The envs to render now: a half of which no awaited env still simulates."""
        for half in self._halves:
            waiting = [
                self.workers[i] for i in half if self.workers[i].phase is Phase.AWAITING_IMAGES
            ]
            simulating = any(
                i in unsent or not (self._has_finished(i) or self.workers[i] in waiting)
                for i in half
                if i in awaited
            )
            if waiting and not simulating:
                return waiting
        return []

    def _receive(self, workers: Sequence[Worker], until_s: float | None) -> None:
        """Wait for messages and receive them; terminate the processes that are overdue.

        Args:
            until_s: when to stop waiting (monotonic), besides the deadlines.
        """
        listening = [w for w in workers if w.owes_message or w.phase is Phase.IDLE]
        by_connection = {w.connection: w for w in listening if w.connection is not None}
        limits_s = [w.remaining_s for w in listening if w.owes_message]
        if until_s is not None:
            limits_s.append(until_s - time.monotonic())
        arrived = wait(list(by_connection), max(0.0, min(limits_s, default=0.0)))
        for connection, worker in by_connection.items():
            if connection in arrived:
                worker.receive()
        for worker in listening:
            if worker.owes_message and worker.remaining_s <= 0 and worker.connection not in arrived:
                worker.terminate("its process did not answer within its deadline")

    def _render(self, batch: Sequence[Worker]) -> None:
        """Render the images that these envs wait for, and reply to them."""
        start_s = time.perf_counter()
        requests: list[RenderRequest] = []
        for worker in batch:
            assert worker.render_batch is not None
            block = worker.block("views")
            requests.extend(read_request(block, packed) for packed in worker.render_batch.requests)
        results = deque(_render_all(self._renderer, requests))
        for worker in batch:
            assert worker.render_batch is not None
            packed_requests = worker.render_batch.requests
            own = [results.popleft() for _ in packed_requests]
            error = next((result for result in own if isinstance(result, Exception)), None)
            if error is not None:
                worker.reply(ErrorReply(error))
                continue
            reopened: list[bool] = []
            for packed, rendering in zip(packed_requests, own, strict=True):
                assert isinstance(rendering, Rendering)
                worker.block("views").array(packed.rgb)[...] = rendering.rgb
                reopened.append(rendering.reopened)
            worker.reply(Reply(reopened))
        self.render_s += time.perf_counter() - start_s


def _render_all(
    renderer: Renderer, requests: Sequence[RenderRequest]
) -> list[Rendering | Sim2StreetError]:
    """Render in one batch. If it is refused, render one by one, so that the others succeed."""
    try:
        return [*renderer.render(requests)]
    except (RendererLost, PeerTimeout) as error:
        return [error] * len(requests)
    except RendererError as error:
        if len(requests) == 1:
            return [error]
    return [result for request in requests for result in _render_all(renderer, [request])]


def _cpu_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
