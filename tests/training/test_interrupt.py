"""Signals in a process of their own, for the tests' process has handlers that are not ours."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

_BEGIN = """
import os, signal
from paretovit.training.interrupt import asked_to_stop
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    code = _BEGIN + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_signal_that_was_asked_about_is_the_askers_to_act_on():
    ended = run("""
        with asked_to_stop() as asked:
            assert not asked()
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked()
        print("went on")
    """)
    assert (ended.returncode, ended.stdout) == (0, "went on\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_nobody_asked_about_is_not_lost(name):
    ended = run(f"""
        with asked_to_stop() as asked:
            assert not asked()
            os.kill(os.getpid(), signal.{name})
            print("finished", flush=True)
        print("went on")
    """)
    assert ended.stdout == "finished\n"
    if name == "SIGTERM":
        assert ended.returncode == -signal.SIGTERM
    else:
        assert "KeyboardInterrupt" in ended.stderr


def test_it_reaches_whoever_handled_it_before_and_only_once():
    ended = run("""
        came = []
        signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
        with asked_to_stop():
            os.kill(os.getpid(), signal.SIGTERM)
            assert came == []
        with asked_to_stop():
            pass
        print(came == [signal.SIGTERM])
    """)
    assert ended.stdout == "True\n"


def test_an_error_inside_goes_before_the_signal():
    ended = run("""
        try:
            with asked_to_stop():
                os.kill(os.getpid(), signal.SIGTERM)
                raise ValueError
        except ValueError:
            print("the error")
    """)
    assert ended.stdout == "the error\n"


def test_a_second_signal_ends_at_once():
    ended = run("""
        try:
            with asked_to_stop():
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                print("not reached")
        except KeyboardInterrupt:
            print("at once")
    """)
    assert ended.stdout == "at once\n"
