import numpy as np
import pytest

from featflow.errors import NodeError
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.checks import describe
from featflow.flow.rebatch import Parcel
from featflow.flow.stage import NodeStage


def faces_of(toys, frames, uid, fields):
    faces = FaceBatch(np.array(uid, np.int64), fields)
    return Parcel(Batch(FrameBatch.from_frames(frames), faces))


def boxes(*firsts):
    return np.array([[x, 0, x + 1, 1] for x in firsts], np.float32)


def test_faces_without_a_box_or_a_required_value_get_nan_and_are_never_run(toys):
    node = toys.Arithmetic("a", ("box", "pose"))
    pose = np.array([[1, np.nan], [np.nan, np.nan], [2, 2], [3, 3]])
    fields = {"box": boxes(10, 20, np.nan, 40), "pose": pose}
    parcel = faces_of(toys, [toys.frame(0, 4)], [0] * 4, fields)
    result = NodeStage(node, 8, {}).run(parcel)
    assert node.seen == [2]
    assert np.array_equal(result["a"], [22.0, np.nan, np.nan, 86.0], equal_nan=True)


@pytest.mark.parametrize("reads", [True, False])
def test_faces_of_a_frame_without_picture_are_not_shown_to_nodes_that_need_it(toys, reads):
    node = toys.Arithmetic(reads=reads)
    frames = [toys.frame(0, -1), toys.frame(5, 1)]
    result = NodeStage(node, 8, {}).run(faces_of(toys, frames, [0, 1], {"box": boxes(1, 2)}))
    wanted = [np.nan, 2 * (2 + 5)] if reads else [2.0, 4.0]
    assert np.array_equal(result["a"], wanted, equal_nan=True)


def test_when_no_face_can_be_run_all_are_nan_in_the_declared_shape(toys):
    node = toys.Arithmetic()
    node.shapes = {"a": (3,)}
    parcel = faces_of(toys, [toys.frame(0, 2)], [0, 0], {"box": boxes(np.nan, np.nan)})
    result = NodeStage(node, 8, {}).run(parcel)
    assert result["a"].shape == (2, 3)
    assert np.isnan(result["a"]).all()
    node.shapes = {}
    with pytest.raises(NodeError, match="add it to the node's shapes"):
        NodeStage(node, 8, {}).run(parcel)


def test_a_node_sees_at_most_its_batch_size(toys):
    node = toys.Arithmetic()
    parcel = faces_of(toys, [toys.frame(0, 7)], [0] * 7, {"box": boxes(*range(7))})
    result = NodeStage(node, 3, {}).run(parcel)
    assert node.seen == [3, 3, 1]
    assert result["a"].tolist() == [0, 2, 4, 6, 8, 10, 12]


def test_inputs_are_named_briefly(toys):
    frames = [toys.frame(i, 0, "a.mp4") for i in range(3)]
    frames += [toys.frame(0, 0, f"{n}.jpg") for n in "bcde"]
    told = describe(Batch(FrameBatch.from_frames(frames)))
    assert told == "a.mp4 frame 0 to 2, b.jpg frame 0, c.jpg frame 0, and 2 more"
