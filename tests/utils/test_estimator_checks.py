"""The package's own checks: its stages pass, and those that break a promise fail."""

import numpy as np
import pytest

from skdygen import DyGenClassifier
from skdygen.base import BaseDenoiser, BaseDynamics, BasePrior
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    TrajectoryKNNPrior,
    UniformPrior,
)
from skdygen.utils.estimator_checks import (
    check_estimator,
    estimator_checks_generator,
    parametrize_with_checks,
)

QUICK = {"n_epochs": 2, "batch_size": 8, "precision": "fp32"}


@parametrize_with_checks(
    [
        IncrementalDynamics(),
        DyGenClassifier(IncrementalDynamics(), denoiser=DirichletVAE(n_epochs=3)),
        UniformPrior(),
        TrajectoryKNNPrior(),
        ClassifierPrior(),
        ConsensusPrior(),
        TransitionMatrixDenoiser(),
        DirichletVAE(n_epochs=3),
    ]
)
def test_checks(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        LanguageModelDynamics("tiny", **QUICK),
        LanguageModelDynamics("tiny", trainable_layers=0, hidden_size=8, **QUICK),
        DyGenClassifier(
            LanguageModelDynamics("tiny", trainable_layers=1, **QUICK),
            denoiser=DirichletVAE(n_epochs=3),
        ),
    ]
)
def test_checks_of_language_models(estimator, check, tiny_model):
    is_stage = isinstance(estimator, LanguageModelDynamics)
    estimator.set_params(**{"model" if is_stage else "dynamics__model": tiny_model})
    check(estimator)


class LastEpochPrior(BasePrior):
    """The worked example of the guide."""

    def __init__(self, *, missing_label=None):
        self.missing_label = missing_label

    def _fit_prior(self, trajectories, codes, weights):
        self.is_fitted_ = True
        return self._prior(trajectories)

    def _prior(self, trajectories):
        return trajectories.probabilities[:, :, -1].mean(axis=1)


def test_a_stage_of_ones_own_passes():
    check_estimator(LastEpochPrior())


class Counts(LastEpochPrior):
    """Says what it likes of a text by its place."""

    def _prior(self, trajectories):
        prior = super()._prior(trajectories)
        prior[0] = 1 / prior.shape[1]
        return prior


class Unnormalised(LastEpochPrior):
    def _prior(self, trajectories):
        return 2 * super()._prior(trajectories)


class Remembers(LastEpochPrior):
    def _fit_prior(self, trajectories, codes, weights):
        self._first = getattr(self, "_first", trajectories.probabilities.shape[3])
        return super()._fit_prior(trajectories, codes, weights)

    def _prior(self, trajectories):
        prior = super()._prior(trajectories)
        return prior if self._first == prior.shape[1] else np.roll(prior, 1, axis=1)


class Draws(LastEpochPrior):
    def _prior(self, trajectories):
        shape = len(trajectories), trajectories.n_classes
        return np.random.dirichlet(np.ones(shape[1]), size=shape[0])


class ChangesItsInput(LastEpochPrior):
    def _prior(self, trajectories):
        trajectories.embeddings[:] = 0
        return super()._prior(trajectories)


class ValidatesInInit(LastEpochPrior):
    def __init__(self, *, missing_label=None, n_neighbors=None):
        super().__init__(missing_label=missing_label)
        self.n_neighbors = n_neighbors or 10


class BelievesLabels(LastEpochPrior):
    """Has nothing to say where there is none."""

    def _fit_prior(self, trajectories, codes, weights):
        self.is_fitted_ = True
        return (codes[:, None] == np.arange(trajectories.n_classes)).astype(float)


class Divides(LastEpochPrior):
    """Cannot do without a class."""

    def _fit_prior(self, trajectories, codes, weights):
        counts = np.bincount(codes[codes >= 0], minlength=trajectories.n_classes)
        with np.errstate(all="ignore"):
            self.shares_ = 1 / counts / (1 / counts).sum()
        return self._prior(trajectories)

    def _prior(self, trajectories):
        return np.tile(self.shares_, (len(trajectories), 1))


class LeavesFiles(LastEpochPrior):
    def _fit_prior(self, trajectories, codes, weights):
        import tempfile

        tempfile.mkdtemp()
        return super()._fit_prior(trajectories, codes, weights)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (Counts, "order_of_rows"),
        (Unnormalised, "output"),
        (Remembers, "a_refit_forgets"),
        (Draws, "equal_seeds"),
        (ChangesItsInput, "inputs_are_left_alone"),
        (ValidatesInInit, "parameters"),
        (BelievesLabels, "labels_that_are_missing"),
        (Divides, "a_class_without_labels"),
        (LeavesFiles, "files"),
    ],
)
def test_a_promise_that_is_broken_is_found(stage, name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    checks = {check.__name__: check for _, check in estimator_checks_generator(stage())}
    state = np.random.get_state()
    try:
        with pytest.raises((AssertionError, ValueError)):
            checks[f"check_{name}"](stage())
    finally:
        np.random.set_state(state)


class OneHot(BaseDynamics):
    """Says of each text what its words are, by their length."""

    def __init__(self, *, missing_label=None):
        self.missing_label = missing_label

    def _fit(self, X, codes, weights, *, record):
        shares = np.bincount(codes[codes >= 0], minlength=len(self.classes_))
        self.shares_ = shares / shares.sum()
        self.trajectory_shape_ = (1, 1, 3)
        return self._replay(X) if record else None

    def _replay(self, X):
        from skdygen import Trajectories

        lengths = np.array([[len(text), text.count(" "), 1.0] for text in X])
        probabilities = self._predict_proba(X)
        return Trajectories(
            lengths[:, None, None], probabilities[:, None, None], self.classes_
        )

    def _predict_proba(self, X):
        return np.tile(self.shares_, (len(X), 1))


class BelievesThePrior(BaseDenoiser):
    def __init__(self, *, missing_label=None):
        self.missing_label = missing_label

    def _fit(self, trajectories, codes, weights):
        pass

    def _marginal(self, trajectories):
        return trajectories.prior.copy()

    def _conditional(self, trajectories, codes):
        return trajectories.prior.copy()


@pytest.mark.parametrize("stage", [OneHot(), BelievesThePrior()])
def test_other_kinds_of_stages_pass_too(stage):
    check_estimator(stage)
