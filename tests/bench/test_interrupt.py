"""Signals that ask a command to stop, in this process."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import weakref

import pytest

from pbench.bench.cli.interrupt import ASKING, Interrupted, interruptible


@pytest.fixture(autouse=True)
def kept():
    before = {s: signal.getsignal(s) for s in (*ASKING, signal.SIGALRM)}
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


class Deaf:
    """Places in which Python or a library passes over every exception."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    @staticmethod
    def in_del() -> None:
        Deaf()

    @staticmethod
    def in_a_callback_of_a_weak_reference() -> None:
        thing = type("Thing", (), {})()
        kept.reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del thing

    @staticmethod
    def in_a_callback_of_the_garbage_collector() -> None:
        def call(phase: str, info: object) -> None:
            gc.callbacks.remove(call)
            os.kill(os.getpid(), signal.SIGTERM)

        gc.callbacks.append(call)
        gc.collect()

    @staticmethod
    def in_a_library() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except:  # noqa: E722
            pass


@pytest.mark.parametrize("place", [name for name in vars(Deaf) if name.startswith("in_")])
def test_an_interruption_that_was_passed_over_comes_again(place, capfd):
    went_on = ended = False
    hook, alarm = sys.unraisablehook, signal.getsignal(signal.SIGALRM)
    with pytest.raises(Interrupted) as caught, interruptible():
        getattr(Deaf, place)()
        went_on = True
        time.sleep(20)
        ended = True
    assert caught.value.exit_code == 128 + signal.SIGTERM and went_on and not ended
    assert capfd.readouterr().err == ""
    assert (sys.unraisablehook, signal.getsignal(signal.SIGALRM)) == (hook, alarm)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_clears_away_after_an_interruption_is_not_interrupted():
    done = []
    with pytest.raises(LookupError), interruptible():
        try:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                time.sleep(0.3)
                done.append("in the middle of it")
                raise ValueError
        except ValueError:
            time.sleep(0.3)
            done.append("and of a failure of that")
            raise LookupError from None
    assert done == ["in the middle of it", "and of a failure of that"]


def test_other_exceptions_that_are_passed_over_are_shown_as_ever(capfd, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: seen.append(lost.exc_value))

    class Fails:
        def __del__(self) -> None:
            raise ValueError

    with pytest.raises(Interrupted), interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            Fails()
    assert [type(e) for e in seen] == [ValueError]
