import threading
import time

import pytest

from featflow.flow.queues import Channel, Control, Ledger, Stopped


def in_thread(call):
    """Start a call; returns the thread and where its outcome appears."""
    outcome = []

    def run():
        try:
            outcome.append(call())
        except Stopped as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_items_leave_in_order_and_a_full_channel_waits():
    control = Control()
    channel = Channel("c", 2, control)

    def produce():
        for at in range(500):
            channel.put(at)
            assert len(channel) <= 2

    thread, _ = in_thread(produce)
    time.sleep(0.02)
    assert len(channel) == 2
    assert [channel.get() for _ in range(500)] == list(range(500))
    thread.join(1)
    assert not thread.is_alive()


@pytest.mark.parametrize("wait", ["get", "put", "acquire"])
def test_stopping_wakes_every_waiting_thread(wait):
    control = Control()
    channel, ledger = Channel("c", 1, control), Ledger(1, 1, control)
    ledger.acquire(1)
    if wait == "put":
        channel.put(0)
    calls = {
        "get": channel.get,
        "put": lambda: channel.put(1),
        "acquire": lambda: ledger.acquire(1),
    }
    thread, outcome = in_thread(calls[wait])
    time.sleep(0.02)
    assert thread.is_alive()
    control.stop()
    thread.join(1)
    assert isinstance(outcome[0], Stopped)


def test_get_times_out():
    with pytest.raises(TimeoutError):
        Channel("c", 1, Control()).get(timeout=0.01)


def test_the_first_error_is_kept_and_none_after_a_stop():
    control = Control()
    first = ValueError()
    control.fail(first)
    control.fail(KeyError())
    assert control.error is first
    ended = Control()
    ended.stop()
    ended.fail(first)
    assert ended.error is None


def test_the_budget_is_passed_by_one_frame_at_most():
    control = Control()
    ledger = Ledger(100, 10, control)
    ledger.acquire(60)
    ledger.acquire(60)
    thread, _ = in_thread(lambda: ledger.acquire(1))
    time.sleep(0.02)
    assert thread.is_alive()
    ledger.release(nbytes=60, frames=1)
    thread.join(1)
    assert (ledger.nbytes, ledger.frames) == (61, 2)


def test_the_number_of_frames_is_bounded_too():
    ledger = Ledger(100, 3, Control())
    for _ in range(3):
        ledger.acquire(0)
    thread, _ = in_thread(lambda: ledger.acquire(0))
    time.sleep(0.02)
    assert thread.is_alive()
    ledger.release(frames=1)
    thread.join(1)
    assert ledger.frames == 3
