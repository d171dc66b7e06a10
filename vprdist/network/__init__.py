"""The network: backbones by units, input stems, freezing, GeM pooling."""
