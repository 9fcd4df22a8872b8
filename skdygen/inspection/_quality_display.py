"""How good the labels look, and how far that can be relied on."""

import numpy as np
from sklearn.metrics import PrecisionRecallDisplay
from sklearn.utils.validation import check_is_fitted

from .._correction import correct_labels
from ..utils._validation import encode_labels
from ._labels import Labels
from ._style import BLUE, GREY, VERMILION, check_axes

_N_BINS = 20


class LabelQualityDisplay:
    """Distribution of label quality: the probability of each given label.

    Three kinds of labels are told apart: those that are their text's most probable
    class, those that look wrong, and of these the ones that the correction replaces.
    Where right labels are known, a second picture shows how well low quality finds the
    wrong ones.

    Parameters
    ----------
    quality : ndarray of shape (n_labelled,)
        Probability of each given label.
    is_issue : ndarray of shape (n_labelled,) of bool
        Which labels look wrong.
    is_replaced : ndarray of shape (n_labelled,) of bool
        Which of these are replaced.
    is_wrong : ndarray of shape (n_labelled,) of bool, default=None
        Which are wrong, where that is known.

    Attributes
    ----------
    threshold : float
        Quality above which no label is replaced; 0 if none is.
    figure_ : Figure
        The figure.
    ax_ : Axes, or ndarray of shape (2,) if right labels are known
        The axes.
    precision_recall_ : sklearn.metrics.PrecisionRecallDisplay
        The second picture, if there is one.

    See Also
    --------
    sklearn.metrics.PrecisionRecallDisplay : Draws the second picture.

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.inspection import LabelQualityDisplay
    >>> texts, labels = make_texts(200, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> clf = DyGenClassifier(IncrementalDynamics(), random_state=0).fit(texts, noisy)
    >>> display = LabelQualityDisplay.from_estimator(clf, y_true=labels)
    >>> display.precision_recall_.average_precision > 0.6
    True
    """

    def __init__(self, quality, is_issue, is_replaced, is_wrong=None):
        self.quality = quality
        self.is_issue = is_issue
        self.is_replaced = is_replaced
        self.is_wrong = is_wrong

    @property
    def threshold(self):
        """Quality above which no label is replaced; 0 if none is."""
        return float(self.quality[self.is_replaced].max(initial=0.0))

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
        check_is_fitted(estimator, "label_distributions_")
        labels = Labels.of_estimator(estimator)
        corrected = np.searchsorted(labels.classes, estimator.transduction_)
        return cls._from_labels(labels, corrected, y_true, ax)

    @classmethod
    def from_predictions(
        cls,
        y,
        label_distributions,
        *,
        classes=None,
        correction_threshold="auto",
        y_true=None,
        missing_label=None,
        ax=None,
    ):
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
        y_true : array-like of shape (n_samples,), default=None
            Right labels, if they are known.
        missing_label : object, default=None
            The value in `y` that means "no label"; such texts are not drawn.
        ax : Axes, or array-like of two Axes with `y_true`, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : LabelQualityDisplay
            Drawn.
        """
        classes = None if classes is None else np.asarray(classes)
        labels = Labels.of_predictions(y, label_distributions, classes, missing_label)
        found = np.asarray(label_distributions, dtype=float)
        corrected = correct_labels(
            found,
            found,
            labels.given,
            np.ones(len(found)),
            correction_threshold,
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
            is_wrong = classes[true[rows]] != labels.classes[labels.given[rows]]
        return cls(
            labels.quality[rows],
            labels.is_issue[rows],
            (corrected != labels.given)[rows],
            is_wrong,
        ).plot(ax=ax)

    def plot(self, ax=None):
        """Draw the distribution and, if right labels are known, precision and recall.

        Parameters
        ----------
        ax : Axes, or array-like of two Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : LabelQualityDisplay
            Drawn.
        """
        n_axes = 1 if self.is_wrong is None else 2
        self.figure_, axes = check_axes(ax, n_axes, (4.8 * n_axes + 0.4, 3.8))
        self.ax_ = axes[0] if n_axes == 1 else axes
        self._plot_distribution(axes[0])
        if self.is_wrong is not None:
            self.precision_recall_ = PrecisionRecallDisplay.from_predictions(
                self.is_wrong, 1 - self.quality, ax=axes[1], name="low quality first",
                plot_chance_level=True,
                chance_level_kw={"color": GREY, "label": "any order"},
            )  # fmt: skip
            axes[1].set(
                title="finding the wrong labels",
                xlabel="share of the wrong labels found",
                ylabel="share of the found that are wrong",
            )
        return self

    def _plot_distribution(self, ax):
        kept = self.is_issue & ~self.is_replaced
        groups = (
            (~self.is_issue & ~self.is_replaced, "looks right", BLUE, None),
            (kept, "looks wrong, kept", "#e69f00", "///"),
            (self.is_replaced, "looks wrong, replaced", VERMILION, "xxx"),
        )
        ax.hist(
            [self.quality[rows] for rows, *_ in groups],
            bins=np.linspace(0, 1, _N_BINS + 1),
            stacked=True,
            color=[color for _, _, color, _ in groups],
            label=[f"{name} ({rows.sum():,})" for rows, name, _, _ in groups],
            hatch=[hatch for *_, hatch in groups],
            edgecolor="white",
            linewidth=0.5,
        )
        if self.is_replaced.any():
            ax.axvline(self.threshold, color="black", ls=":", lw=1.2)
            ax.annotate(
                f"none replaced above {self.threshold:.2f}", (self.threshold, 0.98),
                xycoords=("data", "axes fraction"), xytext=(4, 0),
                textcoords="offset points", va="top", size="small",
            )  # fmt: skip
        ax.set(
            xlim=(0, 1), xlabel="quality: probability of the given label",
            ylabel="labels", title="how good the labels look",
        )  # fmt: skip
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.92))
