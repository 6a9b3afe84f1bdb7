"""One pass over an artifact: the same format comes out, in fewer bits."""
