from ._incremental import IncrementalDynamics
from ._language_model import LanguageModelDynamics
from ._views import LexicalView

__all__ = ["IncrementalDynamics", "LanguageModelDynamics", "LexicalView"]
