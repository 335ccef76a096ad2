"""Which links a change of the knowledge base can touch, and a proof that the others hold.

A link is what a ranker makes of a mention's candidates, each by itself: of its record, and of nothing else that the
knowledge base says. So a link holds as long as its candidates are the same ones with the same records. They are the
`w` entities whose names are most like the mention (`w` is `num_candidates`, or `k` where that is more), in the order of
score, then id. An entity's score depends on the mention and its own names alone.

A change is known as entities with a version before and one after (either may be missing). Let C be the mention's
candidates in the present state, and t the score of the last. The link is touched when

1. C has fewer than `w` entities and a version, old or new, of a changed entity shares anything with the mention, or
   C has `w` and a version's score is at least t.

If it is not touched, the candidates before, B, were C. Where C has fewer than `w`, no version of a changed entity
shares anything, so that the same unchanged entities share something before and now, and B = C. Where C has `w`: each
member scores at least t, so none is a changed entity; each was there before, with the score and id that it has now, and
B has `w` too. Suppose that B has an x that C lacks; then C has a y that B lacks. If x is unchanged, x comes before y in
one state and after it in the other, with the same scores and ids: that cannot be. If x was changed or removed, its old
version scores less than t, and the `w` members of C, which were all there, come before it: then it was not in B.

Further sources add to C what they propose for the mention by id, which no other entity's record alters. The link is
touched when

2. the prior of the run proposes a changed id for the mention's words, or
3. a candidate file does.

What was erased has no version before. Whether anything was is known all the same: the content fingerprint is of the sum
of the records' hashes, and the sums of the two states differ by what is told, or by more. Then a link holds only when

4. it keeps all of B (its list is shorter than `k`, or `k` is at least `num_candidates`), none of which is changed or
   gone. An erased entity that B did not have made no difference to it, and the rest is as above.

Pictures of entities are compared by way of what may be measured on all of them: when one changes, all are touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dualway.candidates.fuzzy import FuzzyNames
from dualway.candidates.names import NameIndex
from dualway.errors import KnowledgeBaseError, UsageError
from dualway.kb.records import add_hash, content_fingerprint, content_hash, remove_hash
from dualway.schema import Entity, Mention

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase
    from dualway.linker import Linker
    from dualway.protocols import CandidateSource

DEFAULT_K = 100  # candidates that a file of links keeps unless another number is asked for
_CHUNK = 256

CANDIDATE = "a candidate was changed or is gone"
NEAR = "an entity that was added, changed or removed has a name like the mention"
PRIOR = "the prior proposes an entity that was changed"
GIVEN = "the candidate file proposes an entity that was changed"
ERASED = "entities were erased, and the link does not keep all candidates that it was chosen from"
UNKNOWN = "made against a content that this knowledge base does not know"
DRAWN = "candidates are drawn at random from the entities of a type"
PICTURES = "pictures of entities changed, against which all pictures are weighed"


class MadeLink(NamedTuple):
    """What a line of links.jsonl says of how it was made."""

    id: str
    entity_id: str | None
    kb: str
    model: str
    candidates: tuple[str, ...]
    score: float  # of the first


class Touched(NamedTuple):
    """Which links are to be made again, by their place, and why; and with how many candidates."""

    redo: dict[int, str]
    k: int


@dataclass
class _Changes:
    """What happened to the entities since a state.

    Attributes:
        ids: Of those with another record now than then, or with none in one of the two.
        versions: Their records then and now.
        is_told: Whether these are all; else something was erased.
        everything: Why all links may be touched; "" where that is not so.
    """

    ids: set[str] = field(default_factory=set[str])
    versions: list[Entity] = field(default_factory=list[Entity])
    is_told: bool = True
    everything: str = ""


class _Lists(NamedTuple):
    """A mention's candidates now: those that are sure, and those that may be among them besides; and rule 1."""

    sure: AbstractSet[str]
    possible: AbstractSet[str]
    is_near: bool


def find_touched(
    linker: Linker, links: Sequence[MadeLink], mentions: Sequence[Mention], k: int | None = None
) -> Touched:
    """Return the links that a change since they were made can touch.

    Args:
        linker: What made them; its knowledge base is the changed one.
        links: As they were made.
        mentions: The mention of each.
        k: How many candidates a link keeps at most; None: as many as the links show that they keep.

    Raises:
        UsageError: The links keep another number of candidates, or were made of other mentions or another source of
            candidates: a link that no change can touch shows it.
    """
    longest = max((len(link.candidates) for link in links), default=0)
    if k is not None and longest > k:
        raise UsageError(f"the links keep {longest} candidates, not {k}; give -k {longest}, or --all")
    work = _Work(linker, links, mentions, k, longest)
    for state, places in work.by_state().items():
        work.look_at(state, places)
    chosen = k if k is not None else work.number_kept()
    work.check(chosen)
    return Touched(dict(sorted(work.redo.items())), chosen)


