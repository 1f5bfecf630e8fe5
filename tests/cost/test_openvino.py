"""What OpenVINO leaves behind in the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

SIGNALLED = """
import faulthandler, os, signal, torch
from paretovit.cost.runtimes.openvino import Openvino
faulthandler.enable()  # gives signals a stack of their own, as many programs do
batch = torch.zeros(1, 8)
sessions = [Openvino().prepare(torch.nn.Linear(8, 8).eval(), batch) for _ in range(2)]
del sessions[0]
del sessions[0]
came = []
signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
os.kill(os.getpid(), signal.SIGUSR1)
assert came
"""


def test_a_signal_still_arrives_after_its_sessions_are_gone():
    """A plug-in that goes puts back the signal stack it found, which may be that of one that went before it."""
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended by signal {-done.returncode}; {done.stderr}"
