"""Words for people: bars and tables on a terminal, plain lines or nothing elsewhere.

rich is imported where it is used, since `dynaconv --help` needs none of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], description: str, total: int, size: int = 1) -> Iterator[Item]:
    """Yield ``items`` with a bar on stderr, if that is a terminal: how many are done, speed, time left.

    Args:
        items: What is worked through.
        description: What is being done.
        total: How many items there are.
        size: How many images each holds.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=total, speed="")
        for item in items:
            yield item
            speed = bar.tasks[task].speed
            bar.update(task, advance=1, speed=f"{speed * size:,.0f} images/s" if speed else "")


def say(text: str) -> None:
    """Print a line for people on stderr."""
    from rich.console import Console

    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout; lines of tab-separated values where that is no terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for row in (header, *rows):
            print("\t".join(row))
        return
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    console.print(table)
