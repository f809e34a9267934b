"""Names that a file may ask for: what the shipped configurations name, and a few more.

A model, a recipe or a cohort may come from a stranger, and every name here can be made with
arguments of the stranger's choice. So nothing here reads, writes or connects. A new method adds its
classes; `tests/unit/settings/test_allowed.py` says which are missing.
"""

OFFERED = frozenset(
    {
        "brainuad.postprocess.components.FillHoles",
        "brainuad.postprocess.components.Opening",
        "brainuad.postprocess.scale.Sign",
        "brainuad.postprocess.threshold.Hysteresis",
        "brainuad.synthetic.noise.diffusion.GaussianNoise",
    }
)
"""Names in no shipped configuration that the documentation offers or the code writes."""

CONFIGURED = frozenset(
    {
        "brainuad.methods.anoddpm.AnoDDPM",
        "brainuad.methods.asymmetry.Asymmetry",
        "brainuad.methods.autoencoder.KLAutoencoder",
        "brainuad.methods.autopaint.AutoPaint",
        "brainuad.methods.dae.DAE",
        "brainuad.methods.disyre.DISYRE",
        "brainuad.methods.fpi.FPI",
        "brainuad.methods.intensity.IntensityDetector",
        "brainuad.methods.madad.MADAD",
        "brainuad.methods.parts.adversarial.spectral_discriminator",
        "brainuad.methods.parts.healthy_atlas.HealthyAtlas",
        "brainuad.methods.parts.prototypes.HealthyPrototypes",
        "brainuad.methods.parts.relative_to_healthy.RelativeToHealthy",
        "brainuad.methods.parts.repaint.Regions",
        "brainuad.methods.parts.residuals.mahalanobis",
        "brainuad.methods.parts.residuals.perceptual",
        "brainuad.methods.parts.residuals.signed",
        "brainuad.methods.parts.residuals.squared",
        "brainuad.methods.parts.residuals.ssim",
        "brainuad.methods.pddpm.PDDPM",
        "brainuad.methods.strega.StRegA",
        "brainuad.methods.zscore.ZScore",
        "brainuad.networks.context_vae.ContextVAE",
        "brainuad.networks.denoising_unet.DenoisingUNet",
        "brainuad.networks.latent_autoencoder.LatentAutoencoder",
        "brainuad.networks.masked_unet.MaskedUNet",
        "brainuad.networks.partial_unet.PartialUNet",
        "brainuad.networks.patched.Patched",
        "brainuad.networks.pixel_unet.PixelUNet",
        "brainuad.networks.public_vae.public_vae",
        "brainuad.networks.unified_autoencoder.UnifiedAutoencoder",
        "brainuad.networks.wide_residual.WideResidualAutoencoder",
        "brainuad.postprocess.components.AreaOpening",
        "brainuad.postprocess.components.RemoveSmall",
        "brainuad.postprocess.erode.ErodeBrainMask",
        "brainuad.postprocess.erode.ErodeSlices",
        "brainuad.postprocess.pipeline.Postprocess",
        "brainuad.postprocess.scale.Clip",
        "brainuad.postprocess.scale.Saturate",
        "brainuad.postprocess.smooth.Gaussian",
        "brainuad.postprocess.smooth.Median",
        "brainuad.postprocess.threshold.HealthyThreshold",
        "brainuad.postprocess.threshold.Otsu",
        "brainuad.preparation.normalise.intensity.Percentile",
        "brainuad.preparation.normalise.released.PositivePercentile",
        "brainuad.preparation.normalise.released.StandardRange",
        "brainuad.preparation.normalise.released.VolumeMaximum",
        "brainuad.preparation.normalise.released.VolumeQuantiles",
        "brainuad.preparation.tissue.segment.TissueInput",
        "brainuad.synthetic.lesions.disentangled.DisentangledAnomalies",
        "brainuad.synthetic.lesions.fillings.ForeignPatch",
        "brainuad.synthetic.lesions.fillings.IntensityShift",
        "brainuad.synthetic.lesions.fillings.TextureSwap",
        "brainuad.synthetic.lesions.mass_effect.MassEffect",
        "brainuad.synthetic.lesions.mixture.OneOf",
        "brainuad.synthetic.lesions.poisson.PoissonImage",
        "brainuad.synthetic.lesions.shapes.Blobs",
        "brainuad.synthetic.lesions.shapes.Boxes",
        "brainuad.synthetic.lesions.shapes.CentralBoxes",
        "brainuad.synthetic.lesions.shapes.Ellipsoids",
        "brainuad.synthetic.lesions.shapes.Soft",
        "brainuad.synthetic.masks.from_lesions.LesionHoles",
        "brainuad.synthetic.masks.random.BlobHoles",
        "brainuad.synthetic.masks.random.ShapeHoles",
        "brainuad.synthetic.noise.diffusion.CoarseNoise",
        "brainuad.synthetic.noise.diffusion.SimplexNoise",
        "brainuad.synthetic.noise.diffusion.SimplexNoise2D",
        "brainuad.volumes.tiling.PlanesTiling",
        "brainuad.volumes.tiling.SliceTiling",
        "brainuad.volumes.tiling.VolumeTiling",
        "monai.networks.nets.autoencoderkl.AutoencoderKL",
        "monai.networks.nets.basic_unet.BasicUNet",
        "monai.networks.nets.diffusion_model_unet.DiffusionModelUNet",
        "monai.networks.nets.patchgan_discriminator.PatchDiscriminator",
    }
)
"""Names in the configurations of methods, inputs, tilings and post-processing."""

MODEL = CONFIGURED | OFFERED
"""Names that the card of a model may have."""

MONAI_TRANSFORM_MODULES = (
    "monai.transforms.croppad.dictionary",
    "monai.transforms.intensity.dictionary",
    "monai.transforms.smooth_field.dictionary",
    "monai.transforms.spatial.dictionary",
)
"""Modules whose transforms a recipe may have; none of them touches a file."""

PREPARED = frozenset(
    {
        "brainuad.preparation.bias.N4",
        "brainuad.preparation.normalise.intensity.Equalise",
        "brainuad.preparation.normalise.intensity.Mode",
        "brainuad.preparation.normalise.intensity.Nyul",
        "brainuad.preparation.normalise.intensity.Percentile",
        "brainuad.preparation.normalise.intensity.ZScore",
        "brainuad.preparation.pipeline.Preparation",
        "brainuad.preparation.quality.measures.Limits",
        "brainuad.preparation.register.demons.Deform",
        "brainuad.preparation.register.linear.Register",
        "brainuad.preparation.skullstrip.auto.Auto",
        "brainuad.preparation.skullstrip.deepbet.Deepbet",
        "brainuad.preparation.skullstrip.extracted.Extracted",
        "brainuad.preparation.skullstrip.given.Given",
        "brainuad.preparation.skullstrip.hdbet.HdBet",
        "brainuad.preparation.skullstrip.template.TemplateBrain",
        "brainuad.preparation.tissue.segment.TissueInput",
        "brainuad.preparation.transforms.intensities.CurvatureFlowd",
    }
)
"""Names in the configurations of preparations."""

RECIPE = PREPARED | frozenset(MONAI_TRANSFORM_MODULES)
"""Names that a recipe may have."""
