"""A first signal waits for what must not be torn; a second one does not."""

import os
import signal

import pytest

from sparring.selfplay.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
