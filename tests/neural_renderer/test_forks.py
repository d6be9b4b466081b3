"""torch computes in processes that were forked after it had started its threads."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from sim2street.bridge.errors import RendererError  # noqa: E402
from sim2street.neural_renderer.runtimes import forks  # noqa: E402

SCRIPT = """
import os, sys, torch
from sim2street.neural_renderer.runtimes.forks import prepare_for_forks
torch.set_num_threads(4)
if "parent" in sys.argv:
    prepare_for_forks(torch.device("cpu"))

def compute():
    image, kernel = torch.randn(1, 16, 128, 128), torch.randn(16, 16, 3, 3)
    torch.conv2d(image, kernel).sum().item()

compute()
if "multiprocessing" in sys.argv:
    import multiprocessing
    def run():
        prepare_for_forks(torch.device("cpu"))
        compute()
        print("computed", flush=True)
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
elif os.fork() == 0:
    compute()
    print("computed", flush=True)
    os._exit(0)
else:
    os.wait()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
@pytest.mark.parametrize("how", [["parent"], ["multiprocessing"]])
def test_a_forked_process_computes(how: list[str]) -> None:
    """With a renderer made before the fork, and with one made after it."""
    command = [sys.executable, "-c", SCRIPT, *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "computed", done.stderr


def test_a_gpu_of_the_parent_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(RendererError, match=r'make_vec.*context="spawn"'):
        forks.prepare_for_forks(torch.device("cuda"))


def test_threads_of_other_processes_are_left_alone() -> None:
    before = torch.get_num_threads()
    forks.prepare_for_forks(torch.device("cpu"))
    assert multiprocessing.parent_process() is None
    assert torch.get_num_threads() == before
