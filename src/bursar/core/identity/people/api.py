"""Signing up, passwords, second factors and the caller's own page."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Response
from pydantic import Field

from bursar.core.identity.api import Code, Email, From, Name, Ours, Password, Secret, take_back
from bursar.core.identity.people import service
from bursar.core.identity.rules.passwords import PasswordTooCommon, PasswordTooLong, PasswordTooShort
from bursar.core.identity.rules.sessions import SecondFactorNeeded, SpentToken, StepUpNeeded, WrongCredentials
from bursar.infra.clock import utc_now
from bursar.infra.web import PUBLIC, SIGNED_IN, As, In, Out, TheDb, router
from bursar.kernel.errors import NotFound

r = router("people", tag="People", about="Sign up, set passwords, switch a second factor on.")

_PASSWORD = (PasswordTooShort, PasswordTooLong, PasswordTooCommon)
_PROOF = (WrongCredentials, SecondFactorNeeded)


class SignUpIn(In):
    """A request for an account and an organisation."""

    email: Email
    password: Password
    name: Name
    organisation: Annotated[str, Field(min_length=1, max_length=120, description="Name of the organisation to make.")]


class AcceptedOut(Out):
    """The request was taken; what happens next comes by mail."""

    accepted: Annotated[bool, Field(description="Always true; it does not tell whether the address is known.")] = True


class SecretIn(In):
    """A mailed link."""

    token: Secret


class AskResetIn(In):
    """A request for a link to set a new password."""

    email: Email


class ResetIn(In):
    """A new password, proved by a mailed link."""

    token: Secret
    password: Password


class PasswordIn(In):
    """A new password, proved by the present one."""

    current: Annotated[str, Field(min_length=1, max_length=1_024, description="The present password.")]
    code: Code = None
    new: Password


class CodeIn(In):
    """A code of the authenticator app that was just set up."""

    code: Annotated[str, Field(min_length=6, max_length=16, description="Six digits.")]


class RemoveSecondFactorIn(In):
    """Password and code, to switch the second factor off."""

    password: Annotated[str, Field(min_length=1, max_length=1_024, description="The present password.")]
    code: Annotated[str, Field(min_length=6, max_length=64, description="Six digits, or a recovery code.")]


class RenameIn(In):
    """A new name."""

    name: Name


class SecondFactorOut(Out):
    """A second factor to be confirmed."""

    secret: Annotated[str, Field(description="For typing into the authenticator app; shown once.")]
    address: Annotated[str, Field(description="`otpauth://` address, for a QR code.")]


class RecoveryOut(Out):
    """Recovery codes, shown this once."""

    codes: Annotated[list[str], Field(description="Ten codes; each works once in place of the app's code.")]


class MembershipOut(Out):
    """One organisation of the caller."""

    organisation: Annotated[UUID, Field(description="Its id.")]
    name: Annotated[str, Field(description="Its name.")]
    roles: Annotated[list[str], Field(description="The caller's roles in it.")]
    erased_after: Annotated[datetime | None, Field(description="When it will be erased; null unless it is deleted.")]


class MeOut(Out):
    """The caller."""

    actor: Annotated[str, Field(description="As the audit trail names the caller.")]
    organisation: Annotated[UUID, Field(description="The organisation that this session, token or key acts in.")]
    rights: Annotated[list[str], Field(description="What the caller may do there.")]
    person: Annotated[UUID | None, Field(description="The person; null for an API key.")]
    name: Annotated[str | None, Field(description="Their name.")] = None
    email: Annotated[str | None, Field(description="Their address.")] = None
    local: Annotated[bool, Field(description="This is the local owner, who needs no sign-in.")] = False
    second_factor: Annotated[bool, Field(description="A second factor is on.")] = False
    recovery_codes_left: Annotated[int, Field(description="Unused recovery codes.")] = 0
    organisations: Annotated[list[MembershipOut], Field(description="All organisations of the person.")] = Field(
        default_factory=list
    )


@r.post("/v1/sign-up", right=PUBLIC, status_code=202, limit="log-in", refusals=_PASSWORD)
async def sign_up(body: SignUpIn, db: TheDb, means: Ours, place: From) -> AcceptedOut:
    """Ask for an account and an organisation; a link comes by mail. The answer is the same for a known address."""
    facts = body.model_dump()
    await service.register(db, means, **facts, place=place, now=utc_now())
    return AcceptedOut()


@r.post("/v1/sign-up/verify", right=PUBLIC, limit="log-in", refusals=[SpentToken])
async def verify(body: SecretIn, db: TheDb, place: From) -> AcceptedOut:
    """Use the mailed link, once and within 24 hours: the account and the organisation exist from now on."""
    await service.verify(db, token_=body.token, request_id=place.request_id, now=utc_now())
    return AcceptedOut()


@r.post("/v1/password-resets", right=PUBLIC, status_code=202, limit="log-in")
async def ask_reset(body: AskResetIn, db: TheDb, means: Ours, place: From) -> AcceptedOut:
    """Ask for a link to set a new password. The answer is the same for an unknown address."""
    await service.ask_reset(db, means, email=body.email, place=place, now=utc_now())
    return AcceptedOut()


@r.post("/v1/password-resets/use", right=PUBLIC, limit="log-in", refusals=[SpentToken, *_PASSWORD])
async def use_reset(body: ResetIn, db: TheDb, means: Ours, place: From) -> AcceptedOut:
    """Set a new password with the mailed link, once and within an hour; everything signed in is signed out."""
    await service.reset(
        db, means, token_=body.token, password=body.password, request_id=place.request_id, now=utc_now()
    )
    return AcceptedOut()


@r.get("/v1/me", right=SIGNED_IN)
async def me(db: TheDb, actor: As) -> MeOut:
    """Tell who the caller is and what they may do."""
    rights = sorted(actor.rights)
    if actor.person is None:
        return MeOut(actor=actor.name, organisation=actor.org, rights=rights, person=None)
    profile = await service.profile(db, actor)
    row = profile.person
    return MeOut(
        actor=actor.name,
        organisation=actor.org,
        rights=rights,
        person=row.id,
        name=row.name,
        email=row.email,
        local=row.is_local,
        second_factor=row.second_factor is not None,
        recovery_codes_left=profile.recovery_codes_left,
        organisations=[
            MembershipOut(organisation=each.id, name=each.name, roles=each.roles, erased_after=each.purge_after)
            for each in profile.organisations
        ],
    )


@r.patch("/v1/me", right=SIGNED_IN, refusals=[NotFound])
async def rename(body: RenameIn, db: TheDb, actor: As) -> MeOut:
    """Change the caller's own name."""
    await service.rename(db, actor, name=body.name, now=utc_now())
    return await me(db, actor)


