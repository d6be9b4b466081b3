"""Its place makes pytest put this folder on the path: tests import helpers beside it."""

import os

import pytest

# Tensors are tiny here: threads of several tests (and processes) would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.register_assert_rewrite("contracts.world_contract", "contracts.renderer_contract", "support")
