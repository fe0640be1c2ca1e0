"""A flow run by hand: what is put comes out once, in order, and misuse is a typed error."""

import collections
import gc
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featflow.errors import (
    ArrayError,
    ImageError,
    NodeError,
    OptionError,
    SchemaError,
    SessionError,
    StalledError,
    UnmetNeedsError,
)
from featflow.flow import Flow
from featflow.flow.batch import Batch, FaceBatch

MODES = ("threads", "sequential")


def flow_of(toys, mode="threads", **options):
    return Flow([toys.Detector(), toys.Arithmetic()], mode=mode, **options)


def values(batches):
    return [v for batch in batches for v in batch.faces.fields["a"].tolist()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(st.integers(-1, 3), st.integers(0, 40), st.sampled_from(["flush", "drain"])),
        max_size=40,
    ),
    st.sampled_from(MODES),
    st.integers(1, 9),
    st.integers(1, 20),
)
def test_every_frame_comes_out_once_in_order(toys, stream, mode, frame_batch, face_batch):
    counts = [n for n in stream if isinstance(n, int)]
    frames = iter([toys.frame(i, n) for i, n in enumerate(counts)])
    out, put = [], 0
    with flow_of(toys, mode, frame_batch=frame_batch, face_batch=face_batch).open() as session:
        for item in stream:
            if item == "flush":
                session.flush()
            elif item == "drain":
                out += session.drain()
                assert sum(len(batch.frames) for batch in out) == put
                assert session.in_flight == 0
            else:
                session.put_frame(next(frames))
                put += 1
        session.stop()
        out += session
        assert session.ended
    got_frames, got_faces = toys.rows(out)
    assert [index for _, index in got_frames] == list(range(len(counts)))
    assert got_faces == [(i, k) for i, n in enumerate(counts) for k in range(max(n, 0))]
    assert values(out) == [2.0 * i for i, n in enumerate(counts) for _ in range(max(n, 0))]


@pytest.mark.parametrize("mode", MODES)
def test_flush_lets_a_partial_batch_out_and_the_session_goes_on(toys, mode):
    with flow_of(toys, mode, frame_batch=4).open() as session:
        for i in range(3):
            session.put_frame(toys.frame(i, 1))
        time.sleep(0.05)
        assert session.in_flight == 3  # a batch of 4 waits for its fourth
        session.flush()
        assert toys.rows([next(session)])[0] == [("clip.mp4", i) for i in range(3)]
        session.put_frame(toys.frame(3, 2))
        session.stop()
        start = time.monotonic()
        assert toys.rows(session)[1] == [(3, 0), (3, 1)]
    assert time.monotonic() - start < 1
    assert toys.flow_threads() == []


@pytest.mark.parametrize("mode", MODES)
def test_1000_mixed_frames_put_and_taken_in_two_threads(toys, mode):
    counts = [i % 5 - 1 for i in range(1000)]
    with flow_of(toys, mode).open() as session:

        def produce():
            for i, n in enumerate(counts):
                session.put_frame(toys.frame(i, n))
            session.stop()

        producer = threading.Thread(target=produce)
        producer.start()
        got_frames, got_faces = toys.rows(session)
        producer.join()
    assert [index for _, index in got_frames] == list(range(1000))
    assert got_faces == [(i, k) for i, n in enumerate(counts) for k in range(max(n, 0))]


def test_one_thread_may_put_everything_before_it_takes_anything(toys):
    with flow_of(toys, queue_bytes=1000).open() as session:
        for i in range(500):
            session.put_frame(toys.frame(i, 2))
        session.stop()
        assert len(toys.rows(session)[1]) == 1000


@pytest.mark.parametrize("mode", MODES)
def test_37_faces_of_one_frame_are_split_and_rejoined(toys, mode):
    node = toys.Arithmetic()
    with Flow([toys.Detector(), node], mode=mode, face_batch=16).open() as session:
        session.put_frame(toys.frame(5, 37))
        (batch,) = session.drain()
        assert node.seen == [16, 16, 5]
        assert batch.faces.box[:, 1].tolist() == list(range(37))
        node.seen.clear()
        now = session.put_frame(toys.frame(5, 37), passthrough=True)
        assert node.seen == [16, 16, 5]
        for name in batch.faces.fields:
            np.testing.assert_array_equal(now.faces.fields[name], batch.faces.fields[name])