@r.post(
    "/v1/me/password",
    right=SIGNED_IN,
    status_code=204,
    once="never",
    limit="log-in",
    refusals=[*_PASSWORD, *_PROOF, NotFound],
)
async def change_password(body: PasswordIn, db: TheDb, actor: As, means: Ours, place: From, response: Response) -> None:
    """Change the caller's own password; everything signed in is signed out, this session too."""
    facts = body.model_dump()
    await service.change_password(db, means, actor, **facts, place=place, now=utc_now())
    take_back(response, means)


@r.post("/v1/me/second-factor", right=SIGNED_IN, once="never", refusals=[StepUpNeeded])
async def draft_second_factor(db: TheDb, actor: As, means: Ours) -> SecondFactorOut:
    """Make a secret for an authenticator app; it counts once a code of it is confirmed."""
    draft = await service.draft_second_factor(db, means, actor, now=utc_now())
    return SecondFactorOut(secret=draft.secret, address=draft.address)


@r.post(
    "/v1/me/second-factor/confirm",
    right=SIGNED_IN,
    once="never",
    limit="log-in",
    refusals=[StepUpNeeded, WrongCredentials],
)
async def confirm_second_factor(body: CodeIn, db: TheDb, actor: As, means: Ours) -> RecoveryOut:
    """Switch the second factor on with a code of the app; returns ten recovery codes, shown this once."""
    return RecoveryOut(codes=await service.confirm_second_factor(db, means, actor, code=body.code, now=utc_now()))


@r.post(
    "/v1/me/second-factor/remove",
    right=SIGNED_IN,
    status_code=204,
    once="never",
    limit="log-in",
    refusals=[PasswordTooShort, *_PROOF, NotFound],
)
async def remove_second_factor(body: RemoveSecondFactorIn, db: TheDb, actor: As, means: Ours, place: From) -> None:
    """Switch the second factor off; the password must then have 15 characters."""
    await service.remove_second_factor(
        db, means, actor, password=body.password, code=body.code, place=place, now=utc_now()
    )


@r.post("/v1/me/recovery-codes", right=SIGNED_IN, once="never", refusals=[StepUpNeeded])
async def new_recovery_codes(db: TheDb, actor: As) -> RecoveryOut:
    """Replace the recovery codes; the old ones stop working."""
    return RecoveryOut(codes=await service.new_recovery_codes(db, actor, now=utc_now()))
