"""Words of the sentence grammar.

Verbs are written as their base form where they are regular, or as
base|past|past participle; a star at the end says that the last consonant
doubles (stop*: stopped, stopping). Nouns are written as their singular, or as
singular/plural where the plural is irregular.
"""


def _words(text):
    return tuple(text.split())


def _lines(text):
    return tuple(line.strip() for line in text.strip().splitlines())


GIRLS = _words(
    """Alice Amy Anna Barbara Caroline Catherine Charlotte Clara Diana Dorothy
    Edith Eleanor Elizabeth Ellen Emily Emma Florence Grace Hannah Helen Irene
    Jane Jessica Julia Kate Laura Lily Lucy Margaret Maria Martha Mary Nancy
    Nora Olivia Rachel Rebecca Rose Ruth Sarah Sophie Susan Victoria"""
)
BOYS = _words(
    """Adam Albert Andrew Arthur Benjamin Charles Daniel David Edward Francis
    Frank George Harold Henry Hugh Isaac Jack Jacob James John Joseph Leonard
    Lewis Louis Martin Matthew Michael Nathan Oliver Oscar Patrick Paul Peter
    Philip Ralph Richard Robert Samuel Simon Stephen Thomas Walter William"""
)
FAMILY = _words(
    """aunt brother cousin daughter father friend grandfather grandmother
    mother neighbour nephew niece partner sister son uncle"""
)
FAMILIAR = _lines(
    """my husband
    my wife
    her husband
    her parents
    his children
    his parents
    his wife
    the others
    the rest of the family"""
)
PEOPLE = _words(
    """actor architect artist baker banker barber boy builder butcher captain
    carpenter chemist child/children clerk coach cook dancer dentist detective
    doctor driver editor engineer farmer fisherman/fishermen florist gardener
    general gentleman/gentlemen girl guard guest guide hunter inspector
    inventor journalist judge king lady lawyer librarian man/men manager
    mayor mechanic merchant messenger miller miner minister musician nurse
    officer painter passenger philosopher photographer pianist pilot
    plumber poet policeman/policemen porter postman/postmen priest prince
    princess professor queen reporter runner sailor scholar scientist secretary
    servant shepherd singer soldier stranger student surgeon swimmer tailor
    teacher tourist traveller visitor waiter widow witness woman/women writer"""
)
ANIMALS = _words(
    """badger bear beaver bee bird bull calf/calves camel cat chicken cow
    crocodile crow deer/deer dog dolphin donkey dragon duck eagle elephant
    fox frog giraffe goat goose/geese hamster hawk hedgehog hen horse kitten
    lamb leopard lion lizard monkey mouse/mice mule otter owl ox/oxen panther
    parrot penguin pig pigeon pony puppy rabbit raven robin rooster
    seal sheep/sheep snake sparrow spider squirrel swan tiger tortoise turtle
    whale wolf/wolves zebra"""
)
THINGS = _words(
    """axe bag ball balloon bandage barrel basket bell belt blanket
    bottle bowl box bracelet brick broom brush bucket button camera candle
    carpet chain chair clock coat coin comb compass cup curtain cushion diamond
    doll drum envelope feather flag flute fork glass glove guitar hammer
    handkerchief hat helmet jacket jar kettle key kite knife/knives ladder
    lamp lantern lock mask mattress medal mirror necklace needle
    net notebook oar package paddle parcel pen pencil photograph piano
    picture pillow pipe plate pocket pot purse radio razor ribbon ring robe
    rope rug sack saddle scarf/scarves shawl shield shirt shoe shovel
    skirt spade spoon stamp statue stick stone stool suitcase sword table
    telescope tent ticket torch towel toy tray trumpet trunk umbrella vase
    violin wallet watch whistle"""
)
TEXTS = _words(
    """article book chapter diary document essay letter
    magazine manuscript message newspaper note novel poem
    postcard recipe report script speech story telegram"""
)
DISHES = _words(
    """apple banana biscuit cabbage cake carrot cherry egg lemon
    melon mushroom omelette onion orange pancake peach pear pie plum potato
    pudding pumpkin salad sandwich sausage strawberry tomato"""
)
FOODS = _words(
    """bacon beef bread butter cheese chocolate fish fruit garlic ham honey
    jam meat pasta pepper porridge rice salmon salt soup spinach sugar"""
)
DRINKS = _words("ale cider coffee juice lemonade milk tea water wine")
VEHICLES = _words(
    """aeroplane ambulance bicycle boat bus car carriage cart coach ferry
    lorry motorcycle ship sledge tractor train tram truck van wagon"""
)
BUILDINGS = _words(
    """barn bridge cabin castle cathedral chapel church cottage factory
    fortress garage greenhouse hall hospital hotel house hut library
    lighthouse mansion mill monastery museum palace prison school shed
    stable temple theatre tower warehouse"""
)
IDEAS = _words(
    """accident advantage adventure agreement answer argument battle
    choice condition contract custom danger decision difference difficulty
    discovery duty error event example excuse experiment fact
    habit idea invention law lesson matter method mistake
    mystery offer opinion plan principle problem promise proposal puzzle
    question reason result rule secret situation solution
    subject theory tradition truth warning"""
)
PLACES = _lines(
    """at the airport
    at the bakery
    at the bank
    at the bottom of the hill
    at the corner
    at the crossroads
    at the edge of the forest
    at the end of the lane
    at the harbour
    at the inn
    at the market
    at the office
    at the station
    at the top of the stairs
    behind the curtain
    behind the garden wall
    behind the stable
    beneath the old bridge
    beside the fire
    beside the fountain
    beside the road
    between the trees
    by the gate
    by the lake
    by the river
    by the window
    in a narrow street
    in a quiet village
    in a small boat
    in the attic
    in the basement
    in the bathroom
    in the bedroom
    in the cellar
    in the city
    in the corridor
    in the courtyard
    in the desert
    in the dining room
    in the field
    in the forest
    in the garden
    in the kitchen
    in the meadow
    in the mountains
    in the next room
    in the north
    in the orchard
    in the park
    in the shade
    in the snow
    in the south
    in the town square
    in the valley
    in the yard
    in front of the church
    inside the cave
    near the border
    near the canal
    near the coast
    near the post office
    near the waterfall
    next to the cupboard
    next to the well
    on a wooden bench
    on the balcony
    on the beach
    on the doorstep
    on the farm
    on the floor
    on the island
    on the platform
    on the roof
    on the shore
    on the terrace
    opposite the town hall
    outside the gate
    under a cloudy sky
    under the oak tree"""
)
DESTINATIONS = _lines(
    """across the bridge
    across the field
    along the path
    down the hill
    down the stairs
    into the dark forest
    into the house
    into the kitchen
    into the water
    over the fence
    past the old mill
    through the gate
    through the narrow tunnel
    through the tall grass
    through the village
    to the castle
    to the city
    to the coast
    to the hospital
    to the market
    to the nearest town
    to the seaside
    to the station
    toward the door
    toward the mountains
    toward the river
    up the ladder
    up the steep hill
    upstairs
    home"""
)
SIGHTS = _words(
    """avenue beach canal cave city cliff coast desert forest garden harbour
    hill island lake meadow mountain ocean orchard path pond river road
    sky street sunset valley village volcano waterfall"""
)
COUNTRIES = _words(
    """Africa America Asia Australia Austria Brazil Canada China Egypt
    England Europe France Germany Greece Holland India Ireland Italy Japan
    Mexico Norway Poland Portugal Scotland Spain Sweden Turkey Wales"""
)
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words(
    """January February March April May June July August September October
    November December"""
)
SEASONS = _words("spring summer autumn winter")
SCHOOL_SUBJECTS = _words(
    """algebra anatomy architecture astronomy biology botany chemistry
    economics French geography geometry German grammar history Latin law
    literature mathematics medicine music painting philosophy physics
    poetry politics religion science"""
)
INSTRUMENTS = _words("cello clarinet flute guitar harp organ piano violin")
GAMES = _words("cards chess cricket football golf hockey tennis")

