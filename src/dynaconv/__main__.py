"""Run the command line as ``python -m dynaconv``."""

from dynaconv.cli import main

main()
