"""Reconstruction quality of an autoencoder on which a second stage may be trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StageQuality:
    """Reconstruction of held-out healthy subjects by the autoencoder.

    Attributes:
        subjects: number of subjects.
        psnr_db: mean peak signal-to-noise ratio.
        ssim: mean structural similarity, in [0, 1].
        min_psnr_db: smallest ratio that suffices.
        min_ssim: smallest similarity that suffices.
    """

    subjects: float
    psnr_db: float
    ssim: float
    min_psnr_db: float
    min_ssim: float

    @property
    def is_poor(self) -> bool:
        """Return whether its blur is as large as lesions."""
        return self.psnr_db < self.min_psnr_db or self.ssim < self.min_ssim

    @property
    def warning(self) -> str:
        """Warning for the user of a second stage; empty on a good autoencoder."""
        if not self.is_poor:
            return ""
        return (
            f"the autoencoder is too poor for a second stage (PSNR {self.psnr_db:.1f} dB, SSIM "
            f"{self.ssim:.3f}; wanted {self.min_psnr_db:g} dB and {self.min_ssim:g}): what it "
            "blurs cannot be told from a lesion; train it longer or give it more channels"
        )