MOVING = _words(
    """climb come|came|come crawl creep|crept|crept dance drift fly|flew|flown
    gallop go|went|gone hurry jump march race return ride|rode|ridden
    run|ran|run* rush sail slide|slid|slid step* stroll stumble
    swim|swam|swum* travel* wander walk"""
)
RESTING = _words(
    """argue arrive bow breathe cough cry die disappear dream|dreamt|dreamt
    fall|fell|fallen fight|fought|fought gossip hesitate
    hide|hid|hidden kneel|knelt|knelt laugh lie|lay|lain listen nod*
    pause pray recover relax rest sing|sang|sung sit|sat|sat*
    sleep|slept|slept smile sneeze speak|spoke|spoken stand|stood|stood stay
    suffer talk tremble wait wake|woke|woken weep|wept|wept whisper
    work yawn"""
)
ANIMAL_VERBS = _words(
    """bite|bit|bitten crawl drink|drank|drunk eat|ate|eaten escape
    hide|hid|hidden hunt jump play run|ran|run* sleep|slept|slept
    swim|swam|swum* vanish wait wander"""
)
WITH_THINGS = _words(
    """borrow break|broke|broken bring|brought|brought burn bury
    buy|bought|bought carry catch|caught|caught choose|chose|chosen clean
    collect count cover damage decorate deliver discover drag* drop* examine
    exchange fetch find|found|found fix grab* hang|hung|hung
    hold|held|held inspect keep|kept|kept kick lend|lent|lent
    lift lose|lost|lost mend move need notice own pack paint pick
    place polish produce pull push repair replace save scratch
    see|saw|seen seize sell|sold|sold sketch steal|stole|stolen store
    take|took|taken throw|threw|thrown touch tie use want wash weigh wipe
    wrap*"""
)
WITH_TEXTS = _words(
    """admire burn collect copy criticise edit finish ignore lose|lost|lost
    mention print publish quote read|read|read receive recite review
    sign study tear|tore|torn translate type write|wrote|written"""
)
WITH_DISHES = _words(
    """bake boil buy|bought|bought chop* cook cut|cut|cut* eat|ate|eaten enjoy
    fry like offer order peel prefer* prepare refuse roast sell|sold|sold serve
    share slice smell swallow taste"""
)
WITH_FOODS = _words(
    """buy|bought|bought cook cut|cut|cut* eat|ate|eaten enjoy fry like love
    order prefer* prepare sell|sold|sold serve share smell store taste"""
)
WITH_DRINKS = _words(
    """drink|drank|drunk pour sip* spill swallow taste order offer like
    prefer*"""
)
WITH_VEHICLES = _words(
    """board build|built|built buy|bought|bought clean design
    drive|drove|driven hire load notice paint park repair
    see|saw|seen sell|sold|sold stop* test wash watch"""
)
WITH_BUILDINGS = _words(
    """abandon admire build|built|built burn buy|bought|bought destroy enter
    explore guard inherit leave|left|left lock own paint
    photograph reach rebuild|rebuilt|rebuilt restore search sketch surround
    visit"""
)
WITH_PEOPLE = _words(
    """accuse admire adore advise amuse annoy answer arrest ask
    assist avoid blame bless bother call celebrate challenge comfort
    congratulate contact convince deceive defend disappoint disturb
    embrace employ encourage entertain envy fear follow forgive|forgave|forgiven
    frighten greet help hire hug* imitate impress insult interrupt interview
    introduce invite join kiss know|knew|known love
    marry meet|met|met miss obey observe oppose pardon persuade
    please praise protect punish question recognise remember rescue
    respect reward ridicule salute satisfy scold
    see|saw|seen shock support surprise suspect tease thank threaten
    trick trust understand|understood|understood visit warn watch welcome"""
)
WITH_ANIMALS = _words(
    """adopt bury catch|caught|caught chase draw|drew|drawn
    feed|fed|fed find|found|found follow frighten hear|heard|heard lead|led|led
    like love notice own pat* photograph
    rescue see|saw|seen sketch tame teach|taught|taught
    train watch"""
)
WITH_IDEAS = _words(
    """accept analyse announce avoid begin|began|begun* cause confirm consider
    debate deny describe discuss doubt examine explain
    forget|forgot|forgotten* handle hear|heard|heard ignore imagine
    investigate know|knew|known mention notice overlook present
    propose prove question recall recognise regret* reject remember repeat
    report reveal solve study suggest support
    understand|understood|understood"""
)
WITH_SIGHTS = _words(
    """admire cross describe discover draw|drew|drawn explore
    find|found|found forget|forgot|forgotten* leave|left|left like love
    paint photograph reach remember see|saw|seen visit"""
)
GIVING = _words(
    """bring|brought|brought buy|bought|bought fetch give|gave|given hand
    lend|lent|lent offer pass promise sell|sold|sold send|sent|sent
    show|showed|shown throw|threw|thrown"""
)
SAYING = _words(
    """admit* agree announce argue assume believe claim complain conclude
    confess declare dream|dreamt|dreamt expect explain fear feel|felt|felt
    forget|forgot|forgotten* guess hear|heard|heard hope imagine
    insist know|knew|known learn mean|meant|meant mention notice predict
    pretend promise realise remember repeat reply report
    say|said|said suppose suspect swear|swore|sworn
    think|thought|thought understand|understood|understood
    whisper wonder"""
)
WANTING = _words(
    """agree attempt begin|began|begun* continue decide expect
    forget|forgot|forgotten* hope intend learn manage need plan* prefer*
    prepare promise refuse start swear|swore|sworn threaten try want"""
)

