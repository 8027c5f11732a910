"""Every job, and what jobs and routes get besides the database."""

import asyncio
from dataclasses import dataclass

from bursar.connectors.language import anthropic
from bursar.connectors.prices import aws_bulk, aws_query, azure_retail, gcp_catalog
from bursar.core.audit import jobs as audit_jobs
from bursar.core.audit.service import Means as AuditMeans
from bursar.core.findings import jobs as findings_jobs
from bursar.core.findings.digest.service import Link
from bursar.core.findings.jobs import Advisors
from bursar.core.findings.measuring.service import Facts
from bursar.core.identity.organisations import jobs as organisations_jobs
from bursar.core.identity.organisations.service import Erasers
from bursar.core.identity.service import Means as IdentityMeans
from bursar.core.intake import jobs as intake_jobs
from bursar.core.intake.jobs import Keeper
from bursar.core.language.rules import cap_from, models_from
from bursar.core.language.service import Means as LanguageMeans
from bursar.core.ledger import jobs as ledger_jobs
from bursar.core.notices import jobs as notices_jobs
from bursar.core.notices.service import Means as NoticeMeans
from bursar.core.planning import jobs as planning_jobs
from bursar.core.work import jobs as work_jobs
from bursar.infra import mail
from bursar.infra.anchors import Anchors
from bursar.infra.clock import utc_now
from bursar.infra.crypto import Passwords
from bursar.infra.fleet import Fleet
from bursar.infra.http import Egress, Host
from bursar.infra.http_hosts import hosts_from
from bursar.infra.jobs import Job
from bursar.infra.mail_smtp import Smtp
from bursar.ml.forecast.lineup import Extras
from bursar.parts.banking.cash import jobs as cash_jobs
from bursar.parts.banking.connections import jobs as connections_jobs
from bursar.parts.banking.connections.service import Feeds
from bursar.parts.banking.posting import jobs as posting_jobs
from bursar.parts.banking.understanding import jobs as banking_jobs
from bursar.parts.cloud.prices import jobs as prices_jobs
from bursar.parts.cloud.prices.jobs import Catalogues
from bursar.parts.cloud.prices.service import Catalogue
from bursar.reports.levels import daily_of
from bursar.settings import Settings
from bursar.wiring.advice import PAID, advise
from bursar.wiring.feeds import feeds
from bursar.wiring.house import SCHEMAS, House, buckets, keyring_of


@dataclass(frozen=True, slots=True)
class Tools:
    """What jobs and routes get besides the database: keys, webhooks, mail, erasers."""

    identity: IdentityMeans
    audit: AuditMeans
    notices: NoticeMeans
    mailer: mail.Mailer
    erasers: Erasers
    prices: Catalogues
    language: LanguageMeans
    feeds: Feeds
    extras: Extras

    def each(self, house: House) -> tuple[object, ...]:
        """Return the tools one by one, as the worker hands them to jobs by type."""
        measuring = Facts(daily_of(house.lake)), Link(house.settings.url)
        fleet = Fleet(house.settings.engine)
        return (
            house,
            house.lake,
            Keeper(house.lake, SCHEMAS),
            buckets(house.settings, house.importer),
            self.identity,
            self.audit,
            self.notices,
            self.mailer,
            self.erasers,
            self.prices,
            self.feeds,
            self.language,
            fleet,
            self.extras,
            PAID,
            Advisors(lambda db, org: advise(house, org, db=db)),
            *measuring,
        )


JOBS: tuple[Job, ...] = (
    *work_jobs.JOBS,
    *mail.JOBS,
    *notices_jobs.JOBS,
    *audit_jobs.JOBS,
    *organisations_jobs.JOBS,
    *intake_jobs.JOBS,
    *ledger_jobs.JOBS,
    *findings_jobs.JOBS,
    *planning_jobs.JOBS,
    *banking_jobs.JOBS,
    *posting_jobs.JOBS,
    *cash_jobs.JOBS,
    *connections_jobs.JOBS,
    *prices_jobs.JOBS,
)
"""Every job there is."""


def tools(house: House) -> Tools:
    """Make what jobs and routes need; close ``notices.client`` at the end.

    Raises:
        Invalid: A setting names a language model, a price or a forecaster that cannot be used.
    """
    settings, keyring = house.settings, keyring_of(house.settings)
    anchors = Anchors(settings.home / "anchors")
    smtp = Smtp.of(settings.smtp_url.get_secret_value()) if settings.smtp_url else None
    allowed = [Host("*"), *hosts_from(settings.egress_hosts)]
    return Tools(
        IdentityMeans(keyring, Passwords(), settings.url, local=settings.grants_local_owner),
        AuditMeans(keyring, anchors),
        NoticeMeans(keyring, Egress().client("webhooks", allow=allowed)),
        mail.Mailer(smtp, settings.mail_from, tuple(url.get_secret_value() for url in settings.alert_urls)),
        Erasers(
            (
                house.importer.documents.remove_all,
                house.lake.remove_all,
                lambda org: asyncio.to_thread(anchors.forget, str(org)),
            )
        ),
        Catalogues(house.prices, catalogues(settings)),
        language_means(settings),
        feeds(house.importer, keyring, settings.bank_feeds),
        Extras.of(settings.forecasters),
    )


def language_means(settings: Settings) -> LanguageMeans:
    """Return the language models that the settings name, and what they may cost; without a key nothing is ever sent.

    Raises:
        Invalid: A model, a price or the cap cannot be read.
    """
    models, cap = models_from(settings.llm_models), cap_from(settings.llm_monthly_cap)
    vendor = language_vendor(settings) if settings.anthropic_key else None
    return LanguageMeans(vendor, models, cap)


def language_vendor(settings: Settings) -> anthropic.Anthropic:
    """Return the vendor under the key of the settings, which must be set."""
    assert settings.anthropic_key is not None
    client = Egress().client("language", allow=[anthropic.host_of(settings.anthropic_url)], caps=anthropic.CAPS)
    return anthropic.Anthropic(client, settings.anthropic_key.get_secret_value(), settings.anthropic_url)


def catalogues(settings: Settings) -> list[Catalogue]:
    """Return the vendors' price catalogues that the settings ask for; none without `BURSAR_PRICE_REGIONS`."""
    wanted: dict[str, list[str]] = {}
    for entry in settings.price_regions:
        provider, _, region = entry.partition(":")
        wanted.setdefault(provider, []).append(region)
    found: list[Catalogue] = []
    egress = Egress()
    if "aws" in wanted:
        found.append(aws_bulk.AwsBulk(egress.client("aws prices", allow=aws_bulk.HOSTS), wanted["aws"]))
    if settings.aws_price_key and settings.aws_price_services:
        key, _, secret = settings.aws_price_key.get_secret_value().partition(":")
        client = egress.client("aws price query", allow=aws_query.HOSTS)
        api = aws_query.AwsQuery(client, aws_query.Credentials(key, secret), clock=utc_now)
        found.append(aws_query.QueriedServices(api, settings.aws_price_services, wanted["aws"]))
    if "azure" in wanted:
        found.append(azure_retail.AzureRetail(egress.client("azure prices", allow=azure_retail.HOSTS), wanted["azure"]))
    if "gcp" in wanted and settings.gcp_key:
        key, client = settings.gcp_key.get_secret_value(), egress.client("gcp prices", allow=gcp_catalog.HOSTS)
        found.append(gcp_catalog.GcpCatalog(client, key, wanted["gcp"]))
    return found
