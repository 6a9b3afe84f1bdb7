"""The only code that may import a framework. Every module here runs in a child."""
