"""Rivals with few labels, parts left out, ways to choose labels, and their page."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from benchmarks import rivals, strategies, verified, verified_page
from benchmarks.verified_parts import PARTS, without
from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import IncrementalDynamics


def test_pairs_are_of_like_and_unlike_and_never_of_one_text():
    rows, codes = np.array([7, 3, 5, 9]), np.array([0, 1, 0, 2])
    pairs, alike = rivals.draw_pairs(rows, codes, seed=0)
    of_row = dict(zip(rows, codes, strict=True))
    first, second = np.vectorize(of_row.get)(pairs.T)
    np.testing.assert_array_equal(first == second, alike)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    # Two texts are alone in their class.
    assert (alike.sum(), (~alike).sum()) == (2 * 20, 4 * 20)


def test_contrastive_training_brings_classes_apart(tiny_model, word_texts, monkeypatch):
    texts, labels, _ = word_texts
    monkeypatch.setattr(rivals, "_LEARNING_RATE", 1e-2)
    monkeypatch.setattr(rivals, "_MOST_STEPS", 40)
    rival = rivals.Contrastive(texts, model=tiny_model, trainable_layers=1)
    codes = np.unique(labels, return_inverse=True)[1]
    embedded = rival.embed(np.arange(30), codes[:30], seed=0)
    np.testing.assert_array_equal(rival.embed(np.arange(30), codes[:30], 0), embedded)
    is_alike = codes[30:, None] == codes[30:]
    cosines = cosine_similarity(embedded[30:])
    assert cosines[is_alike].mean() > cosines[~is_alike].mean() + 0.5


@pytest.fixture(scope="module")
def noisy_fit():
    """Give a way to fit a classifier to texts, a fifth of them verified."""
    texts, labels = make_texts(200, random_state=0)
    noisy = make_label_noise(labels, "asymmetric", 0.4, random_state=0)
    clf = DyGenClassifier(IncrementalDynamics(), store_trajectories=True)
    fitted = clf.set_params(random_state=0).fit(texts, noisy)
    again = DyGenClassifier("precomputed", random_state=0)
    verified = dict(enumerate(labels[:40]))
    return lambda: again.fit(fitted.trajectories_, noisy, verified=verified)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_left_out_in_a_block_only(noisy_fit, part):
    expected = noisy_fit().label_distributions_
    with without(part):
        clf = noisy_fit()
    assert np.abs(clf.label_distributions_ - expected).max() > 1e-3
    weights = clf.denoiser_.weights_
    has_equal = np.allclose(weights, 1 / len(weights), atol=3e-3)
    assert has_equal == ("weights" in part or "fitted" in part)
    is_unmoved = np.isclose(clf.denoiser_.given_weight_, 2, atol=0.05)
    assert is_unmoved == any(word in part for word in ("given", "fitted", "all but"))
    np.testing.assert_array_equal(noisy_fit().label_distributions_, expected)


def test_calibration_is_one_number_and_one_for_each_class(noisy_fit):
    with without("default without all but calibration"):
        denoiser = noisy_fit().denoiser_
    assert np.ptp(denoiser.weights_) < 5e-3
    assert np.flatnonzero(np.abs(denoiser._without.coef).max(axis=1)).tolist() == [0]


@pytest.fixture
def doubted():
    """Give 200 texts around two points, of which only the second ones are doubted."""
    rng = np.random.RandomState(0)
    given = np.repeat([0, 1], 100)
    quality = np.where(given, rng.uniform(0.4, 0.6, 200), rng.uniform(0.98, 1, 200))
    distributions = np.column_stack([quality, 1 - quality])
    distributions[given == 1] = distributions[given == 1, ::-1]
    centers = np.where(given, -1, 1)[:, None] * np.array([1.0, 2, 3])
    return SimpleNamespace(
        given=given,
        unverified=SimpleNamespace(
            label_quality_=quality, label_distributions_=distributions
        ),
        embedded={"train": centers + rng.normal(scale=0.5, size=(200, 3))},
    )


def test_strata_of_doubt_are_drawn_more_often_and_evenly(doubted):
    draws = [strategies.stratified(doubted, 20, draw) for draw in range(50)]
    counts = np.bincount(np.concatenate([d["index"] for d in draws]), minlength=200)
    of_doubted = [(d["index"] >= 100).sum() for d in draws]
    assert 15 <= min(of_doubted) <= max(of_doubted) <= min(of_doubted) + 1
    assert all(d["index"].is_unique for d in draws)
    drawn = draws[0].set_index("index")["probability"]
    expected = counts.reshape(2, -1).sum(axis=1) / 50 / 100
    assert drawn[drawn.index >= 100].mean() == pytest.approx(expected[1], rel=0.1)


def test_change_is_expected_among_the_doubted_and_from_unlike_texts(doubted):
    table = strategies.expected_change(doubted, 5, draw=0)
    assert (table["index"] >= 100).all()
    assert table["index"].is_unique
    assert (table["probability"] == 1).all()


def test_methods_are_run_where_draws_differ_and_labels_say_something():
    found = {
        (method, n): verified.n_draws(method, n, 5)
        for method in ("default", "verified alone", "default, uncertain", *PARTS)
        for n in (0, 10, 25)
    }
    assert [found["default", n] for n in (0, 10, 25)] == [1, 5, 5]
    assert [found["verified alone", n] for n in (0, 10, 25)] == [0, 5, 5]
    assert [found["default, uncertain", n] for n in (0, 10, 25)] == [1, 1, 1]
    assert {found[part, n] for part in PARTS for n in (0, 10)} == {0}


def test_what_is_scored_is_about_the_labels_that_a_method_has_drawn(monkeypatch):
    setting = SimpleNamespace(draw=lambda n, draw: np.arange(n))
    monkeypatch.setattr(verified, "score", lambda setting, rows, found: rows.tolist())
    monkeypatch.setitem(verified.METHODS, "told", lambda setting, rows: {})
    own = {"rows": np.array([7, 5])}
    monkeypatch.setitem(verified.METHODS, "draws", lambda setting, rows: own)
    assert verified.run_cell(setting, "told", 2, 0) == [0, 1]
    assert verified.run_cell(setting, "draws", 2, 0) == [7, 5]


def test_page_has_parts_and_curves(tmp_path):
    rows = []
    for method in verified.METHODS:
        for n_verified in (0, 25):
            scores = {
                "given_labels_accuracy": 0.5, "labels_accuracy": 0.5 + n_verified / 500,
                "most_probable_accuracy": 0.6, "test_accuracy": 0.6,
                "test_accuracy_plain": 0.5, "noise_rate_error": 0, "auroc": 1,
                "interval_holds": 1, "interval_width": 1, "refit_seconds": 12,
            }  # fmt: skip
            row = {"setting": "a", "labels": "given", "method": method, "draw": 0}
            row |= {"regime": "frozen", "n_verified": n_verified, "scores": scores}
            rows += [row, row | {"regime": "finetuned"}, row | {"labels": "gold"}]
    ceiling = {"setting": "a", "seed": 0, "method": verified_page.CEILING}
    ceiling["scores"] = {"test_accuracy": 0.9}
    verified_page.write_page(rows, [ceiling], tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    for part in PARTS:
        assert f"| {part} | +5.0, +10.0, +10.0 |" in page
    curves = (tmp_path / "images" / "verified_labels.svg").read_text()
    assert "default, expected change" in curves