def number_kept(linker: Linker, links: Sequence[MadeLink], mentions: Sequence[Mention]) -> int:
    """Return how many candidates the links keep, as far as they show it: their longest list, or 100."""
    return _Work(linker, links, mentions, None, max((len(link.candidates) for link in links), default=0)).number_kept()


class _Work:
    """The links while they are looked at, one state of the knowledge base after the other."""

    def __init__(
        self, linker: Linker, links: Sequence[MadeLink], mentions: Sequence[Mention], k: int | None, longest: int
    ) -> None:
        self.linker, self.kb, self.links, self.mentions = linker, linker.kb, links, mentions
        self.longest, self.at_least = longest, longest if k is None else k  # a link keeps that many, or more
        self.width = max(linker.ranker.num_candidates, self.at_least)
        self.redo: dict[int, str] = {}
        self._lists: dict[int, tuple[_Lists, int]] = {}  # of the links that were looked at, with how many changed
        is_fuzzy = linker.given is None and not linker.candidates_by_name
        self._present: CandidateSource = FuzzyNames(self.kb.ids, self.kb.names) if is_fuzzy else linker.names
        self._is_fuzzy = is_fuzzy

    def by_state(self) -> dict[str, list[int]]:
        """Return the places of the links of each state that may need to be looked at."""
        states: dict[str, list[int]] = {}
        now = self.kb.fingerprint.content
        for place, link in enumerate(self.links):
            # Whose pictures are compared is no part of the content.
            if link.kb != now or self.linker.compares_pictures:
                states.setdefault(link.kb, []).append(place)
        return states

    def look_at(self, state: str, places: Sequence[int]) -> None:
        """Find which links of one state are touched."""
        changes = _changes(self.linker, state)
        if changes.everything:
            self.redo |= dict.fromkeys(places, changes.everything)
            return
        if not changes.ids and changes.is_told:
            return
        changed = self._index(changes.versions)
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            for place, lists in self._lists_of(chunk, changed, of_all=not changes.is_told).items():
                self._lists[place] = lists, len(changes.ids)
            for place in chunk:
                if reason := self._reason(place, changes):
                    self.redo[place] = reason

    def number_kept(self) -> int:
        """Return how many candidates a link keeps at most, where the links show it, else the usual number."""
        if self.longest >= self.linker.ranker.num_candidates or not self.longest:
            return self.longest or DEFAULT_K
        places = [place for place, link in enumerate(self.links) if len(link.candidates) == self.longest]
        seen = [self._lists[place] for place in places if place in self._lists]
        # With fewer changes than it has more candidates now, a list was cut.
        if any(len(lists.sure) - changed > self.longest for lists, changed in seen):
            return self.longest
        # A link that holds has as many candidates to choose from as it had.
        asked = [place for place in places if place not in self.redo] or places
        for start in range(0, len(asked), _CHUNK):
            found = self._lists_of(asked[start : start + _CHUNK], None, of_all=True)
            if any(len(lists.sure) > self.longest for lists in found.values()):
                return self.longest
        return DEFAULT_K

    def check(self, k: int) -> None:
        """Check that the links that no change can touch are such as this linker makes of these mentions.

        Raises:
            UsageError: One is not; names it, and what to do.
        """
        for place, (lists, _) in self._lists.items():
            link = self.links[place]
            if place in self.redo:
                continue
            strange = set(link.candidates) - lists.sure - lists.possible
            if strange:
                raise UsageError(
                    f"the link of {link.id!r} has the candidate {min(strange)!r}, which is none of that mention: it "
                    "was made of other mentions or from another source of candidates; give those, or --all"
                )
            fewest, most = min(k, len(lists.sure)), min(k, len(lists.sure | lists.possible))
            if not fewest <= len(link.candidates) <= most:
                raise UsageError(
                    f"the link of {link.id!r} keeps {len(link.candidates)} candidates where -k {k} gives {fewest}: it "
                    f"was made with another -k; give that one (-k {self.longest}?), or --all"
                )

    def _reason(self, place: int, changes: _Changes) -> str:
        """Return why a link is touched, "" when it is not."""
        link, mention, linker = self.links[place], self.mentions[place], self.linker
        lists = self._lists.get(place)
        if any(c in changes.ids or c not in self.kb for c in link.candidates):
            return CANDIDATE
        if lists is not None and lists[0].is_near:
            return NEAR
        if linker.given is not None and changes.ids & set(linker.given.file.lists_for(mention) or ()):
            return GIVEN
        if linker.given is None and linker.prior and changes.ids & linker.prior.probabilities(mention.surface).keys():
            return PRIOR
        keeps_all = self.at_least >= linker.ranker.num_candidates or len(link.candidates) < self.at_least
        return "" if changes.is_told or keeps_all else ERASED

    def _lists_of(self, places: Sequence[int], changed: CandidateSource | None, *, of_all: bool) -> dict[int, _Lists]:
        """Return the present candidates of links: of those that a changed entity may be near to, or of all."""
        given = self.linker.given
        if given is None:
            return self._near(places, changed, of_all=of_all)
        # Names still decide whom a picture is compared with.
        near = self._near(places, changed, of_all=False) if self.linker.compares_pictures else {}
        found: dict[int, _Lists] = {}
        for place in places:
            listed = given.file.lists_for(self.mentions[place]) or ()
            found[place] = _Lists({i for i in listed if i in self.kb}, set(), place in near and near[place].is_near)
        return found

    def _near(self, places: Sequence[int], changed: CandidateSource | None, *, of_all: bool) -> dict[int, _Lists]:
        """Apply rule 1 to links, and return the candidates that it needed."""
        best: dict[int, float] = {}
        if changed is not None:
            top = changed.search([self.mentions[place] for place in places], 1)
            best = {place: float(top.scores[i, 0]) for i, place in enumerate(places) if top.rows[i, 0] >= 0}
        asked = list(places) if of_all else list(best)
        present = self._present.search([self.mentions[place] for place in asked], self.width)
        found: dict[int, _Lists] = {}
        for i, place in enumerate(asked):
            rows = present.rows[i][present.rows[i] >= 0].tolist()
            is_near = place in best and (len(rows) < self.width or best[place] >= float(present.scores[i, -1]))
            found[place] = _Lists({self.kb.ids[row] for row in rows}, self._proposed(self.mentions[place]), is_near)
        return found

    def _proposed(self, mention: Mention) -> set[str]:
        prior = self.linker.prior
        return set() if prior is None else {i for i in prior.probabilities(mention.surface) if i in self.kb}

    def _index(self, versions: Sequence[Entity]) -> CandidateSource | None:
        """Return versions of entities, each by itself, as the source of candidates that the linker has."""
        if not versions:
            return None
        ids, names = [str(number) for number in range(len(versions))], [entity.name for entity in versions]
        if self._is_fuzzy:
            return FuzzyNames(ids, names)
        return NameIndex(ids, names, [entity.aliases for entity in versions])


