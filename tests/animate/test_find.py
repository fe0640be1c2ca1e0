import numpy as np
import pandas as pd
import pytest

from featflow.animate import get_core
from featflow.animate.find import find_rig
from featflow.animate.pose import neutral
from featflow.datasets import sample_photo
from featflow.errors import InputError, WeightsError


class Known:
    """A detector whose answer is known, and that remembers what it saw."""

    def __init__(self, faces):
        self.faces = faces

    def detect(self, inputs, **options):
        self.seen = inputs[0]
        return pd.DataFrame(self.faces)


def face(points, size, score=0.9):
    row = {"FaceScore": score, "FaceRectWidth": size, "FaceRectHeight": size, "frame": 0}
    row |= {f"x_{i}": points[i, 0] for i in range(68)}
    return row | {f"y_{i}": points[i, 1] for i in range(68)}


def test_the_largest_face_is_taken(landmarks, still):
    detector = Known([face(landmarks + 9, 50), face(landmarks, 90), face(landmarks + 5, 70)])
    rig = find_rig(still, detector)
    np.testing.assert_array_equal(rig.landmarks, landmarks)
    assert rig.size_px == (512, 512)
    assert rig.rest == (0.0, 0.0)


def test_the_heads_angles_in_the_still_are_kept(landmarks, still):
    detector = Known([face(landmarks, 90) | {"Pitch": -0.1, "Yaw": 0.2, "Roll": 0.05}])
    assert find_rig(still, detector).rest == (-0.1, 0.2)


def test_the_detector_sees_rgb_on_white(landmarks, cutout):
    image = cutout.copy()
    image[300, 250] = (10, 20, 200, 255)
    detector = Known([face(landmarks, 90)])
    find_rig(image, detector)
    assert detector.seen[300, 250].tolist() == [200, 20, 10]
    assert detector.seen[0, 0].tolist() == [255, 255, 255]  # green hides under the transparency


def test_a_photo_without_a_face_names_the_fix(landmarks, still):
    with pytest.raises(InputError, match=r"no face was found.*rig="):
        find_rig(still, Known([face(landmarks * np.nan, np.nan, score=0.0)]))


def test_featflows_own_nodes_find_the_rig_of_the_portrait():
    from featflow.animate.still import read_still

    image = read_still(sample_photo())
    try:
        rig = find_rig(image)
    except WeightsError as error:
        pytest.skip(f"the nodes have no weights yet: {error}")
    eyes = rig.landmarks[36:48].reshape(2, 6, 2).mean(1)
    # Where the eyes of the portrait are, read off the picture.
    np.testing.assert_allclose(eyes, [[220, 188], [307, 187]], atol=14)
    core = get_core(use_tensorrt=False)
    core.setImage(np.ascontiguousarray(image[:512, :512]))
    assert core.inference(neutral(), copy=True)[-1].shape == (512, 512, 4)
