"""The process wall: client.py is the parent's side, child.py the child's."""
