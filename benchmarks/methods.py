"""The methods that are compared: rivals, ours, and ours with one part changed."""

import dataclasses
import time

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdygen import DyGenClassifier, Trajectories, make_paper_classifier
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._engine import recorded_epochs
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    TrajectoryKNNPrior,
    UniformPrior,
)

from .rivals import ApproximateVAE, fit_cleanlab, fit_co_teaching
from .task import PLAIN, TRAINED_LAYERS

SCORED = ("development", "test")
_N_VERIFIED = 50


@dataclasses.dataclass
class Outcome:
    """What a method gives; None where it has nothing to say.

    `predicted` holds class probabilities of the scored splits; the rest is about the
    training texts, `suspicion` being larger for labels that look wrong.
    """

    classes: np.ndarray
    predicted: dict
    seconds: float
    suspicion: np.ndarray = None
    labels: np.ndarray = None
    distributions: np.ndarray = None
    noise_rate: float = None
    transition: np.ndarray = None


# Each takes a Task and gives an Outcome.


def plain(task):
    """Plain fine-tuning, last epoch."""
    fit = task.plain()
    return Outcome(fit.classes, fit.predicted, fit.seconds, _distrust(task, fit.train))


def plain_noisy_validation(task):
    """Plain fine-tuning, stopped where noisy validation labels are predicted best."""
    valid = task.splits["valid"]
    codes = np.searchsorted(task.classes, valid.given)
    fit = task.plain()
    by_epoch = {part: r.probabilities[:, 0] for part, r in fit.replayed.items()}
    is_hit = by_epoch["valid"].argmax(axis=2) == codes[:, None]
    best = is_hit.mean(axis=0).argmax()
    return Outcome(fit.classes, {"test": by_epoch["test"][:, best]}, fit.seconds)


def coreg(task):
    """Co-regularised branches (Zhou and Chen, 2021), last epoch."""
    fit = task.stage_one()
    return Outcome(fit.classes, fit.predicted, fit.seconds, _distrust(task, fit.train))


def co_teaching(task):
    """Co-teaching (Han et al., 2018), told the rate that cleanlab estimates."""
    fit = fit_co_teaching(task)
    return Outcome(fit.classes, fit.predicted, fit.seconds)


def cleanlab(task):
    """Fit on what cleanlab's CleanLearning leaves."""
    fit, issues = fit_cleanlab(task)
    flagged = issues["is_label_issue"].to_numpy()
    return Outcome(
        fit.classes,
        fit.predicted,
        fit.seconds,
        suspicion=-issues["label_quality"].to_numpy(),
        labels=np.where(
            flagged, fit.classes[issues["predicted_label"]], task.train.given
        ),
        noise_rate=flagged.mean(),
    )


def npc(task):
    """NPC (Bae et al., 2022): frozen features, neighbours of all texts, the VAE."""
    return _stages(
        task,
        DyGenClassifier(
            prior=TrajectoryKNNPrior(contamination=0.0, leave_one_out=True),
            denoiser=DirichletVAE(
                learning_rate=1e-3, prior_strength=5.0, prior_weight=0.0
            ),
            correction_threshold=0.0,
        ),
        view=_initial_only,
    )


def transition_matrix(task):
    """One transition matrix for all texts, from confident ones."""
    return _stages(
        task,
        DyGenClassifier(
            prior=UniformPrior(),
            denoiser=TransitionMatrixDenoiser(),
            correction_threshold=0.0,
        ),
    )


def tfidf(task, labels="given"):
    """TF-IDF with logistic regression."""
    start = time.perf_counter()
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2),
        LogisticRegression(C=5.0, max_iter=1000),
    ).fit(task.train.texts, task.labels(labels))
    seconds = time.perf_counter() - start
    return Outcome(
        model.classes_,
        {part: model.predict_proba(task.splits[part].texts) for part in SCORED},
        seconds,
    )


