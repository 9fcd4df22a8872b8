"""What a classifier takes from its `memory` instead of computing it again."""

import copy
import inspect
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from pickle import PicklingError

import joblib
import numpy as np
import scipy
import sklearn
from joblib._store_backends import FileSystemStoreBackend
from sklearn.utils.validation import check_memory

from . import __version__
from ._storage import hash_rest, replacing
from .base import BaseDynamics

logger = logging.getLogger(__name__)

_VERSIONED = {"numpy", "scipy", "skdygen", "sklearn"}  # known by their versions


def from_cache(memory, function, stage, *args):
    """Take what a function gave from a cache, and log that, or call it.

    Its last argument gets all that the result depends on beside the others.
    """
    is_path = isinstance(memory, os.PathLike)
    try:
        cache = _with_checksums(check_memory(os.fspath(memory) if is_path else memory))
    except OSError as error:
        raise OSError(
            f"memory={memory!r}: no cache can be made there ({error}); use another "
            f"folder, or None."
        ) from error
    params = {}
    if isinstance(cache, joblib.Memory):  # it calls this with what it has found
        params["cache_validation_callback"] = _log_reuse
    try:
        return cache.cache(function, **params)(stage, *args, _identify(stage))
    except PicklingError as error:  # before anything is trained
        raise TypeError(
            f"memory={memory!r} cannot tell stages from each other that hold what has "
            f"no name: {error.args[0]}; use a function of a module, or memory=None."
        ) from error


def _identify(stage):
    """List what decides over results besides parameters: versions, files, sources."""
    parts = (stage, *stage.get_params().values())
    dynamics = [part for part in parts if isinstance(part, BaseDynamics)]
    versions = [__version__, sklearn.__version__, np.__version__, scipy.__version__]
    files = [part._identify_files() for part in dynamics]
    return [*versions, *files, *map(_source, parts)]


def _source(part):
    """Source of a function or estimator of the user's own; None of anything else."""
    kind = part if inspect.isroutine(part) else type(part)
    package = (kind.__module__ or "").partition(".")[0]
    if package in _VERSIONED or package in sys.builtin_module_names:
        return None
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return None


def _log_reuse(metadata):
    """Log that a result was taken from a cache, by what joblib has written of it."""
    arguments = metadata.get("input_args", {})
    logger.info(
        "taken from the cache: %s of %s, which took %.1f s",
        "fit" if arguments.keys() & {"targets", "y"} else "replay",
        arguments.get("stage", "?").partition("(")[0],
        metadata.get("duration", float("nan")),
    )
    return True


def _with_checksums(memory):
    """Return a joblib.Memory like another one that keeps a checksum of each entry.

    Most of its entries with a flipped bit could be read otherwise.
    """
    store = getattr(memory, "store_backend", None)
    if type(store) is not FileSystemStoreBackend:  # no cache, or one by somebody else
        return memory
    checked = _CheckedStore()
    vars(checked).update(vars(store))
    memory = copy.copy(memory)
    memory.store_backend = checked
    return memory


class _CheckedStore(FileSystemStoreBackend):
    """A store of entries that are not read if they are not what was written."""

    def dump_item(self, call_id, *args, **params):
        super().dump_item(call_id, *args, **params)
        entry, digest = self._paths(call_id)
        with suppress(OSError), replacing(digest) as temporary:  # the disk may be full
            temporary.write_text(_hash(entry))

    def store_metadata(self, call_id, metadata):
        # Written out, texts would take as much room again, and be there to read.
        arguments = metadata["input_args"]
        said = {name: arguments[name] if name == "stage" else "" for name in arguments}
        super().store_metadata(call_id, metadata | {"input_args": said})

    def load_item(self, call_id, *args, **params):
        entry, digest = self._paths(call_id)
        # joblib logs the error and computes the entry again.
        if not digest.exists() or digest.read_text() != _hash(entry):
            raise ValueError(f"{entry} is not what was written.")
        return super().load_item(call_id, *args, **params)

    def get_cached_func_code(self, call_id):
        try:
            return super().get_cached_func_code(call_id)
        except UnicodeDecodeError as error:
            raise OSError("it is damaged.") from error  # as if it were missing

    def _paths(self, call_id):
        """Paths of an entry and of its checksum."""
        folder = Path(self.location, *call_id)
        return folder / "output.pkl", folder / "output.sha256"


def _hash(path):
    with open(path, "rb") as file:
        return hash_rest(file).hexdigest()
