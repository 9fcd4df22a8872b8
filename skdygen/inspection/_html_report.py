"""A report on given labels, as one HTML file."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from sklearn.metrics import pairwise_distances_argmin

from .._encoding import check_texts
from .._storage import replacing, versions
from ._dynamics_display import DynamicsDisplay
from ._labels import Labels, training_trajectories
from ._map_display import TrajectoryMapDisplay
from ._quality_display import LabelQualityDisplay
from ._transition_display import NoiseTransitionDisplay

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_MOST_ISSUES = 5000
_MOST_BYTES = 3_000_000  # of all texts


def write_report(
    estimator: Any,
    path: str | os.PathLike[str],
    X: ArrayLike,
    *,
    title: str = "Label report",
    trajectories: Any = None,
    overwrite: bool = False,
) -> None:
    """Write a report on the training labels of a classifier.

    One HTML file that needs nothing else: what was found, in words and pictures; a
    table of the labels that look wrong (`DyGenClassifier.label_issues`) to sort, filter
    and search, with the nearest text of either class whose label looks right beside
    each; how often each annotator is right, if there are several; settings and
    versions. It holds beginnings of texts: mind who gets to see it.

    Parameters
    ----------
    estimator : DyGenClassifier
        Fitted.
    path : str or Path
        The file, written under another name and renamed.
    X : sequence of str of length n_samples
        The training texts in the order of the fit.
    title : str, default="Label report"
        Title of the report.
    trajectories : Trajectories of n_samples texts, default=None
        Their dynamics; None takes the stored ones, or replays the texts.
    overwrite : bool, default=False
        Whether to replace a file that exists.

    Raises
    ------
    OSError, ValueError
        If there is a file and `overwrite` is False, or no such folder; if `X` is not as
        long as the training texts were, or their dynamics are missing.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.inspection import write_report
    >>> texts, labels = make_texts(200, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> clf = DyGenClassifier(IncrementalDynamics(), random_state=0).fit(texts, noisy)
    >>> with TemporaryDirectory() as folder:
    ...     write_report(clf, f"{folder}/report.html", texts)
    """
    labels = Labels.of_estimator(estimator)
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist.")
    texts = check_texts(X)
    found = training_trajectories(
        estimator, texts if trajectories is None else trajectories
    )
    if len(texts) != len(found):
        raise ValueError(f"X has {len(texts)} texts, but trajectories {len(found)}.")
    issues = estimator.label_issues()
    issues["replaced"] = estimator.transduction_[issues["index"]] != issues["given"]
    rows = issues["index"].to_numpy()[:_MOST_ISSUES]
    table = issues.head(_MOST_ISSUES).drop(columns="text", errors="ignore").round(3)
    for name in ("given", "suggested"):
        codes = getattr(labels, name)[rows]
        table[f"near_{name}"] = nearest_clean(found, labels, rows, codes)
        table[name] = table[name].astype(str)
    page = _render(
        title=title,
        date=datetime.date.today().isoformat(),
        n_texts=len(texts),
        n_issues=len(issues),
        n_replaced=issues["replaced"].sum(),
        n_sure=(issues["confidence"] >= 0.9).sum(),
        confidence=issues["confidence"].median(),
        noise_rate=estimator.noise_rate_,
        interval=getattr(estimator, "noise_rate_interval_", None),
        n_verified=len(estimator._targets.checked),
        **_count(labels),
        annotators=_rate_annotators(estimator),
        pictures=_draw(estimator, found, issues["index"].head(2)),
        data={"rows": table.to_dict("records"), "texts": _excerpts(texts, table)},
        settings=repr(estimator),
        versions=versions(),
    )
    with replacing(path) as temporary:
        # A title, or the name of an annotator, can be no valid Unicode.
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _count(labels):
    """Count labels, in all and by given class; and the most frequent confusion."""
    pairs = labels.pairs
    wrong = pairs - np.diag(np.diag(pairs))
    classes = pd.DataFrame(
        {
            "name": labels.classes,
            "n_given": pairs.sum(axis=0),
            "n_issues": wrong.sum(axis=0),
            "instead": labels.classes[wrong.argmax(axis=0)],
            "n_instead": wrong.max(axis=0),
            "n_suggested": np.bincount(labels.suggested, minlength=len(pairs)),
        }
    ).query("n_given > 0")
    classes["share"] = classes["n_issues"] / classes["n_given"]
    given, suggested = np.unravel_index(wrong.T.argmax(), wrong.shape)
    return {
        "n_labels": pairs.sum(),
        "n_classes": len(pairs),
        "classes": classes.to_dict("records"),
        "n_confused": wrong.max(),
        "confused": labels.classes[[given, suggested]],
    }


def _rate_annotators(estimator):
    """Say how often each annotator is right, the worst first; nothing without votes."""
    if estimator._targets.votes is None:
        return []
    quality = estimator.annotator_quality().sort_values("accuracy", kind="stable")
    return quality.reset_index().to_dict("records")


def nearest_clean(trajectories, labels, rows, codes):
    """Nearest texts to `rows` of the classes `codes` whose labels look right, or -1."""
    # By cosine, before the training, when no wrong label had touched them.
    space = trajectories.views.get("initial")
    if space is None:
        space = trajectories.embeddings[:, :, -1].reshape(len(trajectories), -1)
    nearest = np.full(len(rows), -1)
    for k in np.unique(codes):
        clean = np.flatnonzero((labels.given == k) & ~labels.is_issue)
        if len(clean):
            clean = clean[labels.quality[clean] >= np.median(labels.quality[clean])]
            at = codes == k
            found = pairwise_distances_argmin(
                space[rows[at]].astype("f4"), space[clean].astype("f4"), metric="cosine"
            )
            nearest[at] = clean[found]
    return nearest


def _excerpts(texts, table):
    """Beginnings of texts by position, so long that the report stays small."""
    rows = np.unique(table[["index", "near_given", "near_suggested"]])
    for width in (400, 200, 100, 50, 25, 12):
        found = {int(row): texts[row] for row in rows[rows >= 0]}
        found = {k: v if len(v) <= width else f"{v[:width]}…" for k, v in found.items()}
        if len(json.dumps(found)) <= _MOST_BYTES:
            break
    return found


def _draw(estimator, trajectories, index):
    """Draw the displays, each as a PNG in a data URL."""
    n_moments = 1 + ("initial" in trajectories.views)
    size = min(3 + 0.6 * len(estimator.classes_), 10)
    drawn = (
        (LabelQualityDisplay, (1, 1), (7, 3.8), {}),
        (NoiseTransitionDisplay, (1, 1), (size + 1, size), {}),
        (DynamicsDisplay, (1, 2), (9, 3.8), {"X": trajectories, "index": index}),
        (TrajectoryMapDisplay, (2, n_moments), (10, 7.6), {"X": trajectories}),
    )
    pictures = []
    for cls, shape, figsize, params in drawn:
        figure = Figure(figsize=figsize, layout="constrained")
        cls.from_estimator(estimator, ax=figure.subplots(*shape), **params)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        encoded = base64.b64encode(buffer.getvalue()).decode()
        pictures.append(f"data:image/png;base64,{encoded}")
    return pictures


def _render(**content):
    """Fill in the template; whatever comes from the user is escaped."""
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined
    )
    script, _, _ = environment.loader.get_source(environment, "report.js")
    style, _, _ = environment.loader.get_source(environment, "report.css")
    environment.filters["count"] = "{:,}".format
    environment.filters["share"] = "{:.0%}".format
    # Nothing but this very script may run, whatever a text holds.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.jinja").render(
        script=script, style=style, script_digest=digest, **content
    )
