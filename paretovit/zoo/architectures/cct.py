"""CCT: a vision transformer with a convolutional tokenizer, which pools its sequence and has no class token."""

from __future__ import annotations

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import Macro
from paretovit.zoo.taxonomy import Published

_NORM = Part.of("layer_norm", eps=1e-5)


class Cct(Macro):
    """CCT-14/7x2: two convolutions of 7 x 7 with max-pooling, 14 blocks, sequence pooling.

    As in the released code, what the MLP adds to is the normed tokens. Parameters and multiply-accumulates are those
    of the paper's later version; the 22.29 M and 5.11 G of its repository leave out the table of places and the
    products of attention. A convolutional tokenizer before attention makes it a hybrid, though its token mixer is the
    plain one. Images of any size that 16 divides.
    """

    paper = "Hassani et al. 2021, Escaping the Big Data Paradigm with Compact Transformers"
    arxiv = "2104.05704"
    family = "hybrid attention"

    @staticmethod
    def rows() -> list[tuple[ModelSpec, Published]]:
        stage = Stage(
            depth=14,
            dim=384,
            heads=6,
            mixer=Part.of("attention", qkv_bias=False),
            mlp=Part.of("mlp", ratio=3.0),
        )
        spec = ModelSpec(
            name="cct_14_7x2_224",
            stages=(stage,),
            stem=Part.of(
                "conv", widths=(64,), strides=(2, 2), kernel=7, bias=False, act="relu", pool=True, pool_stride=2
            ),
            position=Part.of("learned", std=0.2),
            readout=Part("sequence_pooling"),
            norm=_NORM,
            final_norm=_NORM,
            mlp_residual="normed",
            init="compact",
        )
        return [(spec, Published(22.36, 5.53, 80.67, "Hassani et al. 2021, later version: CCT-14/7x2"))]
