//! The settings of an HTTP client: the tenant and the credentials.

use std::net::IpAddr;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::API_PATH;

/// An HTTP client's settings, read from the JSON that users keep as a secret.
///
/// ```
/// let settings = protime::Settings::from_json(br#"{
///     "base_uri": "https://acme.myprotime.eu",
///     "access_token_url": "https://authentication.myprotime.eu/tenants/acme/connect/token",
///     "client_id": "acme-connector",
///     "client_secret": "not shown anywhere",
///     "scopes": "connector-protimeapi-clockings.read connector-protimeapi-people.read"
/// }"#)?;
/// assert_eq!(settings.scopes.len(), 2);
/// # Ok::<(), protime::SettingsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tenant's origin, `https://<tenant>.myprotime.eu/`.
    pub base_uri: Url,
    /// The token endpoint of the tenant (`reference/authentication`).
    pub access_token_url: Url,
    /// The OAuth 2.0 client id, issued by Protime.
    pub client_id: String,
    /// The OAuth 2.0 client secret, issued by Protime.
    pub client_secret: SecretString,
    /// The scopes that every token request asks for.
    pub scopes: Vec<String>,
    /// Whether method, URL, status, duration and sizes of every request are logged.
    pub log_requests: bool,
    /// `ServiceName/Version (Company Name)`, mandatory on every request (`reference/general-specs`).
    pub user_agent: HeaderValue,
    has_default_user_agent: bool,
}

/// A setting that is missing, unknown or malformed. The error never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The text is not a JSON object.
    #[error(
        "not a JSON object; write {{\"base_uri\": ..., \"access_token_url\": ..., \"client_id\": ..., \"client_secret\": ..., \"scopes\": [...]}}"
    )]
    NotAnObject,
    /// The settings have no field of this name.
    #[error("field `{field}`: unknown; {}", .meant.map_or_else(|| format!("allowed: {}", FIELDS.join(", ")), |meant| format!("did you mean `{meant}`?")))]
    UnknownField {
        /// The unknown name, as it is written in the settings.
        field: String,
        /// The field with a similar name, if there is one.
        meant: Option<&'static str>,
    },
    /// The value of a field is missing or malformed.
    #[error("field `{field}`: {problem}")]
    Field {
        /// The name of the field.
        field: String,
        /// What is wrong with it and what is needed.
        problem: &'static str,
    },
}

const FIELDS: [&str; 7] = [
    "base_uri",
    "access_token_url",
    "client_id",
    "client_secret",
    "scopes",
    "log_requests",
    "user_agent",
];

const USER_AGENT_PROBLEM: &str = "has characters that a header cannot carry; use plain ASCII";

impl Settings {
    /// Reads and checks the settings. Unknown fields are refused.
    pub fn from_json(json: &[u8]) -> Result<Self, SettingsError> {
        let fields: Map<String, Value> = serde_json::from_slice(crate::page::json(json))
            .map_err(|_| SettingsError::NotAnObject)?;
        if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(SettingsError::UnknownField {
                field: unknown.clone(),
                meant: crate::nearest(unknown, FIELDS),
            });
        }
        let base_uri = base_uri(text(&fields, "base_uri")?)?;
        let user_agent = match fields.get("user_agent") {
            None | Some(Value::Null) => None,
            Some(_) => Some(text(&fields, "user_agent")?.to_owned()),
        };
        if user_agent.as_ref().is_some_and(|text| !text.is_ascii()) {
            return Err(field_error("user_agent", USER_AGENT_PROBLEM));
        }
        Ok(Self {
            access_token_url: secure_url("access_token_url", text(&fields, "access_token_url")?)?,
            client_id: text(&fields, "client_id")?.to_owned(),
            client_secret: text(&fields, "client_secret")?.into(),
            scopes: scopes(&fields)?,
            log_requests: match fields.get("log_requests") {
                None | Some(Value::Null) => false,
                Some(Value::Bool(log)) => *log,
                Some(_) => return Err(field_error("log_requests", "needs true or false")),
            },
            has_default_user_agent: user_agent.is_none(),
            user_agent: user_agent
                .unwrap_or_else(|| default_user_agent(&base_uri, None))
                .try_into()
                .map_err(|_| field_error("user_agent", USER_AGENT_PROBLEM))?,
            base_uri,
        })
    }

    /// A warning if `base_uri` and `access_token_url` are of different tenants: tokens are per tenant. `None` if the
    /// tenants agree, or if an address lacks the documented form (`reference/general-specs`,
    /// `reference/authentication`).
    pub(crate) fn tenant_mismatch(&self) -> Option<String> {
        let (tenant, environment) = self.base_uri.host_str()?.split_once('.')?;
        let token_environment = self.access_token_url.host_str()?;
        let token_environment = token_environment.strip_prefix("authentication.")?;
        let path = self.access_token_url.path().strip_prefix("/tenants/")?;
        let token_tenant = path.strip_suffix("/connect/token")?;
        let is_same = tenant.eq_ignore_ascii_case(token_tenant) && environment == token_environment;
        (!is_same).then(|| {
            format!("`base_uri` is of the tenant {tenant}.{environment}, `access_token_url` of {token_tenant}.{token_environment}")
        })
    }

    /// Adds the service's name to the default `User-Agent`: Protime asks for one distinct value per service. A
    /// `User-Agent` in the settings is kept.
    #[must_use]
    pub fn for_service(mut self, service: &str) -> Self {
        let user_agent = default_user_agent(&self.base_uri, Some(service)).try_into();
        if self.has_default_user_agent
            && let Ok(user_agent) = user_agent
        {
            self.user_agent = user_agent;
        }
        self
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.base_uri == other.base_uri
            && self.access_token_url == other.access_token_url
            && self.client_id == other.client_id
            && self.client_secret.expose_secret() == other.client_secret.expose_secret()
            && self.scopes == other.scopes
            && self.log_requests == other.log_requests
            && self.user_agent == other.user_agent
    }
}

