"""Reserved instances, a savings plan, support and credits of the AWS bill; partly unused, charged twice, or ended."""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from bursar.kernel.period import add_months
from bursar.reports.sample.aws import REGION, Aws, tagged
from bursar.reports.sample.company import AWS_ACCOUNTS, AWS_PAYER
from bursar.reports.sample.model import Notebook, guid
from bursar.reports.sample.shapes import only, steady

RESERVED_RATE = Decimal("0.0605")
RESERVED_COUNT = 4
PLAN_HOURLY = Decimal("0.75")
PLAN_RATE = Decimal("0.1409")
"""Savings-plan rate of an m6i.xlarge hour; five run until the plan is left half used."""

HOURS_A_YEAR = 8760


@dataclass(frozen=True, slots=True)
class Fee:
    """One row that is not usage of a resource: a fee, a recurring commitment, a credit, a refund."""

    name: str
    month: date
    start: date
    end: date
    line: str
    product: str
    product_name: str
    account: str
    amount: Decimal
    rate: Decimal
    cost: Decimal
    text: str
    extra: Mapping[str, str] = field(default_factory=dict)
    truths: tuple[str, ...] = ()


def commitments(aws: Aws, book: Notebook) -> list[Fee]:
    """Add commitments and fees to the bill and plant what is wrong with them."""
    return [*_reserved(aws, book), *_plan(aws, book), *_support(aws, book), *_credit(aws, book)]


def _days(month: date) -> int:
    return calendar.monthrange(month.year, month.month)[1]


def _reserved(aws: Aws, book: Notebook) -> list[Fee]:
    span = aws.span
    half = span.month(3)
    arn = aws.arn("ec2", "prod", f"reserved-instances/{guid(aws.seed, 'ri')}")
    for number in range(1, RESERVED_COUNT + 1):
        kept = number <= RESERVED_COUNT // 2
        name = f"api-{number}"
        whole = steady(span, 24.0)
        aws.instance(
            name,
            "prod",
            "m5.large",
            whole if kept else only(whole, span, span.start, half - timedelta(days=1)),
            tags=tagged(name, "prod", "shop"),
            line="DiscountedUsage",
            rate=str(RESERVED_RATE),
            commitment=arn,
            subscription="880011",
            description="Linux/UNIX (Amazon VPC), m5.large reserved instance applied",
        )
    fees = []
    for month in span.all_months():
        hours = 24 * _days(month)
        unused = hours * RESERVED_COUNT // 2 if month >= half else 0
        extra = {
            "lineItem/UsageType": "HeavyUsage:m5.large",
            "lineItem/Operation": "RunInstances",
            "product/instanceType": "m5.large",
            "product/region": REGION,
            "product/regionCode": REGION,
            "pricing/term": "Reserved",
            "pricing/LeaseContractLength": "1yr",
            "pricing/OfferingClass": "standard",
            "pricing/PurchaseOption": "No Upfront",
            "pricing/unit": "Hrs",
            "reservation/ReservationARN": arn,
            "reservation/SubscriptionId": "880011",
            "reservation/NumberOfReservations": str(RESERVED_COUNT),
            "reservation/TotalReservedUnits": str(hours * RESERVED_COUNT),
            "reservation/UnitsPerReservation": str(hours),
            "reservation/UnusedQuantity": str(unused),
            "reservation/UnusedRecurringFee": str(unused * RESERVED_RATE),
            "reservation/UnusedAmortizedUpfrontFeeForBillingPeriod": "0.0",
            "reservation/AmortizedUpfrontFeeForBillingPeriod": "0.0",
            "reservation/UpfrontValue": "0.0",
        }
        amount = Decimal(hours * RESERVED_COUNT)
        text = f"USD {RESERVED_RATE} hourly fee per Linux/UNIX (Amazon VPC), m5.large instance"
        truths = ("C22",) if unused else ()
        fees.append(
            Fee("ri", month, month, add_months(month, 1), "RIFee", "AmazonEC2", "Amazon Elastic Compute Cloud",
                AWS_ACCOUNTS["prod"][0], amount, RESERVED_RATE, amount * RESERVED_RATE, text, extra, truths)
        )  # fmt: skip
    worth = RESERVED_RATE * HOURS_A_YEAR * RESERVED_COUNT / 2
    what = "Two of four reserved machines no longer run; their reservation is paid and unused."
    book.plant("C22", "unused_commitment", (arn, "880011"), (half, span.end), (worth, "USD"), what)
    return fees


