"""A report on given labels, as one HTML file."""

import base64
import datetime
import hashlib
import io
import json
import platform
from contextlib import suppress
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from .._storage import replacing
from ..utils._validation import check_texts
from ._data import Labels, dynamics_stage, training_trajectories
from ._dynamics import DynamicsDisplay
from ._map import TrajectoryMapDisplay
from ._quality import LabelQualityDisplay
from ._transition import NoiseTransitionDisplay

_MOST_ISSUES = 5000
_MOST_CHARACTERS = 400  # of a text
_MOST_BYTES = 4_000_000  # of all of them
_PACKAGES = (
    "scikit-learn", "torch", "sentence-transformers", "transformers",
    "numpy", "scipy",
)  # fmt: skip


def write_report(
    estimator, path, X, *, title="Label report", trajectories=None, overwrite=False
):
    """Write a report on the training labels of a classifier.

    One HTML file that needs nothing else: what was found, in words and pictures; a
    table of the labels that look wrong, to be sorted, filtered and searched, with the
    nearest text of either class whose label looks right beside each; settings and
    versions. It holds (the beginnings of) the texts: mind who gets to see it.

    Parameters
    ----------
    estimator : DyGenClassifier
        Fitted.
    path : str or Path
        The file, written beside and renamed.
    X : sequence of str of length n_samples
        The training texts in the order of the fit.
    title : str, default="Label report"
        Title of the report.
    trajectories : Trajectories of n_samples texts, default=None
        Their dynamics; None replays them.
    overwrite : bool, default=False
        Whether to replace a file that exists.

    Raises
    ------
    FileExistsError
        If there is a file and `overwrite` is False.
    FileNotFoundError
        If the folder does not exist.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `X` is not as long as the training texts were.

    See Also
    --------
    skdygen.DyGenClassifier.label_issues : The table as a DataFrame.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.inspection import write_report
    >>> texts, labels = make_texts(200, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> clf = DyGenClassifier(IncrementalDynamics(), random_state=0).fit(texts, noisy)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(clf, Path(folder) / "report.html", texts)
    ...     (Path(folder) / "report.html").stat().st_size < 5_000_000
    True
    """
    check_is_fitted(estimator, "label_distributions_")
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; choose another path, or pass overwrite=True."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist.")
    texts = check_texts(X)
    dynamics = dynamics_stage(estimator)
    can_replay = dynamics is not None and getattr(dynamics, "snapshots_", True)
    if trajectories is None and not can_replay:
        raise ValueError(
            "trajectories is missing: pass what fit_transform of the dynamics has "
            "given for the training texts. The classifier cannot make them anew, since "
            "it was fitted on dynamics='precomputed', or with store_weights=False."
        )
    found = training_trajectories(
        estimator, texts if trajectories is None else trajectories
    )
    if len(texts) != len(found):
        raise ValueError(f"X has {len(texts)} texts, but trajectories {len(found)}.")
    labels = Labels.of_estimator(estimator)
    is_replaced = (
        np.searchsorted(labels.classes, estimator.transduction_) != labels.given
    )
    is_replaced &= labels.is_issue
    listed = _worst(labels)
    rows, excerpts = _table(texts, labels, is_replaced, listed, found)
    page = _render(
        title=title,
        date=datetime.date.today().isoformat(),
        summary=summarize(labels, is_replaced),
        classes=class_rows(labels),
        pictures=_pictures(estimator, found, listed[:2]),
        n_listed=len(listed),
        n_issues=int(labels.is_issue.sum()),
        data={"rows": rows, "texts": excerpts},
        settings=repr(estimator),
        versions=_versions(),
    )
    with replacing(path) as beside:
        beside.write_text(page, encoding="utf-8")


def _versions():
    """Versions of what has computed, but of what is not installed as a package."""
    from .. import __version__

    versions = {"skdygen": __version__}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions | {"Python": platform.python_version()}


