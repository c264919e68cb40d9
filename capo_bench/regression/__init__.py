"""The regression gate: has a new checkpoint become less faithful than the one before it?"""
