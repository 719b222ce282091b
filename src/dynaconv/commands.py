"""What each command does. Heavy imports are inside, so that help and wrong usage answer at once."""

import math
import sys
from csv import writer
from json import dumps, loads
from pathlib import Path

from dynaconv.errors import DataError, UsageError, unknown
from dynaconv.terminal import show_table
from dynaconv.training.recipe import Recipe, describe_recipe, list_recipes


def train(
    recipe: Recipe,
    name: str,
    run: str | None,
    resume: bool,
    overwrite: bool,
    root: str,
    skip_bad_images: bool,
    memory_limit: float | None,
) -> None:
    """Train by a recipe, test after each epoch, and draw the run's pictures."""
    import torch

    from dynaconv.analysis.pictures import draw_run
    from dynaconv.data.loaders import load_data
    from dynaconv.models import create_model
    from dynaconv.seeding import seed_for
    from dynaconv.training.loop import fit
    from dynaconv.training.processes import rank
    from dynaconv.training.run_directory import RunDirectory

    directory = RunDirectory(run or _next_free(Path("runs") / name))
    if directory.holds_a_run() and not overwrite:
        directory.check(recipe, resume)  # before the images are read, which may take a while
    with torch.device("meta"):  # what the model does not take is said before the images are read
        create_model(recipe.model, **recipe.model_options())
    train_iter, test_iter = load_data(
        recipe.data,
        root,
        recipe.batch_size,
        skip_bad_images=skip_bad_images,
        memory_limit=memory_limit,
        **recipe.data_options(),
    )
    torch.manual_seed(seed_for(recipe.seed, "weights"))
    model = create_model(
        recipe.model,
        num_classes=len(train_iter.dataset.classes),
        in_channels=train_iter.dataset.preprocessing.channels,
        **recipe.model_options(),
    )
    if overwrite:
        directory.remove()
    history = fit(model, train_iter, test_iter, recipe, directory.path, resume)
    if rank() == 0:
        report = draw_run(directory, model, test_iter)
        print(f"Test accuracy {history[-1].test_accuracy:.4f} after {len(history)} epochs; see {report}")


def evaluate(
    source: str, data: str | None, root: str, skip_bad_images: bool, memory_limit: float | None, json: bool
) -> None:
    """Test a trained network, in the precision that its run was tested in."""
    from dynaconv.analysis.metrics import expected_calibration_error, per_class
    from dynaconv.data.loaders import load_test_data
    from dynaconv.training.loop import evaluate
    from dynaconv.training.run_directory import RunDirectory
    from dynaconv.training.weights import description, load_model

    model = load_model(source)
    names, preprocessing = description(model)
    run = RunDirectory(source)
    recipe, precision = Recipe(), "float32"
    if run.holds_a_run():
        recipe = Recipe.load(run.recipe)
        precision = loads(run.environment.read_text(encoding="utf-8"))["precision"]
    elif data is None:
        raise UsageError(f"{source} does not say which images to test on: name them by --data.")
    test_iter = load_test_data(
        data or recipe.data,
        preprocessing,
        names,
        root,
        recipe.batch_size,
        skip_bad_images=skip_bad_images,
        memory_limit=memory_limit,
    )
    result = evaluate(model, test_iter, precision)
    figures = {
        "accuracy": result.accuracy,
        "correct": result.correct,
        "total": result.total,
        "cross_entropy": result.cross_entropy,
        "loss": result.loss,
        "calibration_error": expected_calibration_error(result.logits.softmax(1), result.labels),
        "precision": precision,
    }
    classes = per_class(result.labels, result.logits.argmax(1), names)
    if json:
        print(dumps({**figures, "classes": [entry.as_dict() for entry in classes]}, indent=2))
        return
    show_table(("figure", "value"), [(name, _shown(value)) for name, value in figures.items()])
    rows = [(e.name, _shown(e.precision), _shown(e.recall), _shown(e.f1), str(e.support)) for e in classes]
    show_table(("class", "precision", "recall", "F1", "images"), rows)


def predict(images: list[str], weights: str, top: int, json: bool, csv: bool) -> None:
    """Print the likeliest classes of each image, the likeliest first."""
    from dynaconv.predict import predict
    from dynaconv.training.weights import description, load_model

    if top < 1:
        raise UsageError(f"--top must be at least 1, got {top}.")
    if json and csv:
        raise UsageError("--json and --csv exclude each other: give one of them.")
    paths = _image_files(images)
    model = load_model(weights)
    names, _ = description(model)
    probabilities = predict(model, paths)
    found = []
    for path, row in zip(paths, probabilities, strict=True):
        values, indices = row.topk(min(top, len(row)))
        classes = [names[index] for index in indices.tolist()]
        found.append((path, list(zip(classes, values.tolist(), strict=True))))
    if json:
        entries = [
            {"image": path, "classes": [{"name": n, "probability": p} for n, p in best]}
            for path, best in found
        ]
        print(dumps(entries, indent=2))
    elif csv:
        table = writer(sys.stdout)
        table.writerow(("image", "rank", "class", "probability"))
        for path, best in found:
            table.writerows((path, rank, n, p) for rank, (n, p) in enumerate(best, start=1))
    else:
        rows = [(path, ", ".join(f"{n} {p:.1%}" for n, p in best)) for path, best in found]
        show_table(("image", "classes"), rows)


def data_get(name: str, root: str) -> None:
    """Have a named data set in ``root``, downloading it unless it is there."""
    from dynaconv.data.datasets import DATASETS, read_split

    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    sizes = [len(read_split(name, root, split, image_size=32)) for split in ("train", "test")]
    print(f"{name} is in {root}: {sizes[0]:,} training and {sizes[1]:,} test images.")


def recipes() -> None:
    """Show the recipes that ship."""
    shown = [(name, Recipe.load(name)) for name in list_recipes()]
    rows = [(name, recipe.data, str(recipe.epochs), describe_recipe(name)) for name, recipe in shown]
    show_table(("recipe", "data", "epochs", "what it is"), rows)


def _next_free(folder: Path) -> Path:
    number = 1
    path = folder
    while path.exists():
        number += 1
        path = folder.with_name(f"{folder.name}-{number}")
    return path


def _image_files(given: list[str]) -> list[str]:
    """Return the files given, and in place of folders the images below them."""
    from PIL import Image

    Image.init()
    files = []
    for path in map(Path, given):
        if path.is_dir():
            below = sorted(file for file in path.rglob("*") if file.suffix.lower() in Image.EXTENSION)
            if not below:
                raise DataError(f"There are no images in {path}.")
            files += [str(file) for file in below]
        else:
            files.append(str(path))
    return files


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.4f}"  # no image, no figure
