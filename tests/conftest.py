"""Its place makes pytest put this folder on the path: tests import helpers beside it."""

import os
import signal
import tempfile

# Tests use small tensors: threads that spin for each other on a busy machine cost far more
# than they bring. Set before torch is imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Styles of whoever runs the tests must not take part. Tests that write there choose another one.
os.environ["SIM2STREET_HOME"] = f"{tempfile.gettempdir()}/sim2street-tests-{os.getpid()}"

from sim2street.bridge.carla.standin.fixture import carla_standin  # noqa: F401  (a fixture, started if used)

# A shell starts its background jobs with Ctrl-C ignored, and children inherit that: tests of
# what Ctrl-C does would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
