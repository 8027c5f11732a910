"""Personal data taken out of bank texts before they leave; pure.

Accounts, cards, telephone and other long numbers, mail addresses and names of persons become a word that says what stood
there. A person is known by a title or by a common first name (:data:`FIRST_NAMES`); a rare name without a title is not
known, which the guide says.
"""

import re
import unicodedata

TEXT_CHARS_MAX = 120

_FIRST_NAMES_TEXT = """
    ADAM AHMED AISHA ALAN ALEJANDRO ALEKSANDRA ALESSANDRO ALEXANDER ALEXANDRA ALEXANDRE ALI ALICE ALICIA ALINA AMANDA
    AMELIE AMINA ANA ANDREA ANDREAS ANDREI ANDREW ANDRZEJ ANGELA ANGELIKA ANITA ANJA ANNA ANNE ANNETTE ANNIKA ANTHONY
    ANTJE ANTOINE ANTON ANTONIO ARTHUR ASTRID BARBARA BEATE BEATRIZ BEN BENJAMIN BERND BERNHARD BETTINA BIRGIT BJORN
    BRIAN BRIGITTE CAMILLE CARLA CARLOS CARMEN CAROLINE CATHERINE CHARLES CHARLOTTE CHLOE CHRISTIAN CHRISTIANE
    CHRISTINA CHRISTINE CHRISTOPH CHRISTOPHE CHRISTOPHER CLAIRE CLARA CLAUDIA CLAUS CORNELIA DANIEL DANIELA DANIELLE
    DAVID DEBORAH DENISE DENNIS DETLEF DIANA DIEGO DIETER DIRK DOMINIK DONALD DORIS DOROTHEA EDUARDO EDWARD ELENA
    ELISABETH ELIZABETH ELKE EMILIA EMILY EMMA ERIK ERIKA ERNST EVA FABIAN FATIMA FELIPE FELIX FERNANDO FLORIAN
    FRANCESCA FRANCESCO FRANCISCO FRANCOIS FRANK FRANZ FRIEDRICH GABRIEL GABRIELE GARETH GARY GEORG GEORGE GERALD GERD
    GERHARD GERTRUD GILLIAN GIOVANNI GISELA GIULIA GIUSEPPE GRAHAM GREGORY GUILLAUME GUNTER GUNTHER HANNA HANNAH HANS
    HARALD HASSAN HEIDI HEIKE HEINRICH HEINZ HELEN HELENA HELGA HELMUT HENRI HENRY HERBERT HERMANN HOLGER HUGO IAN
    IBRAHIM INES INGE INGRID IRENE ISABEL ISABELLE IVAN JACEK JACK JACOB JACQUELINE JACQUES JAKOB JAMES JAN JANA JANE
    JANET JASMIN JASON JAVIER JEAN JENNIFER JENS JESSICA JOACHIM JOAN JOANNA JOANNE JOAO JOHANN JOHANNA JOHANNES JOHN
    JONAS JONATHAN JORGE JOSE JOSEF JOSEPH JUAN JUDITH JULIA JULIAN JULIE JULIEN JURGEN JUSTYNA KAI KARIN KARL
    KAROLINA KATARZYNA KATE KATHARINA KATHRIN KATJA KATRIN KEITH KENNETH KERSTIN KEVIN KLAUS KONSTANTIN KRISTINA
    KRZYSZTOF KURT LARS LAURA LAURENT LEA LENA LEON LEONIE LINDA LISA LORENZO LOUIS LOUISE LUCA LUCAS LUCIA LUIS LUKAS
    MAGDALENA MALGORZATA MANFRED MANUEL MANUELA MARC MARCEL MARCIN MARCO MARCUS MAREK MARGARET MARIA MARIE MARINA
    MARIO MARION MARK MARKUS MARLENE MARTA MARTHA MARTIN MARTINA MARY MATHIEU MATTEO MATTHEW MATTHIAS MAXIMILIAN
    MEHMET MELANIE MICHAEL MICHAELA MICHEL MICHELLE MIGUEL MIRIAM MOHAMED MOHAMMED MONIKA MORITZ MUHAMMAD MUSTAFA
    NADINE NATALIA NATALIE NATHALIE NICHOLAS NICOLAS NICOLE NIKLAS NINA NORBERT OLAF OLGA OLIVER OLIVIA OLIVIER OMAR
    OSKAR OTTO PABLO PAMELA PASCAL PATRICIA PATRICK PAUL PAULA PAULINE PAWEL PEDRO PETER PETRA PHILIP PHILIPP PHILIPPE
    PIERRE PIOTR RACHEL RAFAEL RAINER RALF RALPH RAYMOND REBECCA REGINA REINHARD RENATE RICARDO RICHARD RITA ROBERT
    ROBERTO ROLAND ROLF ROMAN RONALD ROSA ROSE RUDOLF RUTH RYAN SABINE SABRINA SAMUEL SANDRA SARA SARAH SASCHA
    SEBASTIAN SERGIO SIEGFRIED SILKE SILVIA SIMON SIMONE SOFIA SOFIE SONJA SOPHIA SOPHIE STEFAN STEFANIE STEPHAN
    STEPHANIE STEPHEN STEVEN SUSAN SUSANNE SVEN SYLVIA TANJA TATJANA TERESA THEODOR THERESA THERESE THIERRY THOMAS
    THORSTEN TIM TIMOTHY TOBIAS TOMASZ TORSTEN UDO ULRICH URSULA UTE UWE VALENTINA VALERIE VANESSA VERA VERONICA
    VICTORIA VINCENT VOLKER WALTER WERNER WILHELM WILLIAM WOLFGANG YASMIN YUSUF YVES YVONNE ZOFIA
"""
FIRST_NAMES = frozenset(_FIRST_NAMES_TEXT.split())
"""Common first names in Europe and the Americas, capital letters without accents."""

