"""A full disk without filling one: no file of this process may grow beyond a size."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def small_disk(bytes_per_file: int) -> Iterator[None]:
    """Writing beyond the limit raises the kind of error a full disk raises.

    Enter it around the code under test only. The limit holds for the test runner's own output
    too, and a runner that cannot write its report to a file ends without a word.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
