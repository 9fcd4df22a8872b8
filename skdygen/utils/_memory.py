"""A cache that says in the log when it was of use."""

import logging
from functools import partial

import joblib

logger = logging.getLogger(__name__)


class LoggedMemory:
    """Caches as a `joblib.Memory` does, and logs what it need not compute again.

    Parameters
    ----------
    memory : joblib.Memory or object with a method `cache`
        Where results are kept. Only the first kind can tell.
    """

    def __init__(self, memory):
        self.memory = memory
        self.location = getattr(memory, "location", "")

    def cache(self, func, **params):
        """Return a function that looks in the cache first."""
        if isinstance(self.memory, joblib.Memory):
            # joblib calls this where it has found a result.
            params["cache_validation_callback"] = partial(_log_hit, func.__name__)
        return self.memory.cache(func, **params)


def _log_hit(name, metadata):
    arguments = metadata.get("input_args", {})
    # The first is what scikit-learn calls a stage that it fits.
    estimator = arguments.get("transformer") or arguments.get("dynamics", "?")
    logger.info(
        "taken from the cache: %s of %s, which took %.1f s",
        "replay" if name == "_transform" else "fit",
        estimator.partition("(")[0],
        metadata.get("duration", float("nan")),
    )
    return True
