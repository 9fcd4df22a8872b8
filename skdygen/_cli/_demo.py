"""``skdygen demo``: the main job on a corpus made at run time."""

import sys
import time
from functools import partial
from pathlib import Path
from textwrap import shorten

from ._errors import explained
from ._outputs import check_outputs


def run(options):
    """Run the demonstration with options of the command line."""
    write = partial(print, flush=True)
    report = None if options.report is None else Path(options.report)
    check_outputs(options, Path(), report=report)
    with explained():
        run_demo(seed=options.seed, noise=options.noise, report=report, write=write)


def run_demo(*, seed, noise, write, report=None, **params):
    """Compare plain fine-tuning with DyGen, and show the most suspicious labels.

    Parameters
    ----------
    seed : int
        Random state of texts, noise and training.
    noise : float
        Share of wrong labels.
    write : callable
        Takes each line of the output.
    report : Path, default=None
        Where a report is written; what is there is replaced.
    **params : dict
        Parameters of `DyGenClassifier`.
    """
    from sklearn.metrics import accuracy_score

    from .. import DyGenClassifier
    from ..datasets import make_label_noise, make_texts

    texts, labels = make_texts(700, random_state=seed)
    train, test = slice(0, 500), slice(500, None)
    given = make_label_noise(labels[train], "symmetric", noise, random_state=seed)
    write(
        f"500 messages in 6 classes, {(given != labels[train]).mean():.0%} of the "
        f"labels wrong; 200 more messages to test on. Fine-tuning MiniLM ..."
    )
    start = time.perf_counter()
    clf = DyGenClassifier(random_state=seed, verbose=int(sys.stderr.isatty()))
    clf.set_params(**params).fit(texts[train], given)
    write(f"... done in {time.perf_counter() - start:.0f} s.\n")

    plain = accuracy_score(labels[test], clf.dynamics_.predict(texts[test]))
    dygen = accuracy_score(labels[test], clf.predict(texts[test]))
    corrected = accuracy_score(labels[train], clf.transduction_)
    write(f"test accuracy, plain fine-tuning   {plain:.3f}")
    write(f"test accuracy, DyGen               {dygen:.3f}")
    write(f"right labels, as given             {(given == labels[train]).mean():.3f}")
    write(f"right labels, corrected            {corrected:.3f}")
    write(f"wrong labels, estimated share      {clf.noise_rate_:.3f}\n")

    worst = clf.label_issues().head(10)
    worst.insert(3, "true", labels[worst["index"]])
    worst["text"] = [shorten(texts[i], 60, placeholder=" ...") for i in worst["index"]]
    write("The ten most suspicious labels (the column 'true' is known here only):\n")
    write(worst.round(3).to_string(index=False))
    if report is not None:
        from ..inspection import write_report

        write_report(clf, report, texts[train], title="500 messages", overwrite=True)
        write(f"\nA report to look at: {report}")