def linear(task):
    """Logistic regression on the frozen embeddings."""
    start = time.perf_counter()
    model = _make_linear().fit(task.frozen("train"), task.train.given)
    seconds = time.perf_counter() - start
    predicted = {part: model.predict_proba(task.frozen(part)) for part in SCORED}
    return Outcome(model.classes_, predicted, seconds)


def paper(task):
    """Stages 2 and 3 of the paper, noise rate estimated."""
    return _stages(task, make_paper_classifier())


def paper_oracle(task):
    """Stages 2 and 3 of the paper, told the true noise rate."""
    rate = (task.train.given != task.train.gold).mean()
    return _stages(task, make_paper_classifier(contamination=float(rate)))


def default(task):
    """Ours."""
    return _ablation(fit=_as_default(task))(task)


def gold(task):
    """Plain fine-tuning on the right labels: the ceiling."""
    fit = task.fit(labels="gold", **PLAIN)
    return Outcome(fit.classes, fit.predicted, fit.seconds)


def default_on_gold(task):
    """Ours, on the right labels: what its ceiling is."""
    return _ablation(fit={"labels": "gold"})(task)


def tfidf_on_gold(task):
    """TF-IDF with logistic regression, on the right labels."""
    return tfidf(task, "gold")


def verified(task):
    """Ours, told fifty right labels, drawn at random."""
    rows = task.draw(_N_VERIFIED)
    known = dict(zip(rows.tolist(), task.train.gold[rows], strict=True))
    return _stages(task, DyGenClassifier(), verified=known, **_as_default(task))


def _as_default(task):
    """What our first stage records: as the others' does, if no layer is trained."""
    if task.settings["dynamics"]["trainable_layers"] == 0:
        return {}
    return {"recording": "auto", "n_recorded_epochs": "auto", "replay": SCORED}


METHODS = {
    "plain": plain,
    "plain, noisy validation": plain_noisy_validation,
    "coreg": coreg,
    "co-teaching": co_teaching,
    "cleanlab": cleanlab,
    "NPC": npc,
    "transition matrix": transition_matrix,
    "tf-idf": tfidf,
    "frozen linear": linear,
    "dygen-paper": paper,
    "dygen-paper, true rate (oracle)": paper_oracle,
    "default": default,
    "gold labels (ceiling)": gold,
}


# What somebody has to look for.
CHECKED = {f"default, {_N_VERIFIED} verified": verified}
# What right labels would give to others than plain training.
CEILINGS = {
    "default on gold labels": default_on_gold,
    "tf-idf on gold labels": tfidf_on_gold,
}


def _make_linear():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))


DEFAULT_PRIORS = dict(ConsensusPrior()._default_priors({"initial", "lexical"}))


def _consensus(keep):
    """Take those of the default priors whose names are to be kept."""
    return ConsensusPrior([item for item in DEFAULT_PRIORS.items() if keep(item[0])])


def _without(part):
    return _ablation(prior=_consensus(lambda name: part not in name))


def _neighbors():
    """Priors of neighbours among the cleaner half of each class, with their names."""
    near = {"selection": "class", "voting": "soft", "leave_one_out": True}
    near = {"contamination": 0.5} | near
    views = {"initial": "initial", "lexical": "lexical", "last": -1}
    return [
        (f"{name}-neighbors", TrajectoryKNNPrior(view=view, **near))
        for name, view in views.items()
    ]


def _four_priors():
    """The consensus before there were views: logistic regression, and neighbours."""
    return ConsensusPrior(
        [
            *(
                (f"{view}-linear", ClassifierPrior(view=view))
                for view in ("initial", -1)
            ),
            *(named for named in _neighbors() if "lexical" not in named[0]),
        ]
    )


def _ablation(*, view=None, fit=None, **params):
    return lambda task: _stages(
        task, DyGenClassifier().set_params(**params), view=view, **(fit or {})
    )