fn field_error(field: &str, problem: &'static str) -> SettingsError {
    SettingsError::Field {
        field: field.to_owned(),
        problem,
    }
}

fn text<'a>(fields: &'a Map<String, Value>, field: &str) -> Result<&'a str, SettingsError> {
    match fields.get(field) {
        None | Some(Value::Null) => Err(field_error(field, "missing")),
        Some(Value::String(text)) if text.trim().is_empty() => Err(field_error(field, "empty")),
        Some(Value::String(text)) => Ok(text.trim()),
        Some(_) => Err(field_error(field, "needs a string")),
    }
}

fn scopes(fields: &Map<String, Value>) -> Result<Vec<String>, SettingsError> {
    let scopes: Vec<String> = match fields.get("scopes") {
        None | Some(Value::Null) => return Err(field_error("scopes", "missing")),
        Some(Value::String(text)) => text.split_ascii_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(|scope| scope.trim().to_owned()))
            .collect::<Option<_>>()
            .ok_or_else(|| field_error("scopes", "needs strings only"))?,
        Some(_) => {
            return Err(field_error(
                "scopes",
                "needs an array of strings or one space-separated string",
            ));
        }
    };
    if scopes.is_empty()
        || scopes
            .iter()
            .any(|scope| scope.is_empty() || scope.contains(char::is_whitespace))
    {
        return Err(field_error(
            "scopes",
            "needs at least one scope, each a word such as connector-protimeapi-clockings.read",
        ));
    }
    Ok(scopes)
}

/// Removes the API's path from the end of a base URI: users may write it with or without.
fn base_uri(text: &str) -> Result<Url, SettingsError> {
    let mut url = secure_url("base_uri", text)?;
    let path = url.path().trim_end_matches('/');
    if !(path.is_empty() || path == API_PATH) {
        return Err(field_error(
            "base_uri",
            "needs the tenant's origin without a path, such as https://acme.myprotime.eu",
        ));
    }
    if url.query().is_some() {
        return Err(field_error("base_uri", "must not have a query"));
    }
    url.set_path("/");
    Ok(url)
}

fn secure_url(field: &str, text: &str) -> Result<Url, SettingsError> {
    let url = Url::parse(text)
        .map_err(|_| field_error(field, "not a URL; needs one that begins with https://"))?;
    let loopback = match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Err(field_error(
            field,
            "must be https (http is accepted for loopback addresses only)",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(field_error(
            field,
            "must not carry a user name, password or fragment",
        ));
    }
    Ok(url)
}

/// The product, the service and the tenant, which is the first label of the host.
fn default_user_agent(base_uri: &Url, service: Option<&str>) -> String {
    let tenant = match base_uri.host() {
        Some(Host::Domain(domain)) => domain.split('.').next().unwrap_or(domain).to_owned(),
        Some(host) => host.to_string(),
        None => String::new(),
    };
    let service = service.map_or_else(String::new, |service| format!("; {service}"));
    format!(
        "ProtimeConnector/{} ({tenant}{service})",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_different_tenants_are_told() {
        let tenants = |base_uri: &str, access_token_url: &str| {
            let json = serde_json::json!({"base_uri": base_uri, "access_token_url": access_token_url,
                "client_id": "a", "client_secret": "b", "scopes": "c"});
            Settings::from_json(json.to_string().as_bytes())
                .unwrap()
                .tenant_mismatch()
        };
        // §1: Tenant | Subdomain of the customer's myProtime site
        // §1: Auth host
        // §2.3: Tokens are per tenant
        let token = "https://authentication.myprotime.eu/tenants/acme/connect/token";
        assert_eq!(tenants("https://acme.myprotime.eu", token), None);
        assert_eq!(
            tenants("https://other.myprotime.eu", token).unwrap(),
            "`base_uri` is of the tenant other.myprotime.eu, `access_token_url` of acme.myprotime.eu"
        );
        let sandbox = tenants("https://acme.myprotimesandbox.eu", token).unwrap();
        assert!(sandbox.contains("acme.myprotimesandbox.eu"), "{sandbox}");
        let unlike_the_documentation = "https://login.example.com/connect/token";
        assert_eq!(
            tenants("https://acme.myprotime.eu", unlike_the_documentation),
            None
        );
    }
}
