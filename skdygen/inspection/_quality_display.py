"""How good the labels look, and how far that can be relied on."""

import numpy as np
from sklearn.metrics import PrecisionRecallDisplay

from .._classifier import DyGenClassifier
from .._decisions import correct_labels
from .._encoding import check_order, encode_labels, join_classes, label_array
from .._sklearn_compat import validate_params
from .._targets import Targets
from ._labels import Labels
from ._style import BLUE, GREY, ORANGE, VERMILION, Display

_THRESHOLD = "correction_threshold"
_CONSTRAINTS = {_THRESHOLD: DyGenClassifier._parameter_constraints[_THRESHOLD]}


class LabelQualityDisplay(Display):
    """Distribution of label quality: the probability of each given label.

    Three kinds of labels are told apart: those that are their text's most probable
    class, those that look wrong, and of these the ones that the correction replaces.
    Where right labels are known, a second picture shows how well low quality finds the
    wrong ones.

    Parameters
    ----------
    quality : ndarray of shape (n_labelled,)
        Probability of each given label.
    is_issue, is_replaced : ndarray of shape (n_labelled,) of bool
        Which labels look wrong, and which of these are replaced.
    is_wrong : ndarray of shape (n_labelled,) of bool, default=None
        Which are wrong, where that is known.

    Attributes
    ----------
    figure_ : Figure
        The figure.
    ax_ : Axes, or ndarray of shape (2,) if right labels are known
        The axes.
    precision_recall_ : sklearn.metrics.PrecisionRecallDisplay
        The second picture, if there is one.

    Examples
    --------
    >>> from skdygen.inspection import LabelQualityDisplay
    >>> given = ["ham", "ham", "ham", "spam"]
    >>> posterior = [[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.4, 0.6]]
    >>> LabelQualityDisplay.from_predictions(given, posterior).quality
    array([0.9, 0.2, 0.8, 0.6])
    """

    def __init__(self, quality, is_issue, is_replaced, is_wrong=None):
        self.quality = quality
        self.is_issue = is_issue
        self.is_replaced = is_replaced
        self.is_wrong = is_wrong

    @classmethod
    def from_estimator(cls, estimator, *, y_true=None, ax=None):
        """Draw the labels that a classifier was fitted on.

        Parameters
        ----------
        estimator : DyGenClassifier
            Fitted.
        y_true : array-like of shape (n_samples,), default=None
            Right labels of the training texts, if they are known.
        ax : Axes, or array-like of two Axes with `y_true`, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : LabelQualityDisplay
            Drawn.
        """
        labels = Labels.of_estimator(estimator)
        check_order("y_true", y_true, estimator._index)
        corrected = np.searchsorted(labels.classes, estimator.transduction_)
        return cls._from_labels(labels, corrected, y_true, ax)

    @classmethod
    @validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
    def from_predictions(
        cls, y, label_distributions, *, classes=None, correction_threshold="auto",
        y_true=None, missing_label=None, ax=None,
    ):  # fmt: skip
        """Draw any labels and class probabilities.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Given labels.
        label_distributions : array-like of shape (n_samples, n_classes)
            Probability of each class as the true one, sorted.
        classes : array-like of shape (n_classes,), default=None
            What the columns stand for; None takes the classes in `y`.
        correction_threshold : "auto" or float in [0, 1], default="auto"
            When a label is replaced, see `DyGenClassifier`.
        missing_label : object, default=None
            The value in `y` that means "no label"; such texts are not drawn.
        y_true, ax : optional
            As in `from_estimator`.

        Returns
        -------
        display : LabelQualityDisplay
            Drawn.
        """
        classes = None if classes is None else label_array(classes, "classes")
        found = np.asarray(label_distributions, dtype=float)
        labels = Labels.of_predictions(y, found, classes, missing_label)
        weights = (labels.given >= 0).astype(float)
        targets = Targets.unverified(labels.classes, labels.given, weights)
        corrected = correct_labels(
            found, found, found[:, None], targets, correction_threshold
        )
        return cls._from_labels(labels, corrected, y_true, ax)

    @classmethod
    def _from_labels(cls, labels, corrected, y_true, ax):
        rows = np.flatnonzero(labels.given >= 0)
        is_wrong = None
        if y_true is not None:
            # A right label may be of a class that is never given.
            classes, true = encode_labels(
                y_true, n_samples=len(labels.given), min_classes=1, name="y_true"
            )
            where = f"row {np.argmin(true)}"
            join_classes(labels.classes, classes, "y_true", where)  # raises errors
            is_wrong = classes[true[rows]] != labels.classes[labels.given[rows]]
        is_replaced = labels.is_issue & (corrected != labels.given)
        known = labels.quality[rows], labels.is_issue[rows], is_replaced[rows]
        return cls(*known, is_wrong).plot(ax)

    def _layout(self):
        return ((), (5.2, 3.8)) if self.is_wrong is None else ((2,), (10, 3.8))

    def _draw(self):
        self._draw_distribution(np.ravel(self.ax_)[0])
        if self.is_wrong is None:
            return
        self.precision_recall_ = PrecisionRecallDisplay.from_predictions(
            self.is_wrong, 1 - self.quality, ax=self.ax_[1], name="low quality first",
            plot_chance_level=True,
            chance_level_kw={"color": GREY, "label": "any order"},
        )  # fmt: skip
        self.ax_[1].set(
            title="finding the wrong labels",
            xlabel="share of the wrong labels found",
            ylabel="share of the found that are wrong",
        )

    def _draw_distribution(self, ax):
        groups = (
            ("looks right", ~self.is_issue, BLUE, None),
            ("looks wrong, kept", self.is_issue & ~self.is_replaced, ORANGE, "///"),
            ("looks wrong, replaced", self.is_replaced, VERMILION, "xxx"),
        )
        ax.hist(
            [self.quality[rows] for _, rows, _, _ in groups],
            bins=np.linspace(0, 1, 21), stacked=True,
            label=[f"{name} ({rows.sum():,})" for name, rows, _, _ in groups],
            color=[color for _, _, color, _ in groups],
            hatch=[hatch for _, _, _, hatch in groups], edgecolor="white", lw=0.5,
        )  # fmt: skip
        ax.set(
            title="how good the labels look", xlim=(0, 1), ylabel="labels",
            xlabel="quality: probability of the given label",
        )  # fmt: skip
        ax.legend(frameon=False, loc="upper center")
