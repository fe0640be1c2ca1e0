import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from featflow.animate.cache import FrameCache, frame_key, still_digest
from featflow.animate.codecs import JpegCodec, RawCodec, RegionCodec, changed_box, codec_for_quality
from featflow.animate.store import RamStore, SqliteStore
from featflow.errors import InputError, OptionError, OutputError

CODECS = [RawCodec(), RegionCodec(), JpegCodec(85)]


def noisy(still, seed=0):
    frame = still.copy()
    rng = np.random.default_rng(seed)
    frame[100:220, 150:330] = rng.integers(0, 256, (120, 180, 4))
    return frame


@pytest.mark.parametrize("codec", CODECS[:2], ids=lambda c: c.name)
@settings(max_examples=40, deadline=None)
@given(frame=arrays(np.uint8, (16, 20, 4)), still=arrays(np.uint8, (16, 20, 4)))
def test_lossless_codecs_give_back_every_byte(codec, frame, still):
    out = np.empty_like(frame)
    codec.unpack(codec.pack(frame, still), still, out)
    np.testing.assert_array_equal(out, frame)
    assert out.flags.writeable


def test_the_region_codec_keeps_only_what_changed(still):
    frame = still.copy()
    frame[200:210, 300:320] += 1
    assert changed_box(frame, still) == (300, 200, 320, 210)
    assert len(RegionCodec().pack(frame, still)) < 10 * 20 * 4
    assert changed_box(still, still) == (0, 0, 0, 0)


def test_jpeg_keeps_alpha_exactly_and_colour_closely(puppet, still):
    frame = np.empty_like(still)
    pose = np.zeros(45, np.float32)
    pose[26] = 1
    puppet.render(pose, frame)
    frame[150:200, 150:200, 3] = np.arange(50)
    out = np.empty_like(frame)
    JpegCodec(85).unpack(JpegCodec(85).pack(frame, still), still, out)
    np.testing.assert_array_equal(out[..., 3], frame[..., 3])
    error = (out[..., :3].astype(float) - frame[..., :3]) ** 2
    assert 10 * np.log10(255**2 / error.mean()) >= 33
    np.testing.assert_array_equal(out[:50], still[:50])


def test_jpeg_of_an_unchanged_frame_is_exact(still):
    out = np.empty_like(still)
    JpegCodec(5).unpack(JpegCodec(5).pack(still, still), still, out)
    np.testing.assert_array_equal(out, still)


def test_quality_chooses_the_codec_as_the_document_says():
    assert codec_for_quality(100).name == "raw"
    assert codec_for_quality(85).name == "region-jpeg85"
    for bad in (-1, 101, 85.0, True):
        with pytest.raises(OptionError, match="cacher_quality"):
            codec_for_quality(bad)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.name)
def test_a_hit_is_byte_for_byte_what_the_miss_returned(codec, still):
    cache = FrameCache(RamStore(10**8), codec)
    frame, out = noisy(still), np.empty_like(still)
    assert not cache.get(b"k", still, out)
    cache.put(b"k", still, frame)
    assert cache.get(b"k", still, out)
    np.testing.assert_array_equal(out, frame)
    out[:] = 7
    again = np.empty_like(still)
    assert cache.get(b"k", still, again)
    np.testing.assert_array_equal(again, frame)
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.entries) == (2, 1, 1)


@pytest.fixture(params=["ram", "sqlite"])
def make_store(request, tmp_path):
    def make(limit):
        if request.param == "ram":
            return RamStore(limit)
        return SqliteStore(tmp_path / "frames.sqlite", limit)

    return make


def test_the_limit_holds_after_every_put_also_of_known_keys(make_store):
    store = make_store(5000)
    rng = np.random.default_rng(0)
    count = 10_000 if isinstance(store, RamStore) else 400
    expected = {}
    for i in range(count):
        key = bytes([int(rng.integers(0, 40))])
        value = bytes(int(rng.integers(0, 900)))
        assert store.put(key, value)
        assert store.nbytes <= 5000
        expected[key] = value
        if i % 50 == 0:
            known = {k: store.get(bytes([k])) for k in range(40)}
            held = {k: v for k, v in known.items() if v is not None}
            assert store.nbytes == sum(len(v) + 1 for v in held.values())
            assert all(expected[bytes([k])] == v for k, v in held.items())
    assert store.evictions > 0
    store.close()


