"""The catalogue from the command line: what is in it, and what comes in or goes. It loads no weights.

The web process and the workers read the catalogue when they start.
"""

import argparse
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.model_files import bring, is_address, take_away
from config.catalog_file import add_entry, remove_entry
from config.settings import ModelSettings
from config.starting import catalog_of, read_settings
from jobs.catalog import KINDS_OF_ANY_FAMILY, Catalog, Family, Kind, Model
from jobs.names import did_you_mean, quoted
from jobs.weights import Weights, WrongWeights, main_file, safetensors_header
from jobs.words import are, count

# Files that run code when they are read as they are.
PICKLED = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
# Those that are published in no other form.
KINDS_PICKLED = (Kind.DETECTOR, Kind.PREPROCESSOR)
READ_ANEW = "the web process and the workers see it when they are started again"


class ModelsFailed(Exception):
    """The catalogue cannot be read, or a model is not what it states."""


def add_models_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "list", help="the models of the catalogue, each with its kind, family, names and path"
    )
    command.set_defaults(run=list_models)
    command = commands.add_parser("verify", help="compare the sha256 of each model's weights with the catalogue's")
    command.set_defaults(run=verify_models)
    _add_add_command(commands)
    command = commands.add_parser("remove", help="take a model out of the catalogue")
    command.add_argument("model", help="its id, or its name or alias where no other kind has it")
    command.add_argument(
        "--delete-files", action="store_true", help="its weights too, if they lie in the models folder"
    )
    command.set_defaults(run=remove_model)


def _add_add_command(commands: Any) -> None:
    command = commands.add_parser("add", help="put a model into the catalogue: a file, a folder or an address")
    command.add_argument(
        "source", help="a .safetensors file, a folder of diffusers or transformers, or an https address with --sha256"
    )
    command.add_argument("--name", required=True)
    command.add_argument("--kind", choices=sorted(kind.value for kind in Kind), default=Kind.CHECKPOINT)
    command.add_argument("--family", choices=sorted(family.value for family in Family), help="what it goes with")
    command.add_argument("--id", help="a number of 64 bits; by default a random one")
    command.add_argument("--alias", action="append", default=[], dest="aliases", metavar="NAME")
    command.add_argument("--sha256", type=str.lower, help="of its main file; required for an address")
    command.add_argument("--config", help="of a checkpoint in one file: a diffusers folder of its architecture")
    command.add_argument("--trigger-word", action="append", default=[], dest="trigger_words", metavar="WORD")
    for name in ("description", "licence", "project-name"):
        command.add_argument(f"--{name}", default="")
    command.add_argument("--in-place", action="store_true", help="leave the weights where they are; copy nothing")
    command.add_argument(
        "--allow-pickle", action="store_true", help="take a detector's or preprocessor's .pt or .pth file"
    )
    command.set_defaults(run=add_model)


def add_model(arguments: argparse.Namespace) -> None:
    """Raises ModelsFailed or DarkroomError where it is not what is told; then catalogue and folder are as before."""
    _check_told(arguments)
    settings, catalog = read_settings(ModelSettings), _catalog()
    path = _place(arguments, settings)
    try:
        model = _checked(arguments, path, catalog)
        add_entry(settings.catalog_file, settings.models_folder, _entry(arguments, model, settings))
    except (WrongWeights, ModelsFailed, ValueError) as error:
        if _was_brought(arguments, path):
            take_away(path)
        raise ModelsFailed(str(error)) from error
    print(f"added {_line(model)}\n{READ_ANEW}")


def remove_model(arguments: argparse.Namespace) -> None:
    """Raises ModelsFailed where there is no such model, or the catalogue would have no default without it."""
    settings, catalog = read_settings(ModelSettings), _catalog()
    model = _named(arguments.model, catalog)
    try:
        remove_entry(settings.catalog_file, settings.models_folder, model.id)
    except ValueError as error:
        raise ModelsFailed(str(error)) from error
    print(f"removed {_line(model)}\n{READ_ANEW}")
    if arguments.delete_files:
        _delete_files(model, settings.models_folder, [each for each in catalog.models if each is not model])


def _check_told(arguments: argparse.Namespace) -> None:
    if is_address(arguments.source) and not arguments.sha256:
        raise ModelsFailed("an address needs --sha256: what comes from it is compared with that")
    if arguments.sha256 and not re.fullmatch("[0-9a-f]{64}", arguments.sha256):
        raise ModelsFailed("--sha256 must be 64 hexadecimal digits")
    if arguments.family is None and arguments.kind not in KINDS_OF_ANY_FAMILY:
        raise ModelsFailed(f"a {arguments.kind} needs --family: what it goes with")
    _check_form(Path(arguments.source), arguments)


