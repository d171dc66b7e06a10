"""The second stage of a retrieval: the first images of each query are ordered anew, by local features."""
