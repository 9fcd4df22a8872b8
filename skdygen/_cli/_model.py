"""A saved model, and the names of the columns that it was fitted on."""

import json
from pathlib import Path

from .._storage import replacing
from ._errors import CommandError, explained

_COLUMNS = "columns.json"


def save_model(clf, path, columns, *, overwrite):
    """Save a model that shows no progress, as it is by default.

    Parameters
    ----------
    clf : DyGenClassifier
        Fitted.
    path : Path
        The folder.
    columns : dict of str to str
        Names of the columns "text" and "label".
    overwrite : bool
        Whether a model that is there is replaced.
    """
    stages = [s for s in clf.pipeline_.named_steps.values() if hasattr(s, "verbose")]
    verbose = clf.verbose
    try:
        for estimator in (clf, *stages):
            estimator.verbose = 0
        clf.save(path, overwrite=overwrite)
    finally:
        for estimator in (clf, *stages):
            estimator.verbose = verbose
    with replacing(path / _COLUMNS) as beside:
        beside.write_text(json.dumps(columns), encoding="utf-8")


def load_model(path, *, device, quiet):
    """Load what `save_model` has saved, or any fitted classifier, to be used here."""
    from .. import DyGenClassifier

    with explained():
        clf = DyGenClassifier.load(path)
    if not hasattr(clf, "classes_"):
        raise CommandError(f"{path} holds a classifier that is not fitted.")
    if hasattr(clf, "dynamics_"):
        params = {"device": device, "verbose": int(not quiet)}
        known = clf.dynamics_.get_params()
        clf.dynamics_.set_params(**{k: v for k, v in params.items() if k in known})
    return clf


def fitted_columns(path):
    """Give the names of the columns that a model was fitted on.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    columns : dict of str to str
        Names of the columns "text" and "label"; empty if it was not saved by
        `save_model`.
    """
    path = Path(path) / _COLUMNS
    try:
        columns = json.loads(path.read_text(encoding="utf-8"))
        return {key: str(columns[key]) for key in ("text", "label")}
    except OSError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{path} is damaged: {error!r}; delete it.") from error
