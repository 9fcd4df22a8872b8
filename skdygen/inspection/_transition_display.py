"""How true classes turn into given ones."""

import numpy as np

from .._decisions import estimate_transition_matrix
from .._encoding import encode_labels, join_classes
from ._labels import Labels
from ._style import Display, printable

_MOST_NUMBERED = 15  # classes with numbers in the cells
_MOST_NAMED = 60


class NoiseTransitionDisplay(Display):
    """The estimated noise transition matrix, with counts.

    Parameters
    ----------
    matrix : ndarray of shape (n_classes, n_classes)
        Estimated p(given | true), true classes along the rows.
    counts : ndarray of shape (n_classes, n_classes)
        Number of texts of each pair.
    classes : ndarray of shape (n_classes,)
        The classes.

    Attributes
    ----------
    figure_, ax_ : Figure and Axes
        Where it is drawn.
    image_ : AxesImage
        The matrix.
    text_ : ndarray of Text of shape (n_classes, n_classes) or None
        What stands in the cells; None if there are more than 15 classes.

    Examples
    --------
    >>> from skdygen.inspection import NoiseTransitionDisplay
    >>> given = ["cat", "dog", "dog", "dog"]
    >>> suggested = ["cat", "cat", "dog", "dog"]
    >>> NoiseTransitionDisplay.from_predictions(given, suggested).counts
    array([[1, 1],
           [0, 2]])
    """

    def __init__(self, matrix, counts, classes):
        self.matrix = matrix
        self.counts = counts
        self.classes = classes

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw what a classifier has found in its training labels.

        Parameters
        ----------
        estimator : DyGenClassifier
            Fitted. Texts count with their `sample_weight` in the matrix, and once each
            in the counts.
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : NoiseTransitionDisplay
            Drawn.
        """
        labels = Labels.of_estimator(estimator)
        matrix = estimator.noise_transition_matrix_
        return cls(matrix, labels.pairs, labels.classes).plot(ax)

    @classmethod
    def from_predictions(cls, y, y_suggested, *, missing_label=None, ax=None):
        """Draw how suggested labels differ from given ones.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Given labels.
        y_suggested : array-like of shape (n_samples,)
            Labels that are believed instead.
        missing_label : object, default=None
            The value in `y` that means "no label"; such texts are not counted.
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : NoiseTransitionDisplay
            Drawn.
        """
        given, codes = encode_labels(y, missing_label=missing_label, min_classes=1)
        believed, suggested = encode_labels(
            y_suggested, n_samples=len(codes), min_classes=1, name="y_suggested"
        )
        where = f"row {np.argmin(suggested)}"
        classes = join_classes(given, believed, "y_suggested", where)
        certain = np.eye(len(classes))[np.searchsorted(classes, believed)[suggested]]
        labels = Labels.of_predictions(y, certain, classes, missing_label)
        matrix = estimate_transition_matrix(certain, labels.given, np.ones(len(codes)))
        return cls(matrix, labels.pairs, classes).plot(ax)

    def _layout(self):
        n_classes = len(self.classes)
        scale = 0.75 if n_classes <= _MOST_NUMBERED else 0.2
        size = min(2.5 + scale * n_classes, 12)
        return (), (size + 1, size)

    def _draw(self):
        # Of a class that is suggested for no text, a share would be made up.
        are_known = self.counts.sum(axis=1, keepdims=True) > 0
        shares = np.where(are_known, self.matrix, np.nan)
        self.image_ = self.ax_.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        self.figure_.colorbar(
            self.image_, ax=self.ax_, label="share of the suggested class", shrink=0.8
        )
        self.text_ = None
        if len(self.classes) <= _MOST_NUMBERED:
            self.text_ = np.empty(self.counts.shape, dtype=object)
            for row, column in np.ndindex(self.counts.shape):
                share, n = shares[row, column], self.counts[row, column]
                written = f"{share:.0%}\n{n:,}" if are_known[row] else f"{n}"
                self.text_[row, column] = self.ax_.text(
                    column, row, written,
                    ha="center", va="center", size="small",
                    color="white" if share > 0.65 else "black",
                )  # fmt: skip
        if len(self.classes) <= _MOST_NAMED:
            at, (names, family) = np.arange(len(self.classes)), printable(self.classes)
            params = {"labels": names, "family": family, "parse_math": False}
            slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            self.ax_.set_xticks(at, **params, **slant)
            self.ax_.set_yticks(at, **params)
        else:  # positions would be read as classes
            self.ax_.set(xticks=[], yticks=[])
        self.ax_.set(xlabel="given label", ylabel="suggested label")
