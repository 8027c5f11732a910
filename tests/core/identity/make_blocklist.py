"""Make ``src/bursar/infra/blocked_passwords.txt`` out of common words: ``python tests/core/identity/make_blocklist.py``.

The words were written down for this purpose; no leaked list was copied. Digits and symbols around a word, look-alike
characters, capital letters and repetition are undone before a password is looked up, so the file holds plain words,
pairs of them, phrases and keyboard walks.
"""

from itertools import permutations, product
from pathlib import Path

PLACE = Path(__file__).resolve().parents[3] / "src" / "bursar" / "infra" / "blocked_passwords.txt"


def words(text: str) -> list[str]:
    """Return the words of ``text``."""
    return text.split()


TOP = words("""
password passwort passwd pass admin administrator root user login welcome letmein master secret qwerty qwertz azerty
monkey dragon sunshine princess shadow superman batman football baseball soccer hockey iloveyou love lovely hello
freedom whatever trustno access flower summer winter spring autumn money finance bank banking account invoice budget
computer internet server system network office company business work money security secure private changeme change
default guest test testing temp demo sample example backup database oracle mysql postgres cisco google apple
microsoft windows linux amazon azure cloud samsung facebook please enter open sesame start begin angel baby ninja
killer pepper ginger cookie cheese chocolate coffee orange banana silver golden diamond tiger eagle lion horse
""")

MORE = words("""
accounting accountant acrobat adidas adventure airplane alabama alaska album alchemy alien alpha america anaconda
anarchy android animal anime antelope apollo april arcade arctic arizona arsenal artist asdf asdfgh asdfghjkl asshole
astronaut athena atlanta atlantis august australia austria avatar avenger babygirl badger balance balloon barcelona
basketball battery beach bear beautiful beauty beaver bella berlin bicycle bigdaddy bigdog bitcoin blackberry blackjack
blessed blizzard blossom blue bluebird boomer boston bowling boxing brandon brasil brazil broncos brother bubba bubbles
buddy buffalo bulldog bullet bursar butter buttercup butterfly cactus calendar california camaro camera canada candle
candy captain cardinal caroline carpenter cash casino castle catalina catch celtic champion chance chaos charger
chelsea cherry chester chevrolet chicago chicken chief china chopper christmas cinderella classic claudia clover
cobra cocacola coconut collection college colorado comet commander concrete connect control cooper copper corona
corvette cowboy cowboys coyote crazy creative cricket crimson crystal cupcake curtis cyber cyclone dakota dallas dance
dancer darkness darling december defender delta denver desert destiny detroit devil dinosaur director discover disney
doctor dolphin dolphins donkey doodle dolor dortmund dreamer dreams driver dynamite earth easter eclipse edelweiss
einstein electric elephant elite emerald eminem empire energy engineer england enigma enterprise eternity europe
everton evolution excalibur express extreme falcon falcons family fantasy fender ferrari fiesta filter fireball
firebird firefly fireman fisher fishing florida flowers forest forever formula fortress fortune france frankfurt
friday friend friends froggy frosty fuckoff fuckyou future galaxy gamecube gameover garden garfield gateway gemini
general genesis genius germany ghost giants gibson gladiator global goblin godzilla goldfish golfer goodluck gorilla
gotham grace grandma graphics grateful green gunner guitar hallo hamburg hammer handsome happiness happy harley
harmony heaven hercules heritage hidden highland hollywood homework honda honey horizon hospital hotdog hotmail
hunter hurricane icecream iceman imagine impala independent indiana infinity inside integra intel inter ironman
island italia italy jackass jackson jaguar january jasmine jedi jellybean jessica jesus jewels journey juice juliet
june jungle jupiter justice justin juventus kangaroo karate kawasaki keyboard king kingdom kitten kitty knight kodiak
labrador ladybug lakers landing laptop laser legend lemonade leopard letmein leverage liberty library lightning
liverpool lollipop london lonely looking lucky lunch macintosh maddog madison madonna madrid magic magnolia mailman
manager mango marathon marina marine mario marlboro martini marvel master matrix maverick melody member memory mercedes
merlin metallic metallica mexico miami midnight military million minecraft miracle mission mobile monday monitor
monster montana morning mother motorola mountain muffin munich music mustang mystery napoleon natasha naruto nascar
natural nebraska network neutron newyork nintendo nirvana nissan november number nutella october octopus olympus omega
onelove orchid orion outlaw oxford oxygen packard packers paladin panama panda panther panthers paradise paris
partner passion passport patriot patriots payment payroll peaches peanut pebbles penguin people perfect phantom
phoenix phone photo pickle pikachu pilot pineapple pirate pizza planet platinum player playstation poker pokemon
police pookie popcorn porsche portugal power powers precious predator prelude president pretty private prince
princess producer professor profit prometheus property prosperity pumpkin puppy purple python queen quest rabbit
racing radio raiders rainbow rangers rascal raven reality rebel redbull reddog redhead redskins redsox remember
renault report republic rescue revenue revolution ricardo rocket rocknroll rockstar romance romeo roses royal runner
russia sailing sailor salary salmon samurai saturday saturn savings scarface school science scooter scorpio scorpion
scotland seattle senior september serenity service shanghai sheriff shooter shopping sierra simple simpsons skater
skyline slayer slipknot smile smokey snickers snoopy snowball snowboard snowman soldier solution sophie southern space
spain spanish sparky special speedy spider spiderman spirit sponge squirrel stallion standard starcraft stardust
stargate starlight starwars stealth steelers stephanie storm strawberry strong student sugar sunday sunflower sunset
super supernova superstar supplier supreme surfer surprise survivor sweetheart sweetie sweety swimming swordfish
sydney symphony target taurus taxes taylor teacher techno telecom telephone temple tennis texas thailand thunder
thursday tigers tinker titanic tomato tomcat toyota trading transfer transport travel treasure treasurer triangle
trinity triumph trouble truelove trumpet tuesday turkey turtle tweety twilight twister ultimate undertaker unicorn
united universe university vacation valentine valentina vampire vanilla vegas velvet vendor venice venus victor
victoria victory vienna viking vikings vincent violet violin virginia virtual vision volcano volkswagen volleyball
voyager walker wallet warrior warriors water watermelon wealth webmaster wednesday western westside wildcat wildcats
wildfire william winner winston wisdom wizard wolf wolverine wonder woodland wrestling yamaha yankees yellow
yosemite zephyr zeppelin zombie zurich
""")

