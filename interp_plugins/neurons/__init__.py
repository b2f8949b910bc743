"""What single neurons stand for, and whether they still do under attack."""

from interp_plugins.foundation.measuring import conv_layers
from interp_plugins.neurons.activations import record_scores
from interp_plugins.neurons.exemplars import Exemplars, NeuronExemplars, neuron_exemplars, top_count

__all__ = [
    "Exemplars",
    "NeuronExemplars",
    "conv_layers",
    "neuron_exemplars",
    "record_scores",
    "top_count",
]
