import gc
import os
import time
import weakref

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featflow.errors import NodeError, OptionError, StalledError, UnmetNeedsError
from featflow.flow import FLUSH, Flow
from featflow.flow.batch import FaceBatch

MODES = ("threads", "sequential")


@st.composite
def graphs(draw):
    """What each node of a random flow reads, by name: earlier nodes or the box, pixels, a crop."""
    made = {}
    for at in range(draw(st.integers(0, 6))):
        reads = draw(st.sets(st.sampled_from(["box", *made]), min_size=1, max_size=3))
        crop, pixels = draw(st.booleans()), draw(st.booleans())
        made[f"n{at}"] = (tuple(sorted(reads)), float(draw(st.integers(1, 3))), crop, pixels)
    return made


def nodes_of(toys, graph):
    """The nodes of a graph, and the detector last."""
    rule = {True: toys.RULE, False: None}
    nodes = [
        toys.Arithmetic(name, reads, factor, rule[crop], pixels)
        for name, (reads, factor, crop, pixels) in graph.items()
    ]
    return [*nodes[::-1], toys.Detector()]


def expected(graph, index):
    """Value of each node for a face in the frame ``index``, whose pixels are ``index``."""
    known = {"box": float(index)}
    for name, (reads, factor, crop, pixels) in graph.items():
        seen = sum(known[field] for field in reads)
        known[name] = factor * (seen + crop + pixels * (index % 251))
    return known


stream = st.lists(
    st.one_of(st.integers(0, 3), st.integers(0, 40), st.just(-1), st.just("flush")), max_size=60
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stream,
    graphs(),
    st.integers(1, 9),
    st.integers(1, 9),
    st.lists(st.integers(1, 40), min_size=6, max_size=6),
    st.sampled_from(MODES),
    st.sampled_from([1, 500, 3000, 10**8]),
)
def test_every_row_comes_out_once_in_order_unchanged(
    toys, stream, graph, list_size, frame_batch, face_batch, mode, queue_bytes
):
    nodes = nodes_of(toys, graph)
    sizes = {f"toy/{name}": size for name, size in zip(graph, face_batch, strict=False)}
    frames = [toys.frame(i, n) for i, n in enumerate(n for n in stream if n != "flush")]

    def source():
        at = 0
        batch = []
        for item in stream:
            if item == "flush":
                yield batch
                yield FLUSH
                batch = []
                continue
            batch.append(frames[at])
            at += 1
            if len(batch) == list_size:
                yield batch
                batch = []
        yield batch

    flow = Flow(
        nodes, mode=mode, frame_batch=frame_batch, face_batch=sizes, queue_bytes=queue_bytes
    )
    out = list(flow.run(source()))
    got_frames, got_faces = toys.rows(out)
    counts = [int(f.image[0, 0, 0]) if f.error is None else 0 for f in frames]
    assert got_frames == [(f.source, f.index) for f in frames]
    assert got_faces == [(i, k) for i, n in enumerate(counts) for k in range(n)]
    uids = [uid for batch in out for uid in batch.frames.uids.tolist()]
    assert uids == list(range(len(frames)))
    for batch in out:
        index = batch.frames.indices[batch.frame_rows]
        for name in graph:
            want = [expected(graph, i)[name] for i in index]
            assert batch.faces.fields[name].tolist() == want
        assert batch.faces.fields.keys() == {"box", "score", *graph}
        assert not any(image.size for image in batch.frames.images)
    sizes_px = [tuple(s) for batch in out for s in batch.frames.sizes_px.tolist()]
    assert sizes_px == [f.size_px for f in frames]


@pytest.mark.parametrize("mode", MODES)
def test_faces_of_37_in_one_frame_are_batched_and_rejoined(toys, mode):
    node = toys.Arithmetic()
    flow = Flow([toys.Detector(), node], mode=mode, face_batch=16)
    (batch,) = flow.run([[toys.frame(5, 37)]])
    assert node.seen == [16, 16, 5]
    assert len(batch.frames) == 1
    assert batch.faces.box[:, 1].tolist() == list(range(37))


@pytest.mark.parametrize("mode", MODES)
def test_faces_are_batched_across_frames(toys, mode):
    node = toys.Arithmetic()
    flow = Flow([toys.Detector(), node], mode=mode, face_batch=16, frame_batch=4)
    list(flow.run(toys.chunks([toys.frame(i, 2) for i in range(20)], 4)))
    assert node.seen == [16, 16, 8]


