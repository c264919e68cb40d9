"""The paper's comparison and studies beyond it, as resumable runs of our own commands."""
