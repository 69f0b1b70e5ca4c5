//! TLS 1.3 that both ends verify, from PEM that may change while they run.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::Arc;

/// What gRPC speaks.
const PROTOCOL: &[u8] = b"h2";
/// Keys of a Secret, and names of files, as cert-manager too calls them: the certificate with its chain.
pub const CERTIFICATE: &str = "tls.crt";
/// Its private key.
pub const KEY: &str = "tls.key";
/// The authorities that the other end's certificate may come from.
pub const AUTHORITIES: &str = "ca.crt";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// Something is not PEM of what it should be.
    #[error("{0}: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// Something is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The parts do not fit.
    #[error("certificate, key and authorities do not fit: {0}")]
    Parts(String),
}

/// What one end shows, and whom it trusts: PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pems {
    /// Its certificate with its chain.
    pub certificate: Vec<u8>,
    /// The private key to it.
    pub key: Vec<u8>,
    /// The authorities that the other end's certificate may come from.
    pub authorities: Vec<u8>,
}

/// Keys are nobody's to read in a log.
impl std::fmt::Debug for Pems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pems").finish_non_exhaustive()
    }
}

impl Pems {
    /// What lies in a mounted folder.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, TlsError> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|error| TlsError::File(path.display().to_string(), error))
        };
        Ok(Self { certificate: read(CERTIFICATE)?, key: read(KEY)?, authorities: read(AUTHORITIES)? })
    }

    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| TlsError::Pem(CERTIFICATE, error))?;
        if chain.is_empty() {
            return Err(TlsError::Missing(CERTIFICATE));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsError::Pem(KEY, error))?;
        Ok((chain, key))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&self.authorities) {
            let authority = authority.map_err(|error| TlsError::Pem(AUTHORITIES, error))?;
            roots.add(authority).map_err(|error| TlsError::Parts(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(TlsError::Missing(AUTHORITIES));
        }
        Ok(Arc::new(roots))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A server that talks only to clients whose certificate comes from its authorities.
///
/// # Errors
/// What is wrong with the PEM.
pub fn server(pems: &Pems) -> Result<Arc<ServerConfig>, TlsError> {
    let parts = |error: String| TlsError::Parts(error);
    let (chain, key) = pems.chain()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(pems.roots()?, provider())
        .build()
        .map_err(|error| parts(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| parts(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| parts(error.to_string()))?;
    config.alpn_protocols = vec![PROTOCOL.into()];
    // A resumed session would not show its certificate anew.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client that talks only to servers whose certificate comes from its authorities.
///
/// # Errors
/// What is wrong with the PEM.
pub fn client(pems: &Pems) -> Result<Arc<ClientConfig>, TlsError> {
    let parts = |error: rustls::Error| TlsError::Parts(error.to_string());
    let (chain, key) = pems.chain()?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(parts)?
        .with_root_certificates(pems.roots()?)
        .with_client_auth_cert(chain, key)
        .map_err(parts)?;
    config.alpn_protocols = vec![PROTOCOL.into()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
