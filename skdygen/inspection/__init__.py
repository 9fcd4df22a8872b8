"""Pictures and a report: what is wrong with the labels, to see for oneself."""

from ._dynamics import DynamicsDisplay
from ._map import TrajectoryMapDisplay
from ._quality import LabelQualityDisplay
from ._report import write_report
from ._transition import NoiseTransitionDisplay

__all__ = [
    "DynamicsDisplay",
    "LabelQualityDisplay",
    "NoiseTransitionDisplay",
    "TrajectoryMapDisplay",
    "write_report",
]
