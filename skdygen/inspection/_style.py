"""How the pictures look: colours that differ in grey and for the colour-blind."""

from itertools import cycle, islice

# Okabe and Ito (2008), without yellow, which is faint on white.
GREY, BLUE, VERMILION = "#595959", "#0072b2", "#d55e00"
_COLORS = (BLUE, "#e69f00", "#009e73", VERMILION, "#cc79a7", "#56b4e9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")


def class_styles(n_classes):
    """Colour and marker of each class; colours and shapes repeat, pairs hardly do."""
    styles = zip(cycle(_COLORS), cycle(_MARKERS), strict=False)
    return list(islice(styles, n_classes))


def check_axes(ax, n_axes, figsize):
    """Return figure and axes to draw on: new ones, or those that were given.

    Parameters
    ----------
    ax : Axes, array-like of Axes, or None
        What the user has given.
    n_axes : int
        Number of axes that are needed.
    figsize : tuple of (float, float)
        Size of a new figure in inches.

    Returns
    -------
    figure : Figure
        The figure of the first axes.
    axes : ndarray of shape (n_axes,)
        The axes.

    Raises
    ------
    ValueError
        If `ax` holds another number of axes.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    if ax is None:
        figure, axes = plt.subplots(
            1, n_axes, figsize=figsize, squeeze=False, layout="constrained"
        )
        return figure, axes.ravel()
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) != n_axes:
        raise ValueError(f"ax must hold {n_axes} axes, but holds {len(axes)}.")
    return axes[0].figure, axes
