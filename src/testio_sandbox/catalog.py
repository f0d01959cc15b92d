"""Fixed lists of the simulated account: words of the API, devices, rejection reasons, access methods."""

from typing import Any

Payload = dict[str, Any]

IMMUTABLE_TEST_STATUSES = ("archived", "cancelled")
# Hours that a test runs when nobody says otherwise.
DURATIONS = {"rapid": 2, "focused": 24, "coverage": 28, "usability": 24, "external": 48}
# Days after the end of a test until an open bug is auto-accepted.
AUTO_ACCEPT_DAYS = 10
EXPORT_STATUSES = ("export_requested", "not_exported", "exported")
PRODUCT_TYPES = ("website", "mobile_app_ios", "mobile_app_android", "mobile_app_windows", "streaming_app", "gaming")
INDUSTRIES = (
    "retail",
    "media",
    "travel",
    "social",
    "health",
    "sports",
    "education",
    "finance",
    "games",
    "other",
)
REPORT_LANGUAGES = ("en", "de")

# Every secret of the simulated account holds this text, so that a test can prove that none was kept.
SECRET_MARK = "s3cret-"  # noqa: S105


def _named(number: int, name: str, key: str | None = None) -> Payload:
    return {"id": number, "name": name} if key is None else {"id": number, "key": key, "name": name}


_PHONE = _named(1, "Smartphones", "smartphones")
_TABLET = _named(2, "Tablets", "tablets")
_COMPUTER = _named(3, "Computers", "computers")
_TV = _named(4, "Smart TV", "smart_tv")
_WATCH = _named(5, "Watches", "watches")
_IOS = _named(1, "iOS", "ios")
_ANDROID = _named(2, "Android", "android")
_WINDOWS = _named(3, "Windows", "windows")
_MACOS = _named(4, "macOS", "macos")
_TIZEN = _named(5, "Tizen", "tizen")
_WEAR = _named(6, "Wear OS", "wear_os")
_CHROME, _SAFARI = _named(1, "Chrome"), _named(2, "Safari")
_FIREFOX, _EDGE = _named(3, "Firefox"), _named(4, "Edge")

# category, vendor, operating system, version, model, browsers
_MODELS: tuple[tuple[Payload, str, Payload, str, str, tuple[Payload, ...]], ...] = (
    (_PHONE, "Apple", _IOS, "26.1", "iPhone 17 Pro", (_SAFARI,)),
    (_PHONE, "Apple", _IOS, "18.6", "iPhone 14", (_SAFARI, _CHROME)),
    (_PHONE, "Samsung", _ANDROID, "16", "Galaxy S25", (_CHROME,)),
    (_PHONE, "Google", _ANDROID, "16", "Pixel 10", (_CHROME, _FIREFOX)),
    (_PHONE, "Xiaomi", _ANDROID, "14", "Redmi Note 13", (_CHROME,)),
    (_TABLET, "Apple", _IOS, "26.0", "iPad Air", (_SAFARI,)),
    (_TABLET, "Samsung", _ANDROID, "15", "Galaxy Tab S9", (_CHROME,)),
    (_COMPUTER, "Lenovo", _WINDOWS, "11", "ThinkPad T14", (_CHROME, _EDGE)),
    (_COMPUTER, "Dell", _WINDOWS, "10", "XPS 13", (_FIREFOX,)),
    (_COMPUTER, "Apple", _MACOS, "26", "MacBook Pro", (_SAFARI, _CHROME)),
    (_TV, "Samsung", _TIZEN, "8.0", "Neo QLED", ()),
    (_WATCH, "Google", _WEAR, "5", "Pixel Watch 3", ()),
)
DEVICES: tuple[Payload, ...] = tuple(
    {
        "id": 7000 + number,
        "category": category,
        "vendor": _named(50 + number, vendor),
        "operating_system": system,
        "operating_system_version": _named(300 + number, version),
        "device": _named(900 + number, model),
        "browsers": list(browsers),
    }
    for number, (category, vendor, system, version, model, browsers) in enumerate(_MODELS)
)
# The shapes of a device report that real accounts hold besides the regular one.
ODD_DEVICES: tuple[Payload, ...] = (
    {**DEVICES[0], "browsers": [{}]},
    {**DEVICES[3], "device": {}, "vendor": None},
    {**DEVICES[7], "browsers": None},
    {key: value for key, value in DEVICES[9].items() if key != "id"},
    {},
)
REQUIREMENTS: tuple[Payload, ...] = tuple(
    {
        "id": 8000 + number,
        "category": device["category"],
        "operating_system": device["operating_system"],
        "min_version": device["operating_system_version"],
        "max_version": None,
        "browsers": device["browsers"],
    }
    for number, device in enumerate(DEVICES)
)
REJECT_REASONS: tuple[Payload, ...] = tuple(
    {"key": key, "name": name, "default_comment": comment}
    for key, name, comment in (
        ("intended", "Intended behaviour", "This is the intended behaviour."),
        ("not_reproducible", "Not reproducible", "We could not reproduce this bug."),
        ("out_of_scope", "Out of scope", "This bug is out of the scope of the test."),
        ("duplicate", "Duplicate", "This bug was reported before."),
        ("not_a_bug", "Not a bug", "This is not a bug."),
        ("other", "Other", "This bug is rejected."),
    )
)
# A reserved name that no resolver answers: nothing is ever downloaded from there.
ATTACHMENT_URL = "https://attachments.testio.example"
APP_SUFFIXES = (".ipa", ".apk", ".xap", ".appx", ".zip", ".wgt")
