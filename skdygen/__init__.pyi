from ._classifier import DyGenClassifier
from ._recipes import make_paper_classifier
from ._sampler import DyGenCorrector
from ._storage import load
from ._trajectories import Trajectories

__version__: str

__all__ = [
    "DyGenClassifier",
    "DyGenCorrector",
    "Trajectories",
    "load",
    "make_paper_classifier",
]
