"""A model's modules that compute with this library."""