NAMES = words("""
aaron adam alex alexander alexandra alice amanda amber amy andrea andreas andrew angela anna anne anthony antonio ashley
barbara benjamin bernd brian carlos carmen caroline catherine charles charlie charlotte chris christian christina
christopher claudia clara craig cynthia daniel daniela david deborah dennis diana diego dominik donald donna edward
elena elizabeth emily emma eric erika eva fatima felix fernando florian francesca francisco frank gabriel george
giovanni giulia giuseppe grace gregory hannah hans harry heather heinz helen helena henry ingrid isabella jack jacob
james jan jane jasmin jason jennifer jeremy jessica joan johann john johnny jonathan jordan jorge jose joseph joshua
juan julia julian julie karen karl katharina katherine kathrin kelly kenneth kevin kim klaus kristin laura lauren leon
leonardo linda lisa louis lucas lucia lucy luis lukas manuel marco margaret maria marie mario mark markus martha martin
martina mary matteo matthew matthias max maximilian megan melanie melissa michael michel michelle miguel mike mohamed
mohammed monica nancy natalie nicholas nicole nina oliver olivia pablo pamela patricia patrick paul paula pedro peter
petra philip pierre rachel ralf ramon raymond rebecca renate richard robert roberto ronald rosa ruth ryan sabine sabrina
samantha samuel sandra sara sarah sean sebastian sergio sharon silvia simon sofia sophia stefan stefanie stephen steven
susan susanne tanja teresa theresa thomas tiffany tim timothy tobias tom tommy tyler ursula uwe vanessa veronica victor
victoria viktor vincent walter wendy werner william wolfgang yusuf zoe
""")

