"""How we read the rules that version 1.2 of the model states in words only, and those whose check misses its own words.

``Row``, ``Every``, ``Many`` and ``Head`` are tests; with ``proof`` the file alone proves the rule, without it the test
finds what would contradict the rule. ``Open`` is a rule that no file can decide. A rule that only permits needs none.
"""

from dataclasses import dataclass

from bursar.parts.cloud.focus_validation.rules.groups import EqualSums, Followed, Group, OneValue, TagPrefixes
from bursar.parts.cloud.focus_validation.rules.logic import (
    TRUE,
    AtLeast,
    Before,
    Logic,
    Not,
    Null,
    Passes,
    Product,
    Same,
    SameSign,
    both,
    either,
    given,
    implies,
    is_,
)


@dataclass(frozen=True, slots=True)
class Row:
    """Every row must satisfy ``logic``."""

    logic: Logic
    proof: bool = False


@dataclass(frozen=True, slots=True)
class Every:
    """Every value of the columns of a kind (number, datetime, string …) must pass a named test."""

    kind: str
    test: str
    proof: bool = True


@dataclass(frozen=True, slots=True)
class Many:
    """A test over many rows."""

    group: Group
    proof: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """A test of the column names."""

    test: str
    proof: bool = True


@dataclass(frozen=True, slots=True)
class Open:
    """No file can decide it, because of ``why``."""

    why: str


Reading = Row | Every | Many | Head | Open

USED = is_("CommitmentDiscountStatus", "Used")
UNUSED = is_("CommitmentDiscountStatus", "Unused")
USAGE = is_("ChargeCategory", "Usage")
PURCHASE = is_("ChargeCategory", "Purchase")
TAX = is_("ChargeCategory", "Tax")
SOLD = is_("ChargeCategory", "Usage", "Purchase")
CORRECTED = is_("ChargeClass", "Correction")
COMMITTED = given("CommitmentDiscountId")
ABOUT_THE_COMMITMENT = both((COMMITTED, Same("ResourceId", "CommitmentDiscountId")))
CREDIT = is_("ChargeCategory", "Credit")


def _currency(cost: str, currency: str) -> Row:
    """Read "denominated in": the row names the currency in which its columns are by definition."""
    return Row(implies(given(cost), given(currency)))


def _one(key: str, value: str, *, proof: bool = False) -> Many:
    return Many(OneValue((key,), value), proof)


def _match_billed(cost: str) -> Row:
    return Row(implies(CREDIT, Same(cost, "BilledCost", numeric=True)), proof=True)


def _tax(cost: str) -> Row:
    return Row(implies(TAX, SameSign(cost, "BilledCost")))


PUBLISHED = "it is about a document that the provider publishes, not about the file"
EARLIER = "it compares with exports made earlier"
PRICE_LIST = "it needs the provider's price list"
INVOICE = "it needs the invoice"
TAG_SCHEMES = "it needs the provider's tag schemes"

