"""What an extraction pipeline is documented to do, row by row, and the test that holds it to it.

The rows are those of the feature table that this pipeline was measured against, from its
signals to the profiler's output. Tests that stand in no other file follow below.
"""

from __future__ import annotations

import ast
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets.frame import Frame
from featflow.flow import Flow
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.node import InputSpec, Node
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import apply, invert

HERE = Path(__file__).parents[1]

ROWS = {
    "flush and shutdown": [
        "flow/test_session.py::test_flush_lets_a_partial_batch_out_and_the_session_goes_on",
        "flow/test_session.py::test_nothing_can_be_put_after_stop_and_stopping_twice_is_harmless",
    ],
    "batch: append, slice, mask, lengths": [
        "flow/test_batch.py::test_concat_undoes_split_also_inside_a_frame",
        "flow/test_batch.py::test_concat_undoes_cutting_at_frames",
    ],
    "batch: aligned geometry, cached": [
        "geometry/test_centring.py::test_a_known_similarity_is_recovered",
        "flow/test_batch.py::test_crops_travel_through_split_concat_and_take",
    ],
    "batch: masks": [
        "flow/test_capabilities.py::test_masks_stay_with_their_faces",
        "geometry/test_mask_ops.py::test_a_constant_mask_is_exact_at_any_size",
    ],
    "frame with faces": [
        "flow/test_batch.py::test_released_drops_what_is_not_needed_and_keeps_sizes",
        "flow/test_session.py::test_given_faces_enter_in_place_of_a_detector",
    ],
    "row export": [
        "fex/test_unpack.py::test_unpacking_undoes_writing",
        "fex/test_io.py::test_every_group_comes_back",
        "test_detector.py::test_saved_file_equals_the_returned_table",
    ],
    "handler: phases and contract": [
        "flow/test_capabilities.py::test_phases_run_in_order_on_what_was_handed_over",
        "flow/test_node.py::test_prepare_is_the_contract",
    ],
    "handler: face crops": [
        "flow/test_capabilities.py::test_each_network_sees_its_own_colours",
        "geometry/test_centring.py::test_a_crop_from_the_frame_equals_one_from_the_stored_head_crop",
        "extract/test_aligned_input.py::"
        "test_a_node_gets_from_face_pictures_what_it_gets_from_frames",
    ],
    "rows as input": [
        "test_tables.py::"
        "test_a_detector_with_nothing_to_do_gives_the_same_table_and_starts_nothing",
    ],
    "runner": [
        "flow/test_session.py::test_1000_mixed_frames_put_and_taken_in_two_threads",
        "flow/test_session.py::test_put_direct_equals_the_whole_flow",
        "flow/test_session.py::test_a_session_has_one_end_and_a_flow_has_none",
        "flow/test_session.py::test_a_flow_has_one_open_session_at_a_time",
    ],
    "passthrough": [
        "flow/test_session.py::test_passthrough_answers_at_once_and_takes_no_part_in_the_stream",
        "flow/test_session.py::test_37_faces_of_one_frame_are_split_and_rejoined",
    ],
    "threads and errors": [
        "flow/test_session.py::test_an_error_of_a_phase_belongs_to_its_session",
        "flow/test_runner.py::test_an_exception_in_a_phase_reaches_the_caller",
    ],
    "pipeline in order, two apart": [
        "flow/test_graph.py::test_order_and_levels_do_not_depend_on_the_order_given",
        "flow/test_capabilities.py::test_two_flows_at_one_time_stay_apart",
    ],
    "error stops every thread": [
        "flow/test_queues.py::test_stopping_wakes_every_waiting_thread",
        "flow/test_queues.py::test_the_first_error_is_kept_and_none_after_a_stop",
    ],
    "input: a frame with many faces": [
        "flow/test_runner.py::test_faces_of_37_in_one_frame_are_batched_and_rejoined"
    ],
    "between nodes: batches of faces": [
        "flow/test_runner.py::test_faces_are_batched_across_frames",
        "flow/test_rebatch.py::test_frames_without_faces_do_not_wait_where_no_face_waits",
        "flow/test_rebatch.py::test_waiting_frames_are_bounded_in_number_and_bytes",
    ],
    "between phases": [
        "flow/test_capabilities.py::test_phases_run_in_order_on_what_was_handed_over"
    ],
    "output: whole frames": [
        "flow/test_rebatch.py::test_any_chain_of_rebatchers_gives_whole_frames_again",
        "flow/test_session.py::test_37_faces_of_one_frame_are_split_and_rejoined",
        "flow/test_runner.py::test_every_row_comes_out_once_in_order_unchanged",
    ],
    "networks of a node": [
        "tuning/test_compiled.py::test_networks_are_found_once_wherever_they_lie"
    ],
    "random input": [
        "tuning/test_warmup.py::test_samples_have_as_many_rows_as_asked",
        "tuning/test_warmup.py::test_a_network_gets_samples_of_its_type_range_and_layout",
    ],
    "warm-up": [
        "tuning/test_warmup.py::test_layouts_are_found_by_trying",
        "tuning/test_warmup.py::test_warming_up_raises_what_is_wrong",
    ],
    "compile": [
        "tuning/test_compiled.py::test_truly_compiled_equals_plain",
        "tuning/test_compiled.py::test_what_stands_in_the_padding_reaches_no_row",
    ],
    "detect": [
        "nodes/face/tiny/test_node.py::test_boxes_are_original_pixels_where_the_frame_was_scaled",
        "geometry/test_letterbox.py::test_inverse_and_containment",
        "flow/test_runner.py::test_threshold_is_inclusive_and_order_is_by_score",
        "extract/test_marks.py::"
        "test_size_is_the_longer_side_over_the_shorter_and_both_limits_are_inclusive",
    ],
    "rotator": [
        "extract/test_rotate.py::test_quarter_turns_are_exact",
        "extract/test_rotate.py::test_at_45_degrees_the_box_contains_the_face",
        "extract/test_rotate.py::test_a_batch_of_hits_and_misses_keeps_boxes_on_the_right_frames",
    ],
    "align": ["flow/test_capabilities.py::test_corners_of_a_crop_are_carried_back_exactly"],
    "normalise": [
        "extract/test_align.py::test_normalisation_equals_opencv_channel_by_channel",
        "extract/test_align.py::test_mean_spans_the_whole_range_in_each_channel",
    ],
    "re-feed": [
        "extract/test_align.py::test_crops_move_and_grow_within_their_share",
        "extract/test_align.py::test_an_oracle_is_not_changed_by_refeeding",
        "extract/test_align.py::test_refeeding_is_seeded_and_does_not_depend_on_the_batch",
        "extract/test_align.py::test_each_feed_is_one_pass_over_all_faces_in_order",
    ],
    "re-align": ["extract/test_align.py::test_the_second_pass_sees_an_upright_face"],
    "aligned filter": [
        "extract/test_marks.py::test_features_out_of_order_are_marked",
        "extract/test_marks.py::test_scale_is_the_side_of_the_face_crop",
        "extract/test_marks.py::test_distance_is_the_mean_deviation_per_coordinate",
        "extract/test_marks.py::test_roll_has_the_sign_of_head_roll_and_two_limits",
        "identity/test_filters.py::test_counts_are_those_of_the_rules",
    ],
    "mask": [
        "geometry/test_hull_masks.py::test_off_the_frame_is_exactly_zero",
        "nodes/mask/test_custom.py::test_full_scale_on_the_frame_and_exactly_zero_off_it",
        "nodes/mask/tiny/test_node.py::test_only_what_is_on_the_frame_is_kept",
        "nodes/mask/tiny/test_node.py::test_off_the_frame_is_exactly_zero",
    ],
    "components, extended, eyes, mouth": [
        "geometry/test_hull_masks.py::test_equals_the_hull",
        "geometry/test_hull_masks.py::test_extended_adds_forehead_and_nothing_else",
    ],
    "identity": [
        "flow/test_capabilities.py::test_values_stay_with_their_faces_where_some_get_none",
        "extract/test_options.py::test_embeddings_stay_with_their_faces_where_a_filter_marks_some",
    ],
    "identity filter": [
        "extract/test_options.py::test_wanted_and_unwanted_are_anded_and_the_threshold_is_inclusive"
    ],
    "reference photos": [
        "extract/test_options.py::test_reference_photos_with_none_one_and_several_faces",
        "extract/test_options.py::test_one_picture_cannot_be_wanted_and_unwanted",
    ],
    "cluster": [
        "identity/test_linkage.py::test_order_is_that_of_scipys_leaves",
        "identity/test_linkage.py::test_three_blobs_are_three_bins",
        "identity/test_linkage.py::test_a_long_chain_needs_no_recursion",
        "identity/test_linkage.py::test_twenty_thousand_faces_in_a_chain_are_walked",
    ],
    "profile of a pipeline": [
        "tuning/test_profile.py::test_the_best_least_throughput_is_found_and_told",
        "tuning/test_profile.py::test_a_detector_really_uses_what_was_found",
    ],
    "profile of one node": [
        "tuning/test_profile.py::test_a_sweep_stops_where_memory_ends_and_says_so_of_larger_ones"
    ],
    "search path": [
        "tuning/test_search.py::"
        "test_the_slowest_is_doubled_and_a_failed_step_is_halved_down_to_four"
    ],
    "two profiles": [
        "tuning/test_profile.py::"
        "test_nodes_run_together_where_they_share_a_device_twice_in_a_process"
    ],
    "output of a profile": [
        "tuning/test_profile.py::test_the_table_has_a_line_a_trial_and_none_for_what_did_not_fit"
    ],
}


