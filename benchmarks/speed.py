"""Time this package beside what it replaces, on this machine, in one run.

Every comparison runs its contenders in turn, several rounds of them; what counts is the
median of the ratios of a round. Rows are added to a file; `benchmarks.performance`
makes docs/performance.md of them. On a GPU (``--device cuda``), fits and predictions
are timed, and how much of the chip they use.
"""

import argparse
import gc
import json
import os
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from skdygen import DyGenClassifier
from skdygen._torch import autocast, choose_precision, distribute
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._engine import Networks, Recorder
from skdygen.dynamics._frozen import Backbone
from skdygen.dynamics._hub import find_model, load_sentence_transformer
from skdygen.priors import ConsensusPrior

from .data import make_split
from .embeddings import FrozenStore, encode
from .published import fit_published
from .run import describe_machine
from .task import TRAINED_LAYERS

HERE = Path(__file__).parent
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_N_COUNTED = 512
_N_FITTED = 256


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, *DEVICE_PARTS])
    parser.add_argument("--n-texts", type=int, default=500)
    parser.add_argument("--n-epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, default=HERE / "results" / "performance" / "speed.jsonl"
    )
    options = parser.parse_args(arguments)
    on_cpu = options.device == "cpu"
    if on_cpu and torch.cuda.is_available():
        parser.error("CPUs are compared; hide GPUs by CUDA_VISIBLE_DEVICES=''")
    if not on_cpu and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, and torch finds none")
    parts = PARTS if on_cpu else DEVICE_PARTS
    options.parts = options.parts or list(parts)
    if not parts.keys() >= set(options.parts):
        parser.error(f"--device {options.device} has the --parts {', '.join(parts)}")
    os.environ["HF_HUB_OFFLINE"] = "1"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    about = describe_machine()  # where it cannot be, no time is spent
    sizes = (options.n_texts, options.n_epochs, options.rounds)
    for part in options.parts:
        row = compare(part, *sizes) if on_cpu else measure_on("cuda", part, *sizes)
        row["threads"] = torch.get_num_threads()
        with options.output.open("a") as file:
            file.write(json.dumps(row | about) + "\n")


def compare(part, n_texts, n_epochs, n_rounds):
    """Measure the contenders of a part on the CPU in turn; give a row of results."""
    contenders = PARTS[part](n_texts, n_epochs)
    rounds = []
    for i in range(n_rounds):
        rounds.append({})
        for name in list(contenders)[:: 1 if i % 2 == 0 else -1]:
            found = measure(contenders[name])
            rounds[-1] |= found if isinstance(found, dict) else {name: found}
        print(part, {k: round(v, 2) for k, v in rounds[-1].items()}, flush=True)
    return {"part": part, "rounds": rounds, "n_texts": n_texts, "n_epochs": n_epochs}


def measure(contender):
    """Seconds that a call takes, or the number or numbers that it gives instead."""
    start = time.perf_counter()
    found = contender()
    seconds = time.perf_counter() - start
    return found if isinstance(found, (float, dict)) else seconds


class Stopwatch:
    """Adds up the seconds spent in functions, which may call each other."""

    def __init__(self):
        self.seconds = 0.0
        self._depth = 0

    def timed(self, function):
        """Return the function, timed."""

        def call(*args, **kwargs):
            self._depth += 1
            start = time.perf_counter()
            found = function(*args, **kwargs)
            self._depth -= 1
            if self._depth == 0:
                self.seconds += time.perf_counter() - start
            return found

        return call


def make_data(n_texts, seed=0):
    """Make texts, and labels 30 % of which are wrong."""
    split = make_split(n_texts, seed)
    return split.texts, split.given


# Each takes the numbers of texts and epochs and gives contenders: calls by name.


def against_trainer(n_texts, n_epochs):
    """Compare a fit of all layers with as many plain fine-tunes as it has branches."""
    texts, labels = make_data(n_texts)
    dynamics = LanguageModelDynamics(trainable_layers="all", n_epochs=n_epochs)

    def trainer():
        for seed in range(dynamics.n_branches):
            fit_trainer(texts, labels, dynamics, seed)

    in_float32 = clone(dynamics).set_params(precision="fp32")
    return {
        "DyGenClassifier, all layers": partial(_fit, dynamics, texts, labels),
        "the same in float32": partial(_fit, in_float32, texts, labels),
        "Trainer, once per branch": trainer,
    }


