"""The templates whose words belong to the sentence that they stand in; others of a lead are boxes, notes and marks.

`{{convert|5|km}}` is "5 km", `{{birth date|1946|6|14}}` is "June 14, 1946", `{{langx|la|Fiat lux}}` is a name in
another language. Known are some of English, German, French and Spanish pages, and few of others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dualway.sources.brackets import FOREIGN_BEGIN, FOREIGN_END


class Call(NamedTuple):
    """A template in use. values: positional ones, "" where left out. named: the others, names in lower case."""

    values: tuple[str, ...]
    named: Mapping[str, str]
    language: str

    def value(self, place: int) -> str:
        """Return a positional value, "" where there is none."""
        return self.values[place] if place < len(self.values) else ""


_Make = Callable[[Call], str]

_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
}
_DATES = {"de": "{day}. {month} {year}", "es": "{day} de {month} de {year}"}
_UNITS = {"sqmi": "sq mi", "sqft": "sq ft", "mi2": "sq mi", "C": "°C", "F": "°F"}
_RANGES = {"to": " to ", "-": "–", "–": "–", "and": " and ", "or": " or ", "by": " by ", "x": " × ", "×": " × "}
_ROMAN = re.compile(r"(-?)([ivxlcdm]{1,7}|\d{1,2})(er|re|ère|e|ème|nde?)( siècle)?")


def words_of(name: str, call: Call) -> str:
    """Return what a reader sees of a template in a sentence; "" where it is none that is known.

    Args:
        name: As it stands in the markup.
        call: What it is given.
    """
    key = " ".join(name.replace("_", " ").split())
    if re.fullmatch(r"[a-z]{2,3}S", key):  # German: {{ruS|..}}, "russisch .."
        return _foreign(call.value(0))
    key = key.casefold()
    if ":" in key:
        return _parser_function(name, call.language)
    make = _BY_LANGUAGE.get(call.language, {}).get(key) or _KNOWN.get(key)
    if make is not None:
        return make(call)
    if key.startswith("lang-"):
        return _foreign(call.value(0))
    if call.language == "fr" and (found := _ROMAN.fullmatch(key)):
        return _ordinal(found, call)
    return ""


def _foreign(words: str) -> str:
    return f"{FOREIGN_BEGIN}{words}{FOREIGN_END}" if words else FOREIGN_BEGIN


def _parser_function(name: str, language: str) -> str:
    """Return what {{formatnum:12345}} and its like come to."""
    function, _, value = name.partition(":")
    function, value = function.strip().casefold(), value.strip()
    if function == "formatnum" and value.isdecimal() and len(value) < 20:
        return f"{int(value):,}".replace(",", {"en": ",", "de": ".", "it": "."}.get(language, " "))
    made = {"formatnum": value, "lc": value.lower(), "uc": value.upper(), "ucfirst": value[:1].upper() + value[1:]}
    return made.get(function, "")


def _ordinal(found: re.Match[str], call: Call) -> str:
    before, number, end, century = found.groups()
    shown = number.upper() + end
    if before or century:
        return f"{shown} siècle{' av. J.-C.' if before else ''}"
    return f"{shown} {call.value(0)}".rstrip()


def _first(call: Call) -> str:
    return call.value(0)


def _second(call: Call) -> str:
    return call.value(1) or call.value(0)


def _last(call: Call) -> str:
    return next((value for value in reversed(call.values) if value), "")


def _joined(call: Call) -> str:
    return " ".join(filter(None, call.values[:2]))


def _label(call: Call) -> str:
    return call.named.get("lt") or call.named.get("texte") or call.named.get("fr") or call.value(0)


def _foreign_first(call: Call) -> str:
    return _foreign(call.value(0))


def _foreign_second(call: Call) -> str:
    return _foreign(call.value(1))


def _text(words: str) -> _Make:
    return lambda call: words


def _before(words: str) -> _Make:
    return lambda call: f"{words}{call.value(0)}" if call.value(0) else ""


def _after(words: str) -> _Make:
    return lambda call: f"{call.value(0)}{words}" if call.value(0) else ""


def _convert(call: Call) -> str:
    values = [value for value in call.values if value]
    if len(values) < 2:
        return "".join(values)
    if values[1] in _RANGES and len(values) > 2:
        values = [f"{values[0]}{_RANGES[values[1]]}{values[2]}", *values[3:]]
    shown = " ".join([values[0], *(_UNITS.get(unit, unit) for unit in values[1:2])])
    if values[1:2] and values[1] in ("ft", "lb", "st") and len(values) > 3 and values[2].isdecimal():
        shown += f" {values[2]} {values[3]}"
    return shown


def _unit(call: Call) -> str:
    """{{unité|47.87|km|2}}: a number, a unit, its power."""
    power = call.value(2) if call.value(2) in ("2", "3") else ""
    return f"{call.value(0)} {call.value(1)}{power}".strip()


def _date(call: Call) -> str:
    """Return a date from year, month and day, whichever comes first; from words as they are."""
    values = [value for value in call.values[:3] if value]
    if len(values) == 1 or not any(value.isdecimal() for value in values):
        return values[0] if values else ""
    is_year_first = len(values[0]) > 2 and values[0].isdecimal()
    year, month, day = (*values, "", "")[:3] if is_year_first else (*reversed(values), "", "")[:3]
    names = _MONTHS.get(call.language, "").split() or _MONTHS["en"].split()
    if month.isdecimal() and 1 <= int(month[:4]) <= 12:
        month = names[int(month) - 1]
    if not day:
        return f"{month} {year}".strip()
    day = day.lstrip("0") if day.isdecimal() else day
    if call.language in ("en", "") and call.named.get("df", "no") in ("no", "n", ""):
        return f"{month} {day}, {year}"
    return _DATES.get(call.language, "{day} {month} {year}").format(day=day, month=month, year=year)


def _as_of(call: Call) -> str:
    if alternative := call.named.get("alt"):
        return alternative
    begin = call.named.get("pre") or ("as of" if call.named.get("lc", "n")[:1] in ("y", "o", "1") else "As of")
    date = call._replace(named={"df": "y"}, language="en")
    return f"{begin} {_date(date)}"


def _span(call: Call) -> str:
    return " – ".join(filter(None, call.values[:2]))


def _circa(call: Call) -> str:
    return " – ".join(f"c. {value}" for value in call.values[:2] if value) or "c."


def _century(call: Call) -> str:
    return f"{call.value(0)}{call.value(1) or 'e'} siècle" if call.value(0) else ""


def _two_centuries(call: Call) -> str:
    first, end, second = call.value(0), call.value(1) or "e", call.value(2)
    return f"{first}{end} et {second}{call.value(3) or 'e'} siècles" if second else _century(call)


def _siglo(call: Call) -> str:
    return f"siglo {call.value(0)}{' a. C.' if call.value(1).casefold().startswith('a') else ''}"


def _nihongo(call: Call) -> str:
    """{{nihongo|English|kanji|rōmaji|extra}}: English, and what is said beside the name."""
    return call.value(0) + (f" ({call.value(3)})" if call.value(3) else "")


def _fraction(call: Call) -> str:
    values = [value for value in call.values if value]
    return " ".join([*values[:-2], "/".join(values[-2:])])


def _value(call: Call) -> str:
    return " ".join(filter(None, (call.value(0), call.named.get("u") or call.named.get("ul", ""))))


def _ship_of(prefix: str) -> _Make:
    return lambda call: f"{prefix} {call.value(0)}" if call.value(0) else ""


def _lived(call: Call) -> str:
    """{{bd|year|day|year|day}}, Chinese: born and died."""
    born, died = call.value(0) + call.value(1), call.value(2) + call.value(3)
    return f"{born}－{died}" if born else ""


def _table(*rows: tuple[_Make, str]) -> dict[str, _Make]:
    return {name: make for make, names in rows for name in names.split("|")}


_KNOWN: dict[str, _Make] = _table(
    (_text(" "), "nbsp|spaces|thinsp|space|emsp|ensp|hairsp|0|espace"),
    (_text(" – "), "snd|spnd|spaced ndash|spaced en dash|dash|spndash|sndash|-–"),
    (_text("–"), "ndash|en dash"),
    (_text("—"), "mdash|em dash"),
    (_text("’"), "'|apostrophe"),
    (_text(" · "), "·|dot|middot|•|bullet"),
    (_text("="), "="),
    (_text(""), "!|shy|zwsp|,"),
    (
        _first,
        "nowrap|nobr|nobold|small|big|smaller|larger|em|strong|script|angbr|awrap|nowraplinks|sup|sub|sic|mvar|var",
    ),
    (_first, "not a typo|linktext|vanchor|anchor text|abbr|abbrv|tooltip|decade link|by|mlby|mlb year|nfly|flag"),
    (_first, "flagcountry|flagu|nts|annotated link|citation needed span|cn span|nom|rom|romain|esd|nau|num"),
    (
        _first,
        "souverain|souverain-|petites capitales|petite capitale|pc|langue2|s-rail|u|strikethrough|font color|ruby",
    ),
    (_first, "ruby-ja|読み仮名|読み仮名 ruby不使用|le|link-en|link-ja|versalita|birth year and age|birth year"),
    (_second, "sort|color|colour|highlight"),
    (_last, "lang|lang1|langue|lengua|sprache|transl|transliteration|translit|wikt-lang|lg"),
    (_label, "ill|illm|interlanguage link|interlanguage link multi|lien|link-interwiki|enlace interwiki"),
    (_foreign_first, "nihongo2|nihongo krt|zh|korean|linktext-ko|ko-hhrm"),
    (_foreign_second, "langx|audio|hörbeispiel"),
    (lambda call: _foreign(call.value(2)), "nihongo3"),
    (_nihongo, "nihongo|nihongo foot|nihongo title|japonais|japonés"),
    (_convert, "convert|cvt|convertir|conversion|umrechnung"),
    (_unit, "unité|unité/2|unidad|unit|nombre|nb|número"),
    (
        _date,
        "birth date|birth-date|death date|death-date|birth date and age|death date and age|start date|end date|bda",
    ),
    (_date, "birth date and age2|dob|dod|start date and age|release date|film date|birth date2|date|date-|fecha"),
    (_date, "date de naissance|date de naissance-|date de décès|date de mort|fecha de nacimiento|fecha de inicio"),
    (_joined, "ship|oldstyledate|oldstyledatedy|old style date"),
    (_as_of, "as of|asof|update after"),
    (_circa, "circa|c.|ca.|c|ca"),
    (_span, "age range|year span"),
    (lambda call: f"r. {_span(call)}", "reign|r."),
    (lambda call: f"fl. {_span(call)}", "floruit|fl.|fl"),
    (_fraction, "frac|fraction|sfrac|fract"),
    (_value, "val|gaps"),
    (_before("US$"), "us$|usd|usdollar"),
    (_before("A$"), "a$|aud"),
    (_before("CA$"), "ca$|cad"),
    (_before("£"), "£|gbp|pound sterling|uk£"),
    (_before("€"), "€|eur|euro|euros"),
    (_before("¥"), "¥|jpy|yen|cny|rmb"),
    (_before("₹"), "inr|₹|indian rupee|inrconvert"),
    (_after("%"), "percent|pct|percentage"),
    (lambda call: f"{call.value(0)}-class {call.value(1)}".strip("- "), "sclass|sclass2|sclass-"),
    *(
        (_ship_of(name.upper()), name)
        for name in ("uss", "hms", "ss", "rms", "hmas", "hmcs", "mv", "sms", "hmnzs", "usns", "uscgc", "ins")
    ),
    (_lived, "bd"),
)
_BY_LANGUAGE: dict[str, dict[str, _Make]] = {
    "de": _table(
        (_after(" m"), "höhe"),
        (_after(" Euro"), "eur"),
        (lambda call: f"„{call.value(0)}“", '"|" |zitat-de'),
        (_date, "geburtsdatum|sterbedatum|lebensdaten"),
    ),
    "fr": _table(
        (_century, "siècle|s-|s|s mini|sapjc|-s|-s-"),
        (_two_centuries, "s2-|s2"),
        (lambda call: f"{_century(call)} av. J.-C.", "sav|sav-|-s|-s-|s-av"),
        (lambda call: f"du {call.value(0)}e au {call.value(3)}e siècle", "sp|sp-"),
        (_before("no "), "n°|numéro|n|num"),
        *((_before(f"{title} "), title.casefold()) for title in ("M.", "Mme", "Mlle", "MM.", "Mgr", "Dr", "Pr", "St")),
        (lambda call: f"– {call.value(0)} –", "incise|tiret"),
        (lambda call: f"« {call.value(0)} »", "citation|guil|«|guillemets|cita"),
        (_first, "refnec|référence nécessaire|référence souhaitée|citation nécessaire|refsou|exp|ind|e|abréviation"),
        (_first, "abrd|abr|abréviation discrète|nobr romains|nobr|citation étrangère|roi"),
        (_text("av. J.-C."), "av jc|av. j.-c.|av j.-c."),
        (_text("apr. J.-C."), "ap jc|apr. j.-c."),
        (lambda call: f"{call.value(0)} h {call.value(1)}".strip(), "heure"),
    ),
    "es": _table(
        (_siglo, "siglo"),
        (_first, "demostrar"),
        (_text("a. C."), "ac|a. c."),
        (_text("d. C."), "dc|d. c."),
    ),
}