@pytest.mark.parametrize("mode", MODES)
def test_passthrough_answers_at_once_and_takes_no_part_in_the_stream(toys, mode):
    with flow_of(toys, mode).open() as session:
        now = session.put_frame(toys.frame(7, 3), passthrough=True)
        assert values([now]) == [14.0] * 3
        assert session.in_flight == 0
        session.put_frame(toys.frame(1, 1))
        with pytest.raises(SessionError, match=r"1 frames are in flight.*drain"):
            session.put_frame(toys.frame(2, 1), passthrough=True)
        assert values(session.drain()) == [2.0]
        assert values([session.put_frame(toys.frame(2, 1), passthrough=True)]) == [4.0]
        session.stop()
        assert list(session) == []


def test_put_takes_pictures_of_any_kind(toys):
    import torch
    from PIL import Image

    image = toys.frame(3, 2).image
    with flow_of(toys, keep_images=True).open() as session:
        session.put("array", image)
        session.put("tensor", torch.from_numpy(image).permute(2, 0, 1))
        session.put("pil", Image.fromarray(image))
        batches = session.drain()
    frames = [frame for batch in batches for frame in batch.frames.images]
    assert [s for b in batches for s in b.frames.sources] == ["array", "tensor", "pil"]
    assert all(np.array_equal(frame, image) for frame in frames)
    assert [tuple(s) for b in batches for s in b.frames.sizes_px] == [(8, 8)] * 3


def test_pictures_that_are_none_are_refused_at_once(toys):
    with flow_of(toys).open() as session:
        with pytest.raises(ArrayError, match="bad: shape"):
            session.put("bad", np.zeros((4, 4, 7), np.uint8))
        with pytest.raises(ArrayError, match="holds 2 pictures"):
            session.put("two", np.zeros((2, 4, 4, 3), np.uint8))
        with pytest.raises(OptionError, match="ndarray; see put"):
            session.put_frame(np.zeros((4, 4, 3), np.uint8))
        session.put_frame(toys.frame(0, -1))  # one that could not be read keeps its place
        (batch,) = session.drain()
        assert isinstance(batch.frames.errors[0], ImageError)


@pytest.mark.parametrize("mode", MODES)
def test_given_faces_enter_in_place_of_a_detector(toys, mode):
    node = toys.Arithmetic()
    flow = Flow([node], given=("box", "score"), mode=mode, face_batch=4)
    faces = {"box": np.float32([[3, 0, 9, 9], [5, 0, 9, 9]]), "score": np.float32([0.1, 0.9])}
    picture = np.zeros((9, 9, 3), np.uint8)
    with flow.open() as session:
        session.put("a", picture, faces)
        session.put("b", picture, {})
        session.put("c", picture, FaceBatch(np.zeros(2, np.int64), faces))
        out = session.drain()
        assert values(out) == [6.0, 10.0, 6.0, 10.0]
        assert node.seen == [4]
        counts = [np.bincount(b.frame_rows, minlength=len(b.frames)).tolist() for b in out]
        assert [n for each in counts for n in each] == [2, 0, 2]
        now = session.put("now", picture, faces, passthrough=True)
        assert values([now]) == [6.0, 10.0]
        with pytest.raises(OptionError, match=r"c: this flow reads faces with \['box', 'score'\]"):
            session.put("c", picture)
        with pytest.raises(SchemaError, match=r"'box': 2, 'score': 1"):
            session.put("d", picture, {**faces, "score": np.float32([1])})


def test_faces_are_not_wanted_by_a_flow_that_finds_them(toys):
    with flow_of(toys).open() as session, pytest.raises(OptionError, match=r"given="):
        session.put("a", np.zeros((9, 9, 3), np.uint8), {"box": np.zeros((1, 4))})


@pytest.mark.parametrize("mode", MODES)
def test_put_direct_equals_the_whole_flow(toys, mode):
    nodes = [toys.Detector(), toys.Arithmetic(), toys.Arithmetic("c", ("a",), 5.0, reads=True)]
    flow = Flow(nodes, mode=mode, face_batch=4)
    frames = [toys.frame(i, n) for i, n in enumerate([3, 0, 7, -1, 1])]
    with flow.open() as session:
        for frame in frames:
            session.put_frame(frame)
        whole = Batch.concat(session.drain())
        for at, frame in enumerate(frames):
            found = session.put_direct("face/toy", frame)
            first = session.put_direct("toy/a", found)
            last = session.put_direct("toy/c", first)
            rows = whole.frame_rows == at
            for name in ("box", "score", "a", "c"):
                if rows.any():
                    np.testing.assert_array_equal(
                        last.faces.fields[name], whole.faces.fields[name][rows]
                    )
            assert last.frames.images[0] is frame.image
        given = {"box": np.float32([[4, 0, 9, 9]])}
        assert values([session.put_direct("toy/a", frames[0], given)]) == [8.0]


