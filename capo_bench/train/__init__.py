"""The reference trainer: SFT and CAPO over packed groups."""
