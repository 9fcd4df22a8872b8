"""``skdygen predict``: classify the texts of a table with a saved model."""

from pathlib import Path

from ._columns import check_new_columns, choose_label, choose_text, read_texts
from ._device import check_device
from ._errors import CommandError, explained
from ._model import fitted_columns, load_model
from ._outputs import as_path, check_outputs, default_out
from ._tables import check_writable, read_table, write_table

_NEW_COLUMNS = ("label_predicted", "confidence")


def run(options):
    """Predict the labels of a table."""
    path = Path(options.table)
    out = as_path(options.out) or default_out(path, "predicted")
    table = read_table(path)
    check_outputs(options, path, table=out)
    fitted = fitted_columns(options.model).get("text")
    label = choose_label(table, None, path, required=False)
    label = None if options.text else label  # it may be the column of the labels
    text = choose_text(table, options.text, label, path, fitted=fitted)
    check_new_columns(table, _NEW_COLUMNS, path)
    check_writable(table, out)
    texts = read_texts(table, text)
    check_device(options.device)
    clf = load_model(options.model, device=options.device, quiet=options.quiet)
    if not hasattr(clf, "predict_proba"):
        raise CommandError(
            f"The final estimator of {options.model} gives no probabilities."
        )
    with explained():
        found = clf.predict_proba(texts)
        predicted = clf.classes_[found.argmax(axis=1)]
        table = table.assign(label_predicted=predicted, confidence=found.max(axis=1))
        write_table(table, out)
    if not options.quiet:
        print(f"{len(texts):,} texts of column {text!r} classified: {out}")
