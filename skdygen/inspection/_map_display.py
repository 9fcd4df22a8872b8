"""Where texts are, and how they move, in two dimensions."""

from numbers import Integral

import numpy as np
from matplotlib.lines import Line2D
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

from .._sklearn_compat import HasMethods, Interval, validate_params
from ._labels import training_dynamics
from ._style import TrajectoryDisplay, class_styles, printable

_ROWS = ("given", "suggested")
_MOST_NAMED = 20  # classes in the legend
_CONSTRAINTS = {
    "epochs": ["array-like"],
    "projection": [HasMethods("fit_transform"), None],
    "max_samples": [Interval(Integral, 2, None, closed="left"), None],
    "random_state": ["random_state"],
}


class TrajectoryMapDisplay(TrajectoryDisplay):
    """Maps of the texts at some moments of the training.

    Above, colours and shapes show the given labels; below, the suggested ones. Labels
    that look wrong are ringed: where they are right to be ringed, a text stands among
    others of another class, above, and fits its surroundings below. Each moment has a
    projection of its own, of the embeddings of all branches.

    Parameters
    ----------
    points : ndarray of shape (n_moments, n_drawn, 2)
        Positions on the maps.
    given, suggested : ndarray of shape (n_drawn,)
        Labels as positions in `classes`; -1 where none is given.
    is_issue : ndarray of shape (n_drawn,) of bool
        Which labels look wrong.
    classes : ndarray of shape (n_classes,)
        The classes.
    moments : list of str of length n_moments
        Names of the epochs.
    index : ndarray of shape (n_drawn,)
        Which texts are drawn.

    Attributes
    ----------
    figure_ : Figure
        The figure.
    ax_ : ndarray of shape (2, n_moments)
        Maps by the given labels, and by the suggested ones.

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.inspection import TrajectoryMapDisplay
    >>> texts, labels = make_texts(200, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> clf = DyGenClassifier(IncrementalDynamics(), random_state=0).fit(texts, noisy)
    >>> TrajectoryMapDisplay.from_estimator(clf, texts, epochs=[0, -1]).ax_.shape
    (2, 2)
    """

    def __init__(self, points, given, suggested, is_issue, classes, moments, index):
        self.points = points
        self.given = given
        self.suggested = suggested
        self.is_issue = is_issue
        self.classes = classes
        self.moments = moments
        self.index = index

    @classmethod
    @validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
    def from_estimator(
        cls, estimator, X=None, *, epochs=("initial", -1), projection=None,
        max_samples=1000, random_state=0, ax=None,
    ):  # fmt: skip
        """Draw the training texts of a classifier.

        Parameters
        ----------
        estimator : DyGenClassifier
            Fitted.
        X : sequence of str of length n_samples, or Trajectories, default=None
            The training texts in the order of the fit, to be replayed, or their
            trajectories. None takes those that the classifier has stored.
        epochs : sequence of int or "initial", default=("initial", -1)
            Moments to be drawn: positions among the recorded epochs, and "initial" for
            the model as it was before the training, which is left out if it was not
            recorded.
        projection : transformer, default=None
            Projects to two dimensions, such as `sklearn.manifold.TSNE`; fitted at each
            moment. None takes `sklearn.decomposition.PCA`.
        max_samples : int or None, default=1000
            Number of texts, drawn at random if there are more. None draws all.
        random_state : int, RandomState instance or None, default=0
            Determines which.
        ax : array-like of 2 * n_moments Axes, default=None
            Where to draw, those by given labels first; None makes a figure.

        Returns
        -------
        display : TrajectoryMapDisplay
            Drawn.

        Raises
        ------
        ValueError
            If `X` is missing or of another length, or an epoch was not recorded.
        """
        found = training_dynamics(estimator, X)
        return cls._of(*found, epochs, projection, max_samples, random_state).plot(ax)

    @classmethod
    @validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
    def _of(
        cls, labels, trajectories, moments, epochs=("initial", -1), projection=None,
        max_samples=1000, random_state=0,
    ):  # fmt: skip
        n_epochs = trajectories.n_epochs
        known = {e: moments[-n_epochs:][e] for e in range(-n_epochs, n_epochs)}
        if "initial" in trajectories.views:
            known["initial"] = moments[0]
        epochs = [e for e in epochs if e in known or e != "initial"]
        if not epochs or not known.keys() >= set(epochs):
            raise ValueError(
                f"epochs must hold positions among the {n_epochs} recorded epochs, or "
                f"'initial' if that was recorded, but is {epochs!r}."
            )
        index = np.arange(len(trajectories))
        if max_samples is not None and len(index) > max_samples:
            drawn = check_random_state(random_state).permutation(len(index))
            index = np.sort(drawn[:max_samples])
        few = trajectories[index]
        if projection is None:
            projection = PCA(2, svd_solver="covariance_eigh")  # draws no random numbers
        points = []
        for epoch in epochs:
            at = few.views.get(epoch)
            at = few.embeddings[:, :, epoch] if at is None else at
            flat = np.asarray(at, dtype=np.float32).reshape(len(index), -1)
            if flat.shape[1] == 1:
                flat = np.pad(flat, ((0, 0), (0, 1)))
            points.append(clone(projection).fit_transform(flat))
            if points[-1].shape[1] != 2:
                raise ValueError(
                    f"projection must give 2 columns, but gives {points[-1].shape[1]}."
                )
        names = [known[epoch] for epoch in epochs]
        codes = labels.given[index], labels.suggested[index], labels.is_issue[index]
        return cls(np.array(points), *codes, labels.classes, names, index)

    def _layout(self):
        return (2, len(self.moments)), (4.2 * len(self.moments) + 1.8, 7.6)

    def _draw(self):
        for row, codes in enumerate((self.given, self.suggested)):
            for panel, points, name in zip(
                self.ax_[row], self.points, self.moments, strict=True
            ):
                self._draw_map(panel, points, codes)
                panel.set(xticks=[], yticks=[], title=f"{_ROWS[row]} labels, {name}")
        self._draw_legend(self.ax_[0, -1])

    def _draw_map(self, panel, points, codes):
        """Draw points, (n_drawn, 2), in colours and shapes of classes, (n_drawn,)."""
        panel.scatter(*points[codes < 0].T, s=8, color="0.75", marker=".")
        for k, (color, marker) in enumerate(class_styles(len(self.classes))):
            panel.scatter(
                *points[codes == k].T, s=14, color=color, marker=marker, alpha=0.6, lw=0
            )
        panel.scatter(
            *points[self.is_issue].T, s=40, facecolors="none", edgecolors="0.2", lw=0.6
        )

    def _draw_legend(self, panel):
        """List classes, as far as there is room, and what a ring means."""
        names, family = printable(self.classes[:_MOST_NAMED])
        styles = class_styles(len(self.classes))
        rows = [(k, m, c, c) for k, (c, m) in zip(names, styles, strict=False)]
        if len(self.classes) > len(rows):
            rows.append((f"and {len(self.classes) - len(rows)} more", "", "k", "k"))
        if (self.given < 0).any():
            rows.append(("no label", ".", "0.75", "0.75"))
        rows.append(("looks wrong", "o", "none", "0.15"))
        keys = [Line2D([], [], ls="", marker=m, mfc=f, mec=e) for _, m, f, e in rows]
        legend = panel.legend(
            keys, [" "] * len(keys), bbox_to_anchor=(1.01, 1), loc="upper left",
            frameon=False,
        )  # fmt: skip
        # Afterwards: matplotlib leaves out what begins with "_", and parses "$".
        for text, (name, *_) in zip(legend.get_texts(), rows, strict=True):
            text.set(text=name, parse_math=False, family=family)
