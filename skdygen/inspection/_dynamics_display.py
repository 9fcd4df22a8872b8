"""Distances to the own and to another class along the training."""

import numpy as np

from .._trajectories import check_trajectories
from ..priors._distances import centroid_distances, class_centroids
from ._labels import Labels, check_positions, moment_names, training_trajectories
from ._style import BLUE, VERMILION, check_axes

_MOST_TICKS = 12
_PANELS = ("labels that look right", "labels that look wrong")


class DynamicsDisplay:
    """How near texts are to their own class, and to another, while a model is trained.

    A text that is labelled wrongly begins near the class that it belongs to, and is
    drawn to the class of its label, late or never. Distances are those to the centroid
    of the texts given each class, averaged over the branches, in units of the median
    distance to the own class at that moment.

    Parameters
    ----------
    own : ndarray of shape (n_samples, n_moments)
        Distance to the class of the given label.
    other : ndarray of shape (n_samples, n_moments)
        Distance to the suggested class of a label that looks wrong; of any other, to
        its most probable class besides the given one.
    is_issue : ndarray of shape (n_samples,) of bool
        Which labels look wrong.
    moments : list of str of length n_moments
        Names of the epochs.
    index : int or array-like of int, default=None
        Positions of texts that are drawn one by one.

    Attributes
    ----------
    figure_ : Figure
        The figure.
    ax_ : ndarray of shape (2,)
        Axes of the labels that look right, and of those that look wrong.
    lines_ : list of Line2D
        The medians, then the single texts.

    See Also
    --------
    TrajectoryMapDisplay : Where the texts are.

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.inspection import DynamicsDisplay
    >>> texts, labels = make_texts(200, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> clf = DyGenClassifier(IncrementalDynamics(), random_state=0).fit(texts, noisy)
    >>> worst = clf.label_issues()["index"][0]
    >>> display = DynamicsDisplay.from_estimator(clf, texts, index=[worst])
    >>> [ax.get_title().partition(" (")[0] for ax in display.ax_]
    ['labels that look right', 'labels that look wrong']
    """

    def __init__(self, own, other, is_issue, moments, index=None):
        self.own = own
        self.other = other
        self.is_issue = is_issue
        self.moments = moments
        self.index = check_positions(index, len(own))

    @classmethod
    def from_estimator(cls, estimator, X, *, index=None, ax=None):
        """Draw the training texts of a classifier.

        Parameters
        ----------
        estimator : DyGenClassifier
            Fitted.
        X : sequence of str of length n_samples, or Trajectories
            The training texts in the order of the fit, which are replayed, or their
            trajectories.
        index : int or array-like of int, default=None
            Positions of texts to be drawn one by one.
        ax : array-like of two Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : DynamicsDisplay
            Drawn.

        Raises
        ------
        ValueError
            If `X` is not as long as the classifier's training texts.
        """
        labels = Labels.of_estimator(estimator)
        trajectories = training_trajectories(estimator, X)
        names = moment_names(estimator, trajectories)
        return cls._from_labels(trajectories, labels, names, index, ax)

    @classmethod
    def from_predictions(
        cls,
        trajectories,
        y,
        label_distributions,
        *,
        missing_label=None,
        index=None,
        ax=None,
    ):
        """Draw trajectories beside any class probabilities.

        Parameters
        ----------
        trajectories : Trajectories of n_samples texts
            Recorded or replayed dynamics.
        y : array-like of shape (n_samples,)
            Given labels.
        label_distributions : array-like of shape (n_samples, n_classes)
            Probability of each class as the true one; columns in the order of
            ``trajectories.classes``.
        missing_label : object, default=None
            The value in `y` that means "no label"; such texts are not drawn.
        index : int or array-like of int, default=None
            Positions of texts to be drawn one by one.
        ax : array-like of two Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : DynamicsDisplay
            Drawn.
        """
        check_trajectories(trajectories, name="trajectories")
        labels = Labels.of_predictions(
            y, label_distributions, trajectories.classes, missing_label
        )
        names = moment_names(None, trajectories)
        return cls._from_labels(trajectories, labels, names, index, ax)

    @classmethod
    def _from_labels(cls, trajectories, labels, names, index, ax):
        index = check_positions(index, len(trajectories))
        unlabelled = index[labels.given[index] < 0]
        if len(unlabelled):
            raise ValueError(
                f"index holds {unlabelled[0]}, a text without a label: it has no own "
                f"class to be near to."
            )
        distances = [_distances(trajectories.embeddings, labels)]
        if trajectories.initial is not None:
            before = trajectories.initial[:, None, None]
            distances.insert(0, _distances(before, labels))
        own, other = np.concatenate(distances, axis=2)
        display = cls(own, other, labels.is_issue, names, index)
        return display.plot(ax=ax)

    def plot(self, ax=None):
        """Draw medians, and bands that hold half of the texts.

        Parameters
        ----------
        ax : array-like of two Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : DynamicsDisplay
            Drawn.
        """
        self.figure_, self.ax_ = check_axes(ax, 2, (9, 3.8))
        self.lines_ = []
        at = np.arange(len(self.moments))
        names = [name.removeprefix("epoch ") for name in self.moments]
        # Of texts without a label there is no distance.
        is_labelled = np.isfinite(self.own[:, -1])
        for is_wrong, panel, title in zip(
            (False, True), self.ax_, _PANELS, strict=True
        ):
            rows = np.flatnonzero((self.is_issue == is_wrong) & is_labelled)
            name = "suggested class" if is_wrong else "nearest rival class"
            kinds = (
                (self.own, "given class", BLUE, "-", "o"),
                (self.other, name, VERMILION, "--", "s"),
            )
            for distances, label, color, style, marker in kinds:
                if len(rows):
                    low, middle, high = np.nanquantile(
                        distances[rows], [0.25, 0.5, 0.75], axis=0
                    )
                    panel.fill_between(at, low, high, color=color, alpha=0.18, lw=0)
                    self.lines_ += panel.plot(
                        at, middle, style, color=color, marker=marker, label=label
                    )
            panel.set_title(f"{title} ({len(rows):,})")
            shown = slice(None, None, -(-len(at) // _MOST_TICKS))
            panel.set_xticks(at[shown], names[shown])
            panel.set_xlabel("epoch")
            panel.set_xlim(-0.08 * len(at), at[-1] + 0.12 * len(at))
            for position in self.index[self.is_issue[self.index] == is_wrong]:
                self._plot_text(panel, position, at)
            if len(rows):
                panel.legend(title="distance to the", framealpha=0.7)
        limits = np.array([panel.get_ylim() for panel in self.ax_])
        for panel in self.ax_:
            panel.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        self.ax_[0].set_ylabel("distance to the centre of the class\n(median own = 1)")
        return self

    def _plot_text(self, panel, position, at):
        for distances, color, style in (
            (self.own, BLUE, "-"),
            (self.other, VERMILION, "--"),
        ):
            self.lines_ += panel.plot(
                at, distances[position], style, color=color, lw=0.9, alpha=0.9
            )
            panel.annotate(
                f"{position}", (at[-1], distances[position, -1]), xytext=(4, 0),
                textcoords="offset points", va="center", size="small", color=color,
            )  # fmt: skip


def _distances(embeddings, labels):
    """Distances to own and rival class, (2, n_samples, n_epochs); NaN without label."""
    weights = (labels.given >= 0).astype(float)
    n_classes = len(labels.classes)
    centroids = class_centroids(embeddings, labels.given, weights, n_classes)
    every = centroid_distances(embeddings, centroids).mean(axis=1)
    found = np.full((2, *every.shape[:2]), np.nan)
    rows = np.flatnonzero(labels.given >= 0)
    for kind, codes in enumerate((labels.given, labels.rival)):
        found[kind, rows] = every[rows, :, codes[rows]]
    found[~np.isfinite(found)] = np.nan  # a class that no text is given has no centre
    scale = np.nanmedian(found[0], axis=0)
    return found / np.where(scale > 0, scale, 1)
