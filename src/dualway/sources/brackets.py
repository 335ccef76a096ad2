"""What stays of a bracket behind a name: dates and other facts do; how it is spoken or written elsewhere does not.

"(/ˈtrʌmp/ ..; born June 14, 1946)" becomes "(born June 14, 1946)". Brackets that lost their other half are put right.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

# Words between these two stand for a name in another language; within brackets they go, with what leads to them.
FOREIGN_BEGIN, FOREIGN_END = "\ue000", "\ue001"

# Of what is between two brackets, and whether the line is in Latin letters: what stays.
KeptOf = Callable[[str, bool], str]

_IPA = "ˈˌːəɪʊɛɔɑʌθðʃʒɡɹʁɐɜɲɾɣβχʏɨɯɕʑɬɫʎʋɟʔ"  # signs that no alphabet of a language has for itself, but for few
_LANGUAGES = (
    "Abkhaz|Afrikaans|Akkadian|Albanian|Amharic|Arabic|Aragonese|Aramaic|Armenian|Assamese|Asturian|Aymara|"
    "Azerbaijani|Balinese|Bashkir|Basque|Bavarian|Belarusian|Bengali|Berber|Bosnian|Breton|Bulgarian|Burmese|"
    "Cantonese|Catalan|Cebuano|Chechen|Cherokee|Chinese|Chuvash|Coptic|Cornish|Corsican|Croatian|Czech|Danish|Dari|"
    "Dutch|Dzongkha|Egyptian|English|Esperanto|Estonian|Faroese|Filipino|Finnish|Flemish|French|Frisian|Galician|"
    "Georgian|German|Greek|Greenlandic|Guarani|Gujarati|Hausa|Hawaiian|Hebrew|Hindi|Hindustani|Hungarian|Icelandic|"
    "Igbo|Indonesian|Inuktitut|Irish|Italian|Japanese|Javanese|Kannada|Kashmiri|Kazakh|Khmer|Korean|Kurdish|Kyrgyz|"
    "Ladin|Lakota|Lao|Latin|Latvian|Ligurian|Limburgish|Lithuanian|Lombard|Luxembourgish|Macedonian|Maithili|Malagasy|"
    "Malay|Malayalam|Maltese|Mandarin|Manx|Māori|Maori|Marathi|Mongolian|Montenegrin|Nahuatl|Navajo|Neapolitan|"
    "Nepali|Norman|Norwegian|Occitan|Odia|Ojibwe|Oromo|Ossetian|Pali|Pashto|Persian|Phoenician|Polish|Portuguese|"
    "Provençal|Punjabi|Quechua|Romani|Romanian|Romansh|Russian|Rusyn|Sámi|Samoan|Sanskrit|Shona|Sotho|Sardinian|Scots|Serbian|"
    "Serbo-Croatian|Sicilian|Silesian|Sindhi|Sinhala|Slavonic|Slovak|Slovene|Slovenian|Somali|Sorbian|Spanish|"
    "Sumerian|Swahili|Swedish|Syriac|Tagalog|Tajik|Tamil|Tatar|Telugu|Thai|Tibetan|Tigrinya|Tswana|Turkish|Turkmen|"
    "Ukrainian|Urdu|Uyghur|Uzbek|Valencian|Venetian|Vietnamese|Walloon|Welsh|Wolof|Xhosa|Yakut|Yiddish|Yoruba|Zulu"
)
_OF_LANGUAGES = (
    "Old|Middle|Modern|Ancient|Classical|Medieval|Ecclesiastical|Biblical|Koine|Northern|Southern|Eastern|Western|"
    "Central|Upper|Lower|Low|High|Swiss|Austrian|Brazilian|European|Canadian|Ottoman|Church|Standard|Literary|"
    "simplified|traditional|British|American|Australian|Scottish|Haitian|Levantine"
)
# German ones end in -isch; French and Spanish ones are words that also name people, so that they need "en" before.
_ELSEWHERE = (
    r"[a-zäöüß-]{2,20}isch|deutsch|"
    r"(?:en|auf) (?:[^\W\d_]{3,20} )?[^\W\d_]{4,20}|"
    r"russe|ruso|arabe|árabe|grec|griego|chinois|chino|japonais|japonés|hébreu|hebreo|anglais|inglés|allemand|alemán|"
    r"français|francés|espagnol|español|latin|latín|italien|italiano|polonais|polaco|portugais|portugués|persan|persa"
)
_SYSTEMS = (
    "IPA|API|AFI|ISO|IAST|RTGS|pinyin|Hanyu pinyin|Wade[–-]Giles|Jyutping|Hepburn|RR|MR|McCune[–-]Reischauer|Hangul|"
    "Hanja|Kanji|Cyrillic|romani[sz]ed|UK|US|locally|audio|chữ Hán|Gaeilge"
)
_LABEL = re.compile(
    rf"(?:also |formerly |originally |from |or |in |and |, )?"
    rf"(?:(?:(?:{_OF_LANGUAGES})[ -])*(?:{_LANGUAGES})(?:[ /-](?:{_LANGUAGES}|Cyrillic|Gaelic|script|language)){{0,2}}|"
    rf"(?:{_SYSTEMS})|{_ELSEWHERE})(?: (?:pronunciation|transliteration|Aussprache))?\s?[:：]",
    re.IGNORECASE,
)
_LABEL_ALONE = re.compile(
    r"(?:(?:auf|in|aus|en|auch) )?(?:[a-zäöüß-]{2,20}isch|deutsch|russe|anglais|allemand|espagnol|"
    r"grec|arabe|hébreu|chinois|japonais|ruso|alemán|inglés|francés|latín|griego|árabe|hebreo|chino|japonés)"
    r"(?:(?:,| und| oder| et| y) (?:[a-zäöüß-]{2,20}isch|deutsch))*"
)
_SPOKEN = re.compile(
    rf"/[^/]{{0,200}}[æ{_IPA}][^/]{{0,200}}/|\[[^\[\]]{{0,200}}[{_IPA}][^\[\]]{{0,200}}\]|"
    r"\b(?:pronounced|pronunciation|romani[sz]ed|romani[sz]ation|transliterat\w*|lit\.|literally|"
    r"Aussprache|ausgesprochen|prononcée?|prononciation|se prononce|pronunciad[oa]|pronunciación)(?!\w)|"
    r"\b(?:IPA|API|AFI|МФА)\s*[:\[/]|(?:^|[(\s])(?:listen|anhören|écouter|escuchar|audio|слушать|ascolta)\)?$|"
    r"\((?:listen|écouter|escuchar)\)|[ⓘ🔊]",
    re.IGNORECASE,
)
_SQUARE = re.compile(rf"\s?\[[^\[\]]{{0,200}}[{_IPA}][^\[\]]{{0,200}}\]")
_RESPELLED = re.compile(
    r"^(?=\S*-)(?=\S*[A-ZÀ-Þ]{2})(?=\S*[a-zə])[A-Za-zÀ-ÿə()ʒ'’-]+$|^[a-z()'-]*ə[a-z()'-]*-[a-z()ə'-]+$"
)
_FACT = re.compile(
    r"\d|\b(?:born|died|née?|geboren\w*|gest|nacid[oa]|fallecid[oa]|mort[e]?|circa|since|seit|depuis|desde|until)\b|[†*]",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b\d{3,4}\b|\b\d{1,2}[./ ]|[†*]|\b(?:born|geboren|née?|nacid[oa])\b|\b(?:c|fl|r)\. ?\d", re.IGNORECASE
)
_LEFT_OVER = re.compile(
    r"(?:or|and|also|c\.|ca\.|fl\.|d\.|b\.|r\.|in|from|sometimes|formerly|officially|died|born|pronounced|plural|pl\.|lit\.?|"
    r"oder|und|auch|auf|aus|von|amtlich|ou|et|en|de|du|dit|aussi|o|y|del?|también|или|и|也|或|:|-|–|—)",
    re.IGNORECASE,
)
_SEMICOLON = re.compile(r"[;；]")
_EMPTY = re.compile(r"[\s,;:./|*†_–—-]*")
_LONGEST_CUT = 300  # characters behind a bracket that is never closed, with which it is taken for its beginning
_END = re.compile(r"[.!?](?= [A-ZÀ-Þ]|$)")
_NO_END = re.compile(r"(?:\b(?:\w|ca|fl|lit|st|prob|dr|mr|gen|approx|né|née|geb|gest|bzw))\.$", re.IGNORECASE)
_CUT_SQUARE = re.compile(r"\s?\[[^\[\]]{0,200}$")
_KANA = re.compile(r"[\s\u3040-\u30ff・ー･]+")
_LABEL_CJK = re.compile(
    r"(?:[\u3040-\u30ff\u4e00-\u9fff]{1,6}(?:語|语|文|拼音)|[英仏独伊西露羅韓中法德俄]|IPA|拼音)\s?[:：]"
)


def without_speech(line: str) -> str:
    """Return a line without what in its brackets says how a name is spoken, or written in other scripts.

    Round brackets lose parts and go where nothing is left; a transcription in square brackets goes as it is.
    """
    line = balanced(line, "(", ")")
    line = _reduced(line, "(", ")", _kept)
    line = _SQUARE.sub("", line)
    if "（" in line:
        line = _reduced(balanced(line, "（", "）"), "（", "）", _kept_cjk)
    return line.replace(FOREIGN_BEGIN, "").replace(FOREIGN_END, "")


def balanced(line: str, opening: str, closing: str) -> str:
    """Put right a bracket that lost its other half: "Obama II; born August 4, 1961) is" gets it back, others go."""
    opened: list[int] = []
    replaced: dict[int, str] = {}
    last = 0  # where the bracket before ended that had no beginning
    for place, character in enumerate(line):
        if character == opening:
            opened.append(place)
        elif character == closing and opened:
            opened.pop()
        elif character == closing:
            begin = _lost_beginning(line, last, place, opening + closing)
            replaced[place if begin < 0 else begin] = "" if begin < 0 else f" {opening}"
            last = place + 1
    if not opened and not replaced:
        return line
    ending = ""
    if opened and _is_cut_off(line[opened[0] + 1 :]):
        del opened[0]
        ending = closing
    replaced |= dict.fromkeys(opened, "")
    return "".join(replaced.get(place, character) for place, character in enumerate(line)) + ending


def _is_cut_off(rest: str) -> bool:
    """Tell whether a text ends within its bracket: "Crazy Horse (Lakota: Tȟašúŋke Witkó; c."."""
    if len(rest) > _LONGEST_CUT:
        return False
    ends = _END.search(rest)
    return ends is None or _NO_END.search(rest, 0, ends.end()) is not None or _CUT_SQUARE.search(rest) is not None


def _lost_beginning(line: str, after: int, end: int, pair: str) -> int:
    """Return where the bracket that ends at `end` began: at a semicolon in its sentence, before a date; else -1."""
    begin = line.find("; ", max(line.rfind(". ", after, end), after), end)
    if begin < 0 or line.count(pair[0], begin, end) != line.count(pair[1], begin, end):
        return -1
    return begin if _DATE.search(line, begin, end) else -1


def _reduced(line: str, opening: str, closing: str, kept_of: KeptOf) -> str:
    parts: list[str] = []
    place = 0
    is_latin = _is_latin(line)
    for begin, end in _outermost(line, opening, closing):
        inside = line[begin + 1 : end]
        kept = kept_of(inside, is_latin)
        parts.append(line[place:begin])
        if kept:
            parts.append(f"{opening}{kept}{closing}")
        else:
            parts[-1] = parts[-1].rstrip()
        place = end + 1
    return "".join([*parts, line[place:]])


def _outermost(line: str, opening: str, closing: str) -> Iterator[tuple[int, int]]:
    """Yield where the outermost brackets of a balanced line begin and end."""
    depth = begin = 0
    for place, character in enumerate(line):
        if character == opening:
            begin = place if depth == 0 else begin
            depth += 1
        elif character == closing and depth:
            depth -= 1
            if depth == 0:
                yield begin, place


def _kept(inside: str, is_latin: bool) -> str:
    """Return what stays of a round bracket: its parts between semicolons, and of foreign ones the dates."""
    if inside.strip() in ("*", "†", "?", "!"):
        return inside.strip()
    kept = [_kept_part(part.strip(" ,"), is_latin) for part in _SEMICOLON.split(_CUT_SQUARE.sub("", inside))]
    return "; ".join(part for part in kept if part)


def _kept_part(part: str, is_latin: bool) -> str:
    if _EMPTY.fullmatch(part) or _LEFT_OVER.fullmatch(part):
        return ""
    if not _is_foreign(part, is_latin):
        return part
    pieces = [piece.strip() for piece in part.split(",")]
    kept = [piece for piece in pieces if piece and not _is_foreign(piece, is_latin) and _FACT.search(piece)]
    joined = ", ".join(kept)
    return joined if _DATE.search(joined) else ""


def _is_foreign(part: str, is_latin: bool) -> bool:
    """Tell whether a part of a bracket is a pronunciation, or the name in another language or script."""
    if FOREIGN_BEGIN in part or FOREIGN_END in part or _SPOKEN.search(part) or _LABEL_ALONE.fullmatch(part):
        return True
    if any(_RESPELLED.match(word) for word in part.split()) and not _FACT.search(part):
        return True
    if _LABEL.match(part) and not re.match(r"(?:born|died|see|siehe|née?)\b", part, re.IGNORECASE):
        return True
    letters = [character for character in part if character.isalpha()]
    return is_latin and sum(map(_is_other_script, letters)) >= min(2, max(len(letters), 1))


def _kept_cjk(inside: str, is_latin: bool) -> str:
    """Return what stays of a bracket in Chinese or Japanese text: readings in kana and names elsewhere go."""
    del is_latin
    parts = [part.strip() for part in re.split(r"(?<=[、；;，])", inside)]
    kept = [part for part in parts if not _is_reading(part.rstrip("、；;， "))]
    return "".join(kept).strip("、；;， ")


def _is_reading(part: str) -> bool:
    bare = part.replace(FOREIGN_BEGIN, "").replace(FOREIGN_END, "")
    if not any(map(str.isalnum, bare)) or FOREIGN_BEGIN in part or _SPOKEN.search(part):
        return True
    return _KANA.fullmatch(bare) is not None or (_LABEL_CJK.match(bare) is not None and not re.search(r"\d", bare))


def _is_latin(line: str) -> bool:
    letters = [character for character in line[:400] if character.isalpha()]
    return sum(not _is_other_script(character) for character in letters) > len(letters) / 2


def _is_other_script(character: str) -> bool:
    return ord(character) > 0x24F and not unicodedata.name(character, "").startswith("LATIN")
