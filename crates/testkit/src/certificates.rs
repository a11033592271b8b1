//! A certificate authority for one test, with a server's and a client's certificate.
//!
//! Keys are made anew for every test, save those in the forms that rcgen cannot make: RSA keys, and what OpenSSL writes.
//! They lie in `keys/` and are worth nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A client's key in some form, and a certificate for it.
#[derive(Debug, Clone)]
pub struct ClientKey {
    /// What the form is called.
    pub form: &'static str,
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A key that cannot be read without the passphrase `sesame`, in OpenSSL's two forms.
pub const ENCRYPTED_KEYS: [&str; 2] = [
    include_str!("keys/ec.encrypted.pem"),
    include_str!("keys/rsa.encrypted.pem"),
];

/// Form, key, and the same key as PKCS#8.
const OTHER_KEYS: [(&str, &str, &str); 4] = [
    (
        "rsa.pkcs1",
        include_str!("keys/rsa.pkcs1.pem"),
        include_str!("keys/rsa.pkcs8.pem"),
    ),
    (
        "rsa.pkcs8",
        include_str!("keys/rsa.pkcs8.pem"),
        include_str!("keys/rsa.pkcs8.pem"),
    ),
    (
        "ec.sec1",
        include_str!("keys/ec.sec1.pem"),
        include_str!("keys/ec.pkcs8.pem"),
    ),
    (
        "ec.pkcs8",
        include_str!("keys/ec.pkcs8.pem"),
        include_str!("keys/ec.pkcs8.pem"),
    ),
];

/// What the server's certificate says.
#[derive(Debug, Clone)]
pub(crate) struct ServerCertificate {
    /// The names and addresses that it is good for.
    pub(crate) names: Vec<String>,
    /// Whether its time has passed.
    pub(crate) expired: bool,
}

impl Default for ServerCertificate {
    fn default() -> Self {
        Self {
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            expired: false,
        }
    }
}

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
    /// Clients with keys in other forms.
    pub other_clients: Vec<ClientKey>,
}

impl Certificates {
    /// Makes new keys and certificates and writes them to `dir`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn generate(dir: &Path) -> Result<Self> {
        Self::for_server(dir, &ServerCertificate::default())
    }

    pub(crate) fn for_server(dir: &Path, certificate: &ServerCertificate) -> Result<Self> {
        let mut files = Self {
            ca: dir.join("ca.pem"),
            server_cert: dir.join("server.pem"),
            server_key: dir.join("server.key"),
            client_cert: dir.join("client.pem"),
            client_key: dir.join("client.key"),
            other_clients: Vec::new(),
        };
        let ca_key = KeyPair::generate()?;
        let ca_params = ca_params()?;
        fs::write(&files.ca, ca_params.self_signed(&ca_key)?.pem())?;
        let issuer = Issuer::new(ca_params, ca_key);

        let names = certificate.names.clone();
        let name = names.first().map_or("localhost", String::as_str);
        let mut server = leaf_params(name, names.clone(), ExtendedKeyUsagePurpose::ServerAuth)?;
        if certificate.expired {
            server.not_before = date_time_ymd(2020, 1, 1);
            server.not_after = date_time_ymd(2021, 1, 1);
        }
        write_leaf(&server, &issuer, &files.server_cert, &files.server_key)?;

        let client = leaf_params(
            "headwater-test",
            vec![],
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        write_leaf(&client, &issuer, &files.client_cert, &files.client_key)?;
        for (form, key, pkcs8) in OTHER_KEYS {
            let other = ClientKey {
                form,
                cert: dir.join(format!("client.{form}.pem")),
                key: dir.join(format!("client.{form}.key")),
            };
            let public = KeyPair::from_pem(pkcs8)?;
            fs::write(&other.cert, client.signed_by(&public, &issuer)?.pem())?;
            fs::write(&other.key, key)?;
            files.other_clients.push(other);
        }
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
