"""The embedded cohort: synthetic brains from the MNI152 2009 tissue maps that nilearn ships.

`anatomy` warps the template, `contrast` images it, `pathology` plants lesions, `subject` puts
them together, `cohort` writes a cohort folder.
"""

from brainuad.data.phantom.cohort import write_phantom_cohort
from brainuad.data.phantom.contrast import SEQUENCES
from brainuad.data.phantom.subject import PhantomSubject, make_subject, tiny_subject

__all__ = ["SEQUENCES", "PhantomSubject", "make_subject", "tiny_subject", "write_phantom_cohort"]
