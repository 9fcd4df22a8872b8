from ._consensus import ConsensusPrior
from ._knn import TrajectoryKNNPrior
from ._linear import ClassifierPrior
from ._ridge import RidgePrior
from ._uniform import UniformPrior

__all__ = [
    "ClassifierPrior",
    "ConsensusPrior",
    "RidgePrior",
    "TrajectoryKNNPrior",
    "UniformPrior",
]