def _changes(linker: Linker, state: str) -> _Changes:
    """Return what happened to the entities since a state of the knowledge base, known by its fingerprint."""
    kb = linker.kb
    same = [past for past in kb.revisions() if content_fingerprint(past.content) == state]
    if not same:
        return _Changes(everything=UNKNOWN)
    # Several revisions may say the same of all entities; only whose pictures are compared may differ between them.
    first, last = same[0].number, same[-1].number
    if linker.compares_pictures and _have_pictures(kb, first):
        return _Changes(everything=PICTURES)
    try:
        told = list(kb.differences(last))
    except KnowledgeBaseError as error:
        return _Changes(everything=str(error))
    total = int(same[-1].content, 16)
    for change in told:
        total = total if change.before is None else remove_hash(total, content_hash(change.before))
        total = total if change.after is None else add_hash(total, content_hash(change.after))
    changes = _Changes({change.id for change in told}, is_told=total == int(kb.revisions()[-1].content, 16))
    changes.versions = [entity for change in told for entity in (change.before, change.after) if entity is not None]
    if not changes.is_told:  # an entity of which something was erased may be there all the same
        more = [entity_id for entity_id in kb.changes(last) if entity_id not in changes.ids]
        changes.ids |= set(more)
        changes.versions += map(kb.entity, more)
    is_drawn = linker.given is not None and linker.given.file.has_ten
    needs_pictures = linker.compares_pictures and (not changes.is_told or any(e.pictures for e in changes.versions))
    if changes.ids or not changes.is_told:
        changes.everything = DRAWN if is_drawn else PICTURES if needs_pictures else ""
    return changes


def _have_pictures(kb: KnowledgeBase, since: int) -> bool:
    """Tell whether an entity that was touched since a revision has pictures, or is kept from being compared."""
    return any(entity_id in kb.kept_out or kb.entity(entity_id).pictures for entity_id in kb.changes(since))
