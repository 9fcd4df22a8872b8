"""Fit on noisy training labels and score on the right ones: one data set, one run.

All methods share one fit of the first stage, so that they differ in nothing else.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from skdygen import DyGenClassifier, make_paper_classifier
from skdygen.dynamics import LanguageModelDynamics

from .data import load_split, load_training


def main(arguments=None):
    """Run the command line."""
    options = parse(arguments)
    train = load_training(
        options.data,
        options.dataset,
        n_samples=options.n_samples,
        seed=options.seed,
        noise=options.noise,
        rate=options.rate,
    )
    test = load_split(options.data, options.dataset, "test")

    params = {
        "trainable_layers": options.trainable_layers,
        "random_state": options.seed,
    }
    if options.n_epochs is not None:
        params["n_epochs"] = options.n_epochs
    dynamics = LanguageModelDynamics(**params, verbose=options.verbose)
    start = time.perf_counter()
    recorded = dynamics.fit_transform(train.texts, train.given)
    fit_seconds = time.perf_counter() - start
    start = time.perf_counter()
    replayed = dynamics.transform(test.texts)
    replay_seconds = time.perf_counter() - start

    plain = replayed.probabilities[:, :, -1].mean(axis=1).argmax(axis=1)
    rows = [
        {
            "method": "plain fine-tuning",
            "test": accuracy_score(test.gold, replayed.classes[plain]),
            "seconds": fit_seconds,
        }
    ]
    for name, classifier in methods(options.seed).items():
        start = time.perf_counter()
        classifier.fit(recorded, train.given)
        seconds = time.perf_counter() - start
        rows.append(
            {"method": name, **score(classifier, train, replayed, test)}
            | {"seconds": fit_seconds + seconds}
        )
    record = {
        "dataset": options.dataset,
        "noise": options.noise or "as given",
        "noise_rate": float(np.mean(train.given != train.gold)),
        "n_train": len(train.texts),
        "n_test": len(test.texts),
        "seed": options.seed,
        "dynamics": {k: v for k, v in dynamics.get_params().items() if k != "verbose"},
        "precision": dynamics.precision_,
        "fit_seconds": fit_seconds,
        "replay_seconds": replay_seconds,
        "kept_weights_megabytes": sum(map(len, dynamics.snapshots_)) / 1e6,
        "versions": {
            name: version(name)
            for name in ("skdygen", "torch", "scikit-learn", "sentence-transformers")
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "methods": rows,
    }
    print(table(record))
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with options.output.open("a") as file:
            file.write(json.dumps(record) + "\n")


def parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--noise", choices=["symmetric", "asymmetric"])
    parser.add_argument("--rate", type=float, default=0.4, help="of --noise")
    parser.add_argument("--n-samples", type=int, help="training texts; default: all")
    parser.add_argument("--n-epochs", type=int, help="default: the estimator's")
    parser.add_argument(
        "--trainable-layers",
        type=lambda value: value if value == "all" else int(value),
        default=LanguageModelDynamics().trainable_layers,
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON lines file to add a row to")
    return parser.parse_args(arguments)


def methods(seed):
    """Give the classifiers that take over from the first stage, by name.

    The paper's has to estimate the share of wrong labels, as all do here, and its
    second and third stages follow the same first stage as the others'.
    """
    shared = {"dynamics": "precomputed", "random_state": seed}
    return {
        "dygen-paper": make_paper_classifier(**shared),
        "default": DyGenClassifier(**shared),
    }


def score(classifier, train, replayed, test):
    """Score a fitted classifier against the right labels.

    Parameters
    ----------
    classifier : DyGenClassifier
        Fitted on the trajectories of the training texts.
    train : Split
        Training texts.
    replayed : Trajectories
        Of the test texts.
    test : Split
        Test texts.

    Returns
    -------
    scores : dict of str to float
        Test accuracy, accuracy of the corrected labels and of the most probable ones,
        and how well the quality of labels ranks the wrong ones.
    """
    is_wrong = train.given != train.gold
    posterior = classifier.label_distributions_
    given = np.searchsorted(classifier.classes_, train.given)
    suspicion = 1 - posterior[np.arange(len(given)), given]
    most_probable = classifier.classes_[posterior.argmax(axis=1)]
    return {
        "test": accuracy_score(test.gold, classifier.predict(replayed)),
        "corrected": accuracy_score(train.gold, classifier.transduction_),
        "most_probable": accuracy_score(train.gold, most_probable),
        "average_precision": average_precision_score(is_wrong, suspicion),
        "auroc": roc_auc_score(is_wrong, suspicion),
        "estimated_rate": classifier.prior_.contamination_,
    }


def table(record):
    """Format a record as a table in Markdown."""
    columns = {
        "test": "test accuracy",
        "corrected": "corrected labels",
        "most_probable": "most probable labels",
        "average_precision": "wrong labels, AP",
        "auroc": "wrong labels, AUROC",
        "estimated_rate": "estimated noise rate",
    }
    lines = [
        f"{record['dataset']}: {record['n_train']} training texts, noise "
        f"{record['noise']}, share of wrong labels {record['noise_rate']:.3f} (right: "
        f"{1 - record['noise_rate']:.3f}); {record['n_test']} test texts; "
        f"trainable_layers={record['dynamics']['trainable_layers']!r}, "
        f"{record['dynamics']['n_epochs']} epochs, {record['precision']}, seed "
        f"{record['seed']}; first stage {record['fit_seconds']:.0f} s, replay of the "
        f"test texts {record['replay_seconds']:.0f} s, kept weights "
        f"{record['kept_weights_megabytes']:.0f} MB",
        "",
        "| method | " + " | ".join(columns.values()) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in record["methods"]:
        values = (f"{row[key]:.3f}" if key in row else "" for key in columns)
        lines.append(f"| {row['method']} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
