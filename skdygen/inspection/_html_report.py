"""A report on given labels, as one HTML file."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import json
import os
import re
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from sklearn.neighbors import NearestNeighbors

from .._encoding import check_order, check_texts
from .._sklearn_compat import Interval, validate_params
from .._storage import replacing, versions
from .._trajectories import Trajectories
from ._dynamics_display import DynamicsDisplay
from ._labels import Labels, training_trajectories
from ._map_display import TrajectoryMapDisplay
from ._quality_display import LabelQualityDisplay
from ._transition_display import NoiseTransitionDisplay

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_MOST_ISSUES = 5000
_MOST_BYTES = 3_000_000  # of all texts


@validate_params(
    {
        "path": [str, os.PathLike],
        "title": [str],
        "trajectories": [Trajectories, None],
        "n_to_check": [Interval(Integral, 0, None, closed="left")],
        "ids": ["array-like", None],
        "columns": [pd.DataFrame, None],
        "first_row": [Integral],
        "overwrite": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def write_report(
    estimator: Any,
    path: str | os.PathLike[str],
    X: ArrayLike,
    *,
    title: str = "Label report",
    trajectories: Any = None,
    n_to_check: int = 50,
    ids: Any = None,
    columns: Any = None,
    first_row: int = 0,
    overwrite: bool = False,
) -> None:
    """Write a report on the training labels of a classifier, to read and to decide in.

    One HTML file that needs nothing else: what was found, in words and pictures; the
    labels to check first (`DyGenClassifier.labels_to_check`) and those that look wrong
    (`DyGenClassifier.label_issues`) to sort, filter and search, with the nearest text
    of either class whose label looks right beside each; how often each annotator is
    right, if there are several; settings and versions. Whoever reads it can accept a
    suggestion, keep the given label or choose another class, and download what was
    decided for `refit` or ``skdygen clean --verified``. It holds texts: mind who gets
    to see it.

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
    n_to_check : int, default=50
        How many labels to draw, of those that nobody has verified. A fixed seed draws
        them, so that a report that is written again asks for the same ones.
    ids : array-like of shape (n_samples,), default=None
        What the texts are called elsewhere, shown with them and in the download.
    columns : DataFrame of n_samples rows, default=None
        What else to show with each text.
    first_row : int, default=0
        What is shown as the number of the first text; 2 counts as spreadsheets do
        where a table has a header. The download always counts from 0.
    overwrite : bool, default=False
        Whether to replace a file that exists.

    Raises
    ------
    OSError, ValueError
        If there is a file and `overwrite` is False, or no such folder; if `X` has other
        texts than the classifier was fitted on, `ids` or `columns` not as many rows, or
        the index of the texts of the fit in another order, or the dynamics are missing.

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
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is no file; choose another path.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist.")
    texts = check_texts(X)
    for name, given in (("ids", ids), ("columns", columns)):
        if given is not None and len(given) != len(texts):
            raise ValueError(f"{name} has {len(given)} rows, but X {len(texts)} texts.")
        check_order(name, given, estimator._index)
    if getattr(ids, "ndim", 1) != 1:
        raise ValueError(f"ids has shape {ids.shape}, but must have one dimension.")
    if trajectories is not None:  # else they are compared there
        estimator._check_same_X(texts)
    found = training_trajectories(
        estimator, texts if trajectories is None else trajectories
    )
    issues = estimator.label_issues().reset_index(drop=True)
    replaced = estimator.transduction_[issues["index"]] != issues["given"]
    table = _list_rows(estimator, issues, n_to_check)
    for name in ("given", "suggested"):
        codes = getattr(labels, name)[table["index"]]
        table[f"near_{name}"] = nearest_clean(found, labels, table["index"], codes)
    to_check = table[table["drawn"].notna()].sort_values("drawn")["index"]
    rows = _describe_rows(estimator, table, texts, labels)
    excerpts = _excerpts(texts, table)
    for row in rows:
        if excerpts[row["index"]] != texts[row["index"]]:
            row["cut"] = True
    if ids is not None:
        ids = pd.Series(list(ids), dtype=object).to_frame()
        for row, (cell,) in zip(rows, _cells(ids, table["index"]), strict=True):
            row["id"] = cell
    if columns is not None:
        for row, cells in zip(rows, _cells(columns, table["index"]), strict=True):
            row["shown"] = [*zip(map(str, columns), cells, strict=True)]
    data = {
        "key": _identify(texts, labels, table),
        "classes": [*map(str, labels.classes)],
        "firstRow": first_row,
        "nWorst": min(len(issues), _MOST_ISSUES),
        "toCheck": to_check.tolist(),
        "rows": rows,
        "texts": excerpts,
    }
    page = _render(
        title=title,
        date=datetime.date.today().isoformat(),
        n_texts=len(texts),
        n_issues=len(issues),
        n_replaced=replaced.sum(),
        n_sure=(issues["confidence"] >= 0.9).sum(),
        confidence=issues["confidence"].median(),
        noise_rate=estimator.noise_rate_,
        interval=getattr(estimator, "noise_rate_interval_", None),
        n_verified=len(estimator._targets.checked),
        **_count(labels),
        annotators=_rate_annotators(estimator),
        pictures=_draw(estimator, found, issues["index"].head(2)),
        data=data,
        settings=repr(estimator),
        versions=versions(),
    )
    with replacing(path) as temporary:
        # A title, or the name of an annotator, can be no valid Unicode.
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _list_rows(estimator, issues, n_to_check):
    """List the worst labels, and behind them those to check that are not among them.

    "drawn" is the place of those to check in their order, "probability" is theirs.
    """
    columns = ["index", "given", "suggested", "confidence", "quality"]
    table = issues[columns].head(_MOST_ISSUES)
    n = min(n_to_check, int((estimator._targets.verified < 0).sum()))
    if not n:
        return table.assign(drawn=np.nan, probability=np.nan)
    # The same draw as that of `skdygen check`.
    drawn = estimator.labels_to_check(n, random_state=0)[[*columns, "probability"]]
    drawn = drawn.assign(drawn=range(n))
    own = drawn[["index", "drawn", "probability"]]
    others = drawn[~drawn["index"].isin(table["index"])]
    return pd.concat([table.merge(own, "left", on="index"), others], ignore_index=True)


