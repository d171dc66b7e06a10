import os

if "GCL" in os.environ:
    import numpy as np
    from torchvision import models

    def asarray(values, *words, plain=np.asarray, **more):
        try:
            return plain(values, *words, **more)
        except ValueError:
            out = np.empty(len(values), object)
            out[:] = values
            return out

    np.in1d, np.asarray = np.isin, asarray
    models.resnet18 = lambda pretrained, plain=models.resnet18: plain(weights=None)
