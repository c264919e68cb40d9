"""How well a corpus's annotators can be told apart, and by what."""
