"""Simulates a full disk by limiting the size of the files that this process may write."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def small_disk(bytes_per_file: int) -> Iterator[None]:
    """Writing more than `bytes_per_file` to a file raises an OSError, as on a full disk.

    Use it around the code under test only: the limit also applies to files that the test runner
    writes, such as its report.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
