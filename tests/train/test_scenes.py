"""Composed scenes, checked by what can be seen in them: every point is painted and found again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import TrainingError
from featflow.geometry.crop import FIVE_POINTS_IN_BOX
from featflow.train import scenes
from featflow.train.layout import guillotine, matte, similarity, turned_box
from featflow.train.scenes import (
    Photo,
    Scene,
    SceneComposer,
)

SIDE = 240
BOX = np.array([45.0, 60.0, 145.0, 190.0])
SKIN = np.array([110.0, 160.0, 110.0])
COLOURS = np.array(
    [[255, 0, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]], np.float64
)
SWAPPED = [1, 0, 2, 4, 3]


def painted() -> Photo:
    """A face like a green ellipse that fills its box, with a coloured disc at each point."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    image = np.full((SIDE, SIDE, 3), 20, np.uint8)
    centre, half = (BOX[:2] + BOX[2:]) / 2, (BOX[2:] - BOX[:2]) / 2
    image[((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 <= 1] = SKIN
    points = BOX[:2] + FIVE_POINTS_IN_BOX * (BOX[2:] - BOX[:2])
    for point, colour in zip(points, COLOURS, strict=True):
        image[(x - point[0]) ** 2 + (y - point[1]) ** 2 <= 9.0**2] = colour
    return Photo(image, BOX[None], points[None], np.ones(1, bool))


@pytest.fixture(autouse=True)
def plain_surfaces(monkeypatch):
    """No colours but the painted ones."""
    monkeypatch.setattr(
        scenes, "flat", lambda rng, height, width: np.full((height, width, 3), 60, np.uint8)
    )


@pytest.fixture(scope="module")
def composer():
    photo = painted()
    return SceneComposer([photo], [photo], [np.full((80, 100, 3), 60, np.uint8)])


def colour_centre(image, at, colour, radius):
    """Centre of the pixels of one colour around a place, and how many there are."""
    low = np.maximum(np.floor(at - radius), 0).astype(int)
    high = np.ceil(at + radius).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    y, x = np.nonzero(np.abs(part - colour).max(-1) < 70)
    return low + [x.mean() + 0.5, y.mean() + 0.5] if len(x) >= 4 else None


def checked_points(photo):
    """How many points were found where they are said to be; and how many faces were mirrored."""
    found = mirrored = 0
    for box, points in zip(photo.boxes, photo.points5, strict=True):
        size = (box[2:] - box[:2]).max()
        left, right, _, *mouth = points
        along, down = right - left, np.mean(mouth, 0) - (left + right) / 2
        assert along[0] * down[1] - along[1] * down[0] > 0, "image-left eye is not first"
        reach = 9.0 * np.linalg.norm(along) / 45.0  # radius of a disc in this scene
        inside = ((points > box[:2] + 1.3 * reach) & (points < box[2:] - 1.3 * reach)).all(1)
        if size < 28 or not inside[:2].all():
            continue
        x, y = np.floor(left).astype(int)
        order = [0, 1, 2, 3, 4]
        if np.abs(photo.image[y, x] - COLOURS[1]).max() < 70:
            order, mirrored = SWAPPED, mirrored + 1
        for index in np.flatnonzero(inside):
            centre = colour_centre(photo.image, points[index], COLOURS[order[index]], 1.6 * reach)
            assert centre is not None, "the point is not where its colour is"
            assert np.abs(centre - points[index]).max() < 1.5
            found += 1
    return found, mirrored


@pytest.mark.parametrize("kind", ["tiles", "single", "pasted"])
def test_points_lie_on_the_pixels_that_they_name(composer, kind):
    found = mirrored = faces = 0
    for seed in range(20):
        photo = getattr(composer, kind)(np.random.default_rng(seed), 192, 256).photo()
        assert photo.image.shape == (192, 256, 3)
        assert photo.image.dtype == np.uint8
        some, flipped = checked_points(photo)
        found, mirrored, faces = found + some, mirrored + flipped, faces + len(photo.boxes)
    assert found > 40
    assert 0.2 * found / 5 < mirrored < 0.8 * found / 5 + 5


def test_every_face_fits_its_box(composer):
    """The green ellipse and its discs reach exactly as far as the box says."""
    checked = 0
    for seed in range(60):
        photo = composer.single(np.random.default_rng(seed), 240, 320).photo()
        picture = photo.image.astype(int)
        coloured = picture.max(-1) - picture.min(-1) > 25
        for box in photo.boxes:
            if (box[:2] < 2).any() or (box[2:] > [318, 238]).any():
                continue
            y, x = np.nonzero(coloured)
            seen = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert np.abs(box - seen).max() < 2.0
            checked += 1
    assert checked > 10


def test_the_chosen_face_lies_in_the_picture(composer):
    """Also where the photograph, whose face is left of its middle, is mirrored."""
    for seed in range(60):
        photo = composer.single(np.random.default_rng(seed), 240, 320).photo()
        for points in photo.points5:
            fractions = np.c_[FIVE_POINTS_IN_BOX, np.ones(5)]
            placed, *_ = np.linalg.lstsq(fractions, points, rcond=None)
            middle = [0.5, 0.5, 1.0] @ placed / [320, 240]
            assert ((middle > 0.149) & (middle < 0.851)).all()
        assert len(photo.boxes) == 1


def test_everything_painted_is_labelled(composer):
    """No face in the picture without a box: outside the boxes nothing is coloured."""
    for seed in range(20):
        photo = composer.pasted(np.random.default_rng(seed), 192, 256).photo()
        picture = photo.image.astype(int)
        coloured = picture.max(-1) - picture.min(-1) > 25
        for x0, y0, x1, y1 in photo.boxes:
            low = np.maximum(np.floor([x0 - 2, y0 - 2]), 0).astype(int)
            coloured[low[1] : int(y1) + 3, low[0] : int(x1) + 3] = False
        assert coloured.sum() <= 12


def test_drawn_scenes_have_consistent_labels(composer):
    kinds = set()
    for seed in range(40):
        photo = composer.draw(np.random.default_rng(seed), 128, 160)
        count = len(photo.boxes)
        kinds.add(min(count, 2))
        assert photo.image.shape == (128, 160, 3)
        assert photo.points5.shape == (count, 5, 2)
        assert photo.certain.shape == (count,)
        assert (photo.boxes[:, 2:] > photo.boxes[:, :2]).all()
        assert (photo.boxes >= 0).all()
        assert (photo.boxes[:, 2:] <= [160, 128]).all()
        assert ((photo.boxes[:, 2:] - photo.boxes[:, :2]).min(1)[photo.certain] >= 9).all()
    assert kinds == {0, 1, 2}


def test_the_same_seed_draws_the_same_scene(composer):
    one, two = (composer.draw(np.random.default_rng(5), 128, 128) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.boxes, two.boxes)


@given(
    st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(2, 80)] * 2),
    st.floats(0.1, 3),
    st.floats(-3, 3),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_turned_box_touches_the_turned_ellipse(place, zoom, angle, mirror):
    x, y, w, h = place
    box = np.array([x, y, x + w, y + h])
    matrix = similarity(zoom, angle, np.array([3.0, 4.0]), np.array([10.0, -7.0]))
    if mirror:
        matrix[:, 0] *= -1
    around = np.linspace(0, 2 * np.pi, 20001)
    rim = np.stack([w / 2 * np.cos(around), h / 2 * np.sin(around)], 1)
    rim += [x + w / 2, y + h / 2]
    turned = rim @ matrix[:, :2].T + matrix[:, 2]
    expected = [*turned.min(0), *turned.max(0)]
    assert np.allclose(turned_box(box, matrix), expected, atol=1e-4 * max(w, h) * zoom)


def test_similarity_turns_clockwise_in_the_picture_and_keeps_its_middle():
    matrix = similarity(2.0, np.pi / 2, np.array([5.0, 6.0]), np.array([50.0, 60.0]))
    assert np.allclose(matrix[:, :2] @ [5.0, 6.0] + matrix[:, 2], [50, 60])
    assert np.allclose(matrix[:, :2] @ [6.0, 6.0] + matrix[:, 2], [50, 62])


@pytest.mark.parametrize("angle", [-1.2, 0.0, 0.5, 1.4])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_outline_turns_with_the_head(angle, mirror):
    box = np.array([10.0, 20.0, 50.0, 110.0])
    matrix = similarity(0.8, angle, np.array([30.0, 65.0]), np.array([90.0, 80.0]))
    if mirror:
        matrix[:, 2] += matrix[:, 0] * 60
        matrix[:, 0] *= -1
    for seed in range(6):
        cover = matte(np.random.default_rng(seed), box, matrix, 160, 180)
        assert 0 <= cover.min() < 0.01 < 0.99 < cover.max() <= 1.0 + 1e-5
        y, x = np.mgrid[0:160, 0:180] + 0.5
        away = np.stack([x - 90, y - 80], -1).reshape(-1, 2)
        weight = cover.ravel() / cover.sum()
        assert np.abs(weight @ away).max() < 1.0
        spread = (away * weight[:, None]).T @ away
        _, axes = np.linalg.eigh(spread)
        upward = matrix[:, :2] @ [0.0, 1.0] / 0.8
        assert abs(axes[:, 1] @ upward) > 0.995


@given(st.integers(0, 500), st.integers(24, 80))
@settings(max_examples=40, deadline=None)
def test_guillotine_covers_the_window_once(seed, least):
    covered = np.zeros((200, 300), int)
    for x0, y0, x1, y1 in guillotine(np.random.default_rng(seed), (10, 20, 300, 200), least):
        assert min(x1 - x0, y1 - y0) >= least
        covered[y0:y1, x0:x1] += 1
    assert (covered[20:, 10:] == 1).all()
    assert covered.sum() == 290 * 180


UNMOVED = np.array([[1.0, 0, 0], [0, 1.0, 0]])


@pytest.mark.parametrize(
    ("window", "kept", "certain"),
    [
        ((0, 0, 100, 100), True, True),
        ((0, 0, 61, 100), True, True),  # 51 of 100 columns seen
        ((0, 0, 59, 100), True, False),  # 49: may be found, need not
        ((0, 0, 26, 100), True, False),  # 16
        ((0, 0, 24, 100), False, False),  # 14: left out
        ((0, 0, 10, 100), False, False),
        ((-50, -50, 0, 0), False, False),
    ],
)
def test_cut_faces_are_certain_uncertain_or_left_out(window, kept, certain):
    box = np.array([[10.0, 0.0, 110.0, 100.0]])
    photo = Photo(np.zeros((100, 120, 3), np.uint8), box, np.zeros((1, 5, 2)), np.ones(1, bool))
    scene = Scene(np.zeros((100, 120, 3), np.uint8))
    scene.add_faces(photo, UNMOVED, window, smallest=9.0)
    assert scene.certain == ([certain] if kept else [])
    if kept:
        assert scene.boxes[0].tolist() == [10, 0, min(110, window[2]), 100]


def test_small_and_doubtful_faces_are_uncertain():
    boxes = np.array([[0.0, 0, 8.9, 20], [0, 0, 9.1, 20], [0, 0, 50, 50]])
    photo = Photo(
        np.zeros((60, 60, 3), np.uint8),
        boxes,
        np.full((3, 5, 2), np.nan),
        np.array([True, True, False]),
    )
    scene = Scene(photo.image)
    scene.add_faces(photo, UNMOVED, (0, 0, 60, 60), smallest=9.0)
    assert scene.certain == [False, True, False]


@pytest.mark.parametrize("missing", ["context", "portraits", "empty"])
def test_pictures_of_every_kind_are_needed(missing):
    given_ = {"context": [painted()], "portraits": [painted()], "empty": [np.zeros((9, 9, 3))]}
    with pytest.raises(TrainingError, match=missing):
        SceneComposer(**{**given_, missing: []})


def test_without_hard_scenes_the_draws_are_those_of_the_first_recipe(mini_faces):
    from dataclasses import replace

    from featflow.nodes.face.tiny.training import composer

    plain = composer(str(mini_faces), "train")
    one = plain.draw(np.random.default_rng(3), 128, 128)
    two = replace(plain, hard=0.0).draw(np.random.default_rng(3), 128, 128)
    assert np.array_equal(one.image, two.image)
    other = replace(plain, hard=1.0).draw(np.random.default_rng(3), 128, 128)
    assert other.image.shape == one.image.shape


def test_letters_are_never_written_over_a_face():
    from featflow.train.layout import write_over

    for seed in range(60):
        image = np.zeros((200, 300, 3), np.uint8)
        boxes = [np.array([100.0, 40.0, 180.0, 150.0])]
        write_over(np.random.default_rng(seed), image, boxes)
        assert not image[45:145, 105:175].any(), seed


def test_heads_that_are_half_covered_become_uncertain():
    from featflow.train.scenes import Scene

    old = [np.array([0.0, 0, 10, 10]), np.array([20.0, 0, 30, 10]), np.array([40.0, 0, 50, 10])]
    scene = Scene(np.zeros((20, 60, 3), np.uint8), boxes=list(old), certain=[True] * 3)
    scene.boxes.append(np.array([15.0, 4, 35, 20]))
    scene.boxes.append(np.array([47.0, 0, 60, 20]))
    scene.certain += [True, True]
    scene.cover_up(3)
    assert scene.certain == [True, False, True, True, True]


def test_what_lies_between_faces_shows_none(mini_faces):
    from featflow.nodes.face.tiny.training import composer

    scenes = composer(str(mini_faces), "train")
    rng = np.random.default_rng(0)
    shown = [scenes.between_faces(rng, 64, 96) for _ in range(5)]
    assert all(image.shape == (64, 96, 3) for image in shown)


def test_decoys_stand_in_place_of_heads_and_have_no_label(composer):
    from dataclasses import replace

    for seed in range(20):
        scene = replace(composer, decoys=1.0).pasted(np.random.default_rng(seed), 96, 128)
        assert not scene.boxes
        assert not scene.certain
    some = replace(composer, decoys=0.5)
    counts = [len(some.pasted(np.random.default_rng(s), 240, 320).boxes) for s in range(40)]
    whole = [len(composer.pasted(np.random.default_rng(s), 240, 320).boxes) for s in range(40)]
    assert 0.3 < sum(counts) / sum(whole) < 0.7


def test_decoys_cover_no_face(composer):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = Scene(np.full((200, 200, 3), 90, np.uint8))
        scene.boxes.append(np.array([60.0, 60.0, 120.0, 130.0]))
        scene.certain.append(True)
        composer.paste_decoy(scene, rng, rng.uniform(15, 90), rng.uniform(0, 200, 2))
        assert (scene.image[60:130, 60:120] == 90).all()


def test_a_decoy_changes_the_picture_where_it_stands(composer):
    scene = Scene(np.zeros((200, 200, 3), np.uint8))
    composer.paste_decoy(scene, np.random.default_rng(1), 40.0, np.array([120.0, 80.0]))
    y, x = np.nonzero(scene.image.any(-1))
    assert [x.mean(), y.mean()] == pytest.approx([120, 80], abs=6)


@given(seed=st.integers(0, 500), side=st.integers(12, 40))
def test_shuffling_moves_tiles_and_keeps_their_pixels(seed, side):
    from featflow.train.layout import shuffled

    image = np.arange(side * side * 3, dtype=np.int32).reshape(side, side, 3)
    out = shuffled(np.random.default_rng(seed), image)
    assert sorted(out.ravel()) == sorted(image.ravel())
    assert (out != image).any(-1).mean() > 0.3


def test_cut_takes_the_window_and_stretches_it():
    import cv2

    from featflow.train.layout import cut

    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    part = cut(image, (10.0, 5.0, 40.0, 25.0), (20, 30))
    np.testing.assert_array_equal(part, image[5:25, 10:40])
    smooth = cv2.GaussianBlur(image, (0, 0), 3)
    double = cut(smooth, (10.0, 5.0, 40.0, 25.0), (40, 60))
    oracle = cv2.resize(smooth[5:25, 10:40], (60, 40), interpolation=cv2.INTER_LINEAR)
    assert np.abs(double.astype(int) - oracle)[2:-2, 2:-2].max() <= 1


def test_cheeks_lie_inside_the_face_beside_its_features():
    from featflow.train.layout import cheek

    middles = []
    for seed in range(50):
        x0, y0, x1, y1 = cheek(np.random.default_rng(seed), 0.0, 0.0, 1.0, 1.0)
        assert 0.1 < (x1 - x0) / 2 < 0.45
        middles.append(((x0 + x1) / 2, (y0 + y1) / 2))
    distance = np.linalg.norm(np.array(middles)[:, None] - FIVE_POINTS_IN_BOX[:2], axis=2)
    assert distance.min() > 0.12  # no eye in the middle of the skin


@given(level=st.floats(0, 1))
def test_blend_is_a_weighted_mean(level):
    from featflow.train.layout import blend

    under = np.full((4, 5, 3), 200, np.uint8)
    blend(under, np.full((4, 5, 3), 100, np.uint8), np.full((4, 5), level, np.float32))
    assert np.abs(under - (200 - 100 * level)).max() <= 1
