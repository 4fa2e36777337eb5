//! Is this packet's metadata to be believed at all?
//!
//! Exits: the packet with its metadata ([`Boundary::Trusted`]), the packet as if it had none ([`Boundary::Plain`]), or
//! a drop by [`DropReason::MetadataOutside`].

use crate::config::{BoundaryAction, PortRole};
use crate::packet::PacketBuf;
use crate::packet::parse::{self, Parsed, Types};
use crate::packet::strip::{Stripped, strip};
use crate::path::{Item, Path};
use crate::verdict::{DropReason, MetadataNote};

/// The boundary's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Metadata may be verified and acted on.
    Trusted,
    /// There is none, or none to be acted on.
    Plain,
}

impl Path<'_> {
    /// Applies the boundary's rule to a packet from a client.
    ///
    /// # Errors
    ///
    /// The reason to drop it.
    #[inline]
    pub(crate) fn boundary<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &mut Item,
    ) -> Result<Boundary, DropReason> {
        let parsed = &item.parsed;
        if parsed.request.is_none() && parsed.report.is_none() && parsed.unknown.is_none() {
            return Ok(Boundary::Plain);
        }
        let Some(port) = self.port(item.port) else {
            return Ok(Boundary::Plain);
        };
        let trusted = port.role == PortRole::Inside
            || port.boundary == BoundaryAction::Accept
            || self
                .config
                .trusted_prefixes
                .iter()
                .any(|prefix| prefix.contains(item.parsed.source));
        if trusted {
            return Ok(Boundary::Trusted);
        }
        match port.boundary {
            BoundaryAction::Drop => Err(DropReason::MetadataOutside),
            BoundaryAction::Strip => {
                self.strip_all(buf, &mut item.parsed);
                Ok(Boundary::Plain)
            }
            BoundaryAction::Ignore | BoundaryAction::Accept => {
                self.note(MetadataNote::Ignored);
                item.parsed.request = None;
                Ok(Boundary::Plain)
            }
        }
    }

    /// Removes every metadata object from the packet, those of versions and kinds to come as well, and brings `parsed`
    /// up to date. What is under AH stays, and is forgotten all the same.
    pub(crate) fn strip_all<B: PacketBuf>(&mut self, buf: &mut B, parsed: &mut Parsed) {
        let types = self.types();
        while let Some(found) = parsed.request.or(parsed.report).or(parsed.unknown) {
            let is_report = parsed.request.is_none() && parsed.report.is_some();
            let stripped = strip(buf, parsed, &found);
            if stripped == Stripped::Authenticated {
                (parsed.request, parsed.report, parsed.unknown) = (None, None, None);
                return;
            }
            self.note(if is_report {
                MetadataNote::ReportStripped
            } else {
                MetadataNote::Stripped
            });
            // A header may have gone: the others stand elsewhere now. What was valid stays so.
            match parse::ipv6(buf.data(), usize::from(parsed.l3), types) {
                Ok(again) => *parsed = again,
                Err(_) => return,
            }
        }
    }

    /// The code points that metadata travel under.
    #[inline]
    pub(crate) fn types(&self) -> Types {
        Types {
            option: self.config.router.option_type,
            tlv: self.config.router.srh_tlv_type,
        }
    }
}
