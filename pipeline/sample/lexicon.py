"""The words of the shop. Nothing here names an instrument or a picture: those are told by clips and sleeves alone."""

from __future__ import annotations

Words = tuple[str, ...]

STYLE: dict[str, Words] = {
    "folk": ("folk music", "traditional folk", "fireside folk balladry", "unhurried folk song"),
    "jazz": ("jazz", "small-group jazz", "after-hours jazz", "swinging modern jazz"),
    "soul": ("soul music", "deep soul", "gospel-tinged soul", "soul and rhythm and blues"),
    "reggae": ("reggae", "roots reggae", "Jamaican reggae", "heavyweight reggae"),
    "rock": ("rock music", "garage rock", "loud, plain rock and roll", "hard rock"),
    "electronic": ("electronic music", "electronic dance music", "electronic club music", "electronic techno"),
    "samba": ("samba", "samba and bossa nova", "Brazilian samba", "carnival samba"),
    "minimal": ("minimalist music", "slow minimalist works", "minimalist chamber music", "minimalist drone music"),
}

# How the shop files a record, said once more in plain words at the end of its blurb.
SHELF: dict[str, Words] = {**{genre: (genre,) for genre in STYLE}, "minimal": ("minimalist",)}

FEELING: dict[str, Words] = {
    "calm": (
        "it is calm music, patient and even as breathing",
        "the whole of it is peaceful and unhurried, a quiet hour kept whole",
        "everything rests easily; nothing here raises its voice",
    ),
    "joyful": (
        "it is a joyful thing, all grin and open windows",
        "the mood is bright and happy, and hard to sit still through",
        "there is laughter in the room and you can tell: a sunny, generous set",
    ),
    "melancholy": (
        "it is a melancholy record, sad and dignified",
        "the mood is blue throughout, a long look back at what was lost",
        "grief is never far away, and it is met with tenderness",
    ),
    "fierce": (
        "it is fierce, angry and wide awake from the first bar",
        "the playing is furious, close to the edge and proud of it",
        "there is real violence in the attack; play it loud or not at all",
    ),
    "dreamy": (
        "it is dreamy and weightless, half asleep in the best way",
        "the mood is hazy and unreal, as if heard through a dream",
        "everything drifts and blurs, floating somewhere above the floor",
    ),
}

TIMES: dict[str, Words] = {
    "1960s": ("cut live to two tracks in {year}", "from {year}, in the first blush of stereo"),
    "1970s": ("from the long-haired middle of the seventies, {year}", "taped over one long week in {year}"),
    "1980s": ("made in {year}, when everything turned neon and digital", "an eighties session, dated {year}"),
    "1990s": ("from {year}, burned to disc in somebody's spare room", "a late-century find, issued in {year}"),
}

STORY: dict[str, Words] = {
    "sea": (
        "the songs put out to sea: tides, gulls, salt on the rope and a harbour light that keeps getting smaller",
        "sailors, drowned captains and a lighthouse keeper's daughter walk through every verse",
        "side two is one long voyage, with storms off the cape and a becalmed week among whales",
        "listen for the fishing boats coming home over a grey swell, nets full, deck lamps lit",
    ),
    "city": (
        "the songs walk the city after midnight: taxis, neon, wet pavements and a stranger on the last subway",
        "rooftops, traffic and corner shops crowd into every verse, with the rent overdue",
        "side two is one evening downtown, from rush hour to the street sweepers",
        "listen for apartment windows, crosstown buses and eight million people failing to sleep",
    ),
    "winter": (
        "the songs are deep in winter: snow on the sill, frozen rivers and breath hanging in the air",
        "ice, bare birches and a sledge track lead through every verse to a stove",
        "side two is the longest night of the year, with a blizzard against the shutters",
        "listen for the frost at the pane, mittens drying, and the thaw that does not come",
    ),
    "love": (
        "the songs are love letters: a first kiss, a jealous week, two names on one mailbox",
        "sweethearts meet, marry and part in every verse, and nobody is to blame",
        "side two is one romance from glance to goodbye, with the wedding in the middle",
        "listen for the confession held back until the very last line: darling, stay",
    ),
    "machines": (
        "the songs are about machines: turbines, assembly lines and a robot that learns to count",
        "engines, circuits and clocking-in cards turn over in every verse",
        "side two is a night shift at the power station, with pistons, valves and warning lights",
        "listen for the factory whistle, the conveyor belts and an android's first question",
    ),
    "desert": (
        "the songs cross the desert: dunes, caravans, a dry well and the sun like a hammer",
        "camels, mirages and a road without shade run through every verse",
        "side two is a trek over the sands, from oasis to canyon by starlight",
        "listen for the scorpions at dusk, the dust wind and the last canteen being passed round",
    ),
}