def test_put_direct_misused(toys):
    flow = Flow([toys.Detector(), toys.Arithmetic(), toys.Arithmetic("c", ("a",), 5.0)])
    frame = toys.frame(0, 1)
    with flow.open() as session:
        with pytest.raises(OptionError, match=r"no node 'toy/z'; its nodes: face/toy, toy/a"):
            session.put_direct("toy/z", frame)
        with pytest.raises(UnmetNeedsError, match=r"toy/c needs \['a'\]"):
            session.put_direct("toy/c", session.put_direct("face/toy", frame))
        with pytest.raises(OptionError, match="a Batch has its own"):
            session.put_direct("toy/a", session.put_direct("face/toy", frame), {})
        session.put_frame(frame)
        with pytest.raises(SessionError, match="in flight"):
            session.put_direct("face/toy", frame)
        session.drain()


@pytest.mark.parametrize("mode", MODES)
def test_nothing_can_be_put_after_stop_and_stopping_twice_is_harmless(toys, mode):
    with flow_of(toys, mode).open() as session:
        session.put_frame(toys.frame(0, 1))
        session.stop()
        session.stop()
        for misuse in (
            lambda: session.put_frame(toys.frame(1, 1)),
            lambda: session.put_frame(toys.frame(1, 1), passthrough=True),
            lambda: session.put_direct("face/toy", toys.frame(1, 1)),
            session.flush,
        ):
            with pytest.raises(SessionError, match="was stopped"):
                misuse()
        assert values(session) == [0.0]
        assert list(session) == []
        assert repr(session) == "Session(ended, 0 frames in flight)"
    with pytest.raises(SessionError, match="was stopped|closed"):
        session.put_frame(toys.frame(1, 1))


def test_a_closed_session_refuses_everything(toys):
    session = flow_of(toys).open()
    session.put_frame(toys.frame(0, 1))
    session.close()
    session.close()
    assert toys.flow_threads() == []
    for misuse in (
        lambda: session.put_frame(toys.frame(1, 1)),
        session.flush,
        session.drain,
        lambda: next(session),
        session.__enter__,
    ):
        with pytest.raises(SessionError, match="closed"):
            misuse()
    session.stop()


def test_a_session_has_one_end_and_a_flow_has_none(toys):
    flow = flow_of(toys)
    with pytest.raises(TypeError, match="not iterable"):
        iter(flow)
    with flow.open() as session:
        taker = threading.Thread(target=lambda: next(session, None))
        taker.start()
        until = time.monotonic() + 5
        while not session._taking.locked() and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(SessionError, match="one end"):
            next(session)
        session.stop()
        taker.join()


def test_a_flow_has_one_open_session_at_a_time(toys):
    flow, other = flow_of(toys), flow_of(toys)
    with flow.open() as session, other.open() as second:
        with pytest.raises(SessionError, match="open session"):
            flow.open()
        second.put_frame(toys.frame(4, 1))
        assert values(second.drain()) == [8.0]
        session.stop()
        assert list(session) == []
        with flow.open() as again:
            again.put_frame(toys.frame(2, 1))
            assert values(again.drain()) == [4.0]


def failing(toys, phase):
    class Fails(toys.Arithmetic):
        def step(self, name, value):
            if name == phase and self.seen and self.index >= 40:
                raise ZeroDivisionError("boom")
            return value

        def pre_process(self, batch):
            self.index = int(batch.frames.indices[-1])
            return self.step("pre_process", super().pre_process(batch))

        def process(self, inputs):
            return self.step("process", super().process(inputs))

        def post_process(self, batch, outputs):
            return self.step("post_process", super().post_process(batch, outputs))

    return Fails()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("phase", ["pre_process", "process", "post_process"])
def test_an_error_of_a_phase_belongs_to_its_session(toys, mode, phase):
    good = flow_of(toys, mode).open()
    flow = Flow([toys.Detector(), failing(toys, phase)], mode=mode, frame_batch=4)
    with flow.open() as session:
        for i in range(8):
            session.put_frame(toys.frame(i, 1))
        out = session.drain()
        start = time.monotonic()
        for i in range(40, 44):
            session.put_frame(toys.frame(i, 1))
        with pytest.raises(NodeError, match=rf"toy/a\.{phase} raised ZeroDivisionError") as told:
            session.drain()
        assert time.monotonic() - start < 1
        assert isinstance(told.value.__cause__, ZeroDivisionError)
        assert values(out) == [2.0 * i for i in range(8)]
        with pytest.raises(SessionError, match=r"has ended \(NodeError: toy/a"):
            session.put_frame(toys.frame(9, 1))
        with pytest.raises(SessionError, match="has ended"):
            session.flush()
        assert list(session) == []
    good.put_frame(toys.frame(3, 1))
    assert values(good.drain()) == [6.0]
    good.close()
    with flow.open() as again:
        again.put_frame(toys.frame(5, 1))
        assert values(again.drain()) == [10.0]


