"""``skdygen report``: a report on labels that were cleaned before."""

from pathlib import Path

from ._columns import choose_label, choose_text, read_labels, read_texts
from ._errors import CommandError, explained
from ._model import fitted_columns, load_model
from ._outputs import check_outputs
from ._tables import read_table


def run(options):
    """Write a report on the labels of a table."""
    path, out = Path(options.table), Path(options.out)
    table = read_table(path)
    check_outputs(options, path, report=out)
    fitted = fitted_columns(options.model)
    label = choose_label(
        table, options.label, path, required=False, fitted=fitted.get("label")
    )
    text = choose_text(table, options.text, label, path, fitted=fitted.get("text"))
    texts = read_texts(table, text)
    clf = load_model(options.model, device="auto", quiet=options.quiet)
    if len(clf.label_distributions_) != len(texts):
        raise CommandError(
            f"{path} has {len(texts)} rows, but {options.model} was fitted on "
            f"{len(clf.label_distributions_)}; pass the table that it was fitted on."
        )
    if label is not None:
        _check_labels(clf, read_labels(table, label), options)
    from ..inspection import write_report

    with explained():
        write_report(clf, out, texts, overwrite=options.force)
    if not options.quiet:
        print(f"report on {len(texts):,} texts of column {text!r}: {out}")


def _check_labels(clf, labels, options):
    """Compare labels with those that the model was fitted on, where it had one."""
    for row, (label, code) in enumerate(zip(labels, clf._given_codes, strict=True), 1):
        if code >= 0 and str(label) != str(clf.classes_[code]):
            raise CommandError(
                f"Row {row} of {options.table} has the label {label!r}, but "
                f"{options.model} was fitted with {str(clf.classes_[code])!r} there; "
                f"pass the table that it was fitted on."
            )
