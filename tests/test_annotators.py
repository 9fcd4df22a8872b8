"""What annotators get right, and what their votes come to with the texts."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdygen import DyGenClassifier
from skdygen._annotators import Annotators
from skdygen._targets import make_targets
from skdygen._votes import Votes, encode_votes
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.dynamics._networks import coregularized_loss
from skdygen.priors import TrajectoryKNNPrior
from skdygen.votes import majority_vote
from tests.conftest import make_word_texts

CLASSES = ("animal", "fruit", "tool")
TEXTS, LABELS = make_word_texts(300, CLASSES)
CODES = np.searchsorted(CLASSES, LABELS)
# One in two is a clown: 0.9, 0.8, 0.6 and 0.35 of what they say is right.
ACCURACY = [0.9, 0.8, 0.6, 0.35]


def vote(accuracy, share, seed=0):
    """Votes of annotators, each silent on all but a share of the texts."""
    rng = np.random.RandomState(seed)
    votes = np.repeat(CODES[:, None], len(accuracy), axis=1)
    wrong = rng.rand(*votes.shape) > accuracy
    votes = np.where(wrong, (votes + rng.randint(1, 3, votes.shape)) % 3, votes)
    names = [f"annotator {a}" for a in accuracy]
    frame = pd.DataFrame(np.array(CLASSES)[votes], columns=names, dtype=object)
    return frame.mask(rng.rand(*votes.shape) > share)


VOTES = vote(ACCURACY, 0.6)


def make(**params):
    params = {"missing_label": np.nan, "random_state": 0} | params
    return DyGenClassifier(IncrementalDynamics(), **params)


def right(labels, first=0):
    return (labels == LABELS)[first:].mean()


@pytest.mark.parametrize(
    "stages",
    [
        {},
        {"prior": TrajectoryKNNPrior(leave_one_out=True)},
        {"denoiser": DirichletVAE(n_epochs=20)},
        {"denoiser": TransitionMatrixDenoiser()},
    ],
)
def test_annotators_are_told_apart(stages):
    clf = make(**stages).fit(TEXTS, votes=VOTES)
    given = majority_vote(VOTES, missing_label=np.nan)
    assert right(clf.transduction_) > right(given) + 0.12
    quality = clf.annotator_quality()
    assert quality.index.tolist() == VOTES.columns.tolist()
    assert quality["n_votes"].tolist() == VOTES.notna().sum().tolist()
    assert_allclose(quality["accuracy"], ACCURACY, atol=0.15)
    assert quality[["accuracy_low", "accuracy_high"]].isna().all(axis=None)
    assert (quality["said"] != quality["instead_of"]).all()
    is_wrong = (given != LABELS) & pd.notna(given)
    assert abs(clf.noise_rate_ - is_wrong[pd.notna(given)].mean()) < 0.13
    found = clf.label_issues()["index"].to_numpy()
    assert is_wrong[found].mean() > 0.8


def test_rules_for_one_class_each_and_one_that_misleads():
    # One class in each column; the third names tools, and is wrong as often as right.
    rng = np.random.RandomState(1)
    votes = np.full((300, 3), None)
    for code, wrong in enumerate((0.05, 0.05, 0.5)):
        fires = np.where(code == CODES, 0.9, 0.9 * wrong / 2 / (1 - wrong))
        votes[rng.rand(300) < fires, code] = CLASSES[code]
    clf = make().fit(TEXTS, votes=votes)
    quality = clf.annotator_quality()
    true = [(votes[:, j] == LABELS)[votes[:, j] != None].mean() for j in range(3)]  # noqa: E711
    assert_allclose(quality["accuracy"], true, atol=0.1)
    assert quality["said"].tolist() == list(CLASSES)
    has_vote = (votes != None).any(axis=1)  # noqa: E711
    given = majority_vote(votes, missing_label=np.nan)
    gained = (clf.transduction_ == LABELS)[has_vote].mean()
    assert gained > (given == LABELS)[has_vote].mean()


def test_who_votes_seldom_errs_like_the_others():
    rows, annotators = np.arange(202) % 101, np.repeat([0, 1], 101)
    true = np.arange(101) % 2
    codes = np.concatenate([true, 1 - true])
    kept = (annotators == 0) | (rows < 2)
    votes = Votes(
        np.array(["often", "twice"]), rows[kept], annotators[kept], codes[kept], None,
        101,
    )  # fmt: skip
    texts = np.where(np.eye(2)[true], 0.9, 0.1)
    found = Annotators().fit(votes, texts, np.full(101, -1))
    often, twice = np.trace(found.true_given_vote, axis1=1, axis2=2) / 2
    assert often > 0.9
    assert 0.85 < twice < often


@pytest.mark.parametrize("share", [0.25, 0.6, 0.93])
@pytest.mark.parametrize(("n_annotators", "right"), [(5, 0.7), (12, 0.6), (40, 0.4)])
def test_votes_of_many_are_worth_their_majority(n_annotators, right, share):
    # However unequal the classes; the texts know hardly more than the votes' shares.
    rng = np.random.RandomState(0)
    true = rng.choice(4, 400, p=[share, *[(1 - share) / 3] * 3])
    said = np.where(
        rng.rand(400, n_annotators) < right, true[:, None],
        rng.randint(4, size=(400, n_annotators)),
    ).astype(object)  # fmt: skip
    said[rng.rand(*said.shape) < 0.5] = None
    votes = encode_votes(said)[1]
    shares = np.bincount(votes.codes) / len(votes.codes)
    guess = np.where(rng.rand(400) < 0.4, true, rng.choice(4, 400, p=shares))
    texts = 0.4 * np.eye(4)[guess] + 0.6 * shares
    found = Annotators().fit(votes, texts, np.full(400, -1)).distributions
    assert right_share(found, true) > right_share(votes.shares(4), true) - 0.025


def right_share(distributions, true):
    return (distributions.argmax(axis=1) == true).mean()


def test_verified_labels_are_certain_and_teach_who_errs():
    # What all say of fruit is wrong; nothing but verified labels could tell.
    votes = VOTES.mask(VOTES == "fruit", "tool")
    verified = dict(enumerate(LABELS[:100]))
    clf = make(store_trajectories=True).fit(TEXTS, votes=votes)
    before = right(clf.transduction_, 100)
    clf.refit(verified)
    assert_array_equal(clf.transduction_[:100], LABELS[:100])
    assert right(clf.transduction_, 100) > before + 0.2
    anew = make().fit(TEXTS, votes=votes, verified=verified)
    assert_array_equal(anew.label_distributions_, clf.label_distributions_)
    assert_array_equal(anew.predict(TEXTS), clf.predict(TEXTS))
    quality = clf.annotator_quality()
    best = quality.loc["annotator 0.9"]
    assert (best["said"], best["instead_of"]) == ("tool", "fruit")
    # Drawn at random, they judge each annotator, whatever the texts are taken for.
    true = (votes == LABELS[:, None]).where(votes.notna()).mean().astype(float)
    assert_allclose(quality["accuracy"], true, atol=0.1)
    assert quality["accuracy_low"].lt(true).all()
    assert quality["accuracy_high"].gt(true).all()
    assert quality["n_verified"].tolist() == votes[:100].notna().sum().tolist()


def test_verified_texts_are_judged_by_what_others_teach():
    targets = make_targets(None, votes=VOTES, missing_label=np.nan)
    guess = np.full((len(TEXTS), 3), 1 / 3)
    rows, evidence = np.arange(40), {}
    for own in range(3):  # what was verified of the first text
        known = dict(zip(rows.tolist(), LABELS[:40], strict=True)) | {0: CLASSES[own]}
        asked = targets.verify(known).ask_annotators(guess)
        evidence[own] = asked.evidence[0], asked.hold_out(guess).evidence[0]
        rest = slice(40, None)
        assert_array_equal(asked.hold_out(guess).evidence[rest], asked.evidence[rest])
    for own in (1, 2):
        assert np.abs(evidence[own][0] - evidence[0][0]).max() > 0
        assert_array_equal(evidence[own][1], evidence[0][1])


def test_an_annotator_who_never_errs_confuses_nothing():
    votes = pd.DataFrame({"a": LABELS, "b": LABELS})
    verified = dict(enumerate(LABELS))
    quality = make().fit(TEXTS, votes=votes, verified=verified).annotator_quality()
    assert quality["accuracy"].tolist() == [1, 1]
    assert quality["said"].isna().all()
    assert quality["instead_of"].isna().all()


def test_votes_that_hardly_overlap_correct_nothing(caplog):
    votes = vote([0.75, 0.76, 0.77, 0.78], 1)
    votes = votes.where(np.arange(300)[:, None] % 4 == np.arange(4))
    with caplog.at_level(logging.INFO, "skdygen"):
        clf = make().fit(TEXTS, votes=votes)
    assert "0 % of the texts have several: too few" in caplog.text
    alone = make().fit(TEXTS, majority_vote(votes))
    assert_array_equal(clf.label_distributions_, alone.label_distributions_)
    assert_array_equal(clf.transduction_, alone.transduction_)


def test_who_is_sure_counts_more():
    votes = encode_votes(
        pd.DataFrame({"a": [0, 0, 0], "b": [1, 1, 1]}),
        confidence=pd.DataFrame({"a": [0.9, 0.3, None], "b": [0.5, 0.5, 0.5]}),
    )[1]
    shares = votes.shares(2)
    assert_allclose(shares[:, 0], [1.5 / 2.5, 0.5 / 1.5, 0.5])
    texts = np.array([[0.9, 0.1], [0.5, 0.5], [0.5, 0.5]])
    evidence = Annotators().fit(votes, texts, np.full(3, -1)).evidence
    of_a = evidence[0] - evidence[1]  # of a vote that counts 1.5 and one of 0.5
    assert_allclose(evidence[2] - evidence[1], of_a / 2)


def test_first_stage_learns_the_votes(tiny_model):
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    weights, codes = torch.tensor([1.0, 2.0, 0.5, 1.0]), torch.tensor([0, 2, 1, 1])
    one_hot = torch.nn.functional.one_hot(codes, 3).float()
    expected = coregularized_loss(logits, codes, weights, 2.0)
    found = coregularized_loss(logits, one_hot, weights, 2.0)
    assert found.item() == pytest.approx(expected.item())
    half = coregularized_loss(logits, one_hot.roll(1, 1) / 2 + one_hot / 2, weights, 0)
    both = [coregularized_loss(logits, c, weights, 0) for c in (codes, (codes + 1) % 3)]
    assert half.item() == pytest.approx((both[0] + both[1]).item() / 2)
    dynamics = LanguageModelDynamics(tiny_model, n_epochs=1, random_state=0)
    few, votes = TEXTS[:40], VOTES.iloc[:40].fillna("tool")
    given = majority_vote(votes)
    found = DyGenClassifier(dynamics, random_state=0).fit(few, votes=votes)
    alone = DyGenClassifier(dynamics, random_state=0).fit(few, given)
    loss = found.dynamics_.history_["loss"], alone.dynamics_.history_["loss"]
    assert loss[0] != loss[1]


def test_without_votes_nothing_is_said_of_annotators():
    clf = make().fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="needs votes of several annotators"):
        clf.annotator_quality()