# Of artists.
FIRST_NAMES: Words = (
    "Ada", "Bram", "Celia", "Dario", "Edith", "Femi", "Greta", "Hugo", "Imani", "Jonas", "Kerstin", "Lev", "Mirela",
    "Nils", "Odile", "Pavel", "Quincy", "Rosa", "Soren", "Tilda", "Umberto", "Vera", "Wim", "Yara", "Zeno",
)  # fmt: skip
LAST_NAMES: Words = (
    "Abara", "Bellweather", "Castellan", "Dorn", "Eklund", "Farouk", "Galloway", "Hallam", "Ibsen", "Juneau",
    "Kowal", "Lindqvist", "Marchetti", "Nakata", "Okafor", "Pereira", "Quist", "Ravel-Smith", "Santoro", "Tremaine",
    "Ulloa", "Vasko", "Whitlock", "Yilmaz", "Zander",
)  # fmt: skip
NOUNS: Words = (
    "Parade", "Ministry", "Almanac", "Committee", "Arcade", "Bureau", "Union", "Society", "Exchange", "Theory",
)  # fmt: skip

RULES: dict[str, Words] = {
    "blurb": (
        "{opening}. {story}. {feeling}. {story_again}. {closing}.",
        "{feeling}. {opening}. {story}. {story_again}. {closing}.",
        "{opening}. {feeling}. {story}. {closing}. {story_again}.",
        "{story}. {opening}. {story_again}. {feeling}. {closing}.",
    ),
    "opening": (
        "{style} from {artist}, {times}",
        "{times}: {artist} and an hour of {style}",
        "this is {style} as {artist} heard it, {times}",
        "{style}, {times}, by {artist}",
    ),
    "closing": (
        "{condition}, on the {shelf} shelf",
        "{who} of the {shelf} shelf will want it",
        "{condition}, and {who} of the {shelf} shelf will want it",
        "we took {few} copies for the {shelf} shelf and kept one",
    ),
    "condition": (
        "a clean copy in a good sleeve",
        "light marks, plays through without a skip",
        "unplayed old stock",
        "small tear at the corner, vinyl like new",
        "a second pressing, flat and quiet",
    ),
    "who": ("regulars", "old friends", "the back-room crowd", "patient collectors"),
    "few": ("three", "four", "half a dozen", "nine"),
    "first": FIRST_NAMES,
    "last": LAST_NAMES,
    "colour": ("Amber", "Violet", "Scarlet", "Silver", "Ochre", "Indigo", "Copper", "Ivory", "Cobalt", "Crimson"),
    "animal": ("Herons", "Foxes", "Magpies", "Badgers", "Otters", "Wolves", "Larks", "Moths", "Hares", "Crows"),
    "noun": NOUNS,
}

ARTIST: dict[str, Words] = {
    "folk": ("{first} {last}", "{first} & {first} {last}", "The {last} Family"),
    "jazz": ("The {first} {last} Trio", "{first} {last} Quartet", "{last} & {last}"),
    "soul": ("{first} {last} & the {animal}", "The {colour} {animal}", "{first} {last}"),
    "reggae": ("{first} {last} & the Upfront {animal}", "King {first}", "The {colour} {noun}"),
    "rock": ("The {animal}", "{colour} {noun}", "The {last} {noun}"),
    "electronic": ("{last} {noun}", "{colour} {noun} 2000", "{first}-{last}"),
    "samba": ("{first} do {last}", "Conjunto {last}", "{first} {last} e os {animal}"),
    "minimal": ("{first} {last}", "Ensemble {last}", "{last} / {last}"),
}

TITLE: dict[str, Words] = {
    "any": ("{mood} {thing}", "{thing} for the {mood}", "The {mood} {thing}", "{moment}, {mood}", "{mood} {moment}"),
    "calm": ("Quiet", "Gentle", "Still", "Even", "Restful", "Patient", "Slow"),
    "joyful": ("Glad", "Bright", "Merry", "Laughing", "Sunny", "Jubilant", "Happy"),
    "melancholy": ("Blue", "Lonesome", "Sorrowful", "Fading", "Forlorn", "Late", "Wistful"),
    "fierce": ("Furious", "Savage", "Burning", "Reckless", "Wild", "Bitter", "Ruthless"),
    "dreamy": ("Hazy", "Floating", "Drowsy", "Lucid", "Weightless", "Sleeping", "Faraway"),
    "thing": ("Letters", "Rooms", "Answers", "Hours", "Hands", "Promises", "Stories", "Voices", "Measures", "Company"),
    "moment": (
        "Sunday",
        "Eleven O'Clock",
        "Intermission",
        "Before Noon",
        "Afterwards",
        "Twice",
        "Overture",
        "Tomorrow",
    ),
}

# What a buyer says of their own taste: the first genre is the one they like best.
PROFILE: dict[str, Words] = {
    "profile": (
        "{genres}. {mood}. {theme}.",
        "{mood}. {genres}. {theme}.",
        "{theme}. {genres}. {mood}.",
    ),
    "genres": (
        "{style} before anything else, then {style_after}",
        "mostly {style}, and some {style_after}",
        "give me {style}; {style_after} if there is none",
    ),
    "mood": ("I like it best when {feeling}", "a keeper is one where {feeling}"),
    "theme": ("a story I never tire of: {story}", "and always this: {story}"),
}