def test_every_row_has_its_tests() -> None:
    for row, tests in ROWS.items():
        for test in tests:
            file, name = test.split("::")
            tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
            names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
            assert name in names, f"{row}: {test} is gone"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_masks_stay_with_their_faces(faces_per_frame: list[int], data: Any) -> None:
    """A mask says which face it is of, in every way to cut and join."""
    frames = FrameBatch.from_frames(
        [Frame(np.zeros((2, 2, 3), np.uint8), "x", i, size_px=(2, 2)) for i in faces_per_frame]
    )
    uids = np.repeat(frames.uids, faces_per_frame)
    count = len(uids)
    mark = np.arange(count, dtype=np.uint8)
    fields = {
        "box": np.repeat(mark, 4).reshape(-1, 4).astype(np.float32),
        "mask": np.tile(mark[:, None, None], (1, 8, 8)),
        "matrix": np.repeat(mark, 6).reshape(-1, 2, 3).astype(np.float64),
    }
    whole = Batch(frames, FaceBatch(uids, fields))
    head, tail = whole.split(data.draw(st.integers(0, count)))
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool)
    for batch in (head, tail, Batch.concat([head, tail]), whole.take_faces(chosen)):
        faces = batch.faces.fields
        np.testing.assert_array_equal(faces["mask"].max((1, 2)), faces["box"][:, 0])
        np.testing.assert_array_equal(faces["mask"].min((1, 2)), faces["box"][:, 0])
        np.testing.assert_array_equal(faces["matrix"][:, 1, 2], faces["box"][:, 0])
    assert len(whole.take_faces(chosen).faces) == chosen.sum()