@pytest.mark.parametrize("mode", MODES)
def test_flush_makes_later_batches_independent_of_what_came_before(toys, mode):
    def seen(before):
        node = toys.Arithmetic()
        flow = Flow([toys.Detector(), node], mode=mode, face_batch=8, frame_batch=4)
        head = [toys.frame(i, 3) for i in range(before)]
        tail = [toys.frame(i, 3) for i in range(10)]
        list(flow.run([head, FLUSH, tail]))
        return node.seen

    tail = [8, 8, 8, 6]
    assert seen(1) == [3, *tail]
    assert seen(2) == [6, *tail]
    assert seen(0) == tail


@pytest.mark.parametrize("mode", MODES)
def test_threshold_is_inclusive_and_order_is_by_score(toys, mode):
    # Ranks 0..39 have scores 1.00, 0.99, ..., 0.61.
    flow = Flow([toys.Detector()], mode=mode, min_score=0.8)
    (batch,) = flow.run([[toys.frame(0, 40), toys.frame(1, 3)]])
    assert batch.faces.box[:, 1].tolist() == [*range(21), 0, 1, 2]
    assert batch.faces.score[20] == np.float32(0.8)
    assert batch.min_score == 0.8


@pytest.mark.parametrize("mode", MODES)
def test_nodes_are_not_run_where_there_is_no_face(toys, mode):
    node = toys.Arithmetic()
    flow = Flow([toys.Detector(), node], mode=mode)
    out = list(flow.run([[toys.frame(0, 0), toys.frame(1, -1)], [toys.frame(2, 0)]]))
    assert node.seen == []
    assert toys.rows(out) == ([("clip.mp4", 0), ("clip.mp4", 1), ("clip.mp4", 2)], [])
    assert all(batch.faces.fields["a"].shape == (0,) for batch in out)


@pytest.mark.parametrize("mode", MODES)
def test_faces_of_a_table_enter_in_place_of_a_detector(toys, mode):
    frames = [toys.frame(i, i % 5 - 1) for i in range(23)]  # some empty, some unreadable
    first = list(Flow([toys.Detector()], keep_images=True).run([frames]))
    node, reader = toys.Arithmetic(), toys.Arithmetic("e", ("a",), 1.0, reads=True)
    flow = Flow([reader, node], given=("box", "score"), mode=mode, face_batch=4)
    out = list(flow.run(first))
    assert toys.rows(out) == toys.rows(first)
    values = [v for batch in out for v in batch.faces.fields["e"]]
    assert values == [2.0 * i + i % 251 for i in range(23) for _ in range(i % 5 - 1)]
    assert node.seen[:-1] == [4] * (len(node.seen) - 1)
    tight = Flow([reader, node], given=("box", "score"), mode=mode, queue_bytes=1)
    assert toys.rows(tight.run(first)) == toys.rows(first)
    scores = [s for batch in out for s in batch.faces.score]
    assert scores == [s for batch in first for s in batch.faces.score]


@pytest.mark.parametrize("mode", MODES)
def test_given_faces_must_be_there(toys, mode):
    flow = Flow([toys.Arithmetic()], given=("box", "pose"), mode=mode)
    with pytest.raises(OptionError, match=r"\['box', 'pose'\]"):
        list(flow.run([[toys.frame(0, 1)]]))
    (batch,) = Flow([toys.Detector()]).run([[toys.frame(0, 1)]])
    with pytest.raises(OptionError, match="pose"):
        list(flow.run([batch]))
    with pytest.raises(OptionError, match="Batch"):
        list(Flow([toys.Detector()], mode=mode).run([batch]))


@pytest.mark.parametrize("mode", MODES)
def test_rows_pass_unchanged_through_a_flow_with_nothing_to_do(toys, mode):
    first = list(Flow([toys.Detector()]).run([[toys.frame(i, 3) for i in range(9)]]))
    out = list(Flow([], given=("box", "score"), mode=mode).run(first))
    assert toys.rows(out) == toys.rows(first)
    assert toys.flow_threads() == []


