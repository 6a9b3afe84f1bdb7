"""edgekit: convert a trained model for the edge, run it there, and prove that it still answers right."""

__version__ = "0.1.0"