def _prior_alone(task):
    """Predict with the second stage."""
    fit = task.stage_one()
    start = time.perf_counter()
    prior = ConsensusPrior().fit(fit.train, task.train.given)
    seconds = fit.seconds + time.perf_counter() - start
    predicted = {part: prior.transform(fit.replayed[part]).prior for part in SCORED}
    found = prior.label_distributions_
    return Outcome(
        fit.classes, predicted, seconds, _low_quality(task, found), distributions=found
    )


def _refit(task):
    """Fit logistic regression on the frozen embeddings with the corrected labels."""
    outcome = _ablation()(task)
    labels = outcome.distributions.argmax(axis=1)
    model = _make_linear().fit(task.frozen("train"), labels)
    predicted = {}
    for part in SCORED:
        predicted[part] = np.zeros((len(task.splits[part]), len(outcome.classes)))
        found = model.predict_proba(task.frozen(part))
        predicted[part][:, model.classes_] = found
    return dataclasses.replace(outcome, predicted=predicted)


def _second_round(task):
    """Run stages 2 and 3 again on the most probable labels of the first time."""
    fit = task.stage_one()
    start = time.perf_counter()
    classifier = DyGenClassifier(dynamics="precomputed", random_state=task.seed)
    classifier.fit(fit.train, task.train.given)
    likely = classifier.classes_[classifier.label_distributions_.argmax(axis=1)]
    classifier.fit(fit.train, likely)
    seconds = fit.seconds + time.perf_counter() - start
    found = classifier.label_distributions_
    return Outcome(
        classifier.classes_,
        {part: classifier.predict_proba(fit.replayed[part]) for part in SCORED},
        seconds,
        _low_quality(task, found),
        distributions=found,
    )


def _only_epochs(choose):
    """Keep the epochs that `choose` gives for a number of epochs."""

    def view(trajectories):
        epochs = choose(trajectories.n_epochs)
        return Trajectories(
            trajectories.embeddings[:, :, epochs],
            trajectories.probabilities[:, :, epochs],
            trajectories.classes,
            views=trajectories.views,
            groups=trajectories.groups,
        )

    return view


def _as_recorded(**params):
    """Keep the epochs that `LanguageModelDynamics` with these parameters records."""
    return _only_epochs(
        lambda n_epochs: recorded_epochs(
            LanguageModelDynamics(n_epochs=n_epochs, **params)
        )
    )


def _without_views(trajectories):
    """Leave what training has not touched to be read from the first epoch."""
    return Trajectories(
        trajectories.embeddings,
        trajectories.probabilities,
        trajectories.classes,
        groups=trajectories.groups,
    )


def _initial_only(trajectories):
    return Trajectories(
        trajectories.views["initial"][:, None, None],
        trajectories.probabilities[:, :, -1:].mean(axis=1, keepdims=True),
        trajectories.classes,
        groups=trajectories.groups,
    )


# Ours with every epoch recorded, and one part changed.
ABLATIONS = {
    "first epoch only": _ablation(view=_only_epochs(lambda n_epochs: [0])),
    "last epoch only": _ablation(view=_as_recorded(n_recorded_epochs=1)),
    "stage 1 not co-regularised": _ablation(fit={"coregularization": 0.0}),
    "one branch": _ablation(fit={"n_branches": 1}),
    "three branches": _ablation(fit={"n_branches": 3}),
    "half the epochs": _ablation(fit={"n_epochs": 5}),
    "twice the epochs": _ablation(fit={"n_epochs": 20}),
    "uniform prior": _ablation(prior=UniformPrior()),
    "score: paper": _ablation(prior__criterion="paper"),
    "score: margin": _ablation(prior__criterion="margin"),
    "contamination: estimated": _ablation(prior__contamination="auto"),
    "contamination: 0.3": _ablation(prior__contamination=0.3),
    "contamination: 0.7": _ablation(prior__contamination=0.7),
    **{
        f"{name} alone": _ablation(prior=_consensus(lambda n, name=name: n == name))
        for name in DEFAULT_PRIORS
    },
    "without views": _ablation(view=_without_views),
    "without the initial embedding": _without("initial"),
    "without the lexical view": _without("lexical"),
    "without the last embedding": _without("last"),
    "without the cut statistic": _without("cut"),
    "without priors of all labels": _without("-all"),
    "without priors of clean labels": _without("-clean"),
    "with neighbours": _ablation(
        prior=ConsensusPrior([*DEFAULT_PRIORS.items(), *_neighbors()])
    ),
    "given weight: 1": _ablation(denoiser__given_weight=1.0),
    "given weight: 3": _ablation(denoiser__given_weight=3.0),
    "four priors, generative denoiser": _ablation(
        prior=_four_priors(), denoiser=DirichletVAE()
    ),
    "generative denoiser": _ablation(denoiser=DirichletVAE()),
    "generative denoiser without prior": _ablation(
        denoiser=DirichletVAE(prior_weight=0.0)
    ),
    "approximate Dirichlet sample": _ablation(denoiser=ApproximateVAE()),
    "prior without denoiser": _prior_alone,
    "refit instead of denoiser": _refit,
    "second round on corrected labels": _second_round,
}


