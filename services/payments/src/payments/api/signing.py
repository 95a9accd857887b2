"""What the signer serves: one endpoint, for payments' worker alone."""

from typing import Annotated

from fastapi import Depends, Request

from common.auth import require_service
from common.web import router
from payments.api.intents import SignedOut, SignIn
from payments.use_cases.sign_intent import Signing, sign_intent

routes = router(prefix="/internal/v1", include_in_schema=False)

Caller = Annotated[str, Depends(require_service("payments"))]


@routes.post("/sign")
async def sign(body: SignIn, _: Caller, request: Request) -> SignedOut:
    """Build an intent's transaction and sign it, within the signer's bounds and limits."""
    signing: Signing = request.app.state.signing
    signed = await sign_intent(signing, body.intent.to_domain(), body.reference.to_domain(), body.timestamp_ms)
    return SignedOut(
        txid=signed.txid,
        signed=signed.signed.hex(),
        expires_at_ms=round(signed.expires_at.timestamp() * 1000),
    )
