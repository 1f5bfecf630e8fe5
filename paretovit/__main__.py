"""`python -m paretovit`."""

from paretovit.cli import main

main()
