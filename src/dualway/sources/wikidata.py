"""Items of Wikidata, as its JSON dumps and `Special:EntityData` have them, become entities.

This happens in two steps, since what a statement says is another item's id: `digest` takes from an item all that an
entity needs and leaves ids where words will stand; `compose` puts the labels in their places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from dualway.datasets.base import ReadReport
from dualway.errors import UsageError
from dualway.schema import Entity, Field, Representation
from dualway.sources.properties import DEFAULT, Claim, PropertiesConfig, properties_text
from dualway.sources.property_names import FIELD_OF, PROPERTIES
from dualway.sources.wikidata_classes import INTERNAL_CLASSES, ItemSet, item_number, item_numbers
from dualway.sources.wikidata_values import Value, read_value

SOURCE, LICENCE = "wikidata", "CC0 1.0"
MAX_VALUES = 100  # of a property: some have thousands

LabelOf = Callable[[str], str | None]
_LANGUAGE = re.compile(r"[a-z]{2,12}(-[a-z0-9]{2,12})*")
_MODIFIED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# Wikipedias whose name in sitelinks is not that of the language.
_SITES = {
    "be-tarask": "be_x_oldwiki",
    "gsw": "alswiki",
    "lzh": "zh_classicalwiki",
    "nan": "zh_min_nanwiki",
    "nb": "nowiki",
    "rup": "roa_rupwiki",
    "sgs": "bat_smgwiki",
    "vro": "fiu_vrowiki",
    "yue": "zh_yuewiki",
}
_NOT_ITEMS = {"property": "properties", "lexeme": "lexemes"}
_SHAPE_ERRORS = (KeyError, TypeError, AttributeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """Which items are taken, and what of them.

    Attributes:
        languages: Of names, aliases, descriptions and labels, the preferred one first. "mul" is what Wikidata keeps
            for all languages.
        classes: Take instances of these (such as "Q5"); of any class where empty.
        with_subclasses: Of their subclasses too, which takes a first pass over the dump.
        min_sitelinks: Take items with at least so many pages in Wikimedia's projects.
        leave_out: Take no instances of these; of their subclasses neither, where subclasses are looked for.
        any_language: Where an item has neither a label nor a Wikipedia page in one of `languages`, take any label.
        properties: What the text of properties tells.
        on_error: "stop" at a line that cannot be read, or "drop" it and count it.
    """

    languages: tuple[str, ...] = ("en", "mul")
    classes: tuple[str, ...] = ()
    with_subclasses: bool = True
    min_sitelinks: int = 0
    leave_out: tuple[str, ...] = INTERNAL_CLASSES
    any_language: bool = False
    properties: PropertiesConfig = field(default_factory=lambda: DEFAULT)
    on_error: str = "stop"

    def check(self) -> None:
        """Check the values.

        Raises:
            UsageError: No languages, one that is none, a class that is no item's id, an unknown `on_error`.
        """
        if not self.languages:
            raise UsageError("no language to take names in; give at least one, such as en")
        for language in self.languages:
            if not _LANGUAGE.fullmatch(language):
                raise UsageError(f"{language!r} is no language code of Wikidata; write one such as en, pt-br or mul")
        if self.on_error not in ("stop", "drop"):
            raise UsageError(f"unknown way {self.on_error!r} with lines that cannot be read; choose stop or drop")
        item_numbers((*self.classes, *self.leave_out))


class Digest(NamedTuple):
    """What is taken from an item; everything is a plain JSON value.

    statements: (property, [(words, id, 1 where of the best rank)]), see `wikidata_values.Value`.
    """

    name: str
    aliases: Sequence[str]
    descriptions: Sequence[tuple[str, str]]  # (language, text)
    titles: Sequence[tuple[str, str]]  # (language, title of its page in that Wikipedia)
    sitelinks: int
    revision: str
    modified: str
    statements: Sequence[tuple[str, Sequence[tuple[str, str, int]]]]

    def item_ids(self) -> Iterator[str]:
        """Yield the ids of items whose labels `compose` asks for."""
        for _, values in self.statements:
            for _, item_id, _ in values:
                if item_id:
                    yield item_id


class WikidataReader:
    """Makes entities of items.

    Args:
        options: Which, and what of them.
        report: Counts what is dropped, left out or not understood, and why.
        classes: Numbers of the classes that are taken, None for any; by default those of the options, without
            subclasses.
        leave_out: Numbers of the classes that are not.
        default_time: `created_at` of texts of items that do not say when they were changed.

    Example:
        >>> reader = WikidataReader(DumpOptions())
        >>> labels = {"en": {"language": "en", "value": "Douglas Adams"}}
        >>> reader.entity({"type": "item", "id": "Q42", "labels": labels}, {}.get).name
        'Douglas Adams'
    """

    def __init__(
        self,
        options: DumpOptions,
        report: ReadReport | None = None,
        *,
        classes: Container[int] | None = None,
        leave_out: Container[int] | None = None,
        default_time: str = "",
    ) -> None:
        options.check()
        self.options = options
        self.report = report or ReadReport(Path(SOURCE), SOURCE)
        given = ItemSet(item_numbers(options.classes)) if options.classes else None
        self._classes = given if classes is None else classes
        self._leave_out = ItemSet(item_numbers(options.leave_out)) if leave_out is None else leave_out
        self._default_time = default_time
        self._languages = dict.fromkeys(options.languages)
        self._sites = {
            language: _SITES.get(language, f"{language.replace('-', '_')}wiki") for language in self._languages
        }
        told = {id for lines in options.properties.lines.values() for line in lines for id in line.properties}
        self._kept = {
            property_id: (FIELD_OF.get(property_id), _label(property_id), property_id in told)
            for property_id in ("P31", *FIELD_OF, *sorted(told))
        }

    def entity(self, item: Mapping[str, Any], label_of: LabelOf) -> Entity | None:
        """Return the entity of an item; None where it is none, or not wanted, which the report counts.

        Args:
            item: As `Special:EntityData`, `wbgetentities` or a dump has it.
            label_of: The label of an item's id, None where it is not known.

        Raises:
            ValueError: It has not the shape of an item.
        """
        number = self.number(item)
        if number is None:
            return None
        digest = self.digest(item, number)
        return None if digest is None else self.compose(f"Q{number}", digest, label_of)

    def number(self, item: Mapping[str, Any]) -> int | None:
        """Return the number of an item; None for redirects, deleted items and what is no item, which are counted.

        Raises:
            ValueError: It has not the shape of an item.
        """
        if item.__class__ is not dict:
            raise ValueError("no object in curly brackets")
        item_id, kind = item.get("id"), item.get("type", "item")
        if "redirect" in item:
            self.report.drop("redirects", str(item.get("entity", item_id)), f"to {item['redirect']}")
            return None
        if "missing" in item:
            self.report.drop("deleted or unknown items", str(item_id))
            return None
        if kind != "item":
            self.report.drop(
                f"{_NOT_ITEMS.get(str(kind), 'entities of other kinds')}: only items are read", str(item_id)
            )
            return None
        number = item_number(item_id) if isinstance(item_id, str) else None
        if number is None:
            raise ValueError(f"its id is {str(item_id)[:40]!r}, that of an item is such as 'Q42'")
        return number

    def name_of(self, item: Mapping[str, Any]) -> str:
        """Return an item's name in the wanted languages; "" where it has none.

        That is its label in the first language that has one; then the title of its page in the first Wikipedia that has
        one; then, where this is wished, any label.

        Raises:
            ValueError: Labels or sitelinks have not the shape that they should have.
        """
        labels, sitelinks = _table(item.get("labels")), _table(item.get("sitelinks"))
        for language in self._languages:
            if language in labels and (text := _text(labels[language])):
                return text
        for site in self._sites.values():
            if site in sitelinks and (text := _text(sitelinks[site], "title")):
                return text
        if self.options.any_language:
            return next(filter(None, map(_text, labels.values())), "")
        return ""

    def digest(self, item: Mapping[str, Any], number: int, name: str | None = None) -> Digest | None:
        """Return what is taken from an item; None where it is not wanted, which is counted.

        Raises:
            ValueError: It has not the shape of an item.
        """
        item_id = f"Q{number}"
        name = self.name_of(item) if name is None else name
        try:
            claims = _table(item.get("claims"))
            classes = self._values("P31", claims["P31"], item_id) if "P31" in claims else []
            sitelinks = _table(item.get("sitelinks"))
            problem = self._unwanted(classes, len(sitelinks), name)
            if problem:
                self.report.drop(problem, item_id, name)
                return None
            self.report.counts["items taken"] += 1
            return self._digest(item, item_id, name, classes, claims, sitelinks)
        except _SHAPE_ERRORS as error:
            raise ValueError(f"not the shape of an item ({type(error).__name__}: {error})") from error

    def compose(self, item_id: str, digest: Digest, label_of: LabelOf) -> Entity:
        """Return the entity of what was taken from an item.

        A value whose label is not known is kept as a field with its id for words, and is not told in any text.
        """
        fields: list[Field] = []
        claims: list[Claim] = []
        class_ids: list[str] = []
        types: list[str] = []
        for property_id, values in digest.statements:
            field_name, label, is_told = self._kept[property_id]
            for text, value_id, is_best in values:
                words = _in_words(text, value_id, label_of)
                if field_name is not None and not (text and value_id):
                    fields.append(Field(field_name, words or value_id, value_id))
                if is_best and is_told and words:
                    claims.append(Claim(property_id, label, words, value_id))
                if is_best and property_id == "P31":
                    class_ids.append(value_id)
                    types += [words] if words else []
        fields.append(Field("sitelinks", str(digest.sitelinks)))
        fields += [Field(f"wikipedia:{language}", title) for language, title in digest.titles]
        properties = properties_text(claims, class_ids, self.options.properties, name=digest.name)
        texts = [("properties", self.options.languages[0], properties)] if properties else []
        texts += [("description", language, text) for language, text in digest.descriptions]
        time = digest.modified or self._default_time
        return Entity(
            id=item_id,
            name=digest.name,
            aliases=tuple(digest.aliases),
            types=tuple(dict.fromkeys(types)),
            representations=tuple(
                Representation(kind, text, SOURCE, language, digest.revision, LICENCE, time)
                for kind, language, text in texts
            ),
            fields=tuple(fields),
        )

    def _unwanted(self, classes: list[tuple[str, str, int]], num_sitelinks: int, name: str) -> str:
        """Return why an item is not wanted, "" where it is."""
        numbers = [int(class_id[1:]) for _, class_id, _ in classes if class_id]
        if any(number in self._leave_out for number in numbers):
            return "disambiguation pages and other pages of Wikimedia's own"
        if self._classes is not None and not any(number in self._classes for number in numbers):
            return "of none of the wanted classes"
        if num_sitelinks < self.options.min_sitelinks:
            return f"fewer than {self.options.min_sitelinks} sitelinks"
        return "" if name else f"neither a label nor a page in {', '.join(self._languages)}"

    def _digest(
        self,
        item: Mapping[str, Any],
        item_id: str,
        name: str,
        classes: list[tuple[str, str, int]],
        claims: Mapping[str, Any],
        sitelinks: Mapping[str, Any],
    ) -> Digest:
        statements = [("P31", classes)] if classes else []
        present = [property_id for property_id in self._kept if property_id in claims]
        self.report.counts["properties of items that are not kept"] += len(claims) - len(present)
        for property_id in present:
            if property_id != "P31":
                values = self._values(property_id, claims[property_id], item_id)
                if values:
                    statements.append((property_id, values))
        descriptions = _table(item.get("descriptions"))
        revision, modified = item.get("lastrevid", ""), item.get("modified", "")
        return Digest(
            name=name,
            aliases=self._aliases(item, name),
            descriptions=[
                (language, text)
                for language in self._languages
                if language in descriptions and (text := _text(descriptions[language]))
            ],
            titles=[
                (language, title)
                for language, site in self._sites.items()
                if site in sitelinks and (title := _text(sitelinks[site], "title"))
            ],
            sitelinks=len(sitelinks),
            revision=str(revision) if isinstance(revision, int) else "",
            modified=modified if isinstance(modified, str) and _MODIFIED.fullmatch(modified) else "",
            statements=statements,
        )

    def _aliases(self, item: Mapping[str, Any], name: str) -> list[str]:
        """Return an item's other names in the wanted languages, labels in other languages among them."""
        labels, aliases = _table(item.get("labels")), _table(item.get("aliases"))
        found: dict[str, None] = {}
        for language in self._languages:
            if language in labels:
                found[_text(labels[language])] = None
            for alias in aliases.get(language, ()):
                found[_text(alias)] = None
        return [text for text in found if text and text != name]

    def _values(self, property_id: str, statements: Any, item_id: str) -> list[tuple[str, str, int]]:
        """Return a property's values, each once: preferred ones first, what has ended after what has not.

        Deprecated statements, and those that say that a value is unknown or that there is none, do not count.
        """
        ranked: list[tuple[bool, bool, Value]] = []
        for statement in statements:
            try:
                rank, snak = statement.get("rank"), statement["mainsnak"]
                if rank == "deprecated":
                    self.report.counts["statements: deprecated"] += 1
                    continue
                if snak["snaktype"] != "value":
                    self.report.counts["statements: the value is unknown or there is none"] += 1
                    continue
                value = read_value(snak["datavalue"], self._languages)
                ended = "qualifiers" in statement and _has_ended(statement["qualifiers"])
            except _SHAPE_ERRORS:
                self.report.note("statements that cannot be understood, left out", item_id, property_id)
                continue
            if value is None:
                self.report.note(f"values of {property_id} that cannot be kept", item_id)
                continue
            ranked.append((rank != "preferred", ended, value))
        if len(ranked) > 1:
            ranked = self._ordered(ranked, property_id, item_id)
        return [(value.text, value.id, 1 if lower == ranked[0][0] else 0) for lower, _, value in ranked]

    def _ordered(
        self, ranked: list[tuple[bool, bool, Value]], property_id: str, item_id: str
    ) -> list[tuple[bool, bool, Value]]:
        ranked.sort(key=lambda entry: entry[:2])
        seen: set[Value] = set()
        once = [entry for entry in ranked if not (entry[2] in seen or seen.add(entry[2]))]
        if len(once) > MAX_VALUES:
            self.report.note(f"values of a property beyond the first {MAX_VALUES}, left out", item_id, property_id)
        return once[:MAX_VALUES]


def _label(property_id: str) -> str:
    return PROPERTIES[property_id].label if property_id in PROPERTIES else property_id


def _in_words(text: str, value_id: str, label_of: LabelOf) -> str:
    if not value_id:
        return text
    label = label_of(value_id) or ""
    return f"{text} {label}".rstrip() if text else label


def _has_ended(qualifiers: Any) -> bool:
    """Tell whether qualifiers hold an end time (P582), of which "none" says that it goes on."""
    if "P582" not in qualifiers:
        return False
    return any(snak["snaktype"] != "novalue" for snak in qualifiers["P582"])


def _table(value: Any) -> Mapping[str, Any]:
    """Return a part of an item that is an object; PHP writes an empty one as a list."""
    if value.__class__ is dict:
        return cast("Mapping[str, Any]", value)
    if not value:
        return {}
    raise ValueError(f"a {type(value).__name__} in the place of an object")


def _text(entry: Any, key: str = "value") -> str:
    """Return the text of a label, alias, description or sitelink."""
    text = entry.get(key) if entry.__class__ is dict else None
    if not isinstance(text, str):
        raise ValueError(f"{str(entry)[:40]!r} in the place of a text")
    return text.strip()
