//! The HTTP client of a process: whom it trusts, and how long it keeps connections.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use webpki_roots::TLS_SERVER_ROOTS;

/// Below the idle timeouts of common servers and gateways. By the wall clock: a freeze stops the monotonic one.
const LONGEST_IDLE: Duration = Duration::from_secs(10);

/// The HTTP client of a process. One is enough for all hosts.
///
/// It follows no redirects, so that no token reaches another host. It trusts Mozilla's authorities as of the build, and
/// those in the file that `SSL_CERT_FILE` names. It needs both: a proxy may inspect only some connections, such as those
/// to Protime. It does not read the system's authorities, which would take most of a cold start.
pub fn http_client() -> Result<HttpPool, ClientError> {
    match std::env::var_os("SSL_CERT_FILE") {
        Some(path) => http_client_trusting(Some(Path::new(&path))),
        None => http_client_trusting(None),
    }
}

/// Like [`http_client`], but the further authorities come from this file.
pub fn http_client_trusting(authorities: Option<&Path>) -> Result<HttpPool, ClientError> {
    let mut roots = RootCertStore {
        roots: TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = authorities {
        trust(&mut roots, path)?;
    }
    // rustls finds the linked provider of cryptography by itself.
    let mut tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    HttpPool::new(tls, true)
}

/// Connections that are kept for further requests. Clones are cheap and share them.
///
/// A connection that was idle for more than ten seconds is not used again. Lambda freezes an environment between
/// invocations, so nobody notices when a peer closes the connection. A write on such a connection would be lost, and it
/// would be unknown whether it was done.
#[derive(Clone)]
pub struct HttpPool(Arc<Pool>);

struct Pool {
    tls: rustls::ClientConfig,
    decodes: bool,
    /// The client, and when it was last asked for.
    current: Mutex<(reqwest::Client, Timestamp)>,
}

impl HttpPool {
    fn new(tls: rustls::ClientConfig, decodes: bool) -> Result<Self, ClientError> {
        let current = Mutex::new((client(&tls, decodes)?, Timestamp::now()));
        Ok(Self(Arc::new(Pool {
            tls,
            decodes,
            current,
        })))
    }

    /// A pool with connections of its own. It leaves bodies as they were sent, and asks for compression only where a
    /// request does.
    pub fn undecoded(&self) -> Result<Self, ClientError> {
        Self::new(self.0.tls.clone(), false)
    }

    /// The client for a request that is sent at `now`.
    pub fn at(&self, now: Timestamp) -> reqwest::Client {
        let mut current = self
            .0
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let idle = now.duration_since(current.1).unsigned_abs();
        if idle > LONGEST_IDLE
            && let Ok(fresh) = client(&self.0.tls, self.0.decodes)
        {
            current.0 = fresh;
        }
        current.1 = now;
        current.0.clone()
    }
}

impl fmt::Debug for HttpPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpPool")
    }
}

fn client(tls: &rustls::ClientConfig, decodes: bool) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .gzip(decodes)
        .tls_backend_preconfigured(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_mins(1))
        .pool_idle_timeout(LONGEST_IDLE)
        .build()
        .map_err(ClientError::Other)
}

fn trust(roots: &mut RootCertStore, path: &Path) -> Result<(), ClientError> {
    let unusable = |reason: String| ClientError::Authorities {
        path: path.display().to_string(),
        reason,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(error.to_string()))?;
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(unusable("no certificate in it can be used".to_owned())),
        _ => Ok(()),
    }
}

/// The reason why no HTTP client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file that `SSL_CERT_FILE` names cannot be used.
    #[error(
        "environment variable SSL_CERT_FILE: {path}: {reason}; it needs a file of certificates in PEM"
    )]
    Authorities {
        /// The path of the file.
        path: String,
        /// Why the file cannot be used.
        reason: String,
    },
    /// reqwest could not build the client.
    #[error("the HTTP client cannot be made: {0}")]
    Other(reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_authorities_is_named() {
        for (path, reason) in [
            ("no/such/file.pem", "No such file"),
            ("Cargo.toml", "no certificate in it can be used"),
        ] {
            let error = http_client_trusting(Some(Path::new(path)));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("SSL_CERT_FILE"), "{error}");
            assert!(error.contains(path), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }
}
