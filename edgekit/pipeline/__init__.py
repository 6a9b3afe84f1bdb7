"""One cell, a straight line: plan, load, convert, run both sides, compare, judge, publish."""