def _plan(aws: Aws, book: Notebook) -> list[Fee]:
    span = aws.span
    since = span.month(6)
    arn = f"arn:aws:savingsplans::{AWS_PAYER}:savingsplan/{guid(aws.seed, 'sp')}"
    for number in range(1, 6):
        name = f"worker-{number}"
        kept = number <= 3
        hours = steady(span, 24.0) if kept else only(steady(span, 24.0), span, span.start, since - timedelta(days=1))
        covered_by = {"line": "SavingsPlanCoveredUsage", "commitment": arn, "rate": str(PLAN_RATE)}
        aws.instance(name, "prod", "m6i.xlarge", hours, tags=tagged(name, "prod", "data"), more=covered_by)
    fees = []
    for index in range(span.days):
        day = span.day(index)
        running = sum(
            1 for stream in aws.streams if stream.fields.get("commitment") == arn and not np.isnan(stream.usage[index])
        )
        month, after = day.replace(day=1), day + timedelta(days=1)
        cost, used = PLAN_HOURLY * 24, PLAN_RATE * 24 * running
        extra = {
            "lineItem/UsageType": "ComputeSP:1yrNoUpfront",
            "product/region": "global",
            "pricing/unit": "Hrs",
            "savingsPlan/SavingsPlanARN": arn,
            "savingsPlan/TotalCommitmentToDate": str(cost),
            "savingsPlan/UsedCommitment": str(used),
            "savingsPlan/RecurringCommitmentForBillingPeriod": str(cost),
            "savingsPlan/AmortizedUpfrontCommitmentForBillingPeriod": "0.0",
        }
        truths = ("C23",) if day >= since else ()
        fees.append(
            Fee("sp", month, day, after, "SavingsPlanRecurringFee", "ComputeSavingsPlans", "Savings Plans for Compute",
                AWS_PAYER, Decimal(24), PLAN_HOURLY, cost, "1 year No Upfront Compute Savings Plan", extra, truths)
        )  # fmt: skip
        covered = -Decimal(24 * running) * Decimal("0.192")
        fees.append(
            Fee("sp-negation", month, day, after, "SavingsPlanNegation", "AmazonEC2", "Amazon Elastic Compute Cloud",
                AWS_ACCOUNTS["prod"][0], Decimal(24 * running), Decimal("-0.192"), covered,
                "SavingsPlanNegation used by AccountId : prod and UsageSku",
                {"savingsPlan/SavingsPlanARN": arn, "lineItem/UsageType": "BoxUsage:m6i.xlarge",
                 "lineItem/Operation": "RunInstances", "product/region": REGION, "product/regionCode": REGION})
        )  # fmt: skip
    worth = (PLAN_HOURLY - PLAN_RATE * 3) * HOURS_A_YEAR
    what = "The compute savings plan is little more than half used since two workers were switched off."
    book.plant("C23", "unused_commitment", (arn,), (since, span.end), (worth, "USD"), what)
    return fees


def _support(aws: Aws, book: Notebook) -> list[Fee]:
    twice = aws.span.month(3)
    fees = []
    for month in aws.span.all_months():
        copies = 2 if month == twice else 1
        fees += [
            Fee(f"support{copy}", month, month, add_months(month, 1), "Fee", "AWSSupportBusiness",
                "AWS Support (Business)", AWS_PAYER, Decimal(1), Decimal(320), Decimal(320), "AWS Support (Business)",
                {"lineItem/UsageType": "Dollar", "product/region": "global"}, ("C24",) if copies > 1 else ())
            for copy in range(copies)
        ]  # fmt: skip
    period = (twice, add_months(twice, 1) - timedelta(days=1))
    what = "The support fee of one month is on the bill twice."
    subjects = ("AWSSupportBusiness", "AWS Support (Business)")
    book.plant("C24", "duplicate_charge", subjects, period, (Decimal(320), "USD"), what, recurring=False)
    return fees


def _credit(aws: Aws, book: Notebook) -> list[Fee]:
    ended = aws.span.month(1)
    months = [month for month in aws.span.all_months() if month < ended]
    fees = [
        Fee("credit", month, month, add_months(month, 1), "Credit", "AmazonEC2", "Amazon Elastic Compute Cloud",
            AWS_PAYER, Decimal(1), Decimal(-400), Decimal(-400), "AWS_Activate_Startup_Credit",
            {"lineItem/UsageType": "Credit"}, ("C25",) if month == months[-1] else ())
        for month in months
    ]  # fmt: skip
    what = "A monthly credit of 400 USD ran out; the bill is higher by that much from now on."
    period = (ended, aws.span.end)
    subjects = ("AWS_Activate_Startup_Credit",)
    book.plant("C25", "credit_ended", subjects, period, (Decimal(4800), "USD"), what)
    return fees
