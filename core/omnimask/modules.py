"""For authors of encoders, initializers and exporters: omnimask's own modules, whose weights they read and write.

These are the classes behind the names in recipes. The reference documents their constructor options. Attributes that hold
parameters and sizes keep their names.
"""

from __future__ import annotations

from omnimask.components.corruptors.drop import Drop
from omnimask.components.embeddings.linear import LinearEmbedding
from omnimask.components.embeddings.table import TableEmbedding
from omnimask.components.encoders.bert import BertEncoder
from omnimask.components.encoders.deberta import DebertaEncoder
from omnimask.components.encoders.modernbert import ModernBertEncoder
from omnimask.components.encoders.transformer import TransformerEncoder
from omnimask.components.positions.grid import grid_place, grid_size
from omnimask.components.positions.learned import Learned
from omnimask.components.positions.none import NoPosition
from omnimask.components.positions.rotary import Rotary
from omnimask.components.positions.sincos import SinCos
from omnimask.components.positions.trial import check_placement
from omnimask.components.predictors.base import PredictorModule
from omnimask.components.predictors.decoder import Decoder
from omnimask.components.predictors.matryoshka import of_size
from omnimask.components.predictors.mlm import MaskedLM
from omnimask.components.targets.patch import Patch
from omnimask.data.collation import collate
from omnimask.network.embed import ModalitySlots, embed, make_modality_embedding, with_modality
from omnimask.network.heads import TiedHead
from omnimask.network.layers import MLP
from omnimask.network.pooling import pooled

__all__ = [
    "MLP",
    "BertEncoder",
    "DebertaEncoder",
    "Decoder",
    "Drop",
    "Learned",
    "LinearEmbedding",
    "MaskedLM",
    "ModalitySlots",
    "ModernBertEncoder",
    "NoPosition",
    "Patch",
    "PredictorModule",
    "Rotary",
    "SinCos",
    "TableEmbedding",
    "TiedHead",
    "TransformerEncoder",
    "check_placement",
    "collate",
    "embed",
    "grid_place",
    "grid_size",
    "make_modality_embedding",
    "of_size",
    "pooled",
    "with_modality",
]