class Records(Node):
    """Hands a token of its own through the phases and notes which phase saw it when."""

    kind, name, unit = "toy", "records", "face"
    requires, provides, shapes = ("box",), ("order",), {"order": ()}
    batch_size = 3

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[dict[str, Any]] = []

    def pre_process(self, batch: Batch) -> Any:
        token = {"phases": ["pre"], "rows": batch.faces.box[:, 0].copy()}
        self.tokens.append(token)
        return token

    def process(self, inputs: Any) -> Any:
        inputs["phases"].append("process")
        return inputs

    def post_process(self, batch: Batch, outputs: Any) -> Any:
        outputs["phases"].append("post")
        np.testing.assert_array_equal(outputs["rows"], batch.faces.box[:, 0])
        return {"order": outputs["rows"] * 2}


@pytest.mark.parametrize("mode", ["threads", "sequential"])
def test_phases_run_in_order_on_what_was_handed_over(toys: Any, mode: Any) -> None:
    node = Records()
    frames = [toys.frame(i, i % 4) for i in range(40)]
    flow = Flow([toys.Detector(), node], mode=mode)
    out = Batch.concat(list(flow.run(toys.chunks(frames, 7))))
    np.testing.assert_array_equal(out.faces.fields["order"], out.faces.box[:, 0] * 2)
    assert {tuple(token["phases"]) for token in node.tokens} == {("pre", "process", "post")}
    seen = np.concatenate([token["rows"] for token in node.tokens])
    np.testing.assert_array_equal(seen, out.faces.box[:, 0])
    assert {len(token["rows"]) for token in node.tokens[:-1]} == {3}


class Sees(Node):
    """Keeps the colours of the picture that its network would see."""

    kind, unit = "toy", "face"
    requires = ("box",)

    def __init__(self, name: str, **spec: Any) -> None:
        super().__init__()
        self.name = name
        self.provides = (name,)
        self.shapes = {name: (3,)}
        self.spec = InputSpec(crop=CropRule(6), **spec)

    def pre_process(self, batch: Batch) -> Any:
        assert self.spec.crop is not None
        return batch.crops(self.spec.crop)

    def process(self, inputs: Any) -> Any:
        tensor = self.spec.prepare(inputs, self.device)
        return tensor.mean((2, 3)).expand(-1, 3).numpy()

    def post_process(self, batch: Batch, outputs: Any) -> Any:
        return {self.name: outputs.astype(np.float32)}