def _check_form(file: Path, arguments: argparse.Namespace) -> None:
    suffix = file.suffix.lower()
    if suffix in PICKLED and arguments.kind not in KINDS_PICKLED:
        raise ModelsFailed(f"{suffix} files are pickled and may run code: send safetensors; workers read nothing else")
    if suffix in PICKLED and not arguments.allow_pickle:
        raise ModelsFailed(f"{suffix} files are pickled and may run code; --allow-pickle takes one that you trust")


def _place(arguments: argparse.Namespace, settings: ModelSettings) -> Path:
    if arguments.in_place and not is_address(arguments.source):
        return Path(arguments.source).absolute()
    return bring(arguments.source, settings.models_folder, arguments.sha256 or "")


def _was_brought(arguments: argparse.Namespace, path: Path) -> bool:
    return is_address(arguments.source) or Path(arguments.source).absolute() != path


def _checked(arguments: argparse.Namespace, path: Path, catalog: Catalog) -> Model:
    model = Model(
        id=arguments.id or _new_id(catalog),
        name=arguments.name,
        kind=Kind(arguments.kind),
        family=Family(arguments.family or Family.ANY),
        path=path,
        sha256=arguments.sha256 or "",
    )
    file = main_file(model)
    _check_form(file, arguments)
    if file.suffix.lower() not in PICKLED:
        safetensors_header(file)
    weights = Weights()
    weights.check(model)
    return replace(model, sha256=weights.sha256(model))


def _entry(arguments: argparse.Namespace, model: Model, settings: ModelSettings) -> dict[str, Any]:
    told = {
        "id": model.id,
        "name": model.name,
        "aliases": arguments.aliases,
        "kind": model.kind.value,
        "family": "" if model.family is Family.ANY else model.family.value,
        "path": _written(model.path, settings.models_folder),
        "config": _written(Path(arguments.config).absolute(), settings.models_folder) if arguments.config else "",
        "description": arguments.description,
        "licence": arguments.licence,
        "sha256": model.sha256,
        "project_name": arguments.project_name,
        "trigger_words": arguments.trigger_words,
    }
    return {name: value for name, value in told.items() if value}


def _written(path: Path, folder: Path) -> str:
    """Relative to the models folder where it lies in it."""
    return str(path.relative_to(folder.absolute()) if path.is_relative_to(folder.absolute()) else path)


def _new_id(catalog: Catalog) -> str:
    taken = {model.id for model in catalog.models}
    # 19 digits, as the published ids have; below 2**63.
    return next(id_ for id_ in iter(lambda: str(10**18 + secrets.randbelow(8 * 10**18)), None) if id_ not in taken)


def _named(name: str, catalog: Catalog) -> Model:
    found = [model for model in catalog.models if name == model.id]
    found = found or [
        each for each in catalog.models if name.casefold() in map(str.casefold, (each.name, *each.aliases))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelsFailed(f"{name!r} names {', '.join(f'{each.kind} {each.id}' for each in found)}; give the id")
    aliases = {alias: model.name for model in catalog.models for alias in model.aliases}
    near = did_you_mean(name, [model.name for model in catalog.models], aliases)
    raise ModelsFailed(
        f"no model has the id, name or alias {name!r}; {near or '`darkroom models list` tells them all'}"
    )


def _delete_files(model: Model, folder: Path, others: list[Model]) -> None:
    path = model.path.absolute()
    if not path.is_relative_to(folder.absolute()) or path == folder.absolute():
        print(f"left {path}: it does not lie in {folder}")
    elif sharing := [each.id for each in others if each.path.absolute().is_relative_to(path)]:
        print(f"left {path}: models {', '.join(sharing)} are in it")
    else:
        take_away(path)
        print(f"deleted {path}")


def list_models(_arguments: argparse.Namespace) -> None:
    for model in _catalog().models:
        print(_line(model))


def verify_models(_arguments: argparse.Namespace) -> None:
    """Raises ModelsFailed, after a line for each model, if weights are missing or not those that are stated."""
    weights, models = Weights(), _catalog().models
    wrong = [model for model in models if not _verify(model, weights)]
    if wrong:
        raise ModelsFailed(
            f"{len(wrong)} of {count(len(models), 'model')} {are(len(wrong))} not as the catalogue states"
        )


def _verify(model: Model, weights: Weights) -> bool:
    try:
        weights.check(model)
        verdict = "right" if model.sha256 else f"not stated; it is {weights.sha256(model)}"
    except WrongWeights as error:
        print(f"WRONG {error.message}", flush=True)
        return False
    print(f"{model.id} {model.name}: sha256 {verdict}", flush=True)
    return True


def _line(model: Model) -> str:
    marks = [mark for mark, holds in (("private", model.is_private), ("absent", not model.path.exists())) if holds]
    names = f"{model.name} (also {quoted(model.aliases)})" if model.aliases else model.name
    return "  ".join([f"{model.id:>20} {model.kind:<17} {model.family:<4} {names}", str(model.path), *marks])


def _catalog() -> Catalog:
    return catalog_of(read_settings(ModelSettings))
