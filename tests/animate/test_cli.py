import av
import cv2
import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image

from featflow.animate.cli import register
from featflow.animate.core import AnimationCore
from featflow.animate.pose import INDEX, pack
from featflow.animate.produce import prepare, read_motion
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.rig import Rig
from featflow.animate.sinks import SYNTHETIC, write_clip, write_pictures
from featflow.errors import MissingInputError, OptionError, OutputError, SchemaError


@pytest.fixture
def folder(tmp_path, still, landmarks):
    """A picture that is larger than the core's still, and its rig."""
    wide = cv2.copyMakeBorder(still, 30, 58, 100, 40, cv2.BORDER_REPLICATE)
    cv2.imwrite(str(tmp_path / "face.png"), wide)
    Rig(landmarks + [100, 30], wide.shape[:2]).save(tmp_path / "rig.json")
    return tmp_path


def run(folder, *arguments):
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    line = ["animate", str(folder / "face.png"), "--rig", str(folder / "rig.json"), *arguments]
    try:
        app([str(a) for a in line], prog_name="featflow")
    except SystemExit as done:
        return done.code
    return 0


def poses(folder, **columns):
    pd.DataFrame(columns).to_csv(folder / "poses.csv", index=False)
    return folder / "poses.csv"


def faces(folder, count=7):
    yaw = np.linspace(0, np.radians(10), count)
    table = {"input": "a.mp4", "frame": range(count), "time": np.arange(count) / 25}
    table |= {"Pitch": 0.0, "Roll": 0.0, "Yaw": yaw, "FaceScore": 1.0}
    pd.DataFrame(table).to_parquet(folder / "faces.parquet")
    return folder / "faces.parquet"


def test_a_table_of_poses_becomes_t_times_n_pictures(folder, capsys):
    table = poses(folder, head_y=[0, 0.5, 1.0], mouth_aaa=[0, 0, 1.0])
    out = folder / "out"
    assert run(folder, "--from", table, "--out", out, "--interpolate", "2") == 0
    files = sorted(out.iterdir())
    assert [f.name for f in files] == [f"{i:06d}.png" for i in range(6)]
    square, rig = prepare(folder / "face.png", Rig.load(folder / "rig.json"))
    core = AnimationCore(MeshWarpAnimator(rig))
    core.set_image(square)
    expected = core.inference(pack({"head_y": 1.0, "mouth_aaa": 1.0}))[0]
    np.testing.assert_array_equal(cv2.imread(str(files[-1]), cv2.IMREAD_UNCHANGED), expected)
    np.testing.assert_array_equal(cv2.imread(str(files[1]), cv2.IMREAD_UNCHANGED), square)
    assert Image.open(files[0]).text["Description"] == SYNTHETIC
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "6 frames" in captured.err


def test_a_table_of_faces_becomes_a_clip_at_its_own_rate(folder):
    out = folder / "clip.mp4"
    assert run(folder, "--from", faces(folder), "--out", out, "--quiet") == 0
    with av.open(str(out)) as clip:
        assert clip.metadata["comment"] == SYNTHETIC
        times = [float(f.time) for f in clip.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(7) / 25, atol=1e-3)


def test_fps_resamples_and_mirror_reverses(folder):
    motion = read_motion(faces(folder, 26), fps=10)
    assert motion.fps == 10
    assert len(motion.poses) == 11
    turned = motion.poses[:, INDEX["head_y"]]
    assert turned[-1] == pytest.approx(1, abs=0.1)
    mirrored = read_motion(faces(folder, 26), fps=10, mirror=True).poses[:, INDEX["head_y"]]
    np.testing.assert_allclose(mirrored, -turned)


def test_bad_usage_exits_2_and_bad_input_1(folder, capsys):
    bad = poses(folder, head_y=[0.0], wink=[1.0])
    assert run(folder, "--from", bad, "--out", folder / "out") == 2
    assert "'wink'" in capsys.readouterr().err
    good = poses(folder, head_y=[0.0])
    assert run(folder, "--from", good, "--out", folder / "a.gif") == 2
    assert run(folder, "--from", folder / "no.parquet", "--out", folder / "out") == 1
    assert run(folder, "--from", good, "--out", folder / "no" / "out.mp4") == 1
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not a readable table"),
        ("head_y\n", "holds no poses"),
        ("head_y\n0\nabc\n", "head_y in row 2 is 'abc'"),
        ("head_y,mouth_aaa\n0,0\n1,nan\n", "mouth_aaa in row 2"),
        ("head_y,time\n0,0\n1,0\n", "time does not rise in row 2"),
    ],
)
def test_unusable_tables_of_poses_name_the_row(tmp_path, text, match):
    (tmp_path / "poses.csv").write_text(text)
    with pytest.raises(SchemaError, match=match):
        read_motion(tmp_path / "poses.csv")


def test_a_file_that_may_not_grow_is_a_typed_error_and_leaves_nothing(tmp_path, still):
    """As on a full disk: the system refuses to write."""
    import resource
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="write elsewhere"):
            write_clip(tmp_path / "a.mp4", [still, still[:, ::-1]] * 20, 30)
        with pytest.raises(OutputError, match="write elsewhere"):
            write_pictures(tmp_path / "out", [still])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_rig_of_another_picture_is_refused(folder, landmarks):
    with pytest.raises(OptionError, match="pixels"):
        prepare(folder / "face.png", Rig(landmarks, (512, 512)))


def test_a_table_without_a_face_or_of_two_people_is_refused(folder):
    table = {"input": "a", "frame": [0, 1], "time": [0, 1.0], "Pitch": np.nan, "FaceScore": 0.0}
    pd.DataFrame(table).to_parquet(folder / "none.parquet")
    with pytest.raises(SchemaError, match="no face"):
        read_motion(folder / "none.parquet")
    table |= {"frame": [0, 0], "Pitch": 0.1, "Identity": ["Person_0", "Person_1"]}
    pd.DataFrame(table).to_parquet(folder / "two.parquet")
    with pytest.raises(SchemaError, match="Person_0, Person_1"):
        read_motion(folder / "two.parquet")
    with pytest.raises(MissingInputError):
        read_motion(folder / "no.csv")


def test_pictures_read_back_equal_the_frames(tmp_path, cutout):
    frames = [cutout, cutout[::-1].copy()]
    assert write_pictures(tmp_path / "out", frames) == 2
    for i, frame in enumerate(frames):
        read = cv2.imread(str(tmp_path / "out" / f"{i:06d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read, frame)


def test_a_clip_shows_the_background_where_transparent_in_true_colour(tmp_path, cutout):
    frame = cutout.copy()
    frame[200:300, 200:300] = (200, 40, 10, 255)  # blue
    write_clip(tmp_path / "a.mkv", [frame] * 3, 30, background=(250, 0, 0))
    with av.open(str(tmp_path / "a.mkv")) as clip:
        rgb = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(rgb[5, 5].astype(int) - [250, 0, 0]).max() < 12
    assert np.abs(rgb[250, 250].astype(int) - [10, 40, 200]).max() < 12


def test_unwritable_places_are_typed_errors(tmp_path, still):
    with pytest.raises(OutputError, match="cannot be made"):
        write_pictures(tmp_path / "no" / "out", [still])
    with pytest.raises(OptionError, match="fps"):
        write_clip(tmp_path / "a.mp4", [still], 0)
    with pytest.raises(OptionError, match=r"\.mp4"):
        write_clip(tmp_path / "a.avi", [still], 30)
