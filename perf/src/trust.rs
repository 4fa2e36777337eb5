//! Command-line arguments that emulated instances and the load client share: keys, catalogue, signature domain.
//!
//! Keys on a command line are visible to every user of the machine. These are for laboratories.

use afr_endpoint::report::Identity;
use afr_endpoint::sender::{Domain, KeyEntry, Sender};
use afr_wire::{
    CatalogueSalt, CatalogueVersion, ClusterId, DomainId, DomainKey, InstanceId, KeyId,
    MacAlgorithm, MasterKey,
};

use crate::engine::BLOCK_TOKENS;

/// What the AFR and its peers must agree on.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Trust domain")]
pub struct TrustArgs {
    /// Entry of the key ring to sign with; 0 for unauthenticated metadata
    #[arg(long, default_value_t = 0)]
    pub key_id: u16,
    /// Master key of that entry, 16 bytes in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = master_key)]
    pub master_key: Option<MasterKey>,
    /// How tags are made
    #[arg(long, value_enum, default_value_t = Mac::AesCmac)]
    pub mac: Mac,
    /// Number of the cluster
    #[arg(long, default_value_t = 1)]
    pub cluster: u32,
    /// Version of the label catalogue
    #[arg(long, default_value_t = 1)]
    pub catalogue: u16,
    /// Salt of that version, 8 bytes in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = salt, default_value = "0000000000000000")]
    pub salt: CatalogueSalt,
    /// Signature domain
    #[arg(long, default_value_t = 1)]
    pub domain: u16,
    /// Key of that domain, 16 bytes in hexadecimal
    #[arg(
        long,
        value_name = "HEX",
        value_parser = domain_key,
        default_value = "00000000000000000000000000000000"
    )]
    pub domain_key: DomainKey,
}

/// How tags are made.
#[derive(Copy, Clone, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mac {
    /// AES-CMAC-128
    AesCmac,
    /// SipHash-2-4 with 128-bit output
    Siphash,
}

impl From<Mac> for MacAlgorithm {
    fn from(mac: Mac) -> Self {
        match mac {
            Mac::AesCmac => Self::AesCmac,
            Mac::Siphash => Self::SipHash24,
        }
    }
}

/// A key id without its key.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--key-id {key_id} needs --master-key")]
pub struct MissingKey {
    /// The key id.
    pub key_id: u16,
}

impl TrustArgs {
    /// Who an instance reports as.
    ///
    /// # Errors
    ///
    /// [`MissingKey`].
    pub fn identity(&self, instance: InstanceId) -> Result<Identity, MissingKey> {
        let plain = Identity::new(instance, self.catalogue(), DomainId(self.domain));
        Ok(match self.key()? {
            Some((id, master)) => {
                plain.with_key(id, self.mac.into(), master, ClusterId(self.cluster))
            }
            None => plain,
        })
    }

    /// What a client signs with; its derived key depends on so many bits of its address.
    ///
    /// # Errors
    ///
    /// [`MissingKey`].
    pub fn sender(&self, source_prefix_len: u8) -> Result<Sender, MissingKey> {
        let key = self.key()?.map(|(id, master)| KeyEntry {
            id,
            algorithm: self.mac.into(),
            master: master.clone(),
            cluster: ClusterId(self.cluster),
            source_prefix_len,
        });
        let domain = Domain {
            id: DomainId(self.domain),
            key: self.domain_key.clone(),
            grid_units: (BLOCK_TOKENS as usize / afr_wire::UNIT_TOKENS) as u16,
        };
        Ok(Sender {
            key,
            domain: Some(domain),
            ..Sender::new(self.catalogue())
        })
    }

    fn catalogue(&self) -> CatalogueVersion {
        CatalogueVersion(self.catalogue)
    }

    fn key(&self) -> Result<Option<(KeyId, &MasterKey)>, MissingKey> {
        let id = KeyId(self.key_id);
        if !id.has_mac() {
            return Ok(None);
        }
        match &self.master_key {
            Some(master) => Ok(Some((id, master))),
            None => Err(MissingKey {
                key_id: self.key_id,
            }),
        }
    }
}

/// Not so many bytes in hexadecimal.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected} bytes in hexadecimal wanted")]
pub struct HexError {
    expected: usize,
}

fn hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let error = HexError { expected: N };
    let mut bytes = [0; N];
    // The check makes sure that no byte of the text is a part of a longer character, nor a sign.
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(error);
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        let digits = text.get(2 * at..2 * at + 2).ok_or(error)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| error)?;
    }
    Ok(bytes)
}

fn master_key(text: &str) -> Result<MasterKey, HexError> {
    hex(text).map(MasterKey::new)
}

fn domain_key(text: &str) -> Result<DomainKey, HexError> {
    hex(text).map(DomainKey::new)
}

fn salt(text: &str) -> Result<CatalogueSalt, HexError> {
    hex(text).map(CatalogueSalt::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        trust: TrustArgs,
    }

    fn parse(arguments: &[&str]) -> Result<TrustArgs, clap::Error> {
        let arguments = std::iter::once("test").chain(arguments.iter().copied());
        Command::try_parse_from(arguments).map(|command| command.trust)
    }

    #[test]
    fn a_key_id_needs_its_key() {
        let trust = parse(&["--key-id", "3"]).unwrap();
        assert_eq!(trust.sender(128).err(), Some(MissingKey { key_id: 3 }));
        let key = "000102030405060708090a0b0c0d0e0f";
        let trust = parse(&["--key-id", "3", "--master-key", key, "--mac", "siphash"]).unwrap();
        let entry = trust.sender(64).unwrap().key.unwrap();
        assert_eq!(
            (entry.id, entry.algorithm),
            (KeyId(3), MacAlgorithm::SipHash24)
        );
        assert!(trust.identity(InstanceId(1)).unwrap().key.is_some());
        let unauthenticated = parse(&[]).unwrap();
        assert!(unauthenticated.sender(128).unwrap().key.is_none());
    }

    #[test]
    fn hexadecimal_is_exact() {
        assert_eq!(hex("00ffA5"), Ok([0x00, 0xff, 0xa5]));
        for wrong in ["", "00ff", "00ffa5a5", "00ff+5", "00ffé"] {
            assert_eq!(hex::<3>(wrong), Err(HexError { expected: 3 }), "{wrong}");
        }
    }
}