def test_images_stay_where_they_are_asked_for(toys):
    flow = Flow([toys.Detector(), toys.Arithmetic()], keep_images=True, queue_bytes=500)
    frames = [toys.frame(i, 9) for i in range(30)]
    out = [image for b in flow.run([frames]) for image in b.frames.images]
    assert all(a is f.image for a, f in zip(out, frames, strict=True))


def failing(toys, phase, error, at=40):
    class Fails(toys.Arithmetic):
        def step(self, name, value):
            self.calls = getattr(self, "calls", 0) + 1
            if name == phase and self.calls > at:
                raise error
            return value

        def pre_process(self, batch):
            return self.step("pre_process", super().pre_process(batch))

        def process(self, inputs):
            return self.step("process", super().process(inputs))

        def post_process(self, batch, outputs):
            return self.step("post_process", super().post_process(batch, outputs))

    return Fails()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("phase", ["pre_process", "process", "post_process"])
def test_an_exception_in_a_phase_reaches_the_caller(toys, mode, phase):
    frames = [toys.frame(i, 2) for i in range(400)]
    flow = Flow([toys.Detector(), failing(toys, phase, ZeroDivisionError("boom"))], mode=mode)
    start = time.monotonic()
    with pytest.raises(NodeError, match=rf"toy/a\.{phase} raised ZeroDivisionError: boom") as told:
        list(flow.run(toys.chunks(frames, 8)))
    assert time.monotonic() - start < 1
    assert "clip.mp4 frame" in str(told.value)
    assert isinstance(told.value.__cause__, ZeroDivisionError)
    names = [entry.name for entry in _frames_of(told.value.__cause__)]
    assert phase in names
    assert toys.flow_threads() == []
    again = Flow([toys.Detector(), toys.Arithmetic()], mode=mode)
    assert len(toys.rows(again.run(toys.chunks(frames, 8)))[1]) == 800


def _frames_of(error):
    trace = error.__traceback__
    while trace is not None:
        yield type("F", (), {"name": trace.tb_frame.f_code.co_name})
        trace = trace.tb_next


@pytest.mark.parametrize("mode", MODES)
def test_a_typed_error_arrives_as_it_is_with_its_inputs_named(toys, mode):
    error = OptionError("typed")
    flow = Flow([toys.Detector(), failing(toys, "process", error)], mode=mode)
    with pytest.raises(OptionError) as told:
        list(flow.run(toys.chunks([toys.frame(i, 2) for i in range(400)], 8)))
    assert told.value is error
    assert any("toy/a.process" in note and "clip.mp4" in note for note in error.__notes__)


@pytest.mark.parametrize("mode", MODES)
def test_an_exception_of_the_source_arrives_as_it_is(toys, mode):
    def source():
        yield [toys.frame(0, 1)]
        raise LookupError("source")

    with pytest.raises(LookupError, match="source"):
        list(Flow([toys.Detector(), toys.Arithmetic()], mode=mode).run(source()))


@pytest.mark.parametrize("mode", MODES)
def test_a_source_of_something_else_is_named(toys, mode):
    with pytest.raises(OptionError, match="str"):
        list(Flow([toys.Detector()], mode=mode).run(["photo.jpg"]))


@pytest.mark.parametrize("mode", MODES)
def test_a_source_that_never_ends_is_left_half_way(toys, mode, tmp_path):
    before, closed = toys.open_files(), []

    def endless():
        path = tmp_path / "clip"
        path.write_text("x")
        with open(path):
            try:
                at = 0
                while True:
                    yield [toys.frame(at + i, 1) for i in range(8)]
                    at += 8
            finally:
                closed.append(True)

    out = Flow([toys.Detector(), toys.Arithmetic()], mode=mode).run(endless())
    assert [next(out).frames.indices[0] for _ in range(5)] == [0, 8, 16, 24, 32]
    out.close()
    assert toys.flow_threads() == []
    assert closed == [True]
    assert toys.open_files() == before


def test_a_dropped_iterator_ends_its_threads(toys):
    out = Flow([toys.Detector()]).run([toys.frame(i, 1)] for i in range(10**6))
    next(out)
    assert toys.flow_threads() != []
    del out
    gc.collect()
    assert toys.flow_threads() == []


