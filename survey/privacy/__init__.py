"""Data of people taken out again: withdrawal, expiry, and pictures that leave."""

from survey.privacy.erasure import Erased
from survey.privacy.exports import ExportLog
from survey.privacy.photos import Release, release_photos
from survey.privacy.retention import Purge, purge_round
from survey.privacy.withdrawal import RECOMPUTE, Withdrawal, withdraw

__all__ = [
    "RECOMPUTE",
    "Erased",
    "ExportLog",
    "Purge",
    "Release",
    "Withdrawal",
    "purge_round",
    "release_photos",
    "withdraw",
]