def summarize(labels, is_replaced):
    """Say in sentences what was found.

    Parameters
    ----------
    labels : Labels
        Given and suggested labels.
    is_replaced : ndarray of shape (n_samples,) of bool
        Which of those that look wrong are replaced.

    Returns
    -------
    sentences : list of str
        To be read one after the other.
    """
    n_labels = int((labels.given >= 0).sum())
    n_issues, n_replaced = int(labels.is_issue.sum()), int(is_replaced.sum())
    sentences = [
        f"{len(labels.given):,} texts in {len(labels.classes)} classes; "
        + (
            "all have a label."
            if n_labels == len(labels.given)
            else f"{n_labels:,} have a label."
        )
    ]
    if not n_issues:
        return [
            *sentences,
            "No label looks wrong: each is its text's most probable one.",
        ]
    sentences.append(
        f"{n_issues:,} labels ({n_issues / n_labels:.0%}) look wrong: another class is "
        f"more probable. {n_replaced:,} of these are replaced by the correction, which "
        f"is cautious; the others are for you to judge."
    )
    confidence = labels.confidence[labels.is_issue]
    sentences.append(
        f"How sure: for half of the labels that look wrong the suggested class has a "
        f"probability of {np.median(confidence):.2f} or more, for "
        f"{(confidence >= 0.9).sum():,} of at least 0.90."
    )
    worst = max(class_rows(labels), key=lambda row: row["share"])
    sentences.append(
        f"Most doubtful is the class “{worst['name']}”: {worst['n_issues']:,} of its "
        f"{worst['n_given']:,} labels ({worst['share']:.0%}) look wrong."
    )
    pairs, counts = np.unique(
        np.column_stack([labels.given, labels.suggested])[labels.is_issue],
        axis=0, return_counts=True,
    )  # fmt: skip
    given, suggested = labels.classes[pairs[counts.argmax()]]
    sentences.append(
        f"The most frequent confusion: {counts.max():,} texts are labelled “{given}” "
        f"and look like “{suggested}”."
    )
    return sentences


def class_rows(labels):
    """Count given labels, and those that look wrong, for each class that is given.

    Parameters
    ----------
    labels : Labels
        Given and suggested labels.

    Returns
    -------
    rows : list of dict
        With name, n_given, n_issues, share (of the given), n_suggested (most probable
        class of how many texts), and instead (most often suggested in its place).
    """
    rows = []
    for k, name in enumerate(labels.classes):
        is_given = labels.given == k
        if not is_given.any():
            continue
        issues = is_given & labels.is_issue
        instead = ""
        if issues.any():
            counts = np.bincount(labels.suggested[issues])
            instead = f"{labels.classes[counts.argmax()]} ({counts.max():,})"
        rows.append(
            {
                "name": str(name),
                "n_given": int(is_given.sum()),
                "n_issues": int(issues.sum()),
                "share": issues.sum() / is_given.sum(),
                "n_suggested": int((labels.suggested == k).sum()),
                "instead": instead,
            }
        )
    return rows


def _worst(labels):
    """Positions of the labels that look wrong, worst first, as many as are listed."""
    order = np.lexsort((-labels.confidence, labels.quality))
    return order[labels.is_issue[order]][:_MOST_ISSUES]


def _table(texts, labels, is_replaced, listed, trajectories):
    """Rows of the table, and the texts that they speak of by position."""
    near = {
        kind: nearest_clean(trajectories, labels, listed, codes[listed])
        for kind, codes in (("given", labels.given), ("suggested", labels.suggested))
    }
    names = [str(name) for name in labels.classes]
    rows = [
        {
            "index": int(row),
            "given": names[labels.given[row]],
            "suggested": names[labels.suggested[row]],
            "confidence": round(float(labels.confidence[row]), 3),
            "quality": round(float(labels.quality[row]), 3),
            "replaced": bool(is_replaced[row]),
            "near_given": int(near["given"][i]),
            "near_suggested": int(near["suggested"][i]),
        }
        for i, row in enumerate(listed)
    ]
    shown = np.unique(np.concatenate([listed, near["given"], near["suggested"]]))
    return rows, _excerpts(texts, shown[shown >= 0])


