//! From a prompt's text to the signatures that a request would carry.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use afr_wire::{DomainKey, MAX_PREFIXES, Prefix, SignatureChain, UNIT_BYTES, UNIT_TOKENS};

use crate::api::protocol::PrefixText;

/// Why there are no signatures.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A file cannot be read.
    #[error("{file}: {source}", file = file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file holds no key.
    #[error("{file}: {source}", file = file.display())]
    Key {
        /// Which.
        file: PathBuf,
        /// What is allowed.
        source: NotAKey,
    },
    /// There is no key.
    #[error("--prompt-file needs --domain-key or --domain-key-file")]
    NoKey,
}

/// What is not 16 bytes in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a domain key is 16 bytes, 32 hexadecimal digits")]
pub struct NotAKey;

/// A domain key from the command line. Never printed.
#[derive(Debug, Clone)]
pub struct DomainSecret(DomainKey);

impl FromStr for DomainSecret {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let key = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
        let key = key.ok_or(NotAKey)?;
        Ok(Self(DomainKey::new(key.to_be_bytes())))
    }
}

impl From<DomainSecret> for DomainKey {
    fn from(secret: DomainSecret) -> Self {
        secret.0
    }
}

/// The key in a file, surrounded by nothing but white space.
///
/// # Errors
/// [`PromptError::Read`], [`PromptError::Key`].
pub fn read_key(file: &Path) -> Result<DomainKey, PromptError> {
    let text = String::from_utf8(read_prompt(file)?).unwrap_or_default();
    let secret = text.trim().parse::<DomainSecret>();
    let secret = secret.map_err(|source| PromptError::Key {
        file: file.to_owned(),
        source,
    })?;
    Ok(secret.into())
}

/// The bytes of a file.
///
/// # Errors
/// [`PromptError::Read`].
pub fn read_prompt(file: &Path) -> Result<Vec<u8>, PromptError> {
    fs::read(file).map_err(|source| PromptError::Read {
        file: file.to_owned(),
        source,
    })
}

/// The prefixes that a request with this prompt carries, depths ascending, and the prompt's length in tokens.
///
/// In a domain of kind `bytes`, 1,024 bytes of UTF-8 stand for 256 tokens. Of all depths those are taken that an endpoint
/// takes which knows no boundaries in the prompt: the deepest, and the powers of two, the deep ones first.
#[must_use]
pub fn signatures(key: &DomainKey, prompt: &[u8]) -> (Vec<PrefixText>, u32) {
    let all: Vec<Prefix> = SignatureChain::over_bytes(key, prompt).collect();
    let deepest = all.len() as u16;
    let octaves = (0..u16::BITS).rev().map(|power| 1_u16 << power);
    let mut carried = Vec::with_capacity(MAX_PREFIXES);
    for depth in std::iter::once(deepest).chain(octaves.filter(|depth| *depth < deepest)) {
        if depth >= 1 && carried.len() < MAX_PREFIXES {
            carried.push(depth);
        }
    }
    let prefixes = all.iter().filter(|prefix| carried.contains(&prefix.depth));
    let texts = prefixes.map(|prefix| PrefixText {
        depth: prefix.depth,
        signature: prefix.signature.to_string(),
    });
    let tokens = prompt.len().div_ceil(UNIT_BYTES / UNIT_TOKENS);
    (texts.collect(), u32::try_from(tokens).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DomainKey {
        let secret: DomainSecret = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        secret.into()
    }

    #[test]
    fn the_depths_are_an_endpoints() {
        for units in [0_usize, 1, 2, 3, 5, 8, 100, 300, 1_000] {
            let (prefixes, tokens) = signatures(&key(), &vec![b'a'; units * UNIT_BYTES + 1]);
            let depths: Vec<u16> = prefixes.iter().map(|prefix| prefix.depth).collect();
            let endpoint = afr_endpoint::depth::choose(units as u16, &[], 1);
            assert_eq!(depths, *endpoint, "{units} units");
            assert_eq!(tokens as usize, units * UNIT_TOKENS + 1);
        }
    }

    #[test]
    fn signatures_are_the_chains() {
        let prompt = vec![b'x'; 3 * UNIT_BYTES];
        let (prefixes, _) = signatures(&key(), &prompt);
        let third = SignatureChain::over_bytes(&key(), &prompt).nth(2).unwrap();
        assert_eq!(
            prefixes.last().unwrap().signature,
            third.signature.to_string()
        );
        assert_eq!(prefixes.last().unwrap().signature.len(), 8);
    }

    #[test]
    fn keys_are_32_digits() {
        for wrong in [
            "",
            "00",
            "+00102030405060708090a0b0c0d0e0f",
            "g00102030405060708090a0b0c0d0e0f",
        ] {
            assert!(wrong.parse::<DomainSecret>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_file_may_end_with_a_new_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.hex");
        fs::write(&file, "000102030405060708090a0b0c0d0e0f\n").unwrap();
        assert!(read_key(&file).is_ok());
        fs::write(&file, "0001").unwrap();
        let error = read_key(&file).unwrap_err().to_string();
        assert!(
            error.ends_with("key.hex: a domain key is 16 bytes, 32 hexadecimal digits"),
            "{error}"
        );
        let error = read_key(&directory.path().join("none")).unwrap_err();
        assert!(matches!(error, PromptError::Read { .. }));
    }
}
