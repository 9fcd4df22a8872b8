from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdygen._decisions import (
    correct_labels,
    estimate_transition_matrix,
    is_more_likely_right,
    lift,
)
from skdygen._targets import Targets


def make_model(n_samples, noise, error, seed=0):
    """Make a model that knows how sure it can be, and labels that are partly wrong.

    The chance of a wrong prediction falls from `error` to 0 with the confidence;
    labels are wrong at the same rate anywhere.
    """
    rng = np.random.RandomState(seed)
    true = rng.randint(4, size=n_samples)
    doubt = rng.rand(n_samples)
    is_off = rng.rand(n_samples) < error * doubt
    predicted = np.where(is_off, (true + rng.randint(1, 4, n_samples)) % 4, true)
    given = np.where(
        rng.rand(n_samples) < noise, (true + rng.randint(1, 4, n_samples)) % 4, true
    )
    distributions = np.full((n_samples, 4), 1.0) + np.eye(4)[predicted] * (
        20 - 19 * doubt[:, None]
    )
    return distributions / distributions.sum(axis=1, keepdims=True), true, given


def make_targets_of(given, verified=None):
    """Make targets of encoded labels of equal weight."""
    targets = Targets.unverified(np.arange(6), given, (given >= 0).astype(float))
    return targets if verified is None else targets.verify(verified)


def correct(p, given, threshold="auto", evidence=None, verified=None):
    """Correct labels by probabilities; the evidence, to act by, is the same or not."""
    evidence = p if evidence is None else evidence
    targets = make_targets_of(given, verified)
    return correct_labels(p, evidence, evidence[:, None], targets, threshold)


@pytest.mark.parametrize(
    ("noise", "error", "gain"),
    [(0.1, 0.05, 0.05), (0.1, 0.5, 0), (0.3, 0.05, 0.2), (0.3, 0.5, 0.05)],
)
def test_wrong_labels_are_corrected(noise, error, gain):
    p, true, given = make_model(4000, noise, error)
    assert (correct(p, given) == true).mean() > (given == true).mean() + gain


@pytest.mark.parametrize("error", [0.05, 0.2, 0.35])
def test_right_labels_are_left_alone(error):
    p, true, _ = make_model(4000, 0.0, error)
    assert_array_equal(correct(p, true), true)


@pytest.mark.parametrize("sharpness", [0.3, 100])
def test_a_model_near_chance_changes_nothing(sharpness):
    rng = np.random.RandomState(0)
    given = np.where(rng.rand(600) < 0.9, 0, rng.randint(6, size=600))
    evidence = rng.dirichlet(np.full(6, sharpness), size=600)
    posterior = np.eye(6)[rng.randint(6, size=600)]
    assert_array_equal(correct(posterior, given, evidence=evidence), given)
    # Nor one that does as well as naming the class that nearly all labels are of.
    assert lift(np.zeros(600), given, np.ones(600)) == 0
    largest = np.eye(6)[np.zeros(600, dtype=int)]
    assert_array_equal(correct(posterior, given, evidence=largest), given)


def test_what_decides_and_what_is_said():
    """The marginal decides where to act, the posterior says what is right."""
    marginal, true, given = make_model(4000, 0.1, 1.0)
    given[:50] = -1
    posterior = np.roll(0.1 + 0.6 * np.eye(4)[true], 1, axis=1)  # one class too high
    corrected = correct(posterior, given, evidence=marginal)
    is_sure = np.ones(4000, dtype=bool)
    confidence, found = marginal[50:].max(axis=1), marginal[50:].argmax(axis=1)
    is_sure[50:] = is_more_likely_right(confidence, found, given[50:], np.ones(3950))
    assert 0.1 < is_sure[50:].mean() < 0.9
    assert_array_equal(corrected, np.where(is_sure, (true + 1) % 4, given))
    everywhere = correct(posterior, given, 0.5, evidence=marginal)
    assert_array_equal(everywhere, (true + 1) % 4)


