//! Signatures of AWS, made by whoever has the credentials.

use okra_provider::metric::Unsigned;

use crate::context::Context;
use crate::http::Call;

/// As whom a request is signed, and for what.
pub(crate) struct Identity<'a> {
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) profile: &'a str,
    pub(crate) role_arn: &'a str,
}

/// Headers that are part of the signature, if they are there.
const SIGNED: [&str; 2] = ["content-type", "x-amz-target"];

pub(crate) async fn sign(context: &mut Context<'_>, call: &mut Call, identity: Identity<'_>) -> Result<(), String> {
    let signer = context.signer.ok_or("failed to sign the request with SigV4: this process has no AWS credentials")?;
    let headers: Vec<(String, String)> = SIGNED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), call.headers.get(*name)?.to_str().ok()?.to_owned())))
        .collect();
    let Identity { service, region, profile, role_arn } = identity;
    let request = Unsigned {
        service,
        region,
        profile,
        role_arn,
        method: call.method.as_str(),
        url: call.url.as_str(),
        headers: &headers,
        body: call.body.as_deref().unwrap_or_default(),
    };
    let signed = signer.sign(&request, context.now).await?;
    for (name, value) in signed {
        // A server that repeats the request in its refusal must not get a session token into a status.
        context.redaction.add(&value);
        call.set_header(&name, value.expose())?;
    }
    Ok(())
}
