import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skdygen import DyGenClassifier, Trajectories
from skdygen.datasets import make_label_noise, make_texts
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics
from skdygen.priors import ClassifierPrior, ConsensusPrior, TrajectoryKNNPrior


@pytest.fixture
def clusters():
    """Trajectories of three clusters that training draws to the given labels."""
    rng = np.random.RandomState(0)
    true = np.arange(240) % 3
    given = make_label_noise(true, "symmetric", 0.3, random_state=0)
    initial = 2 * np.eye(3, 6)[true] + rng.randn(240, 6)
    memory = np.array([0.2, 0.6, 1.0])[:, None] * 3 * np.eye(3, 6)[given][:, None, None]
    embeddings = initial[:, None, None] + memory + rng.randn(240, 2, 3, 6)
    logits = embeddings[..., :3]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return Trajectories(embeddings, p, initial=initial), true, given


def test_consensus_is_the_mean_of_its_priors(clusters):
    trajectories, _, given = clusters
    priors = [("a", ClassifierPrior(epoch=0)), ("b", TrajectoryKNNPrior())]
    consensus = ConsensusPrior(priors).fit(trajectories, given)
    alone = [prior.fit_transform(trajectories, given).prior for _, prior in priors]
    assert_allclose(consensus.label_distributions_, np.mean(alone, axis=0))
    new = trajectories[::7]
    expected = np.mean([prior.transform(new).prior for _, prior in priors], axis=0)
    assert_allclose(consensus.transform(new).prior, expected)
    assert_allclose(consensus.untouched_distributions_, consensus.label_distributions_)


def test_what_is_said_without_the_training(clusters):
    trajectories, _, given = clusters
    near = TrajectoryKNNPrior(epoch="initial", query="leave-one-out")
    consensus = ConsensusPrior([("before", near), ("after", ClassifierPrior(epoch=1))])
    consensus.fit(trajectories, given)
    expected = near.fit_transform(trajectories, given).prior
    assert_allclose(consensus.untouched_distributions_, expected)


def test_default_finds_what_training_has_hidden(clusters):
    trajectories, true, given = clusters
    memorised = trajectories.probabilities[:, :, -1].mean(axis=1).argmax(axis=1)
    prior = ConsensusPrior().fit_transform(trajectories, given).prior
    found = (prior.argmax(axis=1) == true).mean()
    assert found > (given == true).mean() + 0.1
    assert found > (memorised == true).mean() + 0.05
    assert_allclose(prior.sum(axis=1), 1)


def test_default_without_an_initial_embedding(clusters):
    trajectories, true, given = clusters
    bare = Trajectories(trajectories.embeddings, trajectories.probabilities)
    prior = ConsensusPrior().fit_transform(bare, given).prior
    assert (prior.argmax(axis=1) == true).mean() > (given == true).mean()


def test_parameters_of_the_default_reach_its_priors(clusters):
    trajectories, _, given = clusters
    consensus = ConsensusPrior(criterion="margin", contamination=0.25, n_neighbors=3)
    fitted = consensus.fit(trajectories, given).priors_
    assert {prior.criterion for prior in fitted} == {"margin"}
    assert {prior.contamination_ for prior in fitted} == {0.25}
    assert fitted[-1].n_neighbors == 3


def test_missing_labels_and_absent_classes(clusters):
    trajectories, true, given = clusters
    p = np.concatenate([trajectories.probabilities, np.zeros((240, 2, 3, 1))], axis=3)
    wider = Trajectories(
        trajectories.embeddings, p, ["a", "b", "c", "d"], initial=trajectories.initial
    )
    labels = np.array(["a", "b", "c"], dtype=object)[given]
    labels[::10] = None
    consensus = ConsensusPrior(missing_label=None).set_params(missing_label=np.nan)
    prior = consensus.fit_transform(wider, labels).prior
    assert_allclose(prior[:, 3], 0)
    assert (prior[::10].argmax(axis=1) == true[::10]).mean() > 0.7


def test_named_priors_have_nested_parameters():
    consensus = ConsensusPrior([("linear", ClassifierPrior()), ("near", None)])
    consensus.set_params(near=TrajectoryKNNPrior(), linear__contamination=0.2)
    assert consensus.get_params()["near__n_neighbors"] == 10
    assert clone(consensus).priors[0][1].contamination == 0.2
    assert "linear" not in consensus.get_params(deep=False)


