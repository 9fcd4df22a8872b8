"""Pictures and a report: what is wrong with the labels, to see for oneself."""

from ._dynamics_display import DynamicsDisplay
from ._html_report import write_report
from ._map_display import TrajectoryMapDisplay
from ._quality_display import LabelQualityDisplay
from ._transition_display import NoiseTransitionDisplay

__all__ = [
    "DynamicsDisplay",
    "LabelQualityDisplay",
    "NoiseTransitionDisplay",
    "TrajectoryMapDisplay",
    "write_report",
]
