"""Texts that are longer than what a language model reads are embedded in windows."""

import logging

import numpy as np
from sklearn.preprocessing import normalize
from sklearn.utils import gen_batches

from .._progress import bar

logger = logging.getLogger(__name__)

_WINDOWS_AT_ONCE = 1024


def add_rest(backbone, texts, lengths, full, embeddings):
    """Pool the embeddings of what is read of long texts with those of the rest.

    Changes rows of `embeddings`, which `backbone` gave for texts cut to `lengths`; the
    rows `full` are those that can have been cut.
    """
    model, max_windows = backbone.model, backbone.max_windows
    room = model.max_seq_length - int(backbone.tokenize([""]).lengths[0])
    tokenizer = model.tokenizer
    is_fast = getattr(tokenizer, "is_fast", False)
    if not is_fast or tokenizer.truncation_side != "right" or room < 1:
        logger.info("long texts cannot be split by this tokeniser; they are cut")
        return
    with bar(
        total=len(full), desc="long texts", unit="text", verbose=backbone.verbose
    ) as progress:
        for part in gen_batches(len(full), max(1, _WINDOWS_AT_ONCE // max_windows)):
            rows = full[part]
            pieces, owners = split_rest(
                tokenizer, [texts[row] for row in rows], room, max_windows
            )
            progress.update(len(rows))
            if not pieces:
                continue
            tokens = backbone.tokenize(pieces)
            rest = np.empty((len(pieces), embeddings.shape[1]), dtype=np.float32)
            backbone.fill(rest, model, tokens)
            longer, owners = np.unique(owners, return_inverse=True)
            rows = rows[longer]
            pooled = pool(embeddings[rows], lengths[rows], rest, tokens.lengths, owners)
            embeddings[rows] = normalize(pooled) if backbone.normalizes else pooled


def split_rest(tokenizer, texts, room, max_windows):
    """Split what follows the first `room` tokens of texts into pieces of as many.

    Returns the pieces, at most ``max_windows - 1`` of a text, and the positions of
    their texts, (n_pieces,).
    """
    # Not verbose: it would warn of texts that are longer than the model reads.
    found = tokenizer(
        texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    pieces, owners = [], []
    for owner, offsets in enumerate(found["offset_mapping"]):
        ends = [end for _, end in offsets[: max_windows * room]]
        for first in range(room, len(ends), room):
            last = min(first + room, len(ends)) - 1
            pieces.append(texts[owner][ends[first - 1] : ends[last]])
            owners.append(owner)
    return pieces, np.array(owners, dtype=np.int64)


def pool(first, n_first, rest, n_rest, owners):
    """Mean embeddings of texts, weighted by numbers of tokens, (n_texts, n_features).

    Of their first windows, as many rows with `n_first` tokens, (n_texts,), and of
    pieces, (n_pieces, n_features) with `n_rest` tokens and `owners`, (n_pieces,).
    """
    sums, n_tokens = first * n_first[:, None], n_first.copy()
    np.add.at(sums, owners, rest * n_rest[:, None])
    np.add.at(n_tokens, owners, n_rest)
    return sums / n_tokens[:, None]
