"""The catalogue from the command line. It changes nothing."""

import argparse

from config.catalog import read_catalog
from config.settings import ModelSettings
from jobs.catalog import Catalog, Model
from jobs.weights import Weights, WrongWeights


class ModelsFailed(Exception):
    """The catalogue cannot be read, or a model is not what it states."""


def add_models_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("list", help="the models of the catalogue, each with its kind, family and path")
    command.set_defaults(run=list_models)
    command = commands.add_parser("verify", help="compare the sha256 of each model's weights with the catalogue's")
    command.set_defaults(run=verify_models)


def list_models(_arguments: argparse.Namespace) -> None:
    for model in _catalog().models:
        print(_line(model))


def verify_models(_arguments: argparse.Namespace) -> None:
    """Raises ModelsFailed, after a line for each model, if weights are missing or not those that are stated."""
    weights, models = Weights(), _catalog().models
    wrong = [model for model in models if not _verify(model, weights)]
    if wrong:
        raise ModelsFailed(f"{len(wrong)} of {len(models)} models are not as the catalogue states")


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
    return "  ".join([f"{model.id:>20} {model.kind:<17} {model.family:<4} {model.name}", str(model.path), *marks])


def _catalog() -> Catalog:
    settings = ModelSettings()
    try:
        return read_catalog(settings.catalog_file, settings.models_folder)
    except ValueError as error:
        raise ModelsFailed(str(error)) from error
