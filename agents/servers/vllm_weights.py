"""Prepares model folders that a running vLLM server reloads completely: with their head, even if it is tied
to the embeddings.

`save_pretrained` omits a tied head. A starting server ties it again; a reloading one may keep its old head
(seen on a CPU, where vLLM stores the head separately, packed), which results in a mixture of two models.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

HEAD, EMBEDDINGS = "lm_head.weight", "embed_tokens.weight"
FILE = "lm_head.safetensors"
_INDEX = "model.safetensors.index.json"


def store_head(folder: str | Path) -> None:
    """Writes the head of a model folder into a separate file there, if it is tied and not written yet. Other
    files are unchanged, except an index.

    Raises ValueError for a folder without the embedding.
    """
    path = Path(folder)
    if has_head(path):
        return
    embeddings = [(file, name) for file, name in _weights(path) if name.endswith(EMBEDDINGS)]
    if len(embeddings) != 1:
        raise ValueError(f"{folder}: {len(embeddings)} weights are called {EMBEDDINGS}, so its head cannot be told from them")
    ((file, name),) = embeddings
    with safe_open(file, "pt") as weights:
        save_file({HEAD: weights.get_tensor(name)}, path / FILE, metadata={"format": "pt"})
    index = path / _INDEX
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))
        listed["weight_map"][HEAD] = FILE
        index.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def has_head(folder: str | Path) -> bool:
    """Whether a model folder contains its head: an untied one, or a tied one that was written as well.

    Raises ValueError for a folder without a model.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} cannot be read as a model folder: {str(error).splitlines()[0]}") from error
    tied = getattr(config, "tie_word_embeddings", False) or getattr(config.get_text_config(), "tie_word_embeddings", False)
    return not tied or any(name.endswith(HEAD) for _, name in _weights(Path(folder)))


def _weights(folder: Path) -> Iterator[tuple[Path, str]]:
    """The weights in a folder as vLLM finds them: every safetensors file, or those in the index."""
    index = folder / _INDEX
    if index.is_file():
        for name, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items():
            yield folder / file, name
        return
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118  it is no dict
                yield path, name
