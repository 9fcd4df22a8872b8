import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skdygen import Trajectories, _memmap
from skdygen._memmap import folder_of_mapped
from skdygen.base import BasePrior
from skdygen.denoisers import DirichletVAE, LogLinearPool
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    RidgePrior,
    TrajectoryKNNPrior,
    UniformPrior,
    _consensus,
)


def test_consensus_is_the_mean_of_its_priors(memorised):
    trajectories, _, given = memorised
    near = TrajectoryKNNPrior(view="initial", leave_one_out=True)
    priors = [("a", ClassifierPrior(view=0)), ("b", near), ("c", UniformPrior())]
    consensus = ConsensusPrior(priors).fit(trajectories, given)
    alone = [prior.fit_transform(trajectories, given).prior for _, prior in priors]
    found = consensus.label_distributions_
    product = np.prod(0.99 * np.stack(alone) + 0.01 / 3, axis=0) ** (1 / 3)
    assert_allclose(found, product / product.sum(axis=1, keepdims=True), rtol=1e-5)
    assert consensus.untouched_distributions_.shape == (240, 3, 3)
    consensus.set_params(b__contamination=0.0).fit(trajectories, given)
    near.set_params(contamination=0.0)
    untouched = near.fit_transform(trajectories, given).prior
    assert_allclose(consensus.untouched_distributions_[:, 0], untouched, rtol=1e-6)
    new = consensus.transform(trajectories[::7])
    expected = near.transform(trajectories[::7]).prior
    assert_allclose(new.opinions[:, 1], expected, rtol=1e-6)
    assert consensus.names_ == ["a", "b", "c"]


def test_what_is_said_of_mapped_trajectories_is_mapped(
    memorised, tmp_path, monkeypatch
):
    trajectories, _, given = memorised
    trajectories.save(tmp_path / "all")
    mapped = Trajectories.load(tmp_path / "all", max_nbytes=0, temp_folder=tmp_path)
    expected = ConsensusPrior().fit_transform(trajectories, given)
    assert folder_of_mapped(expected.opinions) is None
    monkeypatch.setattr(_memmap, "_MOST_ROWS_IN_MEMORY", 10)
    consensus = ConsensusPrior()
    for found in (consensus.fit_transform(mapped, given), consensus.transform(mapped)):
        assert folder_of_mapped(found.opinions) == tmp_path
    assert_array_equal(consensus.label_distributions_, expected.prior)
    # What is fitted goes into files, and to other processes.
    assert folder_of_mapped(consensus.untouched_distributions_) is None


def test_default_finds_what_training_has_hidden(memorised):
    trajectories, true, given = memorised
    overfit = trajectories.probabilities[:, :, -1].mean(axis=1).argmax(axis=1)
    prior = ConsensusPrior().fit_transform(trajectories, given).prior
    found = (prior.argmax(axis=1) == true).mean()
    assert found > (given == true).mean() + 0.1
    assert found > (overfit == true).mean() + 0.05
    assert_allclose(prior.sum(axis=1), 1)
    bare = Trajectories(trajectories.embeddings, trajectories.probabilities)
    prior = ConsensusPrior().fit_transform(bare, given).prior
    assert (prior.argmax(axis=1) == true).mean() > (given == true).mean()


def test_a_trained_encoder_counts_more_by_more_labels(memorised, monkeypatch):
    trajectories, _, given = memorised
    trained = Trajectories._unchecked(**vars(trajectories) | {"fine_tuned": True})
    alike = ConsensusPrior().fit(trained, given)
    assert_allclose(alike.weights_, 1 / 5)
    monkeypatch.setattr(_consensus, "_MANY", len(given) / 3)
    assert_allclose(ConsensusPrior().fit(trajectories, given).weights_, 1 / 5)
    consensus = ConsensusPrior()
    found = consensus.fit_transform(trained, given)
    assert consensus.names_[3:] == ["last-clean", "last-cut"]
    assert_allclose(consensus.weights_, np.array([1, 1, 1, 3, 3]) / 9)
    for said in (found, consensus.transform(trained[::7])):
        assert_array_equal(said.opinion_weights, consensus.weights_)
        log_p = np.log(0.99 * said.opinions + 0.01 / 3)
        pooled = softmax(np.einsum("nvk,v->nk", log_p, consensus.weights_), axis=1)
        assert_allclose(said.prior, pooled, rtol=1e-5)
    assert_allclose(LogLinearPool().fit(found, given).weights_, consensus.weights_)
    monkeypatch.setattr(_consensus, "_MANY", 1)
    assert_allclose(consensus.fit(trained, given).weights_[3:] * 11, 4)


