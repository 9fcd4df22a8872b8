"""Distances to the own and to another class along the training."""

import numpy as np

from .._memmap import parts
from ..priors._scores import centroid_distances, class_centroids
from ._labels import training_dynamics
from ._style import BLUE, VERMILION, TrajectoryDisplay

_MOST_TICKS = 12
_PANELS = (
    ("labels that look right", "nearest rival class"),
    ("labels that look wrong", "suggested class"),
)


class DynamicsDisplay(TrajectoryDisplay):
    """How near texts are to their own class, and to another, while a model is trained.

    A text that is labelled wrongly begins near the class that it belongs to, and is
    drawn to the class of its label, late or never. Distances are those to the centroid
    of the texts given each class, averaged over the branches, in units of the median
    distance to the own class at that moment. Bands hold half of the texts.

    Parameters
    ----------
    own, other : ndarray of shape (n_samples, n_moments)
        Distances to the class of the given label, and to the suggested class of a label
        that looks wrong; of any other, to its most probable class besides the given
        one. NaN where no label is given.
    is_issue : ndarray of shape (n_samples,) of bool
        Which labels look wrong.
    moments : list of str of length n_moments
        Names of the epochs.
    index : int or array-like of int, default=()
        Positions of texts that are drawn one by one.

    Attributes
    ----------
    figure_ : Figure
        The figure.
    ax_ : ndarray of shape (2,)
        Axes of the labels that look right, and of those that look wrong.
    lines_ : list of Line2D
        The medians, then the single texts.

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.inspection import DynamicsDisplay
    >>> texts, labels = make_texts(200, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> clf = DyGenClassifier(IncrementalDynamics(), random_state=0).fit(texts, noisy)
    >>> worst = clf.label_issues()["index"].head(3)
    >>> DynamicsDisplay.from_estimator(clf, texts, index=worst).ax_.shape
    (2,)
    """

    def __init__(self, own, other, is_issue, moments, index=()):
        self.own = own
        self.other = other
        self.is_issue = is_issue
        self.moments = moments
        try:
            self.index = np.arange(len(own))[list(np.atleast_1d(index))]
        except IndexError as error:
            raise ValueError(
                f"index must hold positions of texts, of which there are {len(own)}: "
                f"{error}."
            ) from error
        unlabelled = self.index[np.isnan(own[self.index, -1])]
        if len(unlabelled):
            raise ValueError(f"index holds {unlabelled[0]}, a text without a label.")

    @classmethod
    def from_estimator(cls, estimator, X=None, *, index=(), ax=None):
        """Draw the training texts of a classifier.

        Parameters
        ----------
        estimator : DyGenClassifier
            Fitted.
        X : sequence of str of length n_samples, or Trajectories, default=None
            The training texts in the order of the fit, to be replayed, or their
            trajectories. None takes those that the classifier has stored.
        index : int or array-like of int, default=()
            Positions of texts that are drawn one by one.
        ax : array-like of two Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : DynamicsDisplay
            Drawn.

        Raises
        ------
        ValueError
            If `X` is missing or of another length, or `index` holds a text that is not
            there or has no label.
        """
        return cls._of(*training_dynamics(estimator, X), index).plot(ax)

    @classmethod
    def _of(cls, labels, trajectories, moments, index=()):
        spaces = [trajectories.embeddings]
        if "initial" in trajectories.views:
            spaces.insert(0, trajectories.views["initial"][:, None, None])
        found = [_distances(space, labels) for space in spaces]
        own, other = np.concatenate(found, axis=2)
        return cls(own, other, labels.is_issue, moments, index)

    def _layout(self):
        return (2,), (9, 3.8)

    def _draw(self):
        self.lines_ = []
        at = np.arange(len(self.moments))
        shown = slice(None, None, -(-len(at) // _MOST_TICKS))
        names = [name.removeprefix("epoch ") for name in self.moments[shown]]
        is_labelled = np.isfinite(self.own[:, -1])
        for is_wrong, panel in enumerate(self.ax_):
            title, rival = _PANELS[is_wrong]
            rows = np.flatnonzero((self.is_issue == is_wrong) & is_labelled)
            panel.set(title=f"{title} ({len(rows):,})", xlabel="epoch")
            panel.set_xticks(at[shown], names)
            panel.set_xlim(-0.08 * len(at), at[-1] + 0.12 * len(at))
            if len(rows):
                self._draw_median(panel, self.own[rows], "given class", BLUE, "o-")
                self._draw_median(panel, self.other[rows], rival, VERMILION, "s--")
                panel.legend(title="distance to the", framealpha=0.7)
            for position in self.index[self.is_issue[self.index] == is_wrong]:
                self._draw_text(panel, self.own[position], position, BLUE, "-")
                self._draw_text(panel, self.other[position], position, VERMILION, "--")
        limits = np.array([panel.get_ylim() for panel in self.ax_])
        for panel in self.ax_:
            panel.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        self.ax_[0].set_ylabel("distance to the centre of the class\n(median own = 1)")

    def _draw_median(self, panel, distances, label, color, style):
        """Draw median and quartiles of texts, (n_rows, n_moments)."""
        if np.isnan(distances).all():  # to a class that no text is given
            return
        low, middle, high = np.nanquantile(distances, [0.25, 0.5, 0.75], axis=0)
        panel.fill_between(range(len(low)), low, high, color=color, alpha=0.18, lw=0)
        self.lines_ += panel.plot(middle, style, color=color, label=label)

    def _draw_text(self, panel, distances, position, color, style):
        """Draw one text, (n_moments,), with its position at the end."""
        self.lines_ += panel.plot(distances, style, color=color, lw=0.9, alpha=0.9)
        panel.annotate(
            position, (len(distances) - 1, distances[-1]), xytext=(4, 0), color=color,
            textcoords="offset points", va="center", size="small",
        )  # fmt: skip


def _distances(embeddings, labels):
    """Distances to own and rival class, (2, n_samples, n_epochs); NaN without label."""
    weights = (labels.given >= 0).astype(float)
    centroids = class_centroids(embeddings, labels.given, weights, len(labels.classes))
    found = np.full((2, len(embeddings), embeddings.shape[2]), np.nan)
    for part in parts(len(embeddings)):
        every = centroid_distances(embeddings[part], centroids).mean(axis=1)
        rows = np.flatnonzero(labels.given[part] >= 0)
        for kind, codes in enumerate((labels.given[part], labels.rival[part])):
            found[kind, part][rows] = every[rows, :, codes[rows]]
    found[~np.isfinite(found)] = np.nan  # a class that no text is given has no centre
    scale = np.nanmedian(found[0], axis=0)
    return found / np.where(scale > 0, scale, 1)
