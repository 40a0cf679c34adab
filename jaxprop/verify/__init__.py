"""Is a gradient right? Comparison leaf by leaf, a suite of points, and oracles that are no part of what is judged."""
