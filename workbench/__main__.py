"""`python -m workbench`: the command, where it isn't on the path."""

from __future__ import annotations

from workbench.cli import main

if __name__ == "__main__":
    main()