def test_each_network_sees_its_own_colours() -> None:
    """Of one crop that all share: red 51, green 102, blue 204, which is 0.2, 0.4, 0.8."""
    image = np.zeros((20, 20, 3), np.uint8)
    image[:] = 51, 102, 204
    frame = Frame(image, "x", size_px=(20, 20))
    fields = {"box": np.float32([[4, 4, 14, 14]]), "score": np.ones(1, np.float32)}
    batch = Batch(FrameBatch.from_frames([frame]), FaceBatch(np.zeros(1, np.int64), fields))
    nodes = [
        Sees("rgb"),
        Sees("bgr", channels="BGR", value_range=(0.0, 255.0), mean=(4.0, 2.0, 1.0)),
        Sees("grey", channels="grey"),
        Sees("signed", value_range=(-1.0, 1.0), std=(2.0,)),
    ]
    faces = next(Flow(nodes, given=("box", "score")).run([batch])).faces.fields
    np.testing.assert_allclose(faces["rgb"][0], [0.2, 0.4, 0.8], atol=1e-5)
    np.testing.assert_allclose(faces["bgr"][0], [200, 100, 50], atol=1e-3)
    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.8
    np.testing.assert_allclose(faces["grey"][0], [grey] * 3, atol=1e-5)
    np.testing.assert_allclose(faces["signed"][0], [-0.3, -0.1, 0.3], atol=1e-5)


def test_two_flows_at_one_time_stay_apart(toys: Any) -> None:
    double, triple = toys.Arithmetic("a", factor=2.0), toys.Arithmetic("a", factor=3.0)
    after = toys.Arithmetic("b", ("a",), 10.0)
    one = Flow([after, double, toys.Detector()], frame_batch=2)
    two = Flow([toys.Detector(), triple], frame_batch=3)
    assert [node.name for node in one.nodes] == ["toy", "a", "b"]
    assert [node.name for node in two.nodes] == ["toy", "a"]
    frames = [toys.frame(i, 1) for i in range(60)]
    first, second = one.run(toys.chunks(frames, 4)), two.run(toys.chunks(frames[::-1], 5))
    got: tuple[list[float], list[float]] = ([], [])
    for a, b in zip_longest(first, second):  # in turn, so that both are under way
        got[0].extend([] if a is None else a.faces.fields["b"].tolist())
        got[1].extend([] if b is None else b.faces.fields["a"].tolist())
    assert got[0] == [20.0 * i for i in range(60)]
    assert got[1] == [3.0 * i for i in range(59, -1, -1)]


class Corners(Node):
    """An aligner that finds the corners of the crop it is shown."""

    kind, name, unit = "landmark", "corners", "face"
    requires, provides, shapes = ("box",), ("corners",), {"corners": (4, 2)}

    def __init__(self, rule: CropRule) -> None:
        super().__init__()
        self.spec = InputSpec(crop=rule)

    def pre_process(self, batch: Batch) -> Any:
        assert self.spec.crop is not None
        return batch.crops(self.spec.crop)

    def process(self, inputs: Any) -> Any:
        side = float(inputs.shape[1])
        return np.tile(np.array([[0, 0], [side, 0], [side, side], [0, side]]), (len(inputs), 1, 1))

    def post_process(self, batch: Batch, outputs: Any) -> Any:
        assert self.spec.crop is not None
        back = invert(self.spec.crop.matrices(batch.faces))
        return {"corners": apply(back, outputs).astype(np.float32)}


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_corners_of_a_crop_are_carried_back_exactly(scale: float) -> None:
    image = np.zeros((int(80 * scale), int(120 * scale), 3), np.uint8)
    frame = Frame(image, "x", size_px=(80, 120), scale=scale)
    box = np.float32([[10, 20, 50, 40], [-8, 4, 24, 68]])
    batch = Batch(FrameBatch.from_frames([frame]), FaceBatch(np.zeros(2, np.int64), {"box": box}))
    node = Corners(CropRule(32, expansion=1.5))
    found = next(Flow([node], given=("box",)).run([batch])).faces.fields["corners"]
    for corners, (x0, y0, x1, y1) in zip(found, box, strict=True):
        half = max(x1 - x0, y1 - y0) * 1.5 / 2
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        want = [
            [x - half, y - half],
            [x + half, y - half],
            [x + half, y + half],
            [x - half, y + half],
        ]
        np.testing.assert_allclose(corners, want, atol=1e-4)


@pytest.mark.parametrize("mode", ["threads", "sequential"])
def test_values_stay_with_their_faces_where_some_get_none(toys: Any, mode: Any) -> None:
    """Every third face has no box: its value is missing and the others keep theirs."""
    count = 50
    frames = FrameBatch.from_frames([toys.frame(i, 0) for i in range(count)])
    box = np.tile(np.arange(count, dtype=np.float32)[:, None], (1, 4))
    box[::3] = np.nan
    batch = Batch(frames, FaceBatch(np.arange(count), {"box": box}))
    flow = Flow([toys.Arithmetic()], given=("box",), mode=mode, face_batch=7)
    values = Batch.concat(list(flow.run([batch]))).faces.fields["a"]
    want = 2.0 * np.arange(count)
    want[::3] = np.nan
    np.testing.assert_array_equal(values, want)
