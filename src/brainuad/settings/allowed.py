"""Names that a file may use: those of the shipped configurations, and a few more.

A model, a recipe or a cohort may come from a stranger, who chooses the arguments of every name
here. So nothing here reads, writes or connects. `brainuad.settings. build` also makes the
`nn.Module`s of our methods and networks, so a new method needs no entry;
`tests/unit/settings/test_build.py` reports other names of configurations that are missing here.
"""

OFFERED = frozenset(
    {
        "brainuad.postprocess.components.FillHoles",
        "monai.networks.nets.attentionunet.AttentionUnet",
        "monai.networks.nets.autoencoder.AutoEncoder",
        "monai.networks.nets.segresnet.SegResNet",
        "monai.networks.nets.unet.UNet",
        "monai.networks.nets.varautoencoder.VarAutoEncoder",
        "monai.networks.nets.vqvae.VQVAE",
        "brainuad.postprocess.components.Opening",
        "brainuad.postprocess.mebin.Mebin",
        "brainuad.postprocess.scale.Sign",
        "brainuad.postprocess.threshold.Hysteresis",
        "brainuad.postprocess.threshold.UpperSpread",
        "brainuad.synthetic.noise.diffusion.GaussianNoise",
    }
)
"""Names that only the documentation offers, and networks of MONAI that need only numbers. Other
networks of MONAI can download weights.
"""

CONFIGURED = frozenset(
    {
        "brainuad.diffusion.masks.Patches",
        "brainuad.diffusion.process.Sampling",
        "brainuad.methods.parts.adversarial.spectral_discriminator",
        "brainuad.methods.parts.hyperbolic.hyperbolic",
        "brainuad.methods.parts.repaint.Regions",
        "brainuad.methods.parts.residuals.mahalanobis",
        "brainuad.methods.parts.residuals.perceptual",
        "brainuad.methods.parts.residuals.signed",
        "brainuad.methods.parts.residuals.squared",
        "brainuad.methods.parts.residuals.ssim",
        "brainuad.networks.public_vae.public_vae",
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
        "brainuad.synthetic.masks.covering.CoveringPatterns",
        "brainuad.synthetic.masks.from_lesions.LesionHoles",
        "brainuad.synthetic.masks.random.BlobHoles",
        "brainuad.synthetic.masks.random.ShapeHoles",
        "brainuad.synthetic.noise.diffusion.CoarseNoise",
        "brainuad.synthetic.noise.diffusion.SimplexNoise",
        "brainuad.synthetic.noise.diffusion.SimplexNoise2D",
        "brainuad.synthetic.noise.scanner.ScannerNoise",
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

RECORDED = frozenset(
    {
        "brainuad.preparation.shared_grid.SharedGrid",
        "brainuad.preparation.slices.SlicePreparation",
    }
)
"""Names that only records of cohorts have."""

RECIPE = PREPARED | RECORDED | frozenset(MONAI_TRANSFORM_MODULES)
"""Names that a recipe may have."""
