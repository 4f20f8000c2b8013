"""One network from a folder in diffusers' layout, or from one file of the original layout: ControlNets and VAEs.

Only safetensors are read, and no model hub is asked.
"""

from typing import Any

import torch
from diffusers.utils.import_utils import is_accelerate_available

from gpu_worker.engine.memory import is_out_of_memory
from gpu_worker.engine.tensors import check_is_safetensors
from jobs.catalog import Model
from jobs.errors import FatalFailure
from jobs.weights import HALF_WEIGHTS, WEIGHTS


def open_network(model: Model, network: Any, dtype: torch.dtype) -> Any:
    """`network` is diffusers' class. Raises FatalFailure, naming model and file, if that is missing or damaged."""
    if not model.path.exists():
        raise FatalFailure(f"{model.kind} {model.id}: {model.path} does not exist")
    try:
        return _open_folder(model, network, dtype) if model.path.is_dir() else _open_file(model, network, dtype)
    except FatalFailure:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Of a damaged file nearly any class is raised.
        raise FatalFailure(f"{model.kind} {model.id}: cannot load {model.path}: {error}") from error


def _open_folder(model: Model, network: Any, dtype: torch.dtype) -> Any:
    is_half_only = (model.path / HALF_WEIGHTS).exists() and not (model.path / WEIGHTS).exists()
    return network.from_pretrained(
        model.path,
        variant="fp16" if is_half_only else None,
        torch_dtype=dtype,
        low_cpu_mem_usage=is_accelerate_available(),  # type: ignore[no-untyped-call]
        use_safetensors=True,
        local_files_only=True,
    )


def _open_file(model: Model, network: Any, dtype: torch.dtype) -> Any:
    check_is_safetensors(model)
    if model.config_path is None:
        raise FatalFailure(f"{model.kind} {model.id}: a single file needs config_path, a diffusers folder of its kind")
    if not hasattr(network, "from_single_file"):
        reason = f"a {network.__name__} is loaded from a diffusers folder only"
        raise FatalFailure(f"{model.kind} {model.id}: cannot load {model.path}: {reason}")
    return network.from_single_file(
        str(model.path), config=str(model.config_path), torch_dtype=dtype, local_files_only=True
    )
