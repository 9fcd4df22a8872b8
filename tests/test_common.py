"""scikit-learn's own checks, each of them, on every estimator of the package.

Estimators that read texts or trajectories do so through subclasses that are for tests
only: numbers are rendered to texts, or turned into trajectories. Of language models
that are trained, weights and recording are checked only: the rest is that of a frozen
one.
"""

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

from skdygen import DyGenClassifier, DyGenCorrector, denoisers, dynamics, priors
from skdygen.base import BaseDenoiser, BasePrior
from skdygen.denoisers import DirichletVAE, LogLinearPool, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    RidgePrior,
    TrajectoryKNNPrior,
    UniformPrior,
)
from tests.conftest import save_tiny_model

# A number becomes a word for each step of this ladder that it is above; the ladder
# does not depend on any data.
LADDER = np.linspace(-2, 2, 5)
RUNGS = [f"x{column}s{step}" for column in range(20) for step in range(len(LADDER))]
OF_WEIGHTS = (
    "check_sample_weight", "check_transformer", "check_fit_idempotent", "check_methods",
)  # fmt: skip
# Large numbers are above the whole ladder: some checks have the same text everywhere.
pytestmark = pytest.mark.filterwarnings("ignore:all .* texts are alike")
# The model is in the working directory.
TINY = {
    "model": "model", "n_epochs": 6, "batch_size": 16, "learning_rate": 5e-3,
    "head_learning_rate": 1e-2, "precision": "fp32", "random_state": 0,
}  # fmt: skip


def test_every_stage_says_that_it_needs_labels():
    every = [
        getattr(m, name) for m in (dynamics, priors, denoisers) for name in m.__all__
    ]
    assert len(every) > 10
    for cls in (DyGenClassifier, DyGenCorrector, *every):
        needs_labels = cls is not dynamics.LexicalView
        assert get_tags(cls()).target_tags.required == needs_labels, cls


@pytest.fixture(autouse=True)
def leaves_global_state_alone():
    """Replace the fixture that compares: scikit-learn's checks draw from numpy's."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)


def render(X):
    """Turn rows of numbers into texts by a fixed rule."""
    return [
        " ".join(
            f"x{column}s{step}"
            for column, value in enumerate(row)
            for step in np.flatnonzero(value > LADDER)
        )
        for row in X
    ]


def to_trajectories(X, y, sample_weight):
    """Turn numbers into trajectories with a prior; give them and how it is done."""
    # Of a kind whose fit depends on nothing but sums over the samples.
    dynamics = IncrementalDynamics(
        GaussianNB(), vectorizer="passthrough", n_epochs=1, random_state=0
    )
    stages = make_pipeline(dynamics, ClassifierPrior(contamination=0.0))
    names = [f"{name}__sample_weight" for name in stages.named_steps]
    found = stages.fit_transform(X, y, **dict.fromkeys(names, sample_weight))
    return found, stages.transform


class ReadsNumbers:
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = False
        tags.input_tags.two_d_array = True
        return tags


class NumberClassifier(ReadsNumbers, DyGenClassifier):
    def fit(self, X, y, sample_weight=None):
        super().fit(render(validate_data(self, X)), y, sample_weight)
        validate_data(self, X)  # a fit forgets what was known before
        return self

    def predict(self, X):
        return super().predict(render(validate_data(self, X, reset=False)))

    def predict_proba(self, X):
        return super().predict_proba(render(validate_data(self, X, reset=False)))


class NumberStage(ReadsNumbers):
    def _check_fit(self, X, y, sample_weight, verified=None):
        numbers = validate_data(self, X)
        self._seen = {
            name: v for name, v in vars(self).items() if name.endswith("_in_")
        }
        read, self._read = render(numbers), render
        if isinstance(self, (BasePrior, BaseDenoiser)):
            read, self._read = to_trajectories(numbers, y, sample_weight)
        return super()._check_fit(read, y, sample_weight)

    def _fit_targets(self, X, targets, **options):
        found = super()._fit_targets(X, targets, **options)
        vars(self).update(self._seen)  # which a fit forgets
        return found

    def _check_seen(self, X):
        return super()._check_seen(self._read(validate_data(self, X, reset=False)))

    def _give(self, trajectories):
        is_prior = isinstance(self, BasePrior)
        return trajectories.prior if is_prior else super()._give(trajectories)


def stage(cls):
    """Make a subclass that reads numbers, where pickle finds it."""
    name = f"Number{cls.__name__}"
    globals()[name] = type(name, (NumberStage, cls), {"__module__": __name__})
    return globals()[name]


NumberModel = stage(LanguageModelDynamics)


def expected_failures(estimator):
    """Give the checks that an estimator fails by design, with the reasons."""
    failures = {}
    if getattr(estimator, "recording", None) == "auto" and estimator.trainable_layers:
        reason = (
            "of the epochs before the last, fit_transform gives what was seen while "
            "the model was trained, transform a replay"
        )
        failures["check_transformer_general"] = reason
        failures["check_transformer_data_not_an_array"] = reason
    if isinstance(getattr(estimator, "dynamics", None), LanguageModelDynamics):
        failures["check_methods_subset_invariance"] = (
            "embeddings are rounded to half precision, and a text alone is computed "
            "in another shape than among others: their last bits differ"
        )
    if not isinstance(
        estimator, (UniformPrior, TransitionMatrixDenoiser)
    ):  # weighted exactly
        reason = (
            "trained in steps, or by counting neighbours: a sample that is there twice "
            "takes two places, one of weight two takes one"
        )
        if isinstance(estimator, ClassifierPrior):
            reason = "equal to within the single precision of the embeddings"
        failures["check_sample_weight_equivalence_on_dense_data"] = reason
        failures["check_sample_weight_equivalence_on_sparse_data"] = reason
    return failures


def checks_of(estimators, names=("check_",)):
    """Parametrize by those of scikit-learn's checks whose names begin like that."""
    every = parametrize_with_checks(
        estimators, expected_failed_checks=expected_failures
    )
    chosen = [
        param
        for param in every.args[1]
        if getattr(param, "values", param)[1].func.__name__.startswith(names)
    ]
    return pytest.mark.parametrize(every.args[0], chosen, **every.kwargs)


@checks_of(
    [
        IncrementalDynamics(vectorizer="passthrough", random_state=0),
        stage(IncrementalDynamics)(random_state=0),
        NumberClassifier(IncrementalDynamics(), None, DirichletVAE(n_epochs=10)),
        stage(UniformPrior)(),
        stage(TrajectoryKNNPrior)(),
        stage(ClassifierPrior)(),
        stage(ConsensusPrior)(),
        stage(RidgePrior)(),
        stage(LogLinearPool)(),
        stage(TransitionMatrixDenoiser)(),
        stage(DirichletVAE)(n_epochs=10, random_state=0),
    ]
)
def test_without_language_model(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def folder_of_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rungs")
    save_tiny_model(folder, words=RUNGS, n_layers=1)
    return folder


@checks_of([NumberModel(**(TINY | {"trainable_layers": 0, "n_epochs": 10}))])
def test_with_frozen_model(estimator, check, folder_of_model, monkeypatch):
    monkeypatch.chdir(folder_of_model)
    check(estimator)


@checks_of(
    [
        NumberModel(**TINY),
        NumberModel(**TINY, recording="evaluation"),
        NumberClassifier(
            LanguageModelDynamics(**TINY), None, DirichletVAE(n_epochs=10)
        ),
    ],
    names=OF_WEIGHTS,
)
def test_with_trained_model(estimator, check, folder_of_model, monkeypatch):
    monkeypatch.chdir(folder_of_model)
    check(estimator)