def test_batches_that_were_finished_come_out_before_the_error(toys):
    flow = Flow([toys.Detector(), failing(toys, "process")], frame_batch=1, face_batch=1)
    with flow.open() as session:
        session.put_frame(toys.frame(0, 1))
        session.flush()
        until = time.monotonic() + 5
        while session.in_flight and time.monotonic() < until:
            time.sleep(0.01)
        session.put_frame(toys.frame(40, 1))
        until = time.monotonic() + 5
        while not session._desk.failure and time.monotonic() < until:
            time.sleep(0.01)
        assert values([next(session)]) == [0.0]
        with pytest.raises(NodeError, match="boom"):
            next(session)


def test_an_error_of_passthrough_leaves_the_session_open(toys):
    with Flow([toys.Detector(), failing(toys, "process")]).open() as session:
        with pytest.raises(NodeError, match="boom"):
            session.put_frame(toys.frame(41, 1), passthrough=True)
        session.put_frame(toys.frame(1, 1))
        assert values(session.drain()) == [2.0]


def put_until_full(session, toys, count, kind, alive):
    """Put frames whose pictures can be watched; whether there was no room for one."""
    for i in range(count):
        made = toys.frame(i, 1)
        frame = type(made)(made.image.view(kind), "clip.mp4", i)
        alive.add(frame.image)
        try:
            session.put_frame(frame)
        except StalledError:
            return True
    return False


@pytest.mark.parametrize("state", ["idle", "half way", "outbox full"])
def test_an_abandoned_session_leaves_no_thread_and_no_picture(toys, state):
    class Picture(np.ndarray):
        __hash__ = object.__hash__

    alive = weakref.WeakSet()
    flow = flow_of(toys, queue_bytes=4000, keep_images=state == "outbox full", stall_seconds=0.1)
    before = toys.open_files()
    gc.collect()
    gc.disable()
    try:
        session = flow.open()
        full = put_until_full(session, toys, 0 if state == "idle" else 60, Picture, alive)
        assert full == (state == "outbox full")
        assert toys.flow_threads() != []
        del session
        assert toys.flow_threads() == []
        assert len(alive) == 0
    finally:
        gc.enable()
    assert toys.open_files() == before


def test_leaving_the_block_by_an_error_ends_every_thread(toys):
    def leave(session):
        with session:
            session.put_frame(toys.frame(0, 1))
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        leave(flow_of(toys).open())
    assert toys.flow_threads() == []


def test_a_consumer_that_stops_reading_bounds_the_producer_by_a_typed_error(toys):
    flow = flow_of(toys, queue_bytes=4000, keep_images=True, stall_seconds=0.1)
    with flow.open() as session:
        put = iter(toys.frame(i, 1) for i in range(10_000))
        with pytest.raises(StalledError, match="nobody takes what is finished"):
            collections.deque(map(session.put_frame, put), maxlen=0)
        refused = next(put).index - 1
        assert refused < 200
        out = [next(session) for _ in range(4)]
        session.put_frame(toys.frame(refused, 1))  # there is room again
        session.stop()
        got = toys.rows([*out, *session])[1]
    assert got == [(i, 0) for i in range(refused + 1)]


def test_a_silent_caller_is_no_stall_but_a_hanging_node_is(toys):
    class Hangs(toys.Arithmetic):
        def process(self, inputs):
            if int(inputs[0]) >= 9:
                time.sleep(0.8)
            return super().process(inputs)

    flow = Flow([toys.Detector(), Hangs()], stall_seconds=0.1)
    with flow.open() as session:
        session.put_frame(toys.frame(1, 1))
        waiting = threading.Timer(0.35, session.flush)
        waiting.start()
        assert values([next(session)]) == [2.0]
        time.sleep(0.25)
        session.put_frame(toys.frame(9, 1))
        with pytest.raises(StalledError, match=r"toy/a\.process"):
            session.drain()
    time.sleep(0.6)  # its thread ends with the call it is in


def test_a_frame_costs_a_session_little(toys):
    frames = [toys.frame(i % 50, 1) for i in range(3000)]
    with flow_of(toys).open() as session:
        start = time.process_time()
        seen = 0
        for at in range(0, 3000, 100):
            for frame in frames[at : at + 100]:
                session.put_frame(frame)
            seen += sum(len(batch.frames) for batch in session.drain())
        spent = time.process_time() - start
    assert seen == 3000
    assert spent / 3000 < 1e-3