def test_a_large_class_is_not_thinned_out():
    rng = np.random.RandomState(0)
    true = np.repeat([0, 1], [930, 70])
    X = rng.randn(1000, 8) + 1.5 * np.array([[1], [-1]])[true] * np.eye(8)[0]
    given = np.where(rng.rand(1000) < 0.05, 1 - true, true)
    p = np.full((1000, 1, 1, 2), 0.5)
    trajectories = Trajectories(X[:, None, None], p, views={"initial": X})
    consensus = ConsensusPrior().fit(trajectories, given)
    fitted = dict(zip(consensus.names_, consensus.priors_, strict=True))
    alone = RidgePrior("cut", view="initial", contamination=0.5)
    alone.fit(trajectories, given)
    kept, thinned = (
        np.isin(np.flatnonzero(given == 0), prior.clean_indices_).mean()
        for prior in (fitted["initial-cut"], alone)
    )
    assert thinned < 0.5
    assert kept > 0.8
    found = trajectories.classes[consensus.label_distributions_.argmax(axis=1)]
    assert (found == true).mean() > (given == true).mean()


def test_parameters_of_the_default_reach_its_priors(memorised):
    trajectories, _, given = memorised
    consensus = ConsensusPrior(
        criterion="margin", contamination=0.25, max_samples=50
    ).fit(trajectories, given)
    fitted = dict(zip(consensus.names_, consensus.priors_, strict=True))
    assert not any(name.startswith("lexical") for name in fitted)
    assert fitted["initial-clean"].criterion == "margin"
    assert fitted["last-cut"].criterion == "cut"
    assert fitted["initial-all"].contamination_ == 0
    assert fitted["initial-cut"].contamination_ == 0.25
    assert {prior.max_samples for prior in fitted.values()} == {50}
    words = trajectories.with_views({"lexical": trajectories.views["initial"]})
    assert len(ConsensusPrior().fit(words, given).priors_) == 8


class ClassShares(BasePrior):
    """A prior that is not ours, and says the same of all texts."""

    def __init__(self, view="initial", *, share=None, missing_label=None):
        self.view, self.share, self.missing_label = view, share, missing_label

    def _fit_prior(self, trajectories, targets):
        share = 1 / len(targets.classes) if self.share is None else self.share
        self.shares_ = np.full(len(targets.classes), share)
        return self._prior(trajectories)

    def _prior(self, trajectories):
        return np.tile(self.shares_, (len(trajectories), 1))


def test_a_prior_that_is_not_ours(memorised):
    trajectories, _, given = memorised
    consensus = ConsensusPrior([("shares", ClassShares())]).fit(trajectories, given)
    assert_allclose(consensus.label_distributions_, 1 / 3)
    refused = ClassShares(share=0.6)
    with pytest.raises(ValueError, match="no distribution"):
        refused.fit(trajectories, given)
    with pytest.raises(NotFittedError):
        check_is_fitted(refused)


def test_named_priors_have_nested_parameters():
    consensus = ConsensusPrior([("linear", ClassifierPrior()), ("near", None)])
    consensus.set_params(near=TrajectoryKNNPrior(), linear__contamination=0.2)
    assert consensus.get_params()["near__n_neighbors"] == 10
    assert clone(consensus).priors[0][1].contamination == 0.2
    assert "linear" not in consensus.get_params(deep=False)


@pytest.mark.parametrize(
    ("priors", "error", "message"),
    [
        ([], ValueError, "priors is empty"),
        ([ClassifierPrior()], TypeError, r"priors\[0\] must be a \(name, prior\)"),
        ([("a", DirichletVAE())], TypeError, r"priors\[0\].*'a'.*DirichletVAE"),
        ([("a__b", ClassifierPrior())], ValueError, "'a__b'"),
        ([("criterion", ClassifierPrior())], ValueError, "'criterion'"),
        ([("a", ClassifierPrior()), ("a", ClassifierPrior())], ValueError, "unique"),
        ([("a", ClassifierPrior(selection="x"))], ValueError, "'selection'"),
        ([("a", ConsensusPrior())], TypeError, r"priors\[0\].*no ConsensusPrior"),
    ],
)
def test_bad_priors(priors, error, message, memorised):
    trajectories, _, given = memorised
    with pytest.raises(error, match=message):
        ConsensusPrior(priors).fit(trajectories, given)