def against_published(n_texts, n_epochs):
    """Compare the default with the published procedure, a third more texts unseen."""
    texts, labels = make_data(n_texts)
    others, _ = make_data(n_texts // 3, seed=1)
    dynamics = LanguageModelDynamics(n_epochs=n_epochs)

    def ours():
        _fit(dynamics, texts, labels).predict_proba(others)

    def published():
        with torch.random.fork_rng():
            fit_published(
                MODEL, texts, labels, others,
                n_branches=dynamics.n_branches, n_epochs=n_epochs,
                batch_size=dynamics.batch_size, max_length=dynamics.max_length, seed=0,
            )  # fmt: skip

    return {"DyGenClassifier": ours, "published procedure": published}


def shares(n_texts, n_epochs):
    """Time the stages of a fit of all layers, and recording within it, in two ways."""
    texts, labels = make_data(n_texts)
    dynamics = LanguageModelDynamics(
        trainable_layers="all", n_epochs=n_epochs, random_state=0
    )
    trajectories = dynamics.fit_transform(texts, labels)

    def denoise():
        DyGenClassifier("precomputed", random_state=0).fit(trajectories, labels)

    def record(recording, way):
        chosen = clone(dynamics).set_params(recording=recording)
        watch = Stopwatch()
        with (
            patch.object(Backbone, "embed", watch.timed(Backbone.embed)),
            patch.object(Recorder, "add", watch.timed(Recorder.add)),
            patch.object(Recorder, "finish", watch.timed(Recorder.finish)),
        ):
            seconds = measure(partial(chosen.fit_transform, texts, labels))
        return {f"stage 1{way}": seconds, f"recording{way}": watch.seconds}

    return {
        "by default": partial(record, "auto", ""),
        "by passes": partial(record, "evaluation", ", recording='evaluation'"),
        "stages 2 and 3": denoise,
    }


def dropout(n_texts, n_epochs):
    """Time the training of all layers with this package's dropout and torch's."""
    texts, labels = make_data(n_texts)
    dynamics = LanguageModelDynamics(
        trainable_layers="all", n_epochs=n_epochs, random_state=0
    )

    def by_torch():
        with patch("skdygen.dynamics._networks.FastDropout", nullcontext):
            dynamics.fit(texts, labels)

    return {
        "training": partial(dynamics.fit, texts, labels),
        "the same with torch's dropout": by_torch,
    }


def compiled(n_texts, n_epochs):
    """Time the default's training without and with torch.compile."""
    texts, labels = make_data(n_texts)
    dynamics = LanguageModelDynamics(n_epochs=n_epochs, random_state=0)

    def compile_and_distribute(branches):
        for branch in branches.branches:
            branch.body.compile(dynamic=True)
        return distribute(branches)

    def again():
        with patch("skdygen._torch.distribute", compile_and_distribute):
            dynamics.fit(texts, labels)

    def first():
        torch.compiler.reset()
        again()

    def later():
        first()
        return measure(again)

    return {
        "fine-tuning": partial(dynamics.fit, texts, labels),
        "fine-tuning, compiled": first,
        "fine-tuning, compiled before": later,
    }


def arithmetic(n_texts, n_epochs):
    """Compare the training's operations per second with those of a matrix product.

    Counted are the products with the weights that are trained, forward and backward.
    """
    texts, labels = make_data(n_texts)
    dynamics = LanguageModelDynamics(
        trainable_layers="all", n_epochs=n_epochs, random_state=0
    ).fit(texts, labels)
    networks = Networks(dynamics)
    n_tokens = int(networks.backbone.encode(texts).lengths.sum())
    n_weights = sum(
        p.numel()
        for name, p in networks.branches.trained_parameters().items()
        if p.ndim == 2 and "embeddings" not in name and "pooler" not in name
    )
    n_operations = 6 * n_weights * n_tokens * n_epochs

    def training():
        return n_operations / measure(partial(dynamics.fit, texts, labels)) / 1e9

    def product():
        left, right = torch.ones(2, 2048, 2048)
        if dynamics.precision_ == "bf16":
            left, right = left.bfloat16(), right.bfloat16()
        left @ right
        fastest = min(measure(lambda: torch.mm(left, right)) for _ in range(20))
        return 2 * 2048**3 / fastest / 1e9

    return {"training, 10^9 operations/s": training, "matrix product": product}


def prediction(n_texts, n_epochs):
    """Compare predictions with one pass of sentence-transformers over the texts."""
    texts, labels = make_data(n_texts)
    new, _ = make_data(n_texts, seed=1)
    clf = _fit(LanguageModelDynamics(n_epochs=n_epochs), texts, labels)
    final = LanguageModelDynamics(
        n_branches=1, n_epochs=1, trainable_layers="all", random_state=0
    )
    final.fit(texts[:64], labels[:64])
    model = load_sentence_transformer(MODEL, max_length=clf.dynamics_.max_length)
    return {
        "SentenceTransformer.encode": partial(model.encode, new),
        "encode in our precision": partial(_encode, model, new),
        "predict": partial(clf.predict, new),
        "predict by a final_estimator": partial(final.predict, new),
    }


def search(n_texts, n_epochs):
    """Compare a search over 12 points with the fits that it cannot do without."""
    texts, labels = make_data(n_texts)
    dynamics = LanguageModelDynamics(n_epochs=n_epochs, random_state=0)
    grid = {
        "prior__criterion": ["relative", "paper"],
        "denoiser": [DirichletVAE(random_state=0)],
        "denoiser__prior_strength": [2.0, 10.0],
        "denoiser__prior_weight": [0.0, 0.5, 0.9],
    }
    folds = StratifiedKFold(3)

    def searched():
        with tempfile.TemporaryDirectory() as folder:
            clf = DyGenClassifier(dynamics, memory=folder, random_state=0)
            GridSearchCV(clf, grid, cv=folds, refit=False).fit(texts, labels)

    def needed():
        for train, _ in folds.split(texts, labels):
            chosen = [texts[i] for i in train]
            recorded = dynamics.fit_transform(chosen, labels[train])
            for criterion in grid["prior__criterion"]:
                prior = ConsensusPrior(criterion=criterion)
                trajectories = prior.fit_transform(recorded, labels[train])
                for strength in grid["denoiser__prior_strength"]:
                    for weight in grid["denoiser__prior_weight"]:
                        DirichletVAE(
                            prior_strength=strength, prior_weight=weight, random_state=0
                        ).fit(trajectories, labels[train])

    return {"GridSearchCV": searched, "3 fine-tunes, 36 denoisers": needed}


def layers(n_texts, n_epochs):
    """Time a fit by how many layers are trained."""
    texts, labels = make_data(n_texts)
    return {
        str(n_layers): partial(
            _fit,
            LanguageModelDynamics(trainable_layers=n_layers, n_epochs=n_epochs),
            texts,
            labels,
        )
        for n_layers in TRAINED_LAYERS
    }


def frozen(n_texts, n_epochs):
    """Time what a fit of eight times the texts by a frozen model does beside encoding.

    It has as many epochs as by default.
    """
    texts, labels = make_data(8 * n_texts)
    store = FrozenStore(None)
    store.update(zip(texts, encode(texts, views=[]), strict=True))
    dynamics = LanguageModelDynamics(store.__call__, trainable_layers=0)
    return {
        "frozen fit, beyond encoding": partial(_fit, dynamics, texts, labels),
        "encoding": partial(encode, texts, views=[]),
    }


def measure_on(device, part, n_texts, n_epochs, n_rounds):
    """Measure fits or predictions on a device, and how much of it they use.

    Operations are counted on some of the texts, in a first run that also makes
    everything ready. They are those of matrix products and of attention, padding
    included.

    Returns
    -------
    row : dict
        In rounds the seconds of each contender and the operations per second of a
        matrix product in bfloat16; by contender, in texts how often a text goes through
        a network that is trained, or how many texts are predicted, and in operations
        those of all texts; in megabytes the peak of the memory of a GPU, else None.
    """
    device = torch.device(device)
    texts, labels = make_data(n_texts)
    rows = slice(0, min(n_texts, _N_COUNTED))
    row = {"device": device.type, "texts": {}, "operations": {}, "megabytes": {}}
    calls, own = {}, {}
    _matrix_rate(device)  # what libraries take for themselves is no contender's
    for name, make, n_passes in DEVICE_PARTS[part](device.type, n_epochs):
        before = _allocated(device)
        calls[name] = make(texts, labels)
        with FlopCounterMode(display=False) as counter:
            calls[name](texts[rows], labels[rows])
        own[name] = _allocated(device) - before  # such as weights on the GPU
        row["texts"][name] = n_texts * n_passes
        scale = n_texts / rows.stop
        row["operations"][name] = round(counter.get_total_flops() * scale)
        row["megabytes"][name] = None
    rounds = []
    for i in range(n_rounds):
        rounds.append({"matrix product": _matrix_rate(device)})
        for name in list(calls)[:: 1 if i % 2 == 0 else -1]:
            start = _allocated(device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            rounds[-1][name] = _seconds(partial(calls[name], texts, labels), device)
            if device.type == "cuda":
                peak = torch.cuda.max_memory_allocated() - start + own[name]
                known = row["megabytes"][name] or 0.0
                row["megabytes"][name] = max(known, peak / 1e6)
        print(part, {k: round(v, 2) for k, v in rounds[-1].items()}, flush=True)
    sizes = {"n_texts": n_texts, "n_epochs": n_epochs}
    return {"part": part, "rounds": rounds} | row | sizes


def _seconds(call, device):
    """Time a call until the device, too, is ready with it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else int
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def _allocated(device):
    """Bytes of the tensors in use on a GPU."""
    if device.type != "cuda":
        return 0
    gc.collect()  # a Trainer refers to itself
    return torch.cuda.memory_allocated()


def _matrix_rate(device):
    """Operations per second of a large product in bfloat16, the fastest of 20."""
    n = 8192 if device.type == "cuda" else 512
    left, right = torch.randn(2, n, n, device=device, dtype=torch.bfloat16)
    product = partial(torch.mm, left, right)
    return 2 * n**3 / min(_seconds(product, device) for _ in range(20))


# Each gives names, what makes a call on texts and labels, and how many passes through
# networks a text is counted for.


def fits_on(device, n_epochs):
    """Fits of three and of all layers, and one fine-tune by transformers."""
    default = LanguageModelDynamics(MODEL, n_epochs=n_epochs, device=device)
    for name, n_layers in (("three", default.trainable_layers), ("all", "all")):
        chosen = clone(default).set_params(trainable_layers=n_layers)
        n_passes = default.n_branches * n_epochs
        yield (
            f"DyGenClassifier, {name} layers",
            lambda *_, chosen=chosen: partial(_fit, chosen),
            n_passes,
        )
    precision = choose_precision("auto", torch.device(device))
    trainer = partial(
        fit_trainer, dynamics=default, seed=0, device=device, precision=precision
    )
    yield "Trainer", lambda *_: trainer, n_epochs


def predictions_on(device, n_epochs):
    """Predictions of fits of three and of all layers, and one pass of the model.

    What a fit has learned is of no matter here, so it is one on few texts; of fewer
    than two epochs it would not keep as many networks as it does by default.
    """

    def predict(n_layers, texts, labels):
        dynamics = LanguageModelDynamics(
            MODEL, trainable_layers=n_layers, n_epochs=max(n_epochs, 2), device=device
        )
        clf = _fit(dynamics, texts[:_N_FITTED], labels[:_N_FITTED])
        return lambda texts, _: clf.predict(texts)

    def encode(call, *_):
        max_length = LanguageModelDynamics().max_length
        model = load_sentence_transformer(MODEL, max_length=max_length).to(device)
        return lambda texts, _: call(model, texts)

    yield "predict, three layers", partial(predict, 3), 1
    yield "predict, all layers", partial(predict, "all"), 1
    yield "encode in our precision", partial(encode, _encode), 1
    yield (
        "SentenceTransformer.encode",
        partial(encode, lambda model, texts: model.encode(texts)),
        1,
    )


def fit_trainer(texts, labels, dynamics, seed, device="cpu", precision="fp32"):
    """Fine-tune once as users of transformers do."""
    _, codes = np.unique(labels, return_inverse=True)
    source, _ = find_model(MODEL)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokens = tokenizer(texts, truncation=True, max_length=dynamics.max_length)
    data = [
        {"input_ids": ids, "attention_mask": mask, "labels": int(code)}
        for ids, mask, code in zip(
            tokens["input_ids"], tokens["attention_mask"], codes, strict=True
        )
    ]
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        arguments = TrainingArguments(
            folder,
            num_train_epochs=dynamics.n_epochs,
            per_device_train_batch_size=dynamics.batch_size,
            learning_rate=dynamics.learning_rate,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=device == "cpu",
            bf16=precision == "bf16",
            seed=seed,
        )
        Trainer(
            AutoModelForSequenceClassification.from_pretrained(
                source, num_labels=codes.max() + 1
            ),
            arguments,
            train_dataset=data,
            data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8),
        ).train()


def _fit(dynamics, texts, labels):
    return DyGenClassifier(dynamics, random_state=0).fit(texts, labels)


def _encode(model, texts):
    with autocast(choose_precision("auto", model.device), model.device):
        model.encode(texts)


PARTS = {
    "trainer": against_trainer,
    "published": against_published,
    "shares": shares,
    "dropout": dropout,
    "compiled": compiled,
    "arithmetic": arithmetic,
    "prediction": prediction,
    "search": search,
    "layers": layers,
    "frozen": frozen,
}
DEVICE_PARTS = {"device fit": fits_on, "device predict": predictions_on}


if __name__ == "__main__":
    main()
