from ._incremental import IncrementalDynamics
from ._language_model import LanguageModelDynamics

__all__ = ["IncrementalDynamics", "LanguageModelDynamics"]
