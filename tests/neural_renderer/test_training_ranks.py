"""Training in two processes: both have the same weights, and one of them writes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import write_photos

HERE = Path(__file__).parent

SCRIPT = """
import sys
from pathlib import Path
import torch
from tiny_runs import tiny_config
from sim2street.neural_renderer.training.ranks import process_group, rank, world_size
from sim2street.neural_renderer.training.trainer import train
root, out = Path(sys.argv[1]), Path(sys.argv[2])
with process_group(torch.device("cpu")) as device:
    assert world_size() == 2
    config = tiny_config(root, {"steps": 3, "clip_share": 0.5}, accumulate=2, sample_every=1)
    for stop_at in (2, 3):
        state = train(config, out / "run", device, stop_at=stop_at)
    modules = {name: module.state_dict() for name, module in state.modules().items()}
    torch.save(modules, out / f"rank_{rank()}.pt")
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_ranks_keep_equal_weights_and_one_writes(tmp_path: Path) -> None:
    root = write_photos(tmp_path / "made")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, str(root), str(tmp_path)]
    started = [
        subprocess.Popen(command, env={**shared, "RANK": str(r), "LOCAL_RANK": str(r)})
        for r in range(2)
    ]
    try:
        assert [process.wait(timeout=300) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    first, second = (torch.load(tmp_path / f"rank_{r}.pt", weights_only=True) for r in range(2))
    for name, module in first.items():
        for key, tensor in module.items():
            assert torch.equal(tensor, second[name][key]), f"{name}.{key}"
    saved = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["modules"]
    assert torch.equal(saved["generator"]["stem.weight"], first["generator"]["stem.weight"])
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 2  # one a start, not four
    assert not list((tmp_path / "run").glob("*.part"))
