"""Parsing of the names of 2D images: person and sequence."""

import re
from itertools import pairwise

from brainuad.cohorts.names import file_name
from brainuad.cohorts.words import PLAIN, word_sets, words_of

MASKS, BRAINS = (word_sets("slices")[kind] for kind in ("mask", "brain"))


def sequence_in(stem: str) -> str:
    """Return the sequence that a word of a name states; empty for none."""
    told = [PLAIN[word.text] for word in words_of(stem) if word.text in PLAIN]
    return told[-1] if told else ""


def subject_of(stem: str) -> str:
    """A name without the words of sequences and masks: an image and its mask have the same."""
    drop = MASKS | BRAINS | PLAIN.keys()
    words = words_of(stem)
    kept = [word for word in words if word.text not in drop]
    if not kept or len(kept) == len(words):
        return file_name(stem)
    pieces = [stem[kept[0].start : kept[0].end]]
    for before, word in pairwise(kept):
        between = re.match(r"[\W_]*", stem[before.end :])
        pieces += [between[0] if between else "_", stem[word.start : word.end]]
    return file_name("".join(pieces))
