"""The package's own checks: its stages pass, and those that break a promise fail."""

import tempfile

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from skdygen import DyGenClassifier, Trajectories, priors, testing
from skdygen.base import BaseDenoiser, BaseDynamics, BasePrior
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics

QUICK = {"n_epochs": 2, "batch_size": 8, "precision": "fp32"}
FROZEN = LanguageModelDynamics(trainable_layers=0, hidden_size=8, **QUICK)
# What depends on how weights are trained and recorded; the rest is decided before.
OF_WEIGHTS = [
    testing.check_output, testing.check_a_refit_forgets, testing.check_equal_seeds,
    testing.check_order_of_rows, testing.check_labels_that_are_missing,
    testing.check_storage, testing.check_threads,
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread_for_mkl():
    """Put back what `check_threads` leaves where threadpoolctl does not see it."""
    yield
    torch.set_num_threads(1)


def each(checks):
    """Parametrize by checks; two threads on a busy CPU can take minutes."""
    slow = {testing.check_threads: [pytest.mark.long]}
    params = [pytest.param(c, marks=slow.get(c, []), id=c.__name__) for c in checks]
    return pytest.mark.parametrize("check", params)


@testing.parametrize_with_checks(
    [
        IncrementalDynamics(), TransitionMatrixDenoiser(), DirichletVAE(n_epochs=2),
        *(getattr(priors, name)() for name in priors.__all__),
        DyGenClassifier(IncrementalDynamics(), denoiser=TransitionMatrixDenoiser()),
    ]
)  # fmt: skip
def test_checks(estimator, check):
    check(estimator)


@each(testing._checks_of(FROZEN))
def test_checks_of_a_frozen_model(check, tiny_model):
    check(clone(FROZEN).set_params(model=tiny_model))


@each(OF_WEIGHTS)
def test_checks_of_a_trained_model(check, tiny_model):
    check(LanguageModelDynamics(tiny_model, trainable_layers=1, **QUICK))


def last(trajectories):
    return trajectories.probabilities[:, :, -1].mean(axis=1)


class LastEpochPrior(BasePrior):
    """Believes the network as it was last."""

    def __init__(self, *, missing_label=None):
        self.missing_label = missing_label

    def _fit_prior(self, trajectories, targets):
        return self._prior(trajectories)

    def _prior(self, trajectories):
        return last(trajectories)


class Lengths(BaseDynamics):
    """Knows of each text how long it is, and has no opinion."""

    def __init__(self, *, missing_label=None):
        self.missing_label = missing_label

    def _fit(self, X, targets, *, record):
        self.trajectory_shape_ = (1, 1, 1)
        return self._replay(X)

    def _replay(self, X):
        lengths = np.array([len(text) for text in X]).reshape(-1, 1, 1, 1)
        found = self._predict_proba(X)[:, None, None]
        return Trajectories(lengths, found, self.classes_)

    def _predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


class BelievesThePrior(BaseDenoiser):
    def __init__(self, *, missing_label=None):
        self.missing_label = missing_label

    def _fit(self, trajectories, targets):
        pass

    def _marginal(self, trajectories):
        return trajectories.prior.copy()

    def _conditional(self, trajectories, codes):
        return trajectories.prior.copy()


@pytest.mark.parametrize("stage", [LastEpochPrior(), Lengths(), BelievesThePrior()])
def test_stages_of_ones_own_pass(stage):
    testing.check_estimator(stage)


@pytest.mark.parametrize(
    "final", [LogisticRegression(), LinearSVC()], ids=lambda final: type(final).__name__
)
def test_pipelines_inside_pass(final):
    words = make_pipeline(TfidfVectorizer(), final)
    dynamics = IncrementalDynamics(n_epochs=2, random_state=0)
    clf = DyGenClassifier(dynamics, final_estimator=words, random_state=0)
    testing.check_estimator(clf)


class Remembers(LastEpochPrior):
    def _fit_prior(self, trajectories, targets):
        self._first = getattr(self, "_first", trajectories.n_classes)
        return self._prior(trajectories)

    def _prior(self, trajectories):
        return np.roll(last(trajectories), self._first - trajectories.n_classes, axis=1)


class ChangesItsInput(LastEpochPrior):
    def _prior(self, trajectories):
        trajectories.embeddings[:] = 0
        return last(trajectories)


class ValidatesInFit(LastEpochPrior):
    def __init__(self, *, missing_label=None, n_neighbors=None):
        super().__init__(missing_label=missing_label)
        self.n_neighbors = n_neighbors

    def _fit_prior(self, trajectories, targets):
        self.n_neighbors = self.n_neighbors or 10
        return last(trajectories)


class ValidatesInInit(ValidatesInFit):
    def __init__(self, *, missing_label=None, n_neighbors=None):
        super().__init__(missing_label=missing_label, n_neighbors=n_neighbors or 10)


class Divides(LastEpochPrior):
    """Cannot do without a class."""

    def _fit_prior(self, trajectories, targets):
        counts = np.bincount(targets.codes[targets.labelled], minlength=3)
        with np.errstate(all="ignore"):
            return last(trajectories) * (1 / counts) / (1 / counts).sum()


class LeavesFiles(LastEpochPrior):
    def _fit_prior(self, trajectories, targets):
        tempfile.mkdtemp()
        return last(trajectories)


def broken(**methods):
    return type("Broken", (LastEpochPrior,), methods)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (ValidatesInInit, "parameters"),
        (ValidatesInFit, "parameters"),
        (broken(_prior=lambda self, t: 2 * last(t)), "output"),
        (Remembers, "a_refit_forgets"),
        (broken(_prior=lambda self, t: np.random.rand(len(t), 3)), "equal_seeds"),
        (broken(_prior=lambda self, t: last(t) / np.c_[1 : len(t) + 1]),
         "order_of_rows"),
        (broken(_fit_prior=lambda self, t, targets: np.roll(
            last(t), targets.classes.dtype.kind == "U", axis=1)), "label_types"),
        (broken(_fit_prior=lambda self, t, targets: np.equal.outer(
            targets.codes, range(3)) * 1.0), "labels_that_are_missing"),
        (Divides, "a_class_without_labels"),
        (ChangesItsInput, "inputs_are_left_alone"),
        (LeavesFiles, "files"),
    ],
)  # fmt: skip
def test_a_promise_that_is_broken_is_found(stage, name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    state = np.random.get_state()
    with pytest.raises((AssertionError, ValueError)):
        getattr(testing, f"check_{name}")(stage())
    np.random.set_state(state)
