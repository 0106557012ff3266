//! What a request of the Kubernetes API asks for.

use http::{Method, Uri};

/// A request, in the words of a fault plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// For example `PUT cells/status`.
    pub(super) name: String,
    pub(super) is_write: bool,
    pub(super) is_watch: bool,
    pub(super) is_list: bool,
}

impl Call {
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let is_write = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
        let Some(target) = Target::of(uri.path()) else {
            return Self { name: format!("{method} {}", uri.path()), is_write, is_watch: false, is_list: false };
        };
        let watches = |pair: &str| matches!(pair, "watch=true" | "watch=1");
        let is_watch = *method == Method::GET && uri.query().unwrap_or_default().split('&').any(watches);
        let is_list = *method == Method::GET && !is_watch && target.name.is_none();
        let verb = match (is_watch, is_list) {
            (true, _) => "WATCH",
            (_, true) => "LIST",
            _ => method.as_str(),
        };
        let name = match target.subresource {
            Some(subresource) => format!("{verb} {}/{subresource}", target.plural),
            None => format!("{verb} {}", target.plural),
        };
        Self { name, is_write, is_watch, is_list }
    }
}

/// The parts of a path below `/api/v1` or `/apis/<group>/<version>`.
struct Target<'a> {
    plural: &'a str,
    name: Option<&'a str>,
    subresource: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `None` for what is no resource: `/version`, `/readyz`, the discovery.
    fn of(path: &'a str) -> Option<Self> {
        let mut segments = path.trim_matches('/').split('/');
        match segments.next()? {
            "api" => segments.next()?,
            "apis" => segments.nth(1)?,
            _ => return None,
        };
        let mut rest: Vec<&str> = segments.collect();
        // `namespaces/x/cells` is about cells; `namespaces/x` and `namespaces/x/status` are about the namespace.
        let is_inside =
            rest.first() == Some(&"namespaces") && rest.get(2).is_some_and(|third| !OF_ITSELF.contains(third));
        if is_inside {
            rest.drain(..2);
        }
        Some(Self { plural: rest.first()?, name: rest.get(1).copied(), subresource: rest.get(2).copied() })
    }
}

/// Subresources of a namespace.
const OF_ITSELF: [&str; 2] = ["status", "finalize"];

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn name(method: &str, uri: &str) -> String {
        Call::of(&method.parse().unwrap(), &uri.parse().unwrap()).name
    }

    #[test]
    fn calls_have_names() {
        let okra = "/apis/okra.mumo.co/v1alpha1";
        let table = [
            ("GET", format!("{okra}/namespaces/a/cells?limit=500"), "LIST cells"),
            ("GET", format!("{okra}/cells?watch=true&timeoutSeconds=230"), "WATCH cells"),
            ("GET", format!("{okra}/namespaces/a/cells/web"), "GET cells"),
            ("PUT", format!("{okra}/namespaces/a/cells/web/status?&fieldManager=okrad"), "PUT cells/status"),
            ("POST", format!("{okra}/namespaces/a/pauses"), "POST pauses"),
            ("PATCH", "/apis/events.k8s.io/v1/namespaces/a/events/x".to_owned(), "PATCH events"),
            ("GET", "/api/v1/namespaces".to_owned(), "LIST namespaces"),
            ("GET", "/api/v1/namespaces/a".to_owned(), "GET namespaces"),
            ("PUT", "/api/v1/namespaces/a/status".to_owned(), "PUT namespaces/status"),
            ("DELETE", "/api/v1/namespaces/a/secrets/b".to_owned(), "DELETE secrets"),
            ("GET", "/readyz".to_owned(), "GET /readyz"),
            ("GET", "/apis".to_owned(), "GET /apis"),
        ];
        for (method, uri, expected) in table {
            assert_eq!(name(method, &uri), expected, "{uri}");
        }
    }
}
