"""The scripts that measure what the lesson says, and those that go on from there, with the pictures that show it.

A new experiment about the lesson belongs into `SCRIPTS`, one about networks of today into `BEYOND`: the gallery runs
it, and makes a section of the page of it.
"""

# In the order of the page. Of each script, the names of the pictures that the page shows.
SCRIPTS = {
    "forward": ("one_answer",),
    "averaging": ("wishes", "settling"),
    "steepest_way_down": ("drops",),
    "sensitivity": ("wiggles",),
    "one_example": ("wishes", "avenues"),
    "bang_for_the_buck": ("changes",),
    "hebbian": ("hebbian",),
    "hebbian_limits": ("hebbian_limits",),
    "only_twos": ("only_twos",),
    "conflict": ("conflict",),
    "mini_batches": ("gradient_error",),
    "batch_sizes": ("batch_sizes",),
    "drunk_and_careful": ("hill",),
    "local_minimum": ("curvatures",),
    "how_much_data": ("how_much_data",),
    "sigmoid_or_relu": ("learning_rates",),
}

# Beside the page, not in lesson/: networks of today. They make no claim about a statement of the lesson.
BEYOND = {
    "long_sequences": ("gradient", "accuracy"),
    "draw_digits": ("drawn", "cost"),
}
