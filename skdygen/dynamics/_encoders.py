"""Encoders of texts that are no language models: callables and transformers."""

import os

import numpy as np
from scipy import sparse
from sentence_transformers import SentenceTransformer
from sklearn.base import clone
from torch import nn

from .._memmap import parts
from ._hub import backend_of

_MOST_SHOWN = 60  # characters of a text


def is_language_model(model):
    """Whether a model is one that sentence-transformers has loaded, or is to load."""
    return isinstance(model, (str, os.PathLike, SentenceTransformer))


def is_transformer(model):
    """Whether a model is a scikit-learn transformer, to be fitted on the texts."""
    return hasattr(model, "fit") and hasattr(model, "transform")


def check_model(model, trainable_layers):
    """Raise an error if a model is of no use, or cannot be trained."""
    if is_language_model(model):
        backend = backend_of(model)
        if backend != "torch" and trainable_layers != 0:
            raise ValueError(
                f"model computes with backend={backend!r}, and none of it can be "
                f"trained; use trainable_layers=0, or load it with backend='torch'."
            )
        return
    if isinstance(model, type):
        raise TypeError(
            f"model is the class {model.__name__}, but an object is needed; pass "
            f"{model.__name__}() instead."
        )
    if isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}, which comes without a tokeniser; pass "
            f"its name or folder, or a SentenceTransformer that begins with it."
        )
    if trainable_layers != 0:
        raise ValueError(
            f"model={model!r} is no language model, and none of it can be trained; use "
            f"trainable_layers=0, or the name of a language model."
        )


def fit_encoder(model, texts):
    """Fit a copy of a scikit-learn transformer; None for what is not fitted."""
    if is_language_model(model) or not is_transformer(model):
        return None
    return clone(model).fit(texts, None)  # which a FrozenEstimator has to be told


def as_embeddings(embed_texts, texts, n_features=None):
    """Embed texts by a function, (n_texts, n_features) in single precision.

    A ValueError says that what it gives is not that.
    """
    given = embed_texts(texts)
    if sparse.issparse(given):
        raise ValueError(
            f"model gives a sparse matrix of {given.shape[1]} columns; put something "
            f"behind it that makes an array of few, such as "
            f"sklearn.decomposition.TruncatedSVD."
        )
    try:
        found = np.asarray(given, dtype=np.float32)
    except (RuntimeError, TypeError, ValueError) as error:
        sizes = [np.size(row) for row in given] if isinstance(given, list) else []
        odd = next((row for row, size in enumerate(sizes) if size != sizes[0]), None)
        reason = str(error)
        if odd is not None:
            reason = f"row {odd} has {sizes[odd]} of them, row 0 has {sizes[0]}"
        raise ValueError(
            f"model gives a {type(given).__name__} that is no array of numbers, a row "
            f"of equal length for each text: {reason}"
        ) from error
    n_columns = found.shape[1] if found.ndim == 2 else 0
    is_other = n_features is not None and n_columns != n_features
    if not n_columns or len(found) != len(texts) or is_other:
        wanted = "n_features" if n_features is None else n_features
        raise ValueError(
            f"model gives an array of shape {found.shape} for {len(texts)} texts, but "
            f"({len(texts)}, {wanted}) is needed: a row for each text, in their order, "
            f"of as many numbers each time."
        )
    return found


def check_embeddings(embeddings, texts):
    """Raise an error about the first text of which there are no numbers to be kept."""
    most = np.finfo(np.float16).max  # as which they are kept
    for part in parts(len(texts)):
        is_wrong = ~(np.abs(embeddings[part]) <= most)
        if is_wrong.any():
            row, column = np.argwhere(is_wrong)[0] + [part.start, 0]
            text = texts[row]
            if len(text) > _MOST_SHOWN:
                text = text[:_MOST_SHOWN] + "..."
            raise ValueError(
                f"model gives {embeddings[row, column]} for the text {text!r}, but "
                f"finite numbers are needed, up to {most:g}; leave this text out, or "
                f"have the model give numbers, such as 0."
            )
