"""`python -m jobs VERB …` is `gristmill VERB …`."""

from jobs.cli import main

main()
