"""Sets of several people: how often a face comes, and that workers change nothing."""

from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from featflow.datasets.faces import FaceDataset
from featflow.datasets.facesets import EndlessOrder, FaceLoader, FaceSets
from featflow.errors import OptionError
from featflow.geometry.crop import CropRule
from featflow.testing.painted import painted_faces

CROP = CropRule.centred(32, "face", outside="replicate")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Three identities with 7, 3 and 2 faces."""
    folder = tmp_path_factory.mktemp("sets")
    found = {}
    for number, (label, count) in enumerate((("A", 7), ("B", 3), ("C", 2))):
        fex = painted_faces(folder, count, identity=label, seed=number)
        found[label] = FaceDataset(fex, crop=CROP, cache=folder / "chips")
    return found


def noisy(batch, chance):
    for sample in batch.values():
        sample["crop"] = sample["crop"] + torch.randn(sample["crop"].shape, generator=chance)
    return batch


def take(loader, count, start=0):
    stream = loader.batches(start)
    return [next(stream) for _ in range(count)]


def same(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return torch.equal(one, two)


def test_every_face_is_used_before_any_repeats(sets):
    joined = FaceSets(sets, seed=4)
    assert len(joined) == 7
    assert joined.labels == ("A", "B", "C")
    seen = {label: [] for label in "ABC"}
    for epoch in range(6):
        joined.set_epoch(epoch)
        for index in range(len(joined)):
            for label, sample in joined[index].items():
                seen[label].append(int(sample["row"]))
    for label, count in (("A", 7), ("B", 3), ("C", 2)):
        for upto in range(1, 43):
            times = Counter(seen[label][:upto])
            uses = [times[row] for row in range(count)]
            assert max(uses) - min(uses) <= 1
    rounds = [tuple(seen["A"][i : i + 7]) for i in range(0, 42, 7)]
    assert len(set(rounds)) > 1, "never shuffled anew"


def test_the_order_depends_on_the_seed_alone():
    order, other = EndlessOrder(9, (1, 2)), EndlessOrder(9, (1, 2))
    forwards = [order(p) for p in range(40)]
    assert [other(p) for p in reversed(range(40))] == forwards[::-1]
    assert [EndlessOrder(9, (1, 3))(p) for p in range(40)] != forwards


def test_batches_do_not_depend_on_workers(sets):
    alone = take(FaceLoader(FaceSets(sets, 1), 5, seed=3, transform=noisy), 4)
    for workers in (1, 2):
        loader = FaceLoader(FaceSets(sets, 1), 5, seed=3, transform=noisy, workers=workers)
        assert same(take(loader, 4), alone)
    assert not same(take(FaceLoader(FaceSets(sets, 1), 5, seed=4, transform=noisy), 1), alone[:1])


def test_batches_from_the_middle_are_those_of_the_whole(sets):
    loader = FaceLoader(FaceSets(sets, 1), 3, transform=noisy)
    assert same(take(loader, 3, start=4), take(loader, 7)[4:])


def test_sets_smaller_than_a_batch(sets):
    (batch,) = take(FaceLoader(sets["C"], 5), 1)
    assert batch["crop"].shape == (5, 32, 32, 3)
    assert sorted(Counter(batch["row"].tolist()).values()) == [2, 3]
    assert FaceLoader(sets["C"], 5).per_epoch == 1
    assert FaceLoader(sets["A"], 2).per_epoch == 4


def test_processes_share_the_batch_of_one(sets):
    whole = take(FaceLoader(FaceSets(sets, 1), 4), 3)
    parts = [take(FaceLoader(FaceSets(sets, 1), 2, rank=r, world=2), 3) for r in range(2)]
    for number in range(3):
        for rank in range(2):
            expected = whole[number]["A"]["row"][rank::2]
            assert torch.equal(parts[rank][number]["A"]["row"], expected)


def test_samplers_of_torch_share_an_epoch(sets):
    joined = FaceSets(sets, 1)
    rows = []
    for rank in range(2):
        sampler = DistributedSampler(joined, num_replicas=2, rank=rank, shuffle=True, seed=0)
        for batch in DataLoader(joined, batch_size=2, sampler=sampler):
            rows += batch["A"]["row"].tolist()
    assert len(rows) == 8
    assert set(rows) == set(range(7))


def test_what_cannot_be_joined_is_named(sets):
    with pytest.raises(OptionError, match="one or more"):
        FaceSets({})
    other = FaceDataset(sets["A"].table, crop=CropRule.centred(48, "face"),
                        cache=sets["A"]._chip_of[0][0].path.parents[1])  # fmt: skip
    with pytest.raises(OptionError, match="equal crop sizes"):
        FaceSets({"A": sets["A"], "B": other})
    for wrong in ({"batch_size": 0}, {"workers": -1}, {"rank": 1}, {"seed": -1}):
        with pytest.raises(OptionError, match="a loader needs"):
            FaceLoader(sets["A"], **{"batch_size": 2, **wrong})