def nearest_clean(trajectories, labels, rows, codes):
    """Nearest text of a class whose label looks right.

    Near is what the model finds alike (by cosine) before the training, which no wrong
    label has touched; if that was not recorded, after the last epoch. Right looks the
    better half, by quality, of those labels of a class that do not look wrong.

    Parameters
    ----------
    trajectories : Trajectories of n_samples texts
        Their dynamics.
    labels : Labels
        Given and suggested labels.
    rows : ndarray of shape (n_rows,)
        Positions of texts.
    codes : ndarray of shape (n_rows,)
        The class that is looked for, for each.

    Returns
    -------
    nearest : ndarray of shape (n_rows,)
        Positions; -1 where the class has no such text.
    """
    space = trajectories.initial
    if space is None:
        space = trajectories.embeddings[:, :, -1].reshape(len(trajectories), -1)
    nearest = np.full(len(rows), -1)
    for k in np.unique(codes):
        clean = np.flatnonzero((labels.given == k) & ~labels.is_issue)
        if not len(clean):
            continue
        quality = labels.quality[clean]
        clean = clean[quality >= np.median(quality)]
        asked = np.flatnonzero(codes == k)
        neighbors = NearestNeighbors(n_neighbors=1).fit(_normalized(space[clean]))
        found = neighbors.kneighbors(
            _normalized(space[rows[asked]]), return_distance=False
        )
        nearest[asked] = clean[found[:, 0]]
    return nearest


def _normalized(rows):
    return normalize(np.asarray(rows, dtype=np.float32))


def _excerpts(texts, shown):
    """Beginnings of texts by position, so long that the report stays small."""
    n_characters = _MOST_CHARACTERS
    while True:
        excerpts = {int(row): _shorten(texts[row], n_characters) for row in shown}
        if n_characters <= 20 or len(json.dumps(excerpts)) <= _MOST_BYTES:
            return excerpts
        n_characters //= 2


def _shorten(text, n_characters):
    return text if len(text) <= n_characters else f"{text[: n_characters - 1]}…"


def _pictures(estimator, trajectories, index):
    """Draw the displays, each as a PNG in a data URL, with what it shows in words."""
    from matplotlib.figure import Figure

    def draw(figsize, shape, show, text):
        figure = Figure(figsize=figsize, layout="constrained")
        show(figure.subplots(*shape, squeeze=False).ravel())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        encoded = base64.b64encode(buffer.getvalue()).decode()
        return {"source": f"data:image/png;base64,{encoded}", "text": text}

    size = min(3 + 0.6 * len(estimator.classes_), 10)
    return [
        draw(
            (7, 3.8), (1, 1),
            lambda ax: LabelQualityDisplay.from_estimator(estimator, ax=ax),
            "Quality of the labels: the probability that the posterior gives to the "
            "label as given. What piles up on the left is doubtful.",
        ),
        draw(
            (size + 1, size), (1, 1),
            lambda ax: NoiseTransitionDisplay.from_estimator(estimator, ax=ax[0]),
            "What texts of each suggested class (rows) are labelled as (columns). "
            "Labels off the diagonal look wrong.",
        ),
        draw(
            (9, 3.8), (1, 2),
            lambda ax: DynamicsDisplay.from_estimator(
                estimator, trajectories, index=index, ax=ax
            ),
            "How near texts are to their own class and to another one while the model "
            "is trained: medians, bands that hold half of the texts, and the two most "
            "doubtful texts by their position. Texts whose labels look wrong are "
            "nearer to the suggested class.",
        ),
        draw(
            (10, 7.6), (2, 1 + (trajectories.initial is not None)),
            lambda ax: TrajectoryMapDisplay.from_estimator(
                estimator, trajectories, ax=ax
            ),
            "Maps of the texts (principal components, at most 1,000 texts) before the "
            "training and after the last epoch, coloured by given labels above and by "
            "suggested labels below; rings mark labels that look wrong.",
        ),
    ]  # fmt: skip


def _render(**content):
    """Fill in the template; whatever comes from the user is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = resources.files(__package__) / "templates"
    script = (templates / "report.js").read_text(encoding="utf-8")
    style = (templates / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined
    )
    # Nothing but this very script may run, whatever a text holds.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.jinja").render(
        script=script, style=style, script_digest=digest, **content
    )
