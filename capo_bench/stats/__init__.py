"""All inference: intervals, comparisons, non-inferiority and ranks, always clustered on the item."""
