"""Text classification with labels nobody can trust, for scikit-learn."""

from ._classifier import DyGenClassifier
from ._corrector import DyGenCorrector
from ._recipes import make_paper_classifier
from ._storage import load
from ._trajectories import Trajectories

__version__ = "0.1.0.dev0"

__all__ = [
    "DyGenClassifier",
    "DyGenCorrector",
    "Trajectories",
    "load",
    "make_paper_classifier",
]
