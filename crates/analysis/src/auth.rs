//! Credentials of a template: basic and OAuth2 client credentials, as `golang.org/x/oauth2` does them.

use okra_api::analysis::OAuth2;
use okra_provider::metric::SecretText;
use serde_json::Value as Json;

use crate::go;
use crate::http::{Answer, Call, Deadline, Http, parse_url};
use crate::redact::Redaction;

/// The client of `authentication.oauth2`.
pub(crate) struct OAuth2Client<'a>(pub(crate) &'a OAuth2);

impl OAuth2Client<'_> {
    /// Whether it is there.
    ///
    /// # Errors
    /// If it is there in part.
    pub(crate) fn is_set(&self) -> Result<bool, String> {
        if self.0.token_url.is_empty() {
            return Ok(false);
        }
        if self.0.client_id.is_empty() || self.0.client_secret.is_empty() {
            return Err("missing mandatory parameter in metric for OAuth2 setup".to_owned());
        }
        Ok(true)
    }

    pub(crate) fn hide(&self, redaction: &mut Redaction) {
        redaction.add(&SecretText::new(self.0.client_secret.as_str()));
    }

    /// The value of `Authorization`. A token is fetched for each measurement, as in Argo Rollouts.
    pub(crate) async fn authorize(
        &self,
        http: &Http,
        insecure: bool,
        deadline: Deadline,
        redaction: &mut Redaction,
    ) -> Result<String, String> {
        // Which of the two ways a server wants is not known before: the header first, as in Go.
        let answer = self.ask(http, insecure, deadline, true).await?;
        let answer = if token_of(&answer).is_ok() { answer } else { self.ask(http, insecure, deadline, false).await? };
        let (kind, token) = token_of(&answer)?;
        redaction.add(&SecretText::new(token.as_str()));
        Ok(format!("{kind} {token}"))
    }

    async fn ask(&self, http: &Http, insecure: bool, deadline: Deadline, in_header: bool) -> Result<Answer, String> {
        let scopes = self.0.scopes.join(" ");
        let mut form = vec![("grant_type", "client_credentials")];
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        if !in_header {
            form.extend([("client_id", self.0.client_id.as_str()), ("client_secret", self.0.client_secret.as_str())]);
        }
        let url = parse_url(&self.0.token_url)?;
        let mut call = Call::post(url, "application/x-www-form-urlencoded", go::encode_form(&form), deadline);
        call.insecure = insecure;
        if in_header {
            let (id, secret) = (go::query_escape(&self.0.client_id), go::query_escape(&self.0.client_secret));
            call.set_header("Authorization", &basic(&id, &secret))?;
        }
        http.send(call).await
    }
}

/// The kind of the token and the token.
fn token_of(answer: &Answer) -> Result<(String, String), String> {
    let body: Json = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
    let text = |field: &str| body.get(field).and_then(Json::as_str).unwrap_or_default();
    if !text("error").is_empty() {
        let description = match text("error_description") {
            "" => String::new(),
            description => format!(" {}", go::quote(description)),
        };
        return Err(format!("oauth2: {}{description}", go::quote(text("error"))));
    }
    if !answer.is_success() {
        return Err(format!("oauth2: cannot fetch token: {}\nResponse: {}", answer.status, answer.excerpt()));
    }
    if !body.is_object() {
        return Err("oauth2: cannot parse json: the answer is no JSON object".to_owned());
    }
    if text("access_token").is_empty() {
        return Err("oauth2: server response missing access_token".to_owned());
    }
    let kind = match text("token_type") {
        "" => "Bearer".to_owned(),
        kind if kind.eq_ignore_ascii_case("bearer") => "Bearer".to_owned(),
        kind if kind.eq_ignore_ascii_case("mac") => "MAC".to_owned(),
        kind if kind.eq_ignore_ascii_case("basic") => "Basic".to_owned(),
        kind => kind.to_owned(),
    };
    Ok((kind, text("access_token").to_owned()))
}

/// The value of `Authorization` for a name and a password.
pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{name}:{password}").as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: [char; 64] = [
        'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V',
        'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r',
        's', 't', 'u', 'v', 'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+', '/',
    ];
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4_usize {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let shown = if digit <= group.len() { DIGITS.get(value as usize).copied() } else { Some('=') };
            out.extend(shown);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_encoded() {
        let table = [("", "Og=="), ("a", "YTo="), ("ab", "YWI6"), ("Aladdin", "QWxhZGRpbjo=")];
        for (name, encoded) in table {
            assert_eq!(basic(name, ""), format!("Basic {encoded}"));
        }
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic("\u{ff}", "\u{fe}?>"), "Basic w786w74/Pg==");
    }
}
