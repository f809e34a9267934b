"""The embedded cohort: synthetic brains from the MNI152 2009 tissue maps that nilearn ships.

`anatomy` warps the template, `contrast` images it, `pathology` plants lesions, `subject` puts
them together, `cohort` writes a cohort folder.
"""

from brainuad.synthetic.phantom.cohort import write_phantom_cohort
from brainuad.synthetic.phantom.contrast import SEQUENCES
from brainuad.synthetic.phantom.subject import PhantomSubject, make_subject, tiny_subject

__all__ = ["SEQUENCES", "PhantomSubject", "make_subject", "tiny_subject", "write_phantom_cohort"]
