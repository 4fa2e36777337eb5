//! Codec of the Agent-Aware Metadata, version 1.
//!
//! One object travels in three carriers: an IPv6 Destination Option (the default), a Hop-by-Hop
//! option or an SRH TLV; a state report also travels as a UDP payload. Network byte order
//! throughout, sizes in bytes. This crate turns bytes into checked views and plain values into
//! bytes, computes the MACs, the label hashes and the prefix signatures, and builds and walks the
//! carriers. It allocates nothing, needs no `std` and reads no clock.
//!
//! The way of an object, in the order of the modules:
//!
//! | step | module |
//! |---|---|
//! | find the option or TLV in its extension header | [`option`], [`carrier`] |
//! | parse it once: [`Object::parse`] gives a view whose accessors cannot fail | `object`, `request`, `report` |
//! | check who sent it: [`SenderKey::verify_request`], [`SenderKey::verify_report`] | `mac` |
//! | compare what it asks for: [`Label32`], [`Bloom`], [`SignatureChain`] | `label`, `signature` |
//!
//! The other way round, a [`Request`] or [`Report`] is emitted into a buffer, signed in place, and
//! wrapped by [`carrier`]:
//!
//! ```
//! use afr_wire::{carrier, *};
//!
//! let request = Request {
//!     key_id: KeyId(7),
//!     class_id: ClassId(0x101),
//!     issued_at: 1_793_318_400,
//!     prompt_tokens: 1024,
//!     ..Request::default()
//! };
//! let source = [0x20; 16];
//! let key = SenderKey::derive(
//!     MacAlgorithm::AesCmac,
//!     &MasterKey::new([1; 16]),
//!     Role::Request,
//!     ClusterId(1),
//!     &masked_source(source, 128),
//! );
//! let context = RequestContext { source, destination: [0x30; 16], protocol: 6, destination_port: 80 };
//!
//! let mut object = [0; MAX_REQUEST_LEN];
//! let length = request.emit(&mut object)?;
//! key.sign_request(&context, &mut object[..length])?;
//!
//! let mut header = [0; 64];
//! let length = carrier::emit_options_header(6, OPTION_TYPE, &object[..length], &mut header)?;
//! assert_eq!(length, 56);
//!
//! let found = option::Options::new(&header[2..length]).next().unwrap()?;
//! let Object::Request(view) = Object::parse(found.data, Place::InBand)? else { panic!() };
//! assert!(key.verify_request(&context, &view));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Byte strings in, no panics out: every parser here is a fuzz target under `fuzz/`.
#![no_std]

pub mod option;
pub mod carrier;
mod error;
mod object;
mod request;
mod report;
mod cmac;
mod mac;
mod verifier;
mod label;
mod bloom;
mod signature;
mod id;
mod list;

pub use bloom::Bloom;
pub use error::{EmitError, Malformation, ParseError, Section, SignError};
pub use id::{
    CatalogueVersion, ClassId, ClusterId, DomainId, InstanceId, KeyId, Label32, LabelHash,
    PolicyScope, Prefix, ReportFlags, RequestFlags, Signature,
};
pub use label::CatalogueSalt;
pub use list::{Full, List};
pub use mac::{
    MAX_CHECKS, MacAlgorithm, MasterKey, RequestContext, Role, SenderKey, masked_source,
    verify_requests,
};
pub use object::{Object, Place};
pub use report::{Event, EventOp, Report, ReportView};
pub use request::{Labels, Request, RequestForm, RequestView};
pub use signature::{DomainKey, SignatureChain};
pub use verifier::{Checks, ExpandedMaster, MAX_LANES, Signers, Verifier};

/// Experiment identifier: the first two bytes of every object. Experimental code points are
/// shared, so an option of our type with another identifier is somebody else's.
pub const EXID: u16 = 0xAF52;
/// Version of the metadata this crate reads and writes.
pub const VERSION: u8 = 1;
/// IPv6 option type: an RFC 4727 experiment, skipped by unknowing receivers, immutable en route.
pub const OPTION_TYPE: u8 = 0x1E;
/// SRH TLV type: RFC 8754 experimentation range for TLVs that do not change en route.
pub const SRH_TLV_TYPE: u8 = 124;
/// Default UDP port of state reports sent as datagrams.
pub const UDP_PORT: u16 = 4724;

/// Length of the head common to both kinds.
pub const HEAD_LEN: usize = 8;
/// Length of a request before its sections and MAC.
pub const REQUEST_FIXED_LEN: usize = 36;
/// Length of a state report before its sections and MAC.
pub const REPORT_FIXED_LEN: usize = 44;
/// Length of the MAC, present exactly when the key id is not 0.
pub const MAC_LEN: usize = 16;
/// Length of the in-band Bloom filter.
pub const BLOOM_LEN: usize = 32;

/// Most label hashes in a request.
pub const MAX_LABELS: usize = 8;
/// Most prefix signatures in a request.
pub const MAX_PREFIXES: usize = 8;
/// Most events in a report that rides in an extension header.
pub const MAX_EVENTS_IN_BAND: usize = 12;
/// Most events in a report that is a datagram: under 1,280 bytes also when encapsulated.
pub const MAX_EVENTS_DATAGRAM: usize = 176;
/// Most refused classes in a report.
pub const MAX_REFUSALS: usize = 4;

/// Tokens in one unit of the signature chain, the unit of [`Prefix::depth`].
pub const UNIT_TOKENS: usize = 256;
/// Bytes of prompt that stand for one unit in a domain of kind `bytes`; also the bytes that 256
/// token ids of 32 bits take.
pub const UNIT_BYTES: usize = 1024;

/// Length of the longest request: Bloom-256, eight prefixes, MAC.
pub const MAX_REQUEST_LEN: usize = REQUEST_FIXED_LEN + BLOOM_LEN + 6 * MAX_PREFIXES + MAC_LEN;
/// Length of the longest report that may ride in an extension header.
pub const MAX_REPORT_LEN_IN_BAND: usize = report::longest(MAX_EVENTS_IN_BAND);
/// Length of the longest report a datagram may carry.
pub const MAX_REPORT_LEN: usize = report::longest(MAX_EVENTS_DATAGRAM);
