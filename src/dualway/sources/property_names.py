"""Properties of Wikidata that are used: the field that each becomes, and its label in the text of properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Property(NamedTuple):
    """A property of Wikidata; `field` is "" where it is only told in the text."""

    field: str
    label: str


PROPERTIES: Mapping[str, Property] = {
    "P21": Property("sex", "Sex"),
    "P569": Property("born", "Birth"),
    "P19": Property("birthplace", "Birth"),
    "P570": Property("died", "Death"),
    "P20": Property("deathplace", "Death"),
    "P106": Property("occupation", "Occupation"),
    "P39": Property("position", "Position held"),
    "P108": Property("employer", "Employer"),
    "P27": Property("citizenship", "Country of citizenship"),
    "P17": Property("country", "Country"),
    "P131": Property("located_in", "Located in"),
    "P361": Property("part_of", "Part of"),
    "P625": Property("coordinates", "Coordinates"),
    "P571": Property("inception", "Inception"),
    "P576": Property("dissolved", "Dissolved"),
    "P26": Property("spouse", "Spouse"),
    "P40": Property("child", "Child"),
    "P22": Property("parent", "Father"),
    "P25": Property("parent", "Mother"),
    "P3373": Property("sibling", "Sibling"),
    "P463": Property("member_of", "Member of"),
    "P54": Property("team", "Team"),
    "P140": Property("religion", "Religion"),
    "P1412": Property("language", "Languages"),
    "P69": Property("educated_at", "Alma mater"),
    "P166": Property("award", "Award"),
    "P31": Property("instance_of", "Type"),
    "P18": Property("image", "Image"),
    "P856": Property("website", "Website"),
    "P1449": Property("nickname", "Nickname"),
    "P742": Property("nickname", "Nickname"),
    "P101": Property("", "Field of work"),
    "P102": Property("", "Party"),
    "P112": Property("", "Founder"),
    "P136": Property("", "Genre"),
    "P159": Property("", "Headquarters"),
    "P175": Property("", "Performer"),
    "P2031": Property("", "Work starts"),
    "P276": Property("", "Place"),
    "P413": Property("", "Plays as"),
    "P495": Property("", "Country of origin"),
    "P50": Property("", "Author"),
    "P57": Property("", "Director"),
    "P577": Property("", "Published"),
    "P580": Property("", "Start"),
    "P582": Property("", "End"),
    "P585": Property("", "Date"),
    "P641": Property("", "Sport"),
    "P800": Property("", "Notable work"),
}

FIELD_OF: Mapping[str, str] = {id: entry.field for id, entry in PROPERTIES.items() if entry.field}
