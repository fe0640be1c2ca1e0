import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.metrics import log_loss

from featflow.errors import ArrayError, OptionError
from featflow.train.losses import ArcFace, class_focal_loss, focal_loss, soft_cross_entropy

RNG = np.random.default_rng(5)


def double(array):
    return torch.from_numpy(np.asarray(array, float))


def test_soft_cross_entropy_of_hard_targets_is_sklearns_log_loss():
    logits, labels = RNG.normal(0, 2, (40, 5)), RNG.integers(0, 5, 40)
    got = soft_cross_entropy(double(logits), double(np.eye(5)[labels])).item()
    wanted = log_loss(labels, special.softmax(logits, 1), labels=range(5))
    assert got == pytest.approx(wanted)


def test_above_entropy_it_is_scipys_divergence_and_zero_on_equal_inputs():
    logits, target = RNG.normal(0, 2, (20, 4)), RNG.dirichlet(np.ones(4), 20)
    target[0] = [1, 0, 0, 0]
    got = soft_cross_entropy(double(logits), double(target), above_entropy=True).item()
    wanted = stats.entropy(target, special.softmax(logits, 1), axis=1).mean()
    assert got == pytest.approx(wanted)
    same = soft_cross_entropy(double(np.log(target[1:])), double(target[1:]), above_entropy=True)
    assert same.item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ArrayError):
        soft_cross_entropy(double(logits), double(target[:, :3]))


def test_focal_loss_is_lins_formula():
    logits, target = RNG.normal(0, 3, 50), RNG.integers(0, 2, 50)
    p = special.expit(logits)
    right = np.where(target == 1, p, 1 - p)
    alpha = np.where(target == 1, 0.25, 0.75)
    for gamma in (0.0, 0.5, 2.0):
        wanted = (-alpha * (1 - right) ** gamma * np.log(right)).mean()
        got = focal_loss(double(logits), torch.from_numpy(target), gamma).item()
        assert got == pytest.approx(wanted)
    plain = focal_loss(double(logits), double(target), 0.0, None).item()
    assert plain == pytest.approx(log_loss(target, p))


def test_focal_loss_of_a_sure_answer_is_nothing_and_never_nan():
    sure = torch.tensor([200.0, -200.0], requires_grad=True)
    for gamma in (0.5, 2.0):
        value = focal_loss(sure, torch.tensor([1.0, 0.0]), gamma)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-12)
        assert torch.isfinite(sure.grad).all()
        wrong = focal_loss(sure, torch.tensor([0.0, 1.0]), gamma, None)
        assert wrong.item() == pytest.approx(200)


def test_focal_loss_of_classes():
    logits, labels = RNG.normal(0, 2, (30, 4)), RNG.integers(0, 4, 30)
    right = special.softmax(logits, 1)[np.arange(30), labels]
    got = class_focal_loss(double(logits), torch.from_numpy(labels), 1.5).item()
    assert got == pytest.approx((-((1 - right) ** 1.5) * np.log(right)).mean())
    plain = class_focal_loss(double(logits), torch.from_numpy(labels), 0.0).item()
    assert plain == pytest.approx(-np.log(right).mean())


def test_focal_options_are_checked():
    x = torch.zeros(2)
    for options in ({"gamma": -1.0}, {"alpha": 1.5}):
        with pytest.raises(OptionError):
            focal_loss(x, x, **options)
    with pytest.raises(ArrayError):
        focal_loss(x, torch.zeros(3))


def arcface(embeddings, centres, labels, margin, scale):
    """The paper's formula, through the angle itself."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    towards = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    cosine = unit @ towards.T
    rows = np.arange(len(labels))
    angle = np.arccos(cosine[rows, labels])
    turned = np.cos(angle + margin)
    beyond = angle + margin > np.pi
    turned[beyond] = cosine[rows, labels][beyond] - margin * np.sin(margin)
    cosine[rows, labels] = turned
    return scale * cosine


def test_arcface_is_dengs_formula():
    torch.manual_seed(0)
    head = ArcFace(8, 5, margin=0.5, scale=30.0).double()
    embeddings, labels = RNG.normal(0, 1, (25, 8)), RNG.integers(0, 5, 25)
    centres = head.centres.detach().numpy()
    embeddings[0], labels[0] = -centres[2], 2  # straight away from its own centre
    embeddings[0, 0] += 0.01
    wanted = arcface(embeddings, centres, labels, 0.5, 30.0)
    got = head.logits(double(embeddings), torch.from_numpy(labels)).detach().numpy()
    assert got == pytest.approx(wanted, abs=1e-5)
    loss = head(double(embeddings), torch.from_numpy(labels)).item()
    rows = special.log_softmax(wanted, 1)[np.arange(25), labels]
    assert loss == pytest.approx(-rows.mean())


def test_arcface_without_margin_is_a_cosine_softmax_and_a_margin_makes_it_harder():
    torch.manual_seed(1)
    embeddings, labels = torch.randn(12, 6), torch.arange(12) % 3
    values = []
    for margin in (0.0, 0.2, 0.5):
        torch.manual_seed(2)
        values.append(ArcFace(6, 3, margin, 16.0)(embeddings, labels).item())
    assert values == sorted(values)
    assert values[2] > values[0] + 1


def test_arcface_gradient_is_finite_where_an_embedding_is_its_own_centre():
    head = ArcFace(4, 3)
    embeddings = torch.stack([head.centres[0].detach(), -head.centres[1].detach()])
    embeddings.requires_grad_()
    head(embeddings, torch.tensor([0, 1])).backward()
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(head.centres.grad).all()
    with pytest.raises(OptionError):
        ArcFace(4, 3, margin=math.pi)
