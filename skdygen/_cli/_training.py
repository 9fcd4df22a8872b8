"""What the command line needs torch for: how long a fit will take, and where."""

from time import perf_counter

from sklearn.base import clone

from .._torch import what_is_wrong_with
from ..dynamics import LanguageModelDynamics
from ..dynamics._hub import find_model, load_sentence_transformer

__all__ = ["estimate_seconds", "find_model", "name_seconds", "what_is_wrong_with"]

_FEW, _MANY = 8, 48
_OTHER_STAGES = 1.1  # they and the language model take so much together


def estimate_seconds(stage, texts):
    """Estimate how long a fit will take; None of a stage that trains no language model.

    What a text costs, and what an epoch adds to that, is the difference between fits
    on few and on more texts, drawn evenly from all lengths.
    """
    if not isinstance(stage, LanguageModelDynamics):
        return None
    model = load_sentence_transformer(stage.model, max_length=stage.max_length)
    _fit_seconds(stage, model, texts, _FEW, 1)  # the first is slow
    few = _fit_seconds(stage, model, texts, _FEW, 1)
    many = _fit_seconds(stage, model, texts, _MANY, 1)
    longer = _fit_seconds(stage, model, texts, _MANY, 3)
    of_text = max(many - few, 0) / (_MANY - _FEW)
    of_epoch = max(longer - many, 0) / (2 * _MANY)
    dynamics = few + len(texts) * (of_text + (stage.n_epochs - 1) * of_epoch)
    return _OTHER_STAGES * dynamics


def name_seconds(seconds):
    """Write how long something takes, as exactly as an estimate can be."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds > 1.5 * size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.1g}'):g} s"


def _fit_seconds(stage, model, texts, n_texts, n_epochs):
    """Time a fit of some of the texts."""
    texts = sorted(texts, key=len)
    few = [texts[int((i + 0.5) * len(texts) / n_texts)] for i in range(n_texts)]
    short = clone(stage).set_params(model=model, n_epochs=n_epochs, random_state=0)
    short.set_params(verbose=0, checkpoint_dir=None, missing_label=None)
    start = perf_counter()
    short.fit_transform(few, [i % 2 for i in range(n_texts)])
    return perf_counter() - start
