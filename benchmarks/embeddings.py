"""Frozen embeddings of the benchmark's texts, computed once for all methods."""

import hashlib
import os
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import numpy as np

from skdygen.dynamics import LanguageModelDynamics, _engine
from skdygen.dynamics._frozen import _FIXED_TEXT, Encoder


class FrozenStore(dict):
    """Embeddings by a frozen model, by text.

    Parameters
    ----------
    folder : Path
        Where embeddings are kept from one run to the next.
    name : str, default=None
        By which they are found there again; None for the default model.
    model : str or callable, default=None
        For `LanguageModelDynamics`; None takes the default.
    """

    def __init__(self, folder, name=None, model=None):
        super().__init__()
        self.folder, self.name = folder, name
        self.params = {} if model is None else {"model": model}

    def add(self, texts):
        """Compute the embeddings of texts, all at once, or read them."""
        what = self.name or repr(make_encoder().get_params())
        what = "\0".join([what, *texts])
        name = hashlib.sha256(what.encode()).hexdigest()[:24]
        path = self.folder / f"{name}.npy"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.npy")
            np.save(temporary, encode(texts, **self.params))
            temporary.replace(path)
        self.update(zip(texts, np.load(path), strict=True))

    def __call__(self, texts):
        """Return an array of shape (n_samples, n_features)."""
        return np.stack([self[text] for text in texts])

    def __missing__(self, text):
        if text != _FIXED_TEXT:  # by which stages tell models from each other
            raise KeyError(text)
        return np.zeros_like(next(iter(self.values())))


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
        return patch.object(_engine, "make_backbone", self._make_encoder)

    def _make_encoder(self, stage, device, **_):
        return Encoder(self.store, stage, device)


def make_encoder(**params):
    """Make a stage for its embeddings: what it learns is thrown away."""
    return LanguageModelDynamics(
        trainable_layers=0, n_branches=1, n_epochs=1, random_state=0, **params
    )


def encode(texts, **params):
    """Embed texts by a frozen model, (n_samples, n_features) float16."""
    stage = make_encoder(**params)
    recorded = stage.fit_transform(texts, np.arange(len(texts)) % 2)
    return np.asarray(recorded.views["initial"])