def _describe_rows(estimator, table, texts, labels):
    """Make a dict of each row, without what is not known of it."""
    names = dict(enumerate(map(str, labels.classes)))  # and none of -1
    rows = table.drop(columns="drawn").round({"confidence": 3, "quality": 3})
    rows = rows.to_dict("records")
    others = _given_elsewhere(texts, labels, names, table["index"])
    for row, elsewhere in zip(rows, others, strict=True):
        i, near = row["index"], row["near_suggested"]
        given = labels.given[i]
        row["given"], row["suggested"] = names.get(given), names[labels.suggested[i]]
        row["verified"] = names.get(estimator._targets.verified[i])
        corrected = estimator.transduction_[i]
        row["replaced"] = bool(given >= 0 and corrected != labels.classes[given])
        row["elsewhere"] = elsewhere or None
        is_other = near >= 0 and labels.given[near] != given
        row["alike"] = (is_other and _are_alike(texts[i], texts[near])) or None
    return [{k: v for k, v in row.items() if v is not None and v == v} for row in rows]


def _cells(values, rows):
    """Give cells of some rows of a frame as strings, empty where they are missing."""
    cells = values.iloc[rows].astype(object)
    return cells.where(cells.notna(), "").astype(str).to_numpy().tolist()


def _words(text):
    """Split a text into words, without signs and case."""
    return re.findall(r"\w+", text.casefold())


def _are_alike(text, other):
    """Whether nine of ten words are the same, in the same order."""
    return SequenceMatcher(None, _words(text), _words(other)).ratio() >= 0.9


def _given_elsewhere(texts, labels, names, rows):
    """List, for some rows, the other labels that the same words have elsewhere."""
    keys, counts = [" ".join(_words(text)) for text in texts], defaultdict(Counter)
    for key, code in zip(keys, labels.given.tolist(), strict=True):
        if key and code >= 0:
            counts[key][code] += 1
    return [
        ", ".join(
            f"{names[code]} ({n:,})"
            for code, n in counts[keys[row]].most_common()
            if code != labels.given[row]
        )
        for row in rows
    ]


def _identify(texts, labels, table):
    """Make a key of a table and what was drawn of it, of which decisions are kept."""
    drawn = table[table["probability"].notna()]
    parts = [texts, labels.given.tolist(), [*map(str, labels.classes)]]
    parts += [drawn["index"].tolist(), drawn["probability"].tolist()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


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
    rows, nearest = np.asarray(rows), np.full(len(rows), -1)
    for k in np.unique(codes[codes >= 0]):
        clean = np.flatnonzero((labels.given == k) & ~labels.is_issue)
        if len(clean):
            clean = clean[labels.quality[clean] >= np.median(labels.quality[clean])]
            at = np.flatnonzero(codes == k)
            search = NearestNeighbors(n_neighbors=min(2, len(clean)), metric="cosine")
            search.fit(space[clean].astype("f4"))
            asked = space[rows[at]].astype("f4")
            found = clean[search.kneighbors(asked, return_distance=False)]
            for other in found.T[::-1]:  # a text is nearest to itself
                nearest[at] = np.where(other != rows[at], other, nearest[at])
    return nearest


def _excerpts(texts, table):
    """Give texts by position; where there is no room, those to read last are cut."""
    rows = np.unique(table[["index", "near_given", "near_suggested"]])
    for width in (400, 200, 100, 50, 25, 12):
        found = {int(row): texts[row] for row in rows[rows >= 0]}
        found = {k: v if len(v) <= width else f"{v[:width]}…" for k, v in found.items()}
        room = _MOST_BYTES - len(json.dumps(found))
        if room >= _MOST_BYTES / 3:
            break
    for row in table.sort_values("drawn", kind="stable")["index"].tolist():
        more = len(json.dumps(texts[row])) - len(json.dumps(found[row]))
        if more <= room:
            room -= more
            found[row] = texts[row]
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
