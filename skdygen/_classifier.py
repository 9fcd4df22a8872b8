"""The classifier: targets, three stages, decisions, and a final estimator."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from contextlib import suppress
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from . import denoisers, dynamics, priors
from ._annotators import overlaps
from ._cache import from_cache
from ._checked import by_position, check_same_texts, is_several
from ._decisions import (
    are_alike,
    correct_labels,
    estimate_noise_rate,
    estimate_transition_matrix,
    judge_labels,
)
from ._encoding import check_order, find_index, find_texts, fingerprint, name_codes
from ._label_review import LabelReviewMixin
from ._pool import spread
from ._progress import fit_task, task
from ._sklearn_compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    num_samples,
)
from ._storage import StorageMixin
from ._trajectories import check_trajectories
from ._weights import LARGEST, fit_weighted
from .base import (
    BaseDenoiser,
    BaseDynamics,
    BasePrior,
    BaseStage,
    ScoresMixin,
    TextInputMixin,
    fitting,
    targets_for,
    with_rows_of_1,
)
from .priors._clean_set import BaseCleanSetPrior

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Self

logger = logging.getLogger(__name__)

_MOST_ROUNDS, _FEW_CHANGES = 20, 0.005  # of what votes and texts say in turn

# What makes a stage that is not given: torch is loaded when one needs it.
_DEFAULTS = {
    "dynamics": lambda: dynamics.LanguageModelDynamics(),
    "prior": lambda: priors.ConsensusPrior(),
    "denoiser": lambda: denoisers.LogLinearPool(),
}
_NAMED = {  # first stages that have a name
    "finetuned": _DEFAULTS["dynamics"],
    "frozen": lambda: dynamics.LanguageModelDynamics(trainable_layers=0),
}


def _make_stage(name, stage):
    """Make a stage that is the default or has a name; give any other as it is."""
    make = _DEFAULTS[name] if stage is None else lambda: stage
    if isinstance(stage, str):
        make = _NAMED.get(stage, make)
    return make()


def _parts(estimator):
    """Give an estimator and, if it is a pipeline, its steps."""
    steps = estimator.steps if isinstance(estimator, Pipeline) else []
    return [estimator, *(step for _, step in steps)]


def _final_estimator_has_predict_proba(classifier):
    """Tell whether there are probabilities, once fitted or before."""
    final = getattr(classifier, "final_estimator_", classifier.final_estimator)
    return final is None or hasattr(final, "predict_proba")


def _check_views(stages):
    """Raise an error if a prior reads an epoch or view that will not be recorded."""
    stage, n_epochs = stages.get("dynamics"), None
    if isinstance(stage, BaseDynamics):
        n_epochs = stage._n_recorded_epochs()
    if n_epochs is not None:
        for prior in (stages["prior"], *stages["prior"].get_params().values()):
            if isinstance(prior, BaseCleanSetPrior):
                prior._check_view(n_epochs, stage._view_names())


def _stage_task(name, stage):
    """Tell callbacks of a stage, with the parts of its fit if it is one of ours."""
    return task(name, stage._n_tasks() if isinstance(stage, BaseStage) else 0)


# `identity` is an argument for caches; see `from_cache`.
def _fit_stage(stage, X, targets, identity=None):
    """Fit a stage of ours; give it and what it makes of the training texts."""
    return stage, stage._fit_targets(X, targets, record=True)


def _fit_other_stage(stage, X, y, sample_weight, identity=None):
    """Fit a stage that takes labels, such as a Pipeline that ends with one of ours."""
    return stage, fit_weighted(stage, X, y, sample_weight, method="fit_transform")


def _replay(stage, X, epochs, identity=None):
    """Replay texts that may be new, at some epochs at least."""
    if isinstance(stage, BaseDynamics):
        return stage._transform_some(X, epochs)
    return stage.transform(X)


def _check_agreement(trajectories, targets):
    """Raise an error if a stage made by others has read other texts or labels."""
    found, expected = trajectories.classes.tolist(), targets.classes.tolist()
    # It has not seen what is only among the votes, but labels of weight 0.
    given = targets.classes[np.unique(targets.codes[targets.labelled])].tolist()
    is_of_y = {*given} <= {*found} <= {*expected}
    if len(trajectories) != len(targets.codes) or not is_of_y:
        raise ValueError(
            f"a stage gives trajectories of {len(trajectories)} texts for the classes "
            f"{found}, but y has {len(targets.codes)} labels of the classes "
            f"{expected}; it must keep all texts, and have the same missing_label."
        )


def _weigh_classes(class_weight, classes):
    """Weight of each class, (n_classes,); 1 for "balanced", estimated after the fit."""
    if not isinstance(class_weight, dict):
        return np.ones(len(classes))
    has_all = {*classes.tolist()} <= class_weight.keys()
    for label, weight in class_weight.items():
        # A fold can lack a class; where others have no weight, it is misspelled.
        if not has_all and label not in classes.tolist():
            raise ValueError(
                f"class_weight has the label {label!r}, which is not among the classes "
                f"{classes.tolist()}."
            )
        if not (isinstance(weight, Real) and 1 / LARGEST <= weight <= LARGEST):
            raise ValueError(
                f"class_weight has {weight!r} for the class {label!r}; a number from "
                f"{1 / LARGEST} to {LARGEST:,.0f} is needed."
            )
    return compute_class_weight(class_weight, classes=classes, y=classes)


class DyGenClassifier(
    LabelReviewMixin,
    TextInputMixin,
    ScoresMixin,
    CallbackSupportMixin,
    StorageMixin,
    BaseEstimator,
):
    """Classify texts after learning from labels of which an unknown share is wrong.

    Three stages, each an estimator of its own, in a scikit-learn pipeline [1]_: a
    language model is fine-tuned on the labels as given while the movement of every
    text's embedding is recorded; texts whose movement looks clean give all texts a
    prior, by several views; and the posterior of each true label is inferred from these
    opinions, the given label, and what the labels that somebody has verified teach.

    Parameters
    ----------
    dynamics : estimator, {"finetuned", "frozen", "precomputed"} or None, default=None
        First stage. "finetuned", as None, takes `LanguageModelDynamics`, which trains
        the top three layers of a language model, in minutes; "frozen" takes it with
        ``trainable_layers=0``, a small head on the model as it is, in seconds. With
        "precomputed", `X` is `Trajectories` everywhere instead of texts.
    prior : estimator, default=None
        Second stage. None takes `ConsensusPrior`.
    denoiser : skdygen.base.BaseDenoiser, default=None
        Third stage. None takes `LogLinearPool`; the paper's is `DirichletVAE`.
    final_estimator : classifier of texts, default=None
        If given, it is fitted on the texts with the corrected labels, with their
        probabilities as `sample_weight` if its `fit` takes one, and serves
        predictions in one pass. None predicts with the three stages.
    correction_threshold : "auto" or float in [0, 1], default="auto"
        When `transduction_` replaces a given label by the most probable one. A float is
        the probability that one must have; 0 replaces wherever it differs. With "auto"
        all are replaced if that makes the verified labels better, each of them judged
        without itself. If not, and as long as none is verified, one is replaced only
        where, at that confidence, disagreement is more likely the label's fault than
        the model's, and none by a model near chance. That leaves right labels as they
        are, and mistakes that follow a rule, which the model learns, too.
        `label_distributions_` and `label_issues` do not depend on it, nor do
        predictions unless there is a `final_estimator`.
    class_weight : dict of label to float, "balanced" or None, default=None
        How much each class counts in predictions. Their probabilities are multiplied
        by these weights, which is what a loss so weighted leads to [2]_; a
        `final_estimator` is fitted with such a loss. "balanced": inversely to how many
        texts the posterior gives to the class. What is said of the training texts does
        not depend on it.
    missing_label : object, default=None
        The value in `y` that means "no label", such as -1. NaN stands for all null
        values; None: every text must have a label.
    store_trajectories : bool, default=False
        Whether the trajectories of the training texts are kept as `trajectories_`, so
        that `refit` can take more verified labels in seconds, and displays and reports
        replay nothing.
    memory : str, path or joblib.Memory, default=None
        Caches the fitted first and second stage, as in `sklearn.pipeline.Pipeline`, and
        the dynamics of texts that predictions are asked for: a search over parameters
        of the other stages then fine-tunes once per fold, and replays once. A language
        model is known by what is in its files. The folder holds pickles, which can run
        code: it must be your own. Set it to None on a classifier that is to serve
        predictions, or the folder will grow.
    random_state : int, RandomState instance or None, default=None
        Determines everything that is drawn: each stage whose own `random_state` is
        None gets a seed from here.
    verbose : int, default=0
        0 is silent; 1 shows the progress of stages whose own `verbose` is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes seen in `y`, in votes or among verified labels.
    transduction_ : ndarray of shape (n_samples,)
        Corrected labels of the training texts; verified ones as verified.
    label_distributions_ : ndarray of shape (n_samples, n_classes)
        Posterior over the true label of the training texts.
    label_quality_ : ndarray of shape (n_samples,)
        Posterior probability of each given label; NaN where none is given.
    noise_rate_ : float
        Share of wrong labels. Without verified labels a guess: the middle between how
        improbable the given ones are on average, and how many of them are not the most
        probable class, by everything but themselves. Mistakes that the model has learnt
        are missed, and its own are counted, so that it is no bound in either direction.
        With verified labels, it is an estimate, corrected by what was found, in which
        each label counts once, as in intervals. NaN if all texts are alike, and none is
        verified.
    noise_rate_interval_ : ndarray of shape (2,)
        An interval that holds the share of wrong labels in 95 % of all cases, whatever
        the model believes, if the verified labels were drawn by `labels_to_check` or
        otherwise at random. Only with verified labels: nothing else proves it.
    class_noise_rate_intervals_ : ndarray of shape (n_classes, 2)
        The same for the labels of each given class.
    correction_guarantee_ : dict
        What verified labels promise of `transduction_`, with "max_error" 0.05 and
        "confidence" 0.95, see `accept_labels`: "n_accepted", the number of labels that
        can be taken unread, and "n_more", how many more have to be verified before the
        surer half can. Only with verified labels.
    class_weight_ : ndarray of shape (n_classes,)
        The weights of the classes.
    noise_transition_matrix_ : ndarray of shape (n_classes, n_classes)
        Estimated probability of each given class (columns) given the true one (rows).
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted stages.
    dynamics_, prior_, denoiser_ : estimator
        The same, one by one; `dynamics_` is missing if `dynamics` is "precomputed".
    trajectories_ : Trajectories of n_samples texts
        Those of the training texts, with their prior; if `store_trajectories` is set.
    final_estimator_ : classifier
        The fitted final estimator, if there is one.

    See Also
    --------
    make_paper_classifier : The same with the settings of the paper.

    References
    ----------
    .. [1] Y. Zhuang, Y. Yu, L. Kong, X. Chen, C. Zhang, "DyGen: Learning from Noisy
       Labels via Dynamics-Enhanced Generative Modeling", KDD 2023.
    .. [2] C. Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001.

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> clf = DyGenClassifier(dynamics=IncrementalDynamics(), random_state=0)
    >>> clf.fit(texts, noisy).label_issues().columns.tolist()
    ['index', 'given', 'suggested', 'confidence', 'quality', 'text']
    """

    _parameter_constraints = {
        "dynamics": [
            HasMethods(["fit_transform", "transform"]),
            StrOptions({*_NAMED, "precomputed"}),
            None,
        ],
        "prior": [HasMethods(["fit_transform", "transform"]), None],
        "denoiser": [BaseDenoiser, None],
        "final_estimator": [HasMethods(["fit"]), None],
        "correction_threshold": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="both"),
        ],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "missing_label": "no_validation",
        "store_trajectories": ["boolean"],
        "memory": [str, os.PathLike, HasMethods(["cache"]), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        dynamics: Any = None,
        prior: Any = None,
        denoiser: Any = None,
        *,
        final_estimator: Any = None,
        correction_threshold: Literal["auto"] | float = "auto",
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        missing_label: Any = None,
        store_trajectories: bool = False,
        memory: Any = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.dynamics = dynamics
        self.prior = prior
        self.denoiser = denoiser
        self.final_estimator = final_estimator
        self.correction_threshold = correction_threshold
        self.class_weight = class_weight
        self.missing_label = missing_label
        self.store_trajectories = store_trajectories
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def __getstate__(self):
        # Whoever gets a copy or a file need not get the texts.
        return {k: v for k, v in super().__getstate__().items() if k != "_texts"}

    def set_params(self, **params):
        # What is None, or has a name, gets parameters of its own.
        for name in _DEFAULTS:
            if any(key.startswith(f"{name}__") for key in params):
                stage = _make_stage(name, params.get(name, getattr(self, name)))
                if isinstance(stage, str):
                    raise ValueError(
                        f"{name}={stage!r} has no parameters; the names of stages that "
                        f"have some are {sorted(_NAMED)}."
                    )
                params[name] = stage
        return super().set_params(**params)

    def _validate_params(self):
        # What a Pipeline does before its dynamics may well be frozen.
        last = _parts(self.dynamics)[-1]
        if isinstance(last, FrozenEstimator):
            raise TypeError(
                "dynamics is a FrozenEstimator, which would replay dynamics instead of "
                "recording them; compute the trajectories with fit_transform and pass "
                "dynamics='precomputed'."
            )
        super()._validate_params()
        if isinstance(last, (BasePrior, BaseDenoiser)):
            raise TypeError(
                f"dynamics is a {type(last).__name__}, which is a later stage; pass it "
                f"as prior or denoiser."
            )
        for name in (*_DEFAULTS, "final_estimator"):
            stage = getattr(self, name)
            if isinstance(stage, type):
                raise TypeError(f"{name} is a class; pass {stage.__name__}() instead.")
            for part in _parts(stage):
                if hasattr(part, "_parameter_constraints"):
                    part._validate_params()
            if getattr(stage, "_skl_callbacks", None):
                raise TypeError(
                    f"{name} has callbacks of its own, which would not be called; set "
                    f"them on the classifier, which tells them of each stage."
                )

    # Nested validation comes first: everything is checked before anything is trained.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        verified: Any = None,
        votes: Any = None,
        vote_confidence: Any = None,
    ) -> Self:
        """Learn from texts and labels that may be wrong, and some that are verified.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts; `Trajectories` if `dynamics` is "precomputed".
        y : array-like of shape (n_samples,), default=None
            Labels: strings, integers or booleans. None takes the majority of `votes`,
            see `skdygen.votes.majority_vote`; a text without a vote has no label.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts. One of weight 0 is as if it were missing, and
            so are the votes on its text; one of weight 2 counts as two of weight 1 in
            every mean and loss. A mean below 1, as of weights that sum up to 1, counts
            as 1. To a `final_estimator`, texts without a label count as
            the mean of the others.
        verified : array-like of shape (n_samples,), dict, Series, DataFrame, or \
                list of these, default=None
            Labels that are known to be right, because somebody has looked: one row for
            each text, missing (null, or `missing_label`) where nobody has; or a dict
            from positions in `X` to labels; or a shorter Series, by the index of `X`
            or `y` if these have one, else by positions; or a frame with the columns
            "index", the position, and "verified", such as `labels_to_check` gives, with
            "probability" if they were not drawn with equal chances; or a list of these,
            one for each draw, in their order. `y` stays as it was given: each pair
            teaches how labels go wrong, and the first stage does not change. A class
            that nobody gave is a new class. Searches and cross-validation split one row
            for each text, and nothing else.
        votes : array-like, DataFrame or sparse matrix of shape \
                (n_samples, n_annotators), default=None
            The labels that each annotator gave, people or rules, of the type of those
            in `y`; missing (null, or `missing_label`) where one gave none. Of a sparse
            matrix what is stored is a vote, a stored 0 as well. Annotators without a
            vote are left out. How each errs is learnt together with what the texts say,
            where votes overlap (see `annotator_quality`), and labels are corrected by
            that. Those that are judged are in `y`, or the majority where `y` has none.
            One column that is `y` once more changes nothing.
        vote_confidence : array-like, DataFrame or sparse matrix of shape \
                (n_samples, n_annotators), default=None
            How sure each annotator said to be of each vote, between 0 and 1; null where
            that is not known. A vote counts as much as it is more or less sure than
            those of this annotator are on average.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If a parameter, a text or a label is invalid, or labels, weights, votes or
            verified labels of pandas have the index of `X` in another order; before
            anything is trained.
        TypeError
            If a row of `X` is no string, or labels or votes are of several types.
        """
        stages = self._make_stages()
        _check_views(stages)
        index = find_index(X, y)
        X = self._check_X(X, stages.get("dynamics"))
        texts = find_texts(X) if "dynamics" in stages else None  # and no features
        if verified is not None:
            verified = by_position(verified, index, num_samples(X))
            check_same_texts(verified, texts)
        for name, table in (("y", y), ("sample_weight", sample_weight)):
            check_order(name, table, index)
        for name, table in (("votes", votes), ("vote_confidence", vote_confidence)):
            check_order(name, table, index)
            check_order(name, table, texts)  # the index that `votes_from_long` gives
        targets = targets_for(
            X, y, sample_weight, self.missing_label, verified, votes, vote_confidence
        )
        if y is None:  # for stages that are not ours
            y = name_codes(targets.codes, targets.classes, self.missing_label)
        _weigh_classes(self.class_weight, targets.classes)  # raises errors
        n_tasks = len(stages) + (self.final_estimator is not None)
        with fitting(self), fit_task(self, n_tasks, X, y, sample_weight):
            trajectories = X
            if "dynamics" in stages:
                given = targets.as_given()
                with _stage_task("dynamics", stages["dynamics"]):
                    stages["dynamics"], trajectories = self._fit_stage(
                        stages["dynamics"], X, given, (y, sample_weight)
                    )
            self._conclude(stages, X, trajectories, targets, (y, sample_weight))
        # What a Pipeline reads may be in a container that its stages need.
        is_ours = isinstance(stages.get("dynamics"), BaseDynamics)
        self._index, self._texts = index, texts if is_ours else None
        self._fingerprint = None if texts is None else fingerprint(texts)
        return self

    def refit(self, verified: Any, X: ArrayLike | None = None) -> Self:
        """Take more verified labels, without training the language model again.

        Parameters
        ----------
        verified : array-like of shape (n_samples,), dict, Series, DataFrame, or \
                list of these
            As for `fit`; they are added to those that are known already.
        X : sequence of str of length n_samples, default=None
            The training texts; needed if there is a `final_estimator` to be fitted
            again and the classifier is a copy or comes from a file.

        Returns
        -------
        self : object
            The classifier, as if it had been fitted with these labels. It stays as it
            was if an error is raised.

        Raises
        ------
        ValueError
            If the trajectories are not there (fit with ``store_trajectories=True``), or
            the verified labels are invalid.
        """
        check_is_fitted(self)
        if not hasattr(self, "trajectories_"):
            raise ValueError(
                "refit needs the trajectories of the training texts; fit with "
                "store_trajectories=True."
            )
        if not isinstance(self.prior_, BasePrior):
            raise ValueError(
                f"prior={self.prior!r} takes no verified labels; fit again."
            )
        n_samples = len(self.label_distributions_)
        if X is None:
            X = self._texts
        else:
            X = self._check_X(X, getattr(self, "dynamics_", None))
            self._check_same_X(X)
        if self.final_estimator is not None and X is None:
            raise ValueError("refit needs the texts, X, for the final_estimator.")
        verified = by_position(verified, self._index, n_samples)
        check_same_texts(verified, self._texts)
        targets = self._targets.verify(verified, self.missing_label)
        is_empty = is_several(verified) and not verified  # as is meant
        if len(targets.checked) == len(self._targets.checked) and not is_empty:
            warnings.warn("nothing is verified that was not before.", stacklevel=2)
        stages = {"prior": clone(self.prior_), "denoiser": clone(self.denoiser_)}
        if hasattr(self, "dynamics_"):
            stages = {"dynamics": self.dynamics_} | stages
        # As the first stage gives them: verified labels may have brought new classes.
        trajectories = self.trajectories_.with_classes(self.prior_._learnt_classes)
        fitted = copy.copy(self)
        fitted._texts = self._texts
        vars(fitted).pop("final_estimator_", None)
        fitted._conclude(stages, X, trajectories, targets, None)
        self.__dict__ = vars(fitted)
        return self

    def _fit_stage(self, stage, X, targets, labels):
        """Fit one of the first two stages; give it and what it makes of the texts."""
        if isinstance(stage, (BaseDynamics, BasePrior)):
            fit, labels = _fit_stage, (targets,)
        else:
            fit = _fit_other_stage
        stage, trajectories = self._cached(fit, stage, X, *labels)
        _check_agreement(check_trajectories(trajectories), targets)
        return stage, trajectories

    def _conclude(self, stages, X, trajectories, targets, labels):
        """Fit the stages behind the first one, and draw conclusions from them."""
        is_blind = are_alike(X, trajectories)
        if is_blind:
            warnings.warn(
                f"all {len(trajectories)} texts are alike to the stages, and say "
                f"nothing about their labels: these, or majorities of votes, stay as "
                f"they are, but for what is verified; look whether X holds the right "
                f"texts.",
                stacklevel=3,
            )
        with _stage_task("prior", stages["prior"]):
            stages["prior"], trajectories, targets = self._fit_prior(
                stages["prior"], trajectories, targets, labels, is_blind
            )
        with _stage_task("denoiser", stages["denoiser"]):
            stages["denoiser"]._fit_targets(trajectories, targets)
        for name, stage in stages.items():
            setattr(self, f"{name}_", stage)
        self.pipeline_ = Pipeline(list(stages.items()))
        if self.store_trajectories:
            self.trajectories_ = trajectories
        opinions, weights = trajectories.opinions, trajectories.opinion_weights
        if opinions is None:
            opinions, weights = self.denoiser_.marginal_distributions_[:, None], None
        self._spread = spread(opinions, weights)
        is_blind = is_blind and not len(targets.checked)
        if is_blind:  # there are the given labels, and nothing else
            certain = np.eye(len(targets.classes))[targets.codes[targets.labelled]]
            self.denoiser_.label_distributions_[targets.labelled] = certain
        corrected = self._decide(targets)
        if is_blind:
            self.noise_rate_ = np.nan
        if self.final_estimator is not None:
            with task("final_estimator"):
                self._fit_final_estimator(X, targets, corrected)

    def _fit_prior(self, prior, trajectories, targets, labels, is_blind):
        """Fit the second stage; give it, what it says, and what votes say by that."""
        stage, found = self._fit_stage(clone(prior), trajectories, targets, labels)
        if is_blind:  # without the text's own label, the other classes are more likely
            shares = np.average(targets.distributions, axis=0, weights=targets.weights)
            opinions = found.opinions
            if opinions is not None:
                opinions = np.broadcast_to(shares, opinions.shape)
            found = found.with_prior(np.tile(shares, (len(found), 1)), opinions)
        if targets.votes is None or is_blind or not overlaps(targets.votes):
            return stage, found, targets
        targets = targets.ask_annotators(found.prior)
        # One of ours learns from what is believed, until little changes by that.
        believed = targets.as_believed()
        for _ in range(_MOST_ROUNDS if isinstance(prior, BasePrior) else 0):
            stage = clone(prior)  # not cached: rounds may be many
            found = stage._fit_targets(trajectories, believed, record=True)
            targets = targets.ask_annotators(found.prior)
            before, believed = believed, targets.as_believed()
            changed = np.mean(believed.codes != before.codes)
            logger.info("votes and texts: %.1f %% of the labels changed", 100 * changed)
            if changed < _FEW_CHANGES:
                break
        return stage, found, targets.hold_out(found.prior)

    def _decide(self, targets):
        """Draw conclusions from the posterior; give corrected codes (n_samples,)."""
        codes, weights = targets.codes, targets.weights
        posterior = self.denoiser_.label_distributions_
        marginal = self.denoiser_.marginal_distributions_
        quality = judge_labels(posterior, codes)[2]
        self.classes_ = targets.classes
        self._targets = replace(targets, believed=None, evidence=None)
        self.label_distributions_, self.label_quality_ = posterior, quality
        self.class_weight_ = _weigh_classes(self.class_weight, targets.classes)
        if self.class_weight == "balanced":
            shares = posterior.mean(axis=0)
            self.class_weight_ = np.divide(
                1, len(shares) * shares, out=np.ones_like(shares), where=shares > 0
            )
        judges = marginal if targets.evidence is None else posterior
        self.noise_rate_ = estimate_noise_rate(judges, codes, weights)
        logger.info("estimated share of wrong labels: %.3f", self.noise_rate_)
        self.noise_transition_matrix_ = estimate_transition_matrix(
            posterior, codes, weights
        )
        # What would be said of verified texts had nobody looked, and of all others.
        self._said = correct_labels(
            self.denoiser_.held_out_distributions_, marginal, self._untouched(),
            targets, self.correction_threshold,
        )  # fmt: skip
        is_checked = targets.verified >= 0
        corrected = np.where(is_checked, targets.verified, self._said)
        self.transduction_ = self.classes_[corrected]
        if len(targets.checked):
            self._prove(targets)
        n_changed = int(((corrected != codes) & (codes >= 0)).sum())
        logger.info("changed %d of %d given labels", n_changed, len(targets.labelled))
        return corrected

    def _untouched(self):
        """What views say that no label has touched, (n_samples, n_views, n_classes)."""
        marginal = self.denoiser_.marginal_distributions_[:, None]
        return getattr(self.prior_, "untouched_distributions_", marginal)

    def _make_stages(self):
        """Clone the stages and hand down what is set here and not there."""
        rng = check_random_state(self.random_state)
        stages = {}
        for name in _DEFAULTS:
            stage = _make_stage(name, getattr(self, name))
            if isinstance(stage, str):  # "precomputed"
                continue
            stage = clone(stage)
            inherited = {}
            for key, value in sorted(stage.get_params().items()):
                parameter = key.rpartition("__")[2]
                if parameter == "missing_label" and value is None:
                    inherited[key] = self.missing_label
                elif key == "verbose" and type(value) is int and value == 0:
                    inherited[key] = self.verbose
                elif (
                    parameter == "random_state"
                    and value is None
                    and self.random_state is not None
                ):
                    inherited[key] = rng.randint(np.iinfo(np.int32).max)
            stages[name] = stage.set_params(**inherited)
            # No frame can go between them. Each part is told for itself: a composition
            # refuses, half-way, if one of its parts gives no frames at all.
            for part in (stage, *stage.get_params().values()):
                if isinstance(part, BaseEstimator) and hasattr(part, "set_output"):
                    with suppress(ValueError):
                        part.set_output(transform="default")
        return stages

    def _cached(self, function, *args):
        """Call a function of a stage, or take what it gave from `memory`."""
        if self.memory is None:
            return function(*args)
        return from_cache(self.memory, function, *args)

    def _check_X(self, X, dynamics):
        """Validate what the first stage is to read."""
        if dynamics is None:
            return check_trajectories(X)
        if isinstance(dynamics, BaseDynamics):
            return dynamics._check_X(X)
        return X  # a stage made of others, such as a Pipeline, knows what it takes

    def _fit_final_estimator(self, X, targets, corrected):
        """Fit it on the texts with corrected labels, weighted by their probability."""
        estimator = clone(self.final_estimator)
        # A text whose label does not count has one now, like any other.
        mean = targets.weights[targets.labelled].mean()
        weights = np.where(targets.codes >= 0, targets.weights, mean)
        weights *= self.class_weight_[corrected]
        weights *= self.label_distributions_[np.arange(len(corrected)), corrected]
        try:
            fit_weighted(estimator, X, self.transduction_, weights, on_request=True)
        except (TypeError, ValueError) as error:
            if len(np.unique(corrected)) > 1:
                raise ValueError(
                    f"final_estimator={estimator!r} cannot be fitted to texts: {error} "
                    f"(if it reads numbers, put a vectorizer in front of it, by "
                    f"make_pipeline)"
                ) from error
            label = self.transduction_[:1].tolist()[0]
            raise ValueError(
                f"the final_estimator cannot be fitted: after the correction all texts "
                f"have the label {label!r}. With a larger correction_threshold than "
                f"{self.correction_threshold!r} more of the given labels stay."
            ) from error
        self.final_estimator_ = estimator

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Give the most probable true class of texts.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts; `Trajectories` if `dynamics` is "precomputed".

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Classes, in the form they have in `y`.
        """
        check_is_fitted(self)
        if hasattr(self, "final_estimator_"):
            X = self._check_X(X, getattr(self, "dynamics_", None))
            return self.final_estimator_.predict(X)
        return self.classes_[self._posterior(X).argmax(axis=1)]

    def _posterior(self, X):
        """Posterior of texts, weighted by class, (n_samples, n_classes)."""
        if hasattr(self, "dynamics_"):
            X = self._cached(_replay, self.dynamics_, X, self._epochs_read())
        return self._judge(X)

    def _epochs_read(self):
        """Positions of the epochs that predictions depend on, sorted; None: maybe all.

        By default it is the last one: the others tell which labels were learnt late.
        A cache gets all, so that a search replays once whatever it compares.
        """
        if self.memory is not None:
            return None
        found = set()
        for stage in (self.prior_, self.denoiser_):
            epochs = stage._epochs_read() if isinstance(stage, BaseStage) else None
            if epochs is None:
                return None
            found |= epochs
        return sorted(found)

    def _judge(self, trajectories):
        """Posterior of trajectories, the same."""
        found = self.denoiser_.predict_proba(self.prior_.transform(trajectories))
        if (self.class_weight_ == 1).all():
            return found
        return with_rows_of_1(found * self.class_weight_)

    @available_if(_final_estimator_has_predict_proba)
    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Give the probabilities of the true classes of texts.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts; `Trajectories` if `dynamics` is "precomputed".

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Rows sum to 1; columns in the order of `classes_`.
        """
        check_is_fitted(self)
        if not hasattr(self, "final_estimator_"):
            return self._posterior(X)
        X = self._check_X(X, getattr(self, "dynamics_", None))
        found = self.final_estimator_.predict_proba(X)
        # A class can have lost all its labels to the correction.
        probabilities = np.zeros((len(found), len(self.classes_)))
        columns = np.searchsorted(self.classes_, self.final_estimator_.classes_)
        probabilities[:, columns] = found
        return with_rows_of_1(probabilities)
