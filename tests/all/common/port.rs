//! The port of a driver that a test wrote.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use chaos::driver::http::HttpPort;
use chaos::driver::{Wanted, With, find};
use chaos::experiment::decode::At;
use chaos::experiment::diagnostic::{Diagnostics, Span};
use chaos::secret::Redactor;

/// Of a driver that names files beside it.
pub fn port_in(folder: &Path, driver: &str, url: &str) -> HttpPort {
    // As `main` does it. It may have been done by another test.
    let _ = rustls::crypto::ring::default_provider().install_default();
    std::fs::write(folder.join("d.yaml"), driver).unwrap();
    let name = At { value: "d.yaml".to_owned(), span: Span::default() };
    let (with, mut diags) = (With::new(), Diagnostics::default());
    let wanted = Wanted { name: &name, with: &with, beside: folder };
    let driver = find(&wanted, &mut Redactor::default(), &mut diags).unwrap_or_else(|| panic!("{}", diags.render(false)));
    HttpPort::new(driver, Arc::new(OnceLock::from(url.to_owned()))).unwrap()
}

pub fn port(driver: &str, url: &str) -> HttpPort {
    port_in(tempfile::tempdir().unwrap().path(), driver, url)
}