def test_search_over_named_priors():
    texts, labels = make_texts(150, random_state=0)
    dynamics = IncrementalDynamics(n_epochs=2, random_state=0)
    consensus = ConsensusPrior([("one", ClassifierPrior())])
    pipe = Pipeline([("dynamics", dynamics), ("prior", consensus)])
    pipe.steps.append(("denoiser", DirichletVAE(n_epochs=2, random_state=0)))
    search = GridSearchCV(
        pipe, {"prior__one": [ClassifierPrior(), TrajectoryKNNPrior()]}, cv=2
    )
    assert len(search.fit(texts, labels).cv_results_["params"]) == 2


@pytest.mark.parametrize(
    ("priors", "error", "message"),
    [
        ([], ValueError, "priors is empty"),
        ([ClassifierPrior()], TypeError, r"priors\[0\] must be a \(name, prior\)"),
        ([("a", DirichletVAE())], TypeError, r"priors\[0\].*'a'.*DirichletVAE"),
        ([("a__b", ClassifierPrior())], ValueError, "'a__b'"),
        ([("criterion", ClassifierPrior())], ValueError, "'criterion'"),
        ([("a", ClassifierPrior()), ("a", ClassifierPrior())], ValueError, "different"),
        ([("a", ClassifierPrior(selection="x"))], ValueError, "'selection'"),
    ],
)
def test_bad_priors_are_refused_before_training(priors, error, message, word_texts):
    texts, _, noisy = word_texts
    clf = DyGenClassifier(dynamics=IncrementalDynamics(), prior=ConsensusPrior(priors))
    with pytest.raises(error, match=message):
        clf.fit(texts, noisy)
    assert not hasattr(clf, "pipeline_")


def test_classifier_of_ones_own(clusters):
    trajectories, _, given = clusters
    prior = ClassifierPrior(DummyClassifier(strategy="prior"), selection="class")
    found = prior.fit_transform(trajectories, given).prior
    shares = np.bincount(prior.clean_codes_) / len(prior.clean_codes_)
    assert_allclose(found, np.tile(shares, (240, 1)))


def test_one_class_left_among_the_clean(clusters):
    trajectories, _, _ = clusters
    likely = trajectories.probabilities[..., 1].mean(axis=(1, 2))
    given = np.zeros(240, dtype=int)
    given[likely.argsort()[:2]] = 1  # the least plausible go first
    prior = ClassifierPrior(criterion="margin", contamination=0.9).fit(
        trajectories, given
    )
    assert prior.estimator_ is None
    assert_allclose(prior.transform(trajectories).prior[:, 0], 1)


def test_where_the_classifier_reads(clusters):
    trajectories, _, given = clusters
    moved = Trajectories(
        trajectories.embeddings,
        trajectories.probabilities,
        initial=trajectories.initial[::-1],
    )
    for epoch, same in [("initial", False), (0, True), (-1, True)]:
        prior = ClassifierPrior(epoch=epoch, criterion="margin").fit(
            trajectories, given
        )
        found = prior.transform(moved).prior
        assert np.allclose(found, prior.transform(trajectories).prior) is same
    with pytest.raises(
        ValueError, match="epoch=3 of a prior is not among the 3 epochs"
    ):
        ClassifierPrior(epoch=3).fit(trajectories, given)


def test_a_class_without_clean_texts(clusters):
    """Classifiers are given codes without gaps, which some of them insist on."""

    class Insists(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            assert set(y) == set(range(y.max() + 1))
            return super().fit(X, y, sample_weight)

    trajectories, _, given = clusters
    gone = given == 1
    # The more certain the others are, the less clean these are.
    probabilities = np.zeros_like(trajectories.probabilities)
    probabilities[np.arange(len(given)), :, :, given] = 1
    probabilities[gone] = [0.5, 0, 0.5]
    trajectories = Trajectories(trajectories.embeddings, probabilities)
    prior = ClassifierPrior(Insists(max_iter=1000), criterion="margin", epoch=-1)
    found = prior.fit_transform(trajectories, given).prior
    assert set(prior.clean_codes_) == {0, 2}
    assert (found[:, 1] == 0).all()
    assert_allclose(found.sum(axis=1), 1)
    expected = LogisticRegression(max_iter=1000).fit(
        prior._space(trajectories, prior.clean_indices_), prior.clean_codes_
    )
    space = prior._space(trajectories, slice(None))
    assert_allclose(found[:, [0, 2]], expected.predict_proba(space), atol=1e-6)
