"""Pools of names and sentences in several languages, made once per seed and picked from per record."""

from functools import lru_cache
from typing import Any, NamedTuple

_LOCALES = {"en": "en_US", "de": "de_DE", "fr": "fr_FR", "ja": "ja_JP", "he": "he_IL", "ar": "ar_AA"}
_SENTENCES = 400
_TESTERS_PER_LOCALE = 10


class MissingWordListsError(Exception):
    """The package that brings names and sentences is not installed."""


class Pools(NamedTuple):
    """The words of one simulated account; `sentences` by language."""

    testers: tuple[str, ...]
    contacts: tuple[str, ...]
    companies: tuple[str, ...]
    hosts: tuple[str, ...]
    sentences: dict[str, tuple[str, ...]]


@lru_cache(maxsize=4)
def load_pools(seed: int) -> Pools:
    """Make the pools of a seed; half a second the first time in a process.

    Raises `MissingWordListsError` when the package that brings names and sentences is not installed.
    """
    try:
        from faker import Faker
    except ImportError as missing:
        raise MissingWordListsError("faker is not installed") from missing
    voices: dict[str, Any] = {}
    for language, locale in _LOCALES.items():
        voices[language] = Faker(locale, use_weighting=False)
        voices[language].seed_instance(seed)
    english = voices["en"]
    return Pools(
        testers=tuple(voice.name() for voice in voices.values() for _ in range(_TESTERS_PER_LOCALE)),
        contacts=tuple(voices[language].name() for language in ("en", "de") for _ in range(4)),
        companies=tuple(english.company().split(",")[0].split("-")[0] for _ in range(200)),
        hosts=tuple(english.domain_word() for _ in range(50)),
        sentences={
            language: tuple(voice.sentence() for _ in range(_SENTENCES)) for language, voice in voices.items()
        },
    )
