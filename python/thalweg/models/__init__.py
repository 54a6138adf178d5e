"""The estimators."""

from .dictionary_learning import DictionaryLearning
from .mini_batch_dictionary_learning import MiniBatchDictionaryLearning
from .sparse_coder import SparseCoder

__all__ = ["DictionaryLearning", "MiniBatchDictionaryLearning", "SparseCoder"]
