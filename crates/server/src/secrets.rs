//! Secrets at rest: sealed with a key that lies beside the database, readable by its owner alone.
//!
//! Whoever gets hold of the database (a backup, a copied file) learns nothing without the key file. What is sealed says
//! what it belongs to, so that it cannot be put in the place of something else.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// The key's file within the data folder.
const KEY_FILE: &str = "secret.key";
const KEY_BYTES: usize = 32;

/// Why something sealed cannot be read, or nothing be sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(
        "the key file '{path}' cannot be used; without it what the server keeps cannot be read"
    )]
    KeyFile {
        path: String,
        source: std::io::Error,
    },
    #[error("the key file '{path}' cannot be made")]
    NewKeyFile {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "the key file '{path}' is missing, without which the database beside it cannot be read; put it back"
    )]
    Lost { path: String },
    #[error("the key file '{path}' is damaged: it must have {KEY_BYTES} bytes")]
    Damaged { path: String },
    #[error("what is kept of {what} cannot be opened with this key file; was it exchanged?")]
    WrongKey { what: String },
    #[error("the system has no random numbers")]
    NoRandom,
}

/// Seals and opens.
pub(crate) struct Vault {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Vault {
    /// The vault of a data folder. The key of a new one is made if it is not there.
    pub(crate) fn open_in(data_dir: &Path, is_new: bool) -> Result<Self, SecretError> {
        let path = data_dir.join(KEY_FILE);
        let random = SystemRandom::new();
        let shown = path.display().to_string();
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => match is_new {
                true => create(&path, &random)?,
                false => return Err(SecretError::Lost { path: shown }),
            },
            Err(source) => {
                return Err(SecretError::KeyFile {
                    path: shown,
                    source,
                });
            }
        };
        match UnboundKey::new(&CHACHA20_POLY1305, &bytes) {
            Ok(key) => Ok(Self {
                key: LessSafeKey::new(key),
                random,
            }),
            Err(_length) => Err(SecretError::Damaged { path: shown }),
        }
    }

    /// Seals a text for the thing of this name.
    pub(crate) fn seal(&self, what: &str, text: &str) -> Result<Vec<u8>, SecretError> {
        let mut nonce = [0; NONCE_LEN];
        fill(&self.random, &mut nonce)?;
        let mut sealed = text.as_bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(unique, Aad::from(what), &mut sealed)
            .map_err(|_too_long| SecretError::NoRandom)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// The text that was sealed for the thing of this name.
    pub(crate) fn open(&self, what: &str, sealed: &[u8]) -> Result<String, SecretError> {
        let wrong = || SecretError::WrongKey {
            what: what.to_owned(),
        };
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_length| wrong())?;
        let mut text = text.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::from(what), &mut text);
        let opened = opened.map_err(|_forged| wrong())?;
        String::from_utf8(opened.to_vec()).map_err(|_not_text| wrong())
    }
}

/// Random letters and digits after a prefix: an id that nobody guesses or has already.
pub(crate) fn new_id(prefix: &str) -> Result<String, SecretError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 12];
    fill(&SystemRandom::new(), &mut bytes)?;
    let letters = bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    Ok(format!("{prefix}_{}", letters.collect::<String>()))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    let file = OpenOptions::new().read(true).open(path)?;
    // one byte more than a key has shows that it is none
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn create(path: &Path, random: &SystemRandom) -> Result<Vec<u8>, SecretError> {
    let mut bytes = vec![0; KEY_BYTES];
    fill(random, &mut bytes)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.map_err(|source| SecretError::NewKeyFile {
        path: path.display().to_string(),
        source,
    })?;
    Ok(bytes)
}

fn fill(random: &SystemRandom, bytes: &mut [u8]) -> Result<(), SecretError> {
    random
        .fill(bytes)
        .map_err(|_unspecified| SecretError::NoRandom)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_under_the_same_name_only() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Vault::open_in(dir.path(), true)
            .unwrap()
            .seal("a", "geheim")
            .unwrap();
        assert!(!sealed.windows(6).any(|bytes| bytes == b"geheim"));
        let again = Vault::open_in(dir.path(), true).unwrap();
        assert_eq!(again.open("a", &sealed).unwrap(), "geheim");
        assert!(again.open("b", &sealed).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Vault::open_in(elsewhere.path(), true).unwrap();
        assert!(other.open("a", &sealed).is_err());
        for length in 0..sealed.len() {
            assert!(again.open("a", &sealed[..length]).is_err());
        }
    }

    #[test]
    fn the_key_is_its_owners_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        Vault::open_in(dir.path(), true).unwrap();
        let path = dir.path().join(KEY_FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for damaged in [vec![0; 31], vec![0; 33], Vec::new()] {
            std::fs::write(&path, damaged).unwrap();
            let error = Vault::open_in(dir.path(), true).err().unwrap();
            assert!(matches!(error, SecretError::Damaged { .. }));
        }
    }
}
