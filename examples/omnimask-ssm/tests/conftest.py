"""Configuration of the tests: one torch thread, because the models are tiny."""

import torch

torch.set_num_threads(1)