# What is recorded of the training, and when; what ablations change is the first.
REFERENCE = "every epoch"
RECORDINGS = {
    REFERENCE: _ablation(),
    "three of the epochs": _ablation(view=_as_recorded(n_recorded_epochs=3)),
    "two of the epochs": _ablation(view=_as_recorded(n_recorded_epochs=2)),
    "last of the epochs": _ablation(view=_as_recorded(n_recorded_epochs=1)),
    "every epoch, while training": _ablation(fit={"recording": "training"}),
    "two of the epochs, while training": _ablation(
        view=_as_recorded(n_recorded_epochs=2), fit={"recording": "training"}
    ),
    "two of the epochs, the last by a pass": _ablation(
        view=_as_recorded(n_recorded_epochs=2), fit={"recording": "mixed"}
    ),
}


def _plain_layers(n_layers):
    def method(task):
        fit = task.fit(trainable_layers=n_layers, **PLAIN)
        return Outcome(fit.classes, fit.predicted, fit.seconds)

    return method


def _default_layers(n_layers):
    params = {"trainable_layers": n_layers}
    return _ablation(view=_as_recorded(**params), fit=params)


# How much of the model is trained, recorded by passes; three layers is the regime's.
LAYERS = {
    f"{name}, {n_layers} layers": method
    for n_layers in TRAINED_LAYERS
    for name, method in (
        ("plain", _plain_layers(n_layers)),
        ("default", _default_layers(n_layers)),
    )
}


def _stages(task, classifier, *, view=None, verified=None, **params):
    """Fit the second and third stage on the shared first one."""
    fit = task.stage_one(**params)
    trajectories, replayed = fit.train, fit.replayed
    if view is not None:
        trajectories = view(trajectories)
        replayed = {part: view(replayed[part]) for part in SCORED}
    classifier.set_params(dynamics="precomputed", random_state=task.seed)
    start = time.perf_counter()
    labels = task.labels(params.get("labels", "given"))
    classifier.fit(trajectories, labels, verified=verified)
    seconds = fit.seconds + time.perf_counter() - start
    return Outcome(
        classifier.classes_,
        {part: classifier.predict_proba(replayed[part]) for part in SCORED},
        seconds,
        suspicion=_low_quality(task, classifier.label_distributions_),
        labels=classifier.transduction_,
        distributions=classifier.label_distributions_,
        noise_rate=getattr(classifier.prior_, "contamination_", classifier.noise_rate_),
        transition=classifier.noise_transition_matrix_,
    )


def _low_quality(task, distributions):
    """How improbable the given labels are."""
    codes = np.searchsorted(task.classes, task.train.given)
    return 1 - distributions[np.arange(len(codes)), codes]


def _distrust(task, trajectories):
    """How improbable the model finds the given labels in the end."""
    return _low_quality(task, trajectories.probabilities[:, :, -1].mean(axis=1))
