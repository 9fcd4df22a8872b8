"""Fixtures: a tiny language model made at run time, and small data.

At the end of a run of all tests, or all that are not long: has every constructor
parameter had another value than its default in some fit?
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
# With more threads than one, tiny models run ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import inspect
import pickle

import hypothesis
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

import skdygen
from skdygen import Trajectories, denoisers, dynamics, priors
from skdygen.datasets import make_label_noise

torch.set_num_threads(1)

WORDS = {
    "animal": ["cat", "dog", "horse", "mouse", "owl", "fox"],
    "fruit": ["apple", "pear", "plum", "cherry", "melon", "lime"],
    "tool": ["hammer", "saw", "drill", "pliers", "wrench", "file"],
}
FILLER = ["the", "a", "one", "old", "new", "and", "with", "some"]


def make_word_texts(n_samples, classes=("animal", "fruit"), seed=0):
    """Make texts of three words of their class among fillers, and their classes."""
    rng = np.random.RandomState(seed)
    labels = np.array(classes)[rng.permutation(np.arange(n_samples) % len(classes))]
    texts = []
    for label in labels:
        words = [*rng.choice(WORDS[label], 3), *rng.choice(FILLER, rng.randint(1, 6))]
        texts.append(" ".join(rng.permutation(words)))
    return texts, labels


def save_tiny_model(
    folder, *, kind="Bert", n_layers=2, words=(), pooling="mean", seed=0, **config
):
    """Save a random sentence-transformers model with a word-level tokeniser."""
    # Here, since most files of tests need none of them, and they take seconds.
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *FILLER]
    words += [word for group in WORDS.values() for word in group]
    tokenizer = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", model_max_length=64,
    )  # fmt: skip
    sizes = {
        "vocab_size": len(words), "hidden_size": 32, "num_hidden_layers": n_layers,
        "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 64, "pad_token_id": 0,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**(sizes | config))
    plain = folder / "transformer"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.AutoModel.from_config(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    transformer = modules.Transformer(str(plain))
    pooling = modules.Pooling(transformer.get_embedding_dimension(), pooling)
    SentenceTransformer(
        modules=[transformer, pooling, modules.Normalize()], device="cpu"
    ).save(str(folder / "model"))
    return str(folder / "model")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a random BERT of two layers, 32 wide."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def word_texts():
    """Give 120 texts of two classes, their labels, and the same 30 % wrong."""
    texts, labels = make_word_texts(120)
    noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    return texts, labels, noisy


@pytest.fixture
def random_trajectories():
    """Trajectories of random numbers: 40 texts, 2 branches, 3 epochs, 5 wide."""
    rng = np.random.RandomState(0)
    return Trajectories(
        rng.randn(40, 2, 3, 5).astype(np.float32),
        rng.dirichlet(np.ones(4), size=(40, 2, 3)).astype(np.float32),
        classes=np.array(["a", "b", "c", "d"]),
    )


@pytest.fixture(autouse=True)
def leaves_global_state_alone():
    """Fail a test after which random states or torch's number of threads are others."""
    numpy_state = pickle.dumps(np.random.get_state())
    torch_state = torch.get_rng_state()
    yield
    assert pickle.dumps(np.random.get_state()) == numpy_state
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.get_num_threads() == 1


# The same examples each time; `pytest --hypothesis-profile long` draws many others.
hypothesis.settings.register_profile("default", max_examples=60, derandomize=True)
hypothesis.settings.register_profile("long", max_examples=10_000)
hypothesis.settings.load_profile("default")


_exercised = set()  # such as "DirichletVAE.n_epochs"
_n_deselected = 0
_validate = BaseEstimator._validate_params


def _parameters(cls):
    """Defaults of the parameters of an estimator, by name."""
    parameters = inspect.signature(cls).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _validate_and_note(self):
    _validate(self)
    kinds = type(self).__mro__
    if not any(cls.__module__.startswith("skdygen") for cls in kinds):
        return
    for name, default in _parameters(type(self)).items():
        value = getattr(self, name)
        if value is not default and (type(value), value) != (type(default), default):
            _exercised.update(f"{cls.__name__}.{name}" for cls in kinds)


BaseEstimator._validate_params = _validate_and_note


def pytest_deselected(items):
    """Count what is left out, by `-m`, `-k` or `--lf`, besides what takes long."""
    global _n_deselected
    _n_deselected += sum(item.get_closest_marker("long") is None for item in items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Gather what a process of pytest-xdist has seen."""
    global _n_deselected
    exercised, n_deselected = getattr(node, "workeroutput", {}).get("seen", ((), 0))
    _exercised.update(exercised)
    _n_deselected += n_deselected


def pytest_sessionfinish(session, exitstatus):
    """Fail a whole run in which a parameter had its default everywhere."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["seen"] = sorted(_exercised), _n_deselected
        return
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if exitstatus != 0 or not is_whole or _n_deselected:
        return
    modules = (skdygen, dynamics, priors, denoisers)
    public = [getattr(module, name) for module in modules for name in module.__all__]
    never = {
        f"{cls.__name__}.{name}"
        for cls in public
        if inspect.isclass(cls) and issubclass(cls, BaseEstimator)
        for name in _parameters(cls)
    } - _exercised
    if never:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(f"\nNo test sets: {', '.join(sorted(never))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
