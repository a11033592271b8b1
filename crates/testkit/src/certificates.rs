//! A certificate authority for one test, with a server's and a client's certificate.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// PEM files of a throw-away authority. Keys are PKCS#8 (ECDSA P-256).
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate, valid for `localhost` and `127.0.0.1`.
    pub server_cert: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// A client's certificate, with the common name `headwater-test`.
    pub client_cert: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes new keys and certificates and writes them to `dir`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn generate(dir: &Path) -> Result<Self> {
        let files = Self {
            ca: dir.join("ca.pem"),
            server_cert: dir.join("server.pem"),
            server_key: dir.join("server.key"),
            client_cert: dir.join("client.pem"),
            client_key: dir.join("client.key"),
        };
        let ca_key = KeyPair::generate()?;
        let ca_params = ca_params()?;
        fs::write(&files.ca, ca_params.self_signed(&ca_key)?.pem())?;
        let issuer = Issuer::new(ca_params, ca_key);

        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = leaf_params("localhost", names, ExtendedKeyUsagePurpose::ServerAuth)?;
        write_leaf(&server, &issuer, &files.server_cert, &files.server_key)?;

        let client = leaf_params(
            "headwater-test",
            vec![],
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        write_leaf(&client, &issuer, &files.client_cert, &files.client_key)?;
        Ok(files)
    }
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "headwater test authority");
    Ok(params)
}

fn leaf_params(
    common_name: &str,
    subject_alt_names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(subject_alt_names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn write_leaf(
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
    cert: &Path,
    key: &Path,
) -> Result<()> {
    let key_pair = KeyPair::generate()?;
    fs::write(cert, params.signed_by(&key_pair, issuer)?.pem())?;
    fs::write(key, key_pair.serialize_pem())?;
    Ok(())
}
