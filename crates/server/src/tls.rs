//! TLS from files: the certificate and its key, read at the start and again when they change, so that a renewal needs no restart.
//!
//! HTTP/2 and HTTP/1.1 are offered by ALPN. What is spoken over the encrypted stream is the business of `connection.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use llm_router::error::{Error, Result};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// The certificate of a server, which may be replaced while it runs.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: (PathBuf, PathBuf),
    now: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the file that cannot be used.
    pub(crate) fn read(cert: &Path, key: &Path) -> Result<Arc<Self>> {
        let now = RwLock::new(Arc::new(load(cert, key)?));
        Ok(Arc::new(Self { files: (cert.to_owned(), key.to_owned()), now }))
    }

    /// Reads the files again. What cannot be used leaves the last certificate in place: half a renewal must lock nobody out.
    pub(crate) fn reread(&self) {
        match load(&self.files.0, &self.files.1) {
            Ok(new) => *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new),
            Err(error) => tracing::warn!("the last certificate stays in use: {error}"),
        }
    }

    /// What accepts TLS connections with it.
    ///
    /// # Errors
    /// `router_internal` when the library has no common protocol version.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor> {
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?;
        let mut config =
            builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn load(cert: &Path, key: &Path) -> Result<CertifiedKey> {
    let wrong = |name: &str, path: &Path, why: &dyn std::fmt::Display| {
        Error::invalid(format!("server.{name}: {}: {why}", path.display()))
            .with_hint("give a PEM file that this user may read")
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| wrong("tls_cert", cert, &error))?;
    if chain.is_empty() {
        return Err(wrong("tls_cert", cert, &"it holds no certificate"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("tls_key", key, &error))?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(|error| wrong("tls_key", key, &error))
}