def test_a_keyboard_interrupt_ends_all_threads(toys):
    class Interrupts(toys.Arithmetic):
        def process(self, inputs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Flow([toys.Detector(), Interrupts()]).run([[toys.frame(0, 1)]]))
    out = Flow([toys.Detector()]).run([toys.frame(i, 1)] for i in range(10**6))
    next(out)
    with pytest.raises(KeyboardInterrupt):
        out.throw(KeyboardInterrupt)
    assert toys.flow_threads() == []


def test_100_runs_in_a_row(toys):
    flow = Flow([toys.Detector(), toys.Arithmetic()])
    for _ in range(100):
        assert len(toys.rows(flow.run([[toys.frame(i, 1) for i in range(9)]]))[1]) == 9
        assert toys.flow_threads() == []


class Picture(np.ndarray):
    """An array that can stand in a weak set."""

    __hash__ = object.__hash__


@pytest.mark.parametrize("end", ["close", "error"])
def test_pictures_are_freed_when_a_run_is_left(toys, end):
    alive = weakref.WeakSet()

    def source():
        for at in range(0, 10**6, 4):
            made = []
            for i in range(at, at + 4):
                frame = toys.frame(i, 1)
                made.append(type(frame)(frame.image.view(Picture), "clip.mp4", i))
                alive.add(made[-1].image)
            yield made

    last = failing(toys, "process", ValueError("boom")) if end == "error" else toys.Arithmetic()
    flow = Flow([toys.Detector(), last], queue_bytes=4000)
    gc.collect()
    gc.disable()
    try:
        out = flow.run(source())
        next(out)
        until = time.monotonic() + 5
        while len(alive) <= 4 and time.monotonic() < until:
            time.sleep(0.005)  # the thread that decodes has yet to run ahead
        assert len(alive) > 4
        if end == "error":
            with pytest.raises(NodeError):
                list(out)
        out.close()
        del out
        left = len(alive)
    finally:
        gc.enable()
    # The traceback, which pytest keeps, leads to the batch that was worked on and no further.
    assert left <= (9 if end == "error" else 0)


@pytest.mark.parametrize("reads", [False, True])
def test_a_slow_consumer_keeps_few_frames_alive(toys, reads):
    alive, most = weakref.WeakSet(), 0

    def source():
        for at in range(0, 3000, 4):
            frames = [toys.frame(at + i, 1, size=32) for i in range(4)]
            made = []
            for frame in frames:
                image = frame.image.view(Picture)
                alive.add(image)
                made.append(type(frame)(image, frame.source, frame.index))
            yield made
            del frames, made, image, frame

    budget = 20 * 32 * 32 * 3
    nodes = [toys.Detector(), toys.Arithmetic(reads=reads)]
    flow = Flow(nodes, queue_bytes=budget, frame_batch=4, face_batch=3)
    seen = 0
    for batch in flow.run(source()):
        seen += len(batch.frames)
        if seen % 40 < 4:
            time.sleep(0.002)
        most = max(most, len(alive))
    assert seen == 3000
    # 20 frames in flight, one more to pass the bound, and the list that is being admitted
    # together with the one just read; pictures of the last batch wait for their threads.
    assert 4 < most <= 21 + 8
    gc.collect()
    assert len(alive) == 0


@pytest.mark.parametrize("kind", [MemoryError("full"), RuntimeError("CUDA out of memory. Tried")])
@pytest.mark.parametrize("mode", MODES)
def test_running_out_of_memory_halves_the_batch_and_goes_on(toys, mode, kind):
    class Small(toys.Arithmetic):
        batch_size = 16

        def __init__(self):
            super().__init__()
            self.run = []

        def process(self, inputs):
            if len(inputs) > 5:
                raise kind
            self.run.append(len(inputs))
            return super().process(inputs)

    node = Small()
    flow = Flow([toys.Detector(), node], mode=mode)
    out = list(flow.run(toys.chunks([toys.frame(i, 2) for i in range(40)], 8)))
    assert toys.rows(out)[1] == [(i, k) for i in range(40) for k in range(2)]
    assert [v for b in out for v in b.faces.fields["a"]] == [
        2.0 * i for i in range(40) for _ in "ab"
    ]
    assert set(node.run) == {4}  # 16, 8, 4
    node.seen.clear()
    list(flow.run([[toys.frame(i, 2) for i in range(8)]]))
    assert node.seen == [4, 4, 4, 4]  # remembered


