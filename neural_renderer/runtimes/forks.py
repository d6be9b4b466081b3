"""Rendering in processes that were forked, as `gymnasium.vector.AsyncVectorEnv` does on Linux.

A forked process has none of the threads of the process that it comes from. torch does not notice:
its next parallel computation waits for them for ever. So it computes with one thread there.
"""

from __future__ import annotations

import functools
import multiprocessing
import os

import torch

from sim2street.bridge.errors import RendererError


def prepare_for_forks(device: torch.device) -> None:
    """Make sure that torch computes in this process, and in those that are forked from it.

    Raises:
        RendererError: this process was forked, and `device` is a GPU, which was in use before.
    """
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():
        raise RendererError(
            "a forked process cannot use a GPU that its parent process uses. For many "
            "environments use gymnasium.make_vec(id, num_envs=N), which renders all of them in "
            'one process; or AsyncVectorEnv(..., context="spawn")'
        )
    if _was_forked():
        torch.set_num_threads(1)
    _use_one_thread_in_forks()


def _was_forked() -> bool:
    process = multiprocessing.current_process()
    method = getattr(process, "_start_method", None) or multiprocessing.get_start_method()
    return multiprocessing.parent_process() is not None and method == "fork"


@functools.cache  # once per process
def _use_one_thread_in_forks() -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))
