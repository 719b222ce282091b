"""The command line: options, and errors in a paragraph. What the commands do is in commands.py."""

import re
import sys
from argparse import ArgumentParser as PlainParser
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from jsonargparse import ArgumentError, ArgumentParser

from dynaconv import __version__, commands
from dynaconv.errors import DynaconvError, UsageError, unknown
from dynaconv.training.recipe import Recipe, add_recipe_options, bad_value

SOURCE = "a run directory or a weights file (.safetensors)"
DATA = "a data set by name, or the path of a folder or zip laid out as {train,test}/<class>/<image>"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 could not, 2 wrong usage, 130 interrupted."""
    try:
        _run(sys.argv[1:] if arguments is None else list(arguments))
    except DynaconvError as error:
        _fail(_paragraph(error), error.exit_code)
    except KeyboardInterrupt as error:
        _fail(str(error) or "Interrupted.", getattr(error, "exit_code", 130))
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.", 1)


def _run(arguments: list[str]) -> None:
    parser, options = _parsers(arguments)
    try:
        values = parser.parse_args(arguments)
    except ArgumentError as error:
        raise _usage_error(str(error), arguments, options) from error
    name = values.command
    given = vars(values[name])
    if name == "data":
        name, given = "data_get", vars(values[name]["get"])
    elif name == "train":
        fields = Recipe.__dataclass_fields__
        recipe = Recipe(**{field: given.pop(field) for field in fields})
        given = {**given, "recipe": recipe, "name": Path(given["recipe"]).stem}
    getattr(commands, name)(**given)


def _parsers(arguments: Sequence[str]) -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser, and those of the commands by name."""
    parser = ArgumentParser(
        prog="dynaconv",
        description="Dynamic convolution for PyTorch: train, evaluate and use networks whose kernels are "
        "mixed anew for every image.",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
    )
    commands_ = parser.add_subcommands(dest="command", metavar="COMMAND", title="commands", description=None)
    options: dict[str, ArgumentParser] = {}

    def add(name: str, usage: str, summary: str, details: str = "") -> ArgumentParser:
        options[name] = ArgumentParser(
            exit_on_error=False, allow_abbrev=False, description=f"{summary} {details}".strip()
        )
        commands_.add_subcommand(name, options[name], help=summary)
        options[name].usage = f"dynaconv {name} {usage}"
        return options[name]

    _add_train(
        add(
            "train",
            "[--recipe NAME] [--data DATA] [--run DIRECTORY] [--resume] [--FIELD VALUE ...]",
            "Train a network and keep the run in a directory.",
            "Every field of the recipe is an option; those not given are the recipe's.",
        ),
        arguments,
    )

    evaluate = add("evaluate", "SOURCE [--data DATA] [--json]", "Test a trained network.")
    evaluate.add_argument("source", help=SOURCE)
    evaluate.add_argument("--data", help=f"{DATA}; the run's own if not given")
    _add_data_options(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print JSON")

    predict = add("predict", "IMAGE_OR_FOLDER ... --weights SOURCE", "Say what is in images.")
    predict.add_argument("images", nargs="+", help="image files, or folders of them")
    predict.add_argument("--weights", required=True, help=SOURCE)
    predict.add_argument("--top", type=int, default=5, help="how many classes to show for each image")
    predict.add_argument("--json", action="store_true", help="print JSON")
    predict.add_argument("--csv", action="store_true", help="print CSV")

    data = add("data", "get NAME [--root DIRECTORY]", "Get a data set.")
    get = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    data.add_subcommands(dest="action").add_subcommand("get", get, help="download it from the fastest mirror")
    get.usage = "dynaconv data get NAME [--root DIRECTORY]"
    get.add_argument("name", help="cifar10, cifar100 or fashion_mnist")
    get.add_argument("--root", default="./data", help="where to keep it")

    add("recipes", "", "Show the recipes that ship.")
    return parser, options


def _add_train(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("--recipe", default="paper", help="a recipe that ships, or a YAML file of one")
    parser.add_argument("--run", help="the run directory; if not given, runs/RECIPE or the next that is free")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the run directory")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the run directory")
    _add_data_options(parser)
    add_recipe_options(parser)
    if arguments[:1] == ["train"]:
        parser.set_defaults(**vars(_base_recipe(arguments)))


def _add_data_options(parser: ArgumentParser) -> None:
    parser.add_argument("--root", default="./data", help="where data sets are kept")
    parser.add_argument(
        "--skip_bad_images", action="store_true", help="go on without damaged images, listing them"
    )
    parser.add_argument(
        "--memory_limit",
        type=float | None,
        default=None,
        help="GiB that training or test images may take, larger sets being read from disk all the time; "
        "if not given, half of the memory that is free",
    )


def _base_recipe(arguments: Sequence[str]) -> Recipe:
    """Return the recipe whose fields are the defaults: the one named, or that of the run to resume."""
    early = PlainParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--recipe", "--run"):
        early.add_argument(name, nargs="?")
    early.add_argument("--resume", action="store_true")
    known, _ = early.parse_known_args(arguments)
    if known.resume and not known.run:
        raise UsageError("--resume needs the run to go on with: give it by --run DIRECTORY.")
    if known.resume and not known.recipe and (Path(known.run) / "recipe.yaml").exists():
        return Recipe.load(Path(known.run) / "recipe.yaml")
    return Recipe.load(known.recipe or "paper")


def _usage_error(message: str, arguments: Sequence[str], options: dict[str, ArgumentParser]) -> UsageError:
    """Say in our words what the parser did not take."""
    command = arguments[0] if arguments and arguments[0] in options else None
    see = f"See dynaconv {command + ' ' if command else ''}--help."
    if wrong := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message):
        return unknown("command", wrong[1], options)
    if not arguments:
        return UsageError(f"A command is missing: {', '.join(options)}. {see}")
    if wrong := re.match(r"unrecognized arguments: (\S+)", message):
        flag = wrong[1].split("=")[0]
        known = _flags(options[command]) if command else []
        near = get_close_matches(flag, known, n=1)
        return UsageError(f"Unknown option {flag!r}. {f'Did you mean {near[0]!r}? ' if near else ''}{see}")
    if wrong := re.match(r'Parser key "(\w+)":.*Got value: (.*)', message, re.DOTALL):
        if wrong[1] in Recipe.__dataclass_fields__:
            return bad_value(wrong[1], wrong[2])
        return UsageError(f"--{wrong[1]} does not take {wrong[2]!r}. {see}")
    text = " ".join(message.split())
    return UsageError(f"{text[:1].upper()}{text[1:].rstrip('.')}. {see}")


def _flags(parser: ArgumentParser) -> Iterable[str]:
    return [flag for action in parser._actions for flag in action.option_strings]


def _paragraph(error: DynaconvError) -> str:
    # An error from a data loader's worker comes as a traceback, with the message at its end.
    return str(error).rsplit("Error: ", 1)[-1] if "Original Traceback" in str(error) else str(error)


def _fail(message: str, exit_code: int) -> NoReturn:
    print(f"dynaconv: {message}", file=sys.stderr)
    sys.exit(exit_code)