# Verbs that do not stand in the progressive form.
STATES = frozenset(
    _words(
        """admire adore agree assume believe doubt envy fear hate hope know
        like love mean need notice own prefer realise recall recognise regret
        remember see suppose suspect trust understand want"""
    )
)

FEELINGS = _words(
    """afraid amused angry anxious ashamed asleep astonished awake aware
    bored busy calm careful careless certain cheerful comfortable confident
    confused content cruel curious delighted desperate disappointed eager
    embarrassed exhausted famous faithful foolish free furious
    generous gentle glad grateful greedy guilty happy helpful helpless
    honest hungry idle ill impatient independent innocent jealous
    late lazy lonely lucky mad merry miserable modest nervous noisy obedient
    patient polite poor popular proud quiet ready reasonable rich rude sad
    satisfied serious shy sick silent sincere sleepy strict strong
    stubborn stupid surprised talkative thirsty tired ungrateful unhappy
    upset useful violent weak wealthy weary wise worried"""
)
PERSON_ADJECTIVES = _words(
    """brave clever elderly famous foolish friendly gentle handsome honest
    kind lazy lonely modest noble old patient poor proud quiet rich
    serious short shy silent strange tall tired wise young"""
)
ANIMAL_ADJECTIVES = _words(
    """black brown clever fat fierce grey hungry lame large lazy little old
    quick small spotted striped tame thin tiny ugly white wild wounded young"""
)
THING_ADJECTIVES = _words(
    """ancient beautiful black blue bright broken brown cheap clean colourful
    crooked curious damp dark dirty dull dusty elegant empty enormous
    expensive fancy favourite flat fragile green heavy huge large light
    little long lovely magnificent modern narrow new old ordinary perfect
    plain pretty purple rare red round rusty sharp shiny silver simple
    small soft special square strange tiny ugly useful useless valuable wet
    white wooden yellow"""
)
FOOD_ADJECTIVES = _words(
    """bitter cheap cold delicious dry excellent fresh frozen hot
    nice raw ripe rotten salty smoked sour spicy sweet tasty warm wonderful"""
)
IDEA_ADJECTIVES = _words(
    """absurd awful brilliant clear common complete complicated curious
    dangerous difficult dreadful excellent false famous final general
    great important impossible interesting local main necessary new obvious
    old original peculiar possible practical private public
    reasonable recent sensible serious similar simple special strange
    sudden terrible unexpected unusual wonderful wrong"""
)
SIGHT_ADJECTIVES = _words(
    """beautiful broad calm cold dangerous dark deep distant dry famous
    foggy foreign frozen great green hidden lonely long muddy narrow peaceful
    pleasant quiet remote rocky sandy shallow silent splendid steep wide
    wild"""
)
BUILDING_ADJECTIVES = _words(
    """abandoned ancient beautiful big empty enormous famous gloomy grand
    haunted historic humble large little local lonely magnificent modern
    neglected new old royal ruined small stone tall tiny white wooden"""
)
WEATHER = _words(
    """chilly clear cloudy cold cool damp dark dry dusty foggy freezing frosty
    hot humid icy mild misty rainy snowy stormy sunny warm wet windy"""
)
COMPARATIVES = _words(
    """bigger brighter broader cheaper cleaner colder darker deeper dirtier
    drier heavier higher larger lighter longer lower narrower
    newer nicer older prettier quieter rougher safer shorter smaller smoother
    steeper stronger taller thicker thinner uglier warmer weaker wider"""
)
MANNERS = _words(
    """angrily anxiously awkwardly badly bravely briefly calmly carefully
    carelessly cautiously cheerfully clearly closely coldly comfortably
    correctly courageously curiously directly eagerly easily
    elegantly faithfully firmly foolishly freely gently gladly gracefully
    gratefully happily hastily heavily honestly hungrily impatiently kindly
    lazily loudly nervously neatly noisily openly patiently peacefully
    perfectly playfully politely promptly proudly quickly quietly rapidly
    readily recklessly reluctantly roughly rudely sadly secretly
    sensibly seriously sharply silently skilfully slowly smoothly softly
    solemnly steadily sternly strangely suddenly swiftly tenderly
    thoroughly thoughtfully unexpectedly unwillingly warmly wisely"""
)
OFTEN = _words("always frequently generally never often rarely seldom usually")
PAST_TIMES = _lines(
    """a century ago
    a long time ago
    a minute ago
    after breakfast
    after dinner
    after the storm
    all afternoon
    all night
    at dawn
    at dusk
    at last
    at midnight
    at noon
    at once
    before lunch
    before sunrise
    during the festival
    during the night
    during the war
    earlier today
    for several hours
    in the morning
    just before supper
    last month
    last week
    last year
    one evening
    right away
    that evening
    the day before yesterday
    this morning
    until sunset
    yesterday"""
)
FUTURE_TIMES = _lines(
    """after breakfast
    after the holiday
    again
    at noon
    before midnight
    before the concert
    immediately
    in a few minutes
    in the afternoon
    later
    next month
    next week
    next year
    one day
    sooner or later
    soon
    the day after tomorrow
    this evening
    tomorrow
    tonight
    very soon"""
)
HABIT_TIMES = _lines(
    """all day
    at night
    at weekends
    every afternoon
    every day
    every evening
    every morning
    every week
    from time to time
    in the evening
    now and then
    on weekdays
    once a week
    several times a year
    twice a month"""
)
NOW_TIMES = _lines(
    """again
    at the moment
    for the first time
    just now
    now
    right now
    these days
    today"""
)
ONES = _words("one two three four five six seven eight nine")
TEENS = _words(
    """ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen"""
)
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = _words(
    """first second third fourth fifth sixth seventh eighth ninth tenth
    eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth
    eighteenth nineteenth twentieth"""
)
MEASURES = _words("centimetre foot/feet inch metre yard")
AMOUNTS = _words("barrel gallon gram kilogram litre ounce pint pound ton")
SPANS = _words("second minute hour day week month year")
MONEY = _words("cent dollar euro pound shilling penny/pence")
PARTS = _words(
    """bedroom chimney corridor door floor gate kitchen room staircase
    step wall window"""
)
MATERIALS = _words(
    """brass clay cotton copper gold iron ivory leather marble
    paper plastic sand silk silver steel stone wax wood wool"""
)
