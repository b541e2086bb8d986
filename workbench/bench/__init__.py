"""Measurement: what a kernel costs. Without a GPU that is what the compiler says, never a time."""
