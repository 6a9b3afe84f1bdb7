"""Estimators as torch modules: one file one family, `table.py` joins them."""
