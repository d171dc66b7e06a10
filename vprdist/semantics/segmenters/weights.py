"""Which files a segmenter's weights are, and their digest. Loads no torch: a login node plans a build with it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from vprdist.errors import RuleError, WeightsError
from vprdist.files import digest_file, digest_json
from vprdist.spec.own_code import read_own
from vprdist.spec.segmenter import SegmenterSpec

SETTINGS = ("config.json", "preprocessor_config.json")
TENSORS = ("*.safetensors", "*.bin")
NO_TENSORS = "Fetch it whole, or name a model that has them: save_pretrained writes model.safetensors."


def weights_digest(spec: SegmenterSpec) -> str:
    """16 hex digits of the content of a segmenter's weights; neither path nor time.

    Raises:
        WeightsError: they are not there.
    """
    files = weights_files(spec)
    if spec.is_own:
        return digest_json([_own_digest(spec), *(digest_file(path) for path in files)])
    if len(files) == 1:
        stat = files[0].stat()
        return _digest_of_state(files[0], stat.st_size, stat.st_mtime_ns)
    return digest_json([[path.name, digest_file(path)] for path in files])


@lru_cache(maxsize=64)
def _digest_of_state(path: Path, size: int, time_ns: int) -> str:
    """A file's digest, once for each state of it: a sweep asks for every trial."""
    return digest_file(path, 16)


def weights_files(spec: SegmenterSpec) -> list[Path]:
    """The files that decide what the network computes, sorted by name.

    Raises:
        WeightsError: they are not there.
    """
    if spec.is_own:
        return [] if spec.weights is None else [_own_weights(spec)]
    if spec.facts.is_folder:
        return _model_files(model_folder(spec.source))
    path = Path(spec.source)
    if not path.is_file():
        raise WeightsError(path, f"no such file; the weights of {spec.family} must be one", None, "Check the path.")
    return [path]


def _own_digest(spec: SegmenterSpec) -> str:
    """The text of a user's class as it is now.

    Raises:
        WeightsError: it is not there any more.
    """
    try:
        return read_own(spec.name).digest
    except RuleError as error:
        raise WeightsError(spec.name, error.fault, error.value, error.remedy) from None


def _own_weights(spec: SegmenterSpec) -> Path:
    path = Path(spec.source)
    if not path.is_file():
        raise WeightsError(path, f"the weights of {spec.family} must be a file", "missing", "Check the path.")
    return path


def model_folder(name: str) -> Path:
    """The folder of a transformers model: a path, or what an earlier download of a named model left on this machine.

    Nothing is fetched here: the nodes of a cluster reach no hub, and what a name means there may change.

    Raises:
        WeightsError: neither a folder nor downloaded.
    """
    if Path(name).is_dir():
        return Path(name)
    remedy = f"Run `hf download {name}` on a machine that reaches the hub, or name a folder that holds the model."
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        remedy = f"pip install 'vprdist[transformers]'. {remedy}"
        raise WeightsError(name, "the model is not on this machine", None, remedy) from None
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # names that are none, and a cache without the model: all mean that it is not here
        raise WeightsError(name, "the model is not on this machine", None, remedy) from None


def _model_files(folder: Path) -> list[Path]:
    if not (folder / "config.json").is_file():
        remedy = "Check the path; save_pretrained writes such a folder."
        raise WeightsError(folder, "a transformers model must be a folder with config.json", None, remedy)
    for pattern in TENSORS:  # transformers prefers safetensors, too
        if tensors := sorted(folder.glob(pattern)):
            settings = [folder / name for name in SETTINGS if (folder / name).is_file()]
            return sorted([*settings, *tensors])
    raise WeightsError(folder, f"a transformers model must have {' or '.join(TENSORS)}", None, NO_TENSORS)
