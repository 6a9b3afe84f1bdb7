"""The nouns: frozen data that crosses module and process boundaries."""
