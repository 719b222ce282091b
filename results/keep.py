"""Keep what a run gave: its recipe, environment, history and figures, without images of the data set.

python results/keep.py runs/first-run results/first-run
"""

import shutil
import sys
from pathlib import Path

from dynaconv import Recipe

KEPT = ("recipe.yaml", "environment.json", "history.csv", "train.log")
FIGURES = ("curves.png", "confusion_matrix.png", "coefficients.png")
LEFT_OUT = "mistakes.png"  # images of the data set, which are not ours to publish


def main() -> None:
    """Copy the run given to the folder given."""
    run, kept = map(Path, sys.argv[1:])
    kept.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        shutil.copyfile(run / name, kept / name)
    data = Recipe.load(run / "recipe.yaml").data
    for name in (*KEPT, "report.md"):  # where the images lay is nobody's business, which they were is
        text = (run / name).read_text(encoding="utf-8")
        (kept / name).write_text(text.replace(data, Path(data).name), encoding="utf-8")
    paragraphs = (kept / "report.md").read_text(encoding="utf-8").split("\n\n")
    (gallery,) = [index for index, text in enumerate(paragraphs) if LEFT_OUT in text]
    del paragraphs[gallery - 1 : gallery + 1]  # the picture and the line above it
    (kept / "report.md").write_text("\n\n".join(paragraphs), encoding="utf-8")


if __name__ == "__main__":
    main()