@pytest.mark.parametrize("mode", MODES)
def test_running_out_of_memory_with_one_face_is_an_error(toys, mode):
    class Never(toys.Arithmetic):
        def process(self, inputs):
            raise MemoryError

    with pytest.raises(NodeError, match="MemoryError") as told:
        list(Flow([toys.Detector(), Never()], mode=mode).run([[toys.frame(0, 7)]]))
    assert isinstance(told.value.__cause__, MemoryError)


def breaking(toys, result):
    class Breaks(toys.Arithmetic):
        def post_process(self, batch, outputs):
            return result(batch)

    return Breaks()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("result", "told"),
    [
        (lambda b: {"a": np.zeros(len(b.faces) + 1)}, r"'a' has shape \(3,\), not \(2,\)"),
        (lambda b: {"a": np.zeros((len(b.faces), 4))}, r"'a' has shape \(2, 4\), not \(2,\)"),
        (lambda b: {}, r"missing \['a'\]"),
        (lambda b: {"a": np.zeros(2), "z": np.zeros(2)}, r"not declared \['z'\]"),
        (lambda b: {"a": [0, 0]}, "'a' is a list"),
        (lambda b: FaceBatch.empty(), "returned FaceBatch"),
    ],
)
def test_a_face_node_that_breaks_its_contract_is_named(toys, mode, result, told):
    with pytest.raises(NodeError, match=f"toy/a .*{told}.*clip.mp4 frame 3"):
        list(Flow([toys.Detector(), breaking(toys, result)], mode=mode).run([[toys.frame(3, 2)]]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.updated({"box": f.box * np.nan}), "'box' has values that are not finite"),
        (lambda f: f.updated({"box": f.box[:1]}), r"'box' has shape \(1, 4\), not \(2, 4\)"),
        (lambda f: FaceBatch(f.frame_uid + 7, f.fields), r"not shown: \[7, 7\]"),
        (lambda f: FaceBatch(f.frame_uid, {"box": f.box}), r"missing \['score'\]"),
        (lambda f: f.fields, "returned dict"),
    ],
)
def test_a_detector_that_breaks_its_contract_is_named(toys, mode, change, told):
    class Breaks(toys.Detector):
        def post_process(self, batch, outputs):
            return change(super().post_process(batch, outputs))

    with pytest.raises(NodeError, match=f"face/toy .*{told}"):
        list(Flow([Breaks()], mode=mode).run([[toys.frame(0, 2)]]))


def test_a_stage_that_hangs_is_named_with_stacks_and_depths(toys):
    class Hangs(toys.Arithmetic):
        def process(self, inputs):
            time.sleep(1.5)
            return super().process(inputs)

    source = ([toys.frame(i, 1) for i in range(8)] for _ in range(50))
    start = time.monotonic()
    with pytest.raises(StalledError, match=r"toy/a\.process") as told:
        list(Flow([toys.Detector(), Hangs()], stall_seconds=0.2).run(source))
    assert time.monotonic() - start < 1.4
    assert "time.sleep" in str(told.value)
    assert "face/toy.post >: 2" in str(told.value)
    time.sleep(1)  # its thread ends with the call it is in


def test_a_consumer_that_stops_reading_is_no_stall(toys):
    flow = Flow([toys.Detector()], stall_seconds=0.1)
    out = flow.run([toys.frame(i, 1)] for i in range(400))
    next(out)
    time.sleep(0.35)
    assert len(list(out)) > 10


def test_a_slow_but_steady_flow_is_no_stall(toys):
    class Slow(toys.Arithmetic):
        def process(self, inputs):
            time.sleep(0.02)
            return super().process(inputs)

    flow = Flow([toys.Detector(), Slow()], stall_seconds=0.15, face_batch=1)
    assert len(toys.rows(flow.run([[toys.frame(0, 20)]]))[1]) == 20


@pytest.mark.parametrize("mode", MODES)
def test_timings_tell_where_the_time_went(toys, mode):
    class Slow(toys.Arithmetic):
        def process(self, inputs):
            time.sleep(0.05)
            return super().process(inputs)

    def source():
        for at in range(2):
            time.sleep(0.03)
            yield [toys.frame(at, 1)]

    flow = Flow([toys.Detector(), Slow()], mode=mode)
    list(flow.run(source()))
    times = flow.timings
    names = [f"{n}.{p}" for n in ("face/toy", "toy/a") for p in ("pre", "process", "post")]
    assert set(times) == {"decode", "crops", *names}
    assert 0.06 <= times["decode"] < 0.2
    assert 0.05 <= times["toy/a.process"] < 0.2
    assert times["face/toy.process"] < 0.02