@pytest.mark.parametrize("n_verified", [1, 40])
def test_verified_labels_decide(n_verified):
    """They do against any evidence, and where nothing differs the evidence does."""
    evidence, true, given = make_model(4000, 0.1, 0.05)
    known = {i: int(true[i]) for i in np.flatnonzero(given != true)[:n_verified]}
    right, wrong = np.eye(4)[true], np.eye(4)[(true + 1) % 4]
    assert_array_equal(correct(right, given, verified=known), true)
    poor = np.full((4000, 4), 0.25)
    found = correct(right, given, evidence=poor, verified=known)
    assert_array_equal(found, true if n_verified > 1 else given)  # one proves nothing
    of_right = {i: int(true[i]) for i in np.flatnonzero(given == true)[:n_verified]}
    found = correct(wrong, given, evidence=poor, verified=of_right)
    assert_array_equal(found, given)
    # Those that were not drawn, but chosen for what is said of them, decide nothing.
    chosen = make_targets_of(given, known)
    chosen = replace(chosen, probabilities=np.where(chosen.verified < 0, np.nan, 1.0))
    found = correct_labels(right, poor, poor[:, None], chosen, "auto")
    assert_array_equal(found, given)
    # Where they speak against it, it is as if none were verified.
    found = correct(wrong, given, evidence=evidence, verified=of_right)
    assert_array_equal(found, correct(wrong, given, evidence=evidence))
    same = np.eye(4)[given]
    same[-100:] = np.eye(4)[true[-100:]]
    few = {i: int(true[i]) for i in range(20)}
    found = correct(same, given, evidence=evidence, verified=few)
    assert_array_equal(found[-100:], true[-100:])
    found = correct(same, given, evidence=poor, verified=few)
    assert_array_equal(found, given)


@pytest.mark.parametrize(("right", "acts"), [(0.88, True), (0.7, False)])
def test_votes_decide_unless_they_make_verified_labels_worse(right, acts):
    rng = np.random.RandomState(0)
    true = rng.randint(4, size=2000)
    other = (true + rng.randint(1, 4, 2000)) % 4
    given = np.where(rng.rand(2000) < 0.9, true, other)
    said = np.where(rng.rand(2000) < right, true, other)
    near_chance = np.full((2000, 4), 0.25)
    drawn = dict(enumerate(true[:200]))
    targets = make_targets_of(given, drawn)
    p = np.eye(6)[said]
    targets = replace(targets, evidence=np.log(p + 0.1))
    found = correct_labels(p, near_chance, near_chance[:, None], targets, "auto")
    assert_array_equal(found, said if acts else given)


def test_the_most_confident_are_corrected_and_no_others():
    """Also those whose confidences differ by less than can be told apart."""
    p, _true, given = make_model(4000, 0.1, 1.0)
    surest = np.argsort(-p.max(axis=1))[:200]
    p[surest] = np.eye(4)[p[surest].argmax(axis=1)]
    p[surest[:100]] *= np.nextafter(1, 0)
    confidence, found = p.max(axis=1), p.argmax(axis=1)
    is_sure = is_more_likely_right(confidence, found, given, np.ones(len(p)))
    assert is_sure[surest].all()
    assert is_sure.mean() < 1
    assert confidence[is_sure].min() >= confidence[~is_sure].max()


def test_float_threshold():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    given = np.array([1, 1, 0, -1])
    assert_array_equal(correct(p, given, 0.85), [0, 1, 0, 1])
    assert_array_equal(correct(p, given, 0.75), [0, 1, 1, 1])
    assert_array_equal(correct(p, given, 0.0), [0, 0, 1, 1])
    assert_array_equal(correct(p, given, 1.0), [1, 1, 0, 1])


def test_transition_matrix():
    true = np.repeat([0, 0, 1, 1], 100)
    given = np.repeat([0, 1, 0, 1], 100)
    given[:20] = -1
    weights = np.repeat([1.0, 0.5, 2.0, 1.0], 100)
    found = estimate_transition_matrix(np.eye(2)[true], given, weights)
    assert_allclose(found, [[80 / 130, 50 / 130], [2 / 3, 1 / 3]])
    assert_allclose(found.sum(axis=1), 1)


def test_transitions_of_flat_posteriors_and_of_a_class_never_suggested():
    likely = np.arange(40) % 2
    flat = np.full((40, 20), 1.0) + np.eye(20)[likely]
    flat /= flat.sum(axis=1, keepdims=True)
    found = estimate_transition_matrix(flat, likely, np.ones(40))
    assert_array_equal(found, np.eye(20))
