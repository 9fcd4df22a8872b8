"""Frozen embeddings of the benchmark's texts, computed once for all methods."""

import hashlib

import numpy as np

from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._backbone import Inputs
from skdygen.utils._torch import choose_precision, torch_seed


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
        name = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]
        path = self.folder / f"{name}.npy"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".part.npy")
            np.save(beside, encode(texts))
            beside.replace(path)
        self.update(zip(texts, np.load(path), strict=True))

    def __call__(self, texts):
        """Return an array of shape (n_samples, n_features)."""
        return np.stack([self[text] for text in texts])


class StoredDynamics(LanguageModelDynamics):
    """`LanguageModelDynamics` that reads frozen embeddings from a store.

    Set `store` on the class; with ``trainable_layers`` other than 0 it is not used.
    """

    store = None

    def _build_networks(self):
        backbone, branches = super()._build_networks()
        if self.trainable_layers == 0 and self.store is not None:
            backbone.encode = self._read
        return backbone, branches

    def _read(self, texts):
        embeddings = self.store(texts).astype(np.float32)
        lengths = np.ones(len(texts), dtype=np.int64)
        return Inputs({"sentence_embedding": embeddings}, lengths)


def encode(texts):
    """Embed texts by the frozen default model, (n_samples, n_features) float16."""
    dynamics = LanguageModelDynamics(trainable_layers=0)
    dynamics.classes_ = np.arange(2)  # for the size of heads that are not used
    dynamics.precision_ = choose_precision("auto", dynamics._device())
    with torch_seed(0):  # heads are drawn
        backbone, _ = dynamics._build_networks()
    return backbone.encode(texts).fields["sentence_embedding"].astype(np.float16)
