"""docs/vector.md: its example runs, and its tables list every keyword and deadline."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sim2street.apps.compose_vector import make_vector_env
from sim2street.envs.vector.worker import VectorDeadlines

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vector.md").read_text()


@pytest.mark.timeout(240)
def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example)
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_every_keyword_and_deadline_is_explained() -> None:
    own = set(inspect.signature(make_vector_env).parameters) - {
        "config", "render_mode", "settings",
    }  # fmt: skip
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows == own | set(VectorDeadlines.model_fields)
