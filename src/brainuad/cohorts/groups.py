"""Words for healthy people and for patients, in folders, tables and names."""

import re

from brainuad.cohorts.words import LESION, word_set, words_of

NOT = word_set("no non not without wo ohne sans sin kein keine")
"""Words that turn the next one round."""

CONTROLS = word_set(
    "control controls healthy hc hcs normal normals volunteer volunteers hv cn con ctrl ctl ctr "
    "nc td healthycontrol healthycontrols kontrolle kontrollen gesund ctrls typical "
    "neurotypical nondemented unaffected unremarkable temoin témoin témoins temoins sain sano "
    "good negative"
)
PATIENTS = word_set(
    "patient patients pat pats case cases pathological pathologic abnormal diseased sick "
    "affected yes patienten malades pacientes ill unhealthy krank bad anomaly positive ungood"
)
DISEASES = word_set(
    "tumour tumours tumor tumors glioma gliomas glioblastoma gbm hgg lgg ms stroke strokes wmh "
    "epilepsy fcd metastases meningioma ischemic infarct rrms ppms spms pwms alzheimer ad mci "
    "mdd dementia demented scz schz schizophrenia asd adhd tbi parkinson sclerosis"
)


def group_of(text: str) -> str:
    """`control` or `patient` where words say so; empty where they say nothing or both.

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
