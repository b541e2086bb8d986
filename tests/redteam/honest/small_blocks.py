"""Blocks of 64 elements: a grid thirty times as long as usual, and every size has a tail."""

BASE = "relu2"
EDITS = {"kernel.py": [("BLOCK = 2048", "BLOCK = 64")]}
