import pytest
import torch
from omegaconf import OmegaConf

from brainuad.errors import InputError
from brainuad.fitting import fit


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_trainer_for_gpus_without_one_is_refused_in_a_line(tmp_path):
    trainer = {"_target_": "lightning.pytorch.Trainer", "accelerator": "gpu", "devices": "auto"}
    cfg = {"trainer": trainer, "callbacks": {}, "paths": {"output_dir": str(tmp_path)}}
    with pytest.raises(InputError, match="trainer: No supported gpu .* see configs/trainer"):
        fit(OmegaConf.create(cfg), None, None, None)
