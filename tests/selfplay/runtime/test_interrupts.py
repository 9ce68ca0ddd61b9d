"""A first signal waits for what must not be torn; a second one does not."""

import ctypes
import os
import signal
from pathlib import Path

import pytest

from sparring.selfplay.runtime.interrupts import Interrupts, resume_command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_what_is_held(number: int):
    interrupts, done = Interrupts(), []
    with pytest.raises(KeyboardInterrupt), interrupts.watched(), interrupts.held():  # noqa: PT012
        with interrupts.held():
            os.kill(os.getpid(), number)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    assert interrupts.received == number


def test_a_second_signal_stops_at_once():
    interrupts, done = Interrupts(), []
    with pytest.raises(KeyboardInterrupt), interrupts.watched(), interrupts.held():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        done.append("too late")
    assert done == []
    assert interrupts.received == signal.SIGTERM, "the first one"


@pytest.mark.parametrize(("processes", "stops"), [("1", True), ("2", False)])
def test_a_second_press_of_ctrl_c_stops_at_once_however_soon(processes: str, stops: bool, monkeypatch: pytest.MonkeyPatch):
    """What starts several processes passes the first one on; on its own a process gets it once."""
    monkeypatch.setenv("WORLD_SIZE", processes)
    now = 100.0
    monkeypatch.setattr("sparring.selfplay.runtime.interrupts.time.monotonic", lambda: now)
    interrupts, done = Interrupts(), []
    with pytest.raises(KeyboardInterrupt), interrupts.watched(), interrupts.held():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        now += 0.2
        os.kill(os.getpid(), signal.SIGINT)
        done.append("saved")
    assert done == ([] if stops else ["saved"])


def test_two_presses_within_one_long_operation_are_two():
    """Python calls a handler once, however often its signal has come since it last looked."""
    interrupts, done, send = Interrupts(), [], getattr(ctypes.CDLL(None), "raise")
    with pytest.raises(KeyboardInterrupt), interrupts.watched(), interrupts.held():  # noqa: PT012
        list(map(send, [signal.SIGINT, signal.SIGINT]))
        done.append("saved")
    assert done == []


def test_nohup_is_heeded():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts().watched():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_gone_keeps_nobody_from_saving():
    ours, theirs = os.openpty()
    streams, interrupts, done = [os.dup(number) for number in (1, 2)], Interrupts(), []
    try:
        for number in (1, 2):
            os.dup2(theirs, number)
        os.close(ours)
        os.close(theirs)
        with pytest.raises(KeyboardInterrupt), interrupts.watched(), interrupts.held():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGHUP)
            os.write(1, b"a table")
            os.write(2, b"a bar")
            done.append("saved")
    finally:
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
    assert done == ["saved"] and interrupts.received == signal.SIGHUP


def test_a_command_to_go_on_can_be_typed():
    for folder, typed in (("-rf2", "./-rf2"), ("my run", "'my run'"), ("x+y/run", "x+y/run"), ("hf:run", "./hf:run"), ("/a/b", "/a/b")):
        assert resume_command(Path(folder)) == f"sparring train --resume {typed}"


def test_a_signal_that_is_passed_on_once_more_is_one():
    interrupts, done = Interrupts(), []
    with pytest.raises(KeyboardInterrupt), interrupts.watched(), interrupts.held():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("saved")
    assert done == ["saved"]


def test_what_another_process_received_makes_no_own_signal_a_second_one():
    interrupts, done = Interrupts(), []
    with pytest.raises(KeyboardInterrupt), interrupts.watched(), interrupts.held():  # noqa: PT012
        interrupts.received = signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("saved")
    assert done == ["saved"]


def test_elsewhere_a_signal_stops_at_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    interrupts = Interrupts()
    with pytest.raises(KeyboardInterrupt), interrupts.watched():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
