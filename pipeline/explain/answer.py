"""What `medley explain` answers: dataclasses, their JSON document, and lines for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pipeline.explain.base import Game
from pipeline.explain.by_history import HistoryShares
from pipeline.printable import printable
from pipeline.recommend import kind_of
from pipeline.storage.documents import Json

BAR_LETTERS = 24
NOTHING = "none"


@dataclass(frozen=True)
class FirstStage:
    """The first stage's score of a user and an item: the inner product of their published vectors.

    fixed: the members of a blend whose items are the same whatever their content. game: of modalities; None where no
    item of the model can be made again from content. history: None where users are no sums of what they chose.
    """

    model: str
    fixed: tuple[str, ...]
    score: float
    game: Game | None
    history: HistoryShares | None

    def as_json(self) -> Json:
        """`first_stage` in the document."""
        history = None if self.history is None else asdict(self.history)
        return {"score": self.score, **_split(self.game), "history": history}

    def lines(self) -> list[str]:
        """By modality, and by past choices."""
        if self.game is None:
            modalities = [f"  by modality it cannot be told: {self.model} {kind_of(self.model).not_remade}"]
        else:
            modalities = _game_lines(self.game, self._base_is())
        return [*modalities, *self._history_lines()]

    def _base_is(self) -> str:
        if not kind_of(self.model).ids:
            return "nothing is said without any content"
        others = f", and by all of {' and '.join(self.fixed)}" if self.fixed else ""
        return f"what is said without any content, by the item's id and popularity or by its being new{others}"

    def _history_lines(self) -> list[str]:
        if self.history is None:
            return []
        choices = [("", share, name) for name, share in self.history.largest()]
        others = [("base", self.history.base, "what suits everyone")]
        others += [
            ("rest", value, f"what {'their ' * (name == 'profile')}{name} says")
            for name, value in self.history.rest.items()
        ]
        lines = [f"  {name:<6} {value:+9.4f}  {what}" for name, value, what in others if round(value, 4)]
        return ["by past choices:", *_bars(choices, 6), *lines]


@dataclass(frozen=True)
class Explanation:
    """What is published of the items asked about. titles: in the order asked. missing: modality to the reason."""

    index: str
    items: list[str]
    titles: list[str]
    score: float
    missing: dict[str, str]

    def _named(self) -> list[str]:
        return [f"{item} ({title})" if title else item for item, title in zip(self.items, self.titles, strict=True)]

    def _missing_lines(self) -> list[str]:
        return [f"  no {name}: {reason}" for name, reason in self.missing.items()]


@dataclass(frozen=True)
class AlikeItems(Explanation):
    """How alike two items are: the cosine of their fused vectors, by modality."""

    game: Game

    def as_json(self) -> Json:
        """The document of `medley explain --json`."""
        return {
            "index": self.index, "items": self.items, "score": self.score, **_split(self.game), "missing": self.missing
        }  # fmt: skip

    def as_text(self) -> str:
        """The same for people: a line for each part, with its share of all parts as a bar."""
        first = f"{' and '.join(self._named())}: cosine {self.score:.4f}"
        lines = [first, *_game_lines(self.game, "nothing is said without any content"), *self._missing_lines()]
        return "\n".join(map(printable, lines))


@dataclass(frozen=True)
class ListedItem(Explanation):
    """What an item's score in a user's list comes from.

    chosen: whether the user has the item already. rank: in the list, None where it is not among its items. score: as
    in the list, or as it would be there. groups: the game of the score's logit, over the re-ranker's groups of inputs;
    None where the list has the first stage's order and scores.
    """

    user: str
    chosen: bool
    rank: int | None
    groups: Game | None
    first: FirstStage

    @property
    def logit(self) -> float:
        """log(p / (1 - p)) of a score that is a probability."""
        assert self.groups is not None
        return float(self.groups.values[frozenset(self.groups.players)][0])

    def as_json(self) -> Json:
        """The document of `medley explain --json`.

        `reranked`: null, or `logit` = base + the sum of contributions, and score = 1 / (1 + exp(-logit)).
        `first_stage`: its score = base + the sum of contributions, and what past choices add.
        """
        reranked = None if self.groups is None else {"logit": self.logit, **_split(self.groups)}
        return {
            "index": self.index,
            "items": self.items,
            "user": self.user,
            "chosen": self.chosen,
            "rank": self.rank,
            "score": self.score,
            "reranked": reranked,
            "first_stage": self.first.as_json(),
            "missing": self.missing,
        }

    def as_text(self) -> str:
        """The same for people: a line for each part, with its share of all parts as a bar."""
        about = f"user {self.user} and {self._named()[0]}:"
        place = "not in their list" if self.rank is None else f"rank {self.rank} of their list"
        chosen = ["  chosen by this user already, so it is not recommended"] if self.chosen else []
        if self.groups is None:
            head = [f"{about} {place}, score {self.score:.4f}", *chosen]
        else:
            head = [
                f"{about} {place}, probability {self.score:.4g}, which is the logit {self.logit:.4f}",
                *chosen,
                *_game_lines(self.groups, "what is said of an average user and item"),
                f"the first stage's score is {self.first.score:.4f}:",
            ]
        return "\n".join(map(printable, [*head, *self.first.lines(), *self._missing_lines()]))


def _split(game: Game | None) -> Json:
    """A number = base + the sum of contributions, each part's Shapley value; all None without a game.

    values: the number from every subset of the parts that are there, by name, such as text+image.
    """
    if game is None:
        return dict.fromkeys(("base", "contributions", "values"))
    held = _held(game)
    added = game.contributions()
    inside = sorted((chosen for chosen in game.values if chosen <= set(held)), key=len)
    names = ("+".join(name for name in held if name in chosen) or NOTHING for chosen in inside)
    return {
        "base": float(game.base[0]),
        "contributions": {name: float(added[name][0]) for name in held},
        "values": {name: float(game.values[chosen][0]) for name, chosen in zip(names, inside, strict=True)},
    }


def _held(game: Game) -> list[str]:
    return [name for name, there in zip(game.players, game.held[0], strict=True) if there]


def _game_lines(game: Game, base_is: str) -> list[str]:
    added, held = game.contributions(), _held(game)
    width = max([6, *(len(name) for name in game.players)])
    bars = _bars([(name.replace("_", " "), float(added[name][0]), "") for name in held], width)
    return [*bars, f"  {'base':<{width}} {float(game.base[0]):+9.4f}  {base_is}"]


def _bars(parts: list[tuple[str, float, str]], width: int) -> list[str]:
    """A line for each name, value and what stands behind its bar, the value's share of all."""
    total, lines = sum(abs(value) for _, value, _ in parts) or 1.0, []
    for name, value, behind in parts:
        share = abs(value) / total
        bar = ("█" if value >= 0 else "░") * max(round(BAR_LETTERS * share), value != 0)
        lines.append(f"  {name:<{width}} {value:+9.4f}  {bar:<{BAR_LETTERS}} {share:4.0%}  {behind}".rstrip())
    return lines
