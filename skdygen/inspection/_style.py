"""How the pictures look and are drawn: colours that differ in grey, too, and axes."""

import warnings
from contextlib import suppress
from functools import lru_cache
from math import prod

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties

from .._trajectories import check_trajectories
from ._labels import Labels, moment_names

# Okabe and Ito (2008), without yellow, which is faint on white.
GREY, BLUE, ORANGE, VERMILION = "#595959", "#0072b2", "#e69f00", "#d55e00"
_COLORS = (BLUE, ORANGE, "#009e73", VERMILION, "#cc79a7", "#56b4e9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
_MOST_CHARACTERS = 30  # of the name of a class


def class_styles(n_classes):
    """Colour and marker of each class; colours and shapes repeat, pairs hardly do."""
    n_colors, n_markers = len(_COLORS), len(_MARKERS)
    return [(_COLORS[k % n_colors], _MARKERS[k % n_markers]) for k in range(n_classes)]


def printable(names):
    """Names as short texts, and families of fonts that have all of their characters.

    Where no font of this machine has, there is a warning, and they become "?".
    """
    names = [_shorten(str(name)) for name in names]
    usual = plt.rcParams["font.family"]
    known = _characters(font_manager.findfont(FontProperties()))
    lacking = set("".join(names)) - known - {"\n"}
    if not lacking:
        return names, usual
    for font in font_manager.fontManager.ttflist:
        if lacking <= _characters(font.fname):
            return names, [*usual, font.name]
    first = next(name for name in names if lacking & set(name))
    warnings.warn(
        f"no font of this machine has all characters of the class {first!r}, which are "
        f"shown as '?'; install one that has, such as Noto Sans CJK.",
        stacklevel=2,
    )
    shown_as = dict.fromkeys(map(ord, lacking), "?")
    return [name.translate(shown_as) for name in names], usual


def _shorten(name):
    """Leave out the middle of a long name; the ends tell names apart."""
    half = _MOST_CHARACTERS // 2
    return name if len(name) <= _MOST_CHARACTERS else f"{name[:half]}…{name[-half:]}"


@lru_cache
def _characters(path):
    """Characters that a font can draw, in any size."""
    with suppress(RuntimeError):  # of fonts that matplotlib cannot read
        font = font_manager.get_font(path)
        # One that comes with matplotlib has a sign for each script.
        if font.scalable and not font.family_name.startswith("Last Resort"):
            return set(map(chr, font.get_charmap()))
    return set()


class Display:
    """A picture that can be drawn again: `_layout` and `_draw` say what is on it."""

    def plot(self, ax=None):
        """Draw the picture, a first time or again.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            Where to draw, on as many as `ax_` holds; None makes a figure.

        Returns
        -------
        display : object
            This display, drawn.
        """
        shape, figsize = self._layout()  # shape of `ax_`, inches
        if ax is None:
            n_rows, n_columns = (1, 1, *shape)[-2:]
            _, ax = plt.subplots(
                n_rows, n_columns, figsize=figsize, layout="constrained",
                sharex="col", sharey="col",
            )  # fmt: skip
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != prod(shape):
            raise ValueError(f"ax must hold {prod(shape)} axes, but holds {len(axes)}.")
        self.figure_ = axes[0].figure
        self.ax_ = axes.reshape(shape)[()]  # of shape (), the axes themselves
        self._draw()
        return self


class TrajectoryDisplay(Display):
    """A picture of trajectories; `_of` makes it of these, `Labels` and moments."""

    @classmethod
    def from_predictions(
        cls, trajectories, y, label_distributions, *, missing_label=None, ax=None,
        **params,
    ):  # fmt: skip
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
            The value in `y` that means "no label".
        ax : array-like of Axes, default=None
            Where to draw; None makes a figure.
        **params : dict
            What else `from_estimator` takes.

        Returns
        -------
        display : object
            The display, drawn.
        """
        check_trajectories(trajectories, name="trajectories")
        classes = trajectories.classes
        labels = Labels.of_predictions(y, label_distributions, classes, missing_label)
        if len(labels.given) != len(trajectories):
            raise ValueError(
                f"y has {len(labels.given)} labels, but trajectories are of "
                f"{len(trajectories)} texts; pass one label for each."
            )
        moments = moment_names(None, trajectories)
        return cls._of(labels, trajectories, moments, **params).plot(ax)