ATTRIBUTES: dict[str, Reading] = {
    "DateTimeFormat-A-001-M": Every("datetime", "utc"),
    "DateTimeFormat-A-002-M": Every("datetime", "datetime_readable"),
    "DateTimeFormat-A-004-M": Every("datetime", "has_t"),
    "DateTimeFormat-A-005-M": Every("datetime", "two_digits"),
    "DateTimeFormat-A-006-M": Every("datetime", "ends_z"),
    "CurrencyFormat-A-001-C": Row(Passes("BillingCurrency", "national_currency"), proof=True),
    "CurrencyFormat-A-002-C": Row(Passes("PricingCurrency", "currency"), proof=True),
    "NumericFormat-A-001-O": Every("custom", "looks_numeric_and_is"),
    "NumericFormat-A-002-M": Every("number", "single_number"),
    "NumericFormat-A-003-M": Every("number", "decimal"),
    "NumericFormat-A-004-M": Every("number", "no_fraction"),
    "NumericFormat-A-005-M": Every("number", "e_notation"),
    "NumericFormat-A-006-M": Every("number", "no_plus_exponent"),
    "NumericFormat-A-007-M": Every("number", "no_operators"),
    "NumericFormat-A-008-M": Every("number", "no_qualifiers"),
    "NumericFormat-A-009-M": Every("number", "no_commas"),
    "NumericFormat-A-010-M": Every("number", "no_leading_plus"),
    "NumericFormat-A-011-M": Every("number", "minus_sign"),
    "NumericFormat-A-012-M": Every("number", "decimal", proof=False),
    "NumericFormat-A-013-O": Open(PUBLISHED),
    "StringHandling-A-001-M": Every("string", "unicode"),
    "StringHandling-A-002-O": Every("custom", "unicode"),
    "StringHandling-A-003-M": Many(OneValue(("ServiceName",), "ServiceName", fold=True)),
    "StringHandling-A-004-M": Open(EARLIER),
    "StringHandling-A-005-M": Open(EARLIER),
    "StringHandling-A-006-M": Many(OneValue(("ProviderName", "RegionName"), "RegionId")),
    "StringHandling-A-007-M": Every("required", "not_blank"),
    "ColumnHandling-A-001-M": Head("pascal"),
    "ColumnHandling-A-002-M": Head("abbreviations", proof=False),
    "ColumnHandling-A-003-M": Head("alphanumeric"),
    "ColumnHandling-A-004-O": Head("acronyms"),
    "ColumnHandling-A-005-O": Head("length"),
    "ColumnHandling-A-006-M": Head("suffix", proof=False),
    "ColumnHandling-A-008-M": Every("category", "readable", proof=False),
    "ColumnHandling-A-010-M": Head("prefix"),
    "ColumnHandling-A-011-O": Head("custom_rules"),
    "ColumnHandling-A-012-O": Head("focus_first"),
    "ColumnHandling-A-013-O": Head("focus_first"),
    "UnitFormat-A-001-M": Every("unit", "unit"),
    "UnitFormat-A-003-M": Every("unit", "unit_case"),
    "UnitFormat-A-004-C": Every("unit", "unit_known", proof=False),
    "KeyValueFormat-A-001-M": Every("keyvalue", "json_object"),
    "KeyValueFormat-A-002-M": Every("keyvalue", "json_unique"),
    "KeyValueFormat-A-003-M": Every("keyvalue", "json_scalars"),
    "KeyValueFormat-A-004-M": Every("keyvalue", "json_scalars"),
    "NullHandling-A-001-C": Every("string", "not_placeholder", proof=False),
    "NullHandling-A-002-M": Every("string", "not_placeholder"),
    "DiscountHandling-A-001-C": Row(implies(both((USAGE, COMMITTED, Not(CORRECTED))), AtLeast("BilledCost", 0))),
    "DiscountHandling-A-003-C": Row(implies(USED, is_("PricingCategory", "Committed"))),
    "DiscountHandling-A-004-C": Row(implies(USED, Not(is_("PricingCategory", "Standard", "Dynamic")))),
    "DiscountHandling-A-006-C": Row(implies(given("CommitmentDiscountStatus"), COMMITTED), proof=True),
    "DiscountHandling-A-007-C": Row(implies(is_("PricingCategory", "Other"), given("PricingUnit"))),
    "DiscountHandling-A-009-C": Row(implies(USED, either((Passes("BilledCost", "zero"), Null("BilledCost"))))),
    "DiscountHandling-A-010-C": Row(implies(either((USED, UNUSED)), AtLeast("EffectiveCost", 0))),
    "DiscountHandling-A-011-C": Many(
        EqualSums(
            ("CommitmentDiscountId", "BillingPeriodStart"),
            left="EffectiveCost",
            left_where=either((USED, UNUSED)),
            right="BilledCost",
            right_where=both((PURCHASE, COMMITTED)),
            unless=both((PURCHASE, Not(is_("ChargeFrequency", "Recurring")))),
        )
    ),
    "DiscountHandling-A-012-C": Row(implies(both((PURCHASE, COMMITTED)), ABOUT_THE_COMMITMENT), proof=True),
    "DiscountHandling-A-013-C": Row(
        implies(both((ABOUT_THE_COMMITMENT, Null("CommitmentDiscountStatus"))), Not(USAGE))
    ),
    "DiscountHandling-A-014-C": Row(implies(both((USAGE, COMMITTED)), either((USED, UNUSED))), proof=True),
    "DiscountHandling-A-015-C": Row(implies(USED, COMMITTED), proof=True),
    "DiscountHandling-A-016-C": Row(implies(both((USED, COMMITTED)), Not(Same("ResourceId", "CommitmentDiscountId")))),
    "DiscountHandling-A-017-C": Many(
        Followed("CommitmentDiscountId", both((PURCHASE, is_("ChargeFrequency", "Recurring"))), either((USED, UNUSED)))
    ),
    "DiscountHandling-A-018-C": Row(implies(UNUSED, USAGE), proof=True),
    "DiscountHandling-A-019-C": Row(implies(UNUSED, ABOUT_THE_COMMITMENT), proof=True),
    "DiscountHandling-A-020-C": Row(
        implies(both((is_("ChargeFrequency", "One-Time"), USAGE, Not(CORRECTED))), AtLeast("BilledCost", 0))
    ),
}
"""Rules about attributes: formats, names of columns, discounts."""

