"""Freed memory stays with the process, so that the next step finds its pages there.

glibc gives every large block back to the system as soon as it is freed and asks for it anew, and
each of its pages has to be filled with zeros again: on a CPU that can take as long as the
arithmetic, as for synthetic lesions in volumes (`experiments/benchmarks/kept_memory.py`). See
`mallopt(3)`.
"""

import ctypes
import os
import platform

SWITCH = "BRAINUAD_KEEP_MEMORY"
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_memory() -> bool:
    """Asks the allocator of this process to keep what is freed; again is as once.

    Its memory then never shrinks, and its peak is somewhat higher. Nothing is done without glibc,
    where the environment already configures an allocator, and with BRAINUAD_KEEP_MEMORY=0.

    Returns:
        Whether it will.
    """
    configured = any(name.startswith("MALLOC_") for name in os.environ)
    configured |= bool({"LD_PRELOAD", "GLIBC_TUNABLES"} & set(os.environ))
    if os.environ.get(SWITCH) == "0" or configured or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # No block by mmap, nothing back to the system, and 64 MiB at a time from it.
    options = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 2**26))
    return all([libc.mallopt(*option) for option in options])
