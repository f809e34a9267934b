"""Words for healthy people and for patients, in folders, tables and names."""

import re

from brainuad.cohorts.words import LESION, word_sets, words_of

_PEOPLE = word_sets("people")
NOT = _PEOPLE["turning"]
"""Words that turn the next one round."""

CONTROLS, PATIENTS, DISEASES = (_PEOPLE[kind] for kind in ("control", "patient", "disease"))


def group_of(text: str) -> str:
    """Return `control` or `patient` if words state one of them; otherwise an empty string.

    `no_tumor` and `non-patient` are controls, `unhealthy` and `not healthy` patients.
    """
    # `ControlGroup`, `patient01`, `HC01`
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])", "_", text)
    words = [word.text for word in words_of(parted)]
    told: set[str] = set()
    for before, word in zip(["", *words], words, strict=False):
        healthy = word in CONTROLS
        if (
            not healthy
            and word not in PATIENTS | DISEASES
            and not (before in NOT and word in LESION)
        ):
            continue
        told.add("control" if healthy != (before in NOT) else "patient")
    return told.pop() if len(told) == 1 else ""