IDENTITY: dict[str, Reading] = {
    "CommitmentDiscountName-C-006-C": Many(
        OneValue(("CommitmentDiscountId",), "CommitmentDiscountName", presence=True)
    ),
    "BillingAccountId-C-004-M": _one("BillingAccountId", "BillingAccountName"),
    "BillingAccountId-C-005-O": _one("BillingAccountId", "ProviderName"),
    "CommitmentDiscountId-C-004-C": Row(implies(TAX, Null("CommitmentDiscountId"))),
    "CommitmentDiscountId-C-005-C": Row(
        implies(
            either((given("CommitmentDiscountStatus"), both((USAGE, is_("PricingCategory", "Committed"))))), COMMITTED
        )
    ),
    "CommitmentDiscountId-C-007-M": _one("CommitmentDiscountId", "CommitmentDiscountType"),
    "CommitmentDiscountId-C-008-C": _one("CommitmentDiscountId", "ProviderName"),
    "CommitmentDiscountUnit-C-008-M": _one("CommitmentDiscountId", "CommitmentDiscountUnit", proof=True),
    "CommitmentDiscountUnit-C-009-M": Row(
        implies(given("CommitmentDiscountQuantity"), given("CommitmentDiscountUnit"))
    ),
    "CommitmentDiscountUnit-C-010-C": Open("whether flexibility was taken into account is not in the file"),
    "CommitmentDiscountQuantity-C-009-M": Row(Passes("CommitmentDiscountQuantity", "decimal"), proof=True),
    "CommitmentDiscountQuantity-C-011-C": Row(AtLeast("CommitmentDiscountQuantity", 0)),
    "CommitmentDiscountQuantity-C-012-C": Row(AtLeast("CommitmentDiscountQuantity", 0)),
    "CommitmentDiscountQuantity-C-014-C": Row(AtLeast("CommitmentDiscountQuantity", 0)),
    "CommitmentDiscountQuantity-C-015-C": Row(AtLeast("CommitmentDiscountQuantity", 0)),
    "CommitmentDiscountStatus-C-003-C": Row(Null("CommitmentDiscountStatus"), proof=True),
    "CommitmentDiscountStatus-C-004-C": Row(given("CommitmentDiscountStatus"), proof=True),
    "CommitmentDiscountStatus-C-005-M": Row(
        either((Null("CommitmentDiscountStatus"), is_("CommitmentDiscountStatus", "Used", "Unused"))), proof=True
    ),
    "ResourceId-C-004-C": Row(Passes("ResourceId", "not_placeholder")),
    "ResourceId-C-005-C": Row(implies(either((given("ResourceName"), given("ResourceType"))), given("ResourceId"))),
    "ResourceId-C-007-M": _one("ResourceId", "ResourceType"),
    "ResourceId-C-008-O": _one("ResourceId", "ProviderName"),
    "ResourceName-C-004-C": Row(implies(Null("ResourceId"), Null("ResourceName")), proof=True),
    "ResourceName-C-005-C": Many(OneValue(("ResourceId",), "ResourceName", presence=True)),
    "ResourceName-C-006-C": Row(implies(given("ResourceName"), Not(Same("ResourceName", "ResourceId")))),
    "AvailabilityZone-C-003-C": Row(implies(given("AvailabilityZone"), both((Not(TAX), given("RegionId"))))),
    "RegionId-C-004-C": Row(implies(either((given("RegionName"), given("AvailabilityZone"))), given("RegionId"))),
    "SubAccountId-C-004-C": Row(Passes("SubAccountId", "not_placeholder")),
    "SubAccountId-C-005-C": Row(implies(given("SubAccountName"), given("SubAccountId"))),
    "SubAccountType-C-006-M": Row(Passes("SubAccountType", "readable")),
    "BillingAccountType-C-006-M": Row(Passes("BillingAccountType", "readable")),
    "CapacityReservationId-C-004-C": Row(implies(either((TAX, CREDIT)), Null("CapacityReservationId"))),
    "CapacityReservationId-C-006-C": Row(implies(given("CapacityReservationStatus"), given("CapacityReservationId"))),
    "CapacityReservationId-C-008-M": _one("CapacityReservationId", "RegionId"),
    "CapacityReservationId-C-009-O": _one("CapacityReservationId", "ProviderName"),
    "CapacityReservationStatus-C-007-C": Row(
        implies(
            both((given("CapacityReservationId"), Same("ResourceId", "CapacityReservationId"), USAGE)),
            is_("CapacityReservationStatus", "Unused"),
        )
    ),
    "CapacityReservationStatus-C-008-C": Row(
        implies(
            both((is_("CapacityReservationStatus", "Used"), given("ResourceId"))),
            Not(Same("ResourceId", "CapacityReservationId")),
        )
    ),
    "InvoiceId-C-004-C": Row(Passes("InvoiceId", "not_placeholder")),
    "InvoiceId-C-005-C": Many(
        OneValue(("BillingAccountId", "InvoiceIssuerName", "BillingPeriodStart"), "InvoiceId", presence=True)
    ),
    "InvoiceId-C-007-C": _one("InvoiceId", "BillingAccountId"),
    "SkuId-C-008-M": _one("SkuId", "SkuMeter"),
    "SkuId-C-009-M": _one("SkuId", "ServiceName"),
    "SkuId-C-010-M": _one("SkuPriceId", "SkuId"),
    "SkuId-C-011-C": Row(implies(both((SOLD, given("SkuId"))), given("ServiceName"))),
    "SkuMeter-C-006-O": _one("SkuId", "SkuMeter"),
    "SkuPriceId-C-009-M": _one("SkuPriceId", "PricingUnit"),
    "SkuPriceId-C-010-M": _one("SkuPriceId", "SkuMeter"),
    "SkuPriceId-C-012-C": Row(implies(given("SkuPriceId"), given("ServiceName"))),
    "SkuPriceId-C-013-M": Open(PRICE_LIST),
    "SkuPriceId-C-014-C": Row(implies(both((given("SkuPriceId"), SOLD, Not(CORRECTED))), given("ListUnitPrice"))),
    "SkuPriceId-C-015-C": Row(implies(both((given("SkuPriceId"), SOLD, Not(CORRECTED))), given("ContractedUnitPrice"))),
    "SkuPriceDetails-C-002-O": Row(Passes("SkuPriceDetails", "json_pascal"), proof=True),
    "SkuPriceDetails-C-007-M": Row(implies(given("SkuPriceDetails"), given("SkuPriceId")), proof=True),
    "SkuPriceDetails-C-008-M": Row(Passes("SkuPriceDetails", "json_no_null")),
    "SkuPriceDetails-C-009-C": Many(OneValue(("SkuPriceId",), "SkuPriceDetails", presence=True)),
    "SkuPriceDetails-C-010-C": Row(Passes("SkuPriceDetails", "json_focus_property"), proof=True),
    "SkuPriceDetails-C-013-O": _one("SkuPriceId", "SkuPriceDetails"),
    "SkuPriceDetails-C-014-O": Many(OneValue(("SkuPriceId",), "SkuPriceDetails", presence=True)),
    "SkuPriceDetails-C-016-O": Row(Passes("SkuPriceDetails", "json_type")),
    "SkuPriceDetails-C-017-C": Row(Passes("SkuPriceDetails", "json_prefix"), proof=True),
    "SkuPriceDetails-C-018-C": _one("SkuPriceId", "SkuPriceDetails"),
    "SkuPriceDetails-C-020-M": Row(Passes("SkuPriceDetails", "json_spelling"), proof=True),
    "SkuPriceDetails-C-021-M": Row(Passes("SkuPriceDetails", "json_type"), proof=True),
    "SkuPriceDetails-C-022-C": _one("SkuPriceId", "SkuPriceDetails"),
    "ServiceName-C-005-C": Many(
        OneValue(("ServiceName",), "ServiceCategory", where=Not(is_("ServiceCategory", "Other")))
    ),
    "ServiceName-C-008-C": Many(
        OneValue(("ServiceName",), "ServiceSubcategory", where=Not(is_("ServiceSubcategory", "Other (Other)", "Other")))
    ),
    "ServiceName-C-006-C": Open("whether a fitting category exists is a matter of judgement"),
    "ServiceName-C-009-C": Open("whether a fitting subcategory exists is a matter of judgement"),
    "Tags-C-004-M": Open("tags that were left out cannot be seen in the file"),
    "Tags-C-005-M": Open("how the provider finalises tags is not in the file"),
    "Tags-C-006-M": Row(Passes("Tags", "json_no_null")),
    "Tags-C-008-M": Row(Passes("Tags", "json_no_null")),
    "Tags-C-009-M": Open(PUBLISHED),
    "Tags-C-010-C": Open("the tags as set by the user are not in the file"),
    "Tags-C-012-M": Open(TAG_SCHEMES),
    "Tags-C-013-M": Open(PUBLISHED),
    "Tags-C-015-C": Open(TAG_SCHEMES),
    "Tags-C-016-C": Many(TagPrefixes("Tags", one_scheme=True)),
    "Tags-C-017-M": Many(TagPrefixes("Tags", one_scheme=False)),
    "ChargeDescription-C-004-O": Open(PUBLISHED),
}
"""Rules about identifiers and names."""

