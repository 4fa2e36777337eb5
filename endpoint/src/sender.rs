//! Making the metadata of one request: what the client knows, signed, as the header its socket will carry.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::ops::Deref;

use afr_wire::{
    Bloom, CatalogueSalt, CatalogueVersion, ClassId, ClusterId, DomainId, DomainKey, EmitError,
    KeyId, Label32, Labels, List, MAX_LABELS, MAX_PREFIXES, MAX_REQUEST_LEN, MacAlgorithm,
    MasterKey, OPTION_TYPE, PolicyScope, Prefix, Request, RequestContext, RequestFlags, Role,
    SenderKey, SignError, SignatureChain, UNIT_BYTES, UNIT_TOKENS, carrier, masked_source,
};

use crate::depth;

/// The longest header a request needs, in bytes.
pub const MAX_REQUEST_HEADER_LEN: usize = carrier::header_len(MAX_REQUEST_LEN);

/// An entry of the key ring, as a sender holds it.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    /// Its number; never 0.
    pub id: KeyId,
    /// How tags are made.
    pub algorithm: MacAlgorithm,
    /// The master key.
    pub master: MasterKey,
    /// The cluster whose AFRs verify.
    pub cluster: ClusterId,
    /// Bits of the source address that the derived key depends on.
    pub source_prefix_len: u8,
}

/// A signature domain, as one of its senders or engines holds it.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// The tenant's key.
    pub key: DomainKey,
    /// Blocks of the engine in units of [`UNIT_TOKENS`]; see [`depth::choose`].
    pub grid_units: u16,
}

/// The text of a request, in one of the two kinds of signature domain.
#[derive(Copy, Clone, Debug)]
pub enum Prompt<'a> {
    /// The prompt in UTF-8, for a domain of kind `bytes`: 1,024 bytes stand for 256 tokens.
    Bytes(&'a [u8]),
    /// Token ids as the engine makes them, for a domain of kind `tokens`.
    Tokens(&'a [u32]),
}

impl Prompt<'_> {
    /// Whole units of 256 tokens, as many as the wire can name.
    fn units(&self) -> u16 {
        let units = match self {
            Self::Bytes(text) => text.len() / UNIT_BYTES,
            Self::Tokens(ids) => ids.len() / UNIT_TOKENS,
        };
        units.try_into().unwrap_or(u16::MAX)
    }

    /// Length in tokens; in a `bytes` domain as it is taken there, four bytes to a token, rounded up.
    fn tokens(&self) -> u32 {
        let tokens = match self {
            Self::Bytes(text) => text.len().div_ceil(UNIT_BYTES / UNIT_TOKENS),
            Self::Tokens(ids) => ids.len(),
        };
        tokens.try_into().unwrap_or(u32::MAX)
    }

    /// The signatures at `depths`, which ascend. The chain is walked once, no further than the deepest.
    fn prefixes(&self, key: &DomainKey, depths: &[u16]) -> List<Prefix, MAX_PREFIXES> {
        let wanted = |prefix: &Prefix| depths.contains(&prefix.depth);
        let deepest = depths.last().copied().unwrap_or(0).into();
        match self {
            Self::Bytes(text) => {
                let chain = SignatureChain::over_bytes(key, text);
                List::take_from(chain.take(deepest).filter(wanted))
            }
            Self::Tokens(ids) => {
                let chain = SignatureChain::over_tokens(key, ids);
                List::take_from(chain.take(deepest).filter(wanted))
            }
        }
    }
}

/// What one request asks for, and where it goes.
#[derive(Copy, Clone, Debug)]
pub struct Ask<'a> {
    /// Address the socket is bound to or will take: [`source_towards`].
    pub source: Ipv6Addr,
    /// Address and port it connects to.
    pub destination: SocketAddrV6,
    /// Upper-layer protocol: 6 for TCP, 17 for UDP.
    pub protocol: u8,
    /// Exact capability class.
    pub class: ClassId,
    /// Labels the instance must have, at most [`MAX_LABELS`] unless `bloom`.
    pub labels: &'a [Label32],
    /// Send the labels as a Bloom-256 filter; only for classes that allow it.
    pub bloom: bool,
    /// Policy scope.
    pub policy: PolicyScope,
    /// Opaque session, rotated by the caller.
    pub session: u64,
    /// Flags.
    pub flags: RequestFlags,
    /// The text, if the AFR shall know its prefixes.
    pub prompt: Option<Prompt<'a>>,
    /// Length in tokens where the caller knows better than `prompt` tells; 0 if neither does.
    pub prompt_tokens: u32,
    /// Depths that recur, in units, the most valuable first.
    pub boundaries: &'a [u16],
    /// Unix seconds.
    pub issued_at: u32,
}

/// Why a header could not be made.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// A list has room for fewer labels.
    #[error("{found} labels where at most {MAX_LABELS} may be")]
    TooManyLabels {
        /// How many there were.
        found: usize,
    },
    /// The object could not be written.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The object could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A Destination Options header around a signed request, as the socket option wants it.
