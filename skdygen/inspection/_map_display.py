"""Where texts are, and how they move, in two dimensions."""

from itertools import product

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

from .._trajectories import check_trajectories
from ._labels import Labels, moment_names, training_trajectories
from ._style import check_axes, class_styles

_ROWS = ("given", "suggested")
_MOST_NAMED = 20  # classes in the legend


class TrajectoryMapDisplay:
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

    See Also
    --------
    DynamicsDisplay : Distances along the training.

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
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        epochs=("initial", -1),
        projection=None,
        max_samples=1000,
        random_state=0,
        ax=None,
    ):
        """Draw the training texts of a classifier.

        Parameters
        ----------
        estimator : DyGenClassifier
            Fitted.
        X : sequence of str of length n_samples, or Trajectories
            The training texts in the order of the fit, which are replayed, or their
            trajectories.
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
            Where to draw; None makes a figure.

        Returns
        -------
        display : TrajectoryMapDisplay
            Drawn.

        Raises
        ------
        ValueError
            If `X` is not as long as the classifier's training texts, or an epoch is
            not among the recorded ones.
        """
        labels = Labels.of_estimator(estimator)
        trajectories = training_trajectories(estimator, X)
        return cls._from_labels(
            trajectories, labels, moment_names(estimator, trajectories), epochs,
            projection, max_samples, random_state, ax,
        )  # fmt: skip

    @classmethod
    def from_predictions(
        cls,
        trajectories,
        y,
        label_distributions,
        *,
        missing_label=None,
        epochs=("initial", -1),
        projection=None,
        max_samples=1000,
        random_state=0,
        ax=None,
    ):
        """Draw trajectories, with any class probabilities.

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
            The value in `y` that means "no label".
        epochs : sequence of int or "initial", default=("initial", -1)
            Moments to be drawn, see `from_estimator`.
        projection : transformer, default=None
            Projects to two dimensions; None takes `sklearn.decomposition.PCA`.
        max_samples : int or None, default=1000
            Number of texts, drawn at random if there are more. None draws all.
        random_state : int, RandomState instance or None, default=0
            Determines which.
        ax : array-like of 2 * n_moments Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : TrajectoryMapDisplay
            Drawn.
        """
        check_trajectories(trajectories, name="trajectories")
        labels = Labels.of_predictions(
            y, label_distributions, trajectories.classes, missing_label
        )
        return cls._from_labels(
            trajectories, labels, moment_names(None, trajectories), epochs, projection,
            max_samples, random_state, ax,
        )  # fmt: skip

    @classmethod
    def _from_labels(
        cls, trajectories, labels, names, epochs, projection, max_samples,
        random_state, ax,
    ):  # fmt: skip
        chosen = _choose_moments(epochs, trajectories)
        n_before = trajectories.initial is not None
        moments = [names[0 if e == "initial" else e + n_before] for e in chosen]
        index = np.arange(len(trajectories))
        if max_samples is not None and len(index) > max_samples:
            drawn = check_random_state(random_state).permutation(len(index))
            index = np.sort(drawn[:max_samples])
        few = trajectories[index]
        points = []
        for epoch in chosen:
            at = few.initial if epoch == "initial" else few.embeddings[:, :, epoch]
            flat = np.asarray(at, dtype=np.float32).reshape(len(index), -1)
            if projection is None:
                model = PCA(2, svd_solver="covariance_eigh")  # draws no random numbers
            else:
                model = clone(projection)
            points.append(model.fit_transform(flat))
        display = cls(
            np.array(points), labels.given[index], labels.suggested[index],
            labels.is_issue[index], labels.classes, moments, index,
        )  # fmt: skip
        return display.plot(ax=ax)

    def plot(self, ax=None):
        """Draw the maps.

        Parameters
        ----------
        ax : array-like of 2 * n_moments Axes, default=None
            Where to draw, those by given labels first; None makes a figure.

        Returns
        -------
        display : TrajectoryMapDisplay
            Drawn.
        """
        n_moments = len(self.moments)
        if ax is None:
            import matplotlib.pyplot as plt

            figsize = (4.2 * n_moments + 1.8, 7.6)
            _, ax = plt.subplots(
                2, n_moments, figsize=figsize, squeeze=False, layout="constrained",
                sharex="col", sharey="col",
            )  # fmt: skip
        self.figure_, axes = check_axes(ax, 2 * n_moments, None)
        self.ax_ = axes.reshape(2, n_moments)
        for (row, codes), moment in product(
            enumerate((self.given, self.suggested)), range(n_moments)
        ):
            panel = self.ax_[row, moment]
            self._plot_map(panel, self.points[moment], codes)
            panel.set(xticks=[], yticks=[])
            panel.set_title(f"{_ROWS[row]} labels, {self.moments[moment]}")
        self._add_legend(self.ax_[0, -1])
        return self

    def _plot_map(self, panel, points, codes):
        panel.scatter(*points[codes < 0].T, s=8, color="0.75", marker=".")
        styles = class_styles(len(self.classes))
        for k, (color, marker) in enumerate(styles):
            panel.scatter(
                *points[codes == k].T, s=14, color=color, marker=marker, alpha=0.6, lw=0
            )
        panel.scatter(
            *points[self.is_issue].T, s=40, facecolors="none", edgecolors="0.2", lw=0.6
        )

    def _add_legend(self, panel):
        """List classes, as far as there is room, and what a ring means."""
        from matplotlib.lines import Line2D

        def entry(name, marker, face, edge, size):
            return Line2D(
                [], [], ls="", marker=marker, mfc=face, mec=edge, ms=size, label=name
            )

        styles = class_styles(len(self.classes))
        entries = [
            entry(str(name), marker, color, color, 6)
            for name, (color, marker) in zip(self.classes, styles, strict=True)
        ]
        n_more = len(entries) - _MOST_NAMED
        if n_more > 0:
            entries = entries[:_MOST_NAMED]
            entries.append(entry(f"and {n_more} more", "", "none", "none", 6))
        if (self.given < 0).any():
            entries.append(entry("no label", ".", "0.75", "0.75", 6))
        entries.append(entry("looks wrong", "o", "none", "0.15", 9))
        names = [entry.get_label() for entry in entries]
        legend = panel.legend(
            entries, [" "] * len(names), loc="upper left", bbox_to_anchor=(1.01, 1),
            frameon=False,
        )  # fmt: skip
        # Afterwards, since a legend leaves out names that begin with an underscore.
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set(text=name, parse_math=False)


def _choose_moments(epochs, trajectories):
    """Check the epochs; "initial" goes if it was not recorded and others are left."""
    n_epochs = trajectories.n_epochs
    chosen = []
    for epoch in epochs:
        if isinstance(epoch, str) and epoch == "initial":
            if trajectories.initial is not None:
                chosen.append(epoch)
        elif isinstance(epoch, (int, np.integer)) and -n_epochs <= epoch < n_epochs:
            chosen.append(int(epoch) % n_epochs)
        else:
            raise ValueError(
                f"epochs holds {epoch!r}; it takes 'initial' and positions among the "
                f"{n_epochs} recorded epochs, counted from 0."
            )
    if not chosen:
        raise ValueError(
            "epochs holds no moment that was recorded; it takes positions among the "
            f"{n_epochs} recorded epochs, counted from 0."
        )
    return chosen
