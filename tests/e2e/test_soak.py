"""A short soak: mixed traffic with faults, and nothing left behind. `python -m benchmarks.soak` is the long one."""

import subprocess
import sys

import pytest


@pytest.mark.process
def test_nothing_is_left_of_mixed_traffic() -> None:
    soak = [sys.executable, "-m", "benchmarks.soak", "--warm-up", "3", "--seconds", "10", "--clients", "50"]
    done = subprocess.run(soak, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is left, nothing was wrong" in done.stdout