def test_the_least_recently_used_goes_first(make_store):
    store = make_store(34)
    for key in (b"a", b"b", b"c"):
        store.put(key, bytes(10))
    assert store.get(b"a") is not None
    store.put(b"d", bytes(10))
    assert store.get(b"b") is None
    assert all(store.get(key) is not None for key in (b"a", b"c", b"d"))
    store.close()


def test_what_exceeds_the_whole_limit_is_refused_and_counted(make_store, still):
    store = make_store(1000)
    cache = FrameCache(store)
    cache.put(b"k", still, noisy(still))
    assert len(store) == 0
    assert cache.stats().refused == 1
    cache.close()


def test_keys_know_order_still_and_no_minus_zero(still):
    codes = np.arange(45, dtype=np.int16)
    swapped = codes.copy()
    swapped[[12, 13]] = swapped[[13, 12]]
    scope = still_digest(still)
    assert frame_key(scope, codes) != frame_key(scope, swapped)
    assert frame_key(scope, codes) == frame_key(scope, codes.copy())
    other = still.copy()
    other[0, 0, 0] ^= 1
    assert still_digest(other) != scope


def test_a_damaged_entry_counts_as_a_miss_and_is_replaced(still):
    store = RamStore(10**8)
    for codec in (RegionCodec(), JpegCodec(80), RawCodec()):
        cache = FrameCache(store, codec)
        frame, out = noisy(still), np.empty_like(still)
        cache.put(b"k", still, frame)
        store.put(b"k" + codec.name.encode(), b"\x00\x00\x00\x00\x10\x00\x10\x00rubbish")
        assert not cache.get(b"k", still, out)
        cache.put(b"k", still, frame)
        assert cache.get(b"k", still, out)


def test_a_database_serves_a_fresh_process(tmp_path):
    path = tmp_path / "frames.sqlite"
    code = (
        "import sys; from featflow.animate.store import SqliteStore;"
        "s = SqliteStore(sys.argv[1], 1000);"
        "assert s.put(b'key', b'value'); s.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    store = SqliteStore(path, 1000)
    assert store.get(b"key") == b"value"
    store.close()


def test_two_stores_share_one_database_and_its_limit(tmp_path):
    one = SqliteStore(tmp_path / "f.sqlite", 500)
    two = SqliteStore(tmp_path / "f.sqlite", 500)
    for i in range(30):
        (one, two)[i % 2].put(bytes([i]), bytes(99))
        assert one.nbytes == two.nbytes <= 500
    assert one.get(bytes([29])) == two.get(bytes([29])) == bytes(99)
    one.close()
    two.close()


def test_a_damaged_database_is_moved_aside_with_a_warning(tmp_path):
    path = tmp_path / "frames.sqlite"
    path.write_bytes(b"this is no database at all, but long enough to be read as one" * 50)
    with pytest.warns(UserWarning, match="damaged"):
        store = SqliteStore(path, 1000)
    assert store.put(b"k", b"v")
    store.close()
    assert (tmp_path / "frames.sqlite.damaged-1").read_bytes().startswith(b"this is no")


def test_somebody_elses_database_is_left_alone(tmp_path):
    path = tmp_path / "notes.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE notes (text)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="cacher_db_path"):
        SqliteStore(path, 1000)
    assert path.read_bytes() == before


def test_a_missing_folder_is_a_typed_error(tmp_path):
    with pytest.raises(OutputError, match="check the folder"):
        SqliteStore(tmp_path / "no" / "such.sqlite", 1000)


def test_a_full_disk_is_a_typed_error_that_names_the_fix(tmp_path):
    store = SqliteStore(tmp_path / "f.sqlite", 10**8)
    # SQLite reports a full disk and a full page quota alike.
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutputError, match="free space or lower the limit"):
        store.put(b"k", bytes(100_000))
    assert store.get(b"k") is None
    store.close()
