"""Frozen embeddings of the benchmark's texts, computed once for all methods."""

import hashlib
import os
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import numpy as np

from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._frozen import Backbone, Inputs


class FrozenStore(dict):
    """Embeddings by the frozen default model, by text.

    Parameters
    ----------
    folder : Path
        Where embeddings are kept from one run to the next.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def add(self, texts):
        """Compute the embeddings of texts, all at once, or read them."""
        what = "\0".join([repr(make_encoder().get_params()), *texts])
        name = hashlib.sha256(what.encode()).hexdigest()[:24]
        path = self.folder / f"{name}.npy"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.npy")
            np.save(temporary, encode(texts))
            temporary.replace(path)
        self.update(zip(texts, np.load(path), strict=True))

    def __call__(self, texts):
        """Return an array of shape (n_samples, n_features)."""
        return np.stack([self[text] for text in texts])


class StoredDynamics(LanguageModelDynamics):
    """`LanguageModelDynamics` that reads frozen embeddings from a store.

    Set `store` on the class; with ``trainable_layers`` other than 0 it is not used.
    """

    store = None

    def _fit(self, X, targets, *, record):
        with self._reading():
            return super()._fit(X, targets, record=record)

    @contextmanager
    def _networks(self):
        with self._reading(), super()._networks() as networks:
            yield networks

    def _reading(self):
        """Context in which frozen embeddings are read instead of computed."""
        if self.trainable_layers != 0 or self.store is None:
            return nullcontext()
        return patch.object(Backbone, "encode", lambda _, texts: self._read(texts))

    def _read(self, texts):
        embeddings = self.store(texts).astype(np.float32)
        lengths = np.ones(len(texts), dtype=np.int64)
        return Inputs({"sentence_embedding": embeddings}, lengths)


def make_encoder():
    """Make a stage for its embeddings: what it learns is thrown away."""
    return LanguageModelDynamics(
        trainable_layers=0, n_branches=1, n_epochs=1, random_state=0
    )


def encode(texts):
    """Embed texts by the frozen default model, (n_samples, n_features) float16."""
    recorded = make_encoder().fit_transform(texts, np.arange(len(texts)) % 2)
    return np.asarray(recorded.views["initial"])
