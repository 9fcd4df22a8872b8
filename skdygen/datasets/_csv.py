"""Texts and labels from CSV files."""

from pathlib import Path

from sklearn.utils import Bunch


def load_noisy_csv(path, *, text="text", given="label_noisy", gold=None):
    """Read texts and labels from a CSV file, compressed or not.

    Parameters
    ----------
    path : str or Path
        The file; compression is inferred from its name.
    text : str, default="text"
        Column of the texts.
    given : str, default="label_noisy"
        Column of the given labels; an empty field means that there is none.
    gold : str, default=None
        Column of the right labels, if there is one. They are for scoring only.

    Returns
    -------
    data : `sklearn.utils.Bunch`
        With

        - data : list of str, the texts;
        - target : ndarray of shape (n_samples,), the given labels, NaN where there is
          none (pass ``missing_label=np.nan`` to estimators);
        - gold : ndarray of shape (n_samples,) or None, the right labels.

        Labels that are all integers are integers, or floats if some are missing;
        other labels are strings.

    Raises
    ------
    ValueError
        If a column is missing or the file has no rows.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skdygen.datasets import load_noisy_csv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tickets.csv"
    ...     _ = path.write_text("body,tag\\nwhere is it,delivery\\nit broke,\\n")
    ...     data = load_noisy_csv(path, text="body", given="tag")
    >>> data.data, data.target
    (['where is it', 'it broke'], array(['delivery', nan], dtype=object))
    """
    import pandas as pd

    frame = pd.read_csv(Path(path), dtype=str, keep_default_na=False)
    for argument, column in (("text", text), ("given", given), ("gold", gold)):
        if column is not None and column not in frame.columns:
            raise ValueError(
                f"{argument}={column!r} is no column of {path}; it has "
                f"{', '.join(map(repr, frame.columns))}."
            )
    if frame.empty:
        raise ValueError(f"{path} has no rows.")
    return Bunch(
        data=frame[text].tolist(),
        target=_labels(frame[given]),
        gold=None if gold is None else _labels(frame[gold]),
    )


def _labels(column):
    import pandas as pd

    labels = column.where(column != "", None)
    try:
        return pd.to_numeric(labels, errors="raise").to_numpy()
    except (ValueError, TypeError):
        return labels.to_numpy(dtype=object)