PHRASES = words("""
correcthorsebatterystaple thisismypassword thisismypass thisispassword mypassword yourpassword newpassword oldpassword
mynewpassword nopassword password1password ilovemymom ilovemydad ilovemywife ilovemyhusband ilovemydog ilovemycat
ilovemyfamily ilovejesus jesusislord jesuslovesme godisgood godisgreat inshallah bismillah letmeinplease letmeinnow
pleaseletmein openthedoor opensesame trustnoone trustnobody iamthebest iamtheone imthebest youarethebest
whoareyou whatsup whatever fuckthis fuckyouall gofuckyourself fuckthissystem nevergiveup neversaynever onedayatatime
liveandletlive livelaughlove carpediem hakunamatata helloworld goodmorning goodnight happybirthday merrychristmas
happynewyear thequickbrownfox thequickbrownfoxjumpsoverthelazydog tobeornottobe maytheforcebewithyou winteriscoming
beammeupscotty liveandprosper livelongandprosper showmethemoney moneymoneymoney timeismoney makemoney makemoremoney
ihatepasswords ihatethis ihatework ihatemyjob iforgotmypassword forgotpassword forgetmenot cantremember
idontknow idontremember ichliebedich meinpasswort passwortvergessen geheimnis geheim willkommen hallowelt gutenmorgen
jetaime motdepasse bonjour contrasena teamo teamomucho tequieromucho contraseña senha ciao ciaociao forzainter
wachtwoord welkom parola haslo salasana heslo jelszo losenord adgangskode passord
letmeinletmein adminadmin rootroot testtest guestguest useruser masterkey masterpassword superuser superadmin sysadmin
systemadmin administratorpassword localadmin domainadmin networkadmin databaseadmin helpdesk servicedesk itsupport
technicalsupport financeteam accountspayable accountsreceivable generalledger payrolladmin treasurydepartment
companypassword officepassword temppassword temporarypassword initialpassword defaultpassword firstpassword
onetimepassword changethis changethispassword pleasechangeme changemenow changemeplease resetpassword welcomeback
welcomehome welcometo welcomeadmin mustchange donotshare topsecret verysecret secretpassword supersecret secretword
abcdefghijklmnopqrstuvwxyz qwertyuiop asdfghjkl zxcvbnm qwertyuiopasdfghjklzxcvbnm qazwsx qazwsxedc qazwsxedcrfv
qazwsxedcrfvtgb qazwsxedcrfvtgbyhn qazwsxedcrfvtgbyhnujm zaqxsw zaqxswcde zaqwsx zaqwsxcde qweasd qweasdzxc qweasdzxcrtyfgh
asdfqwer qwerasdf qwerasdfzxcv asdfzxcv asdfjkl wasdwasd poiuytrewq lkjhgfdsa mnbvcxz qwertyqwerty qwertyasdfgh
qwertyasdf qwertzuiop yxcvbnm azertyuiop qsdfghjklm wxcvbn aqwzsx onetwothree onetwothreefour onetwothreefourfive
abcabcabc abcdabcd abcdefgh abcdefghij abcdefabcdef xyzxyz aabbcc aabbccdd
""")

MINIMUM = 4


def blocklist() -> list[str]:
    """Return every blocked word, sorted, each once."""
    words = set(TOP) | set(MORE) | set(NAMES) | set(PHRASES)
    words |= {one + other for one, other in permutations(TOP, 2)}
    words |= {f"ilove{name}" for name in NAMES} | {f"{name}iloveyou" for name in NAMES}
    words |= {one + other for one, other in product(NAMES, ("love", "baby", "forever", "password", "admin", "king"))}
    words |= {"my" + word for word in MORE} | {"the" + word for word in MORE} | {"super" + word for word in MORE}
    words |= {f"password{word}" for word in MORE} | {f"{word}password" for word in MORE}
    return sorted(word for word in words if len(word) >= MINIMUM)


def main() -> None:
    """Write the file."""
    head = "# Passwords too common to use; made by tests/core/identity/make_blocklist.py, do not edit.\n"
    PLACE.write_text(head + "\n".join(blocklist()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
