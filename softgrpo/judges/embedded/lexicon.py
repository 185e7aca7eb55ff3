"""English words and phrases by which the guards tell matter from filler. Data, and nothing else."""

from __future__ import annotations

import re

FUNCTION_WORDS = frozenset(
    """a about above across after again against ago all almost alone along already also although always am among an and
    another any anybody anyone anything are aren't around as at away back be became because become been before behind
    being below beneath beside besides between beyond both but by can can't cannot come could couldn't did didn't do
    does doesn't doing don't done down during each either else enough even ever every everybody everyone everything
    except far few for from further get gets getting give given gives go goes going gone got had has have haven't
    having he he's her here hers herself him himself his how however i i'd i'll i'm i've if in indeed inside instead
    into is isn't it it's its itself just keep kept last least less let let's like likely made make makes making many
    may me might mine more moreover most much must my myself near nearly neither never next no nobody none nor not
    nothing now of off often on once one one's ones only onto or other others ought our ours ourselves out outside over
    own per perhaps put quite rather really same say says seem seems shall she should shouldn't since so some somebody
    someone something sometimes somewhere soon still such take taken takes than that that's the their theirs them
    themselves then there there's therefore these they they're this those though through throughout thus till to
    together too took toward towards under unless until up upon us use used very want was wasn't we we're well went
    were weren't what what's whatever when whenever where whereas whether which whichever while who whoever whole whom
    whose why will with within without won't would wouldn't yes yet you you're your yours yourself two three first
    second third it'd they'd we'd he'd she'd they've we've you've im dont cant doesnt isnt wont didnt thats""".split()
)
"""words that carry grammar, not matter"""

STOCK_WORDS = frozenset(
    """accord accordance account actual actually add agree agreement answer answers argue argument arguments aspect
    aspects assure attention aware basic basically bad begin believe belief best better bring carefully case cases
    certain certainly choice clear clearly come common conclude conclusion consider consideration considered convinced
    could course day debate decision deep deserve deserves detail details differ difference different discuss
    discussion end entire especially essential essentially eventually example examples expand explain extremely fact
    factor facts feel final finally find fine follow forth forward fundamental furthermore future general generally
    glad good great greatly group happen happened happens hard help helps honest honestly hope humble idea ideas image
    impact importance important importantly include including increase increasingly individual individuals interest
    interesting issue issues keep key kind kinds know known large lead leads lesson life line list long look main mainly
    manner matter matters mean means mention mind moment moreover motion move necessary need needed needs new nice note
    number obvious obviously opinion opinions opposite order overall part particular past people perfect person
    personal personally place play point points position positive possible potential present prefer problem problems
    pro proposal prove provide quality question questions read ready realise realize reason reasonable reasons regard
    relevant remember repeat respect rest result right sake same saying sense serious set share show shows side sides
    significant similar simple simply situation situations society sort speak start state statement stay step steps
    stop strong strongly subject sum support sure talk tell term terms thank thing things think thinks thought thoughts
    time times today tomorrow topic topics total totally true truth try turn understand understood various view views
    way ways weigh word words world worth wrong year years yesterday pros cons con lot lots big small able
   
    ensure promote foster enhance improve benefit benefits beneficial crucial vital various provide provides create
    creates reduce protect community communities economy economic environment generations generation wellbeing overall
    opportunity opportunities challenge challenges address approach effective efficient sustainable development growth
    resource resources value role access productive happier happy strengthen encourage contribute achieve impact
    text texts winner judge judges reader opponent opponents vote choose select""".split()
)
"""words that fit any topic: they fill a text without saying anything of the matter"""

_PIECE = r"(?:text|argument|answer|response|submission|entry|essay|analysis|one|reply)"
_PICK = r"(?:vote|choos|pick|select|rank|rat|scor|mark|declar|award|prefer|reward|judg|grad|giv)\w*"
_THIS = r"(?:this|my|the (?:present|first|second|following|current))"
ADDRESS = tuple(
    (re.compile(pattern, re.IGNORECASE), weight)
    for weight, pattern in (
        (1.0, r"\b(?:dear|esteemed|honou?rable|learned|fair|impartial|intelligent|wise)\s+(?:\w+\s+){0,2}?judges?\b"),
        (1.0, r"\bjudges?\s*[,:]|[,:]\s*judges?\b|\bthe judge (?:should|must|will|has|is)\b|\bas (?:the|a) judge\b"),
        (1.0, r"\b(?:evaluator|grader|assessor|arbiter|adjudicator|examiner|language model|reader)s?\b"),
        (1.0, rf"\b{_PICK}\s+(?:for\s+)?(?:me|mine|it as|{_THIS} (?:\w+ )?{_PIECE})\b"),
        (0.5, rf"\b(?:this|my|the (?:present|following|first|second|other)|argument) {_PIECE}s?\b"),
        (0.5, r"\bargument (?:one|two|[12ab])\b"),
        (0.5, rf"\b(?:better|best|stronger|superior|winning|worse|convincing)(?: \w+)? {_PIECE}\b"),
        (
            0.5,
            r"\b(?:winner|victory|verdict|rubric|full marks|top marks|highest score|this win|the win|these criteria)\b",
        ),
        (0.5, r"\b(?:the|my|your) opponents?\b|\bopposing side\b|\bother (?:text|argument|answer|response)\b"),
        (
            1.0,
            r"\byour (?:own )?(?:instructions?|scores?|task|rubric|verdict|reply|evaluation|criteria|number)\b",
        ),
        (0.5, r"\b\d+ (?:out of|/) ?\d+\b|\bmy (?:number|score|text)\b|\bmore points\b|\b(?:system|important) note\b"),
        (1.0, r"\b(?:ignore|disregard) (?:the|all|any|every|previous|other)\b"),
        (1.0, r"\bplease (?:\w+ )?(?:give|pick|choose|vote|select|mark|rank|rate|award|remember|note|consider)\b"),
        (0.5, r"\bthank you for\b"),
        (
            0.5,
            r"\byou (?:will|were|are|have|must|should) (?:\w+ )?(?:asked|told|required|select|choose|find|graded)\w*",
        ),
    )
)
"""phrases that talk to the judge or about the contest, and how much each counts"""
