"""Energy of training on 1,000 images."""

from __future__ import annotations

from paretovit.cost.indicators._energy import EnergyOfCalls


class TrainEnergyJ(EnergyOfCalls):
    """Joules that training on 1,000 images takes, off a meter, or the product of stated watts and time."""

    title = "training energy per 1,000 images"
    unit = "J"
    kind = "once"
    batch = "asked"
    only_if_named = True
    training = True
