"""Signals that ask a command to stop, in this process."""

from __future__ import annotations

import os
import signal

import pytest

from pbench.bench.cli.interrupt import ASKING, Interrupted, interruptible


@pytest.fixture(autouse=True)
def kept():
    before = {s: signal.getsignal(s) for s in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ASKING)
def test_a_signal_interrupts_once_and_is_then_ignored(number):
    signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    with pytest.raises(Interrupted) as caught, interruptible():
        os.kill(os.getpid(), number)
    assert isinstance(caught.value, KeyboardInterrupt) and caught.value.exit_code == 128 + number
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("error", [None, ValueError, SystemExit])
def test_whatever_else_happens_the_handlers_are_those_from_before(error):
    before = [signal.getsignal(s) for s in ASKING]
    try:
        with interruptible():
            assert [signal.getsignal(s) for s in ASKING] != before
            if error:
                raise error
    except (ValueError, SystemExit):
        pass
    assert [signal.getsignal(s) for s in ASKING] == before


def test_what_the_caller_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
