//! Whom an encrypted connection trusts: the machine's authorities, and one of the driver's.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// # Errors
/// A sentence: the file cannot be read, or holds no certificate.
pub fn config(ca: Option<&String>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    // Certificates that this machine trusts and this library cannot read are left out, as everywhere.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca {
        let wrong = |e: String| format!("`ca: {file}` cannot be used: {e}");
        let found = CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))?;
        let before = roots.len();
        for certificate in found {
            let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
            roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
        if roots.len() == before {
            return Err(wrong("it holds no certificate in PEM form".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
