"""The engine of the kernel workbench: profiles, authors, judge, runs, review. No op lives here."""

__version__ = "0.1.0"