#[derive(Copy, Clone)]
pub struct RequestHeader {
    bytes: [u8; MAX_REQUEST_HEADER_LEN],
    len: usize,
}

impl Deref for RequestHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Everything about requests that stays the same from one to the next.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Key to sign with; `None` for unauthenticated requests.
    pub key: Option<KeyEntry>,
    /// Version of the label catalogue.
    pub catalogue: CatalogueVersion,
    /// Signature domain; without one, no prefixes are sent.
    pub domain: Option<Domain>,
    /// Option type, [`OPTION_TYPE`] unless the domain uses another experiment's.
    pub option_type: u8,
}

impl Sender {
    /// A sender of unauthenticated requests without prefixes.
    #[must_use]
    pub const fn new(catalogue: CatalogueVersion) -> Self {
        Self {
            key: None,
            catalogue,
            domain: None,
            option_type: OPTION_TYPE,
        }
    }

    /// The header for one request.
    ///
    /// # Errors
    ///
    /// [`SendError`], always for something the caller asked for.
    pub fn header(&self, ask: &Ask<'_>) -> Result<RequestHeader, SendError> {
        let request = self.request(ask)?;
        let mut object = [0; MAX_REQUEST_LEN];
        let length = request.emit(&mut object)?;
        let object = object.get_mut(..length).unwrap_or_default();
        if let Some(key) = &self.key {
            let context = RequestContext {
                source: ask.source.octets(),
                destination: ask.destination.ip().octets(),
                protocol: ask.protocol,
                destination_port: ask.destination.port(),
            };
            let sender = masked_source(context.source, key.source_prefix_len);
            SenderKey::derive(
                key.algorithm,
                &key.master,
                Role::Request,
                key.cluster,
                &sender,
            )
            .sign_request(&context, object)?;
        }
        let mut bytes = [0; MAX_REQUEST_HEADER_LEN];
        // The kernel fills in the next header.
        let len = carrier::emit_options_header(0, self.option_type, object, &mut bytes)?;
        Ok(RequestHeader { bytes, len })
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Request, SendError> {
        let known_tokens = ask.prompt.map_or(0, |prompt| prompt.tokens());
        let mut request = Request {
            flags: ask.flags,
            key_id: self.key.as_ref().map_or(KeyId::NONE, |key| key.id),
            catalogue: self.catalogue,
            class_id: ask.class,
            issued_at: ask.issued_at,
            session: ask.session,
            policy: ask.policy,
            prompt_tokens: if ask.prompt_tokens > 0 {
                ask.prompt_tokens
            } else {
                known_tokens
            },
            labels: labels(ask)?,
            ..Request::default()
        };
        if let (Some(domain), Some(prompt)) = (&self.domain, &ask.prompt) {
            let depths = depth::choose(prompt.units(), ask.boundaries, domain.grid_units);
            request.domain = domain.id;
            request.prefixes = prompt.prefixes(&domain.key, &depths);
        }
        Ok(request)
    }
}

fn labels(ask: &Ask<'_>) -> Result<Labels, SendError> {
    if ask.bloom {
        let mut filter = Bloom::<4>::new();
        ask.labels.iter().for_each(|label| filter.insert(*label));
        return Ok(Labels::Bloom(filter.to_bytes()));
    }
    let found = ask.labels.len();
    if found > MAX_LABELS {
        return Err(SendError::TooManyLabels { found });
    }
    let hashes = ask.labels.iter().map(|label| label.short());
    Ok(Labels::Hashes(List::take_from(hashes)))
}

/// The hashes of labels given by name.
#[must_use]
pub fn label_hashes<'a>(
    salt: &CatalogueSalt,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<Label32> {
    names.into_iter().map(|name| salt.label(name)).collect()
}

/// The source address that the kernel would take towards `destination`; nothing is sent.
///
/// # Errors
///
/// The kernel's, for example where there is no route.
pub fn source_towards(destination: SocketAddrV6) -> io::Result<Ipv6Addr> {
    let probe = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    probe.connect(destination)?;
    match probe.local_addr()? {
        std::net::SocketAddr::V6(address) => Ok(*address.ip()),
        std::net::SocketAddr::V4(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use afr_wire::{Object, Place, option::Options};

    const SOURCE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xc, 0, 0, 0, 0, 0, 1);
    const DESTINATION: SocketAddrV6 =
        SocketAddrV6::new(Ipv6Addr::new(0xfd00, 0xa9, 0, 0, 0, 0, 0, 7), 8000, 0, 0);

    fn sender(algorithm: MacAlgorithm) -> Sender {
        Sender {
            key: Some(KeyEntry {
                id: KeyId(3),
                algorithm,
                master: MasterKey::new([9; 16]),
                cluster: ClusterId(1),
                source_prefix_len: 64,
            }),
            domain: Some(Domain {
                id: DomainId(5),
                key: DomainKey::new([4; 16]),
                grid_units: 1,
            }),
            ..Sender::new(CatalogueVersion(2))
        }
    }

    fn ask<'a>(labels: &'a [Label32], prompt: Prompt<'a>) -> Ask<'a> {
        Ask {
            source: SOURCE,
            destination: DESTINATION,
            protocol: 6,
            class: ClassId(7),
            labels,
            bloom: false,
            policy: PolicyScope(1),
            session: 0x1122,
            flags: RequestFlags::SPILL_OK,
            prompt: Some(prompt),
            prompt_tokens: 0,
            boundaries: &[3],
            issued_at: 1_793_318_400,
        }
    }

    /// Takes the object out of a header as a receiver would.
    fn open(header: &[u8]) -> afr_wire::RequestView<'_> {
        assert_eq!((usize::from(header[1]) + 1) * 8, header.len());
        let mut options = Options::new(&header[2..]);
        let found = options.next().unwrap().unwrap();
        assert_eq!(found.kind, OPTION_TYPE);
        assert!(options.next().is_none());
        match Object::parse(found.data, Place::InBand) {
            Ok(Object::Request(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_header_says_what_was_asked_under_the_senders_key() {
        let labels = label_hashes(&CatalogueSalt::new([1; 8]), ["model:a", "tool:b"]);
        let text = [b'x'; 10 * 1024 + 5];
        for algorithm in [MacAlgorithm::AesCmac, MacAlgorithm::SipHash24] {
            let header = sender(algorithm)
                .header(&ask(&labels, Prompt::Bytes(&text)))
                .unwrap();
            let view = open(&header);
            assert_eq!(view.class_id(), ClassId(7));
            assert_eq!(view.flags(), RequestFlags::SPILL_OK);
            assert_eq!((view.session(), view.policy()), (0x1122, PolicyScope(1)));
            assert_eq!(view.prompt_tokens(), 2562);
            assert_eq!(view.domain(), DomainId(5));
            assert!(view.labels().eq(labels.iter().map(|label| label.short())));
            let depths: Vec<u16> = view.prefixes().map(|prefix| prefix.depth).collect();
            assert_eq!(depths, [1, 2, 3, 4, 8, 10]);
            for prefix in view.prefixes() {
                let chain = SignatureChain::over_bytes(&DomainKey::new([4; 16]), &text);
                assert!(chain.into_iter().any(|other| other == prefix));
            }

            let key = |address: [u8; 16]| {
                SenderKey::derive(
                    algorithm,
                    &MasterKey::new([9; 16]),
                    Role::Request,
                    ClusterId(1),
                    &masked_source(address, 64),
                )
            };
            let context = RequestContext {
                source: SOURCE.octets(),
                destination: DESTINATION.ip().octets(),
                protocol: 6,
                destination_port: 8000,
            };
            assert!(key(context.source).verify_request(&context, &view));
            let elsewhere = RequestContext {
                destination_port: 8001,
                ..context
            };
            assert!(!key(context.source).verify_request(&elsewhere, &view));
            assert!(!key([1; 16]).verify_request(&context, &view));
        }
    }

    #[test]
    fn tokens_and_their_bytes_sign_alike() {
        let ids: Vec<u32> = (0..2000).collect();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let sender = sender(MacAlgorithm::AesCmac);
        let by_id = sender.header(&ask(&[], Prompt::Tokens(&ids))).unwrap();
        let by_byte = sender.header(&ask(&[], Prompt::Bytes(&bytes))).unwrap();
        assert_eq!(by_id[..], by_byte[..]);
        assert_eq!(open(&by_id).prompt_tokens(), 2000);
    }

    #[test]
    fn short_prompts_and_plain_senders_carry_no_prefixes() {
        let header = sender(MacAlgorithm::AesCmac)
            .header(&ask(&[], Prompt::Bytes(&[0; 1023])))
            .unwrap();
        assert_eq!(open(&header).n_prefixes(), 0);
        assert_eq!(header.len(), 56, "the smallest authenticated request");

        let plain = Sender::new(CatalogueVersion(2));
        let header = plain.header(&ask(&[], Prompt::Bytes(&[0; 4096]))).unwrap();
        let view = open(&header);
        assert_eq!((view.n_prefixes(), view.mac()), (0, None));
    }

    #[test]
    fn labels_are_bounded_unless_a_filter() {
        let labels = [Label32(0x0001_0002); 9];
        let mut ask = ask(&labels, Prompt::Tokens(&[]));
        let sender = sender(MacAlgorithm::AesCmac);
        let error = sender.header(&ask).err();
        assert_eq!(error, Some(SendError::TooManyLabels { found: 9 }));
        ask.bloom = true;
        let header = sender.header(&ask).unwrap();
        let filter = Bloom::<4>::from_bytes(open(&header).bloom().unwrap());
        assert!(filter.contains(labels[0]));
    }

    #[test]
    fn the_source_of_loopback_is_loopback() {
        let destination = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 9, 0, 0);
        assert_eq!(source_towards(destination).unwrap(), Ipv6Addr::LOCALHOST);
    }
}
