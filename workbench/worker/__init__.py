"""What runs beside a candidate, in the sandbox. It needs nothing else of `workbench`."""
