"""What goes with an estimator into its file: a card, and its language model."""

import datetime
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

_FOLDER = "language_model"
# What of a model goes along, and is read: neither code nor pickle.
_MEMBER = re.compile(rf"{_FOLDER}/([\w-]+/)*[\w-][\w.-]*\.(json|txt|safetensors|model)")
_STANDS_FOR_IT = "in the file"  # as the name of a model that has none


def describe(estimator, portable):
    """Say what is known of an estimator, as JSON can; `portable` is its plain copy."""
    now = datetime.datetime.now(datetime.timezone.utc)
    card = {
        "estimator": type(estimator).__name__,
        "saved": now.isoformat(timespec="seconds"),
        "language model": [_name(stage.model) for stage in predicting_models(portable)],
    }
    with suppress(RuntimeError):  # a class of somebody's that takes *args
        card["settings"] = " ".join(repr(portable).split())
    targets = getattr(estimator, "_targets", None)
    if targets is not None and hasattr(estimator, "noise_rate_"):
        counts = np.bincount(
            targets.codes[targets.labelled], minlength=len(targets.classes)
        )
        rate = float(estimator.noise_rate_)
        card |= {
            "texts": len(targets.codes),
            "labels": len(targets.labelled),
            "verified": len(targets.checked),
            "classes": dict(
                zip(map(str, targets.classes), counts.tolist(), strict=True)
            ),
            "noise rate": None if np.isnan(rate) else rate,
            "interval": [*map(float, getattr(estimator, "noise_rate_interval_", ()))],
        }
    return card


def _name(model):
    """Name a language model, or what encodes texts in its place."""
    if isinstance(model, str):
        return model
    named = model if hasattr(model, "__qualname__") else type(model)
    return f"{named.__module__}.{named.__qualname__}"


def predicting_models(estimator):
    """Fitted language model stages that predictions of an estimator need."""
    if isinstance(estimator, Pipeline):
        return [
            stage for _, step in estimator.steps for stage in predicting_models(step)
        ]
    if hasattr(estimator, "_check_model"):
        return [estimator] if getattr(estimator, "snapshots_", None) else []
    last = getattr(estimator, "final_estimator_", None)
    last = getattr(estimator, "dynamics_", None) if last is None else last
    return [] if last is None else predicting_models(last)


def parts_of(part, seen=None):
    """Yield every estimator in an estimator or container, itself the last."""
    seen = set() if seen is None else seen
    if isinstance(part, (list, tuple, dict)):
        for value in part.values() if isinstance(part, dict) else part:
            yield from parts_of(value, seen)
    elif isinstance(part, BaseEstimator) and id(part) not in seen:
        seen.add(id(part))
        yield from parts_of(vars(part), seen)
        yield part


def language_models(estimator):
    """List every language model stage in an estimator."""
    return [part for part in parts_of(estimator) if hasattr(part, "_check_model")]


def model_to_bundle(estimator):
    """Return the language model of an estimator, and names of model objects by id."""
    stages = [s for s in predicting_models(estimator) if s._has_language_model()]
    if len(stages) != 1:
        raise ValueError(
            f"bundle=True needs a fitted estimator that predicts with one language "
            f"model, but this one has {len(stages)}; save it without."
        )
    model = stages[0].model
    if isinstance(model, (str, os.PathLike)):
        return model, {}
    stages = language_models(estimator)
    return model, {id(s.model): (s.model, _STANDS_FOR_IT) for s in stages}


def write_model(model, archive):
    """Write the files of a language model into the archive of its estimator."""
    hub = _hub()
    with TemporaryDirectory() as folder, hub.quiet():
        found = hub.load_sentence_transformer(model)
        if found.get_backend() != "torch":  # of which nothing is read from a file
            raise ValueError(
                f"bundle=True: the model computes with "
                f"backend={found.get_backend()!r}; save without, and take its folder "
                f"along."
            )
        found.save(folder, create_model_card=False)
        foreign = _find_foreign_module(Path(folder))
        if foreign is not None:  # code that whoever loads the file may not have
            raise ValueError(
                f"bundle=True: the model has the module {foreign!r}, which is not of "
                f"sentence-transformers; save without, and take its folder along."
            )
        for path in sorted(Path(folder).rglob("*")):
            member = f"{_FOLDER}/{path.relative_to(folder).as_posix()}"
            if path.is_file() and _MEMBER.fullmatch(member):
                archive.write(path, member)


def has_model(archive):
    """Whether there is a language model in the archive of a file."""
    return any(map(_MEMBER.fullmatch, archive.namelist()))


def read_model(archive, path, estimator):
    """Give an estimator the language model that is in its file, if one is."""
    if not has_model(archive):
        return
    with TemporaryDirectory() as folder:
        archive.extractall(folder, filter(_MEMBER.fullmatch, archive.namelist()))
        folder = Path(folder) / _FOLDER
        try:
            foreign = _find_foreign_module(folder)
            if foreign is not None:
                raise ValueError(f"it names the module {foreign!r}.")
            model = _hub().load_sentence_transformer(str(folder))
        except Exception as error:  # of many kinds, by what the damage has hit
            raise ValueError(
                f"{path} has a language model inside that cannot be loaded: {error}"
            ) from error
    fitted = predicting_models(estimator)
    for stage in language_models(estimator):
        if stage in fitted or stage.model == _STANDS_FOR_IT:
            stage.model = model


def _hub():
    """Import what loads language models, which needs torch."""
    from .dynamics import _hub

    return _hub


def _find_foreign_module(folder):
    """Give a module of a model that is not of sentence-transformers, or None."""
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    types = [module["type"] for module in modules]
    return next((t for t in types if not t.startswith("sentence_transformers.")), None)


def prepare(estimator, path, *, is_warm):
    """Find the language model that predictions need, or predict once to have it."""
    for stage in predicting_models(estimator):
        try:
            stage._check_model(is_warm)
        except ValueError as error:
            if str(path) in str(error):  # it says what to do
                raise
            raise type(error)(
                f"{path} cannot predict: {error} Save it with bundle=True to have the "
                f"language model inside, or pass check_model=False to look at what it "
                f"says of its labels only."
            ) from error
        if is_warm and stage is getattr(estimator, "dynamics_", None):
            estimator.predict(["a text"])  # what is behind it, too
