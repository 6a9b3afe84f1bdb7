"""Converters: one file per backend; the catalog names their entry points."""
