import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.rebatch import Assembler, Parcel, Rebatcher


def parcel(toys, faces_per_frame, first_uid=0):
    frames = [toys.frame(i, n) for i, n in enumerate(faces_per_frame)]
    uid = np.repeat(np.arange(len(frames)) + first_uid, faces_per_frame).astype(np.int64)
    faces = FaceBatch(uid, {"box": np.zeros((len(uid), 4)), "at": np.arange(len(uid))})
    return Parcel(Batch(FrameBatch.from_frames(frames, first_uid), faces))


def shapes(parcels):
    return [(p.batch.frames.uids.tolist(), len(p.batch.faces), p.open_end) for p in parcels]


def test_a_full_batch_leaves_at_once_and_says_when_a_frame_goes_on(toys):
    rebatcher = Rebatcher(16, 100, 10**9)
    assert shapes(rebatcher.push(parcel(toys, [37]))) == [([0], 16, True), ([0], 16, True)]
    assert shapes(rebatcher.flush()) == [([0], 5, False)]
    assert rebatcher.flush() == []
    assert shapes(rebatcher.push(parcel(toys, [16], 1))) == [([1], 16, False)]


def test_frames_without_faces_do_not_wait_where_no_face_waits(toys):
    rebatcher = Rebatcher(4, 100, 10**9)
    assert shapes(rebatcher.push(parcel(toys, [0, 0]))) == [([0, 1], 0, False)]
    assert rebatcher.push(parcel(toys, [1, 0], 2)) == []
    assert shapes(rebatcher.push(parcel(toys, [3, 0, 0], 4))) == [
        ([2, 3, 4], 4, False),
        ([5, 6], 0, False),
    ]


def test_waiting_frames_are_bounded_in_number_and_bytes(toys):
    rebatcher = Rebatcher(100, 3, 10**9)
    assert rebatcher.push(parcel(toys, [1, 0])) == []
    assert shapes(rebatcher.push(parcel(toys, [0], 2))) == [([0, 1, 2], 1, False)]
    rebatcher = Rebatcher(100, 100, 2 * 8 * 8 * 3)
    assert rebatcher.push(parcel(toys, [1])) == []
    assert shapes(rebatcher.push(parcel(toys, [1], 1))) == [([0, 1], 2, False)]


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=8),
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.integers(1, 9),
)
def test_any_chain_of_rebatchers_gives_whole_frames_again(toys, lists, sizes, hold):
    chain = [Rebatcher(size, hold, 10**9) for size in sizes]
    assembler, out = Assembler(), []

    def through(at, parcels, flush):
        for rebatcher in chain[at:]:
            pushed = [ready for p in parcels for ready in rebatcher.push(p)]
            for ready in pushed:
                assert len(ready.batch.faces) <= rebatcher._size
            parcels = pushed + (rebatcher.flush() if flush else [])
        for p in parcels:
            out.extend(assembler.push(p))

    uid = 0
    for counts in lists:
        through(0, [parcel(toys, counts, uid)], flush=False)
        uid += len(counts)
    through(0, [], flush=True)
    counts = [n for each in lists for n in each]
    got = [np.bincount(b.frame_rows, minlength=len(b.frames)) for b in out]
    assert [n for each in got for n in each] == counts
    assert [u for b in out for u in b.frames.uids] == list(range(uid))
    ranks = [a for each in lists for a in range(sum(each))]
    assert [a for b in out for a in b.faces.fields["at"]] == ranks
    assert assembler._parts == []