def test_decoding_of_a_third_is_hidden_by_threads(toys):
    """Waiting stands in for work, so that what else the machine does says little."""

    class Waits(toys.Arithmetic):
        def process(self, inputs):
            time.sleep(0.016)
            return super().process(inputs)

    def source():
        for at in range(24):
            time.sleep(0.008)
            yield [toys.frame(at, 1)]

    def seconds(mode):
        flow = Flow([toys.Detector(), Waits()], mode=mode, frame_batch=1, face_batch=1)
        start = time.perf_counter()
        list(flow.run(source()))
        passed = time.perf_counter() - start
        busy = flow.timings["decode"] + flow.timings["toy/a.process"]
        return passed, busy / passed

    for _ in range(3):  # one quiet moment is enough
        (sequential, alone), (threads, overlap) = seconds("sequential"), seconds("threads")
        if sequential / threads >= 1.3 and overlap > 1.0:
            break
    assert sequential / threads >= 1.3
    assert alone <= 1.0 < overlap  # the table of stages shows why: they are busy at one time


@pytest.mark.parametrize("mode", MODES)
def test_networks_run_without_gradients_and_the_mode_is_left_alone(toys, mode):
    import torch

    class Asks(toys.Arithmetic):
        def process(self, inputs):
            self.inference = torch.is_inference_mode_enabled()
            return super().process(inputs)

    node = Asks()
    list(Flow([toys.Detector(), node], mode=mode).run([[toys.frame(0, 1)]]))
    assert node.inference
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_forked_child_runs_its_own_flow(toys):
    nodes = [toys.Detector(), toys.Arithmetic()]
    out = Flow(nodes).run([toys.frame(i, 1)] for i in range(1000))
    next(out)
    child = os.fork()
    if child == 0:
        ok = len(toys.rows(Flow(nodes).run([[toys.frame(i, 1) for i in range(20)]]))[1]) == 20
        out.close()
        os._exit(0 if ok else 1)
    until = time.monotonic() + 10
    pid, status = 0, 0
    while pid == 0 and time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if pid == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert pid == child
    assert os.waitstatus_to_exitcode(status) == 0
    assert sum(len(batch.frames) for batch in out) == 992  # the parent's flow goes on


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "process"},
        {"frame_batch": 0},
        {"face_batch": {"toy/a": 0}},
        {"face_batch": {"toy/unknown": 4}},
        {"queue_bytes": 0},
        {"stall_seconds": 0},
    ],
)
def test_unusable_options_are_errors(toys, options):
    with pytest.raises(OptionError):
        Flow([toys.Detector(), toys.Arithmetic()], **options)


def test_unmet_needs_are_told_before_anything_runs(toys):
    with pytest.raises(UnmetNeedsError, match="toy/a needs 'box'"):
        Flow([toys.Arithmetic()])


@pytest.mark.parametrize("mode", MODES)
def test_a_flow_without_nodes_passes_frames_through(toys, mode):
    out = list(Flow([], mode=mode).run(toys.chunks([toys.frame(i, 1) for i in range(20)], 3)))
    assert toys.rows(out)[0] == [("clip.mp4", i) for i in range(20)]


def test_overhead_and_memory_of_ten_thousand_frames(toys):
    import tracemalloc

    nodes = [toys.Detector(), toys.Arithmetic("a"), toys.Arithmetic("b", ("a",))]
    flow = Flow(nodes)
    frames = [toys.frame(0, 1)] * 8
    for _ in flow.run(frames for _ in range(20)):
        pass
    start = time.perf_counter()
    count = sum(len(batch.frames) for batch in flow.run(frames for _ in range(1250)))
    per_frame = (time.perf_counter() - start) / count
    assert count == 10_000
    print(f"{per_frame * 1e3:.3f} ms a frame")  # reported, never a reason to fail

    for node in nodes[1:]:
        node.seen.clear()
    tracemalloc.start()
    held = []
    for at, _ in enumerate(flow.run(frames for _ in range(600))):
        for node in nodes[1:]:
            node.seen.clear()
        if at in (150, 550):
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 100_000