MONEY: dict[str, Reading] = {
    "BillingPeriodStart-C-004-M": Row(Passes("BillingPeriodStart", "midnight")),
    "BillingPeriodEnd-C-004-M": Row(
        both((Passes("BillingPeriodEnd", "not_inclusive"), Before("BillingPeriodStart", "BillingPeriodEnd")))
    ),
    "ChargePeriodStart-C-004-M": Row(Before("ChargePeriodStart", "ChargePeriodEnd")),
    "ChargePeriodEnd-C-004-M": Row(
        both((Passes("ChargePeriodEnd", "not_inclusive"), Before("ChargePeriodStart", "ChargePeriodEnd")))
    ),
    "ChargeClass-C-003-C": Row(implies(CORRECTED, Before("ChargePeriodStart", "BillingPeriodStart"))),
    "ChargeClass-C-004-C": Row(
        implies(
            both(
                (
                    Before("ChargePeriodEnd", "BillingPeriodStart"),
                    given("ChargePeriodEnd"),
                    given("BillingPeriodStart"),
                    USAGE,
                )
            ),
            CORRECTED,
        )
    ),
    "ListUnitPrice-C-009-M": _currency("ListUnitPrice", "BillingCurrency"),
    "ContractedUnitPrice-C-010-C": _currency("ContractedUnitPrice", "BillingCurrency"),
    "PricingCurrencyListUnitPrice-C-009-M": _currency("PricingCurrencyListUnitPrice", "PricingCurrency"),
    "PricingCurrencyContractedUnitPrice-C-009-C": _currency("PricingCurrencyContractedUnitPrice", "PricingCurrency"),
    "PricingCurrencyEffectiveCost-C-006-M": _currency("PricingCurrencyEffectiveCost", "PricingCurrency"),
    "EffectiveCost-C-006-M": _currency("EffectiveCost", "BillingCurrency"),
    "BilledCost-C-006-M": _currency("BilledCost", "BillingCurrency"),
    "ContractedCost-C-005-M": _currency("ContractedCost", "BillingCurrency"),
    "ListCost-C-005-M": _currency("ListCost", "BillingCurrency"),
    "BillingCurrency-C-005-M": _one("InvoiceId", "BillingCurrency"),
    "BilledCost-C-007-M": Open(INVOICE),
    "PricingUnit-C-008-M": _one("SkuPriceId", "PricingUnit"),
    "PricingUnit-C-009-C": Open(INVOICE),
    "PricingQuantity-C-008-M": Row(Passes("PricingQuantity", "decimal"), proof=True),
    "PricingQuantity-C-009-C": Row(
        implies(
            Not(CORRECTED),
            both(
                (
                    Product("ContractedUnitPrice", "PricingQuantity", "ContractedCost"),
                    Product("ListUnitPrice", "PricingQuantity", "ListCost"),
                )
            ),
        ),
        proof=True,
    ),
    "ContractedCost-C-009-C": Row(Product("ContractedUnitPrice", "PricingQuantity", "ContractedCost"), proof=True),
    "ConsumedQuantity-C-008-C": Row(Passes("ConsumedQuantity", "decimal"), proof=True),
    "EffectiveCost-C-004-M": Row(Passes("EffectiveCost", "decimal"), proof=True),
    "ContractedCost-C-004-M": Row(Passes("ContractedCost", "decimal"), proof=True),
    "ListCost-C-004-M": Row(Passes("ListCost", "decimal"), proof=True),
    "PricingCurrencyEffectiveCost-C-004-M": Row(Passes("PricingCurrencyEffectiveCost", "decimal"), proof=True),
    "EffectiveCost-C-009-C": _tax("EffectiveCost"),
    "ContractedCost-C-007-C": _tax("ContractedCost"),
    "ListCost-C-007-C": _tax("ListCost"),
    "EffectiveCost-C-010-C": _match_billed("EffectiveCost"),
    "ContractedCost-C-008-C": _match_billed("ContractedCost"),
    "ListCost-C-008-C": _match_billed("ListCost"),
    "EffectiveCost-C-012-C": ATTRIBUTES["DiscountHandling-A-011-C"],
    "EffectiveCost-C-013-C": Row(either((USED, UNUSED)), proof=True),
    "PricingCurrencyEffectiveCost-C-005-M": Row(
        implies(
            both((PURCHASE, COMMITTED)),
            either((Null("PricingCurrencyEffectiveCost"), Passes("PricingCurrencyEffectiveCost", "zero"))),
        )
    ),
    "PricingCurrencyContractedUnitPrice-C-004-C": Row(Null("PricingCurrencyContractedUnitPrice"), proof=True),
    "PricingCurrencyContractedUnitPrice-C-005-C": Row(given("PricingCurrencyContractedUnitPrice"), proof=True),
    "PricingCurrencyContractedUnitPrice-C-008-C": Row(
        both(
            (Passes("PricingCurrencyContractedUnitPrice", "decimal"), AtLeast("PricingCurrencyContractedUnitPrice", 0))
        ),
        proof=True,
    ),
    "PricingCategory-C-008-C": Row(implies(both((COMMITTED, USAGE)), Not(is_("PricingCategory", "Standard")))),
    "PricingCategory-C-009-C": Row(implies(both((COMMITTED, USAGE)), is_("PricingCategory", "Committed")), proof=True),
    "PricingCategory-C-010-C": Row(either((is_("PricingCategory", "Dynamic"), Passes("SkuMeter", "spot_free")))),
    "PricingCategory-C-011-C": Row(implies(is_("PricingCategory", "Other"), Not(either((USED, UNUSED))))),
}
"""Rules about money, quantities and periods."""

READINGS: dict[str, Reading] = ATTRIBUTES | IDENTITY | MONEY
"""By rule id of version 1.2; another version's rule uses the reading of the rule with the same words."""

CONDITIONS: dict[str, Logic] = {
    "CommitmentDiscountStatus-C-004-C": both((COMMITTED, USAGE)),
    "CommitmentDiscountQuantity-C-008-C": given("CommitmentDiscountQuantity"),
    "ConsumedQuantity-C-006-C": Not(CORRECTED),
    "ResourceName-C-004-C": TRUE,
    "ResourceName-C-005-C": TRUE,
    "CommitmentDiscountQuantity-C-010-C": PURCHASE,
    "Tags-C-003-C": given("Tags"),
}
"""Conditions that the model states wrongly (against the words of the rule), put right."""
