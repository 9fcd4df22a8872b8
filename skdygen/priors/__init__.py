"""Stage 2: from training dynamics to a prior belief in each text's true label."""

from ._classifier import ClassifierPrior
from ._consensus import ConsensusPrior
from ._neighbors import TrajectoryKNNPrior
from ._uniform import UniformPrior

__all__ = ["ClassifierPrior", "ConsensusPrior", "TrajectoryKNNPrior", "UniformPrior"]
