"""English for messages."""


def number_of(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless the count is 1.

    >>> number_of(1, "cell"), number_of(2000, "trial")
    ('1 cell', '2,000 trials')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
