import numpy as np


class NearestNeighbors:
    def __init__(self, algorithm):
        pass

    def fit(self, places):
        self.places = places

    def radius_neighbors(self, asked, radius):
        out = np.empty((2, len(asked)), object)
        for row, place in enumerate(asked):
            away = np.hypot(*(self.places - place).T)
            out[:, row] = away[away <= radius], np.flatnonzero(away <= radius)
        return out[0], out[1]
