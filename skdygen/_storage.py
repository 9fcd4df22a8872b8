"""Stand-in: the functions that storage by skops brings, with joblib."""

import os
import secrets
from contextlib import contextmanager
from pathlib import Path

import joblib


@contextmanager
def replacing(path):
    """Yield the path of a temporary file in the same folder that becomes `path`."""
    temporary = Path(path).with_name(f".{secrets.token_hex(8)}.part")
    temporary.open("xb").close()  # with the mode of any new file
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_estimator(estimator, path, *, overwrite=False, metadata=None):
    """Write an estimator to a file."""
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists.")
    with replacing(path) as temporary:
        joblib.dump({"estimator": estimator, "metadata": metadata or {}}, temporary)


def load_estimator(path, *, trusted=(), with_metadata=False):
    """Read an estimator, and what was kept with it."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if not is_saved_model(path):
        raise ValueError(f"{path} holds no model that skdygen has saved.")
    content = joblib.load(path)
    estimator = content["estimator"]
    return (estimator, content["metadata"]) if with_metadata else estimator


def is_saved_model(path):
    """Whether a file is one that `save_estimator` has written."""
    try:
        return "estimator" in joblib.load(path)
    except Exception:
        return False