_TITLES_TEXT = "DR EHELEUTE FAMILIE FRAU HERR MISS MLLE MME MR MRS MS PROF SIG SIGRA SR SRA SRTA"
_TITLES = frozenset(_TITLES_TEXT.split())
_COMPANY_TEXT = """
    AB AG APOTHEKE APS AS BAECKEREI BAKERY BANK BROS BROTHERS BV CAFE CHURCH CLINIC CO COLLEGE COMPANY CORP
    CORPORATION COUNCIL EV FOUNDATION GMBH GROUP HOSPITAL HOTEL INC INSURANCE KG LEWIS LIMITED LLC LLP LTD MARKET NV
    OHG OY PARTNERS PHARMACY PLC PTY RESTAURANT SA SARL SAS SCHOOL SE SERVICES SHOP SL SOCIETY SONS SPA SPENCER SRL
    SRO STIFTUNG STORE STORES TRUST UG UNIVERSITY VEREIN VERSICHERUNG
"""
_COMPANY = frozenset(_COMPANY_TEXT.split())
"""Words beside which a first name belongs to a firm (Marks and Spencer, St Thomas Hospital)."""

_NUMBERS = (
    (re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,4})?\b"), "[account]"),
    (re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b"), "[mail]"),
    (re.compile(r"(?:\d[ ./-]?){11,}\d"), "[number]"),
    (re.compile(r"\+\d[\d ()/-]{6,}\d"), "[number]"),
    (re.compile(r"(?:[X*•]{2,}[ -]?)+\d{2,}"), "[card]"),
    (re.compile(r"\d{5,}"), "[number]"),
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*\.?")


def scrub(text: str) -> str:
    """Return a text of at most 120 characters without accounts, numbers of five digits or more, mails and known persons.

    Control and direction marks go too, because nobody can see them.
    """
    clean = " ".join("".join(c if c.isprintable() else " " for c in text[:1_000]).split()).upper()
    for pattern, word in _NUMBERS:
        clean = pattern.sub(word, clean)
    return _without_persons(clean)[:TEXT_CHARS_MAX].strip()


def _without_persons(text: str) -> str:
    found = list(_WORD.finditer(text))
    words = [_plain(match[0]) for match in found]
    if any(word in _COMPANY for word in words):
        titled = any(word in _TITLES for word in words)
        if not titled:
            return text
    hidden: set[int] = set()
    for place, word in enumerate(words):
        if word in _TITLES:
            hidden.update(range(place, min(place + 4, len(words))))
        elif word.split("-")[0] in FIRST_NAMES:
            hidden.update(
                range(max(0, place - 1 if _comma_before(text, found, place) else place), min(place + 3, len(words)))
            )
    return _replaced(text, [found[place].span() for place in sorted(hidden)])


def _plain(word: str) -> str:
    """Return a word without accents and the point of an abbreviation."""
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c)).rstrip(".")


def _comma_before(text: str, found: list[re.Match[str]], place: int) -> bool:
    """Tell whether a surname stands before, as in SMITH, JOHN."""
    return place > 0 and "," in text[found[place - 1].end() : found[place].start()]


def _replaced(text: str, spans: list[tuple[int, int]]) -> str:
    """Return the text with neighbouring spans as one word."""
    kept, end, person = "", 0, False
    for start, stop in spans:
        between = text[end:start]
        if not (person and not between.strip(" ,.")):
            kept += between + "[person]"
        end, person = stop, True
    return kept + text[end:]
