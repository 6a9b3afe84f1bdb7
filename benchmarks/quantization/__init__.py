"""int8 by edgekit and by the tools people use without it, side by side: see README.md."""
