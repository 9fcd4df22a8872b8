"""What a fit has come to, in one file after every epoch, so that another can resume."""

import hashlib
import json
import logging
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
import torch

from .. import __version__, _torch
from .._storage import hash_rest, replacing

logger = logging.getLogger(__name__)

# Parameters that do not matter for what a fit comes to, or are hashed by their outcome.
_WITHOUT_INFLUENCE = {
    "checkpoint_dir", "device", "max_nbytes", "missing_label", "model", "precision",
    "random_state", "store_weights", "temp_folder", "verbose", "views",
}  # fmt: skip
_PLACES = {"name_or_path", "is_local", "local_files_only"}
_DIGEST = 32  # bytes of a checksum, in front of what it is of


class Checkpoint:
    """A file that belongs to one fit, written as a temporary file and renamed.

    At any moment it holds one whole epoch, if there ever was. Of several processes that
    fit together the main one writes and reads.
    """

    def __init__(self, folder, key):
        self.path = None
        if _torch.process_index():
            return
        self.path = Path(folder).expanduser() / f"fit-{key}.pt"

    def read(self):
        """Return what `write` was given last; None if nothing is kept or of use."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with open(self.path, "rb") as file:
                digest = file.read(_DIGEST)
                if hash_rest(file).digest() != digest:
                    raise ValueError("it is not what was written")
                file.seek(_DIGEST)
                state = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"the checkpoint {self.path} cannot be used ({error}); the fit starts "
                f"from the beginning.",
                stacklevel=2,
            )
            return None
        logger.info("resuming after epoch %d, from %s", state["epoch"] + 1, self.path)
        return state

    def write(self, **state):
        """Keep what there is after an epoch: tensors, numbers, lists and dicts.

        If that cannot be, because the disk is full, there is a warning and the fit goes
        on; what was kept before stays.
        """
        if self.path is None:
            return
        try:
            with replacing(self.path) as temporary, open(temporary, "w+b") as file:
                file.write(bytes(_DIGEST))
                torch.save(state, file)
                file.seek(_DIGEST)
                digest = hash_rest(file).digest()
                file.seek(0)
                file.write(digest)
        except (OSError, RuntimeError) as error:  # torch's writer raises the latter
            warnings.warn(
                f"epoch {state['epoch'] + 1} could not be kept in {self.path}, the fit "
                f"goes on without: {error}",
                stacklevel=2,
            )

    def remove(self):
        """Remove the file, and any that a kill has left half-written: it is over."""
        if self.path is not None:
            for path in self.path.parent.glob(f"*{self.path.name}*"):
                path.unlink(missing_ok=True)


def check_folder(folder):
    """Make a folder for checkpoints; raise an error if nothing can be written there."""
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"checkpoint_dir: nothing can be written to {folder} ({error}); use "
            f"another folder, or None."
        ) from error


def hash_fit(stage, model, *facts):
    """Hash everything that the outcome of a fit depends on.

    `model` is a SentenceTransformer, or the embeddings that anything else has given.
    """
    params = {
        name: value
        for name, value in stage.get_params(deep=False).items()
        if name not in _WITHOUT_INFLUENCE
    }
    versions = (__version__, torch.__version__, _torch.n_processes())
    return joblib.hash((versions, params, stage.precision_, _hash_model(model), *facts))


def _hash_model(model):
    """Hash the weights of a SentenceTransformer, its modules and its tokeniser."""
    if isinstance(model, np.ndarray):
        return joblib.hash(model)
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    settings = [model.prompts, model.default_prompt_name, model.max_seq_length]
    settings.append(model[0].model.config.to_json_string())
    for module in model:
        config = getattr(module, "get_config_dict", dict)()
        settings.append((type(module).__name__, config))
    tokenizer = model.tokenizer
    rules = tokenizer.get_vocab()
    if hasattr(tokenizer, "backend_tokenizer"):
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        rules |= {"padding": None, "truncation": None}  # those of the last texts
    else:  # its rules are arguments, besides those that say where it comes from
        rules |= {
            name: value
            for name, value in tokenizer.init_kwargs.items()
            if name not in _PLACES and not name.endswith("_file")
        }
    settings += [rules, tokenizer.truncation_side]
    found.update(repr(settings).encode())
    return found.hexdigest()
