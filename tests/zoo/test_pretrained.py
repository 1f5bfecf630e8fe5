import timm
import torch

from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, family, resolve, timm_spec
from paretovit.zoo.pretrained import has_weights_named, network


def test_the_network_of_weights_is_the_model_without_their_name():
    weights = timm_spec("resnet50.a1_in1k", image_px=288)
    assert has_weights_named(weights)
    assert network(weights).key == timm_spec("resnet50", image_px=288).key
    assert not has_weights_named(network(weights))


def test_weights_are_of_their_networks_family():
    name = "swin_tiny_patch4_window7_224"
    assert family(resolve(f"{name}.ms_in1k")) == family(resolve(name)) == "sparse attention"


def test_timms_vit_is_ours_at_its_own_size_only():
    assert (
        network(timm_spec("vit_tiny_patch16_224.augreg_in21k", image_px=224)).key == resolve("vit_tiny_patch16_224").key
    )
    assert network(timm_spec("vit_tiny_patch16_224", image_px=384)).whole is not None


def test_a_model_of_ours_is_its_own_network():
    spec = resolve("performer_tiny_patch16_224")
    assert network(spec) is spec
    assert not has_weights_named(spec)


def test_what_the_catalog_calls_as_timm_does_has_as_many_parameters_as_timms():
    ours = [name for name, entry in entries().items() if entry.spec.whole is None and timm.is_model(name)]
    shared = [name for name in ours if timm.model_entrypoint(name).__module__.startswith("timm.")]
    assert "vit_base_patch32_224" in shared
    with torch.device("meta"):
        for name in shared:
            theirs = timm.create_model(name, num_classes=1000)
            assert count(build(name)) == count(theirs), name


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
